//! The network: values, nodes, one op a node. Shapes are concrete (a model builds a graph for a given token count).

pub mod eval;
pub mod ops;
pub mod random;
pub mod text;
pub mod verify;

use crate::diag::Result;
use crate::num::Accumulator;
use crate::tensor::{Tensor, TensorType};
use std::sync::Arc;

pub use ops::Op;

/// Index of a value in [`Graph::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);
/// Index of a node in [`Graph::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum Def {
    /// Numbers given at run time: [`InputData::Dense`] of the value's type.
    Input,
    /// Row numbers given at run time: [`InputData::Ids`], one u32 each. The value's type is the 4-byte slot fp32
    /// whose bits are never decoded; only [`Op::Embedding`] takes such a value.
    Indices,
    /// A weight or constant.
    Const(Arc<Tensor>),
    /// Output of a node.
    Node(NodeId),
}

/// A tensor-valued edge.
#[derive(Debug, Clone)]
pub struct Value {
    /// Unique name: the weight's name in the model file, or the producing node's name.
    pub name: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Format and scaling in which it is stored.
    pub ty: TensorType,
    /// Origin.
    pub def: Def,
}

/// What a run is given for one of [`Graph::inputs`].
#[derive(Debug, Clone, PartialEq)]
pub enum InputData {
    /// Row numbers, for a value defined as [`Def::Indices`].
    Ids(Vec<u32>),
    /// Numbers, for a value defined as [`Def::Input`].
    Dense(Arc<Tensor>),
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique name, for example `encoder.layer.0.attention.self.query`.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Operands in the order that the op documents.
    pub inputs: Vec<ValueId>,
    /// Its one result.
    pub output: ValueId,
    /// Accumulator of its dot products (set by the policy; ignored by ops without one).
    pub accumulator: Accumulator,
}

/// A graph in topological order: a node's inputs are defined before it.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// All values.
    pub values: Vec<Value>,
    /// All nodes, in execution order.
    pub nodes: Vec<Node>,
    /// Values given at run time.
    pub inputs: Vec<ValueId>,
    /// Named results, for example `("embedding", id)`.
    pub outputs: Vec<(String, ValueId)>,
}

impl Graph {
    /// The value with this id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0 as usize]
    }
    /// The node with this id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
    /// The constant behind a value, if it is one.
    pub fn constant(&self, id: ValueId) -> Option<&Arc<Tensor>> {
        match &self.value(id).def {
            Def::Const(tensor) => Some(tensor),
            _ => None,
        }
    }
    /// Adds a value and returns its id.
    pub fn add_value(&mut self, value: Value) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).expect("fewer than 2^32 values"));
        self.values.push(value);
        id
    }
    /// Adds a run-time input.
    pub fn add_input(&mut self, name: &str, shape: Vec<usize>, ty: TensorType) -> ValueId {
        let id = self.add_value(Value { name: name.into(), shape, ty, def: Def::Input });
        self.inputs.push(id);
        id
    }
    /// Adds a run-time input of `count` row numbers.
    pub fn add_indices(&mut self, name: &str, count: usize) -> ValueId {
        let ty = ops::plain_fp32();
        let id = self.add_value(Value { name: name.into(), shape: vec![count], ty, def: Def::Indices });
        self.inputs.push(id);
        id
    }
    /// Adds a constant.
    pub fn add_const(&mut self, name: &str, tensor: Arc<Tensor>) -> ValueId {
        self.add_value(Value { name: name.into(), shape: tensor.shape.clone(), ty: tensor.ty, def: Def::Const(tensor) })
    }
    /// Adds a node; shape and type of its output are inferred from the op.
    ///
    /// # Errors
    /// BadInput naming the node if the operands do not fit the op.
    pub fn add_node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let node = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes"));
        let (shape, ty) = ops::infer(&op, &inputs.iter().map(|id| self.value(*id)).collect::<Vec<_>>())
            .map_err(|e| e.at(crate::diag::Place::Node(name.into())))?;
        let output = self.add_value(Value { name: name.into(), shape, ty, def: Def::Node(node) });
        self.nodes.push(Node {
            name: name.into(),
            op,
            inputs: inputs.to_vec(),
            output,
            accumulator: Accumulator::default(),
        });
        Ok(output)
    }
}
