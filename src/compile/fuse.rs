//! Groups nodes into steps: a product takes the activation and the residual addition that follow it along.
//!
//! Before: `linear -> gelu` and `linear -> add(residual)`, each a pass over memory. After: one step whose epilogue
//! does both while the tile is still in SRAM. The arithmetic and its order stay the same, so the bits do too.
//! A node joins only if the value between is used once and is not a named output.

use crate::graph::{Def, Graph, NodeId, Op, ValueId};

/// Nodes computed together; the last one's output is materialised.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The node that names the kernel.
    pub head: NodeId,
    /// Element-wise activation in the epilogue.
    pub activation: Option<NodeId>,
    /// Residual addition in the epilogue, with the value that is added.
    pub residual: Option<(NodeId, ValueId)>,
}

impl Group {
    /// All nodes, in order.
    pub fn nodes(&self) -> Vec<NodeId> {
        let rest = self.activation.into_iter().chain(self.residual.map(|(node, _)| node));
        std::iter::once(self.head).chain(rest).collect()
    }
    /// The node whose output leaves the step.
    pub fn last(&self) -> NodeId {
        self.residual.map(|(node, _)| node).or(self.activation).unwrap_or(self.head)
    }
}

/// Splits a graph into steps in execution order. Reshapes move no bytes and get no step.
pub fn groups(graph: &Graph, fuse: bool) -> Vec<Group> {
    let users = users(graph);
    let mut taken = vec![false; graph.nodes.len()];
    let mut groups = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        if taken[index] || matches!(node.op, Op::Reshape { .. }) {
            continue;
        }
        let head = node_id(index);
        let mut group = Group { head, activation: None, residual: None };
        if fuse && matches!(node.op, Op::Linear) {
            let mut value = node.output;
            if let Some(next) = only_user(graph, &users, value)
                && matches!(graph.node(next).op, Op::Gelu | Op::Relu | Op::Relu2 | Op::Silu)
            {
                group.activation = Some(next);
                taken[next.0 as usize] = true;
                value = graph.node(next).output;
            }
            if let Some(next) = only_user(graph, &users, value)
                && let Some(other) = residual_operand(graph, next, value, head)
            {
                group.residual = Some((next, other));
                taken[next.0 as usize] = true;
            }
        }
        groups.push(group);
    }
    groups
}

fn node_id(index: usize) -> NodeId {
    NodeId(u32::try_from(index).expect("fewer than 2^32 nodes"))
}

fn users(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut users = vec![Vec::new(); graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            users[input.0 as usize].push(node_id(index));
        }
    }
    users
}

fn only_user(graph: &Graph, users: &[Vec<NodeId>], value: ValueId) -> Option<NodeId> {
    let named = graph.outputs.iter().any(|(_, output)| *output == value);
    match users[value.0 as usize].as_slice() {
        [user] if !named => Some(*user),
        _ => None,
    }
}

/// The other operand of `add`, if it has the same shape and exists before the product starts. Addition commutes, so
/// either side may be the product's.
fn residual_operand(graph: &Graph, add: NodeId, product: ValueId, head: NodeId) -> Option<ValueId> {
    let node = graph.node(add);
    if node.op != Op::Add {
        return None;
    }
    let other = *node.inputs.iter().find(|input| **input != product)?;
    let ready = match root(graph, other) {
        Def::Node(before) => before < head,
        _ => true,
    };
    (ready && graph.value(other).shape == graph.value(product).shape).then_some(other)
}

/// Definition of a value behind reshapes.
fn root(graph: &Graph, value: ValueId) -> Def {
    match &graph.value(value).def {
        Def::Node(node) if matches!(graph.node(*node).op, Op::Reshape { .. }) => {
            root(graph, graph.node(*node).inputs[0])
        }
        def => def.clone(),
    }
}
