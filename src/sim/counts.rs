//! Integer counts of everything that costs energy, one dense record a graph node; turned into a ledger at the end.

use super::law::tile_of;
use super::ledger::{Key, Ledger, Place, What};
use super::rates::Rates;
use super::timing::Timing;
use crate::exec::event::{Access, EW_KINDS, Event, RegSet, Space, Work};
use crate::isa::{Op, Unit};
use crate::machine::array::Kind;
use crate::machine::{DramModel, Machine};
use crate::num::format::by_id;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Traffic of one memory level.
#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    /// Bytes asked for: read, written.
    bytes: [u64; 2],
    /// What energy is charged on (accesses of SRAM, bytes on the DRAM bus, control words): read, written.
    charged: [u64; 2],
}

/// Counts of one node.
#[derive(Debug, Clone, Default)]
struct NodeCounts {
    /// Instructions by unit.
    issued: [u64; 6],
    register_bytes: u64,
    accumulator: u64,
    fold: [u64; 6],
    elementwise: [[u64; 6]; EW_KINDS.len()],
    /// DRAM, own, shared, control.
    traffic: [Traffic; 4],
    activations: u64,
    dma_bytes: u64,
    /// Bytes between cores.
    noc_bytes: u64,
    /// Live and skipped terms by (unit, weights, inputs), indexed as [`Counts::pairs`].
    macs: Vec<[u64; 2]>,
    /// Codes decoded by entropy decoders.
    decoded: u64,
    /// Bytes of the load-store unit by storage format.
    formats: Vec<u64>,
}

/// All counts of a run.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    nodes: Vec<NodeCounts>,
    /// Dense index of (unit is array, weights, inputs) to a column of `macs`, + 1; 0 = not used yet.
    columns: Vec<u16>,
    pairs: Vec<(Unit, u16, u16)>,
    array: Option<Arc<dyn Kind>>,
}

/// Accumulator tiles.
const TILES: u128 = 0xff << RegSet::C;

/// How many v, p and q registers are in a set, which with the tiles are all from V up to T.
fn registers(set: RegSet) -> u64 {
    let (mut left, mut count) = (((set.0 & !TILES) >> RegSet::V) as u64, 0);
    // There are few, and not every processor counts bits by itself.
    while left != 0 {
        left &= left - 1;
        count += 1;
    }
    count
}

impl Counts {
    pub(super) fn new(rates: &Rates, nodes: usize) -> Self {
        Counts {
            nodes: vec![NodeCounts::default(); nodes + 1],
            columns: vec![0; 2 * rates.formats * rates.formats],
            pairs: Vec::new(),
            array: rates.array.as_ref().map(|array| array.kind.clone()),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.nodes.fill(NodeCounts::default());
    }

    /// Counts one instruction. Pairs that the machine does not serve are left to the engine, which refuses them.
    pub(super) fn add(&mut self, event: &Event, rates: &Rates) {
        self.add_times(event, 1, rates);
    }

    /// Counts one instruction `times` times.
    #[inline]
    pub(super) fn add_times(&mut self, event: &Event, times: u64, rates: &Rates) {
        if matches!(event.op, Op::Endl | Op::Node) {
            return;
        }
        let last = self.nodes.len() - 1;
        let node = (event.node as usize).min(last);
        let unit = event.unit as usize;
        let registers = registers(event.reads) + registers(event.writes);
        let touches_tile = (event.reads.0 | event.writes.0) & TILES != 0;
        let mut mac = None;
        let counts = &mut self.nodes[node];
        counts.issued[unit] += times;
        counts.register_bytes += times * registers * rates.register_bytes;
        match event.work {
            Work::Elementwise { kind, elements } => {
                counts.elementwise[kind as usize][unit] += times * u64::from(elements);
                // Reductions read and write the sixteen partials of a tile.
                counts.accumulator += if touches_tile { 32 * times } else { 0 };
            }
            Work::Mac { outputs, terms, live, weights, inputs, .. } => {
                counts.accumulator += 2 * times * u64::from(outputs);
                mac = Some((false, weights, inputs, u64::from(live), u64::from(terms.saturating_sub(live))));
            }
            Work::TileMac { tm, tn, tk, dead_terms, block, weights, inputs, .. } => {
                let (tm, tn, tk) = (u64::from(tm), u64::from(tn), u64::from(tk));
                let dead = tm * u64::from(dead_terms);
                let live = tm * tn * tk - dead;
                let runs = self.array.as_ref().map_or(0, |array| array.sums(&tile_of(&event.work)));
                counts.accumulator += 2 * times * tm * tn * runs;
                counts.fold[unit] += if block == 0 { 0 } else { times * tm * tn * runs };
                mac = Some((true, weights, inputs, live, dead));
            }
            Work::Tile { entries, fold } => {
                counts.accumulator += times * u64::from(entries) * if fold { 2 } else { 1 };
                counts.fold[unit] += if fold { times * u64::from(entries) } else { 0 };
            }
            Work::Decode { symbols, bytes, format } => {
                counts.decoded += times * u64::from(symbols);
                counts.format_bytes(format, times * bytes, rates);
            }
            Work::Move { bytes, format, .. } => {
                counts.format_bytes(format, times * bytes, rates);
                counts.accumulator += if touches_tile { times * (bytes / 4) } else { 0 };
            }
            Work::Dma { bytes, .. } => counts.dma_bytes += times * bytes,
            Work::Multicast { bytes, group, .. } => {
                counts.dma_bytes += times * bytes;
                counts.noc_bytes += if group.count_ones() > 1 { times * bytes } else { 0 };
            }
            _ => {}
        }
        for access in &event.access[..usize::from(event.accesses).min(event.access.len())] {
            counts.traffic(access, times, rates);
        }
        if let Some((array, weights, inputs, live, skipped)) = mac {
            self.mac(node, array, rates.pair(weights, inputs), (weights, inputs), [times * live, times * skipped]);
        }
    }

    fn mac(&mut self, node: usize, array: bool, pair: usize, formats: (u16, u16), terms: [u64; 2]) {
        let half = self.columns.len() / 2;
        let Some(column) = self.columns.get_mut(pair.saturating_add(if array { half } else { 0 })) else { return };
        if *column == 0 {
            self.pairs.push((if array { Unit::M } else { Unit::S }, formats.0, formats.1));
            *column = self.pairs.len() as u16;
        }
        let column = usize::from(*column) - 1;
        let macs = &mut self.nodes[node].macs;
        if macs.len() <= column {
            macs.resize(column + 1, [0; 2]);
        }
        macs[column][0] += terms[0];
        macs[column][1] += terms[1];
    }

    /// The ledger: one row a key with a count that is not zero, leakage rows from the nodes' cycles: of every core for
    /// the parts that each has, of the first core for those that exist once.
    pub(super) fn ledger(&self, cores: &[Timing], machine: &Machine) -> Ledger {
        let mut rows: BTreeMap<Key, u64> = BTreeMap::new();
        let mut put = |node: usize, place: Place, what: What, formats: [&'static str; 2], count: u64| {
            if count > 0 {
                let key = Key { node: node as u32, place, what, weights: formats[0], inputs: formats[1] };
                *rows.entry(key).or_default() += count;
            }
        };
        for (node, counts) in self.nodes.iter().enumerate() {
            counts.rows(&mut |place, what, count| put(node, place, what, ["", ""], count));
            for (&(unit, weights, inputs), &[live, skipped]) in self.pairs.iter().zip(&counts.macs) {
                let formats = [name(weights), name(inputs)];
                put(node, Place::Unit(unit), What::Mac, formats, live);
                put(node, Place::Unit(unit), What::MacSkipped, formats, skipped);
            }
            for (format, &bytes) in counts.formats.iter().enumerate() {
                put(node, Place::Unit(Unit::L), What::FormatBytes, [name(format as u16), ""], bytes);
            }
            let opened = cores.iter().filter_map(|core| core.activates.get(node)).sum();
            put(node, Place::Dram, What::Activate, ["", ""], opened);
            for (part, leakage) in machine.leakage.iter().enumerate() {
                let once = matches!(leakage.part.as_str(), "shared" | "dram");
                let cores = if once { &cores[..1] } else { cores };
                let cycles = cores.iter().map(|core| core.node_cycles(node as u32)).sum();
                put(node, Place::Static(part as u8), What::Leak, ["", ""], cycles);
            }
        }
        let (outside, memory) = (self.nodes.len() - 1, machine.dram.memory.as_ref());
        let (dram, ranks) = (&cores[0].dram, memory.map_or(0, |memory| u64::from(memory.channels * memory.ranks)));
        // Rows that posted writes open when their transfers are over for the core.
        let opened: u64 = cores.iter().flat_map(|core| &core.activates).sum();
        if machine.dram.model == DramModel::Cycle {
            put(outside, Place::Dram, What::Activate, ["", ""], dram.counts.activates.saturating_sub(opened));
        }
        let active = dram.counts.active_clocks;
        let idle = (dram.clocks * ranks).saturating_sub(active);
        let of_a_rank = memory.map_or(1, |memory| u64::from(memory.groups * memory.banks));
        let refreshes = dram.counts.refreshes + dram.counts.bank_refreshes / of_a_rank;
        for (what, count) in [(What::Refresh, refreshes), (What::ActiveClocks, active), (What::PrechargedClocks, idle)]
        {
            put(outside, Place::Dram, what, ["", ""], count);
        }
        Ledger { nodes: self.nodes.len() as u32 - 1, rows }
    }
}

fn name(format: u16) -> &'static str {
    by_id(format).map_or("?", |f| f.name.as_str())
}

impl NodeCounts {
    fn format_bytes(&mut self, format: u16, bytes: u64, rates: &Rates) {
        let format = usize::from(format);
        if self.formats.len() <= format && format < rates.formats {
            self.formats.resize(rates.formats, 0);
        }
        if let Some(slot) = self.formats.get_mut(format) {
            *slot += bytes;
        }
    }

    fn traffic(&mut self, access: &Access, times: u64, rates: &Rates) {
        let way = usize::from(access.write);
        let charged = match (access.space, &rates.shared) {
            (Space::Dram, _) => {
                // A DRAM that is modelled by its commands counts the rows that it opens.
                if rates.dram.model != DramModel::Cycle {
                    self.activations += times * rates.dram.activations(access.bytes, access.runs);
                }
                rates.dram.bus_bytes(access.bytes, access.runs)
            }
            (Space::Sram, _) => rates.own.accesses(access.bytes, access.runs),
            // The other core's SRAM is as this one's; the way there is counted beside.
            (Space::Remote, _) => {
                self.noc_bytes += times * access.bytes;
                rates.own.accesses(access.bytes, access.runs)
            }
            (Space::Shared, Some(shared)) => shared.accesses(access.bytes, access.runs),
            _ => access.bytes.div_ceil(8),
        };
        let level = if access.space == Space::Remote { Space::Sram } else { access.space };
        let traffic = &mut self.traffic[level as usize];
        traffic.bytes[way] += times * access.bytes;
        traffic.charged[way] += times * charged;
    }

    fn rows(&self, put: &mut dyn FnMut(Place, What, u64)) {
        use super::timing::UNITS;
        for (unit, &count) in UNITS.iter().zip(&self.issued) {
            put(Place::Unit(*unit), What::Issue, count);
        }
        put(Place::Registers, What::RegisterBytes, self.register_bytes);
        put(Place::Accumulators, What::AccumulatorEntries, self.accumulator);
        put(Place::Unit(Unit::L), What::Decoded, self.decoded);
        put(Place::Unit(Unit::D), What::DmaBytes, self.dma_bytes);
        put(Place::Unit(Unit::D), What::NocBytes, self.noc_bytes);
        for (unit, &count) in UNITS.iter().zip(&self.fold) {
            put(Place::Unit(*unit), What::Fold, count);
        }
        for (kind, by_unit) in self.elementwise.iter().enumerate() {
            for (unit, &count) in UNITS.iter().zip(by_unit) {
                put(Place::Unit(*unit), What::Elementwise(kind as u8), count);
            }
        }
        for (place, traffic) in [Place::Dram, Place::Own, Place::Shared, Place::Control].into_iter().zip(&self.traffic)
        {
            put(place, What::Read, traffic.charged[0]);
            put(place, What::Write, traffic.charged[1]);
            put(place, What::ReadBytes, traffic.bytes[0]);
            put(place, What::WriteBytes, traffic.bytes[1]);
        }
        put(Place::Dram, What::Activate, self.activations);
    }
}
