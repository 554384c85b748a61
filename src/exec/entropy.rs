//! Entropy decoders: a tile of coded weights becomes codes in a register, vl at a time.
//!
//! Written from docs/storage.md, beside the coder of [`crate::tensor::layout::entropy`]; the two share the model's
//! table and nothing that decodes.

use super::Vm;
use super::event::{Access, Event, NO_FORMAT, Space, Work};
use super::memory::too_wide;
use super::spaces::Span;
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;
use crate::tensor::layout::entropy::{Model, PRECISION, Restart};

/// One decoder.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    model: Model,
    /// First byte of the tile, with its space; `None` = not open.
    tile: Option<u64>,
    bytes: u32,
    symbols: u32,
    /// Codes given.
    done: u32,
    /// Words not yet taken.
    words: u32,
    state: u32,
}

impl Decoder {
    /// Bytes of the tile that the codes before the `n`-th account for.
    fn prorated(&self, n: u32) -> u64 {
        (u64::from(n) * u64::from(self.bytes)).div_ceil(u64::from(self.symbols.max(1)))
    }

    /// Takes words from the end of the tile until the state has its 17 bits or no word is left.
    fn refill(&mut self, tile: &[u8]) {
        while self.state < 1 << 16 && self.words > 0 {
            self.words -= 1;
            let at = 2 * self.words as usize;
            let high = tile.get(at + 1).copied().unwrap_or(0);
            self.state = self.state << 16 | u32::from(high) << 8 | u32::from(tile[at]);
        }
    }

    /// The next code.
    fn next(&mut self, tile: &[u8]) -> u8 {
        self.refill(tile);
        let at = self.state & ((1 << PRECISION) - 1);
        let (code, start, frequency) = self.model.find(at);
        self.state = (self.state >> PRECISION) * frequency + (at - start);
        self.done += 1;
        self.model.codes()[code]
    }
}

fn damaged(message: impl Into<String>) -> Trap {
    Trap::new(TrapKind::Ec, message)
}

impl Vm {
    /// `len` bytes of control memory at `addr`, recorded in `event`.
    fn control(&mut self, event: &mut Event, addr: u64, len: u64) -> Result<Span> {
        let span = self.memory.span(addr, len)?;
        if span.space != Space::Control {
            let message =
                format!("address {addr:#x} is in {}; decoders read tables in control memory", span.space.name());
            return Err(Trap::new(TrapKind::Addr, message));
        }
        event.touch(Access { space: span.space, write: false, lo: span.lo, hi: span.hi, bytes: len, runs: 1 });
        Ok(span)
    }
}

/// Opens a tile.
pub fn ec_open(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let tile = vm.known(inst.rs1, "an address")?;
    let (entry, table) = (vm.known(inst.rs2, "an address")?, vm.known(inst.rs3, "an address")?);
    let span = vm.control(event, entry, Restart::BYTES)?;
    let entry = vm.memory.get(span);
    let u32_at = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
    let (bytes, symbols) = (u32_at(8), u32_at(12));
    let count = vm.memory.span(table, 1)?;
    let length = if count.space == Space::Control { 4 + 3 * u64::from(vm.memory.get(count)[0]) } else { 1 };
    let span = vm.control(event, table, length)?;
    let (model, _) = Model::read(vm.memory.get(span), 8).map_err(|error| damaged(error.message()))?;
    vm.memory.near(tile, bytes.into())?;
    event.work = Work::Move { bytes: Restart::BYTES + length, rows: 1, format: NO_FORMAT };
    vm.e[usize::from(inst.aux)] =
        Decoder { model, tile: Some(tile), bytes, symbols, done: 0, words: bytes.div_ceil(2), state: 0 };
    Ok(())
}

/// Decodes the next vl codes.
pub fn ld_ec(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let slot = vm.bound(inst.fd)?;
    let (codes, vl, number) = (&vm.formats[slot], vm.vl, inst.aux);
    if u64::from(vl) * u64::from(codes.bits) > u64::from(vm.config.vlen_bits) {
        return Err(too_wide(vm, vl.into(), &codes.format.name));
    }
    let decoder = &vm.e[usize::from(number)];
    let Some(addr) = decoder.tile else { return Err(damaged(format!("decoder e{number} is not open"))) };
    let left = decoder.symbols - decoder.done;
    if vl > left {
        return Err(damaged(format!("decoder e{number} has {left} codes left, {vl} are asked for")));
    }
    if let Some(code) = decoder.model.codes().iter().find(|code| u32::from(**code) & !codes.format.mask() != 0) {
        return Err(damaged(format!("the model has code {code:#x}, which is no code of {}", codes.format.name)));
    }
    let bytes = decoder.prorated(decoder.done + vl) - decoder.prorated(decoder.done);
    event.work = Work::Decode { symbols: vl, bytes, format: codes.format.id };
    let span = vm.memory.near(addr, decoder.bytes.into())?;
    event.touch(Access { space: span.space, write: false, lo: span.lo, hi: span.hi, bytes, runs: 1 });
    if !vm.values {
        vm.e[usize::from(number)].done += vl;
        return Ok(());
    }
    let (tile, decoder) = (vm.memory.get(span), &mut vm.e[usize::from(number)]);
    let register = vm.v.get_mut(inst.rd);
    for i in 0..vl as usize {
        codes.put(register, i, decoder.next(tile).into());
    }
    codes.clear_tail(register, vl as usize);
    if vl > 0 && decoder.done == decoder.symbols {
        decoder.refill(tile);
        if decoder.state != 0 || decoder.words != 0 {
            return Err(damaged(format!(
                "the tile in decoder e{number} is damaged: it does not end with its last code"
            )));
        }
    }
    Ok(())
}
