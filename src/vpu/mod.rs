//! The facade: a machine, a policy, and what one does with them. The command line is a thin client of this module.
//!
//! ```
//! use preon::{Vpu, machine, model, policy};
//!
//! # fn main() -> preon::Result<()> {
//! let mut vpu = Vpu::new(machine::load("edge")?);
//! vpu.set_precision(policy::load("int8")?);
//! let input = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
//! let run = vpu.run(&input)?;
//! assert!(run.summary.cycles > 0);
//! assert!(run.summary.quality.value > 0.99);
//! # Ok(())
//! # }
//! ```

mod blame;
mod execute;
mod joules;
mod matrix;
mod quality;
mod summarise;
pub mod summary;
pub mod validate;
pub mod workload;
mod workload_report;

use crate::check::{self, CheckReport};
use crate::compile::kernels::Kernels;
use crate::compile::{self, Compiled};
use crate::diag::{Error, Result};
use crate::graph::{Graph, InputData};
use crate::isa::Object;
use crate::machine::Machine;
use crate::model::Prepared;
use crate::native;
use crate::policy::{self, Glob, Policy};
use crate::sim::history::{History, Keep};
use crate::sim::observe::{Observer, Unobserved};
use crate::sim::{Outcome, Place, SPENT, What as Count};
use crate::tensor::{Tensor, TensorType};
pub use execute::{Execution, What, execute, execute_observed};
pub use matrix::{ACTIVATIONS, MATRIX_SCHEMA, Matrix, Pair as MatrixPair, Totals as MatrixTotals, matrix};
use quality::{Baseline, Distance};
use std::sync::Arc;
use summary::{EnergyParts, Layer, RunSummary};

/// Bins of the history of a run: a chart has about as many columns of pixels.
const HISTORY_BINS: usize = 1024;

/// What a run does beside computing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// Fuse element-wise epilogues into products.
    pub fuse: bool,
    /// Cycles and joules without values: no outputs, no quality, no check.
    pub timing_only: bool,
    /// Compare every node with the native backend.
    pub check: bool,
    /// Describe the loop nest of the layers whose name contains this.
    pub explain: Option<String>,
    /// Names of further nodes whose outputs are returned.
    pub dump: Vec<String>,
    /// Seed of inputs and weights that are made up ([`Vpu::gemm`]).
    pub seed: u64,
    /// The kernels that programs are linked from.
    pub kernels: Kernels,
    /// Keep what units and SRAM did over time, for charts.
    pub history: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions {
            fuse: true,
            timing_only: false,
            check: true,
            explain: None,
            dump: Vec::new(),
            seed: 0,
            kernels: Kernels::builtin(),
            history: false,
        }
    }
}

/// A named result as f32.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedOutput {
    /// Output or node name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Dequantised values, row-major.
    pub values: Vec<f32>,
}

/// Everything one run gives.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// Figures.
    pub summary: RunSummary,
    /// The model's outputs, then the dumped nodes; empty for a timing-only run.
    pub outputs: Vec<NamedOutput>,
    /// Loop nests asked for by [`RunOptions::explain`].
    pub explain: Option<String>,
    /// The program; [`crate::isa::disasm::disassemble`] writes it out.
    pub object: Object,
    /// Cross-check, if it was asked for.
    pub check: Option<CheckReport>,
    /// What units and SRAM did over time, if [`RunOptions::history`] asks for it.
    pub history: Option<History>,
}

/// The virtual processing unit.
#[derive(Debug)]
pub struct Vpu {
    machine: Machine,
    policy: Policy,
    /// What runs do beside computing.
    pub options: RunOptions,
    baseline: Option<Baseline>,
}

impl Vpu {
    /// A unit on `machine`, in fp32 until [`Vpu::set_precision`] says otherwise.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// assert_eq!(vpu.policy().name, "fp32");
    /// # Ok::<(), preon::Error>(())
    /// ```
    pub fn new(machine: Machine) -> Self {
        let fp32 = policy::built_ins().swap_remove(0);
        Vpu { machine, policy: fp32, options: RunOptions::default(), baseline: None }
    }

    /// The machine.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// assert_eq!(vpu.machine().name, "edge");
    /// # Ok::<(), preon::Error>(())
    /// ```
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The policy in force.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// vpu.set_precision(policy::load("w1.58a8")?);
    /// assert_eq!(vpu.policy().name, "w1.58a8");
    /// # Ok::<(), preon::Error>(())
    /// ```
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sets the precision policy of the runs that follow.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// # let mlp = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    /// vpu.set_precision(policy::load("int8")?);
    /// assert!(vpu.quantize_model(&mlp)?.nodes.len() > mlp.graph.nodes.len(), "quantisers were added");
    /// # Ok::<(), preon::Error>(())
    /// ```
    pub fn set_precision(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// What `values` become in a format: quantised and decoded again. `kind` is written as in policies: `fp8e4m3`,
    /// `int8/row`, `fp4e2m1/block32`.
    ///
    /// ```
    /// # use preon::{Vpu, machine};
    /// let vpu = Vpu::new(machine::load("edge").unwrap());
    /// assert_eq!(vpu.emulate(&[0.3, 1.0, -1.0], "ternary/tensor").unwrap(), [0.0, 0.76666665, -0.76666665]);
    /// ```
    ///
    /// # Errors
    /// Unsupported for an unknown format, BadInput for NaN or infinite values.
    pub fn emulate(&self, values: &[f32], kind: &str) -> Result<Vec<f32>> {
        let ty = TensorType::parse(kind)?;
        Ok(Tensor::quantise(vec![values.len()], values, ty)?.to_f32())
    }

    /// The model's graph under the policy: quantised weights, quantisers in front of products.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// # let mlp = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    /// vpu.set_precision(policy::load("w1.58a8")?);
    /// let graph = vpu.quantize_model(&mlp)?;
    /// let weight = graph.values.iter().find(|value| value.name == "fc1.weight").expect("a weight of the model");
    /// assert_eq!(weight.ty.to_string(), "ternary/tensor");
    /// # Ok::<(), preon::Error>(())
    /// ```
    ///
    /// # Errors
    /// A rule that matches nothing, or a format pair that is not served.
    pub fn quantize_model(&self, prepared: &Prepared) -> Result<Graph> {
        policy::apply(&prepared.graph, &self.policy)
    }

    /// A copy of the model in which the weights of tensor `name` are zero where `keep` is false (row-major).
    /// The zeros are stored and computed like other weights.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// # let mlp = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    /// let elements = 256 * 64;
    /// let masked = vpu.apply_mask(&mlp, "fc1.weight", &vec![false; elements])?;
    /// assert_ne!(vpu.run(&masked)?.outputs[0].values, vpu.run(&mlp)?.outputs[0].values);
    /// # Ok::<(), preon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Usage if there is no such weight or the mask has another size.
    pub fn apply_mask(&self, prepared: &Prepared, name: &str, keep: &[bool]) -> Result<Prepared> {
        let mut masked = prepared.clone();
        let value = masked
            .graph
            .values
            .iter_mut()
            .find(|value| value.name == name && matches!(value.def, crate::graph::Def::Const(_)))
            .ok_or_else(|| Error::usage(format!("the model has no weight `{name}`")))?;
        let crate::graph::Def::Const(tensor) = &value.def else {
            return Err(Error::internal("a constant without a tensor"));
        };
        let mut values = tensor.to_f32();
        if values.len() != keep.len() {
            return Err(Error::usage(format!("the mask has {} entries, `{name}` has {}", keep.len(), values.len())));
        }
        for (value, keep) in values.iter_mut().zip(keep) {
            *value = if *keep { *value } else { 0.0 };
        }
        let zeroed = Tensor::from_f32(tensor.shape.clone(), &values)?;
        value.def = crate::graph::Def::Const(Arc::new(zeroed));
        self.forget(&mut masked, name);
        Ok(masked)
    }

    /// A masked model is another model: its name says so, and with it its FP32 baseline.
    fn forget(&self, masked: &mut Prepared, name: &str) {
        masked.graph.name = format!("{}-masked-{name}", masked.graph.name);
    }

    /// Compiles and runs a model: outputs, cycles, joules, and whatever [`RunOptions`] ask for.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// # let mlp = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    /// vpu.set_precision(policy::load("int8")?);
    /// let run = vpu.run(&mlp)?;
    /// assert_eq!(run.outputs[0].name, "logits");
    /// assert!(run.summary.energy_pj.total > 0.0 && run.summary.cycles > 0);
    /// # Ok::<(), preon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Unsupported if the policy or the machine cannot serve the model; Fault if the program traps.
    pub fn run(&mut self, prepared: &Prepared) -> Result<RunResult> {
        self.run_observed(prepared, &mut Unobserved)
    }

    /// As [`Vpu::run`]; `observer` is told what the clock did with every instruction.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// use preon::exec::event::Event;
    /// use preon::sim::observe::{Observer, Times};
    ///
    /// struct Last(u64);
    /// impl Observer for Last {
    ///     const WANTED: bool = true;
    ///     fn record(&mut self, _: &Event, times: &Times) {
    ///         self.0 = self.0.max(times.end);
    ///     }
    /// }
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// # let mlp = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    /// let mut last = Last(0);
    /// let run = vpu.run_observed(&mlp, &mut last)?;
    /// assert!(last.0 > 0 && last.0 <= run.summary.cycles);
    /// # Ok::<(), preon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Vpu::run`].
    pub fn run_observed<O: Observer>(&mut self, prepared: &Prepared, observer: &mut O) -> Result<RunResult> {
        let assignments = policy::plan(&prepared.graph, &self.policy)?;
        let graph = &policy::apply(&prepared.graph, &self.policy)?;
        let compiled = self.compile(graph, self.options.fuse);
        let compiled = compiled.map_err(|error| policy::naming_rules(error, &self.policy, &assignments))?;
        let what = if self.options.timing_only { What::Time } else { What::Both };
        let (inputs, machine) = (&prepared.inputs, &self.machine);
        let keep = Keep { bins: HISTORY_BINS, window: None, pictures: true };
        let mut history = self.options.history.then(|| History::new(machine, keep));
        let execution = match &mut history {
            Some(history) => execute_observed(&compiled, graph, inputs, machine, what, &mut (&mut *observer, history))?,
            None => execute_observed(&compiled, graph, inputs, machine, what, observer)?,
        };
        let check = match self.options.check && !self.options.timing_only {
            true => Some(self.check_graph(graph, &prepared.inputs, Some((&compiled, &execution.captured)))?),
            false => None,
        };
        let outputs = self.outputs(graph, &execution.captured)?;
        let distance = self.distance(prepared, graph, &execution.captured, &outputs)?;
        let explain = self
            .options
            .explain
            .as_ref()
            .map(|name| explain(&compiled, execution.outcome.as_ref(), name))
            .transpose()?;
        let summary = summarise::summary(&summarise::Parts {
            prepared,
            machine: &self.machine,
            policy: &self.policy,
            graph,
            assignments: &assignments,
            compiled: &compiled,
            execution: &execution,
            check: check.as_ref(),
            distance: distance.as_ref(),
            seed: self.options.seed,
        })?;
        Ok(RunResult { summary, outputs, explain, object: compiled.object, check, history })
    }

    /// Compares every node of the virtual run with the native backend, bit by bit: once unfused, so that every node
    /// leaves a result, and once fused.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// # let mlp = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    /// vpu.set_precision(policy::load("w1a1")?);
    /// assert!(vpu.check(&mlp)?.is_bit_exact());
    /// # Ok::<(), preon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Vpu::run`]; a difference is not an error but stands in the report.
    pub fn check(&self, prepared: &Prepared) -> Result<CheckReport> {
        let graph = policy::apply(&prepared.graph, &self.policy)?;
        let report = self.check_graph(&graph, &prepared.inputs, None);
        report.map_err(|error| match policy::plan(&prepared.graph, &self.policy) {
            Ok(assignments) => policy::naming_rules(error, &self.policy, &assignments),
            Err(_) => error,
        })
    }

    fn check_graph(
        &self,
        graph: &Graph,
        inputs: &[InputData],
        fused: Option<(&Compiled, &[check::Captured])>,
    ) -> Result<CheckReport> {
        let expected = native::run(graph, inputs, &native::Options::from_env()?)?;
        let compare = |compiled: &Compiled, captured: &[check::Captured]| -> Result<CheckReport> {
            let mut report = check::compare(graph, captured, &expected);
            blame::name_line(&mut report, compiled, graph, inputs, &self.machine)?;
            Ok(report)
        };
        let run = |fuse: bool| -> Result<CheckReport> {
            let compiled = self.compile(graph, fuse)?;
            compare(&compiled, &execute(&compiled, graph, inputs, &self.machine, What::Values)?.captured)
        };
        let mut report = run(false)?;
        report.add_run(match fused {
            Some((compiled, captured)) => compare(compiled, captured)?,
            None => run(true)?,
        });
        Ok(report)
    }

    /// Energy of a run of the model, without computing its values.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// # let mlp = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    /// let energy = vpu.estimate_energy(&mlp)?;
    /// assert_eq!(energy.total, vpu.run(&mlp)?.summary.energy_pj.total);
    /// # Ok::<(), preon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Vpu::run`].
    pub fn estimate_energy(&mut self, prepared: &Prepared) -> Result<EnergyParts> {
        Ok(self.timed(prepared)?.energy_pj)
    }

    /// Cycles and energy of every layer, without computing values.
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// # let mlp = model::load("builtin:mlp")?.prepare(&model::Input::Default)?;
    /// let layers = vpu.profile(&mlp)?;
    /// assert!(layers.iter().any(|layer| layer.name.starts_with("fc1") && layer.cycles > 0));
    /// # Ok::<(), preon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Vpu::run`].
    pub fn profile(&mut self, prepared: &Prepared) -> Result<Vec<Layer>> {
        Ok(self.timed(prepared)?.layers)
    }

    fn timed(&mut self, prepared: &Prepared) -> Result<RunSummary> {
        let kept = self.options.clone();
        self.options = RunOptions { timing_only: true, check: false, ..kept.clone() };
        let result = self.run(prepared);
        self.options = kept;
        Ok(result?.summary)
    }

    /// One matrix product `[m,k] x [n,k]` with made-up operands (ChaCha8 of [`RunOptions::seed`], normal).
    ///
    /// ```
    /// # use preon::{Vpu, machine, model, policy};
    /// # let mut vpu = Vpu::new(machine::load("edge")?);
    /// vpu.set_precision(policy::load("int8")?);
    /// assert_eq!(vpu.gemm(4, 8, 16)?.summary.macs.dense, 4 * 8 * 16);
    /// # Ok::<(), preon::Error>(())
    /// ```
    ///
    /// # Errors
    /// Usage for an empty or absurd shape, else as [`Vpu::run`].
    pub fn gemm(&mut self, m: usize, n: usize, k: usize) -> Result<RunResult> {
        let policies = std::slice::from_ref(&self.policy);
        let prepared = gemm_operands([m, n, k], self.options.seed, self.options.timing_only, policies)?;
        self.run(&prepared)
    }

    fn compile(&self, graph: &Graph, fuse: bool) -> Result<Compiled> {
        let kernels = self.options.kernels.clone();
        let timer = Some(execute::time_alone as compile::trial::Timer);
        let options = compile::Options { fuse, kernels, timer, ..compile::Options::default() };
        compile::compile(graph, &self.machine, &options)
    }

    /// Named outputs and dumped nodes.
    fn outputs(&self, graph: &Graph, captured: &[check::Captured]) -> Result<Vec<NamedOutput>> {
        if self.options.timing_only {
            return Ok(Vec::new());
        }
        let mut wanted: Vec<(String, crate::graph::ValueId)> = graph.outputs.clone();
        let fused = |name: &str| {
            Error::usage(format!("node `{name}` leaves no result of its own: it is fused")).help("add --no-fuse")
        };
        let captured_at = |value| captured.iter().find(|c| graph.node(c.node).output == value);
        for pattern in &self.options.dump {
            if let Some(node) = graph.nodes.iter().find(|node| node.name == *pattern) {
                captured_at(node.output).ok_or_else(|| fused(pattern))?;
                wanted.push((node.name.clone(), node.output));
                continue;
            }
            // A pattern means the nodes that it matches and that leave a result.
            let glob = Glob::parse(pattern)?;
            let matching: Vec<_> = graph.nodes.iter().filter(|node| glob.matches(&node.name)).collect();
            let first = matching.first().ok_or_else(|| {
                let near = crate::diag::did_you_mean(pattern, graph.nodes.iter().map(|node| node.name.as_str()));
                let error = Error::usage(format!("the model has no node `{pattern}` to dump"));
                match near {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error,
                }
            })?;
            let before = wanted.len();
            wanted.extend(matching.iter().map(|n| (n.name.clone(), n.output)).filter(|n| captured_at(n.1).is_some()));
            if wanted.len() == before {
                return Err(fused(&first.name));
            }
        }
        let mut names = std::collections::BTreeSet::new();
        wanted.retain(|(name, _)| names.insert(name.clone()));
        wanted
            .into_iter()
            .map(|(name, value)| {
                let found = captured_at(value).ok_or_else(|| fused(&name))?;
                Ok(NamedOutput { name, shape: found.tensor.shape.clone(), values: found.tensor.to_f32() })
            })
            .collect()
    }

    /// Distance of a run from the FP32 run of the same model and input, which is kept for the next policy.
    fn distance(
        &mut self,
        prepared: &Prepared,
        graph: &Graph,
        captured: &[check::Captured],
        outputs: &[NamedOutput],
    ) -> Result<Option<Distance>> {
        let Some(output) = outputs.first() else { return Ok(None) };
        let baseline = match self.baseline.take() {
            Some(known) if known.is_of(prepared) => known,
            _ => Baseline::of(prepared)?,
        };
        Ok(Some(self.baseline.insert(baseline).distance(graph, output, captured)))
    }
}

/// Operands of a product of M, N, K for runs under `policies`: of shapes alone where no value matters to a timing-only run.
///
/// # Errors
/// As [`crate::model::gemm`].
pub fn gemm_operands([m, n, k]: [usize; 3], seed: u64, timing_only: bool, policies: &[Policy]) -> Result<Prepared> {
    if timing_only && !policies.iter().any(Policy::looks_at_values) {
        crate::model::hollow_gemm(m, n, k)
    } else {
        crate::model::gemm(m, n, k, seed, timing_only)
    }
}

/// What a step moved at each memory level and did in each unit, as an aligned list.
fn levels(outcome: &Outcome, node: u32) -> String {
    let count = |place: Place, what: Count| {
        outcome.ledger.count(|key| key.node == node && key.place == place && key.what == what)
    };
    let mut text = format!("  {:<14} {:>14} {:>14}\n", "level", "bytes read", "bytes written");
    for (name, place) in [("DRAM", Place::Dram), ("shared SRAM", Place::Shared), ("SRAM", Place::Own)] {
        let (read, written) = (count(place, Count::ReadBytes), count(place, Count::WriteBytes));
        if read + written > 0 {
            text.push_str(&format!("  {name:<14} {read:>14} {written:>14}\n"));
        }
    }
    let macs = outcome.ledger.count(|key| key.node == node && key.what == Count::Mac);
    let entries = outcome.ledger.count(|key| key.node == node && key.what == Count::AccumulatorEntries);
    let spent = outcome.timing.nodes.get(node as usize).copied().unwrap_or_default();
    let spent: Vec<String> = SPENT
        .iter()
        .zip(spent)
        .filter(|(_, cycles)| *cycles > 0)
        .map(|(name, cycles)| format!("{name} {cycles}"))
        .collect();
    text.push_str(&format!("  {macs} MACs executed, {entries} accumulator entries touched\n"));
    text.push_str(&format!("  {} cycles: {}\n", outcome.timing.node_cycles(node), spent.join(", ")));
    text
}

/// Loop nests of the steps whose name contains `name`, each with what it moved and computed at every level.
fn explain(compiled: &Compiled, outcome: Option<&Outcome>, name: &str) -> Result<String> {
    let mut text = String::new();
    for (index, step) in compiled.steps.iter().enumerate().filter(|(_, step)| step.name.contains(name)) {
        text.push_str(&format!("{}  ({}, {} MACs)\n", step.name, step.kernel, step.macs_dense));
        for line in &step.loops {
            text.push_str(&format!("  {line}\n"));
        }
        if let (Some(outcome), Ok(node)) = (outcome, u32::try_from(index)) {
            text.push_str(&levels(outcome, node));
        }
    }
    if text.is_empty() {
        let names = compiled.steps.iter().map(|step| step.name.as_str());
        let error = Error::usage(format!("no layer's name contains `{name}`"));
        return Err(match crate::diag::did_you_mean(name, names) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("layers.csv of a run lists the names"),
        });
    }
    Ok(text)
}
