//! Bit vectors: truth tables, funnel shifts and stochastic streams over vl bits. Bits of the destination from vl on
//! become 0.

use super::Vm;
use super::event::{Event, EwKind, Work};
use super::trap::Result;
use crate::isa::Inst;
use crate::isa::table::Stream;
use crate::num::stream::{self, Words};

impl Vm {
    /// Writes the first vl bits of register `to` from the packed bits of `scratch`, the others become 0.
    fn write_bits(&mut self, to: u8) {
        let (bytes, rest) = (self.vl as usize / 8, self.vl % 8);
        let register = self.v.get_mut(to);
        register.fill(0);
        register[..bytes].copy_from_slice(&self.scratch.bits[..bytes]);
        if rest > 0 {
            register[bytes] = self.scratch.bits[bytes] & ((1 << rest) - 1);
        }
    }
}

/// Eight positions at once through a truth table.
fn look_up(table: u8, a: u8, b: u8, c: u8) -> u8 {
    let side = |bits: u8, positive: bool| if positive { bits } else { !bits };
    let minterms = (0..8u8).filter(|m| table >> m & 1 == 1);
    minterms.fold(0, |d, m| d | side(a, m & 4 != 0) & side(b, m & 2 != 0) & side(c, m & 1 != 0))
}

/// Any function of three bits.
pub fn bit(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    event.work = Work::Elementwise { kind: EwKind::Bit, elements: vm.vl };
    if vm.values {
        let (a, b, c) = (vm.v.get(inst.rs1), vm.v.get(inst.rs2), vm.v.get(inst.rs3));
        let sources = a.iter().zip(b).zip(c);
        vm.scratch.bits.clear();
        vm.scratch.bits.extend(sources.map(|((&a, &b), &c)| look_up(inst.imm as u8, a, b, c)));
        vm.write_bits(inst.rd);
    }
    Ok(())
}

/// A window of two registers.
pub fn rot(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    event.work = Work::Elementwise { kind: EwKind::Bit, elements: vm.vl };
    if vm.values {
        let (vl, count) = (vm.vl as usize, vm.x.get(inst.rs3));
        vm.scratch.bits.clear();
        vm.scratch.bits.resize(vl.div_ceil(8), 0);
        for i in 0..vl {
            let at = ((i as u64).wrapping_add(count % (2 * vl as u64)) % (2 * vl as u64)) as usize;
            let bit = if at < vl { vm.v.bit(inst.rs1, at) } else { vm.v.bit(inst.rs2, at - vl) };
            vm.scratch.bits[i / 8] |= bit << (i % 8);
        }
        vm.write_bits(inst.rd);
    }
    Ok(())
}

/// Bits of a stream.
pub fn sc_gen(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (kind, source) = match Stream::from_code(inst.mode.into()).expect("decode checks enumerations") {
        Stream::Lfsr => (EwKind::Lfsr, stream::Source::Lfsr),
        Stream::Sobol => (EwKind::Sobol, stream::Source::Sobol),
        Stream::Philox => (EwKind::Philox, stream::Source::Philox),
    };
    event.work = Work::Elementwise { kind, elements: vm.vl };
    if vm.values {
        let (vl, probability) = (vm.vl as usize, vm.x.get(inst.rs1));
        vm.scratch.bits.clear();
        vm.scratch.bits.resize(vl.div_ceil(8), 0);
        let words = Words::new(source, vm.x.get(inst.rs2), vm.x.get(inst.rs3));
        for (i, word) in words.take(vl).enumerate() {
            vm.scratch.bits[i / 8] |= u8::from(u64::from(word) < probability) << (i % 8);
        }
        vm.write_bits(inst.rd);
    }
    Ok(())
}
