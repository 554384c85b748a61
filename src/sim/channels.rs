//! What all cores have in common: DRAM, the shared SRAM's port, the network between them.

use super::dram::{Done, Dram, Strided, Totals};
use crate::exec::{Access, Blocks, Level};
use crate::machine::{DramModel, Machine};

/// The channels with their busy cycles.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    dram: Dram,
    reorders: bool,
    /// Time goes on cycle by cycle.
    step: bool,
    /// How far DRAM has come.
    now: u64,
    /// Transfers started and not over.
    under_way: u64,
    shared_free: u64,
    pub(super) shared_busy: u64,
    noc_free: u64,
    pub(super) noc_busy: u64,
}

impl Channels {
    pub(super) fn new(machine: &Machine, step: bool) -> Self {
        let reorders = machine.dram.model == DramModel::Cycle;
        let dram = Dram::stepping(machine, step);
        Channels {
            dram,
            reorders,
            step,
            now: 0,
            under_way: 0,
            shared_free: 0,
            shared_busy: 0,
            noc_free: 0,
            noc_busy: 0,
        }
    }
    /// True if the end of a transfer depends on requests that come later: then it is started and waited for.
    pub(super) fn reorders(&self) -> bool {
        self.reorders
    }
    /// How far DRAM has come; nothing may be started before.
    pub(super) fn now(&self) -> u64 {
        self.now
    }
    /// The end of an access that asks DRAM at `request`, where it serves in the order of the calls.
    pub(super) fn first_come(&mut self, request: u64, blocks: &Blocks, access: &Access) -> u64 {
        self.start(0, request, blocks, access);
        self.advance(u64::MAX).map_or(request, |done| done.end_cycle)
    }
    /// Starts the DRAM side of transfer `id`.
    pub(super) fn start(&mut self, id: u64, request: u64, blocks: &Blocks, access: &Access) {
        debug_assert!(
            request >= self.now || !self.reorders,
            "a request of cycle {request} when DRAM has come to {}",
            self.now
        );
        let side = |level: &Level| (level.count, if access.write { level.dst } else { level.src });
        let [inner, middle, outer] = blocks.levels.each_ref().map(side);
        let address = if access.write { blocks.to } else { blocks.from };
        let strided = Strided { address, run_bytes: blocks.bytes, levels: [outer, middle, inner] };
        // Pieces that touch are one, but those of a gather, which are only taken for evenly spaced.
        let strided = if access.runs < strided.runs() { strided.folded() } else { strided };
        self.dram.start(id, request, &strided, access.write);
        self.under_way += 1;
    }
    /// True if no transfer is under way: time can bring nothing.
    pub(super) fn quiet(&self) -> bool {
        self.under_way == 0
    }
    /// Lets DRAM go on to the end of its next transfer; `None` if none ends before the cycle `before`, or, stepping, before
    /// the next cycle.
    pub(super) fn advance(&mut self, before: u64) -> Option<Done> {
        let before = if self.step && self.reorders && !self.quiet() { before.min(self.now + 1) } else { before };
        let done = self.dram.advance(before);
        self.under_way -= u64::from(done.is_some());
        self.now = self.now.max(match &done {
            Some(done) => done.end_cycle,
            None if before == u64::MAX => 0,
            None => before,
        });
        done
    }
    /// Brings DRAM to its rest state from cycle `at` on, unless it works for another core; the cycle in which it is there.
    pub(super) fn rest(&mut self, at: u64) -> u64 {
        if self.quiet() { self.dram.quiesce(at) } else { at }
    }
    /// What DRAM has done up to cycle `at`, when no transfer is under way.
    pub(super) fn totals(&mut self, at: u64) -> Totals {
        self.dram.totals(at)
    }
    /// The end of so many cycles of the shared SRAM's port that are asked for at `request`.
    pub(super) fn shared(&mut self, cycles: u64, request: u64) -> u64 {
        self.shared_free = self.shared_free.max(request) + cycles;
        self.shared_busy += cycles;
        self.shared_free
    }
    /// The same of the network.
    pub(super) fn network(&mut self, cycles: u64, request: u64) -> u64 {
        self.noc_free = self.noc_free.max(request) + cycles;
        self.noc_busy += cycles;
        self.noc_free
    }
}
