//! The energy of one instruction, priced as the ledger prices the run: the parts of a run then add up to its total.

use super::counts::Counts;
use super::rates::Rates;
use super::timing::Timing;
use super::{Energy, Estimate};
use crate::exec::event::{Access, Event, Space, Work};
use crate::isa::Op;
use crate::machine::Machine;
use std::collections::HashMap;

/// What an instruction is charged for: instructions that ask for the same cost the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Ask {
    op: Op,
    registers: [u128; 2],
    work: Work,
    access: Vec<(Space, bool, u64, u64)>,
}

/// Most prices that are remembered.
const KNOWN: usize = 1 << 14;

/// Prices instructions one by one.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    machine: Machine,
    rates: Rates,
    counts: Counts,
    known: HashMap<Ask, i128>,
}

impl Meter {
    pub(super) fn new(machine: &Machine) -> Meter {
        let rates = Rates::new(machine);
        let counts = Counts::new(&rates, 0);
        Meter { machine: machine.clone(), rates, counts, known: HashMap::new() }
    }

    /// Typical energy of an instruction in attojoule, leakage aside, with `activates` rows that DRAM opened for it. What the
    /// machine has no price for counts nothing here: the ledger of the run refuses it.
    pub(super) fn attojoule(&mut self, event: &Event, activates: u64) -> i128 {
        let row = if activates == 0 { 0 } else { self.machine.price("dram.activate").map_or(0, |p| p.attojoule[1]) };
        self.asked(event) + row * i128::from(activates)
    }

    /// The energy of what an instruction asks for.
    fn asked(&mut self, event: &Event) -> i128 {
        let shape = |access: &Access| (access.space, access.write, access.bytes, access.runs);
        let ask = Ask {
            op: event.op,
            registers: [event.reads.0, event.writes.0],
            work: event.work,
            access: event.touched().iter().map(shape).collect(),
        };
        if let Some(price) = self.known.get(&ask) {
            return *price;
        }
        self.counts.clear();
        self.counts.add(&Event { node: 0, ..*event }, &self.rates);
        let ledger = self.counts.ledger(&[Timing::default()], &self.machine);
        let price = ledger.energy(&self.machine).as_ref().map_or(0, |energy: &Energy| energy.total(Estimate::Typical));
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        self.known.insert(ask, price);
        price
    }
}
