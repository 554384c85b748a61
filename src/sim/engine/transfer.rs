//! Transfers: DMA engines, and the channels that they ask.

use super::{Cost, Engine, Latest, spent};
use crate::exec::event::{Event, Space, Work};
use crate::isa::Unit;
use crate::sim::channels::Channels;
use crate::sim::flight::{Dependence, Moving, Open, Part, Span, When};
use crate::sim::law::busy;
use crate::sim::observe::{Observer, On, Times, Unobserved, Wait};
use crate::sim::order::From;
use crate::sim::timing::{Cause, Spent};

impl Engine {
    /// A transfer in flight: starts it if it can start, in their order; its times if it is over.
    pub(super) fn transfer<O: Observer>(
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
        Some(Span { start: moving.start, end: moving.moved.max(moving.together), ready })
    }

    /// Starts a transfer on the DMA engine that is free first, if it is known which one that is.
    pub(super) fn launch<O: Observer>(&mut self, seq: u64, open: &mut Open, channels: &mut Channels) -> bool {
        let start = &mut open.start;
        if let Some(together) = open.together {
            start.wait::<O>(together.start, Cause::Sync, On::Cores);
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
        let mut moving = self.sides(&open.event, at, 0, channels);
        for access in open.event.touched().iter().filter(|access| access.space == Space::Dram && access.bytes > 0) {
            let id = self.core << 48 | seq;
            let request = at + u64::from(self.rates.dma.setup_cycles);
            channels.start(id, request, &open.event.blocks, access);
            moving.sides += 1;
        }
        match open.together.map(|together| together.done) {
            Some(Some(done)) => moving.together = done,
            Some(None) => moving.sides += 1,
            None => {}
        }
        moving.engine = engine;
        open.moving = Some(moving);
        true
    }

    /// What a transfer that starts at `at` does but for the channel of its DRAM sides, whose bytes come `dram_latency` later.
    pub(super) fn sides(&mut self, event: &Event, at: u64, dram_latency: u64, channels: &mut Channels) -> Moving {
        let request = at + u64::from(self.rates.dma.setup_cycles);
        let (Work::Dma { bytes, .. } | Work::Multicast { bytes, .. }) = event.work else { return Moving::default() };
        let mut moved = request + bytes.div_ceil(u64::from(self.rates.dma.bytes_per_cycle));
        let mut latency = u64::from(self.rates.own.latency_cycles);
        for access in event.touched() {
            match (access.space, &self.rates.shared) {
                (Space::Dram, _) => latency = latency.max(dram_latency),
                (Space::Shared, Some(shared)) => {
                    let cycles = busy(shared, access);
                    moved = moved.max(channels.shared(cycles, request));
                    latency = latency.max(u64::from(shared.latency_cycles));
                }
                (Space::Sram, _) => {
                    moved = moved.max(request + busy(&self.rates.own, access));
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
    pub(in crate::sim) fn dma_start_at(&self, event: &Event, issued: u64) -> u64 {
        self.dma_start::<Unobserved>(event, issued).1.at.max(self.dma_start)
    }

    /// The first DMA engine to be free, and when a transfer may start there, where nothing is in flight.
    pub(super) fn dma_start<O: Observer>(&self, event: &Event, issued: u64) -> (usize, Latest) {
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
    pub(super) fn dma<O: Observer>(
        &mut self,
        event: &Event,
        issued: u64,
        channels: &mut Channels,
    ) -> (u64, u64, Spent) {
        let arrived = issued + 1;
        let (engine, start) = self.dma_start::<O>(event, issued);
        let at = start.at.max(self.dma_start);
        self.dma_start = at;
        let dram_latency = u64::from(self.rates.dram.latency_cycles);
        let Moving { mut moved, latency, .. } = self.sides(event, at, dram_latency, channels);
        let request = at + u64::from(self.rates.dma.setup_cycles);
        for access in event.touched().iter().filter(|access| access.space == Space::Dram && access.bytes > 0) {
            moved = moved.max(channels.first_come(request, &event.blocks, access));
        }
        // What another core's part reads keeps this engine until it is here.
        let brought = self.together.and_then(|together| together.done).unwrap_or(0);
        let done = (moved + latency).max(brought);
        moved = moved.max(brought);
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
        for (n, access) in (0..).zip(event.touched()) {
            let (done, part) = if access.write { (done, Part::Ready) } else { (moved, Part::End) };
            self.order.record(access, From { pc: event.pc, n }, true, When::At(done), part);
        }
        let (Work::Dma { tag, .. } | Work::Multicast { tag, .. }) = event.work else { return (at, done, spent(event)) };
        self.pend(tag, When::At(done), issued);
        (at, done, spent(event))
    }

    /// A transfer where DRAM reorders: in flight until DRAM says when it ends.
    pub(super) fn take_off<O: Observer>(&mut self, event: &Event, issued: u64, channels: &mut Channels) {
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
        let (event, free, cost, together) = (*event, When::At(0), Cost::default(), self.together);
        let open = Open { event, start, waits, free, cost, slot, looked: None, moving: None, together };
        self.wait_open::<O>(&event, issued, open);
        self.settle::<O>(channels);
    }
}
