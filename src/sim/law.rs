//! What one instruction takes by itself, from the machine's own cost functions: what docs/isa.md prints.
//!
//! The clock ([`super::Sim`]) has its own arithmetic for this, over tables by format; the tests of `sim` hold the two
//! together, for every instruction and from both sides.

use crate::diag::{Error, Result};
use crate::exec::event::{Access, Event, EwKind, Space, Work};
use crate::isa::{Op, Unit};
use crate::machine::{Machine, Skip, Sram, Tile};
use crate::num::format::by_id;

/// Cycles of an instruction with nothing in its way. It starts in the cycle after its issue, or at issue on the control
/// unit; `occupied_cycles` later its unit can take the next one; `latency_cycles` after that its results can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Cycles during which its unit takes nothing else; 0 for what is free of charge.
    pub occupied_cycles: u64,
    /// Cycles from then until its results can be used.
    pub latency_cycles: u64,
}

impl Cost {
    /// Cycles from the start to the first use of a result.
    pub fn ready_cycles(&self) -> u64 {
        self.occupied_cycles + self.latency_cycles
    }
}

/// The cost of the instruction that `event` describes, on `machine`.
///
/// # Errors
/// Unsupported, naming what is missing, if the machine does not serve it.
pub fn cost(machine: &Machine, event: &Event) -> Result<Cost> {
    match event.unit {
        _ if matches!(event.op, Op::Endl | Op::Node) => Ok(Cost::default()),
        Unit::C => Ok(Cost { occupied_cycles: 1, latency_cycles: control_latency(machine, event).max(1) - 1 }),
        Unit::D => Ok(transfer(machine, event)),
        _ => {
            let work = work(machine, event)?;
            if matches!(event.work, Work::TileLoad { .. }) && work.occupied_cycles == 0 {
                return Ok(work);
            }
            let (occupied, latency) = memory(machine, event);
            Ok(Cost {
                occupied_cycles: work.occupied_cycles.max(occupied).max(1),
                latency_cycles: work.latency_cycles + latency,
            })
        }
    }
}

/// Cycles from the issue of a scalar instruction to the use of its result.
fn control_latency(machine: &Machine, event: &Event) -> u64 {
    let scalar = u64::from(machine.scalar_latency);
    let Some(load) = event.touched().first().filter(|access| !access.write) else { return scalar };
    scalar.max(read_latency(machine, load.space))
}

fn read_latency(machine: &Machine, space: Space) -> u64 {
    u64::from(match space {
        Space::Sram => machine.own().latency_cycles,
        Space::Shared => machine.shared().map_or(1, |level| level.latency_cycles),
        _ => machine.control_latency,
    })
}

/// What the unit itself does, without its memory.
fn work(machine: &Machine, event: &Event) -> Result<Cost> {
    let units = &machine.units;
    let (occupied, latency) = match event.work {
        Work::Mac { terms, granules, fullest, weights, inputs, .. } => {
            let live = match units.s_skip {
                Skip::None => terms,
                Skip::Balanced => granules,
                Skip::MaxOverLanes => fullest,
            };
            let (w, x) = pair(weights, inputs)?;
            if !machine.vector_serves(w, x) {
                return Err(unserved(machine, &w.name, &x.name, "S unit"));
            }
            (machine.mac_cycles(live.into(), w, x), units.s_latency)
        }
        Work::Tile { entries, .. } => (machine.fold_cycles(entries.into()), units.s_latency),
        Work::Elementwise { kind: EwKind::Bit | EwKind::Pop, elements } => {
            (machine.elementwise_cycles(u64::from(elements).div_ceil(32), false), units.e_latency)
        }
        Work::Elementwise { kind: EwKind::Div | EwKind::Special | EwKind::Philox, elements } => {
            (machine.elementwise_cycles(elements.into(), true), units.e_special_latency)
        }
        Work::Elementwise { elements, .. } => (machine.elementwise_cycles(elements.into(), false), units.e_latency),
        Work::Move { bytes, .. } => (bytes.div_ceil(units.l_bytes_per_cycle.into()), units.l_latency),
        Work::Decode { symbols, bytes, .. } => {
            if units.l_codes_per_cycle == 0 {
                return Err(Error::unsupported(format!("machine `{}` has no entropy decoder", machine.name)));
            }
            let decoding = u64::from(symbols.div_ceil(units.l_codes_per_cycle));
            (decoding.max(bytes.div_ceil(units.l_bytes_per_cycle.into())), units.l_latency)
        }
        Work::TileLoad { .. } => (array(machine)?.load(&tile_of(&event.work)), 0),
        Work::TileMac { weights, inputs, .. } => {
            let (w, x) = pair(weights, inputs)?;
            let rows = machine.array_row_cycles(&w.name, &x.name);
            let rows = rows.ok_or_else(|| unserved(machine, &w.name, &x.name, "array"))?;
            let cost = array(machine)?.compute(&tile_of(&event.work), rows);
            return Ok(Cost { occupied_cycles: cost.occupied, latency_cycles: cost.latency });
        }
        _ => (0, 0),
    };
    Ok(Cost { occupied_cycles: occupied, latency_cycles: latency.into() })
}

/// Cycles that the accesses occupy their memory, and the latency of the slowest read.
fn memory(machine: &Machine, event: &Event) -> (u64, u64) {
    let mut cost = (0, 0);
    for access in event.touched() {
        let level = match access.space {
            Space::Sram => Some(machine.own()),
            Space::Shared => machine.shared(),
            _ => None,
        };
        // Control memory gives 64 bytes a cycle.
        let cycles = level.map_or(access.bytes.div_ceil(64), |level| busy(level, access));
        cost.0 = cycles.max(cost.0);
        if !access.write {
            cost.1 = read_latency(machine, access.space).max(cost.1);
        }
    }
    cost
}

/// A transfer: setup, then the slowest of the engine and both memories, then the longest latency.
fn transfer(machine: &Machine, event: &Event) -> Cost {
    let (Work::Dma { bytes, .. } | Work::Multicast { bytes, .. }) = event.work else { return Cost::default() };
    let mut moving = bytes.div_ceil(machine.dma.bytes_per_cycle.into());
    let mut latency = u64::from(machine.own().latency_cycles);
    for access in event.touched() {
        let (cycles, later) = match access.space {
            Space::Dram => (machine.dram_cycles(access.bytes, access.runs), machine.dram.latency_cycles.into()),
            Space::Sram => (busy(machine.own(), access), 0),
            Space::Shared => {
                machine.shared().map_or((0, 0), |level| (busy(level, access), level.latency_cycles.into()))
            }
            _ => (0, 0),
        };
        moving = moving.max(cycles);
        latency = latency.max(later);
    }
    Cost { occupied_cycles: u64::from(machine.dma.setup_cycles) + moving, latency_cycles: latency }
}

fn pair(weights: u16, inputs: u16) -> Result<(crate::num::FormatRef, crate::num::FormatRef)> {
    let known = |id: u16| by_id(id).ok_or_else(|| Error::unsupported(format!("format {id} is not in the table")));
    Ok((known(weights)?, known(inputs)?))
}

/// Cycles that an access occupies its memory: evenly spaced pieces meet in its banks, others spread over all.
pub(super) fn busy(level: &Sram, access: &Access) -> u64 {
    match access.evenly() {
        Some((stride, bytes)) => level.strided_cycles(access.runs, bytes, stride),
        None => level.cycles(level.accesses(access.bytes, access.runs)),
    }
}

/// The tile that work on the array is about; an empty one for any other work.
#[inline]
pub(super) fn tile_of(work: &Work) -> Tile {
    let bits = |format: u16| by_id(format).map_or(0, |format| format.bits);
    match *work {
        Work::TileLoad { tn, tk, weights, dead } => {
            Tile { tn: tn.into(), tk: tk.into(), dead: dead.into(), weight_bits: bits(weights), ..Tile::default() }
        }
        Work::TileMac { tm, tn, tk, first, dead, block, weights, inputs, .. } => Tile {
            tm: tm.into(),
            tn: tn.into(),
            tk: tk.into(),
            first,
            block: block.into(),
            dead: dead.into(),
            weight_bits: bits(weights),
            input_bits: bits(inputs),
        },
        _ => Tile::default(),
    }
}

fn array(machine: &Machine) -> Result<&crate::machine::Array> {
    machine.array.as_ref().ok_or_else(|| Error::unsupported(format!("machine `{}` has no array", machine.name)))
}

fn unserved(machine: &Machine, weights: &str, inputs: &str, unit: &str) -> Error {
    Error::unsupported(format!("machine `{}` does not serve `{weights}*{inputs}` on its {unit}", machine.name))
}
