//! Events to cycles and joules. sim knows no value and never changes one; exec knows no clock.
//!
//! [`Sim`] takes one [`Event`] an executed instruction, in program order. The engine moves time (docs/timing.md), the
//! counts collect what costs energy; [`Sim::finish`] gives a [`Timing`] whose rows add up to the run's cycles and a
//! [`Ledger`] whose rows add up to its joules. [`several`] does the same for
//! the cores of a machine together.

mod assume;
mod channels;
mod cores;
mod counts;
pub mod dram;
mod engine;
mod flight;
pub mod history;
#[cfg(test)]
mod instructions;
pub mod law;
mod ledger;
mod meter;
pub mod observe;
mod order;
mod passes;
mod rates;
#[cfg(test)]
mod tests;
mod timing;

pub use assume::{assumptions, not_modelled};
pub use cores::{Several, several, several_observed, several_stepping};
pub use ledger::{Energy, EnergyRow, Estimate, GROUPS, Group, Key, Ledger, Place, What, picojoule};
pub use passes::{run, run_while};
pub use timing::{CAUSES, Cause, SPENT, Spent, Timing, UNIT_NAMES, UNITS, UnitTime, bound_by};

use crate::diag::{Error, Result};
use crate::exec::event::Event;
use crate::machine::Machine;
use observe::{Observer, Unobserved};
use rates::Rates;
use std::sync::Arc;

/// Prices the events of one run on one machine.
#[derive(Debug, Clone)]
pub struct Sim {
    engine: engine::Engine,
    channels: channels::Channels,
    counts: counts::Counts,
}

/// Result of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Cycles.
    pub timing: Timing,
    /// Counts.
    pub ledger: Ledger,
}

impl Sim {
    /// A simulator of `machine` for a program whose node markers are 0 .. `nodes`; events of other nodes are booked
    /// under the extra node `nodes`.
    pub fn new(machine: &Machine, nodes: usize) -> Self {
        Sim::stepping(machine, nodes, false)
    }
    /// As [`Sim::new`]; with `step` DRAM decides every clock by itself, and time goes on cycle by cycle while it works, for
    /// the same result more slowly.
    pub fn stepping(machine: &Machine, nodes: usize, step: bool) -> Self {
        Sim::with(&Arc::new(Rates::new(machine)), nodes, step)
    }
    fn with(rates: &Arc<Rates>, nodes: usize, step: bool) -> Self {
        let engine = engine::Engine::new(rates, nodes, 0);
        let channels = channels::Channels::new(rates.machine(), step);
        Sim { engine, channels, counts: counts::Counts::new(rates, nodes) }
    }
    /// A simulator of the same machine for another program, as [`Sim::stepping`] but without working out its rates anew.
    pub fn another(&self, nodes: usize, step: bool) -> Self {
        Sim::with(self.engine.rates(), nodes, step)
    }
    /// Takes the next executed instruction. What the machine does not serve is reported by [`Sim::finish`].
    pub fn account(&mut self, event: &Event) {
        self.observe(event, &mut Unobserved);
    }
    /// As [`Sim::account`]; `observer` is told what the clock did with the instruction.
    pub fn observe<O: Observer>(&mut self, event: &Event, observer: &mut O) {
        self.counts.add(event, self.engine.rates());
        self.engine.step(event, &mut self.channels, observer);
    }
    /// Ends what is in flight as if no instruction followed, and tells `observer` of it. After a `halt` nothing is.
    pub fn come_down<O: Observer>(&mut self, observer: &mut O) {
        self.engine.come_down(&mut self.channels, observer);
    }
    /// The cycle in which everything so far is over.
    pub fn cycles(&self) -> u64 {
        self.engine.cycles()
    }
    /// Transfers of `tag` that are unfinished in `cycle`, which is not before the last issue.
    pub fn unfinished(&self, tag: u8, cycle: u64) -> usize {
        self.engine.unfinished(tag, cycle)
    }
    /// What the machine did not serve: the clock stands still since then, and [`Sim::finish`] says the same.
    pub fn error(&self) -> Option<&Error> {
        self.engine.error()
    }
    /// Closes the books.
    ///
    /// # Errors
    /// Unsupported, naming the pair, for the first instruction that the machine does not serve.
    pub fn finish(self) -> Result<Outcome> {
        self.finish_observed(&mut Unobserved)
    }
    /// As [`Sim::finish`]; `observer` is told of what was still in flight.
    ///
    /// # Errors
    /// Those of [`Sim::finish`].
    pub fn finish_observed<O: Observer>(self, observer: &mut O) -> Result<Outcome> {
        let rates = self.engine.rates().clone();
        let timing = self.engine.finish(self.channels, observer)?;
        let ledger = self.counts.ledger(std::slice::from_ref(&timing), rates.machine());
        Ok(Outcome { timing, ledger })
    }
}
