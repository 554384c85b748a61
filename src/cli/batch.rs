//! Several runs of one prepared model: every machine times every policy, on the computer's own cores, in a fixed order.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::args::{self, Format, Output};
use super::out;
use super::tracing::{self, Tracing};
use crate::diag::{Error, Kind, Result};
use crate::isa::disasm::disassemble;
use crate::machine::Machine;
use crate::model::Prepared;
use crate::policy::Policy;
use crate::report::{self, Artifact, Report, RunSummary};

use crate::vpu::summary::{fill_saved, to_json};
use crate::vpu::{NamedOutput, RunOptions, RunResult, Vpu};

/// What to run, and how.
pub struct Batch<'a> {
    /// The model for one input.
    pub prepared: &'a Prepared,
    /// Machines, outer loop.
    pub machines: &'a [Machine],
    /// Policies, inner loop.
    pub policies: &'a [Policy],
    /// Options of every run.
    pub options: &'a RunOptions,
    /// Whether to write a trace.
    pub tracing: &'a Tracing,
}

/// Finished runs and when they began.
pub struct Done {
    /// One a (machine, policy), machines outermost.
    pub results: Vec<RunResult>,
    started: SystemTime,
    took: Instant,
}

impl Done {
    /// The figures alone.
    pub fn summaries(&self) -> Vec<RunSummary> {
        self.results.iter().map(|result| result.summary.clone()).collect()
    }
}

impl Batch<'_> {
    /// Runs everything; results stand in the same order whatever the number of threads.
    ///
    /// # Errors
    /// The first error in that order.
    pub fn run(&self) -> Result<Done> {
        let (started, took) = (SystemTime::now(), Instant::now());
        let pairs: Vec<(&Machine, &Policy)> = self
            .machines
            .iter()
            .flat_map(|machine| self.policies.iter().map(move |policy| (machine, policy)))
            .collect();
        self.tracing.refuse_several(pairs.len())?;
        let bar = out::bar(pairs.len());
        let next = AtomicUsize::new(0);
        let slots: Vec<Mutex<Option<Result<RunResult>>>> = pairs.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            while let Some((machine, policy)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let at = pairs.iter().position(|(m, p)| std::ptr::eq(*m, *machine) && std::ptr::eq(*p, *policy));
                bar.set_message(format!("{} {}", machine.name, policy.name));
                let result = self.one(machine, policy);
                if let Some(mut slot) = at.and_then(|at| slots[at].lock().ok()) {
                    *slot = Some(result);
                }
                bar.inc(1);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(pairs.len());
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        bar.finish_and_clear();
        let mut results = Vec::new();
        for slot in slots {
            let result = slot.into_inner().ok().flatten();
            results.push(result.unwrap_or_else(|| Err(Error::internal("a run was lost")))?);
        }
        let mut summaries: Vec<RunSummary> = results.iter().map(|result| result.summary.clone()).collect();
        fill_saved(&mut summaries);
        for (result, summary) in results.iter_mut().zip(summaries) {
            result.summary = summary;
        }
        Ok(Done { results, started, took })
    }

    fn one(&self, machine: &Machine, policy: &Policy) -> Result<RunResult> {
        let mut vpu = Vpu::new(machine.clone());
        vpu.set_precision(policy.clone());
        vpu.options = self.options.clone();
        traced(&mut vpu, self.tracing, self.prepared)
    }

    /// Files of the report folder beyond what the summaries give.
    ///
    /// # Errors
    /// Internal if a program that ran cannot be written out.
    fn artifacts(&self, done: &Done) -> Result<Vec<Artifact>> {
        let mut files = Vec::new();
        let named = |single: &str, folder: &str, name: &str, alone: bool| match alone {
            true => single.to_string(),
            false => format!("{folder}/{}.{}", file_name(name), single.rsplit('.').next().unwrap_or("txt")),
        };
        for machine in self.machines {
            let path = named("machine.toml", "machines", &machine.name, self.machines.len() == 1);
            files.push(Artifact::text(path, machine.resolved_toml()));
        }
        for policy in self.policies {
            let path = named("policy.toml", "policies", &policy.name, self.policies.len() == 1);
            files.push(Artifact::text(path, policy.resolved()));
        }
        let mut written = BTreeSet::new();
        for result in &done.results {
            let summary = &result.summary;
            let name = format!("{}_{}", summary.machine, summary.policy);
            let path = named("program.s", "programs", &name, done.results.len() == 1);
            files.push(Artifact::text(path, disassemble(&result.object)?));
            for NamedOutput { name, shape, values } in &result.outputs {
                // Values do not depend on the machine, so one file a policy is enough.
                let path = format!("outputs/{}/{}.npy", file_name(&summary.policy), file_name(name));
                if written.insert(path.clone()) {
                    files.push(Artifact { path, bytes: report::npy(shape, values) });
                }
            }
        }
        Ok(files)
    }

    /// Prints the results and writes the report folder, if one is wanted.
    ///
    /// # Errors
    /// Usage if the folder cannot be written; a failed check if any node differs.
    pub fn finish(&self, done: &Done, output: &Output, default_folder: Option<&str>, inputs: &[&Path]) -> Result<()> {
        let runs = done.summaries();
        if let Some(folder) = output.folder(default_folder) {
            let artifacts = self.artifacts(done)?;
            let command = args::command_line(std::env::args());
            let manifest = manifest(done, inputs);
            let histories: Vec<_> = done.results.iter().map(|result| result.history.as_ref()).collect();
            let report =
                Report { runs: &runs, command: &command, manifest, artifacts: &artifacts, histories: &histories };
            report.write(&folder)?;
            print(&runs, done, output.format)?;
            out::note(&format!("report: {}", folder.join("report.html").display()));
        } else {
            print(&runs, done, output.format)?;
        }
        done.results.iter().find_map(verdict).map_or(Ok(()), Err)
    }
}

/// Runs a model, with a trace if one is wanted.
///
/// # Errors
/// Those of [`Vpu::run`]; Usage if the trace cannot be written.
pub fn traced(vpu: &mut Vpu, tracing: &Tracing, prepared: &Prepared) -> Result<RunResult> {
    let Some(mut trace) = tracing.begin(vpu.machine())? else { return vpu.run(prepared) };
    let result = vpu.run_observed(prepared, &mut trace)?;
    trace.finish(tracing::about(&result.summary))?;
    Ok(result)
}

/// An error if the cross-check of a run failed: its first mismatch, in program order.
pub fn verdict(result: &RunResult) -> Option<Error> {
    let report = result.check.as_ref().filter(|report| !report.is_bit_exact())?;
    let RunSummary { policy, machine, .. } = &result.summary;
    let text = match report.mismatches.as_slice() {
        [] => format!("{policy} on {machine}: nothing was compared"),
        [first, ..] => format!("{policy} on {machine}: {first}"),
    };
    let error = Error::new(Kind::CheckFailed, text);
    Some(match report.mismatches.len() {
        0 | 1 => error,
        _ => error.help("`preon check` lists the other nodes that differ, which may follow from this one"),
    })
}

fn print(runs: &[RunSummary], done: &Done, format: Format) -> Result<()> {
    let text = match (format, runs) {
        (Format::Json, _) => to_json(runs)?,
        (Format::Csv, _) => report::csv::runs(runs),
        (Format::Table, [one]) => report::table::run(one),
        (Format::Table, _) => report::table::runs(runs),
    };
    out::data(&text)?;
    if format == Format::Table {
        for note in report::story::notes(runs) {
            out::data(&format!("note: {note}\n"))?;
        }
    }
    let explained = done.results.iter().filter_map(|result| Some((&result.summary, result.explain.as_ref()?)));
    for (summary, text) in explained {
        let text = format!("\n{} on {}\n{}\n", summary.policy, summary.machine, text.trim_end());
        if format == Format::Table { out::data(&text)? } else { out::note(&text) }
    }
    Ok(())
}

/// Times, versions and host: all that may differ between two equal runs.
fn manifest(done: &Done, inputs: &[&Path]) -> serde_json::Value {
    let started = done.started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut hashes = serde_json::Map::new();
    for path in inputs {
        if let Ok(bytes) = std::fs::read(path) {
            let digest = Sha256::digest(&bytes);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            hashes.insert(path.display().to_string(), hex.into());
        }
    }
    serde_json::json!({
        "schema": "preon.manifest/1",
        "preon": env!("CARGO_PKG_VERSION"),
        "argv": std::env::args().collect::<Vec<_>>(),
        "started_unix_s": started,
        "wall_s": done.took.elapsed().as_secs_f64(),
        "host": {
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
        },
        "sha256": hashes,
    })
}

/// A name that is one path component everywhere.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(safe).collect();
    if name.trim_matches('.').is_empty() { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{CheckReport, Mismatch, Part};
    use crate::isa::Object;
    use crate::num::format::find;

    #[test]
    fn names_become_one_path_component() {
        assert_eq!(file_name("encoder/0 + x"), "encoder_0___x");
        assert_eq!(file_name(".."), "_..");
        assert_eq!(file_name("w1.58a8"), "w1.58a8");
    }

    #[test]
    fn a_mismatch_is_exit_code_1_and_names_the_node() {
        let summary = RunSummary::new("m", "edge", "int8");
        let check = Some(CheckReport { nodes: 2, bit_exact: 2, mismatches: Vec::new() });
        let (outputs, explain, object, history) = (Vec::new(), None, Object::default(), None);
        let mut result = RunResult { summary, outputs, explain, object, check, history };
        assert!(verdict(&result).is_none());
        let mismatch = Mismatch {
            node: "b".into(),
            op: "linear",
            part: Part::Codes,
            row: 1,
            col: 2,
            expected: 1.5f32.to_bits(),
            got: 2.5f32.to_bits(),
            format: find("fp32").unwrap(),
            differing: 3,
            class: None,
            virtual_kernel: "mine/linear-vector.vasm".into(),
            native_kernel: "scalar",
            line: Some(("mine/linear-vector.vasm".into(), 7)),
        };
        result.check = Some(CheckReport { nodes: 2, bit_exact: 1, mismatches: vec![mismatch] });
        let error = verdict(&result).unwrap();
        assert_eq!(error.kind().exit_code(), 1);
        let told = "int8 on edge: node `b` (linear): element [1, 2]: expected 1.5 (0x3fc00000), got 2.5 (0x40200000); \
                    3 differ; kernels mine/linear-vector.vasm and scalar; stored by mine/linear-vector.vasm:7";
        assert_eq!(error.message(), told);
    }
}
