//! The cross-check: what the virtual processor computed against the native backend, byte for byte.
//!
//! Payloads and scales are compared as bytes, never as floats, so that a wrong sign of zero, another NaN or a dirty
//! padding bit is a mismatch. The first difference of each node is located and explained. A second comparison holds
//! every node against its f64 reference, within the error bound of its op.

pub mod cases;
pub mod listing;

use crate::diag::Result;
use crate::graph::eval::{self, Verdict};
use crate::graph::{Def, Graph, InputData, NodeId, ValueId};
use crate::native::Outputs;
use crate::num::{DotClass, FormatRef, format};
use crate::tensor::{Tensor, pack};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

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
    /// A scale: the column is the block. The global scale of a tensor has the row after the last.
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
    /// Format of both: the node's, or that of its scales.
    pub format: FormatRef,
    /// Number of codes and scales that differ.
    pub differing: usize,
    /// Class of the node's dot products, if it has any.
    pub class: Option<DotClass>,
    /// Kernel of the virtual processor.
    pub virtual_kernel: String,
    /// Kernel of the native backend.
    pub native_kernel: &'static str,
    /// File and line of the kernel's instruction that stored the wrong bits, where they were traced.
    pub line: Option<(String, u32)>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mismatch { node, op, row, col, differing, .. } = self;
        let shown = |bits: u32| format!("{} ({bits:#x})", f32::from_bits(crate::num::decode(self.format, bits)));
        let (expected, got) = (shown(self.expected), shown(self.got));
        write!(f, "node `{node}` ({op}): ")?;
        match self.part {
            Part::Type => write!(f, "shape, format or scaling is not the declared one")?,
            Part::Codes => write!(f, "element [{row}, {col}]: expected {expected}, got {got}")?,
            Part::Scales => write!(f, "scale [{row}, {col}]: expected {expected}, got {got}")?,
            Part::Padding => write!(f, "padding after row {row} is not zero")?,
        }
        write!(f, "; {differing} differ; kernels {} and {}", self.virtual_kernel, self.native_kernel)?;
        if let Some(class) = self.class {
            write!(f, ", class {class:?}")?;
        }
        match &self.line {
            Some((file, line)) => write!(f, "; stored by {file}:{line}"),
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
        self.nodes > 0 && self.bit_exact == self.nodes && self.mismatches.is_empty()
    }

    /// Adds what another run of the same graph (a fused one, of fewer materialised nodes) got wrong.
    pub fn add_run(&mut self, other: CheckReport) {
        for mismatch in other.mismatches {
            if !self.mismatches.iter().any(|known| known.node == mismatch.node) {
                self.bit_exact = self.bit_exact.saturating_sub(1);
            }
            self.mismatches.push(mismatch);
        }
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
                    format: match at.part {
                        Part::Scales => format::find("fp32").expect("a built-in format"),
                        _ => capture.tensor.ty.format,
                    },
                    differing: at.differing,
                    class: output.class,
                    virtual_kernel: capture.kernel.clone(),
                    native_kernel: output.kernel,
                    line: None,
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
    if expected.global.to_bits() != got.global.to_bits() {
        // Behind the scales of the last row.
        note(Part::Scales, rows, 0, expected.global.to_bits(), got.global.to_bits());
    }
    if first.is_none() {
        let at = expected.payload.iter().zip(&got.payload).position(|(want, have)| want != have)?;
        let row = at / bytes.max(1);
        return Some(Difference { row, col: cols, ..whole(Part::Padding) });
    }
    first
}

/// One node whose result lies farther from the f64 reference than its bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Stray {
    /// Name of the node.
    pub node: String,
    /// Name of its op.
    pub op: &'static str,
    /// The worst element, and what both sides have there.
    pub verdict: Verdict,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { worst, index, got, want, bound, .. } = self.verdict;
        write!(f, "node `{}` ({}): element {index} is {got:e}, ", self.node, self.op)?;
        write!(f, "the reference has {want:e} +- {bound:e} ({worst:.2} times the bound)")
    }
}

/// Outcome of a comparison with the f64 reference.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReferenceReport {
    /// Nodes judged.
    pub nodes: usize,
    /// Nodes of which every element lies within its bound.
    pub within: usize,
    /// Captured nodes that fusion left without a stored operand: they are judged in an unfused run.
    pub not_judged: usize,
    /// Largest distance from the reference, in units of the bound.
    pub worst: f64,
    /// Node of the largest distance.
    pub worst_node: Option<String>,
    /// Nodes outside their bound, in program order.
    pub strays: Vec<Stray>,
}

/// Compares captured node outputs with the f64 reference of each node, evaluated on the captured operands, so that
/// errors do not add up from node to node.
///
/// # Errors
/// As [`eval::judge`], except for operands that were not captured.
pub fn against_reference(graph: &Graph, captured: &[Captured], inputs: &[InputData]) -> Result<ReferenceReport> {
    let stored: BTreeMap<NodeId, Arc<Tensor>> =
        captured.iter().map(|capture| (capture.node, Arc::new(capture.tensor.clone()))).collect();
    let held = |id: ValueId| match &graph.value(id).def {
        Def::Const(tensor) => Some(InputData::Dense(tensor.clone())),
        Def::Node(node) => stored.get(node).map(|tensor| InputData::Dense(tensor.clone())),
        Def::Input | Def::Indices => inputs.get(graph.inputs.iter().position(|input| *input == id)?).cloned(),
    };
    let mut report = ReferenceReport::default();
    for capture in captured {
        let node = graph.node(capture.node);
        if node.inputs.iter().any(|id| held(*id).is_none()) {
            report.not_judged += 1;
            continue;
        }
        let verdict = eval::judge(graph, capture.node, &held, &capture.tensor)?;
        report.nodes += 1;
        if verdict.worst > report.worst {
            (report.worst, report.worst_node) = (verdict.worst, Some(node.name.clone()));
        }
        if verdict.passes() {
            report.within += 1;
        } else {
            report.strays.push(Stray { node: node.name.clone(), op: node.op.name(), verdict });
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Op;
    use crate::native::{self, Options};
    use crate::num::format::find;
    use crate::tensor::{Scaling, TensorType};

    /// `q = quantise(x)`, `y = linear(q, w)` on a 3 x 5 input.
    fn network() -> (Graph, Vec<InputData>, Outputs, Vec<Captured>) {
        let mut graph = Graph::default();
        let ty = |name, scaling| TensorType::new(find(name).expect("a built-in format"), scaling);
        let x = graph.add_input("x", vec![3, 5], ty("fp32", Scaling::None));
        let q = graph.add_node("q", Op::Quantise { to: ty("int4", Scaling::Row) }, &[x]).expect("fits");
        let values: Vec<f32> = (0..15).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        let w = Tensor::quantise(vec![3, 5], &values, ty("ternary", Scaling::Block(2))).expect("finite");
        let w = graph.add_const("w", Arc::new(w));
        graph.add_node("y", Op::Linear, &[q, w]).expect("fits");
        let inputs = vec![InputData::Dense(Arc::new(Tensor::from_f32(vec![3, 5], &values).expect("fits")))];
        let outputs = native::run(&graph, &inputs, &Options::default()).expect("served");
        let capture = |(i, output): (usize, &native::NodeOutput)| Captured {
            node: NodeId(i as u32),
            tensor: output.tensor.clone(),
            kernel: "test".into(),
        };
        let captured = outputs.nodes().iter().enumerate().map(capture).collect();
        (graph, inputs, outputs, captured)
    }

    #[test]
    fn equal_bytes_are_exact_and_within_the_bounds() {
        let (graph, inputs, outputs, captured) = network();
        let report = compare(&graph, &captured, &outputs);
        assert!(report.is_bit_exact() && report.nodes == 2, "{report:?}");
        let reference = against_reference(&graph, &captured, &inputs).expect("judged");
        assert_eq!((reference.nodes, reference.within, reference.not_judged), (2, 2, 0), "{reference:?}");
    }

    #[test]
    fn the_first_difference_is_located() {
        let (graph, _, outputs, captured) = network();
        let differ = |node: usize, change: &dyn Fn(&mut Tensor)| {
            let mut captured = captured.clone();
            change(&mut captured[node].tensor);
            let report = compare(&graph, &captured, &outputs);
            assert_eq!((report.nodes, report.bit_exact), (2, 1));
            report.mismatches[0].clone()
        };
        // Rows of five int4 codes are three bytes: byte 4 holds columns 2 and 3 of row 1.
        let m = differ(0, &|t| t.payload[4] ^= 0x30);
        assert_eq!((m.node.as_str(), m.op, m.part, m.row, m.col), ("q", "quantise", Part::Codes, 1, 3));
        assert_eq!((m.expected ^ m.got, m.differing, m.class), (3, 1, None));
        let m = differ(0, &|t| t.payload[5] ^= 0x80);
        assert_eq!((m.part, m.row, m.col), (Part::Padding, 1, 5));
        let m = differ(0, &|t| t.scales[2] = -t.scales[2]);
        assert_eq!((m.part, m.row, m.col, m.expected ^ m.got), (Part::Scales, 2, 0, 1 << 31));
        let m = differ(1, &|t| t.payload.iter_mut().for_each(|b| *b ^= 1));
        assert_eq!((m.part, m.row, m.col, m.differing), (Part::Codes, 0, 0, 9));
        assert_eq!(m.class, Some(DotClass::Exact));
        assert!(m.to_string().contains("node `y` (linear): element [0, 0]: expected "), "{m}");
        let m = differ(1, &|t| t.shape = vec![9, 1]);
        assert_eq!(m.part, Part::Type);
    }

    #[test]
    fn an_empty_check_is_not_exact() {
        let (graph, _, outputs, _) = network();
        assert!(!compare(&graph, &[], &outputs).is_bit_exact());
    }

    #[test]
    fn strays_and_missing_operands_are_counted() {
        let (graph, inputs, _, mut captured) = network();
        captured[1].tensor.payload[7] ^= 0x40;
        let report = against_reference(&graph, &captured, &inputs).expect("judged");
        assert_eq!((report.nodes, report.within, report.strays.len()), (2, 1, 1));
        assert_eq!((report.strays[0].node.as_str(), report.strays[0].verdict.index), ("y", 1));
        assert!(report.worst > 1.0 && report.worst_node.as_deref() == Some("y"));
        let report = against_reference(&graph, &captured[1..], &inputs).expect("judged");
        assert_eq!((report.nodes, report.not_judged), (0, 1));
    }
}
