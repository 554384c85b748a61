//! The books of a program as data: cycles of every unit, bytes of every memory.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Ran, energy_pj};
use crate::diag::Result;
use crate::machine::Machine;
use crate::sim::{CAUSES, Ledger, Place, Timing, UNIT_NAMES};

/// Busy, stalled by cause, and idle cycles of every unit, and its instructions.
pub fn units(timing: &Timing) -> Value {
    let row = |(name, unit): (&&str, &crate::sim::UnitTime)| {
        let stalls = CAUSES.iter().zip(unit.stall_cycles).filter(|(_, cycles)| *cycles > 0);
        json!({
            "unit": name,
            "busy_cycles": unit.busy_cycles,
            "stall_cycles": stalls.map(|(cause, cycles)| ((*cause).to_owned(), json!(cycles))).collect::<Map<_, _>>(),
            "idle_cycles": unit.idle_cycles,
            "instructions": unit.instructions,
        })
    };
    UNIT_NAMES.iter().zip(&timing.units).map(row).collect()
}

/// Bytes read and written at every memory level.
pub fn bytes(ledger: &Ledger) -> Value {
    let levels = [
        ("dram", Place::Dram),
        ("sram", Place::Own),
        ("shared-sram", Place::Shared),
        ("control-memory", Place::Control),
    ];
    let row = |(name, place): (&str, Place)| {
        let (read, written) = ledger.bytes(place);
        (name.to_owned(), json!({ "read": read, "written": written }))
    };
    Value::Object(levels.into_iter().map(row).collect())
}

/// What a trace says about the whole run.
///
/// # Errors
/// Unsupported if the machine has no price for something that happened.
pub fn about(file: &Path, ran: &Ran, machine: &Machine) -> Result<Map<String, Value>> {
    let totals = json!({
        "cycles": ran.outcome.timing.cycles,
        "instructions": ran.outcome.timing.instructions,
        "units": units(&ran.outcome.timing),
        "bytes": bytes(&ran.outcome.ledger),
        "energy_pj": energy_pj(machine, ran)?,
    });
    let mut about = Map::new();
    about.insert("run".into(), json!(file.display().to_string()));
    about.insert("totals".into(), totals);
    if let Some(trap) = &ran.trap {
        about.insert("trap".into(), json!(trap.message()));
    }
    Ok(about)
}
