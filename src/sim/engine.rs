//! The clock of a core: in-order issue into unit queues, a scoreboard of ready times, DMA engines.
//!
//! One recurrence an instruction, in program order: a unit serves in that order, so no later instruction changes an
//! earlier end. Only DRAM does not (`dram/`): when one of its transfers ends depends on requests that come later. What waits
//! for such a transfer is kept in flight (`flight.rs`) until time has come there, and issue goes on as far as it needs no
//! open time. DRAM never runs ahead of the cycle in which the next instruction can issue. Cycles count from 0; an
//! operation that starts at `s` and occupies its unit for `n` cycles ends at `s + n`. Several cores are several such clocks
//! that take turns by time (`cores.rs`).

use super::channels::Channels;
use super::flight::{Blocked, Dependence, Flight, Flights, Moving, Open, Part, Span, When, open_reads, open_writes};
use super::law::tile_of;
use super::observe::{Observer, On, Times, Unobserved, Wait};
use super::order::OrderTable;
use super::rates::Rates;
use super::timing::{CAUSES, Cause, SPENT, Spent, Timing};
use crate::diag::{self, Error};
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
    starts: Vec<When>,
    /// Next slot of `starts`.
    slot: usize,
    /// Time at which the unit can start again.
    free: When,
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
    /// Puts an instruction into the queue; its place there.
    #[inline]
    fn enqueue(&mut self, start: When) -> usize {
        let slot = self.slot;
        self.starts[slot] = start;
        self.slot = if slot + 1 == self.starts.len() { 0 } else { slot + 1 };
        self.instructions += 1;
        slot
    }
}

/// The latest of several times, with the cause that set it; of equal times the first cause in [`Cause`] order wins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latest {
    pub(super) at: u64,
    pub(super) cause: Cause,
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
pub(super) struct Cost {
    /// Cycles during which its unit takes nothing else.
    occupied: u64,
    /// Cycles from then until results can be used.
    latency: u64,
}

/// A part of a collective transfer: the start of the last member and, for all parts but the one that reads the source, the
/// end of the bytes' way here, or `None` where that part's end is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Together {
    pub(super) start: u64,
    pub(super) done: Option<u64>,
}

/// The clock of one core with its DMA engines.
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
    array_loader_free: When,
    array_loaded: When,
    array_tile_ends: [When; 2],
    array_start: When,
    engine_free: Vec<When>,
    /// Start of the last transfer that has started, and the latest end of those that are over.
    dma_start: u64,
    dma_end: u64,
    /// Where this instruction is a part of a collective transfer.
    pub(super) together: Option<Together>,
    tags: [Vec<When>; 16],
    flights: Flights,
    /// The cycle in which a DMA engine is free for the next transfer that waits for one.
    wake: u64,
    /// Which core this is.
    core: u64,
    /// Rows that DRAM activated, by node; of a DRAM that is modelled by bandwidth always none.
    activates: Vec<u64>,
    /// Room for what an instruction waits for.
    waits: Vec<Dependence>,
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
    pub(super) fn new(machine: &Machine, nodes: usize, core: usize) -> Self {
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
            array_loader_free: When::At(0),
            array_loaded: When::At(0),
            array_tile_ends: [When::At(0); 2],
            array_start: When::At(0),
            engine_free: vec![When::At(0); rates.dma.engines.max(1) as usize],
            dma_start: 0,
            dma_end: 0,
            together: None,
            flights: Flights::default(),
            wake: u64::MAX,
            core: core as u64,
            activates: vec![0; nodes + 1],
            waits: Vec::new(),
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
    pub(super) fn step<O: Observer>(&mut self, event: &Event, channels: &mut Channels, observer: &mut O) {
        if free(event) {
            return;
        }
        let issue = loop {
            if self.error.is_some() {
                return;
            }
            match self.issue::<O>(event, channels) {
                Ok(issue) => break issue,
                Err(blocked) => self.progress(channels, blocked.before, observer),
            }
        };
        self.commit(event, issue, channels, observer);
    }

    /// The first cycle in which the next instruction may issue.
    fn earliest(&self) -> u64 {
        if self.issued_then < self.rates.issue_per_cycle { self.issue_at } else { self.issue_at + 1 }
    }

    /// When the next instruction issues, as far as its own core says.
    ///
    /// # Errors
    /// How far time has to go until that can be said.
    pub(super) fn issue<O: Observer>(&mut self, event: &Event, channels: &Channels) -> Result<Latest, Blocked> {
        let accesses = &event.access[..usize::from(event.accesses).min(event.access.len())];
        let mut issue = Latest::new(self.earliest());
        let mut scalars = (event.reads.0 | event.writes.0) as u32;
        if self.flights.writes as u32 & scalars != 0 {
            return Err(Blocked::LONG);
        }
        while scalars != 0 {
            let register = scalars.trailing_zeros();
            issue.wait::<O>(self.written[register as usize], Cause::Raw, On::Register(register as u8));
            scalars &= scalars - 1;
        }
        let unit = event.unit as usize;
        if event.unit == Unit::C {
            self.control_terms::<O>(event, &mut issue, channels.now())?;
        } else {
            let state = &self.units[unit];
            let When::At(start) = state.starts[state.slot] else { return Err(Blocked::LONG) };
            issue.wait::<O>(start, Cause::Queue, On::Queue);
        }
        if channels.reorders() && matches!(event.work, Work::Multicast { .. }) {
            // A meeting is over when every member's older transfers are.
            if self.flights.open().any(|flight| matches!(flight.spent, Spent::Dram | Spent::OnChip)) {
                return Err(Blocked::LONG);
            }
            issue.wait::<O>(self.dma_end, Cause::Engine, On::Engine);
        }
        if !accesses.is_empty() {
            // `room` answers `issue.at` where the table has room: only a later time is a wait.
            let room = self.order.room(accesses.len(), issue.at, channels.now())?;
            if room > issue.at {
                issue.wait::<O>(room, Cause::Order, On::Table);
            }
        }
        Ok(issue)
    }

    /// Issues the next instruction: nothing about it changes any more. The end of its work, if it is known.
    pub(super) fn commit<O: Observer>(
        &mut self,
        event: &Event,
        issue: Latest,
        channels: &mut Channels,
        observer: &mut O,
    ) -> Option<u64> {
        let earliest = self.earliest();
        if issue.at > self.issue_at {
            self.issue_at = issue.at;
            self.issued_then = 0;
        }
        self.issued_then += 1;
        self.units[0].explain(earliest, issue.at, issue.at + 1, issue.cause);
        if O::WANTED {
            self.times = Times { issue: issue.at, ..Times::default() };
            self.times.at_issue = Wait::new((issue.cause, issue.on), earliest, issue.at);
        }
        let mut moved = (event.writes.0) as u32;
        if !matches!(event.unit, Unit::C | Unit::S | Unit::E) {
            // L, M and D write x as the moved base of an address, which is known at issue; of S and E it is a result.
            self.times.scalars = issue.at + self.rates.scalar_latency;
            while moved != 0 {
                self.written[moved.trailing_zeros() as usize] = issue.at + self.rates.scalar_latency;
                moved &= moved - 1;
            }
        }
        let known = match event.unit {
            Unit::C => Some(self.control::<O>(event, issue.at)),
            Unit::D if channels.reorders() => {
                self.take_off::<O>(event, issue.at, channels);
                self.leave(observer);
                None
            }
            Unit::D => Some(self.dma::<O>(event, issue.at, channels)),
            _ => self.compute::<O>(event, issue.at),
        };
        let Some((start, end, spent)) = known else {
            if self.flights.len() > LONGEST && !O::WANTED {
                self.flights.forget(channels.now());
            }
            return None;
        };
        if self.flights.is_empty() {
            self.own(event.node, issue.at, start, end, spent);
            if O::WANTED && self.error.is_none() {
                observer.record(event, &self.times);
            }
        } else {
            let span = Span { start, end, ready: end };
            let watched = O::WANTED.then(|| Box::new((*event, self.times)));
            let (seq, node, issue, cause) = (self.flights.next(), event.node, issue.at, issue.cause);
            self.flights.push(Flight { seq, node, issue, span, spent, cause, watched, open: None });
            if self.flights.len() > LONGEST && !O::WANTED {
                self.flights.forget(channels.now());
            }
        }
        Some(end)
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
    fn control_terms<O: Observer>(&mut self, event: &Event, issue: &mut Latest, now: u64) -> Result<(), Blocked> {
        if self.flights.touch(event) {
            return Err(Blocked::LONG);
        }
        self.registers::<O>(event, issue, false);
        for (n, access) in (0..).zip(&event.access[..usize::from(event.accesses).min(event.access.len())]) {
            let mut open = false;
            let clear = self.order.clear(access, false, &mut |_, _| open = true);
            issue.wait::<O>(clear, Cause::Order, On::Range(n));
            if open {
                return Err(Blocked::LONG);
            }
        }
        match event.work {
            Work::Drain if !self.flights.settled() => return Err(Blocked::LONG),
            Work::Drain => issue.wait::<O>(self.end, Cause::Drain, On::Units),
            Work::Wait { tag, left } => {
                if let Some(over) = self.tag(tag, left as usize, issue.at, now)? {
                    issue.wait::<O>(over, Cause::Wait, On::Tag(tag));
                }
            }
            // What a core has done is done for others once its loads, stores and tiles are over.
            Work::Meet { .. } | Work::Signal { .. } => {
                let touched =
                    [self.units[Unit::L as usize].free, self.units[Unit::M as usize].free, self.array_loader_free];
                for free in touched {
                    let When::At(free) = free else { return Err(Blocked::LONG) };
                    issue.wait::<O>(free, Cause::Drain, On::Units);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// When at most `left` transfers of a tag are unfinished; `None` if that is so at `at`.
    fn tag(&mut self, tag: u8, left: usize, at: u64, now: u64) -> Result<Option<u64>, Blocked> {
        let pending = &mut self.tags[usize::from(tag) % 16];
        pending.retain(|done| !matches!(done, When::At(done) if *done <= at));
        if pending.len() <= left {
            return Ok(None);
        }
        let open = pending.iter().filter(|done| matches!(done, When::After(_))).count();
        let mut known: Vec<u64> = pending.iter().filter_map(When::known).collect();
        known.sort_unstable_by(|a, b| b.cmp(a));
        match left.checked_sub(open).and_then(|nth| known.get(nth)) {
            // An open one may be over before.
            Some(&over) if open > 0 && over > now => Err(Blocked { before: over }),
            Some(&over) => Ok(Some(over)),
            None => Err(Blocked::LONG),
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
            self.order.record(access, false, When::At(at + 1), Part::End);
        }
        if O::WANTED {
            let ready = at + latency.max(1);
            let scalars = at + latency.max(self.rates.scalar_latency);
            self.times = Times { turn: at, start: at, end: at + 1, ready, scalars, ..self.times };
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

    /// Registers that instructions in flight will read and write, as terms of an instruction that starts after them.
    fn open_registers(&self, event: &Event, sums: bool, waits: &mut Vec<Dependence>) {
        let mine = (event.reads.0 | event.writes.0) >> 32 << 32;
        for flight in self.flights.open() {
            let Some(open) = &flight.open else { continue };
            let (writes, reads) = (open_writes(&open.event), open.event.reads.0);
            let mut shared = (writes & mine) | (reads & event.writes.0 >> 32 << 32);
            while shared != 0 {
                let bit = shared.trailing_zeros();
                shared &= shared - 1;
                let has = |set: u128| set >> bit & 1 == 1;
                let tile = (RegSet::C..RegSet::Q).contains(&bit);
                // A sum follows a sum of its own unit in the pipeline.
                let chained = tile && sums && open.event.unit == event.unit && is_sum(&open.event) && has(writes);
                let (part, cause) = match (has(writes), has(event.reads.0)) {
                    _ if chained => (Part::End, Cause::Acc),
                    (true, true) => (Part::Ready, Cause::Raw),
                    (true, false) => (Part::Ready, Cause::War),
                    (false, _) => (Part::End, Cause::War),
                };
                waits.push(Dependence { seq: flight.seq, part, cause, on: On::Register(bit as u8) });
            }
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

    /// L, S, E and M: start when the unit, the registers and the memory are ready. `None` if that is open.
    fn compute<O: Observer>(&mut self, event: &Event, issued: u64) -> Option<(u64, u64, Spent)> {
        let unit = event.unit as usize;
        let accesses = &event.access[..usize::from(event.accesses).min(event.access.len())];
        let cost = match self.cost(event) {
            Ok(cost) => cost,
            Err(error) => {
                self.error.get_or_insert(error);
                return Some((issued, issued, Spent::Stall));
            }
        };
        let arrived = issued + 1;
        let mut start = Latest::new(arrived);
        let mut waits = std::mem::take(&mut self.waits);
        waits.clear();
        self.registers::<O>(event, &mut start, is_sum(event));
        if self.flights.touch(event) {
            self.open_registers(event, is_sum(event), &mut waits);
        }
        for (n, access) in (0..).zip(accesses) {
            let (cause, on) = (Cause::Order, On::Range(n));
            let clear =
                self.order.clear(access, false, &mut |seq, part| waits.push(Dependence { seq, part, cause, on }));
            start.wait::<O>(clear, cause, on);
        }
        let weights = match event.work {
            Work::TileLoad { .. } => {
                let buffers = self.rates.array.as_ref().map_or(1, |a| a.weight_buffers);
                let oldest = if buffers > 1 { self.array_tile_ends[1] } else { self.array_tile_ends[0] };
                [oldest, self.array_start]
            }
            Work::TileMac { .. } => [self.array_loaded, When::At(0)],
            _ => [When::At(0); 2],
        };
        for (weights, part) in weights.into_iter().zip([Part::End, Part::Start]) {
            match weights {
                When::At(at) => start.wait::<O>(at, Cause::Weights, On::Weights),
                When::After(seq) => {
                    waits.push(Dependence { seq, part, cause: Cause::Weights, on: On::Weights });
                }
            }
        }
        // The unit's own last instruction is busy time, not a stall: it only moves the start.
        let free =
            if matches!(event.work, Work::TileLoad { .. }) { self.array_loader_free } else { self.units[unit].free };
        let known = match free {
            When::At(free) if waits.is_empty() => Some(free),
            _ => None,
        };
        let slot = self.units[unit].enqueue(known.map_or(When::After(self.flights.next()), |_| When::At(0)));
        let Some(free) = known else {
            let open = Open { event: *event, start, waits, free, cost, slot, moving: None, together: None };
            self.wait_open::<O>(event, issued, open);
            return None;
        };
        self.waits = waits;
        let span = self.work(event, start, free, cost, arrived, None);
        self.units[unit].starts[slot] = When::At(span.start);
        for access in accesses {
            self.order.record(access, false, When::At(span.end), Part::End);
        }
        if O::WANTED {
            let in_unit = Wait::new((start.cause, start.on), arrived.max(free), span.start);
            let Span { start, end, ready } = span;
            self.times = Times { turn: arrived.max(free), in_unit, start, end, ready, ..self.times };
            if matches!(event.unit, Unit::S | Unit::E) {
                self.times.scalars = ready;
            }
        }
        Some((span.start, span.ready, spent(event)))
    }

    /// One operation on its unit, which is `free` from some cycle on. `late`: it was in flight under this number, and
    /// younger ones may stand behind it.
    #[inline]
    fn work(&mut self, event: &Event, start: Latest, free: u64, cost: Cost, arrived: u64, late: Option<u64>) -> Span {
        let at = start.at.max(free);
        let end = at + cost.occupied;
        let state = &mut self.units[event.unit as usize];
        state.explain(arrived.max(free), at, end, start.cause);
        let put = |place: &mut When, cycle: u64| match late {
            Some(seq) => place.set(seq, cycle),
            None => *place = When::At(cycle),
        };
        match event.work {
            Work::TileLoad { .. } => {
                put(&mut self.array_loader_free, end);
                put(&mut self.array_loaded, end);
                put(&mut self.array_start, at);
                if late.is_none() {
                    // From here on a new tile collects its end; the one before it becomes the older.
                    self.array_tile_ends = [self.array_tile_ends[0]; 2];
                }
            }
            Work::TileMac { .. } => {
                put(&mut state.free, end);
                put(&mut self.array_tile_ends[0], end);
                // Where a younger load made it the older tile meanwhile, its end counts there too.
                late.into_iter().for_each(|seq| self.array_tile_ends[1].set(seq, end));
                put(&mut self.array_start, at);
            }
            _ => put(&mut state.free, end),
        }
        let ready = end + cost.latency;
        self.retire(event, at, end, ready, is_sum(event));
        let mut scalars = event.writes.0 as u32;
        while matches!(event.unit, Unit::S | Unit::E) && scalars != 0 {
            self.written[scalars.trailing_zeros() as usize] = ready;
            scalars &= scalars - 1;
        }
        Span { start: at, end, ready }
    }

    /// Occupation and latency of an instruction of L, S, E or M.
    #[inline]
    fn cost(&self, event: &Event) -> diag::Result<Cost> {
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

    /// Keeps an instruction in flight until its times are known; younger ones find its number where they look for them.
    fn wait_open<O: Observer>(&mut self, event: &Event, issued: u64, open: Open) {
        let seq = self.flights.next();
        let later = When::After(seq);
        match event.work {
            Work::TileLoad { .. } => {
                self.array_tile_ends = [self.array_tile_ends[0]; 2];
                (self.array_loader_free, self.array_loaded, self.array_start) = (later, later, later);
            }
            Work::TileMac { .. } => {
                self.units[event.unit as usize].free = later;
                (self.array_tile_ends[0], self.array_start) = (later, later);
            }
            Work::Dma { tag, .. } | Work::Multicast { tag, .. } => self.tags[usize::from(tag) % 16].push(later),
            _ => self.units[event.unit as usize].free = later,
        }
        let dma = event.unit == Unit::D;
        for access in event.touched() {
            let part = if dma && access.write { Part::Ready } else { Part::End };
            self.order.record(access, dma, later, part);
        }
        self.flights.writes |= open_writes(event);
        self.flights.reads |= open_reads(event);
        let watched = O::WANTED.then(|| Box::new((*event, self.times)));
        let (node, cause, spent) = (event.node, open.start.cause, spent(event));
        let (span, open) = (Span::default(), Some(Box::new(open)));
        self.flights.push(Flight { seq, node, issue: issued, span, spent, cause, watched, open });
    }

    /// Gives times to what has all that it waits for, in the order of the program.
    pub(super) fn settle<O: Observer>(&mut self, channels: &mut Channels) {
        self.wake = u64::MAX;
        let (mut index, mut held, mut closed) = (0, false, false);
        while let Some(seq) = self.flights.open_at(index) {
            let Some(mut open) = self.flights.get_mut(seq).and_then(|flight| flight.open.take()) else { return };
            let mut start = open.start;
            open.waits.retain(|wait| match self.flights.time(wait.seq, wait.part) {
                Some(at) => {
                    start.wait::<O>(at, wait.cause, wait.on);
                    false
                }
                None => true,
            });
            open.start = start;
            if let When::After(older) = open.free
                && let Some(end) = self.flights.time(older, Part::End)
            {
                open.free = When::At(end);
            }
            let span = match (open.event.unit, open.free) {
                (Unit::D, _) => self.transfer::<O>(seq, &mut open, &mut held, channels),
                (_, When::At(free)) if open.waits.is_empty() => {
                    let issued = self.flights.get(seq).map_or(0, |flight| flight.issue);
                    Some(self.work(&open.event, open.start, free, open.cost, issued + 1, Some(seq)))
                }
                _ => None,
            };
            match span {
                Some(span) => {
                    self.close::<O>(seq, &open, span);
                    closed = true;
                }
                None => {
                    if let Some(flight) = self.flights.get_mut(seq) {
                        flight.open = Some(open);
                    }
                    index += 1;
                }
            }
        }
        if closed {
            self.flights.count_registers();
        }
    }

    /// The times of an instruction in flight are known: they go where its number stands.
    fn close<O: Observer>(&mut self, seq: u64, open: &Open, span: Span) {
        let event = &open.event;
        let unit = event.unit as usize;
        self.units[unit].starts[open.slot].set(seq, span.start);
        self.order.close(seq, span);
        if event.unit == Unit::D {
            self.retire(event, span.start, span.end, span.ready, false);
            if let Work::Dma { tag, .. } | Work::Multicast { tag, .. } = event.work {
                self.tags[usize::from(tag) % 16].iter_mut().for_each(|done| done.set(seq, span.ready));
            }
            self.engine_free.iter_mut().for_each(|free| free.set(seq, span.end));
            self.dma_end = self.dma_end.max(span.ready);
        }
        self.flights.close(seq);
        let Some(flight) = self.flights.get_mut(seq) else { return };
        (flight.span, flight.cause) = (span, open.start.cause);
        if let Some(watched) = flight.watched.as_mut() {
            let free = if event.unit == Unit::D { 0 } else { open.free.known().unwrap_or(0) };
            let turn = (flight.issue + 1).max(free);
            let in_unit = Wait::new((open.start.cause, open.start.on), turn, span.start);
            let Span { start, end, ready } = span;
            watched.1 = Times { turn, in_unit, start, end, ready, ..watched.1 };
            if matches!(event.unit, Unit::S | Unit::E) {
                watched.1.scalars = ready;
            }
            watched.1.engine = open.moving.map_or(0, |moving| moving.engine as u16);
        }
    }

    /// A transfer in flight: starts it if it can start, in their order; its times if it is over.
    fn transfer<O: Observer>(
        &mut self,
        seq: u64,
        open: &mut Open,
        held: &mut bool,
        channels: &mut Channels,
    ) -> Option<Span> {
        if open.moving.is_none() {
            *held = *held || !open.waits.is_empty() || !self.launch::<O>(seq, open, channels);
        }
        let moving = open.moving.filter(|moving| moving.sides == 0)?;
        let ready = (moving.moved + moving.latency).max(moving.together);
        Some(Span { start: moving.start, end: moving.moved, ready })
    }

    /// Starts a transfer on the DMA engine that is free first, if it is known which one that is.
    fn launch<O: Observer>(&mut self, seq: u64, open: &mut Open, channels: &mut Channels) -> bool {
        let start = &mut open.start;
        if let Some((last, _)) = open.together {
            start.wait::<O>(last, Cause::Sync, On::Cores);
        }
        let ready = start.at.max(self.dma_start);
        let known = (0..).zip(&self.engine_free).filter_map(|(n, free)| Some((free.known()?, n)));
        let Some((free, engine)) = known.min() else { return false };
        let others = self.engine_free.iter().any(|free| free.known().is_none());
        if others && free > ready.max(channels.now()) {
            // Another engine may be free before.
            self.wake = free;
            return false;
        }
        start.wait::<O>(free, Cause::Engine, On::Engine);
        let at = start.at.max(self.dma_start);
        self.dma_start = at;
        self.units[Unit::D as usize].starts[open.slot].set(seq, at);
        self.engine_free[engine] = When::After(seq);
        let follows = open.together.is_some_and(|(_, follows)| follows);
        let mut moving = self.sides(&open.event, at, 0, channels);
        for access in open.event.touched().iter().filter(|access| access.space == Space::Dram && access.bytes > 0) {
            let id = self.core << 48 | seq;
            let request = at + u64::from(self.rates.dma.setup_cycles);
            channels.start(id, request, &open.event.blocks, access);
            moving.sides += 1;
        }
        moving.sides += u8::from(follows);
        moving.engine = engine;
        open.moving = Some(moving);
        true
    }

    /// What a transfer that starts at `at` does but for the channel of its DRAM sides, whose bytes come `dram_latency` later.
    fn sides(&mut self, event: &Event, at: u64, dram_latency: u64, channels: &mut Channels) -> Moving {
        let request = at + u64::from(self.rates.dma.setup_cycles);
        let (Work::Dma { bytes, .. } | Work::Multicast { bytes, .. }) = event.work else { return Moving::default() };
        let mut moved = request + bytes.div_ceil(u64::from(self.rates.dma.bytes_per_cycle));
        let mut latency = u64::from(self.rates.own.latency_cycles);
        for access in event.touched() {
            match (access.space, &self.rates.shared) {
                (Space::Dram, _) => latency = latency.max(dram_latency),
                (Space::Shared, Some(shared)) => {
                    let cycles = shared.cycles(shared.accesses(access.bytes, access.runs));
                    moved = moved.max(channels.shared(cycles, request));
                    latency = latency.max(u64::from(shared.latency_cycles));
                }
                (Space::Sram, _) => {
                    let cycles = self.rates.own.cycles(self.rates.own.accesses(access.bytes, access.runs));
                    moved = moved.max(request + cycles);
                }
                (Space::Remote, _) => {
                    moved = moved.max(channels.network(access.bytes.div_ceil(self.rates.noc.0), request));
                    latency = latency.max(u64::from(self.rates.own.latency_cycles) + self.rates.noc.1);
                }
                _ => {}
            }
        }
        if let Work::Multicast { group, .. } = event.work {
            // Only the part that reads the source passes the network, once for all.
            if group.count_ones() > 1 && event.touched().first().is_some_and(|source| source.bytes > 0) {
                moved = moved.max(channels.network(bytes.div_ceil(self.rates.noc.0), request));
                latency += self.rates.noc.1;
            }
        }
        Moving { start: at, moved, latency, ..Moving::default() }
    }

    /// When a transfer that is issued at `issued` would start, where nothing is in flight.
    pub(super) fn dma_start_at(&self, event: &Event, issued: u64) -> u64 {
        self.dma_start::<Unobserved>(event, issued).1.at.max(self.dma_start)
    }

    /// The first DMA engine to be free, and when a transfer may start there, where nothing is in flight.
    fn dma_start<O: Observer>(&self, event: &Event, issued: u64) -> (usize, Latest) {
        let mut start = Latest::new(issued + 1);
        self.registers::<O>(event, &mut start, false);
        for (n, access) in (0..).zip(event.touched()) {
            start.wait::<O>(self.order.clear(access, true, &mut |_, _| ()), Cause::Order, On::Range(n));
        }
        let free = (0..).zip(&self.engine_free).map(|(n, free)| (free.known().unwrap_or(u64::MAX), n));
        let (free, engine) = free.min().unwrap_or((0, 0));
        start.wait::<O>(free, Cause::Engine, On::Engine);
        start.wait::<O>(self.together.map_or(0, |together| together.start), Cause::Sync, On::Cores);
        (engine, start)
    }

    /// One transfer: the first free engine, then the DRAM channel, the shared SRAM's port or the network in order of issue.
    fn dma<O: Observer>(&mut self, event: &Event, issued: u64, channels: &mut Channels) -> (u64, u64, Spent) {
        let arrived = issued + 1;
        let (engine, start) = self.dma_start::<O>(event, issued);
        let at = start.at.max(self.dma_start);
        self.dma_start = at;
        let dram_latency = u64::from(self.rates.dram.latency_cycles);
        let Moving { mut moved, latency, .. } = self.sides(event, at, dram_latency, channels);
        let request = at + u64::from(self.rates.dma.setup_cycles);
        for access in event.touched().iter().filter(|access| access.space == Space::Dram) {
            moved = moved.max(channels.first_come(&self.rates, access, request));
        }
        let done = (moved + latency).max(self.together.and_then(|together| together.done).unwrap_or(0));
        self.engine_free[engine] = When::At(moved);
        let state = &mut self.units[Unit::D as usize];
        state.explain(arrived, at, done, start.cause);
        state.enqueue(When::At(at));
        self.retire(event, at, moved, done, false);
        if O::WANTED {
            let in_unit = Wait::new((start.cause, start.on), arrived, at);
            let engine = engine as u16;
            self.times = Times { turn: arrived, in_unit, start: at, end: moved, ready: done, engine, ..self.times };
        }
        for access in event.touched() {
            let (done, part) = if access.write { (done, Part::Ready) } else { (moved, Part::End) };
            self.order.record(access, true, When::At(done), part);
        }
        let (Work::Dma { tag, .. } | Work::Multicast { tag, .. }) = event.work else { return (at, done, spent(event)) };
        let pending = &mut self.tags[usize::from(tag) % 16];
        if pending.len() >= 64 {
            pending.retain(|d| !matches!(d, When::At(d) if *d <= issued));
        }
        pending.push(When::At(done));
        (at, done, spent(event))
    }

    /// A transfer where DRAM reorders: in flight until DRAM says when it ends.
    fn take_off<O: Observer>(&mut self, event: &Event, issued: u64, channels: &mut Channels) {
        let mut start = Latest::new(issued + 1);
        let mut waits = std::mem::take(&mut self.waits);
        waits.clear();
        self.registers::<O>(event, &mut start, false);
        if self.flights.touch(event) {
            self.open_registers(event, false, &mut waits);
        }
        for (n, access) in (0..).zip(event.touched()) {
            let (cause, on) = (Cause::Order, On::Range(n));
            let open = &mut |seq, part| waits.push(Dependence { seq, part, cause, on });
            // Here transfers of the same bytes in DRAM do wait for each other.
            start.wait::<O>(self.order.clear(access, false, open), cause, on);
        }
        let slot = self.units[Unit::D as usize].enqueue(When::After(self.flights.next()));
        let together = self.together.map(|together| (together.start, together.done.is_none()));
        let (event, free, cost) = (*event, When::At(0), Cost::default());
        self.wait_open::<O>(&event, issued, Open { event, start, waits, free, cost, slot, moving: None, together });
        self.settle::<O>(channels);
    }

    /// The DRAM side of transfer `seq` is over.
    pub(super) fn land(&mut self, seq: u64, end: u64, activates: u64) {
        let Some(flight) = self.flights.get_mut(seq) else { return };
        let row = (flight.node as usize).min(self.activates.len() - 1);
        self.activates[row] += activates;
        if let Some(moving) = flight.open.as_mut().and_then(|open| open.moving.as_mut()) {
            moving.moved = moving.moved.max(end);
            moving.sides -= 1;
        }
    }

    /// The oldest instructions whose times are known leave: their cycles get an owner, in the order of the program.
    pub(super) fn leave<O: Observer>(&mut self, observer: &mut O) {
        while let Some(Flight { node, issue, span, spent, cause, watched, .. }) = self.flights.pop() {
            if matches!(spent, Spent::Dram | Spent::OnChip) {
                self.units[Unit::D as usize].explain(issue + 1, span.start, span.ready, cause);
            }
            self.own(node, issue, span.start, span.ready, spent);
            if let Some(watched) = watched {
                observer.record(&watched.0, &watched.1);
            }
        }
    }

    /// The bytes of a collective transfer have come to this part too.
    pub(super) fn follow(&mut self, seq: u64, done: u64) {
        let open = self.flights.get_mut(seq).and_then(|flight| flight.open.as_mut());
        if let Some(moving) = open.and_then(|open| open.moving.as_mut()) {
            moving.together = done;
            moving.sides -= 1;
        }
    }

    /// When the results of an instruction in flight can be used, if that is known.
    pub(super) fn ready(&self, seq: u64) -> Option<u64> {
        self.flights.time(seq, Part::Ready)
    }

    /// The number that the next instruction in flight gets.
    pub(super) fn next_in_flight(&self) -> u64 {
        self.flights.next()
    }

    /// Lets DRAM go on to the end of its next transfer, or to the cycle `before`.
    fn progress<O: Observer>(&mut self, channels: &mut Channels, before: u64, observer: &mut O) {
        let before = before.min(self.wake);
        match channels.advance(before) {
            Some(over) => self.land(over.id & ((1 << 48) - 1), over.end, over.activates),
            None if before == u64::MAX => {
                self.error.get_or_insert(Error::internal("an instruction waits for a transfer that nobody makes"));
            }
            None => {}
        }
        self.settle::<O>(channels);
        self.leave(observer);
    }

    /// The cycle in which a DMA engine is free for the next transfer that waits for one.
    pub(super) fn wake(&self) -> u64 {
        self.wake
    }

    /// True if the times of all instructions are known.
    pub(super) fn settled(&self) -> bool {
        self.flights.settled()
    }

    /// Lets all that is in flight come to its end.
    pub(super) fn come_down<O: Observer>(&mut self, channels: &mut Channels, observer: &mut O) {
        while !self.settled() && self.error.is_none() {
            self.progress(channels, u64::MAX, observer);
        }
    }

    /// The cycle in which everything so far is over.
    pub(super) fn cycles(&self) -> u64 {
        self.units.iter().map(|u| u.cursor).max().unwrap_or(0).max(self.end)
    }

    /// Transfers of `tag` that are unfinished in `cycle`.
    pub(super) fn unfinished(&self, tag: u8, cycle: u64) -> usize {
        self.tags[usize::from(tag) % 16].iter().filter(|done| !matches!(done, When::At(at) if *at <= cycle)).count()
    }

    /// What stopped the clock.
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Closes the books: every unit idles until the common end.
    ///
    /// # Errors
    /// The first event that the machine does not serve.
    pub(super) fn finish(mut self, mut channels: Channels) -> diag::Result<Timing> {
        self.come_down(&mut channels, &mut Unobserved);
        let cycles = self.cycles();
        self.finish_at(cycles, &channels)
    }

    /// As [`Engine::finish`], idle from its own end to `cycles`.
    ///
    /// # Errors
    /// The first event that the machine does not serve.
    pub(super) fn finish_at(mut self, cycles: u64, channels: &Channels) -> diag::Result<Timing> {
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
        timing.dram_busy_cycles = channels.dram_busy();
        timing.shared_busy_cycles = channels.shared_busy;
        timing.noc_busy_cycles = channels.noc_busy;
        Ok(timing)
    }
}

/// Instructions in flight from which on those that own no cycle are forgotten.
const LONGEST: usize = 4096;

/// True for a sum on an accumulator tile.
fn is_sum(event: &Event) -> bool {
    matches!(event.work, Work::Mac { .. } | Work::TileMac { .. })
}

/// What the cycles of an instruction are spent on.
fn spent(event: &Event) -> Spent {
    match event.unit {
        Unit::C => Spent::Issue,
        Unit::L => Spent::LoadStore,
        Unit::S => Spent::VectorMac,
        Unit::E => Spent::Elementwise,
        Unit::M => Spent::Array,
        Unit::D if event.touched().iter().any(|access| access.space == Space::Dram) => Spent::Dram,
        Unit::D => Spent::OnChip,
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
