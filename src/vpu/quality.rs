//! How far a run is from the same model in FP32: the cosine of its result, and the noise of every node.

use super::NamedOutput;
use crate::check::Captured;
use crate::diag::{Error, Result};
use crate::graph::{Graph, InputData};
use crate::look::{cosine, sqnr_db};
use crate::model::Prepared;
use crate::native;
use std::collections::BTreeMap;

/// FP32 results of one model and input, kept because every policy is measured against them.
#[derive(Debug)]
pub struct Baseline {
    graph: String,
    inputs: Vec<InputData>,
    /// Values of the first output.
    output: Vec<f32>,
    /// Values of every node, by name.
    nodes: BTreeMap<String, Vec<f32>>,
}

/// The distance of one run from its baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Distance {
    /// Cosine of the first output; 1 is the same direction.
    pub cosine: f64,
    /// Signal-to-quantisation-noise ratio in dB of every node that differs and that the FP32 graph has too.
    pub sqnr_db: BTreeMap<String, f64>,
}

impl Baseline {
    /// Runs the model in FP32 on the native backend.
    ///
    /// # Errors
    /// As [`native::run`].
    pub fn of(prepared: &Prepared) -> Result<Self> {
        let Prepared { graph, inputs, .. } = prepared;
        let run = native::run(graph, inputs, &native::Options::from_env()?)?;
        let first = graph.outputs.first().ok_or_else(|| Error::internal("a model without an output"))?;
        let output = run.named(graph, &first.0).ok_or_else(|| Error::internal("an output without a value"))?.to_f32();
        let nodes = graph.nodes.iter().zip(run.nodes());
        Ok(Baseline {
            graph: graph.name.clone(),
            inputs: inputs.clone(),
            output,
            nodes: nodes.map(|(node, output)| (node.name.clone(), output.tensor.to_f32())).collect(),
        })
    }

    /// True if this is the baseline of `prepared`.
    pub fn is_of(&self, prepared: &Prepared) -> bool {
        self.graph == prepared.graph.name && self.inputs == prepared.inputs
    }

    /// How far `output` and the captured nodes of a run are from here.
    pub fn distance(&self, graph: &Graph, output: &NamedOutput, captured: &[Captured]) -> Distance {
        let noise = |found: &Captured| {
            let name = &graph.node(found.node).name;
            let db = sqnr_db(self.nodes.get(name)?, &found.tensor.to_f32())?;
            Some((name.clone(), db))
        };
        Distance { cosine: cosine(&output.values, &self.output), sqnr_db: captured.iter().filter_map(noise).collect() }
    }
}
