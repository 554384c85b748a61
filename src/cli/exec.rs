//! `preon exec`: one program on the bare processor, with what it left behind and what it cost.

mod books;
mod cores;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{args, asm, out, tracing::Tracing};
use crate::diag::{Error, Result};
use crate::exec::{Config, Cores, Event, Mode, Status, Trap, TrapKind, Vm, golden};
use crate::isa::{self, disasm};
use crate::machine::{self, Machine};
use crate::report::units;
use crate::sim::observe::{Observer, Program, Unobserved};
use crate::sim::{Estimate, Outcome, Sim, picojoule};

/// Schema of what `-f json` prints; docs/exec.schema.json describes it.
pub const SCHEMA: &str = "preon.exec/1";

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A program, or assembly text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    bind: asm::Bindings,
    /// The machine, by name or TOML file
    #[arg(short, long, value_name = "NAME|FILE", default_value = "edge")]
    machine: String,
    /// Change one figure of the machine
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = args::key_value)]
    sets: Vec<(String, String)>,
    /// Cores that run it, each its own copy [default: those of the machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    cores: Option<u32>,
    /// Count cycles only; compute no values
    #[arg(long)]
    timing_only: bool,
    /// Stop with a fault after about this many instructions
    #[arg(long, value_name = "N", default_value_t = FUEL)]
    fuel: u64,
    /// Stop the clock after this many cycles; the program goes on without one
    #[arg(long, value_name = "N")]
    max_cycles: Option<u64>,
    /// Show memory when the program has ended: an address (space in bits 63:60) and a number of bytes
    #[arg(long, value_name = "ADDRESS:BYTES", value_parser = range)]
    read: Vec<(u64, u64)>,
    /// Write the program, and memory before and after it, as $readmemh text into this new folder
    #[arg(long, value_name = "DIR", conflicts_with = "timing_only")]
    golden: Option<PathBuf>,
    /// What to print: table or json (schema preon.exec/1)
    #[arg(short = 'f', long = "output", value_name = "FORMAT", default_value = "table")]
    output: Shape,
    #[command(flatten)]
    tracing: Tracing,
}

/// Shape of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shape {
    /// For people
    Table,
    /// schema preon.exec/1
    Json,
}

/// Fuel where none is asked for.
const FUEL: u64 = 1_000_000_000;

fn range(text: &str) -> std::result::Result<(u64, u64), String> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(&hex.replace('_', ""), 16),
        None => text.replace('_', "").parse(),
    };
    let (addr, bytes) = text.split_once(':').ok_or("write ADDRESS:BYTES")?;
    let bytes = number(bytes).map_err(|e| format!("{bytes}: {e}"))?;
    if bytes > 1 << 20 {
        return Err("at most 1 MiB can be shown".into());
    }
    Ok((number(addr).map_err(|e| format!("{addr}: {e}"))?, bytes))
}

/// A program that has come to its end.
struct Ran {
    vm: Vm,
    outcome: Outcome,
    trap: Option<Trap>,
    /// Instructions executed when the clock was stopped.
    stopped: Option<u64>,
}

/// Executes the program and prints registers, memory and cost.
pub fn run(args: &Args) -> Result<()> {
    let object = asm::load(&args.file, &args.bind)?;
    let machine = machine::load_with(&args.machine, &args.sets)?;
    let count = args.cores.unwrap_or(machine.cores);
    let config = Config { fuel: Some(args.fuel), cores: count, ..Config::of(&machine) };
    let mode = if args.timing_only { Mode::TimingOnly } else { Mode::Functional };
    if count > 1 {
        return cores::run(args, &machine, Cores::new(object, config, mode)?);
    }
    let vm = Vm::new(object, config, mode)?;
    let before = args.golden.as_deref().map(|folder| refuse_existing(folder).map(|()| golden::memory(&vm, "before")));
    let before = before.transpose()?;
    let ran = match args.tracing.begin(&machine)? {
        None => execute(vm, &machine, args.max_cycles, &mut Unobserved)?,
        Some(mut trace) => {
            trace.begin(&Program { object: vm.object(), steps: Vec::new() });
            let ran = execute(vm, &machine, args.max_cycles, &mut trace)?;
            trace.finish(books::about(&args.file, &ran, &machine)?)?;
            ran
        }
    };
    if let (Some(before), Some(folder), None) = (before, &args.golden, &ran.trap) {
        let [after, scalars, program] =
            [golden::memory(&ran.vm, "after"), golden::scalars(&ran.vm, "after"), golden::program(&ran.vm)];
        write_golden(folder, [before, after, scalars, program].concat())?;
    }
    match args.output {
        Shape::Json => out::data(&format!("{:#}\n", report(args, &machine, &ran)?))?,
        Shape::Table if ran.trap.is_none() => out::data(&table(args, &machine, &ran)?)?,
        Shape::Table => {}
    }
    match ran.trap {
        None => Ok(()),
        Some(trap) => {
            let spent = trap.kind() == TrapKind::Fuel;
            let error = Error::from(trap);
            Err(match spent && args.fuel == FUEL {
                true => error.help("this is the limit where none is given; `--fuel N` sets another"),
                false => error,
            })
        }
    }
}

fn execute<O: Observer>(mut vm: Vm, machine: &Machine, max_cycles: Option<u64>, observer: &mut O) -> Result<Ran> {
    let mut sim = Sim::new(machine, 0);
    let mut event = Event::new();
    let (mut executed, mut stopped, mut trap) = (0, None, None);
    loop {
        match vm.step(&mut event) {
            Err(reason) => trap = Some(reason),
            Ok(status) => {
                executed += 1;
                if stopped.is_none() {
                    sim.observe(&event, observer);
                    if max_cycles.is_some_and(|most| sim.cycles() > most) && status == Status::Running {
                        stopped = Some(executed);
                    }
                }
                if status == Status::Running {
                    continue;
                }
            }
        }
        break;
    }
    Ok(Ran { vm, outcome: sim.finish_observed(observer)?, trap, stopped })
}

fn energy_pj(machine: &Machine, ran: &Ran) -> Result<f64> {
    Ok(picojoule(ran.outcome.ledger.energy(machine)?.total(Estimate::Typical)))
}

fn table(args: &Args, machine: &Machine, ran: &Ran) -> Result<String> {
    let mut text = registers(&ran.vm);
    for &(addr, bytes) in &args.read {
        text += &hex_dump(addr, &read(args, ran, addr, bytes)?);
    }
    let timing = &ran.outcome.timing;
    text += &format!(
        "{} instructions, {} cycles, {}\n",
        units::count(timing.instructions),
        units::count(timing.cycles),
        units::energy(energy_pj(machine, ran)?)
    );
    if let Some(executed) = ran.stopped {
        text += &format!(
            "the clock was stopped after {} instructions by --max-cycles; values are those of the whole program\n",
            units::count(executed)
        );
    }
    Ok(text)
}

/// The scalar registers that are not zero, a line each.
fn registers(vm: &Vm) -> String {
    let line = |n: u8| match vm.x(n) {
        Some(0) => String::new(),
        Some(value) => format!("x{n:<3} {value:#018x}  {}\n", value as i64),
        None => format!("x{n:<3} unknown\n"),
    };
    (1..32).map(line).collect()
}

/// Bytes to show; in timing-only mode only control memory has any.
fn read(args: &Args, ran: &Ran, addr: u64, bytes: u64) -> Result<Vec<u8>> {
    if args.timing_only && addr >> 60 != 3 {
        return Err(Error::usage(format!("{addr:#x} has no contents in timing-only mode, only control memory has")));
    }
    ran.vm.peek(addr, bytes).map_err(|trap| unreadable(addr, bytes, &trap))
}

/// `--read` of what is no memory: the command line is wrong, not the program.
fn unreadable(addr: u64, bytes: u64, trap: &Trap) -> Error {
    Error::usage(format!("--read {addr:#x}:{bytes} is not memory of the machine: {}", trap.message()))
}

/// All scalar registers as data.
fn scalars(vm: &Vm) -> Value {
    let value = |n: u8| json!(vm.x(n).map(|value| format!("{value:#x}")));
    Value::Object((1..32).map(|n| (format!("x{n}"), value(n))).collect())
}

/// Bytes of memory as data.
fn shown(addr: u64, bytes: &[u8]) -> Value {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "address": format!("{addr:#x}"), "bytes": hex })
}

fn report(args: &Args, machine: &Machine, ran: &Ran) -> Result<Value> {
    let mut memory = Vec::new();
    for &(addr, bytes) in &args.read {
        memory.push(shown(addr, &read(args, ran, addr, bytes)?));
    }
    Ok(json!({
        "schema": SCHEMA,
        "program": args.file.display().to_string(),
        "machine": machine.name,
        "trap": ran.trap.as_ref().map(|trap| trap_report(trap, &ran.vm)),
        "registers": scalars(&ran.vm),
        "memory": memory,
        "instructions": ran.outcome.timing.instructions,
        "cycles": ran.outcome.timing.cycles,
        "energy_pj": energy_pj(machine, ran)?,
        "units": books::units(&ran.outcome.timing),
        "bytes": books::bytes(&ran.outcome.ledger),
        "clock_stopped_after_instructions": ran.stopped,
    }))
}

fn trap_report(trap: &Trap, vm: &Vm) -> Value {
    let word = vm.object().words.get(trap.pc() as usize);
    let inst = word.and_then(|word| isa::decode(*word).ok());
    let operands = trap.operands().iter().map(|(name, value)| (name.clone(), json!(value)));
    json!({
        "kind": trap.kind().name(),
        "word": trap.pc(),
        "node": trap.node(),
        "file": trap.line().map(|(file, _)| file),
        "line": trap.line().map(|(_, line)| line),
        "instruction": inst.map(|inst| disasm::instruction(&inst)),
        "operands": operands.collect::<serde_json::Map<_, _>>(),
        "reason": trap.message(),
    })
}

/// A folder with something in it is not written over.
fn refuse_existing(folder: &Path) -> Result<()> {
    let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if folder.exists() && !empty {
        return Err(Error::usage("exists and is not an empty folder")
            .in_file(folder.display().to_string())
            .help("remove it, or choose another folder for --golden"));
    }
    Ok(())
}

/// Writes all files beside the folder, then gives them its name.
fn write_golden(folder: &Path, files: golden::Files) -> Result<()> {
    let scratch = folder.with_extension(format!("partial-{}", std::process::id()));
    let written = std::fs::create_dir_all(&scratch).and_then(|()| {
        files.iter().try_for_each(|(name, text)| std::fs::write(scratch.join(name), text))?;
        std::fs::rename(&scratch, folder)
    });
    written.map_err(|error| {
        // The error at hand says more than a failed clean-up would.
        let _ = std::fs::remove_dir_all(&scratch);
        Error::usage(format!("cannot be written: {error}")).in_file(folder.display().to_string())
    })
}

/// Sixteen bytes a line.
fn hex_dump(addr: u64, bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        out += &format!("{:#018x}  {}\n", addr + 16 * line as u64, hex.join(" "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_decimal_or_hexadecimal_and_bounded() {
        assert_eq!(range("0x1000_0000_0000_0000:32"), Ok((1 << 60, 32)));
        assert_eq!(range("16:0x10"), Ok((16, 16)));
        assert!(range("16").is_err() && range("0:999999999").is_err());
    }

    #[test]
    fn dumps_have_sixteen_bytes_a_line() {
        assert_eq!(hex_dump(0, &[1; 17]).lines().count(), 2);
    }
}
