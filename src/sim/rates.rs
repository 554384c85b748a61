//! A machine's figures as dense tables by format id, so that nothing is looked up by name while events flow.

use crate::machine::{Array, Dram, Machine, Sram, Units};
use crate::num::FormatRef;
use crate::num::format::with_learned;

/// What the engine needs of a machine, resolved once.
#[derive(Debug, Clone)]
pub(super) struct Rates {
    /// Number of formats.
    pub formats: usize,
    /// Terms a cycle of (weights, inputs) on the S unit; 0 = not served.
    s_terms: Vec<u32>,
    /// Cycles an input row of (weights, inputs) on the array; 0 = not served.
    array_rows: Vec<u32>,
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
        // Inputs are never learned: tables of that belong to weights.
        let table = |path: &dyn Fn(FormatRef, FormatRef) -> Option<u32>| {
            let pairs = all.iter().flat_map(|w| all.iter().map(move |x| (*w, *x)));
            pairs.map(|(w, x)| if x.is_learned() { 0 } else { path(w, x).unwrap_or(0) }).collect()
        };
        Rates {
            formats: all.len(),
            s_terms: table(&|w, x| machine.vector_path(w, x).map(|path| path.figure)),
            array_rows: table(&|w, x| machine.array_path(w, x).map(|path| path.figure)),
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
    /// Index of a pair in tables of `formats * formats` rows; pairs of formats registered later are out of every table.
    pub(super) fn pair(&self, weights: u16, inputs: u16) -> usize {
        let (w, x) = (usize::from(weights), usize::from(inputs));
        if w < self.formats && x < self.formats { w * self.formats + x } else { usize::MAX }
    }
    /// Terms a cycle on the S unit, if served.
    pub(super) fn s_terms(&self, pair: usize) -> Option<u32> {
        self.s_terms.get(pair).copied().filter(|t| *t > 0)
    }
    /// Cycles an input row on the array, if served.
    pub(super) fn array_row(&self, pair: usize) -> Option<u32> {
        self.array_rows.get(pair).copied().filter(|c| *c > 0)
    }
}
