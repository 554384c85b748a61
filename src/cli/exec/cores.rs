//! `preon exec --cores N`: what every core left behind, and what they cost together.

use serde_json::{Map, Value, json};

use super::{Args, SCHEMA, Shape, books, hex_dump, registers, scalars};
use crate::cli::out;
use crate::diag::{Error, Result};
use crate::exec::Cores;
use crate::machine::Machine;
use crate::report::units;
use crate::sim::observe::{Observer, Program};
use crate::sim::{Estimate, Several, picojoule, several, several_observed};

/// Executes the program on `cores`. Memory is shown as core 0 sees it, so space 4 reads the SRAM of the others.
pub fn run(args: &Args, machine: &Machine, mut cores: Cores) -> Result<()> {
    let alone = [("--golden", args.golden.is_some()), ("--max-cycles", args.max_cycles.is_some())];
    if let Some((flag, _)) = alone.iter().find(|(_, given)| *given) {
        let error = Error::unsupported(format!("{flag} shows one core, the program runs on {}", cores.count()));
        return Err(error.help("leave it out, or run with `--cores 1`"));
    }
    if machine.noc.is_none() {
        let error = Error::unsupported(format!("machine `{}` has no network between cores", machine.name));
        return Err(error.help("give it [noc] with `bytes_per_cycle` and `latency`, and `energy.core.noc`"));
    }
    let outcome = match args.tracing.begin(machine)? {
        None => several(machine, 0, &mut cores)?,
        Some(mut trace) => {
            trace.begin(&Program { object: cores.core(0).object(), steps: Vec::new() });
            let outcome = several_observed(machine, 0, &mut cores, &mut trace)?;
            let mut about = Map::new();
            about.insert("run".into(), json!(args.file.display().to_string()));
            about.insert("totals".into(), Value::Object(totals(&outcome, machine)?));
            trace.finish(about)?;
            outcome
        }
    };
    if matches!(args.output, Shape::Json) {
        return out::data(&format!("{:#}\n", report(args, machine, &mut cores, &outcome)?));
    }
    let mut text = String::new();
    for core in 0..cores.count() {
        text += &format!("core {core}\n{}", registers(cores.core(core)));
    }
    for &(addr, bytes) in &args.read {
        text += &hex_dump(addr, cores.read(0, addr, bytes).map_err(|trap| super::unreadable(addr, bytes, &trap))?);
    }
    let pj = picojoule(outcome.ledger.energy(machine)?.total(Estimate::Typical));
    text += &format!(
        "{} instructions on {} cores, {} cycles, {}\n",
        units::count(outcome.instructions()),
        cores.count(),
        units::count(outcome.cycles()),
        units::energy(pj)
    );
    out::data(&text)
}

/// What all cores together took, and each of them.
fn totals(outcome: &Several, machine: &Machine) -> Result<Map<String, Value>> {
    let core = |(core, timing)| json!({ "core": core, "units": books::units(timing) });
    let pj = picojoule(outcome.ledger.energy(machine)?.total(Estimate::Typical));
    let rows = [
        ("instructions", json!(outcome.instructions())),
        ("cycles", json!(outcome.cycles())),
        ("energy_pj", json!(pj)),
        ("bytes", books::bytes(&outcome.ledger)),
        ("cores", outcome.cores.iter().enumerate().map(core).collect()),
    ];
    Ok(rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The same with what the cores left behind, schema `preon.exec/1`.
fn report(args: &Args, machine: &Machine, cores: &mut Cores, outcome: &Several) -> Result<Value> {
    let mut report = Map::new();
    report.insert("schema".into(), json!(SCHEMA));
    report.insert("program".into(), json!(args.file.display().to_string()));
    report.insert("machine".into(), json!(machine.name));
    report.insert("trap".into(), Value::Null);
    let mut memory = Vec::new();
    for &(addr, bytes) in &args.read {
        memory.push(super::shown(
            addr,
            cores.read(0, addr, bytes).map_err(|trap| super::unreadable(addr, bytes, &trap))?,
        ));
    }
    report.insert("memory".into(), json!(memory));
    report.extend(totals(outcome, machine)?);
    for (core, row) in report["cores"].as_array_mut().into_iter().flatten().enumerate() {
        row["registers"] = scalars(cores.core(core));
    }
    report.insert("clock_stopped_after_instructions".into(), Value::Null);
    Ok(Value::Object(report))
}
