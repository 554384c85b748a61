//! Instructions in flight: those whose times a transfer of DRAM will set, and those behind them whose turn in the books
//! has not come.
//!
//! A DRAM that reorders requests says when a transfer ends only once time has come there. Until then instructions that
//! depend on it are kept with what they wait for, and issue goes on as far as it does not need to know either.

use super::engine::{Cost, Latest, Together};
use super::observe::{On, Times};
use super::timing::{Cause, Spent};
use crate::exec::event::Event;
use std::collections::VecDeque;

/// A cycle, or the number of the instruction in flight that will set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    At(u64),
    After(u64),
}

impl When {
    /// The cycle, if it is known.
    pub(super) fn known(&self) -> Option<u64> {
        match self {
            When::At(at) => Some(*at),
            When::After(_) => None,
        }
    }
    /// Puts `at` in the place of instruction `seq`.
    pub(super) fn set(&mut self, seq: u64, at: u64) {
        if *self == When::After(seq) {
            *self = When::At(at);
        }
    }
}

/// Which time of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its start in its unit.
    Start,
    /// Its end in its unit.
    End,
    /// The use of its results.
    Ready,
}

/// Something waited for that has no time yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dependence {
    pub(super) seq: u64,
    pub(super) part: Part,
    pub(super) cause: Cause,
    pub(super) on: On,
}

/// Why an instruction cannot be given its issue yet: something older has no time. It has one, or is known to come later, at
/// the cycle `before` at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocked {
    pub(super) before: u64,
}

impl Blocked {
    /// Issue depends on the open time itself.
    pub(super) const LONG: Blocked = Blocked { before: u64::MAX };
}

/// Start, end in the unit, and use of the results.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) ready: u64,
}

impl Span {
    pub(super) fn part(&self, part: Part) -> u64 {
        match part {
            Part::Start => self.start,
            Part::End => self.end,
            Part::Ready => self.ready,
        }
    }
}

/// What the array's book gets of one of its instructions, once all older ones are in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ArrayTurn {
    pub(super) ready: u64,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) cause: Cause,
}

/// What a transfer is about to do, from its start on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moving {
    pub(super) start: u64,
    /// The DMA engine that does it.
    pub(super) engine: usize,
    /// End of everything but its DRAM sides.
    pub(super) moved: u64,
    /// From there to the use of the bytes.
    pub(super) latency: u64,
    /// DRAM sides that are not over.
    pub(super) sides: u8,
    /// The earliest end: that of the bytes' way to all members of a collective transfer.
    pub(super) together: u64,
}

/// What is kept of an instruction whose times are open.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) event: Event,
    /// The latest of the known times.
    pub(super) start: Latest,
    /// What else it waits for.
    pub(super) waits: Vec<Dependence>,
    /// When its unit is free.
    pub(super) free: When,
    pub(super) cost: Cost,
    /// Its place in the queue of its unit.
    pub(super) slot: usize,
    /// How many instructions in flight had got their times when what it waits for was looked up last.
    pub(super) looked: Option<u64>,
    /// Of a transfer that has started.
    pub(super) moving: Option<Moving>,
    /// Of a part of a collective transfer: when the last member starts, and what brings the bytes.
    pub(super) together: Option<Together>,
}

/// An instruction in flight.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) seq: u64,
    pub(super) node: u32,
    pub(super) issue: u64,
    pub(super) span: Span,
    pub(super) spent: Spent,
    /// What made a transfer wait for its start.
    pub(super) cause: Cause,
    /// Of the array, once its times are known.
    pub(super) array: Option<ArrayTurn>,
    /// For observers.
    pub(super) watched: Option<Box<(Event, Times)>>,
    /// `None` once its times are known.
    pub(super) open: Option<Box<Open>>,
}

impl Flight {
    /// One like it with all its times, number `seq`, `cycles` later.
    pub(super) fn later(&self, seq: u64, cycles: u64) -> Flight {
        let Span { start, end, ready } = self.span;
        let span = Span { start: start + cycles, end: end + cycles, ready: ready + cycles };
        Flight { seq, issue: self.issue + cycles, span, watched: None, open: None, ..self.clone() }
    }
}

/// So many instructions in flight are no crowd.
const CROWD: usize = 4096;

/// Instructions in flight, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights {
    list: VecDeque<Flight>,
    /// Numbers of those whose times are open, oldest first.
    open: VecDeque<u64>,
    next: u64,
    /// How many have got their times.
    closed: u64,
    /// The latest use of results of those that were pushed with all their times.
    covered: u64,
    /// Length from which on it is worth looking for those to forget: twice what was left the last time.
    crowd: usize,
    /// Registers that they write and read.
    pub(super) writes: u128,
    pub(super) reads: u128,
}

impl Flights {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
    /// True if all times are known.
    pub(super) fn settled(&self) -> bool {
        self.open.is_empty()
    }
    /// True if an open instruction writes a register of `event`, or reads one that it writes.
    pub(super) fn touch(&self, event: &Event) -> bool {
        (self.writes & (event.reads.0 | event.writes.0)) | (self.reads & event.writes.0) != 0
    }
    /// The number of the next instruction to be pushed.
    pub(super) fn next(&self) -> u64 {
        self.next
    }
    /// Those whose times are open, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = &Flight> {
        self.open.iter().filter_map(|seq| self.get(*seq))
    }
    /// The number of the open one at `index`.
    pub(super) fn open_at(&self, index: usize) -> Option<u64> {
        self.open.get(index).copied()
    }
    /// True if an instruction that is over at `end` owns no cycle: one before it, all of whose times are known, is over later.
    pub(super) fn cover(&self, end: u64) -> bool {
        end <= self.covered
    }
    /// How many instructions are open.
    pub(super) fn count_open(&self) -> usize {
        self.open.len()
    }
    /// The latest use of results of those that were pushed with all their times.
    pub(super) fn covered(&self) -> u64 {
        self.covered
    }
    pub(super) fn push(&mut self, flight: Flight) {
        self.next = flight.seq + 1;
        if flight.open.is_some() {
            self.open.push_back(flight.seq);
        } else {
            self.covered = self.covered.max(flight.span.ready);
        }
        self.list.push_back(flight);
    }
    fn at(&self, seq: u64) -> Option<usize> {
        // Where none was forgotten they stand at their number.
        let most = usize::try_from(seq.checked_sub(self.list.front()?.seq)?).ok()?;
        if self.list.get(most).is_some_and(|flight| flight.seq == seq) {
            return Some(most);
        }
        let index = self.list.partition_point(|flight| flight.seq < seq);
        self.list.get(index).filter(|flight| flight.seq == seq).map(|_| index)
    }
    pub(super) fn get(&self, seq: u64) -> Option<&Flight> {
        self.at(seq).map(|index| &self.list[index])
    }
    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Flight> {
        self.at(seq).map(|index| &mut self.list[index])
    }
    /// A time of an instruction, if it is known.
    pub(super) fn time(&self, seq: u64, part: Part) -> Option<u64> {
        self.get(seq).filter(|flight| flight.open.is_none()).map(|flight| flight.span.part(part))
    }
    /// How many have got their times while they were in flight.
    pub(super) fn closed(&self) -> u64 {
        self.closed
    }
    /// Takes `seq` off the open ones: its times are known now.
    pub(super) fn close(&mut self, seq: u64) {
        self.closed += 1;
        self.open.retain(|other| *other != seq);
    }
    /// The oldest, if its times are known.
    pub(super) fn pop(&mut self) -> Option<Flight> {
        match self.list.front() {
            Some(front) if front.open.is_none() => self.list.pop_front(),
            _ => None,
        }
    }
    /// Forgets, where many have come together, those that are over by `now` and stand behind an older one that is not: no
    /// cycle is theirs.
    pub(super) fn forget(&mut self, now: u64) {
        if self.list.len() <= self.crowd.max(CROWD) {
            return;
        }
        let keep = |flight: &Flight| {
            flight.open.is_some()
                || flight.span.ready > now
                || flight.array.is_some()
                || matches!(flight.spent, Spent::Dram | Spent::OnChip)
        };
        if self.list.front().is_some_and(|front| front.open.is_some()) {
            self.list.retain(keep);
        }
        self.crowd = 2 * self.list.len();
    }
    /// Works the registers of open instructions out anew.
    pub(super) fn count_registers(&mut self) {
        let (mut writes, mut reads) = (0, 0);
        for open in self.open().filter_map(|flight| flight.open.as_ref()) {
            writes |= open_writes(&open.event);
            reads |= open_reads(&open.event);
        }
        (self.writes, self.reads) = (writes, reads);
    }
}

/// Registers that an open instruction reads in its unit; scalars are read at issue.
pub(super) fn open_reads(event: &Event) -> u128 {
    event.reads.0 & !0xffff_ffff
}

/// Registers whose times an open instruction will set. L, M and D write x as the moved base of an address, known at issue.
pub(super) fn open_writes(event: &Event) -> u128 {
    use crate::isa::Unit;
    let scalars = matches!(event.unit, Unit::S | Unit::E);
    if scalars { event.writes.0 } else { event.writes.0 & !0xffff_ffff }
}
