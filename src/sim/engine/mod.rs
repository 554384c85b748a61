//! The clock of a core: in-order issue into unit queues, a scoreboard of ready times, DMA engines.
//!
//! One recurrence an instruction, in program order: a unit serves in that order, so no later instruction changes an
//! earlier end. Only DRAM does not (`dram/`): when one of its transfers ends depends on requests that come later. What waits
//! for such a transfer is kept in flight (`flight.rs`) until time has come there, and issue goes on as far as it needs no
//! open time. DRAM never runs ahead of the cycle in which the next instruction can issue. Cycles count from 0; an
//! operation that starts at `s` and occupies its unit for `n` cycles ends at `s + n`. Several cores are several such clocks
//! that take turns by time (`cores.rs`).

mod books;
mod compute;
pub(in crate::sim) mod passes;
mod registers;
mod settle;
mod transfer;

use super::channels::Channels;
use super::flight::{ArrayTurn, Blocked, Dependence, Flight, Flights, Part, Span, When};
use super::observe::{Observer, On, Times, Wait};
use super::order::{From, OrderTable};
use super::rates::Rates;
use super::timing::{Cause, SPENT, Spent};
use crate::diag::Error;
use crate::exec::event::{Event, RegSet, Space, Work};
use crate::isa::{Op, Unit};
pub(super) use books::Latest;
use books::UnitState;
use std::cmp::Reverse;
use std::sync::Arc;

/// Registers that the scoreboard knows: x, v, p, c, q.
const REGISTERS: usize = 96;

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
    rates: Arc<Rates>,
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
    /// Of the instruction at hand, where older ones are in flight.
    array_turn: Option<ArrayTurn>,
    engine_free: Vec<When>,
    /// Start of the last transfer that has started, and the latest end of those that are over.
    dma_start: u64,
    dma_end: u64,
    /// Where this instruction is a part of a collective transfer.
    pub(super) together: Option<Together>,
    tags: [Vec<When>; 16],
    flights: Flights,
    /// How often issue had to wait for what only time can tell.
    blocked: u64,
    /// The latest end of what was issued since the head of a pass.
    latest: u64,
    /// Until then DRAM goes to rest, after an `epoch`.
    resting: u64,
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
    pub(super) fn new(rates: &Arc<Rates>, nodes: usize, core: usize) -> Self {
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
            array_turn: None,
            engine_free: vec![When::At(0); rates.dma.engines.max(1) as usize],
            dma_start: 0,
            dma_end: 0,
            together: None,
            flights: Flights::default(),
            blocked: 0,
            latest: 0,
            resting: 0,
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
            rates: rates.clone(),
        }
    }
    pub(super) fn rates(&self) -> &Arc<Rates> {
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
                Err(blocked) => {
                    self.blocked += 1;
                    self.progress(channels, blocked.before, observer);
                }
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
        issue.wait::<O>(self.resting, Cause::Drain, On::Units);
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
            Unit::C => Some(self.control::<O>(event, issue.at, channels)),
            Unit::D if channels.reorders() => {
                let seq = self.flights.next();
                self.take_off::<O>(event, issue.at, channels);
                let over = self.ready(seq);
                self.leave(observer);
                if !O::WANTED {
                    self.flights.forget(channels.now());
                }
                return over;
            }
            Unit::D => Some(self.dma::<O>(event, issue.at, channels)),
            _ => self.compute::<O>(event, issue.at),
        };
        let Some((start, end, spent)) = known else {
            if !O::WANTED {
                self.flights.forget(channels.now());
            }
            return None;
        };
        self.latest = self.latest.max(end);
        if self.flights.is_empty() {
            self.own(event.node, issue.at, start, end, spent);
            if O::WANTED && self.error.is_none() {
                observer.record(event, &self.times);
            }
        } else if O::WANTED || self.array_turn.is_some() || !self.flights.cover(end) {
            let span = Span { start, end, ready: end };
            let watched = O::WANTED.then(|| Box::new((*event, self.times)));
            let (seq, node, issue, cause) = (self.flights.next(), event.node, issue.at, issue.cause);
            let array = self.array_turn.take();
            self.flights.push(Flight { seq, node, issue, span, spent, cause, array, watched, open: None });
            if !O::WANTED {
                self.flights.forget(channels.now());
            }
        }
        Some(end)
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
        // The latest first, and open ones before all.
        pending.sort_unstable_by_key(|done| Reverse(done.known().unwrap_or(u64::MAX)));
        match pending[left] {
            When::After(_) => Err(Blocked::LONG),
            // An open one may be over before.
            When::At(over) if pending[0].known().is_none() && over > now => Err(Blocked { before: over }),
            When::At(over) => Ok(Some(over)),
        }
    }

    fn control<O: Observer>(&mut self, event: &Event, at: u64, channels: &mut Channels) -> (u64, u64, Spent) {
        if event.op == Op::Epoch {
            self.resting = channels.rest(at + 1);
        }
        self.units[0].instructions += 1;
        let loads = event.accesses > 0 && !event.access[0].write;
        let latency = match event.access[0].space {
            _ if !loads => self.rates.scalar_latency,
            Space::Sram => u64::from(self.rates.own.latency_cycles),
            Space::Shared => self.rates.shared.as_ref().map_or(1, |s| u64::from(s.latency_cycles)),
            _ => self.rates.control_latency,
        };
        self.retire(event, at, at + 1, at + latency, false);
        for (n, access) in (0..).zip(&event.access[..usize::from(event.accesses).min(event.access.len())]) {
            self.order.record(access, From { pc: event.pc, n }, false, When::At(at + 1), Part::End);
        }
        if O::WANTED {
            let ready = at + latency.max(1);
            let scalars = at + latency.max(self.rates.scalar_latency);
            self.times = Times { turn: at, start: at, end: at + 1, ready, scalars, ..self.times };
        }
        (at, (at + 1).max(self.resting), Spent::Issue)
    }
}

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
