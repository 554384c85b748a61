//! Going back: copies of the whole state every so many instructions, and running again from there.
//!
//! A program is deterministic, so the state after n instructions is that of any earlier copy run on to n. Copies take a
//! bounded amount of memory: where they would take more, every second one is dropped and the distance doubles.

use super::moment::Moment;
use crate::exec::Event;

/// Copies kept at most, besides the beginning.
const COPIES: usize = 64;
/// Host memory that copies may take.
pub const BUDGET_BYTES: u64 = 256 << 20;
/// Instructions between copies at first.
pub const EVERY: u64 = 512;

/// The past of a run.
#[derive(Debug)]
pub struct History {
    origin: Moment,
    /// Ascending.
    copies: Vec<Moment>,
    every: u64,
    budget_bytes: u64,
}

impl History {
    /// A past that goes back to `origin`, with a copy after `every` instructions at first; the copies take at most
    /// `budget_bytes`.
    pub fn new(origin: Moment, every: u64, budget_bytes: u64) -> History {
        History { origin, copies: Vec::new(), every, budget_bytes }
    }

    /// The beginning.
    pub fn origin(&self) -> &Moment {
        &self.origin
    }

    /// Takes note of a new moment.
    pub fn note(&mut self, now: &Moment) {
        let new = self.copies.last().is_none_or(|last| last.steps < now.steps);
        if !now.steps.is_multiple_of(self.every) || !new || now.bytes() > self.budget_bytes {
            return;
        }
        self.copies.push(now.clone());
        while !self.copies.is_empty() && (self.copies.len() > COPIES || self.held_bytes() > self.budget_bytes) {
            self.every *= 2;
            let every = self.every;
            self.copies.retain(|copy| copy.steps.is_multiple_of(every));
        }
    }

    /// Bytes that the copies take, roughly.
    pub fn held_bytes(&self) -> u64 {
        self.copies.iter().map(Moment::bytes).sum()
    }

    /// The moment after `steps` instructions, which have run before.
    pub fn at(&self, steps: u64) -> Moment {
        let after = self.copies.partition_point(|copy| copy.steps <= steps);
        let mut moment = after.checked_sub(1).map_or(&self.origin, |copy| &self.copies[copy]).clone();
        let mut event = Event::new();
        while moment.steps < steps && moment.step(&mut event).is_ok() {}
        moment
    }
}
