//! Published machines, predicted: every case that somebody else has measured or simulated, beside what this project says.
//!
//! One file a machine, each with a `Suite`: the published figures it is held against, how they are predicted, and what was
//! calibrated on what. A prediction is a `law` (closed forms of a whole layer or run, as published) or the `engine` (a
//! program, compiled and clocked). docs/validation.md is the table that comes out.

mod bitfusion;
mod cutie;
mod eyeriss;
mod memory;
mod nvdla;
mod simulators;
mod tpu;

use crate::compile::kernels::Kernels;
use crate::diag::{self, Error, Result, did_you_mean};
use crate::machine::{self, Machine};
use crate::policy;
use crate::vpu::workload::{self, Run, WorkloadReport};
use crate::workload::{Act, Epilogue, Gemm, Kind, Layer, Workload};
use serde::{Deserialize, Serialize};

/// Schema of [`Validation`].
pub const SCHEMA: &str = "preon.validate/1";

/// How a case was predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Closed forms of whole layers, as published.
    Law,
    /// A program, compiled and clocked.
    Engine,
}

impl How {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            How::Law => "law",
            How::Engine => "engine",
        }
    }
}

/// How far a prediction may be from the published figure: within either of the two.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bar {
    /// Percent of the published figure.
    pub percent: f64,
    /// In the unit of the figure.
    pub absolute: f64,
}

impl Bar {
    /// Not at all.
    pub const EXACT: Bar = Bar { percent: 0.0, absolute: 0.0 };

    /// So many percent.
    pub const fn percent(percent: f64) -> Bar {
        Bar { percent, absolute: 0.0 }
    }
}

/// One published figure and its prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Name of the machine.
    pub machine: String,
    /// What ran.
    pub case: String,
    /// What is compared, with its unit.
    pub quantity: String,
    /// Law or engine.
    pub kind: How,
    /// Our figure.
    pub predicted: f64,
    /// Theirs.
    pub published: f64,
    /// How far ours may be off; `null` where the row is for information.
    pub bar: Option<Bar>,
    /// What a constant in the prediction was fitted on; `nothing` where there is none.
    pub calibrated_on: String,
    /// Where the published figure is from.
    pub source: String,
}

impl Case {
    /// Ours over theirs, in percent beyond it.
    pub fn error_percent(&self) -> f64 {
        if self.predicted == self.published {
            return 0.0;
        }
        (self.predicted / self.published - 1.0) * 100.0
    }
    /// Whether the prediction meets its bar; true where there is none.
    pub fn ok(&self) -> bool {
        self.bar.is_none_or(|bar| {
            let off = (self.predicted - self.published).abs();
            off <= bar.absolute || self.error_percent().abs() <= bar.percent
        })
    }
}

/// The cases of one machine that were predicted one way; those with a bar and those without one apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the machine.
    pub machine: String,
    /// Law or engine.
    pub kind: How,
    /// What is compared.
    pub quantity: String,
    /// Rows.
    pub cases: usize,
    /// Rows whose prediction is equal.
    pub equal: usize,
    /// Mean of the absolute errors.
    pub mean_percent: f64,
    /// The largest.
    pub worst_percent: f64,
    /// The case that has it.
    pub worst_case: String,
    /// The widest bar of its rows; `null` if they have none.
    pub bar: Option<Bar>,
    /// Rows that miss their bar.
    pub missed: usize,
}

/// What one machine's predictions rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Name of the machine, or of several.
    pub machine: String,
    /// What was calibrated on what, and what the reader must know of the cases.
    pub text: String,
}

/// Every case of the machines asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// [`SCHEMA`].
    pub schema: String,
    /// Rows in the order of the suites.
    pub cases: Vec<Case>,
    /// Their means and worst ones.
    pub summaries: Vec<Summary>,
    /// What they rest on.
    pub statements: Vec<Statement>,
}

/// The cases of one machine.
struct Suite {
    /// Machine files that it covers.
    machines: &'static [&'static str],
    /// What was calibrated on what.
    statement: &'static str,
    /// The cases of one of them.
    cases: fn(&Machine) -> Result<Vec<Case>>,
}

/// Every suite, in the order of reports.
const SUITES: &[Suite] = &[
    nvdla::SUITE,
    cutie::SUITE,
    bitfusion::SUITE,
    eyeriss::SUITE,
    tpu::SUITE,
    simulators::SCALESIM,
    simulators::ONNXIM,
    memory::TEREFFIC,
    memory::A100,
];

/// Names of the machines that have published cases.
pub fn machines() -> Vec<&'static str> {
    SUITES.iter().flat_map(|suite| suite.machines.iter().copied()).collect()
}

/// Predicts the cases of `names`; of all machines if there are none.
///
/// # Errors
/// Usage for a machine without published cases; else what keeps a case from being predicted.
///
/// ```
/// let validation = preon::vpu::validate::run(&["cutie".to_owned()])?;
/// assert!(validation.cases.iter().all(|case| case.ok()));
/// # Ok::<(), preon::Error>(())
/// ```
pub fn run(names: &[String]) -> Result<Validation> {
    let known = machines();
    if let Some(odd) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let error = Error::usage(format!("there are no published cases for machine `{odd}`"));
        return Err(match did_you_mean(odd, known.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("there are for: {}", known.join(", "))),
        });
    }
    let asked = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let (mut cases, mut statements) = (Vec::new(), Vec::new());
    for suite in SUITES {
        let chosen: Vec<&str> = suite.machines.iter().copied().filter(|name| asked(name)).collect();
        for name in &chosen {
            cases.extend((suite.cases)(&machine::load(name)?)?);
        }
        if !chosen.is_empty() {
            statements.push(Statement { machine: chosen.join(", "), text: suite.statement.to_owned() });
        }
    }
    let summaries = summaries(&cases);
    Ok(Validation { schema: SCHEMA.to_owned(), cases, summaries, statements })
}

impl Validation {
    /// As JSON of schema [`SCHEMA`]: cases with their errors, and whether each meets its bar.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!(self);
        if let Some(rows) = json["cases"].as_array_mut() {
            for (row, case) in rows.iter_mut().zip(&self.cases) {
                row["error_percent"] = serde_json::json!(case.error_percent());
                row["ok"] = serde_json::json!(case.ok());
            }
        }
        json
    }

    /// The first row that misses its bar.
    ///
    /// # Errors
    /// A failed check that names it.
    pub fn verdict(&self) -> Result<()> {
        let missed: Vec<&Case> = self.cases.iter().filter(|case| !case.ok()).collect();
        let Some(first) = missed.first() else { return Ok(()) };
        let what = format!("{} {} {}", first.machine, first.case, first.quantity);
        let (have, want) = (first.predicted, first.published);
        let message = format!("{} of {} published figures are missed", missed.len(), self.cases.len());
        Err(Error::new(diag::Kind::CheckFailed, message).help(format!("the first: {what}: {have} for {want}")))
    }
}

fn summaries(cases: &[Case]) -> Vec<Summary> {
    let mut out: Vec<Summary> = Vec::new();
    for case in cases {
        // Rows for information stand apart: their errors are not what a bar is held against.
        let barred = case.bar.is_some();
        let key = (&case.machine, case.kind, &case.quantity, barred);
        let same = |s: &Summary| (&s.machine, s.kind, &s.quantity, s.bar.is_some()) == key;
        let at = out.iter().position(same).unwrap_or_else(|| {
            out.push(Summary {
                machine: case.machine.clone(),
                kind: case.kind,
                quantity: case.quantity.clone(),
                cases: 0,
                equal: 0,
                mean_percent: 0.0,
                worst_percent: 0.0,
                worst_case: case.case.clone(),
                bar: case.bar,
                missed: 0,
            });
            out.len() - 1
        });
        let (summary, error) = (&mut out[at], case.error_percent().abs());
        summary.cases += 1;
        summary.equal += usize::from(case.predicted == case.published);
        summary.mean_percent += error;
        summary.missed += usize::from(!case.ok());
        summary.bar = match (summary.bar, case.bar) {
            (Some(a), Some(b)) if b.percent > a.percent => Some(b),
            (a, _) => a,
        };
        if error > summary.worst_percent {
            (summary.worst_percent, summary.worst_case) = (error, case.case.clone());
        }
    }
    for summary in &mut out {
        summary.mean_percent /= summary.cases as f64;
    }
    out
}

/// Rows of a table of published figures: comments and the head are left out.
fn records(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).skip(1).map(|line| line.split(',').collect())
}

/// A field of a record, as a number.
fn field<T: std::str::FromStr>(record: &[&str], at: usize) -> Result<T> {
    let text = record.get(at).copied().unwrap_or_default();
    text.parse().map_err(|_| Error::internal(format!("published table: `{text}` in {record:?} is not a number")))
}

/// The array of a machine with published cases.
fn array(machine: &Machine) -> Result<&machine::Array> {
    machine.array.as_ref().ok_or_else(|| Error::internal(format!("machine `{}` has no array", machine.name)))
}

/// The cost of layers by the law of the machine's array.
fn law(machine: &Machine, layers: &[machine::Layer]) -> Result<machine::LayerCost> {
    let cost = array(machine)?.law(machine, layers)?;
    cost.ok_or_else(|| Error::internal(format!("the array of machine `{}` has no layer law", machine.name)))
}

/// A product of `m, n, k` with constant weights.
fn gemm(name: &str, [m, n, k]: [u64; 3], act: Option<Act>) -> Layer {
    Layer::new(name, Kind::Gemm(Gemm { m, n, k, then: Epilogue { act, ..Epilogue::default() } }))
}

/// The engine's run of a list of layers.
fn run_layers(machine: &Machine, policy: &str, name: &str, layers: Vec<Layer>, run: &Run) -> Result<WorkloadReport> {
    workload::run(&Workload::new(name, layers), machine, &policy::load(policy)?, &Kernels::builtin(), run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(predicted: f64, published: f64, bar: Option<Bar>) -> Case {
        Case {
            machine: "m".into(),
            case: format!("{predicted}"),
            quantity: "cycles".into(),
            kind: How::Law,
            predicted,
            published,
            bar,
            calibrated_on: "nothing".into(),
            source: "s".into(),
        }
    }

    #[test]
    fn bars_are_met_by_share_or_by_distance() {
        assert!(case(100.0, 100.0, Some(Bar::EXACT)).ok());
        assert!(!case(101.0, 100.0, Some(Bar::EXACT)).ok());
        assert!(case(99.0, 100.0, Some(Bar::percent(2.0))).ok());
        assert!(case(14.0, 10.0, Some(Bar { percent: 2.0, absolute: 4.0 })).ok());
        assert!(!case(15.0, 10.0, Some(Bar { percent: 2.0, absolute: 4.0 })).ok());
        assert!(case(15.0, 10.0, None).ok());
    }

    #[test]
    fn summaries_have_the_mean_and_the_worst_and_the_verdict_names_a_miss() {
        let told = case(50.0, 100.0, None);
        let cases = vec![case(100.0, 100.0, Some(Bar::EXACT)), told, case(90.0, 100.0, Some(Bar::percent(5.0)))];
        let summaries = summaries(&cases);
        assert_eq!((summaries.len(), summaries[0].cases, summaries[0].equal, summaries[0].missed), (2, 2, 1, 1));
        assert_eq!((summaries[1].cases, summaries[1].bar, summaries[1].missed), (1, None, 0));
        assert!((summaries[0].mean_percent - 5.0).abs() < 1e-9 && summaries[0].worst_case == "90");
        let validation = Validation { schema: SCHEMA.into(), cases, summaries, statements: Vec::new() };
        let error = validation.verdict().unwrap_err();
        assert_eq!(error.kind().exit_code(), 1);
        assert!(error.render(false).contains("m 90 cycles: 90 for 100"), "{}", error.render(false));
    }

    #[test]
    fn an_unknown_machine_is_a_usage_error_with_a_hint() {
        let error = run(&["cuties".to_owned()]).unwrap_err();
        assert_eq!((error.kind().exit_code(), error.help_text()), (2, Some("did you mean `cutie`?")));
    }
}
