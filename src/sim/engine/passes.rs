//! Passes of a loop that cost the same: what has to be equal at the heads of two passes, and what a jump over such passes does
//! to a clock.
//!
//! All that an instruction of such a loop (loads, stores, operations on registers, sums of scalars; no transfer) asks of a
//! clock are differences of times, whether times are over, and whether ranges of memory meet. So a pass that begins in the
//! state in which another began, but for some cycles of time and a distance in memory for each access, does to the clock
//! what that one did, so many cycles later; and if one ends in the state in which it began, the next does the same again.
//! What the loop does not touch (DRAM and whatever waits for it, the array, other registers) stays where it is: it may not
//! bind, which is checked, not assumed.

use super::books::{UnitBooks, UnitState};
use super::{Engine, REGISTERS};
use crate::exec::event::{Access, Event, RegSet};
use crate::isa::Unit;
use crate::sim::flight::{Flight, When};
use crate::sim::order::{Entry, From};
use crate::sim::timing::SPENT;

/// Masks among registers.
const MASKS: u128 = 0xff << RegSet::P;

/// A clock at the head of a pass.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Head {
    issue_at: u64,
    issued_then: u32,
    units: [UnitState; 6],
    written: [u64; REGISTERS],
    read_done: [u64; REGISTERS],
    chained: [u64; 8],
    chain_unit: [u8; 8],
    order: Vec<Entry>,
    crowded: u64,
    blocked: u64,
    /// Of what is in flight: the next number, how many are open, and the latest that is covered.
    flights: (u64, usize, u64),
    end: u64,
    owned: u64,
    node: [u64; SPENT.len()],
}

/// An access that every pass makes: where the last one did, and how far the next one is from there.
#[derive(Debug, Clone, Copy)]
pub(in crate::sim) struct Stream {
    pub(in crate::sim) access: Access,
    pub(in crate::sim) from: From,
    pub(in crate::sim) distance: i64,
}

impl Stream {
    /// The bytes that it touches in the last pass and `passes` more.
    pub(in crate::sim) fn reach(&self, passes: u64) -> (i128, i128) {
        let way = i128::from(self.distance) * i128::from(passes);
        (i128::from(self.access.lo) + way.min(0), i128::from(self.access.hi) + way.max(0))
    }
    /// True if one of these accesses may have to wait for `other`.
    fn meets(&self, other: &Access, passes: u64) -> bool {
        let (lo, hi) = self.reach(passes);
        let apart = hi <= other.lo.into() || lo >= other.hi.into();
        !apart && self.access.space == other.space && (self.access.write || other.write)
    }
}

/// What a pass did that others can do again.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Pass {
    /// Issue at its head.
    issue_at: u64,
    /// From its head to the next.
    cycles: u64,
    /// Passes after which something that it did not meet may bind.
    most: u64,
    /// Registers that it touches, and those that it writes.
    touched: u128,
    written: u128,
    /// What came into the books of the units that it uses, and of its node.
    units: [Option<UnitBooks>; 6],
    node: [u64; SPENT.len()],
    /// Whether the end of everything, and of what nodes own, moved with it.
    ends: [bool; 2],
    /// What it left in flight, if anything is.
    flights: Vec<Flight>,
    none_in_flight: bool,
    /// Accesses of others that were unfinished, and whether the table was full.
    others: usize,
    crowded: bool,
}

impl Pass {
    /// How many passes can follow it before something that it did not meet may bind.
    pub(in crate::sim) fn most(&self) -> u64 {
        self.most
    }
    /// True if it can stand for passes of a loop that is entered anew: nothing old bounds it, and it touches no mask, which
    /// may have other bits then. A tile that it touches is after any first pass what it was after that of this loop.
    pub(in crate::sim) fn stands_for_others(&self) -> bool {
        self.most == u64::MAX && self.touched & MASKS == 0
    }
}

/// Two heads.
struct Between<'a> {
    a: &'a Head,
    issue_at: u64,
    cycles: u64,
}

impl Between<'_> {
    /// True if a time has moved with the clock, or is over at both heads.
    fn moved(&self, a: u64, b: u64) -> bool {
        b.wrapping_sub(a) == self.cycles || (a <= self.a.issue_at && b <= self.issue_at)
    }
    fn moved_when(&self, a: When, b: When) -> bool {
        matches!((a, b), (When::At(a), When::At(b)) if self.moved(a, b))
    }
    /// For how many passes a bound that nothing has passed stays one: for ever if it moves too.
    fn bound(&self, a: u64, b: u64, last: u64) -> Option<u64> {
        match b.wrapping_sub(a) {
            moved if moved == self.cycles => Some(u64::MAX),
            0 => Some(b.saturating_sub(last) / self.cycles),
            _ => None,
        }
    }
}

fn is_own(entry: &Entry, streams: &[Stream]) -> bool {
    streams.iter().any(|stream| stream.from == entry.from)
}

/// Registers of a set, by number.
fn numbers(set: u128) -> impl Iterator<Item = usize> {
    (0..REGISTERS).filter(move |register| set >> register & 1 == 1)
}

fn tiles(set: u128) -> impl Iterator<Item = usize> {
    (0..8).filter(move |tile| set >> (RegSet::C as usize + tile) & 1 == 1)
}

impl Engine {
    /// The clock as it is now, in front of a pass of `node`.
    pub(in crate::sim) fn head(&mut self, node: u32) -> Head {
        self.latest = 0;
        Head {
            issue_at: self.issue_at,
            issued_then: self.issued_then,
            units: self.units.clone(),
            written: self.written,
            read_done: self.read_done,
            chained: self.chained,
            chain_unit: self.chain_unit,
            order: self.order.unfinished(self.issue_at).copied().collect(),
            crowded: self.order.crowded(),
            blocked: self.blocked,
            flights: (self.flights.next(), self.flights.count_open(), self.flights.covered()),
            end: self.end,
            owned: self.owned,
            node: self.nodes[(node as usize).min(self.nodes.len() - 1)],
        }
    }

    /// The pass since `a`, which executed `events`, if the next ones will cost the same.
    pub(in crate::sim) fn pass_since(&self, a: &Head, events: &[Event], streams: &[Stream]) -> Option<Pass> {
        let cycles = self.issue_at - a.issue_at;
        let between = Between { a, issue_at: self.issue_at, cycles };
        let written = events.iter().fold(0, |set, event| set | event.writes.0);
        let touched = events.iter().fold(written, |set, event| set | event.reads.0);
        let mut units = [const { None }; 6];
        for (unit, (books, (a, b))) in units.iter_mut().zip(a.units.iter().zip(&self.units)).enumerate() {
            let used = unit == Unit::C as usize || a.instructions != b.instructions;
            *books = used.then(|| b.since(a));
        }
        let quiet = self.error.is_none()
            && self.resting <= a.issue_at
            && self.blocked == a.blocked
            && self.flights.count_open() == a.flights.1;
        if cycles == 0 || !quiet || !self.is_like(&between, touched, &units) {
            return None;
        }
        self.same_order(&between, streams)?;
        // Others that the pass waited for, or that took room, are there no more for the next one.
        let (others, crowded) = (self.others(streams).count(), self.order.crowded() != a.crowded);
        let had_others = || a.order.iter().filter(|entry| !is_own(entry, streams));
        if had_others().any(|entry| crowded || streams.iter().any(|stream| stream.meets(&entry.access, 0))) {
            return None;
        }
        let flights = (a.flights.0..self.flights.next()).map(|seq| self.flights.get(seq).cloned());
        let flights = flights.collect::<Option<Vec<Flight>>>()?;
        let none_in_flight = self.flights.is_empty();
        let most = match none_in_flight {
            true => {
                between.bound(a.end, self.end, self.latest)?.min(between.bound(a.owned, self.owned, self.latest)?)
            }
            false if a.end != self.end || a.owned != self.owned => return None,
            false => between.bound(a.flights.2, self.flights.covered(), self.latest)?,
        };
        let mut node = self.nodes[(events[0].node as usize).min(self.nodes.len() - 1)];
        node.iter_mut().zip(&a.node).for_each(|(sum, before)| *sum -= before);
        let (issue_at, ends) = (a.issue_at, [self.end != a.end, self.owned != a.owned]);
        Some(Pass {
            issue_at,
            cycles,
            most,
            touched,
            written,
            units,
            node,
            ends,
            flights,
            none_in_flight,
            others,
            crowded,
        })
    }

    /// True if, but for memory, the pass that is about to begin will cost what `pass` did, which began at `a`.
    pub(in crate::sim) fn may_be_at(&self, a: &Head, pass: &Pass) -> bool {
        let between = Between { a, issue_at: self.issue_at, cycles: self.issue_at - a.issue_at };
        let moved = |a: u64, b: u64| b.wrapping_sub(a) == between.cycles;
        let books = match pass.none_in_flight {
            true => self.flights.is_empty() && moved(a.end, self.end) && moved(a.owned, self.owned),
            false => !self.flights.is_empty() && moved(a.flights.2, self.flights.covered()),
        };
        let untouched = self.flights.writes & pass.touched == 0 && self.flights.reads & pass.written == 0;
        books
            && untouched
            && self.resting <= self.issue_at
            && self.error.is_none()
            && self.is_like(&between, pass.touched, &pass.units)
    }

    /// True if that is so with memory: the `distance` of `streams` is from an access of that pass to that of this one.
    pub(in crate::sim) fn is_at(&self, a: &Head, pass: &Pass, streams: &[Stream]) -> bool {
        let between = Between { a, issue_at: self.issue_at, cycles: self.issue_at - a.issue_at };
        let others = self.others(streams).count();
        others <= pass.others && !(pass.crowded && others > 0) && self.same_order(&between, streams).is_some()
    }

    /// True if the times of registers and units that a pass uses have moved together.
    fn is_like(&self, between: &Between<'_>, touched: u128, units: &[Option<UnitBooks>; 6]) -> bool {
        let a = between.a;
        self.issued_then == a.issued_then
            && units.iter().zip(self.units.iter().zip(&a.units)).all(|(used, (b, a))| {
                let places = b.starts.len();
                let start = |state: &UnitState, n: usize| state.starts[(state.slot + n) % places];
                used.is_none()
                    || b.cursor.wrapping_sub(a.cursor) == between.cycles
                        && between.moved_when(a.free, b.free)
                        && (0..places).all(|n| between.moved_when(start(a, n), start(b, n)))
            })
            && numbers(touched).all(|register| {
                between.moved(a.written[register], self.written[register])
                    && between.moved(a.read_done[register], self.read_done[register])
            })
            && tiles(touched).all(|tile| {
                self.chain_unit[tile] == a.chain_unit[tile] && between.moved(a.chained[tile], self.chained[tile])
            })
    }

    /// `None` unless the unfinished accesses of the loop have moved with it.
    fn same_order(&self, between: &Between<'_>, streams: &[Stream]) -> Option<()> {
        let own = |entry: &&Entry| is_own(entry, streams);
        let mut before = between.a.order.iter().filter(own);
        for now in self.order.unfinished(self.issue_at).filter(own) {
            let (a, stream) = (before.next()?, streams.iter().find(|stream| stream.from == now.from)?);
            let (When::At(a_done), When::At(done)) = (a.done, now.done) else { return None };
            let access = Access {
                lo: a.access.lo.wrapping_add_signed(stream.distance),
                hi: a.access.hi.wrapping_add_signed(stream.distance),
                ..a.access
            };
            if a.from != now.from || done.wrapping_sub(a_done) != between.cycles || access != now.access {
                return None;
            }
        }
        before.next().is_none().then_some(())
    }

    /// Unfinished accesses that are not of the loop.
    fn others<'a>(&'a self, streams: &'a [Stream]) -> impl Iterator<Item = &'a Entry> {
        self.order.unfinished(self.issue_at).filter(|entry| !is_own(entry, streams))
    }

    /// True if no unfinished access of others is where `streams` will be in `passes` passes.
    pub(in crate::sim) fn apart(&self, streams: &[Stream], passes: u64) -> bool {
        !self.others(streams).any(|entry| streams.iter().any(|stream| stream.meets(&entry.access, passes)))
    }

    /// Moves the clock on as `passes` passes like `pass`, of `node`, would; DRAM has come to `now`.
    pub(in crate::sim) fn pass_over(&mut self, pass: &Pass, node: u32, streams: &[Stream], passes: u64, now: u64) {
        let cycles = pass.cycles * passes;
        numbers(pass.touched).for_each(|register| {
            self.written[register] += cycles;
            self.read_done[register] += cycles;
        });
        tiles(pass.touched).for_each(|tile| self.chained[tile] += cycles);
        for (unit, books) in self.units.iter_mut().zip(&pass.units) {
            books.iter().for_each(|books| unit.repeat(books, cycles, passes));
        }
        self.order.shift(cycles, |from| {
            let stream = streams.iter().find(|stream| stream.from == from)?;
            Some(stream.distance.wrapping_mul(passes as i64))
        });
        if pass.none_in_flight {
            self.end += if pass.ends[0] { cycles } else { 0 };
            self.owned += if pass.ends[1] { cycles } else { 0 };
            let last = self.nodes.len() - 1;
            let row = &mut self.nodes[(node as usize).min(last)];
            row.iter_mut().zip(&pass.node).for_each(|(sum, each)| *sum += each * passes);
        }
        for turn in 0..passes {
            let later = self.issue_at - pass.issue_at + pass.cycles * turn;
            for flight in &pass.flights {
                self.flights.push(flight.later(self.flights.next(), later));
            }
            self.flights.forget(now);
        }
        self.issue_at += cycles;
    }
}
