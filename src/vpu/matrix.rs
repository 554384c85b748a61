//! Weight formats by activation formats: which pairs are served, found out by running every one of them.
//!
//! Each cell is a linear layer of odd shape under a policy that names the two formats: compiled, executed on the virtual
//! processor, run natively, compared byte by byte, and held against the f64 reference. A pair that cannot run says why.

use super::{What, execute};
use crate::check;
use crate::compile;
use crate::diag::{Error, Kind, Result};
use crate::machine::Machine;
use crate::model::{self, Prepared};
use crate::native;
use crate::num::{format, value};
use crate::policy::{self, Policy};
use crate::tensor::TensorType;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Schema of [`Matrix`].
pub const MATRIX_SCHEMA: &str = "preon.matrix/1";

/// Formats of activations that make the columns.
pub const ACTIVATIONS: [&str; 12] =
    ["fp32", "bf16", "fp16", "fp8e4m3", "fp8e5m2", "mxfp8e4m3", "mxfp4", "nvfp4", "int8", "int4", "ternary", "binary"];

/// Rows, outputs and inputs of the layer: a short last block for every block size, and a byte that ends early.
const SHAPE: (usize, usize, usize) = (3, 5, 70);

/// A (weights, activations) pair, run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Format of the weights.
    pub weights: String,
    /// Format of the activations.
    pub activations: String,
    /// Class of the dot products; `null` if the pair is refused.
    pub class: Option<String>,
    /// Largest distance from the f64 reference in units of the bound; `null` if the pair is refused.
    pub worst: Option<f64>,
    /// Why the pair does not run.
    pub refused: Option<String>,
    /// What differs: from native to virtual, or from the f64 reference by more than the bound.
    pub mismatch: Option<String>,
}

/// A row of the table of formats that is not meant for weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Name of the format.
    pub format: String,
    /// Why.
    pub why: String,
}

/// How many pairs ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// All pairs.
    pub pairs: usize,
    /// Those with equal bytes on both backends, within the bounds of the reference.
    pub equal: usize,
    /// Those refused with a reason.
    pub refused: usize,
    /// Those that ran and went wrong.
    pub mismatched: usize,
}

/// Every pair on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    /// [`MATRIX_SCHEMA`].
    pub schema: String,
    /// Name of the machine.
    pub machine: String,
    /// Rows of the input, outputs, inputs of the layer.
    pub shape: (usize, usize, usize),
    /// Formats of weights, top to bottom.
    pub weights: Vec<String>,
    /// Formats of activations, left to right.
    pub activations: Vec<String>,
    /// One a (weights, activations), row by row.
    pub pairs: Vec<Pair>,
    /// Rows of the table of formats that make no row here.
    pub left_out: Vec<LeftOut>,
    /// Counts.
    pub totals: Totals,
}

/// Names of weights that a policy may hold, and the formats that are none: those without negative values.
fn weights() -> (Vec<String>, Vec<LeftOut>) {
    let (mut names, mut left_out) = (vec!["fp64".to_string()], Vec::new());
    for format in format::formats() {
        let lowest = format.sorted.first();
        let scale =
            format.element == format::Element::Squares || lowest.is_some_and(|code| value(format, *code) >= 0.0);
        match scale {
            false => names.push(format.name.clone()),
            true => left_out.push(LeftOut {
                format: format.name.clone(),
                why: "has no negative values: a format of scales".into(),
            }),
        }
    }
    names.extend(TensorType::composite_names().map(String::from));
    (names, left_out)
}

/// Runs every pair on `machine`, on `threads` threads; the result does not depend on their number. `progress` hears of
/// each finished pair, and of how many there are.
///
/// # Errors
/// Internal if a pair is lost. What a pair cannot do, or does wrong, stands in the result.
pub fn matrix(machine: &Machine, threads: usize, progress: &(dyn Fn(&str, usize) + Sync)) -> Result<Matrix> {
    let (m, n, k) = SHAPE;
    let layer = model::gemm(m, n, k, 0, false)?;
    let (weights, left_out) = weights();
    let names: Vec<(&str, &str)> =
        weights.iter().flat_map(|w| ACTIVATIONS.iter().map(move |x| (w.as_str(), *x))).collect();
    let slots: Vec<Mutex<Option<Pair>>> = names.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some((w, x)), Some(slot)) = (names.get(at), slots.get(at)) else { break };
            let pair = pair(machine, &layer, w, x);
            if let Ok(mut slot) = slot.lock() {
                *slot = Some(pair);
            }
            progress(&format!("{w} x {x}"), names.len());
        }
    };
    std::thread::scope(|scope| (0..threads.max(1)).for_each(|_| drop(scope.spawn(work))));
    let lost = || Error::internal("a pair of formats was lost");
    let pairs: Vec<Pair> =
        slots.into_iter().map(|slot| slot.into_inner().ok().flatten().ok_or_else(lost)).collect::<Result<_>>()?;
    let count = |what: fn(&Pair) -> bool| pairs.iter().filter(|pair| what(pair)).count();
    let (refused, mismatched) = (count(|p| p.refused.is_some()), count(|p| p.mismatch.is_some()));
    let totals = Totals { pairs: pairs.len(), equal: pairs.len() - refused - mismatched, refused, mismatched };
    Ok(Matrix {
        schema: MATRIX_SCHEMA.into(),
        machine: machine.name.clone(),
        shape: SHAPE,
        activations: ACTIVATIONS.map(String::from).to_vec(),
        weights,
        pairs,
        left_out,
        totals,
    })
}

/// One pair: only what is unsupported is refused, every other failure is a mismatch.
fn pair(machine: &Machine, layer: &Prepared, weights: &str, activations: &str) -> Pair {
    let mut pair = Pair {
        weights: weights.into(),
        activations: activations.into(),
        class: None,
        worst: None,
        refused: None,
        mismatch: None,
    };
    match served(machine, layer, &mut pair) {
        Ok(()) => {}
        Err(error) if error.kind() == Kind::Unsupported => pair.refused = Some(error.message().to_string()),
        Err(error) => pair.mismatch = Some(error.message().to_string()),
    }
    pair
}

fn served(machine: &Machine, layer: &Prepared, pair: &mut Pair) -> Result<()> {
    // A name that is no type has a better reason than the policy's line.
    TensorType::parse(&pair.weights)?;
    let text = format!(
        "schema = \"preon.policy/1\"\nname = \"pair\"\ndoc = \"One pair of formats.\"\n[[rule]]\nmatch = \"*\"\n\
         weights = \"{}\"\nactivations = \"{}\"\n",
        pair.weights, pair.activations
    );
    let graph = policy::apply(&layer.graph, &Policy::parse("pair", &text)?)?;
    let options = compile::Options { fuse: false, ..compile::Options::default() };
    let compiled = compile::compile(&graph, machine, &options)?;
    let captured = execute(&compiled, &graph, &layer.inputs, machine, What::Values)?.captured;
    let native = native::run(&graph, &layer.inputs, &native::Options::from_env()?)?;
    let report = check::compare(&graph, &captured, &native);
    let reference = check::against_reference(&graph, &captured, &layer.inputs)?;
    pair.class = native.nodes().iter().find_map(|output| output.class).map(|class| class.name().to_string());
    pair.worst = Some(reference.worst);
    let wrong = report.mismatches.first().map(ToString::to_string);
    pair.mismatch = wrong.or_else(|| reference.strays.first().map(ToString::to_string));
    if pair.mismatch.is_none() && (!report.is_bit_exact() || reference.within != graph.nodes.len()) {
        pair.mismatch = Some("not every node was compared".into());
    }
    Ok(())
}
