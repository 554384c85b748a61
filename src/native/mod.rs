//! The CPU backend: runs a graph in plain Rust, node by node, with the bits of the numerics contract.
//!
//! Safe scalar loops are the specification; files under `arch/` hold SIMD leaves that give the same bits and are
//! chosen at run time ([`Isa`], `PREON_ISA`). This backend shares formats, per-element functions and packing with
//! the virtual processor and the reference, and nothing that adds or multiplies tensors.

mod arch;
mod contract;
mod dots;
mod elementwise;
mod functions;
mod kernels;
mod layout;
mod linear;
mod narrow;
mod norms;
mod operand;
mod quantise;
mod sums;

use crate::diag::{Error, Place, Result};
use crate::graph::{Def, Graph, InputData, Node, NodeId, Op};
use crate::num::DotClass;
use crate::tensor::Tensor;

pub use crate::num::Isa;
pub use functions::Function;

/// How to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Highest instruction set that kernels may use. The result never depends on it.
    pub isa: Isa,
}

impl Default for Options {
    /// The best level of this CPU.
    fn default() -> Self {
        Options { isa: Isa::best() }
    }
}

impl Options {
    /// What `PREON_ISA` forces, else the best level of this CPU.
    ///
    /// # Errors
    /// As [`Isa::by_name`].
    pub fn from_env() -> Result<Self> {
        Ok(Options { isa: Isa::from_env()? })
    }
}

/// Result of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeOutput {
    /// The output as declared: payload and scales.
    pub tensor: Tensor,
    /// Class of its dot products, for ops that have them.
    pub class: Option<DotClass>,
    /// Kernel that computed it, for example `avx2.int8_ternary`.
    pub kernel: &'static str,
}

/// Results of all nodes of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    nodes: Vec<NodeOutput>,
}

impl Outputs {
    /// Result of a node.
    pub fn node(&self, id: NodeId) -> &NodeOutput {
        &self.nodes[id.0 as usize]
    }

    /// All results, in the order of [`Graph::nodes`].
    pub fn nodes(&self) -> &[NodeOutput] {
        &self.nodes
    }

    /// The graph output called `name`, if it is computed by a node.
    pub fn named(&self, graph: &Graph, name: &str) -> Option<&Tensor> {
        let (_, value) = graph.outputs.iter().find(|(output, _)| output == name)?;
        match graph.value(*value).def {
            Def::Node(id) => Some(&self.node(id).tensor),
            _ => None,
        }
    }
}

/// Runs every node of `graph`; `inputs` belong to [`Graph::inputs`] in order.
///
/// # Errors
/// BadInput if the inputs do not fit the graph or a token id lies outside its table; Unsupported, naming the node,
/// for a pair of formats or a scaling that is not served.
pub fn run(graph: &Graph, inputs: &[InputData], options: &Options) -> Result<Outputs> {
    check_inputs(graph, inputs)?;
    let mut done = Outputs { nodes: Vec::with_capacity(graph.nodes.len()) };
    for node in &graph.nodes {
        let output = run_node(graph, node, &operands(graph, inputs, &done, node)?, options.isa);
        done.nodes.push(output.map_err(|e| e.at(Place::Node(node.name.clone())))?);
    }
    Ok(done)
}

fn check_inputs(graph: &Graph, inputs: &[InputData]) -> Result<()> {
    if inputs.len() != graph.inputs.len() {
        let message = format!("the graph takes {} inputs, {} were given", graph.inputs.len(), inputs.len());
        return Err(Error::bad_input(message));
    }
    for (id, input) in graph.inputs.iter().zip(inputs) {
        let value = graph.value(*id);
        let fits = match (input, &value.def) {
            (InputData::Ids(ids), Def::Indices) => value.shape == [ids.len()],
            (InputData::Dense(tensor), Def::Input) => value.shape == tensor.shape && value.ty == tensor.ty,
            _ => false,
        };
        if !fits {
            let message = format!("input `{}` does not fit: the graph takes shape {:?}", value.name, value.shape);
            return Err(Error::bad_input(message));
        }
    }
    Ok(())
}

/// Operands of a node: packed tensors, and the row numbers of an embedding.
struct Operands<'a> {
    tensors: Vec<&'a Tensor>,
    ids: &'a [u32],
}

fn operands<'a>(graph: &'a Graph, inputs: &'a [InputData], done: &'a Outputs, node: &Node) -> Result<Operands<'a>> {
    let undefined = || Error::internal("an operand is used before it is defined").at(Place::Node(node.name.clone()));
    let mut all = Operands { tensors: Vec::new(), ids: &[] };
    for id in &node.inputs {
        match &graph.value(*id).def {
            Def::Const(tensor) => all.tensors.push(tensor.as_ref()),
            Def::Node(producer) => {
                all.tensors.push(&done.nodes.get(producer.0 as usize).ok_or_else(undefined)?.tensor);
            }
            Def::Input | Def::Indices => {
                let index = graph.inputs.iter().position(|input| input == id).ok_or_else(undefined)?;
                match &inputs[index] {
                    InputData::Dense(tensor) => all.tensors.push(tensor.as_ref()),
                    InputData::Ids(ids) => all.ids = ids,
                }
            }
        }
    }
    Ok(all)
}

/// Runs one node on its operands.
fn run_node(graph: &Graph, node: &Node, operands: &Operands<'_>, isa: Isa) -> Result<NodeOutput> {
    let x = &operands.tensors[..];
    let moved = |tensor| Ok(NodeOutput { tensor, class: None, kernel: "scalar" });
    let values = match &node.op {
        Op::Linear | Op::MatMul { .. } => {
            let shape = graph.value(node.output).shape.clone();
            let (accumulator, outputs) = (node.accumulator, shape.iter().product());
            let setting = contract::Setting { isa, accumulator, node: &node.name, outputs, first: 0 };
            let product = match node.op {
                Op::MatMul { group } => linear::matmul(setting, group, x[0], x[1])?,
                _ => linear::linear(setting, x)?,
            };
            let tensor = Tensor::from_f32(shape, &product.values)?;
            return Ok(NodeOutput { tensor, class: Some(product.class), kernel: product.kernel });
        }
        Op::Quantise { to } => return moved(quantise::quantise(x[0], *to)?),
        Op::Reshape { shape } => return moved(layout::reshape(x[0], shape)?),
        Op::Add | Op::Mask => elementwise::binary(x[0], x[1], |a, b| a + b),
        Op::Mul => elementwise::binary(x[0], x[1], |a, b| a * b),
        Op::Scale { factor } => elementwise::unary(x[0], |v| v * factor),
        Op::Gelu => elementwise::function(isa, x[0], Function::Gelu),
        Op::Relu => elementwise::function(isa, x[0], Function::Relu),
        Op::Relu2 => elementwise::function(isa, x[0], Function::Relu2),
        Op::Silu => elementwise::function(isa, x[0], Function::Silu),
        Op::Softmax => elementwise::softmax(isa, x[0]),
        Op::LayerNorm { eps } => norms::layer_norm(x[0], x[1], x[2], *eps),
        Op::RmsNorm { eps } => norms::rms_norm(x[0], x[1], *eps),
        Op::L2Norm => norms::l2_norm(x[0]),
        Op::MeanPool => elementwise::mean_pool(x[0]),
        Op::Embedding => quantise::embedding(x[0], operands.ids)?,
        Op::Transpose { perm } => layout::transpose(x[0], perm),
        Op::Rope => elementwise::rope(x[0], x[1], x[2]),
    };
    moved(Tensor::from_f32(graph.value(node.output).shape.clone(), &values)?)
}
