//! `--trace` and `--window`: the trace of one run, wherever a verb runs something.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::report::RunSummary;
use crate::report::trace::Trace;
use crate::vpu::workload::WorkloadReport;

/// Whether to write a trace, and which part of the run.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Tracing {
    /// Write what every unit did when, for ui.perfetto.dev or chrome://tracing: FILE.json or FILE.json.gz
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Cycles that the trace shows; its totals stay those of the whole run
    #[arg(long, value_name = "FROM..TO", requires = "trace", value_parser = window)]
    window: Option<(u64, u64)>,
}

fn window(text: &str) -> std::result::Result<(u64, u64), String> {
    let number = |text: &str| match text.trim() {
        "" => Err("write FROM..TO, both in cycles".to_owned()),
        text => text.replace('_', "").parse::<u64>().map_err(|e| format!("{text}: {e}")),
    };
    let (from, to) = text.split_once("..").ok_or("write FROM..TO, both in cycles")?;
    let (from, to) = (number(from)?, number(to)?);
    if from >= to {
        return Err(format!("no cycle lies in {from}..{to}: FROM is the first one, TO one past the last"));
    }
    Ok((from, to))
}

impl Tracing {
    /// Begins the trace, if one is wanted.
    ///
    /// # Errors
    /// Usage if the file cannot be written.
    pub fn begin(&self, machine: &Machine) -> Result<Option<Trace>> {
        self.trace.as_deref().map(|path| Trace::create(path, machine, self.window)).transpose()
    }

    /// Refuses a trace of several runs: they have a clock each.
    ///
    /// # Errors
    /// Usage if there are several.
    pub fn refuse_several(&self, runs: usize) -> Result<()> {
        match &self.trace {
            Some(path) if runs != 1 => Err(Error::usage(format!("a trace shows one run, and these are {runs}"))
                .in_file(path.display().to_string())
                .help("choose one machine with -m and one policy with -p")),
            _ => Ok(()),
        }
    }
}

/// What a trace says about its whole run.
pub fn about(run: &RunSummary) -> Map<String, Value> {
    let about = json!({
        "run": format!("{} on {} at {}", run.model, run.machine, run.policy),
        "totals": {
            "cycles": run.cycles,
            "instructions": run.instructions,
            "units": run.units,
            "bytes": run.bytes,
            "energy_pj": run.energy_pj.total,
        },
        "taken_from_elsewhere": run.assumptions,
    });
    match about {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What a trace says about its whole workload.
pub fn about_layers(run: &WorkloadReport) -> Map<String, Value> {
    let totals = json!({
        "cycles": run.cycles,
        "instructions": run.instructions,
        "units": run.units,
        "bytes": run.bytes,
        "energy_pj": run.energy_pj.map(|energy| energy.total),
    });
    let name = format!("{} on {} at {}", run.workload, run.machine, run.policy);
    [("run".to_owned(), json!(name)), ("totals".to_owned(), totals)].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_two_numbers_with_cycles_between_them() {
        assert_eq!(window("1_000..5000"), Ok((1000, 5000)));
        for (text, part) in [
            ("5", "FROM..TO"),
            ("5..5", "no cycle"),
            ("9..3", "no cycle"),
            ("a..3", "a:"),
            ("..", "write FROM..TO"),
            ("5..", "write FROM"),
        ] {
            assert!(window(text).unwrap_err().contains(part), "{text}");
        }
    }

    #[test]
    fn a_trace_is_of_one_run() {
        let tracing = Tracing { trace: Some("a.json".into()), window: None };
        assert!(tracing.refuse_several(1).is_ok() && Tracing::default().refuse_several(9).is_ok());
        assert!(tracing.refuse_several(2).unwrap_err().message().contains("these are 2"));
    }
}
