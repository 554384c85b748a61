//! Graph and machine to program: one file per pass.

use crate::graph::{NodeId, ValueId};
use crate::isa::Object;
use crate::tensor::TensorType;

/// Where a graph value lives in the machine's memory during a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// The value.
    pub value: ValueId,
    /// Address of its payload, space in bits 63:60.
    pub addr: u64,
    /// Address of its f32 scales; 0 if it has none.
    pub scale_addr: u64,
    /// Shape.
    pub shape: Vec<usize>,
    /// Type.
    pub ty: TensorType,
}

/// One entry of the ledger's node axis, in program order.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Name (the producing graph node's; fused ones joined by ` + `).
    pub name: String,
    /// Graph nodes computed in this step; the last one's output is materialised.
    pub nodes: Vec<NodeId>,
    /// Kernel that runs it.
    pub kernel: String,
    /// Where the step's result lies when the step ends.
    pub output: Placement,
    /// Dense multiply-accumulates of the step (0 for element-wise steps).
    pub macs_dense: u64,
    /// Loop nest and tile sizes for `--explain`, one line a level, outermost first.
    pub loops: Vec<String>,
}

/// A compiled program with all that a run needs.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Code, symbols, formats and initial control memory.
    pub object: Object,
    /// Initial DRAM contents: (address, value whose payload lies there or its scales).
    pub constants: Vec<Placement>,
    /// Run-time inputs. Token ids are u32 tables in control memory.
    pub inputs: Vec<Placement>,
    /// Steps; ledger node `i` is step `i`.
    pub steps: Vec<Step>,
    /// Bytes of DRAM the program uses.
    pub dram_bytes: u64,
    /// Largest number of SRAM bytes in use at once (own SRAM).
    pub peak_sram_bytes: u64,
    /// Stored bytes of all weights, scales included.
    pub weight_bytes: u64,
    /// Weight bytes by format name.
    pub weight_bytes_by_format: Vec<(String, u64)>,
}
