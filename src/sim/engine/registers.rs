//! The scoreboard: when registers are written and read.

use super::Latest;
use super::{Engine, TILES, is_sum, vector_bits};
use crate::exec::event::{Event, RegSet};
use crate::isa::Unit;
use crate::sim::flight::{Dependence, Part, open_writes};
use crate::sim::observe::{Observer, On};
use crate::sim::timing::Cause;

impl Engine {
    /// Waits for the vector, mask, tile and scale registers of an instruction.
    pub(super) fn registers<O: Observer>(&self, event: &Event, start: &mut Latest, sums: bool) {
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
    pub(super) fn open_registers(&self, event: &Event, sums: bool, waits: &mut Vec<Dependence>) {
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
    pub(super) fn retire(&mut self, event: &Event, start: u64, free: u64, ready: u64, sums: bool) {
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
}
