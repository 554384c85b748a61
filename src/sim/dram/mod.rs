//! DRAM, driven by transfers: three models behind one type, [`Dram`].
//!
//! `cycle` steps every command of every bank (docs/dram.md), `bandwidth` is a first-come channel of stated bandwidth,
//! `ideal` costs no time. The caller moves time: [`Dram::start`] begins a transfer, [`Dram::advance`] gives the next one
//! that ends. [`traffic`] offers single requests without a core.

mod answers;
mod channel;
mod clocks;
mod counts;
pub mod energy;
mod lockstep;
mod queue;
mod rules;
mod simple;
#[cfg(test)]
mod tests;
pub mod traffic;
mod transfers;

pub use counts::Counts;

use crate::machine::Machine;
use crate::machine::dram::DramModel;

/// Addresses of a transfer: equal contiguous runs at three levels of strides, the outermost first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strided {
    /// First byte.
    pub address: u64,
    /// Bytes of a contiguous run.
    pub run_bytes: u64,
    /// (count, stride in bytes) of each level; (1, 0) for a level that is not used.
    pub levels: [(u64, i64); 3],
}

impl Strided {
    /// `bytes` in one piece.
    pub fn contiguous(address: u64, bytes: u64) -> Strided {
        Strided { address, run_bytes: bytes, levels: [(1, 0); 3] }
    }
    /// Contiguous runs.
    pub fn runs(&self) -> u64 {
        self.levels.iter().fold(1, |product, (count, _)| product.saturating_mul(*count))
    }
    /// Bytes of all runs.
    pub fn bytes(&self) -> u64 {
        self.runs().saturating_mul(self.run_bytes)
    }
    /// The same bytes in the same order with runs that touch joined.
    pub(super) fn folded(&self) -> Strided {
        let mut folded = *self;
        for level in (0..3).rev() {
            let (count, stride) = folded.levels[level];
            if count != 1 && u64::try_from(stride) != Ok(folded.run_bytes) {
                break;
            }
            folded.run_bytes = folded.run_bytes.saturating_mul(count);
            folded.levels[level] = (1, 0);
        }
        folded
    }
}

/// A transfer that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// As given to [`Dram::start`].
    pub id: u64,
    /// Core cycle in which its last byte is there (read) or taken (write).
    pub end_cycle: u64,
    /// Rows opened for it; without commands, the estimate of one for each row that a run touches.
    pub activates: u64,
    /// Bursts that found their row open.
    pub row_hits: u64,
    /// Bursts moved.
    pub bursts: u64,
}

/// What DRAM has done in all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Of all channels.
    pub counts: Counts,
    /// Of each channel; empty without channels.
    pub channels: Vec<Counts>,
    /// Core cycles that the data bus was busy, summed over channels and divided by their number.
    pub busy_cycles: u64,
    /// DRAM clocks that have passed; 0 without commands.
    pub clocks: u64,
}

/// DRAM of one machine.
#[derive(Debug, Clone)]
pub struct Dram(Model);

#[derive(Debug, Clone)]
enum Model {
    Cycle(Box<transfers::Transfers>),
    Simple(Box<simple::Simple>),
}

impl Dram {
    /// DRAM of a machine, idle, as its `dram.model` says.
    pub fn new(machine: &Machine) -> Dram {
        Dram::stepping(machine, false)
    }
    /// As [`Dram::new`]; with `step` every DRAM clock is stepped, for the same result more slowly.
    pub fn stepping(machine: &Machine, step: bool) -> Dram {
        let clock_hz = machine.clock_hz.round() as u64;
        Dram(match (machine.dram.model, &machine.dram.memory) {
            (DramModel::Cycle, Some(memory)) => {
                Model::Cycle(Box::new(transfers::Transfers::new(memory, clock_hz, step)))
            }
            (DramModel::Ideal, _) => Model::Simple(Box::new(simple::Simple::ideal(&machine.dram))),
            _ => Model::Simple(Box::new(simple::Simple::bandwidth(&machine.dram, clock_hz))),
        })
    }
    /// Begins a transfer in core cycle `at_cycle`, which is not before the time that [`Dram::advance`] has moved to.
    pub fn start(&mut self, id: u64, at_cycle: u64, strided: &Strided, write: bool) {
        match &mut self.0 {
            Model::Cycle(model) => model.start(id, at_cycle, strided, write),
            Model::Simple(model) => model.start(id, at_cycle, strided, write),
        }
    }
    /// The next transfer that ends before core cycle `before`, and time has moved to its end; or none, and time has moved
    /// to `before`. `u64::MAX` waits until something ends (none: nothing is under way).
    pub fn advance(&mut self, before: u64) -> Option<Done> {
        match &mut self.0 {
            Model::Cycle(model) => model.advance(before),
            Model::Simple(model) => model.advance(before),
        }
    }
    /// Brings DRAM to its one rest state and gives the core cycle in which that is reached: posted writes are drained,
    /// every row closed, one refresh of every rank pulled in and the refresh timers restarted. No transfer is under way.
    pub fn quiesce(&mut self, at_cycle: u64) -> u64 {
        match &mut self.0 {
            Model::Cycle(model) => model.quiesce(at_cycle),
            Model::Simple(_) => at_cycle,
        }
    }
    /// What DRAM has done up to core cycle `at_cycle`, when no transfer is under way.
    pub fn totals(&mut self, at_cycle: u64) -> Totals {
        match &mut self.0 {
            Model::Cycle(model) => model.totals(at_cycle),
            Model::Simple(model) => {
                Totals { counts: model.counts(), busy_cycles: model.busy_cycles(), ..Totals::default() }
            }
        }
    }
}
