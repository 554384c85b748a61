//! The cross-check: what the virtual processor computed against the native backend, byte for byte.
//!
//! Payloads and scales are compared as bytes, never as floats, so that a wrong sign of zero, another NaN or a dirty
//! padding bit is a mismatch. The first difference of each node is located and explained.

use crate::graph::{Graph, NodeId};
use crate::native::Outputs;
use crate::num::DotClass;
use crate::tensor::{Tensor, pack};
use std::fmt;

/// Output of one node as the virtual processor left it in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Captured {
    /// The node.
    pub node: NodeId,
    /// Its output: payload and scales in the declared storage.
    pub tensor: Tensor,
    /// Kernel that wrote it.
    pub kernel: String,
}

/// Part of a tensor in which two results differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Shape, format or scaling.
    Type,
    /// A code.
    Codes,
    /// A scale: the column is the block.
    Scales,
    /// Bits after the last code of a row, which must be zero.
    Padding,
}

/// One node whose bytes differ: its first difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Name of the node.
    pub node: String,
    /// Name of its op.
    pub op: &'static str,
    /// What differs first: codes before scales.
    pub part: Part,
    /// Row of the first difference (all axes but the last, flattened).
    pub row: usize,
    /// Column of the first difference.
    pub col: usize,
    /// Bits that the native backend has there.
    pub expected: u32,
    /// Bits that the virtual processor has there.
    pub got: u32,
    /// Number of codes and scales that differ.
    pub differing: usize,
    /// Class of the node's dot products, if it has any.
    pub class: Option<DotClass>,
    /// Kernel of the virtual processor.
    pub virtual_kernel: String,
    /// Kernel of the native backend.
    pub native_kernel: &'static str,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { node, op, row, col, expected, got, differing, .. } = self;
        write!(f, "node `{node}` ({op}): ")?;
        match self.part {
            Part::Type => write!(f, "shape, format or scaling is not the declared one")?,
            Part::Codes => write!(f, "element [{row}, {col}] is {got:#x}, native has {expected:#x}")?,
            Part::Scales => write!(f, "scale [{row}, {col}] is {got:#010x}, native has {expected:#010x}")?,
            Part::Padding => write!(f, "padding after row {row} is not zero")?,
        }
        write!(f, "; {differing} differ; kernels {} and {}", self.virtual_kernel, self.native_kernel)?;
        match self.class {
            Some(class) => write!(f, ", class {class:?}"),
            None => Ok(()),
        }
    }
}

/// Outcome of a cross-check.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CheckReport {
    /// Nodes compared.
    pub nodes: usize,
    /// Nodes whose bytes are equal.
    pub bit_exact: usize,
    /// The others, in program order.
    pub mismatches: Vec<Mismatch>,
}

impl CheckReport {
    /// Whether every compared node is equal, and at least one was compared.
    pub fn is_bit_exact(&self) -> bool {
        self.nodes > 0 && self.bit_exact == self.nodes
    }
}

/// Compares captured node outputs with the native backend's.
pub fn compare(graph: &Graph, captured: &[Captured], native: &Outputs) -> CheckReport {
    let mut report = CheckReport { nodes: captured.len(), ..CheckReport::default() };
    for capture in captured {
        let output = native.node(capture.node);
        match first_difference(&output.tensor, &capture.tensor) {
            None => report.bit_exact += 1,
            Some(at) => {
                let node = graph.node(capture.node);
                report.mismatches.push(Mismatch {
                    node: node.name.clone(),
                    op: node.op.name(),
                    part: at.part,
                    row: at.row,
                    col: at.col,
                    expected: at.expected,
                    got: at.got,
                    differing: at.differing,
                    class: output.class,
                    virtual_kernel: capture.kernel.clone(),
                    native_kernel: output.kernel,
                });
            }
        }
    }
    report
}

struct Difference {
    part: Part,
    row: usize,
    col: usize,
    expected: u32,
    got: u32,
    differing: usize,
}

/// First difference of two tensors, codes before scales before padding; `None` if all bytes are equal.
fn first_difference(expected: &Tensor, got: &Tensor) -> Option<Difference> {
    let whole = |part| Difference { part, row: 0, col: 0, expected: 0, got: 0, differing: 1 };
    let sizes = |t: &Tensor| (t.payload.len(), t.scales.len());
    if expected.shape != got.shape || expected.ty != got.ty || sizes(expected) != sizes(got) {
        return Some(whole(Part::Type));
    }
    let mut first: Option<Difference> = None;
    let mut note = |part, row, col, expected, got| match &mut first {
        Some(first) => first.differing += 1,
        None => first = Some(Difference { part, row, col, expected, got, differing: 1 }),
    };
    let (rows, cols) = expected.rows_cols();
    let (format, bytes) = (expected.ty.format, expected.ty.row_bytes(cols));
    for row in (0..rows).filter(|_| bytes > 0) {
        let span = row * bytes..(row + 1) * bytes;
        let (want, have) = (&expected.payload[span.clone()], &got.payload[span]);
        if want == have {
            continue;
        }
        for col in 0..cols {
            let (want, have) = (pack::get(format, want, col), pack::get(format, have, col));
            if want != have {
                note(Part::Codes, row, col, want, have);
            }
        }
    }
    let each_row = expected.scales.len() / rows.max(1);
    for (i, (want, have)) in expected.scales.iter().zip(&got.scales).enumerate() {
        if want.to_bits() != have.to_bits() {
            let (row, block) = (i / each_row.max(1), i % each_row.max(1));
            note(Part::Scales, row, block, want.to_bits(), have.to_bits());
        }
    }
    if first.is_none() {
        let at = expected.payload.iter().zip(&got.payload).position(|(want, have)| want != have)?;
        let row = at / bytes.max(1);
        return Some(Difference { row, col: cols, ..whole(Part::Padding) });
    }
    first
}
