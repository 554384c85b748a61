//! How long pieces of rows keep DRAM busy, for estimates of tilings.

use crate::machine::dram::Memory;
use crate::machine::{DramModel, Machine};
use std::cell::RefCell;

/// Bytes in memory: pieces of rows, how many, and from one to the next.
#[derive(Clone, Copy)]
pub(super) struct Pieces {
    pub bytes: u64,
    pub runs: u64,
    pub pitch: u64,
}

impl Pieces {
    /// One piece.
    pub fn whole(bytes: u64) -> Pieces {
        Pieces { bytes, runs: 1, pitch: bytes }
    }
    /// `runs` pieces of rows of `pitch` bytes: one, if they are whole rows.
    pub fn of(bytes: u64, runs: u64, pitch: u64) -> Pieces {
        if bytes == pitch { Pieces::whole(bytes * runs) } else { Pieces { bytes, runs, pitch } }
    }
    /// Bytes of all of them.
    pub fn all(self) -> u64 {
        self.bytes * self.runs
    }
}

/// Shares of DRAM's bandwidth that pieces of rows reach, by their bytes and pitch, as far as they have been asked for.
#[derive(Default)]
pub(super) struct Shares(RefCell<Vec<((u64, u64), f64)>>);

impl Shares {
    /// Cycles that pieces keep DRAM busy, without latency.
    pub fn cycles(&self, machine: &Machine, pieces: Pieces) -> u64 {
        let runs = if machine.dram.model == DramModel::Cycle { 1 } else { pieces.runs };
        (machine.dram_cycles(pieces.all(), runs) as f64 / self.of(machine, pieces)) as u64
    }

    /// Share of a stream's bandwidth.
    pub fn of(&self, machine: &Machine, pieces: Pieces) -> f64 {
        let (DramModel::Cycle, Some(memory)) = (machine.dram.model, &machine.dram.memory) else { return 1.0 };
        if pieces.runs == 1 {
            return 1.0;
        }
        let key = (pieces.bytes, pieces.pitch);
        let known = self.0.borrow().iter().find(|(known, _)| *known == key).map(|(_, share)| *share);
        known.unwrap_or_else(|| {
            let share = share(memory, pieces);
            self.0.borrow_mut().push((key, share));
            share
        })
    }
}

/// Share of a stream's bandwidth that pieces of rows reach by the address map: bursts are read whole, channels and banks that
/// the pieces pass by are idle, and rows are opened no faster than the rules allow.
fn share(memory: &Memory, pieces: Pieces) -> f64 {
    let burst = u64::from(memory.burst_bytes).max(1);
    let timing = &memory.timing;
    if pieces.bytes >= burst * u64::from(memory.columns) * u64::from(memory.channels) {
        return 1.0;
    }
    let pieces_seen = (1024 * burst / pieces.bytes.max(burst)).clamp(8, 64);
    let banks = (memory.ranks * memory.groups * memory.banks) as usize;
    // Of every bank the open row and the rows opened; of every channel the bursts and the rows.
    let mut open = vec![(u32::MAX, 0u64); banks * memory.channels as usize];
    let mut busy = vec![[0u64; 2]; memory.channels as usize];
    let mut next = 0;
    for piece in 0..pieces_seen {
        let first = piece * pieces.pitch;
        let last = (first + pieces.bytes - 1) / burst;
        for number in (first / burst).max(next)..=last {
            next = last + 1;
            let at = memory.map.locate(number);
            let bank = &mut open[at.channel as usize * banks + at.bank as usize];
            let opens = u64::from(bank.0 != at.row);
            *bank = (at.row, bank.1 + opens);
            let channel = &mut busy[at.channel as usize];
            *channel = [channel[0] + 1, channel[1] + opens];
        }
    }
    let apart = u64::from(timing.rrd_l.max(timing.faw / 4));
    let channels = busy.iter().map(|[bursts, rows]| (bursts * u64::from(timing.burst)).max(rows * apart));
    let banks = open.iter().map(|(_, rows)| rows * u64::from(timing.rc));
    let clocks = channels.chain(banks).max().unwrap_or(1).max(1);
    let stream = (pieces_seen * pieces.bytes) as f64 / (burst * u64::from(memory.channels)) as f64;
    (stream * f64::from(timing.burst) / clocks as f64).min(1.0)
}
