//! Lowering: a group of nodes becomes calls of kernels with their parameter blocks.
//!
//! One file per family of kernels. A lowering chooses the kernel, lays out its scratch memory and fills its parameters
//! by name; it never emits instructions.

mod linear;
mod moves;
mod rows;
mod tiles;

use super::fuse::Group;
use super::place::Workspace;
use super::sparse::SparseWeights;
use super::trial::Trial;
use super::{CodedWeights, Placement, Storage};
use crate::diag::{Error, Place, Result};
use crate::graph::{Graph, Op, ValueId};
use crate::machine::Machine;
use crate::num::FormatRef;

/// One call of one kernel body.
#[derive(Debug, Clone)]
pub struct Call {
    /// File stem of the kernel.
    pub kernel: &'static str,
    /// Format parameters of the body.
    pub formats: Vec<(&'static str, FormatRef)>,
    /// Assembly-time constants of the body.
    pub consts: Vec<(&'static str, i64)>,
    /// Parameter block, by name.
    pub params: Vec<(&'static str, u64)>,
}

/// What a step became.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// Calls, in order.
    pub calls: Vec<Call>,
    /// Scratch bytes used.
    pub workspace_bytes: u64,
    /// Dense multiply-accumulates.
    pub macs_dense: u64,
    /// Loop nest, outermost first.
    pub loops: Vec<String>,
}

/// What lowerings may look at.
pub struct Context<'a> {
    /// The annotated graph.
    pub graph: &'a Graph,
    /// The machine.
    pub machine: &'a Machine,
    /// Where values live.
    pub storage: &'a Storage,
    /// Constants that lie entropy-coded.
    pub coded: &'a [CodedWeights],
    /// Constants that lie in live tiles.
    pub sparse: &'a [SparseWeights],
    /// Scratch bytes of the own SRAM.
    pub workspace_bytes: u64,
    /// How tilings are tried, if they are.
    pub trial: Option<Trial<'a>>,
}

impl Context<'_> {
    /// Where a value lives; reshapes live where their operand does.
    pub fn place(&self, value: ValueId) -> Result<Placement> {
        self.storage.place(self.graph, value)
    }
    /// Refuses, before they are made, so many calls that their blocks of parameters, 64 bytes each at the least, have no room.
    ///
    /// # Errors
    /// Unsupported.
    pub fn room_for(&self, calls: usize) -> Result<()> {
        let (least, machine) = ((calls as u64).saturating_mul(64), self.machine);
        if least <= machine.control_bytes {
            return Ok(());
        }
        let Machine { name, control_bytes, .. } = machine;
        let text =
            format!("does not fit: {calls} calls need more than {control_bytes} bytes of control memory on {name}");
        let help = "raise core.control_bytes in the machine file, or shorten the input";
        Err(Error::unsupported(text).code("E0401").help(help))
    }
    /// A fresh workspace.
    pub fn workspace(&self) -> Workspace {
        Workspace::new(self.workspace_bytes)
    }
}

/// Lowers one group.
///
/// # Errors
/// Unsupported, naming the node: no kernel for the op and formats, or a tile that does not fit the SRAM.
pub fn lower(context: &Context<'_>, group: &Group) -> Result<Lowered> {
    let node = context.graph.node(group.head);
    let lowered = match &node.op {
        Op::Linear => linear::linear(context, group),
        Op::MatMul { group: shared } => linear::matmul(context, node, *shared),
        Op::Add | Op::Mul | Op::Mask => rows::binary(context, node),
        Op::Scale { .. } | Op::Relu | Op::Relu2 | Op::Gelu | Op::Silu => rows::unary(context, node),
        Op::LayerNorm { eps } => rows::layernorm(context, node, *eps),
        Op::RmsNorm { eps } => rows::rmsnorm(context, node, *eps),
        Op::L2Norm => rows::l2norm(context, node),
        Op::Softmax => rows::softmax(context, node),
        Op::Rope => rows::rope(context, node),
        Op::Quantise { to } => rows::quantise(context, node, to),
        Op::Embedding => moves::embedding(context, node),
        Op::MeanPool => moves::meanpool(context, node),
        Op::Transpose { perm } => moves::transpose(context, node, perm),
        Op::Reshape { .. } => Err(Error::internal("a reshape has no code")),
    };
    lowered.map_err(|error| error.at(Place::Node(node.name.clone())))
}
