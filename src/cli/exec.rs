//! `preon exec`: one program on the bare processor, with what it left behind and what it cost.

use std::path::PathBuf;

use super::{args, asm, out};
use crate::diag::{Error, Result};
use crate::exec::{Config, Event, Mode, Status, Vm};
use crate::machine;
use crate::report::units;
use crate::sim::{Estimate, Sim, picojoule};

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
    /// Count cycles only; compute no values
    #[arg(long)]
    timing_only: bool,
    /// Stop with a fault after about this many instructions
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000)]
    fuel: u64,
    /// Show memory when the program has ended: an address (space in bits 63:60) and a number of bytes
    #[arg(long, value_name = "ADDRESS:BYTES", value_parser = range)]
    read: Vec<(u64, u64)>,
}

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

/// Executes the program and prints registers, memory and cost.
pub fn run(args: &Args) -> Result<()> {
    let object = asm::load(&args.file, &args.bind)?;
    let machine = machine::load_with(&args.machine, &args.sets)?;
    let config = Config { fuel: Some(args.fuel), ..Config::of(&machine) };
    let mode = if args.timing_only { Mode::TimingOnly } else { Mode::Functional };
    let mut vm = Vm::new(object, config, mode)?;
    let mut sim = Sim::new(&machine, 0);
    let mut event = Event::new();
    let mut status = Status::Running;
    while status == Status::Running {
        status = vm.step(&mut event).map_err(Error::from)?;
        sim.account(&event);
    }
    let outcome = sim.finish()?;
    let mut text = String::new();
    for n in 1..32 {
        match vm.x(n) {
            Some(0) => {}
            Some(value) => text += &format!("x{n:<3} {value:#018x}  {}\n", value as i64),
            None => text += &format!("x{n:<3} unknown\n"),
        }
    }
    for &(addr, bytes) in &args.read {
        text += &hex_dump(addr, vm.read(addr, bytes).map_err(Error::from)?);
    }
    let pj = picojoule(outcome.ledger.energy(&machine)?.total(Estimate::Typical));
    let (cycles, instructions) = (outcome.timing.cycles, outcome.timing.instructions);
    text += &format!(
        "{} instructions, {} cycles, {}\n",
        units::count(instructions),
        units::count(cycles),
        units::energy(pj)
    );
    out::data(&text)
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
