//! A machine's figures as dense tables by format id, so that nothing is looked up by name while events flow.

use crate::machine::{Array, Dram, Machine, Sram, Units};
use crate::num::format::with_learned;
use crate::num::{FormatRef, Lazy};
use std::sync::Arc;

/// What the engine needs of a machine, resolved once.
#[derive(Debug, Clone)]
pub(super) struct Rates {
    /// Number of formats.
    pub formats: usize,
    /// Terms a cycle of (weights, inputs) on the S unit, once asked for: a run meets few of the pairs.
    s_terms: Vec<Lazy<Option<u32>>>,
    /// Cycles an input row of (weights, inputs) on the array.
    array_rows: Vec<Lazy<Option<u32>>>,
    /// Formats by id, and the machine that knows their pairs.
    known: Vec<FormatRef>,
    of: Arc<Machine>,
    /// Name of the machine, for errors.
    pub machine: String,
    /// Units.
    pub units: Units,
    /// Own SRAM.
    pub own: Sram,
    /// Shared SRAM.
    pub shared: Option<Sram>,
    /// Array.
    pub array: Option<Array>,
    /// DRAM.
    pub dram: Dram,
    /// DMA engines.
    pub dma: crate::machine::Dma,
    /// Network between cores: bytes a cycle and latency.
    pub noc: (u64, u64),
    /// Instructions a cycle.
    pub issue_per_cycle: u32,
    /// Latency of scalar results.
    pub scalar_latency: u64,
    /// Latency of scalar loads.
    pub control_latency: u64,
    /// Reservation-table entries.
    pub order_entries: u32,
    /// Bytes of a vector register.
    pub register_bytes: u64,
}

impl Rates {
    pub(super) fn new(machine: &Machine) -> Self {
        let all = with_learned();
        let pairs = || vec![Lazy::new(); all.len() * all.len()];
        Rates {
            formats: all.len(),
            s_terms: pairs(),
            array_rows: pairs(),
            known: all,
            of: Arc::new(machine.clone()),
            machine: machine.name.clone(),
            units: machine.units,
            own: machine.own().clone(),
            shared: machine.shared().cloned(),
            array: machine.array.clone(),
            dram: machine.dram.clone(),
            dma: machine.dma,
            noc: machine.noc.map_or((1, 0), |noc| (noc.bytes_per_cycle.into(), noc.latency_cycles.into())),
            issue_per_cycle: machine.issue_per_cycle,
            scalar_latency: u64::from(machine.scalar_latency),
            control_latency: u64::from(machine.control_latency),
            order_entries: machine.order_entries,
            register_bytes: u64::from(machine.vlen_bits / 8),
        }
    }
    /// The machine.
    pub(super) fn machine(&self) -> &Machine {
        &self.of
    }
    /// Index of a pair in tables of `formats * formats` rows; pairs of formats registered later are out of every table.
    pub(super) fn pair(&self, weights: u16, inputs: u16) -> usize {
        let (w, x) = (usize::from(weights), usize::from(inputs));
        if w < self.formats && x < self.formats { w * self.formats + x } else { usize::MAX }
    }
    /// Terms a cycle on the S unit, if served.
    pub(super) fn s_terms(&self, pair: usize) -> Option<u32> {
        self.figure(&self.s_terms, pair, |w, x| self.of.vector_path(w, x).map(|path| path.figure))
    }
    /// Cycles an input row on the array, if served.
    pub(super) fn array_row(&self, pair: usize) -> Option<u32> {
        self.figure(&self.array_rows, pair, |w, x| self.of.array_path(w, x).map(|path| path.figure))
    }
    fn figure(
        &self,
        table: &[Lazy<Option<u32>>],
        pair: usize,
        find: impl Fn(FormatRef, FormatRef) -> Option<u32>,
    ) -> Option<u32> {
        *table.get(pair)?.get_or_init(|| {
            let (w, x) = (self.known[pair / self.formats], self.known[pair % self.formats]);
            // Inputs are never learned: tables of that belong to weights.
            find(w, x).filter(|figure| *figure > 0 && !x.is_learned())
        })
    }
}
