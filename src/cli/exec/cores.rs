//! `preon exec --cores N`: what every core left behind, and what they cost together.

use super::{Args, Shape, hex_dump, registers};
use crate::cli::out;
use crate::diag::{Error, Result};
use crate::exec::Cores;
use crate::machine::Machine;
use crate::report::units;
use crate::sim::{Estimate, picojoule, several};

/// Executes the program on `cores`. Memory is shown as core 0 sees it, so space 4 reads the SRAM of the others.
pub fn run(args: &Args, machine: &Machine, mut cores: Cores) -> Result<()> {
    let alone = [
        ("--golden", args.golden.is_some()),
        ("--max-cycles", args.max_cycles.is_some()),
        ("-f json", matches!(args.output, Shape::Json)),
    ];
    if let Some((flag, _)) = alone.iter().find(|(_, given)| *given) {
        let error = Error::unsupported(format!("{flag} shows one core, the program runs on {}", cores.count()));
        return Err(error.help("leave it out, or run with `--cores 1`"));
    }
    if machine.noc.is_none() {
        let error = Error::unsupported(format!("machine `{}` has no network between cores", machine.name));
        return Err(error.help("give it [noc] with `bytes_per_cycle` and `latency`, and `energy.core.noc`"));
    }
    let outcome = several(machine, 0, &mut cores)?;
    let mut text = String::new();
    for core in 0..cores.count() {
        text += &format!("core {core}\n{}", registers(cores.core(core)));
    }
    for &(addr, bytes) in &args.read {
        text += &hex_dump(addr, cores.read(0, addr, bytes).map_err(Error::from)?);
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
