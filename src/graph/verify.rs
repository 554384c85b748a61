//! Checks a whole graph and reports everything that is wrong with it at once.

use super::{Def, Graph, NodeId, ValueId, ops};
use crate::diag::{Error, Place, Result};
use crate::num::dot_class;
use crate::tensor::rows_cols;
use crate::tensor::terms;
use std::collections::BTreeSet;

/// Largest rank served.
const MAX_RANK: usize = 3;

/// Every fault of the graph, in the order of its values and nodes; empty if it is sound.
///
/// A sound graph has unique names of values and nodes, ids in range, nodes after what they use, non-empty shapes of
/// rank 0 to 3, constants that fit their values, results that agree with [`ops::infer`], dot products with a defined
/// class, and at least one output.
pub fn faults(graph: &Graph) -> Vec<Error> {
    let mut faults = Vec::new();
    check_values(graph, &mut faults);
    for index in 0..graph.nodes.len() {
        if let Err(e) = check_node(graph, index) {
            faults.push(e.at(Place::Node(graph.nodes[index].name.clone())));
        }
    }
    check_ends(graph, &mut faults);
    faults
}

/// The first fault of the graph as an error that counts the others.
///
/// # Errors
/// As [`faults`].
pub fn verify(graph: &Graph) -> Result<()> {
    let mut faults = faults(graph);
    let others = faults.len().saturating_sub(1);
    match (faults.is_empty(), others) {
        (true, _) => Ok(()),
        (false, 0) => Err(faults.remove(0)),
        (false, _) => Err(faults.remove(0).help(format!("the graph has {others} more faults"))),
    }
}

fn check_values(graph: &Graph, faults: &mut Vec<Error>) {
    let mut names = BTreeSet::new();
    for (index, value) in graph.values.iter().enumerate() {
        let name = &value.name;
        let mut fault = |what: String| faults.push(Error::bad_input(format!("value `{name}` {what}")));
        if !names.insert(name) {
            fault("is defined twice".into());
        }
        if value.shape.len() > MAX_RANK {
            fault(format!("has {} axes, more than {MAX_RANK}", value.shape.len()));
        }
        let bits = value.shape.iter().try_fold(32usize, |n, d| n.checked_mul(*d));
        if bits.is_none_or(|bits| bits == 0) {
            fault(format!("has the impossible shape {:?}", value.shape));
            continue;
        }
        match &value.def {
            Def::Const(tensor) => {
                let (rows, cols) = rows_cols(&value.shape);
                let whole = tensor.payload.len() == rows * value.ty.row_bytes(cols)
                    && tensor.scales.len() == value.ty.scale_count(rows, cols);
                let fits = tensor.shape == value.shape && tensor.ty == value.ty && (whole || tensor.is_hollow());
                if !fits {
                    fault("does not have the shape, type or size of its constant".into());
                }
            }
            Def::Indices if value.shape.len() != 1 => {
                fault(format!("is indices of shape {:?}, not a list", value.shape))
            }
            Def::Node(node) if graph.nodes.get(node.0 as usize).is_none_or(|n| n.output.0 as usize != index) => {
                fault("is not the output of the node that it names".into());
            }
            Def::Input | Def::Indices | Def::Node(_) => {}
        }
    }
    let mut names = BTreeSet::new();
    for node in &graph.nodes {
        if !names.insert(&node.name) {
            faults.push(Error::bad_input("a node of this name exists already").at(Place::Node(node.name.clone())));
        }
    }
}

fn check_node(graph: &Graph, index: usize) -> Result<()> {
    let node = &graph.nodes[index];
    let value = |id: ValueId| {
        graph.values.get(id.0 as usize).ok_or_else(|| Error::bad_input(format!("value {} does not exist", id.0)))
    };
    let mut operands = Vec::with_capacity(node.inputs.len());
    for id in &node.inputs {
        let operand = value(*id)?;
        if let Def::Node(NodeId(maker)) = operand.def
            && maker as usize >= index
        {
            return Err(Error::bad_input(format!("operand `{}` is computed only later", operand.name)));
        }
        operands.push(operand);
    }
    let output = value(node.output)?;
    if !matches!(output.def, Def::Node(NodeId(maker)) if maker as usize == index) {
        return Err(Error::bad_input(format!("its output `{}` is defined elsewhere", output.name)));
    }
    let (shape, ty) = ops::infer(&node.op, &operands)?;
    if shape != output.shape || ty != output.ty {
        return Err(Error::bad_input(format!(
            "its output is declared {}{:?} but is {}{shape:?}",
            output.ty, output.shape, ty
        )));
    }
    if matches!(node.op, ops::Op::Linear | ops::Op::MatMul { .. }) {
        dot_class(operands[0].ty.format, operands[1].ty.format, node.accumulator)?;
        let k = operands[0].shape[operands[0].shape.len() - 1];
        terms(&operands[0].ty, &operands[1].ty, k, node.accumulator.chunk())?;
    }
    Ok(())
}

/// Inputs and outputs of the graph.
fn check_ends(graph: &Graph, faults: &mut Vec<Error>) {
    let given: Vec<usize> =
        (0..graph.values.len()).filter(|i| matches!(graph.values[*i].def, Def::Input | Def::Indices)).collect();
    let mut listed: Vec<usize> = graph.inputs.iter().map(|id| id.0 as usize).collect();
    listed.sort_unstable();
    if given != listed {
        faults.push(Error::bad_input("the list of inputs is not the set of values given at run time"));
    }
    if graph.outputs.is_empty() {
        faults.push(Error::bad_input("the graph has no output").help("name at least one result"));
    }
    let mut names = BTreeSet::new();
    for (name, id) in &graph.outputs {
        if !names.insert(name) {
            faults.push(Error::bad_input(format!("output `{name}` is named twice")));
        }
        if graph.values.get(id.0 as usize).is_none() {
            faults.push(Error::bad_input(format!("output `{name}` is value {}, which does not exist", id.0)));
        }
    }
}
