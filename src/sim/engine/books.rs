//! The books of a core: what each cycle of a unit was, and to which node each cycle of the core belongs.

use super::Engine;
use crate::diag::{self, Error};
use crate::sim::channels::Channels;
use crate::sim::flight::When;
use crate::sim::observe::{Observer, On};
use crate::sim::timing::{CAUSES, Cause, Spent, Timing};

/// Queue, cursor and sums of one unit.
#[derive(Debug, Clone)]
pub(super) struct UnitState {
    /// Start times of the last instructions, as many as the queue holds.
    pub(super) starts: Vec<When>,
    /// Next slot of `starts`.
    pub(super) slot: usize,
    /// Time at which the unit can start again.
    pub(super) free: When,
    /// Time up to which every cycle is explained.
    pub(super) cursor: u64,
    pub(super) busy: u64,
    pub(super) idle: u64,
    pub(super) stall: [u64; CAUSES.len()],
    pub(super) instructions: u64,
}

/// Cycles by what they were, and instructions.
#[derive(Debug, Clone)]
pub(super) struct UnitBooks {
    busy: u64,
    idle: u64,
    stall: [u64; CAUSES.len()],
    instructions: u64,
}

impl UnitState {
    pub(super) fn new(queue: u32) -> Self {
        UnitState {
            starts: vec![When::At(0); queue.max(1) as usize],
            slot: 0,
            free: When::At(0),
            cursor: 0,
            busy: 0,
            idle: 0,
            stall: [0; CAUSES.len()],
            instructions: 0,
        }
    }
    /// Explains the cycles up to `end`: idle until `ready`, stalled by `cause` until `start`, then busy.
    #[inline]
    pub(super) fn explain(&mut self, ready: u64, start: u64, end: u64, cause: Cause) {
        let idle_end = ready.min(start);
        if idle_end > self.cursor {
            self.idle += idle_end - self.cursor;
            self.cursor = idle_end;
        }
        if start > self.cursor {
            self.stall[cause as usize] += start - self.cursor;
            self.cursor = start;
        }
        if end > self.cursor {
            self.busy += end - self.cursor;
            self.cursor = end;
        }
    }
    /// What came into its books since `before`.
    pub(super) fn since(&self, before: &UnitState) -> UnitBooks {
        let mut stall = self.stall;
        stall.iter_mut().zip(&before.stall).for_each(|(sum, old)| *sum -= old);
        UnitBooks {
            busy: self.busy - before.busy,
            idle: self.idle - before.idle,
            instructions: self.instructions - before.instructions,
            stall,
        }
    }
    /// What it is `cycles` later, when `books` has come in `times` times.
    pub(super) fn repeat(&mut self, books: &UnitBooks, cycles: u64, times: u64) {
        for when in self.starts.iter_mut().chain([&mut self.free]) {
            if let When::At(at) = when {
                *at += cycles;
            }
        }
        self.cursor += cycles;
        self.busy += books.busy * times;
        self.idle += books.idle * times;
        self.instructions += books.instructions * times;
        self.stall.iter_mut().zip(&books.stall).for_each(|(sum, each)| *sum += each * times);
    }
    /// Puts an instruction into the queue; its place there.
    #[inline]
    pub(super) fn enqueue(&mut self, start: When) -> usize {
        let slot = self.slot;
        self.starts[slot] = start;
        self.slot = if slot + 1 == self.starts.len() { 0 } else { slot + 1 };
        self.instructions += 1;
        slot
    }
}
/// The latest of several times, with the cause that set it; of equal times the first cause in [`Cause`] order wins.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Latest {
    pub(in crate::sim) at: u64,
    pub(in crate::sim) cause: Cause,
    /// Kept for observers only.
    pub(super) on: On,
}

impl Latest {
    pub(super) fn new(at: u64) -> Self {
        Latest { at, cause: Cause::Queue, on: On::Turn }
    }
    pub(in crate::sim) fn wait<O: Observer>(&mut self, at: u64, cause: Cause, on: On) {
        if at > self.at || (at == self.at && cause < self.cause) {
            (self.at, self.cause) = (at, cause);
            if O::WANTED {
                self.on = on;
            }
        }
    }
}
impl Engine {
    /// Gives the cycles until `until`, in which an instruction of `node` waits for other cores, to it.
    pub(in crate::sim) fn stall(&mut self, node: u32, until: u64) {
        self.own(node, 0, until, until, Spent::Stall);
    }

    /// Gives the cycles that no node has yet, up to `end`, to `node`: before issue to issuing, then to waiting, then to
    /// the work itself. All older instructions end before `owned`, so this is the oldest unfinished one.
    #[inline]
    pub(super) fn own(&mut self, node: u32, issued: u64, start: u64, end: u64, spent: Spent) {
        self.end = self.end.max(end);
        if end <= self.owned {
            return;
        }
        let row = (node as usize).min(self.nodes.len() - 1);
        let row = &mut self.nodes[row];
        for (until, what) in [((issued + 1).min(end), Spent::Issue), (start, Spent::Stall), (end, spent)] {
            if until > self.owned {
                row[what as usize] += until - self.owned;
                self.owned = until;
            }
        }
    }

    /// The cycle in which everything so far is over.
    pub(in crate::sim) fn cycles(&self) -> u64 {
        self.units.iter().map(|u| u.cursor).max().unwrap_or(0).max(self.end)
    }

    /// A transfer of `tag`, issued in cycle `issued`, will be over at `done`. A program that never asks for its tag leaves
    /// those that are over: they are forgotten where many have come together.
    pub(super) fn pend(&mut self, tag: u8, done: When, issued: u64) {
        let pending = &mut self.tags[usize::from(tag) % 16];
        if pending.len() >= 64 {
            pending.retain(|other| !matches!(other, When::At(other) if *other <= issued));
        }
        pending.push(done);
    }

    /// Transfers of `tag` that are unfinished in `cycle`.
    pub(in crate::sim) fn unfinished(&self, tag: u8, cycle: u64) -> usize {
        self.tags[usize::from(tag) % 16].iter().filter(|done| !matches!(done, When::At(at) if *at <= cycle)).count()
    }

    /// What stopped the clock.
    pub(in crate::sim) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Closes the books: every unit idles until the common end.
    ///
    /// # Errors
    /// The first event that the machine does not serve.
    pub(in crate::sim) fn finish<O: Observer>(
        mut self,
        mut channels: Channels,
        observer: &mut O,
    ) -> diag::Result<Timing> {
        self.come_down(&mut channels, observer);
        let cycles = self.cycles();
        self.finish_at(cycles, &mut channels)
    }

    /// As [`Engine::finish`], idle from its own end to `cycles`.
    ///
    /// # Errors
    /// The first event that the machine does not serve.
    pub(in crate::sim) fn finish_at(mut self, cycles: u64, channels: &mut Channels) -> diag::Result<Timing> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut timing = Timing { cycles, nodes: std::mem::take(&mut self.nodes), ..Timing::default() };
        if let Some(rest) = timing.nodes.last_mut() {
            rest[Spent::Stall as usize] += cycles.saturating_sub(self.owned);
        }
        for (unit, mut state) in self.units.into_iter().enumerate() {
            state.idle += cycles - state.cursor;
            timing.instructions += state.instructions;
            let row = &mut timing.units[unit];
            row.busy_cycles = state.busy;
            row.stall_cycles = state.stall;
            row.idle_cycles = state.idle;
            row.instructions = state.instructions;
        }
        timing.activates = self.activates;
        timing.dram = channels.totals(cycles);
        timing.shared_busy_cycles = channels.shared_busy;
        timing.noc_busy_cycles = channels.noc_busy;
        Ok(timing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rates::Rates;
    use std::sync::Arc;

    #[test]
    fn transfers_whose_tag_nobody_asks_for_are_forgotten_once_they_are_over() {
        let machine = crate::machine::load("edge").unwrap();
        let mut engine = Engine::new(&Arc::new(Rates::new(&machine)), 1, 0);
        engine.pend(3, When::After(7), 0);
        for at in 0..10_000 {
            engine.pend(3, When::At(at + 20), at);
            // The open one, and those of the last 20 cycles.
            assert_eq!(engine.unfinished(3, at), 1 + (at as usize + 1).min(20), "cycle {at}");
            assert!(engine.tags[3].len() <= 65, "{} are kept in cycle {at}", engine.tags[3].len());
        }
    }
}
