//! Op by weight type by activation type by accumulator: the virtual processor gives the native backend's bytes, the native
//! backend the same bytes on every instruction set, and both lie within the bounds of the independent reference.
//!
//! Case numbers are seeds, so that a failing one runs alone: `PREON_CASES=1 PREON_FIRST=4711`. Without `PREON_CASES` every
//! 29th of the 30,000 cases runs; `.ci/run` runs all of them in release mode.

mod cases;
mod types;

use cases::{Case, case};
use preon::check::{self, Captured};
use preon::compile::{self, Options};
use preon::diag::{Error, Kind};
use preon::graph::NodeId;
use preon::machine::{self, Machine};
use preon::native::{self, Isa};
use preon::num::formats;
use preon::vpu::{What, execute};
use std::collections::BTreeMap;
use std::io::Write;
use types::Types;

/// Cases of the whole suite.
const CASES: usize = 30_000;

/// Outcome of some cases.
#[derive(Default)]
struct Tally {
    cases: usize,
    /// Cases that the compiler refused, by reason.
    refused: BTreeMap<String, (usize, String)>,
    /// What went wrong, most telling first.
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.cases += other.cases;
        self.failures.extend(other.failures);
        for (reason, (count, example)) in other.refused {
            self.refused.entry(reason).or_insert((0, example)).0 += count;
        }
    }

    fn refusals(&self) -> usize {
        self.refused.values().map(|(count, _)| count).sum()
    }
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// Machines of different vector length, array and memory, with a rate for every pair of formats: values do not depend on it.
fn machines() -> Vec<Machine> {
    let set = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let short =
        [("core.vlen_bits", "256"), ("core.acc.rows", "8"), ("core.acc.cols", "16"), ("sram.own.bytes", "65536")];
    let mut machines = vec![
        machine::load("edge").expect("built in"),
        machine::load_with("edge", &set(&[("array", "none")])).expect("an edge machine without an array"),
        machine::load_with("edge", &set(&short)).expect("a small edge machine"),
    ];
    for machine in &mut machines {
        for weights in formats() {
            for inputs in formats() {
                if !machine.vector_serves(weights, inputs) {
                    machine.rates.push((weights.name.clone(), inputs.name.clone(), 64));
                }
            }
        }
    }
    machines
}

/// The reason of a refusal without what it names.
fn reason(error: &Error) -> String {
    error.message().rsplit(": ").next().unwrap_or_default().to_owned()
}

/// What is wrong with a case; `Ok(Some(..))` if it is refused.
fn run(case: &Case, machine: &Machine, options: &Options) -> Result<Option<Error>, String> {
    let Case { graph, inputs, .. } = case;
    let on = |isa| native::run(graph, inputs, &native::Options { isa }).map_err(|e| format!("native: {e}"));
    let expected = on(Isa::Scalar)?;
    for isa in Isa::ALL.into_iter().filter(|isa| *isa != Isa::Scalar && isa.available()) {
        for (mine, theirs) in expected.nodes().iter().zip(on(isa)?.nodes()) {
            let same =
                mine.tensor.payload == theirs.tensor.payload && mine.tensor.side_data() == theirs.tensor.side_data();
            if !same {
                return Err(format!("{} and {} differ", mine.kernel, theirs.kernel));
            }
        }
    }
    let captured = |(index, output): (usize, &native::NodeOutput)| Captured {
        node: NodeId(index as u32),
        tensor: output.tensor.clone(),
        kernel: output.kernel.to_owned(),
    };
    let natives: Vec<Captured> = expected.nodes().iter().enumerate().map(captured).collect();
    let judged = check::against_reference(graph, &natives, inputs).map_err(|e| format!("reference: {e}"))?;
    if let Some(stray) = judged.strays.first() {
        return Err(format!("reference: {stray}"));
    }
    let compiled = match compile::compile(graph, machine, options) {
        Ok(compiled) => compiled,
        Err(error) if error.kind() == Kind::Unsupported => return Ok(Some(error)),
        Err(error) => return Err(format!("compile: {error}")),
    };
    let execution =
        execute(&compiled, graph, inputs, machine, What::Values).map_err(|e| format!("on {}: {e}", machine.name))?;
    let report = check::compare(graph, &execution.captured, &expected);
    match report.mismatches.first() {
        Some(mismatch) => Err(format!("on {}: {mismatch}", machine.name)),
        None if report.is_bit_exact() => Ok(None),
        None => Err("nothing was compared".into()),
    }
}

fn run_some(types: &Types, indices: impl Iterator<Item = usize>) -> Tally {
    let (machines, options) = (machines(), Options::default());
    let mut tally = Tally::default();
    for index in indices {
        let case = case(types, index);
        tally.cases += 1;
        match run(&case, &machines[index % machines.len()], &options) {
            Ok(None) => {}
            Ok(Some(refusal)) => {
                tally.refused.entry(reason(&refusal)).or_insert((0, case.name)).0 += 1;
            }
            Err(what) => tally.failures.push(format!("{}: {what}", case.name)),
        }
    }
    tally
}

#[test]
fn every_pair_of_types_agrees_everywhere() {
    let types = Types::of_the_tables();
    let (first, count) = (number("PREON_FIRST").unwrap_or(0), number("PREON_CASES"));
    let step = if count.is_some() { 1 } else { 29 };
    let last = count.map_or(CASES, |count| first + count);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let types = &types;
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || run_some(types, (first..last).step_by(step).skip(worker).step_by(threads)))
            })
            .collect();
        workers.into_iter().for_each(|worker| tally.add(worker.join().expect("a worker does not panic")));
    });
    let refused = tally.refusals();
    let reasons: Vec<String> =
        tally.refused.iter().map(|(reason, (count, example))| format!("{count:6} {reason} ({example})")).collect();
    let summary = format!(
        "{} weight types, {} activation types: {} cases, {} wrong, {refused} refused\n{}",
        types.weights.len(),
        types.activations.len(),
        tally.cases,
        tally.failures.len(),
        reasons.join("\n")
    );
    // What a suite of this size refused must be seen, whether it passes or not.
    writeln!(std::io::stdout(), "{summary}").expect("stdout is open");
    let failures = &tally.failures[..tally.failures.len().min(number("PREON_SHOW").unwrap_or(20))];
    assert!(failures.is_empty(), "{}\n{summary}", failures.join("\n"));
    assert!(20 * refused <= tally.cases, "more than 5 % refused: {summary}");
    assert!(tally.cases >= last.saturating_sub(first) / step, "{summary}");
}
