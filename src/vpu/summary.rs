//! One run's result as data: schema `preon.run/1`, the contents of `summary.json` and of `-f json`.
//!
//! Everything a report, a script or another tool may want to know of a run stands here, and nothing that differs
//! between two equal runs: host times and versions belong to `manifest.json`. Cycles, bytes and counts are integers;
//! energies are picojoules; a number that is not finite is an error when written, never `null`.
//! docs/summary.schema.json describes the same in JSON Schema; a test holds the two together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use crate::diag::{Error, Result};

mod joules;

pub use joules::{Band, Beside, Joules, PerMac, PriceUse, SupplyUse, Thermal};

/// Value of [`RunSummary::schema`].
pub const SCHEMA: &str = "preon.run/1";

/// What one run of one model on one machine under one policy gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSummary {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Name of the model.
    pub model: String,
    /// Weights and biases of the model, in elements.
    pub parameters: u64,
    /// Name of the machine.
    pub machine: String,
    /// Core clock of the machine.
    #[serde(serialize_with = "finite")]
    pub clock_hz: f64,
    /// Name of the policy.
    pub policy: String,
    /// Seed of everything random: built-in weights, inputs, stochastic rounding.
    pub seed: u64,
    /// Tokens (rows) of the input, padding excluded.
    pub tokens: u64,
    /// Padding tokens that were computed on top.
    pub padding: u64,
    /// Instructions executed.
    pub instructions: u64,
    /// Cycles from the first issue to the end of the last unit.
    pub cycles: u64,
    /// Simulated time: cycles / clock.
    #[serde(serialize_with = "finite")]
    pub time_ns: f64,
    /// Energy, in parts.
    pub energy_pj: EnergyParts,
    /// The same total with every price at the low and at the high end of its source's spread.
    pub energy_range_pj: EnergyRange,
    /// Energy by unit and memory level; sums to `energy_pj.total`.
    pub energy_by_component: Vec<ComponentEnergy>,
    /// Traffic and sizes.
    pub bytes: Bytes,
    /// How near the outputs are to those of the FP32 run.
    pub quality: Quality,
    /// Result of the cross-check, `null` if it was not asked for.
    pub check: Option<CheckSummary>,
    /// Multiply-accumulates.
    pub macs: Macs,
    /// FP32 on the same machine over this run; `null` if no FP32 run stands beside it.
    pub saved_vs_fp32: Option<Saved>,
    /// Every priced operation: `arithmetic` is the sum of their `pj_total`.
    pub ops: Vec<OpEnergy>,
    /// Busy, stalled and idle cycles of every unit; each sums to `cycles`.
    pub units: Vec<UnitCycles>,
    /// Steps of the program in order; their cycles sum to `cycles`.
    pub layers: Vec<Layer>,
    /// Stored weights, one row a tensor; their bytes sum to `bytes.weights`.
    pub weights: Vec<WeightTensor>,
    /// What limits this run.
    pub bound_by: BoundBy,
    /// Ceilings of the machine for the format pairs that were used.
    pub peak: Peak,
    /// Figures taken from elsewhere, each with its source.
    pub assumptions: Vec<Assumption>,
    /// What the timing and energy models leave out.
    pub not_modelled: Vec<String>,
    /// Remarks on this run, for example that ternary weights want a model trained in ternary.
    pub notes: Vec<String>,
    /// Where each joule comes from; absent in summaries of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules: Option<Joules>,
    /// The user's kernels (`--kernels`), if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernels: Vec<KernelFile>,
}

/// A file of the kernel library that a user's file replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelFile {
    /// Name of the library's file.
    pub name: String,
    /// Path of the user's.
    pub path: String,
    /// Steps of the program whose code it is part of; 0 if the program does not use it.
    pub steps: u64,
}

/// Energy in picojoules; `total` is the sum of the other three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyParts {
    /// Everything.
    #[serde(serialize_with = "finite")]
    pub total: f64,
    /// Multiply-accumulates, element-wise operations, conversions.
    #[serde(serialize_with = "finite")]
    pub arithmetic: f64,
    /// Registers, SRAM, DRAM, instruction issue.
    #[serde(serialize_with = "finite")]
    pub movement: f64,
    /// Leakage and background power over the run's time.
    #[serde(serialize_with = "finite")]
    pub leakage: f64,
}

impl EnergyParts {
    /// The parts, with their total.
    pub fn new(arithmetic: f64, movement: f64, leakage: f64) -> Self {
        EnergyParts { total: arithmetic + movement + leakage, arithmetic, movement, leakage }
    }
}

/// Ends of the spread of an energy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyRange {
    /// Low end.
    #[serde(serialize_with = "finite")]
    pub low: f64,
    /// High end.
    #[serde(serialize_with = "finite")]
    pub high: f64,
}

/// Which of the three parts an amount of energy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnergyPart {
    /// Computing.
    Arithmetic,
    /// Moving bytes.
    Movement,
    /// Being switched on.
    Leakage,
}

/// Energy of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentEnergy {
    /// Unit or memory level: `array`, `vector`, `sram`, `dram`, `leakage`, ...
    pub component: String,
    /// The part it counts under.
    pub part: EnergyPart,
    /// Energy.
    #[serde(serialize_with = "finite")]
    pub pj: f64,
}

/// Traffic by level, and sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// Read from DRAM.
    pub dram_read: u64,
    /// Written to DRAM.
    pub dram_write: u64,
    /// Read from SRAM, all levels.
    pub sram_read: u64,
    /// Written to SRAM, all levels.
    pub sram_write: u64,
    /// Stored weights, scales included.
    pub weights: u64,
    /// Most SRAM in use at once.
    pub peak_sram: u64,
    /// Stored weight bytes by format; sums to `weights`.
    pub by_format: BTreeMap<String, u64>,
}

/// A quality figure and what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// For example `cosine to fp32`.
    pub metric: String,
    /// Its value.
    #[serde(serialize_with = "finite")]
    pub value: f64,
}

/// Outcome of the comparison of the virtual processor with the native backend, node by node and bit by bit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSummary {
    /// True if every byte of every node is equal.
    pub bit_exact: bool,
    /// Nodes compared.
    pub nodes: u64,
    /// Nodes with at least one different byte.
    pub mismatches: u64,
    /// One row a node, in program order.
    pub rows: Vec<CheckRow>,
}

/// The comparison of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRow {
    /// Node.
    pub node: String,
    /// Its op.
    pub op: String,
    /// Storage format of its output.
    pub format: String,
    /// Output elements compared.
    pub elements: u64,
    /// Elements that differ in at least one bit.
    pub different: u64,
    /// Signal to quantisation noise against the float64 reference in dB; `null` where it is infinite or undefined.
    #[serde(serialize_with = "finite_or_null")]
    pub sqnr_db: Option<f64>,
}

/// Multiply-accumulates: dense = executed + skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Macs {
    /// What the shapes ask for.
    pub dense: u64,
    /// What the units did.
    pub executed: u64,
    /// What masks saved.
    pub skipped: u64,
}

/// How many times less than FP32: FP32's figure over this run's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Cycles.
    #[serde(serialize_with = "finite")]
    pub cycles: f64,
    /// Total energy.
    #[serde(serialize_with = "finite")]
    pub energy: f64,
    /// DRAM bytes, read and written.
    #[serde(serialize_with = "finite")]
    pub dram_bytes: f64,
    /// Stored weight bytes.
    #[serde(serialize_with = "finite")]
    pub weight_bytes: f64,
}

impl Saved {
    /// The ratios of `fp32` over `run`; a ratio with a zero below it is given as 1.
    pub fn of(run: &RunSummary, fp32: &RunSummary) -> Self {
        let ratio = |a: f64, b: f64| if b == 0.0 { 1.0 } else { a / b };
        let dram = |s: &RunSummary| (s.bytes.dram_read + s.bytes.dram_write) as f64;
        Saved {
            cycles: ratio(fp32.cycles as f64, run.cycles as f64),
            energy: ratio(fp32.energy_pj.total, run.energy_pj.total),
            dram_bytes: ratio(dram(fp32), dram(run)),
            weight_bytes: ratio(fp32.bytes.weights as f64, run.bytes.weights as f64),
        }
    }
}

/// One kind of priced operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpEnergy {
    /// Operation: `mac`, `add`, `special`, `convert`, `fold`, ...
    pub kind: String,
    /// Formats, `weights x inputs` for a `mac`; empty where they do not matter.
    pub formats: String,
    /// Unit that ran it.
    pub unit: String,
    /// Key of the price in the machine file.
    pub key: String,
    /// Operations.
    pub count: u64,
    /// Price of one.
    #[serde(serialize_with = "finite")]
    pub pj_each: f64,
    /// Price of all: `count * pj_each`.
    #[serde(serialize_with = "finite")]
    pub pj_total: f64,
}

/// Cycles of one unit: busy + stalls + idle = the run's cycles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitCycles {
    /// Unit.
    pub unit: String,
    /// Working.
    pub busy_cycles: u64,
    /// Held up, by cause.
    pub stall_cycles: BTreeMap<String, u64>,
    /// Nothing to do.
    pub idle_cycles: u64,
}

/// One step of the program (a graph node, or several fused ones).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Name; fused nodes are joined by ` + `.
    pub name: String,
    /// Kernel that ran it.
    pub kernel: String,
    /// Formats, `weights x inputs`, empty for element-wise steps.
    pub formats: String,
    /// Cycles that belong to this step (each cycle belongs to one step).
    pub cycles: u64,
    /// The same cycles by what they were spent on: `compute`, `dram`, `sram`, `issue`, ...; sums to `cycles`.
    pub cycles_by: BTreeMap<String, u64>,
    /// Energy.
    pub energy_pj: EnergyParts,
    /// Dense multiply-accumulates.
    pub macs: u64,
    /// DRAM bytes read and written.
    pub dram_bytes: u64,
    /// What limits this step.
    pub bound_by: String,
}

/// One stored weight tensor; the bytes follow from the other fields in closed form:
/// `rows * ceil(columns * bits / 8) + 4 * scales + mask_bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightTensor {
    /// Tensor name.
    pub name: String,
    /// Format of its codes.
    pub format: String,
    /// Rows.
    pub rows: u64,
    /// Elements of a row.
    pub columns: u64,
    /// Bits of a code.
    pub bits: u64,
    /// `none`, `tensor`, `row` or `blockN`.
    pub scaling: String,
    /// f32 scales stored.
    pub scales: u64,
    /// Pattern of the mask, as policies write it; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sparsity: String,
    /// Stored bytes of the mask.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mask_bytes: u64,
    /// Payload, scale and mask bytes.
    pub bytes: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What limits a run, and how we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundBy {
    /// `compute`, `dram`, `sram` or `issue`.
    pub what: String,
    /// One sentence with the figures behind it.
    pub evidence: String,
}

/// Ceilings for rooflines and for checks from outside.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// One row a (unit, format pair) that was used.
    pub macs_per_cycle: Vec<PairPeak>,
    /// Sustained DRAM bandwidth.
    #[serde(serialize_with = "finite")]
    pub dram_bytes_per_cycle: f64,
}

/// The ceiling of one unit for one format pair, and how much of the run's work went there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairPeak {
    /// Unit.
    pub unit: String,
    /// Weight format.
    pub weights: String,
    /// Input format.
    pub inputs: String,
    /// Most multiply-accumulates a cycle, all cores together.
    #[serde(serialize_with = "finite")]
    pub peak: f64,
    /// Multiply-accumulates executed there.
    pub macs: u64,
}

/// A figure taken from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumption {
    /// What it is.
    pub text: String,
    /// Its value with unit.
    pub value: String,
    /// Paper, table, or the rule of an estimate.
    pub source: String,
}

/// Writes `value`, refusing NaN and infinities.
fn finite<S: Serializer>(value: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else {
        Err(serde::ser::Error::custom(format!("{value} is not a finite number")))
    }
}

/// Writes `null` for `None`; refuses NaN and infinities.
fn finite_or_null<S: Serializer>(value: &Option<f64>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match value {
        Some(value) => finite(value, serializer),
        None => serializer.serialize_none(),
    }
}

impl RunSummary {
    /// A summary with names and nothing counted yet; the simulator's figures are filled in by the caller.
    pub fn new(model: impl Into<String>, machine: impl Into<String>, policy: impl Into<String>) -> Self {
        RunSummary {
            schema: SCHEMA.into(),
            model: model.into(),
            parameters: 0,
            machine: machine.into(),
            clock_hz: 0.0,
            policy: policy.into(),
            seed: 0,
            tokens: 0,
            padding: 0,
            instructions: 0,
            cycles: 0,
            time_ns: 0.0,
            energy_pj: EnergyParts::default(),
            energy_range_pj: EnergyRange::default(),
            energy_by_component: Vec::new(),
            bytes: Bytes::default(),
            quality: Quality { metric: "none".into(), value: 0.0 },
            check: None,
            macs: Macs::default(),
            saved_vs_fp32: None,
            ops: Vec::new(),
            units: Vec::new(),
            layers: Vec::new(),
            weights: Vec::new(),
            bound_by: BoundBy { what: "none".into(), evidence: String::new() },
            peak: Peak::default(),
            assumptions: Vec::new(),
            not_modelled: Vec::new(),
            notes: Vec::new(),
            joules: None,
            kernels: Vec::new(),
        }
    }

    /// DRAM bytes read and written.
    pub fn dram_bytes(&self) -> u64 {
        self.bytes.dram_read + self.bytes.dram_write
    }

    /// Executed multiply-accumulates as a share of what the peaks of the used pairs allow in the run's cycles, 0 to 1.
    pub fn utilisation(&self) -> f64 {
        let needed =
            self.peak.macs_per_cycle.iter().filter(|p| p.peak > 0.0).fold(0.0, |s, p| s + p.macs as f64 / p.peak);
        if self.cycles == 0 { 0.0 } else { needed / self.cycles as f64 }
    }
}

/// Fills `saved_vs_fp32` of every run beside which there is an FP32 run of the same model on the same machine.
pub fn fill_saved(runs: &mut [RunSummary]) {
    for at in 0..runs.len() {
        let run = &runs[at];
        let same =
            |other: &&RunSummary| other.policy == "fp32" && other.machine == run.machine && other.model == run.model;
        if let Some(fp32) = runs.iter().find(same) {
            runs[at].saved_vs_fp32 = Some(Saved::of(run, fp32));
        }
    }
}

/// Runs as JSON: one object for one run, an array for several, indented, with a final newline.
///
/// # Errors
/// Internal if a figure is not finite.
pub fn to_json(runs: &[RunSummary]) -> Result<String> {
    let text = match runs {
        [one] => serde_json::to_string_pretty(one),
        many => serde_json::to_string_pretty(many),
    };
    text.map(|text| text + "\n").map_err(|e| Error::internal(format!("the summary cannot be written as JSON: {e}")))
}

/// Reads what [`to_json`] wrote.
///
/// # Errors
/// Bad input if `text` is not `preon.run/1`.
pub fn from_json(text: &str) -> Result<Vec<RunSummary>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(Box<RunSummary>),
        Many(Vec<RunSummary>),
    }
    let read = serde_json::from_str::<OneOrMany>(text)
        .map_err(|e| Error::bad_input(format!("this is not a summary of schema {SCHEMA}: {e}")))?;
    let runs = match read {
        OneOrMany::One(one) => vec![*one],
        OneOrMany::Many(many) => many,
    };
    match runs.iter().find(|run| run.schema != SCHEMA) {
        Some(run) => Err(Error::bad_input(format!("schema {} is not {SCHEMA}", run.schema))
            .help("read it with the version of Preon that wrote it")),
        None => Ok(runs),
    }
}

#[cfg(test)]
pub(crate) mod sample;

#[cfg(test)]
#[path = "../../tests/support/schema.rs"]
mod schema;

#[cfg(test)]
mod tests {
    use super::*;

    // The sample's figures have few digits, so that reading them back is exact.
    #[test]
    fn samples_survive_a_round_trip_and_are_deterministic() {
        let runs = sample::runs();
        let text = to_json(&runs).unwrap();
        assert_eq!(from_json(&text).unwrap(), runs);
        assert_eq!(text, to_json(&sample::runs()).unwrap());
        assert!(to_json(&runs[..1]).unwrap().starts_with("{\n  \"schema\": \"preon.run/1\""));
    }

    #[test]
    fn no_figure_is_ever_null_or_nan() {
        let mut run = sample::runs().remove(0);
        run.quality.value = f64::NAN;
        let error = to_json(&[run]).unwrap_err();
        assert!(error.message().contains("not a finite number"), "{error}");
    }

    #[test]
    fn another_schema_is_refused() {
        let mut run = sample::runs().remove(0);
        run.schema = "preon.run/9".into();
        let error = from_json(&to_json(&[run]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("preon.run/9"), "{error}");
    }

    #[test]
    fn savings_are_ratios_to_fp32() {
        let runs = sample::runs();
        let own = Saved::of(&runs[0], &runs[0]);
        assert_eq!(own, Saved { cycles: 1.0, energy: 1.0, dram_bytes: 1.0, weight_bytes: 1.0 });
        assert!(Saved::of(&runs[2], &runs[0]).weight_bytes > 3.0);
        let mut bare = runs.clone();
        bare.iter_mut().for_each(|run| run.saved_vs_fp32 = None);
        fill_saved(&mut bare[1..]);
        assert!(bare.iter().all(|run| run.saved_vs_fp32.is_none()), "no fp32, no ratio");
        fill_saved(&mut bare);
        assert!(bare.iter().all(|run| run.saved_vs_fp32.is_some()));
    }

    #[test]
    fn summaries_obey_the_published_schema() {
        let schema = serde_json::from_str(include_str!("../../docs/summary.schema.json")).unwrap();
        let value = serde_json::from_str(&to_json(&sample::runs()).unwrap()).unwrap();
        schema::validate(&schema, &value).unwrap();
        let mut own = sample::runs().remove(0);
        own.kernels.push(KernelFile { name: "cast.vasm".into(), path: "mine/cast.vasm".into(), steps: 3 });
        schema::validate(&schema, &serde_json::to_value(&own).unwrap()).unwrap();
        assert_eq!(from_json(&to_json(std::slice::from_ref(&own)).unwrap()).unwrap(), [own]);
        let mut bare = serde_json::to_value(sample::runs().remove(0)).unwrap();
        schema::validate(&schema, &bare).unwrap();
        bare["cycles"] = serde_json::json!(1.5);
        assert!(schema::validate(&schema, &bare).unwrap_err().contains("cycles"));
        bare.as_object_mut().unwrap().remove("cycles");
        assert!(schema::validate(&schema, &bare).unwrap_err().contains("cycles"));
    }
}
