//! What each unit of a core did when: busy, by step, and held up, by cause. The same cycles as the books of the engine.

use super::scale::{Scale, merge};
use crate::exec::event::Event;
use crate::isa::Unit;
use crate::sim::observe::{Times, Wait};
use crate::sim::timing::{CAUSES, UNITS};

/// Busy and stalled cycles by unit and bin.
#[derive(Debug, Clone)]
pub struct Timeline {
    groups: usize,
    /// `[unit][group][bin]`.
    busy: Vec<u64>,
    /// `[unit][cause][bin]`.
    stall: Vec<u64>,
    bins: usize,
    /// Up to here every cycle of a unit is explained.
    cursor: [u64; UNITS.len()],
}

impl Timeline {
    pub(super) fn new(bins: usize, groups: usize) -> Timeline {
        let busy = vec![0; UNITS.len() * groups * bins];
        let stall = vec![0; UNITS.len() * CAUSES.len() * bins];
        Timeline { groups, busy, stall, bins, cursor: [0; UNITS.len()] }
    }

    /// Busy cycles of a unit for a group of steps, bin by bin.
    pub fn busy(&self, unit: Unit, group: usize) -> &[u64] {
        let at = (unit as usize * self.groups + group) * self.bins;
        &self.busy[at..at + self.bins]
    }

    /// Cycles in which a unit was held up by a cause (its place in [`CAUSES`]), bin by bin.
    pub fn stalled(&self, unit: Unit, cause: usize) -> &[u64] {
        let at = (unit as usize * CAUSES.len() + cause) * self.bins;
        &self.stall[at..at + self.bins]
    }

    pub(super) fn merge(&mut self) {
        self.busy
            .chunks_mut(self.bins)
            .chain(self.stall.chunks_mut(self.bins))
            .for_each(|row| merge(row, |a, b| a + b));
    }

    pub(super) fn add(&mut self, scale: &Scale, event: &Event, times: &Times, group: usize) {
        self.explain(scale, Unit::C, group, times.at_issue, times.issue, times.issue + 1);
        if event.unit != Unit::C {
            self.explain(scale, event.unit, group, times.in_unit, times.start, busy_until(event, times));
        }
    }

    /// Of cycles in which a unit both works and waits, the older ones count.
    fn explain(&mut self, scale: &Scale, unit: Unit, group: usize, wait: Option<Wait>, start: u64, end: u64) {
        let cursor = &mut self.cursor[unit as usize];
        if let Some(wait) = wait {
            let row = (unit as usize * CAUSES.len() + wait.cause as usize) * self.bins;
            let from = wait.from.max(*cursor);
            scale.parts(from, wait.until).for_each(|(bin, from, to)| self.stall[row + bin] += to - from);
        }
        let row = (unit as usize * self.groups + group) * self.bins;
        let from = start.max(*cursor);
        scale.parts(from, end).for_each(|(bin, from, to)| self.busy[row + bin] += to - from);
        *cursor = end.max(*cursor);
    }
}

/// The end of an instruction's busy time in its unit: DMA is busy until the bytes are there.
pub(super) fn busy_until(event: &Event, times: &Times) -> u64 {
    if event.unit == Unit::D { times.ready } else { times.end }
}
