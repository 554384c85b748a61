//! What all cores have in common: DRAM, the shared SRAM's port, the network between them.

use super::rates::Rates;
use crate::exec::event::{Access, Blocks};
use crate::machine::{DramModel, Machine};

/// DRAM as the machine file models it.
#[derive(Debug, Clone)]
enum Memory {
    /// A first-come channel, free from some cycle on.
    Bandwidth(u64),
    /// It takes no time.
    Ideal,
}

/// A transfer's side in DRAM that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Over {
    /// Of the transfer.
    pub(super) id: u64,
    /// The cycle in which its last byte has come.
    pub(super) end: u64,
    /// Rows that were opened for it.
    pub(super) activates: u64,
}

/// The channels with their busy cycles.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    memory: Memory,
    dram_busy: u64,
    shared_free: u64,
    pub(super) shared_busy: u64,
    noc_free: u64,
    pub(super) noc_busy: u64,
    /// How far DRAM has come.
    now: u64,
}

impl Channels {
    pub(super) fn new(machine: &Machine) -> Self {
        let memory = match machine.dram.model {
            DramModel::Ideal => Memory::Ideal,
            // Programs do not start transfers in `super::dram::Dram` yet: `cycle` counts for `preon dram`.
            DramModel::Bandwidth | DramModel::Cycle => Memory::Bandwidth(0),
        };
        Channels { memory, dram_busy: 0, shared_free: 0, shared_busy: 0, noc_free: 0, noc_busy: 0, now: 0 }
    }
    /// True if the end of a transfer depends on requests that come later: then it is started and waited for.
    pub(super) fn reorders(&self) -> bool {
        false
    }
    /// How far DRAM has come; nothing may be started before.
    pub(super) fn now(&self) -> u64 {
        self.now
    }
    /// The end of an access that asks DRAM at `request`, where it serves in the order of the calls.
    pub(super) fn first_come(&mut self, rates: &Rates, access: &Access, request: u64) -> u64 {
        let Memory::Bandwidth(free) = &mut self.memory else { return request };
        let cycles = rates.dram_cycles(rates.dram.bus_bytes(access.bytes, access.runs));
        *free = (*free).max(request) + cycles;
        self.dram_busy += cycles;
        *free
    }
    /// Starts the DRAM side of transfer `id`.
    pub(super) fn start(&mut self, _id: u64, _request: u64, _blocks: &Blocks, _access: &Access) {}
    /// Lets DRAM go on to the end of its next transfer; `None` if none ends up to the cycle `before`.
    pub(super) fn advance(&mut self, before: u64) -> Option<Over> {
        self.now = self.now.max(if before == u64::MAX { 0 } else { before });
        None
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
    /// Cycles in which DRAM moved data.
    pub(super) fn dram_busy(&self) -> u64 {
        self.dram_busy
    }
}
