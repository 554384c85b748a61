//! Operations of the load-store unit, the vector units and the array.

use super::{Cost, Engine, Latest, is_sum, spent};
use crate::diag::{self, Error};
use crate::exec::event::{Event, EwKind, Space, Work};
use crate::isa::Unit;
use crate::machine::Skip;
use crate::num::format::by_id;
use crate::sim::flight::{ArrayTurn, Dependence, Open, Part, Span, When};
use crate::sim::law::{busy, tile_of};
use crate::sim::observe::{Observer, On, Times, Wait};
use crate::sim::order::From;
use crate::sim::timing::{Cause, Spent};

impl Engine {
    /// L, S, E and M: start when the unit, the registers and the memory are ready. `None` if that is open.
    pub(super) fn compute<O: Observer>(&mut self, event: &Event, issued: u64) -> Option<(u64, u64, Spent)> {
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
            let open =
                Open { event: *event, start, waits, free, cost, slot, looked: None, moving: None, together: None };
            self.wait_open::<O>(event, issued, open);
            return None;
        };
        self.waits = waits;
        let span = self.work(event, start, free, cost, arrived, None);
        self.units[unit].starts[slot] = When::At(span.start);
        for (n, access) in (0..).zip(accesses) {
            self.order.record(access, From { pc: event.pc, n }, false, When::At(span.end), Part::End);
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
    pub(super) fn work(
        &mut self,
        event: &Event,
        start: Latest,
        free: u64,
        cost: Cost,
        arrived: u64,
        late: Option<u64>,
    ) -> Span {
        let at = start.at.max(free);
        let end = at + cost.occupied;
        let behind = late.is_some() || !self.flights.is_empty();
        let state = &mut self.units[event.unit as usize];
        if event.unit == Unit::M && behind {
            // Loads and sums have their own times and one book, which is kept in the order of the program.
            self.array_turn = Some(ArrayTurn { ready: arrived.max(free), start: at, end, cause: start.cause });
        } else {
            state.explain(arrived.max(free), at, end, start.cause);
        }
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
    pub(super) fn cost(&self, event: &Event) -> diag::Result<Cost> {
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
        // Where weights pass or come with the sums, taking note of them costs nothing.
        if cost.occupied == 0 && matches!(event.work, Work::TileLoad { .. }) {
            return Ok(cost);
        }
        Ok(Cost { occupied: cost.occupied.max(memory).max(1), latency: cost.latency + memory_latency })
    }

    /// Cycles that the accesses of an instruction occupy their memory, and the memory's latency for reads.
    #[inline]
    pub(super) fn memory_side(&self, event: &Event) -> (u64, u64) {
        let (mut occupied, mut latency) = (0, 0);
        for access in &event.access[..usize::from(event.accesses).min(event.access.len())] {
            let level = match access.space {
                Space::Sram => Some(&self.rates.own),
                Space::Shared => self.rates.shared.as_ref(),
                Space::Dram | Space::Control | Space::Remote => None,
            };
            let (cycles, cycles_later) = match level {
                Some(level) => (busy(level, access), u64::from(level.latency_cycles)),
                None => (access.bytes.div_ceil(8).div_ceil(8), self.rates.control_latency),
            };
            occupied = occupied.max(cycles);
            if !access.write {
                latency = latency.max(cycles_later);
            }
        }
        (occupied, latency)
    }
}
