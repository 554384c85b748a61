//! The clock: in-order issue into unit queues, a scoreboard of ready times, DMA engines and a first-come DRAM channel.
//!
//! One recurrence an instruction, in program order. That is exact here because every shared resource (a unit, the DRAM
//! channel, the shared SRAM's port) serves in program order, so no later instruction can change an earlier end. Cycles
//! count from 0; an operation that starts at `s` and occupies its unit for `n` cycles ends at `s + n`. Several cores are
//! several such recurrences that take turns by time (`cores.rs`) and pass the [`Channels`] on.

use super::law::tile_of;
use super::observe::{Observer, On, Times, Unobserved, Wait};
use super::order::OrderTable;
use super::rates::Rates;
use super::timing::{CAUSES, Cause, SPENT, Spent, Timing};
use crate::diag::{Error, Result};
use crate::exec::event::{Event, EwKind, RegSet, Space, Work};
use crate::isa::{Op, Unit};
use crate::machine::{Machine, Skip};
use crate::num::format::by_id;

/// Registers that the scoreboard knows: x, v, p, c, q.
const REGISTERS: usize = 96;

/// Queue, cursor and sums of one unit.
#[derive(Debug, Clone)]
struct UnitState {
    /// Start times of the last instructions, as many as the queue holds.
    starts: Vec<u64>,
    /// Next slot of `starts`.
    slot: usize,
    /// Time at which the unit can start again.
    free: u64,
    /// Time up to which every cycle is explained.
    cursor: u64,
    busy: u64,
    idle: u64,
    stall: [u64; CAUSES.len()],
    instructions: u64,
}

impl UnitState {
    fn new(queue: u32) -> Self {
        UnitState {
            starts: vec![0; queue.max(1) as usize],
            slot: 0,
            free: 0,
            cursor: 0,
            busy: 0,
            idle: 0,
            stall: [0; CAUSES.len()],
            instructions: 0,
        }
    }
    /// Explains the cycles up to `end`: idle until `ready`, stalled by `cause` until `start`, then busy.
    #[inline]
    fn explain(&mut self, ready: u64, start: u64, end: u64, cause: Cause) {
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
    /// Puts an instruction into the queue.
    #[inline]
    fn enqueue(&mut self, start: u64) {
        self.starts[self.slot] = start;
        self.slot = if self.slot + 1 == self.starts.len() { 0 } else { self.slot + 1 };
        self.instructions += 1;
    }
}

/// The latest of several times, with the cause that set it; of equal times the first cause in [`Cause`] order wins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latest {
    pub(super) at: u64,
    cause: Cause,
    /// Kept for observers only.
    on: On,
}

impl Latest {
    fn new(at: u64) -> Self {
        Latest { at, cause: Cause::Queue, on: On::Turn }
    }
    pub(super) fn wait<O: Observer>(&mut self, at: u64, cause: Cause, on: On) {
        if at > self.at || (at == self.at && cause < self.cause) {
            (self.at, self.cause) = (at, cause);
            if O::WANTED {
                self.on = on;
            }
        }
    }
}

/// What an operation does to time once it has started.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Cycles during which its unit takes nothing else.
    occupied: u64,
    /// Cycles from then until results can be used.
    latency: u64,
}

/// What all cores have in common: the DRAM channel, the shared SRAM's port, the network between them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Channels {
    dram_free: u64,
    shared_free: u64,
    noc_free: u64,
    dram_busy: u64,
    shared_busy: u64,
    noc_busy: u64,
}

/// What a part of a collective transfer waits for: the start of the last member, and the end of the bytes' way here.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Together {
    pub(super) start: u64,
    pub(super) done: u64,
}

/// The clock of one core with its DMA engines, and the channels while it has them.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    rates: Rates,
    units: [UnitState; 6],
    /// Cycle of the last issue, and how many instructions it issued.
    issue_at: u64,
    issued_then: u32,
    written: [u64; REGISTERS],
    read_done: [u64; REGISTERS],
    /// For tiles: when the next sum may start on them, and the unit (+ 1) that sums.
    chained: [u64; 8],
    chain_unit: [u8; 8],
    order: OrderTable,
    /// Array: end of loading, ends of the last tiles' sums, whether a load came since the last sum.
    array_loader_free: u64,
    array_loaded: u64,
    array_tile_ends: [u64; 2],
    array_start: u64,
    engine_free: Vec<u64>,
    dma_start: u64,
    pub(super) channels: Channels,
    /// Zeros, but for parts of collective transfers.
    pub(super) together: Together,
    tags: [Vec<u64>; 16],
    /// End of everything so far.
    end: u64,
    /// Time up to which every cycle has a node.
    owned: u64,
    nodes: Vec<[u64; SPENT.len()]>,
    error: Option<Error>,
    /// Times of the instruction at hand; kept for observers only.
    times: Times,
}

impl Engine {
    pub(super) fn new(machine: &Machine, nodes: usize) -> Self {
        let rates = Rates::new(machine);
        let u = rates.units;
        let queues = [1, u.l_queue, u.s_queue, u.e_queue, u.m_queue, rates.dma.queue];
        Engine {
            units: queues.map(UnitState::new),
            issue_at: 0,
            issued_then: 0,
            written: [0; REGISTERS],
            read_done: [0; REGISTERS],
            chained: [0; 8],
            chain_unit: [0; 8],
            order: OrderTable::new(rates.order_entries),
            array_loader_free: 0,
            array_loaded: 0,
            array_tile_ends: [0; 2],
            array_start: 0,
            engine_free: vec![0; rates.dma.engines.max(1) as usize],
            dma_start: 0,
            channels: Channels::default(),
            together: Together::default(),
            tags: Default::default(),
            end: 0,
            owned: 0,
            nodes: vec![[0; SPENT.len()]; nodes + 1],
            error: None,
            times: Times::default(),
            rates,
        }
    }
    pub(super) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Moves time on by one instruction. What it calls is `inline`, because it is made anew for every kind of observer, maybe
    /// in another unit of code generation.
    pub(super) fn step<O: Observer>(&mut self, event: &Event, observer: &mut O) {
        if free(event) || self.error.is_some() {
            return;
        }
        let issue = self.issue::<O>(event);
        self.commit(event, issue, observer);
    }

    /// The first cycle in which the next instruction may issue.
    fn earliest(&self) -> u64 {
        if self.issued_then < self.rates.issue_per_cycle { self.issue_at } else { self.issue_at + 1 }
    }

    /// When the next instruction issues, as far as its own core says.
    pub(super) fn issue<O: Observer>(&mut self, event: &Event) -> Latest {
        let accesses = &event.access[..usize::from(event.accesses).min(event.access.len())];
        let mut issue = Latest::new(self.earliest());
        let mut scalars = (event.reads.0 | event.writes.0) as u32;
        while scalars != 0 {
            let register = scalars.trailing_zeros();
            issue.wait::<O>(self.written[register as usize], Cause::Raw, On::Register(register as u8));
            scalars &= scalars - 1;
        }
        let unit = event.unit as usize;
        if event.unit == Unit::C {
            self.control_terms::<O>(event, &mut issue);
        } else {
            let state = &self.units[unit];
            issue.wait::<O>(state.starts[state.slot], Cause::Queue, On::Queue);
        }
        if !accesses.is_empty() {
            // `room` answers `issue.at` where the table has room: only a later time is a wait.
            let room = self.order.room(accesses.len(), issue.at);
            if room > issue.at {
                issue.wait::<O>(room, Cause::Order, On::Table);
            }
        }
        issue
    }

    /// Issues the next instruction: nothing about it changes any more. The end of its work.
    pub(super) fn commit<O: Observer>(&mut self, event: &Event, issue: Latest, observer: &mut O) -> u64 {
        let earliest = self.earliest();
        if issue.at > self.issue_at {
            self.issue_at = issue.at;
            self.issued_then = 0;
        }
        self.issued_then += 1;
        self.units[0].explain(earliest, issue.at, issue.at + 1, issue.cause);
        let (start, end, spent) = match event.unit {
            Unit::C => self.control::<O>(event, issue.at),
            Unit::D => self.dma::<O>(event, issue.at),
            _ => self.compute::<O>(event, issue.at),
        };
        let mut moved = (event.writes.0) as u32;
        // L, M and D write x as the moved base of an address, which is known at issue; of S and E it is a result.
        let scalar = if matches!(event.unit, Unit::S | Unit::E) { end } else { issue.at + self.rates.scalar_latency };
        while event.unit != Unit::C && moved != 0 {
            self.written[moved.trailing_zeros() as usize] = scalar;
            moved &= moved - 1;
        }
        self.own(event.node, issue.at, start, end, spent);
        if O::WANTED && self.error.is_none() {
            self.times.issue = issue.at;
            self.times.at_issue = Wait::new((issue.cause, issue.on), earliest, issue.at);
            if event.unit != Unit::C {
                self.times.scalars = scalar;
            }
            observer.record(event, &self.times);
        }
        end
    }

    /// Gives the cycles until `until`, in which an instruction of `node` waits for other cores, to it.
    pub(super) fn stall(&mut self, node: u32, until: u64) {
        self.own(node, 0, until, until, Spent::Stall);
    }

    /// Gives the cycles that no node has yet, up to `end`, to `node`: before issue to issuing, then to waiting, then to
    /// the work itself. All older instructions end before `owned`, so this is the oldest unfinished one.
    #[inline]
    fn own(&mut self, node: u32, issued: u64, start: u64, end: u64, spent: Spent) {
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

    /// What a control instruction waits for before it issues: all its registers, its memory, and what it is there for.
    fn control_terms<O: Observer>(&mut self, event: &Event, issue: &mut Latest) {
        self.registers::<O>(event, issue, false);
        for (n, access) in (0..).zip(&event.access[..usize::from(event.accesses).min(event.access.len())]) {
            issue.wait::<O>(self.order.clear(access, false), Cause::Order, On::Range(n));
        }
        match event.work {
            Work::Drain => issue.wait::<O>(self.end, Cause::Drain, On::Units),
            Work::Wait { tag, left } => {
                let pending = &mut self.tags[usize::from(tag) % 16];
                pending.retain(|done| *done > issue.at);
                if pending.len() > left as usize {
                    pending.sort_unstable_by(|a, b| b.cmp(a));
                    issue.wait::<O>(pending[left as usize], Cause::Wait, On::Tag(tag));
                }
            }
            // What a core has done is done for others once its loads, stores and tiles are over.
            Work::Meet { .. } | Work::Signal { .. } => {
                let touched =
                    [self.units[Unit::L as usize].free, self.units[Unit::M as usize].free, self.array_loader_free];
                issue.wait::<O>(touched.into_iter().fold(0, u64::max), Cause::Drain, On::Units);
            }
            _ => {}
        }
    }

    fn control<O: Observer>(&mut self, event: &Event, at: u64) -> (u64, u64, Spent) {
        self.units[0].instructions += 1;
        let loads = event.accesses > 0 && !event.access[0].write;
        let latency = match event.access[0].space {
            _ if !loads => self.rates.scalar_latency,
            Space::Sram => u64::from(self.rates.own.latency_cycles),
            Space::Shared => self.rates.shared.as_ref().map_or(1, |s| u64::from(s.latency_cycles)),
            _ => self.rates.control_latency,
        };
        self.retire(event, at, at + 1, at + latency, false);
        for access in &event.access[..usize::from(event.accesses).min(event.access.len())] {
            self.order.record(access, false, at + 1);
        }
        if O::WANTED {
            let ready = at + latency.max(1);
            let scalars = at + latency.max(self.rates.scalar_latency);
            self.times = Times { turn: at, start: at, end: at + 1, ready, scalars, ..Times::default() };
        }
        (at, at + 1, Spent::Issue)
    }

    /// Waits for the vector, mask, tile and scale registers of an instruction.
    fn registers<O: Observer>(&self, event: &Event, start: &mut Latest, sums: bool) {
        let unit = event.unit as u8 + 1;
        let mut reads = vector_bits(event.reads);
        let mut writes = vector_bits(event.writes);
        if sums {
            // A sum on a tile that this unit summed last follows in its pipeline.
            let mut tiles = (reads | writes) & TILES;
            reads &= !TILES;
            writes &= !TILES;
            while tiles != 0 {
                let register = tiles.trailing_zeros() as usize;
                let tile = register + 32 - RegSet::C as usize;
                let on = On::Register(register as u8 + 32);
                if self.chain_unit[tile] == unit {
                    start.wait::<O>(self.chained[tile], Cause::Acc, on);
                } else {
                    start.wait::<O>(self.written[register + 32], Cause::Raw, on);
                    start.wait::<O>(self.read_done[register + 32], Cause::War, on);
                }
                tiles &= tiles - 1;
            }
        }
        while reads != 0 {
            let register = reads.trailing_zeros() as usize + 32;
            start.wait::<O>(self.written[register], Cause::Raw, On::Register(register as u8));
            reads &= reads - 1;
        }
        while writes != 0 {
            let register = writes.trailing_zeros() as usize + 32;
            let free = self.written[register].max(self.read_done[register]);
            start.wait::<O>(free, Cause::War, On::Register(register as u8));
            writes &= writes - 1;
        }
    }

    /// Records when the registers of an instruction are read and written.
    #[inline]
    fn retire(&mut self, event: &Event, start: u64, free: u64, ready: u64, sums: bool) {
        let mut reads = vector_bits(event.reads);
        while reads != 0 {
            let register = reads.trailing_zeros() as usize + 32;
            self.read_done[register] = self.read_done[register].max(free);
            reads &= reads - 1;
        }
        let mut writes = vector_bits(event.writes);
        let tiles = writes & TILES;
        while writes != 0 {
            self.written[writes.trailing_zeros() as usize + 32] = ready;
            writes &= writes - 1;
        }
        let mut tiles = tiles;
        while tiles != 0 {
            let tile = tiles.trailing_zeros() as usize + 32 - RegSet::C as usize;
            self.chained[tile] = free;
            self.chain_unit[tile] = if sums { event.unit as u8 + 1 } else { 0 };
            tiles &= tiles - 1;
        }
        if event.unit == Unit::C {
            let mut scalars = event.writes.0 as u32;
            while scalars != 0 {
                self.written[scalars.trailing_zeros() as usize] = ready.max(start + self.rates.scalar_latency);
                scalars &= scalars - 1;
            }
        }
    }

    /// L, S, E and M: start when the unit, the registers and the memory are ready.
    fn compute<O: Observer>(&mut self, event: &Event, issued: u64) -> (u64, u64, Spent) {
        let unit = event.unit as usize;
        let accesses = &event.access[..usize::from(event.accesses).min(event.access.len())];
        let sums = matches!(event.work, Work::Mac { .. } | Work::TileMac { .. });
        let cost = match self.cost(event) {
            Ok(cost) => cost,
            Err(error) => {
                self.error.get_or_insert(error);
                return (issued, issued, Spent::Stall);
            }
        };
        let arrived = issued + 1;
        let mut start = Latest::new(arrived);
        self.registers::<O>(event, &mut start, sums);
        for (n, access) in (0..).zip(accesses) {
            start.wait::<O>(self.order.clear(access, false), Cause::Order, On::Range(n));
        }
        match event.work {
            Work::TileLoad { .. } => {
                let buffers = self.rates.array.as_ref().map_or(1, |a| a.weight_buffers);
                let oldest = if buffers > 1 { self.array_tile_ends[1] } else { self.array_tile_ends[0] };
                start.wait::<O>(oldest, Cause::Weights, On::Weights);
                start.wait::<O>(self.array_start, Cause::Weights, On::Weights);
            }
            Work::TileMac { .. } => start.wait::<O>(self.array_loaded, Cause::Weights, On::Weights),
            _ => {}
        }
        // The unit's own last instruction is busy time, not a stall: it only moves the start.
        let free =
            if matches!(event.work, Work::TileLoad { .. }) { self.array_loader_free } else { self.units[unit].free };
        let at = start.at.max(free);
        let end = at + cost.occupied;
        let state = &mut self.units[unit];
        state.explain(arrived.max(free), at, end, start.cause);
        state.enqueue(at);
        match event.work {
            Work::TileLoad { .. } => {
                self.array_loader_free = end;
                self.array_loaded = end;
                // From here on a new tile collects its end; the one before it becomes the older.
                self.array_tile_ends = [self.array_tile_ends[0], self.array_tile_ends[0]];
                self.array_start = at;
            }
            Work::TileMac { .. } => {
                self.units[unit].free = end;
                self.array_tile_ends[0] = end;
                self.array_start = at;
            }
            _ => self.units[unit].free = end,
        }
        let ready = end + cost.latency;
        self.retire(event, at, end, ready, sums);
        if O::WANTED {
            let turn = arrived.max(free);
            let in_unit = Wait::new((start.cause, start.on), turn, at);
            self.times = Times { turn, in_unit, start: at, end, ready, ..Times::default() };
        }
        for access in accesses {
            self.order.record(access, false, end);
        }
        let spent = match event.unit {
            Unit::L => Spent::LoadStore,
            Unit::S => Spent::VectorMac,
            Unit::E => Spent::Elementwise,
            _ => Spent::Array,
        };
        (at, ready, spent)
    }

    /// Occupation and latency of an instruction of L, S, E or M.
    #[inline]
    fn cost(&self, event: &Event) -> Result<Cost> {
        let u = &self.rates.units;
        let (memory, memory_latency) = self.memory_side(event);
        let unserved = |unit: &str, weights: u16, inputs: u16| {
            let name = |id: u16| by_id(id).map_or("?", |f| f.name.as_str());
            let pair = format!("{}*{}", name(weights), name(inputs));
            Error::unsupported(format!("machine `{}` does not serve `{pair}` on its {unit}", self.rates.machine))
                .help("add the pair to [rate.S] or [array.cycles], and to [energy.mac]")
        };
        let cost = match event.work {
            Work::Mac { terms, granules, fullest, weights, inputs, .. } => {
                let live = match u.s_skip {
                    Skip::None => terms,
                    Skip::Balanced => granules,
                    Skip::MaxOverLanes => fullest,
                };
                let pair = self.rates.pair(weights, inputs);
                let rate = self.rates.s_terms(pair).ok_or_else(|| unserved("S unit", weights, inputs))?;
                Cost { occupied: u64::from(live.div_ceil(rate)), latency: u64::from(u.s_latency) }
            }
            Work::Tile { entries, .. } => {
                Cost { occupied: u64::from(entries.div_ceil(u.s_tile_lanes)), latency: u64::from(u.s_latency) }
            }
            // A lane of 32 bits takes as many bits at once.
            Work::Elementwise { kind: EwKind::Bit | EwKind::Pop, elements } => {
                Cost { occupied: u64::from(elements.div_ceil(32 * u.e_lanes)), latency: u64::from(u.e_latency) }
            }
            Work::Elementwise { kind: EwKind::Div | EwKind::Special | EwKind::Philox, elements } => {
                let occupied = u64::from(elements.div_ceil(u.e_special_lanes));
                Cost { occupied, latency: u64::from(u.e_special_latency) }
            }
            Work::Elementwise { elements, .. } => {
                Cost { occupied: u64::from(elements.div_ceil(u.e_lanes)), latency: u64::from(u.e_latency) }
            }
            Work::Move { bytes, .. } => {
                let occupied = bytes.div_ceil(u64::from(u.l_bytes_per_cycle));
                Cost { occupied, latency: u64::from(u.l_latency) }
            }
            Work::Decode { symbols, bytes, .. } => {
                if u.l_codes_per_cycle == 0 {
                    let message = format!("machine `{}` has no entropy decoder", self.rates.machine);
                    return Err(Error::unsupported(message)
                        .help("give it `unit.L.codes_per_cycle` and a price `energy.core.decode`"));
                }
                let decoding = u64::from(symbols.div_ceil(u.l_codes_per_cycle));
                let occupied = decoding.max(bytes.div_ceil(u64::from(u.l_bytes_per_cycle)));
                Cost { occupied, latency: u64::from(u.l_latency) }
            }
            Work::TileLoad { .. } => match &self.rates.array {
                Some(array) => Cost { occupied: array.load(&tile_of(&event.work)), latency: 0 },
                None => return Err(Error::unsupported(format!("machine `{}` has no array", self.rates.machine))),
            },
            Work::TileMac { weights, inputs, .. } => {
                let row = self.rates.array_row(self.rates.pair(weights, inputs));
                match (&self.rates.array, row) {
                    (Some(array), Some(row)) => {
                        let cost = array.compute(&tile_of(&event.work), row);
                        Cost { occupied: cost.occupied, latency: cost.latency }
                    }
                    _ => return Err(unserved("array", weights, inputs)),
                }
            }
            _ => Cost::default(),
        };
        Ok(Cost { occupied: cost.occupied.max(memory).max(1), latency: cost.latency + memory_latency })
    }

    /// Cycles that the accesses of an instruction occupy their memory, and the memory's latency for reads.
    #[inline]
    fn memory_side(&self, event: &Event) -> (u64, u64) {
        let (mut occupied, mut latency) = (0, 0);
        for access in &event.access[..usize::from(event.accesses).min(event.access.len())] {
            let level = match access.space {
                Space::Sram => Some(&self.rates.own),
                Space::Shared => self.rates.shared.as_ref(),
                Space::Dram | Space::Control | Space::Remote => None,
            };
            let (cycles, cycles_later) = match level {
                Some(level) => {
                    (level.cycles(level.accesses(access.bytes, access.runs)), u64::from(level.latency_cycles))
                }
                None => (access.bytes.div_ceil(8).div_ceil(8), self.rates.control_latency),
            };
            occupied = occupied.max(cycles);
            if !access.write {
                latency = latency.max(cycles_later);
            }
        }
        (occupied, latency)
    }

    /// The first DMA engine to be free, and when a transfer may start there.
    fn dma_start<O: Observer>(&self, event: &Event, issued: u64) -> (usize, Latest) {
        let accesses = &event.access[..usize::from(event.accesses).min(event.access.len())];
        let mut start = Latest::new(issued + 1);
        self.registers::<O>(event, &mut start, false);
        for (n, access) in (0..).zip(accesses) {
            start.wait::<O>(self.order.clear(access, true), Cause::Order, On::Range(n));
        }
        let engine = (0..self.engine_free.len())
            .fold(0, |best, i| if self.engine_free[i] < self.engine_free[best] { i } else { best });
        start.wait::<O>(self.engine_free[engine], Cause::Engine, On::Engine);
        start.wait::<O>(self.together.start, Cause::Sync, On::Cores);
        (engine, start)
    }

    /// When a transfer that is issued at `issued` would start.
    pub(super) fn dma_start_at(&self, event: &Event, issued: u64) -> u64 {
        self.dma_start::<Unobserved>(event, issued).1.at.max(self.dma_start)
    }

    /// One transfer: the first free engine, then the DRAM channel, the shared SRAM's port or the network in order of issue.
    fn dma<O: Observer>(&mut self, event: &Event, issued: u64) -> (u64, u64, Spent) {
        let accesses = &event.access[..usize::from(event.accesses).min(event.access.len())];
        let arrived = issued + 1;
        let (engine, start) = self.dma_start::<O>(event, issued);
        let at = start.at.max(self.dma_start);
        self.dma_start = at;
        let request = at + u64::from(self.rates.dma.setup_cycles);
        let (bytes, tag) = match event.work {
            Work::Dma { bytes, tag, .. } | Work::Multicast { bytes, tag, .. } => (bytes, tag),
            _ => (0, 0),
        };
        let mut moved = request + bytes.div_ceil(u64::from(self.rates.dma.bytes_per_cycle));
        let (mut latency, mut spent) = (u64::from(self.rates.own.latency_cycles), Spent::OnChip);
        for access in accesses {
            match (access.space, &self.rates.shared) {
                (Space::Dram, _) => {
                    let cycles = self.rates.dram_cycles(self.rates.dram.bus_bytes(access.bytes, access.runs));
                    let from = self.channels.dram_free.max(request);
                    self.channels.dram_free = from + cycles;
                    self.channels.dram_busy += cycles;
                    moved = moved.max(self.channels.dram_free);
                    latency = latency.max(u64::from(self.rates.dram.latency_cycles));
                    spent = Spent::Dram;
                }
                (Space::Shared, Some(shared)) => {
                    let cycles = shared.cycles(shared.accesses(access.bytes, access.runs));
                    let from = self.channels.shared_free.max(request);
                    self.channels.shared_free = from + cycles;
                    self.channels.shared_busy += cycles;
                    moved = moved.max(self.channels.shared_free);
                    latency = latency.max(u64::from(shared.latency_cycles));
                }
                (Space::Sram, _) => {
                    let cycles = self.rates.own.cycles(self.rates.own.accesses(access.bytes, access.runs));
                    moved = moved.max(request + cycles);
                }
                (Space::Remote, _) => {
                    moved = moved.max(self.network(access.bytes, request));
                    latency = latency.max(u64::from(self.rates.own.latency_cycles) + self.rates.noc.1);
                }
                _ => {}
            }
        }
        if let Work::Multicast { group, .. } = event.work {
            // Only the part that reads the source passes the network, once for all.
            if group.count_ones() > 1 && accesses.first().is_some_and(|source| source.bytes > 0) {
                moved = moved.max(self.network(bytes, request));
                latency += self.rates.noc.1;
            }
        }
        let done = (moved + latency).max(self.together.done);
        self.engine_free[engine] = moved;
        let state = &mut self.units[Unit::D as usize];
        state.explain(arrived, at, done, start.cause);
        state.enqueue(at);
        self.retire(event, at, moved, done, false);
        if O::WANTED {
            let in_unit = Wait::new((start.cause, start.on), arrived, at);
            self.times = Times { turn: arrived, in_unit, start: at, end: moved, ready: done, ..Times::default() };
            self.times.engine = engine as u16;
        }
        for access in accesses {
            self.order.record(access, true, if access.write { done } else { moved });
        }
        let pending = &mut self.tags[usize::from(tag) % 16];
        if pending.len() >= 64 {
            pending.retain(|d| *d > issued);
        }
        pending.push(done);
        (at, done, spent)
    }

    /// End of `bytes` that ask for the network at `request`.
    fn network(&mut self, bytes: u64, request: u64) -> u64 {
        let cycles = bytes.div_ceil(self.rates.noc.0);
        self.channels.noc_free = self.channels.noc_free.max(request) + cycles;
        self.channels.noc_busy += cycles;
        self.channels.noc_free
    }

    /// The cycle in which everything so far is over.
    pub(super) fn cycles(&self) -> u64 {
        self.units.iter().map(|u| u.cursor).max().unwrap_or(0).max(self.end)
    }

    /// Transfers of `tag` that are unfinished in `cycle`.
    pub(super) fn unfinished(&self, tag: u8, cycle: u64) -> usize {
        self.tags[usize::from(tag) % 16].iter().filter(|done| **done > cycle).count()
    }

    /// What stopped the clock.
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Closes the books: every unit idles until the common end.
    ///
    /// # Errors
    /// The first event that the machine does not serve.
    pub(super) fn finish(self) -> Result<Timing> {
        let cycles = self.cycles();
        self.finish_at(cycles)
    }

    /// As [`Engine::finish`], idle from its own end to `cycles`.
    ///
    /// # Errors
    /// The first event that the machine does not serve.
    pub(super) fn finish_at(mut self, cycles: u64) -> Result<Timing> {
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
        timing.dram_busy_cycles = self.channels.dram_busy;
        timing.shared_busy_cycles = self.channels.shared_busy;
        timing.noc_busy_cycles = self.channels.noc_busy;
        Ok(timing)
    }
}

/// True for what costs nothing and is not counted.
pub(super) fn free(event: &Event) -> bool {
    matches!(event.op, Op::Endl | Op::Node)
}

/// Bits of v, p, c and q, from bit 0 on.
fn vector_bits(set: RegSet) -> u64 {
    (set.0 >> RegSet::V) as u64
}

/// The tiles c0..c7 among [`vector_bits`].
const TILES: u64 = 0xff << (RegSet::C - RegSet::V);
