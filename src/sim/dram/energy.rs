//! Energy of DRAM by command: counts times prices, each part beside the others.

use super::counts::Counts;
use crate::diag::Result;
use crate::machine::Machine;

/// One part of the energy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `activate` (with the precharge that ends it), `read`, `write`, `refresh`, `active`, `precharged`; `static` for a
    /// machine that states one power for background and refresh.
    pub name: &'static str,
    /// Low, typical and high, attojoule.
    pub attojoule: [i128; 3],
}

/// The energy of `counts` in `clocks` DRAM clocks.
///
/// # Errors
/// Unsupported, naming the key, for a command without a price.
pub fn parts(machine: &Machine, counts: &Counts, clocks: u64) -> Result<Vec<Part>> {
    let Some(memory) = &machine.dram.memory else { return Ok(Vec::new()) };
    let times = |key: &str, name: &'static str, count: u64| -> Result<Part> {
        let price = machine.price(&format!("dram.{key}"))?.attojoule;
        Ok(Part { name, attojoule: price.map(|one| one.saturating_mul(i128::from(count))) })
    };
    let burst = u64::from(memory.burst_bytes);
    let mut parts = vec![
        times("activate", "activate", counts.activates)?,
        times("read", "read", counts.reads * burst)?,
        times("write", "write", counts.writes * burst)?,
    ];
    if machine.prices.contains_key("dram.active") {
        let ranks = u64::from(memory.channels) * u64::from(memory.ranks);
        let closed = clocks.saturating_mul(ranks).saturating_sub(counts.active_clocks);
        parts.push(times("refresh", "refresh", counts.refreshes)?);
        parts.push(times("active", "active", counts.active_clocks)?);
        parts.push(times("precharged", "precharged", closed)?);
    } else if let Some(row) = machine.leakage.iter().find(|row| row.part == "dram") {
        // A milliwatt is a thousand attojoule a picosecond.
        let power = (row.milliwatt * 1000.0).round() as i128;
        let time = i128::from(clocks) * i128::from(memory.tck_ps);
        parts.push(Part { name: "static", attojoule: [power.saturating_mul(time); 3] });
    }
    Ok(parts)
}
