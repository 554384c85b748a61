//! What is in flight: how it gets its times, and how it leaves.

use super::{Engine, spent};
use crate::diag::Error;
use crate::exec::event::{Event, Work};
use crate::isa::Unit;
use crate::sim::channels::Channels;
use crate::sim::flight::{ArrayTurn, Flight, Open, Part, Span, When, open_reads, open_writes};
use crate::sim::observe::{Observer, Times, Wait};
use crate::sim::order::From;
use crate::sim::timing::Spent;

impl Engine {
    /// Keeps an instruction in flight until its times are known; younger ones find its number where they look for them.
    pub(super) fn wait_open<O: Observer>(&mut self, event: &Event, issued: u64, open: Open) {
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
            Work::Dma { tag, .. } | Work::Multicast { tag, .. } => self.pend(tag, later, issued),
            _ => self.units[event.unit as usize].free = later,
        }
        let dma = event.unit == Unit::D;
        for (n, access) in (0..).zip(event.touched()) {
            let part = if dma && access.write { Part::Ready } else { Part::End };
            self.order.record(access, From { pc: event.pc, n }, dma, later, part);
        }
        self.flights.writes |= open_writes(event);
        self.flights.reads |= open_reads(event);
        let watched = O::WANTED.then(|| Box::new((*event, self.times)));
        let (node, cause, spent) = (event.node, open.start.cause, spent(event));
        let (span, open) = (Span::default(), Some(Box::new(open)));
        self.flights.push(Flight { seq, node, issue: issued, span, spent, cause, array: None, watched, open });
    }

    /// Gives times to what has all that it waits for, in the order of the program.
    pub(in crate::sim) fn settle<O: Observer>(&mut self, channels: &mut Channels) {
        self.wake = u64::MAX;
        let (mut index, mut held, before) = (0, false, self.flights.closed());
        while let Some(seq) = self.flights.open_at(index) {
            let closed = Some(self.flights.closed());
            let Some(flight) = self.flights.get_mut(seq) else { return };
            // Only a transfer has more to wait for than the times of others.
            if flight.open.as_ref().is_some_and(|open| open.looked == closed && open.event.unit != Unit::D) {
                index += 1;
                continue;
            }
            let Some(mut open) = flight.open.take() else { return };
            if open.looked != closed {
                open.looked = closed;
                self.look_up::<O>(&mut open);
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
                Some(span) => self.close(seq, &open, span),
                None => {
                    if let Some(flight) = self.flights.get_mut(seq) {
                        flight.open = Some(open);
                    }
                    index += 1;
                }
            }
        }
        if self.flights.closed() > before {
            self.flights.count_registers();
        }
    }

    /// Takes the times that are known now from what an instruction waits for.
    fn look_up<O: Observer>(&self, open: &mut Open) {
        let Open { start, waits, free, .. } = open;
        waits.retain(|wait| match self.flights.time(wait.seq, wait.part) {
            Some(at) => {
                start.wait::<O>(at, wait.cause, wait.on);
                false
            }
            None => true,
        });
        if let When::After(older) = *free
            && let Some(end) = self.flights.time(older, Part::End)
        {
            *free = When::At(end);
        }
    }

    /// The times of an instruction in flight are known: they go where its number stands.
    pub(super) fn close(&mut self, seq: u64, open: &Open, span: Span) {
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
        let array = self.array_turn.take();
        let Some(flight) = self.flights.get_mut(seq) else { return };
        (flight.span, flight.cause, flight.array) = (span, open.start.cause, array);
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

    /// The DRAM side of transfer `seq` is over.
    pub(in crate::sim) fn land(&mut self, seq: u64, end: u64, activates: u64) {
        let Some(flight) = self.flights.get_mut(seq) else { return };
        let row = (flight.node as usize).min(self.activates.len() - 1);
        self.activates[row] += activates;
        if let Some(watched) = flight.watched.as_mut() {
            watched.1.activates += activates;
        }
        if let Some(moving) = flight.open.as_mut().and_then(|open| open.moving.as_mut()) {
            moving.moved = moving.moved.max(end);
            moving.sides -= 1;
        }
    }

    /// The bytes of a collective transfer have come to this part too.
    pub(in crate::sim) fn follow(&mut self, seq: u64, done: u64) {
        let open = self.flights.get_mut(seq).and_then(|flight| flight.open.as_mut());
        if let Some(moving) = open.and_then(|open| open.moving.as_mut()) {
            moving.together = done;
            moving.sides -= 1;
        }
    }

    /// When the results of an instruction in flight can be used, if that is known.
    pub(in crate::sim) fn ready(&self, seq: u64) -> Option<u64> {
        self.flights.time(seq, Part::Ready)
    }

    /// The number that the next instruction in flight gets.
    pub(in crate::sim) fn next_in_flight(&self) -> u64 {
        self.flights.next()
    }

    /// The oldest instructions whose times are known leave: their cycles get an owner, in the order of the program.
    pub(in crate::sim) fn leave<O: Observer>(&mut self, observer: &mut O) {
        while let Some(Flight { node, issue, span, spent, cause, array, watched, .. }) = self.flights.pop() {
            if matches!(spent, Spent::Dram | Spent::OnChip) {
                self.units[Unit::D as usize].explain(issue + 1, span.start, span.ready, cause);
            }
            if let Some(ArrayTurn { ready, start, end, cause }) = array {
                self.units[Unit::M as usize].explain(ready, start, end, cause);
            }
            self.own(node, issue, span.start, span.ready, spent);
            if let Some(watched) = watched {
                observer.record(&watched.0, &watched.1);
            }
        }
    }

    /// Lets DRAM go on to the end of its next transfer, or to the cycle `before`.
    pub(super) fn progress<O: Observer>(&mut self, channels: &mut Channels, before: u64, observer: &mut O) {
        let before = before.min(self.wake);
        match channels.advance(before) {
            Some(over) => self.land(over.id & ((1 << 48) - 1), over.end_cycle, over.activates),
            None if before == u64::MAX && channels.quiet() => {
                self.error.get_or_insert(Error::internal("an instruction waits for a transfer that nobody makes"));
            }
            None => {}
        }
        self.settle::<O>(channels);
        self.leave(observer);
    }

    /// The cycle in which a DMA engine is free for the next transfer that waits for one.
    pub(in crate::sim) fn wake(&self) -> u64 {
        self.wake
    }

    /// True if the times of all instructions are known.
    pub(in crate::sim) fn settled(&self) -> bool {
        self.flights.settled()
    }

    /// Lets all that is in flight come to its end.
    pub(in crate::sim) fn come_down<O: Observer>(&mut self, channels: &mut Channels, observer: &mut O) {
        while !self.settled() && self.error.is_none() {
            self.progress(channels, u64::MAX, observer);
        }
    }
}
