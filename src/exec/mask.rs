//! Mask registers: load, store, compare, combine, the jumps that skip dead blocks, and moves of live elements.

use super::Vm;
use super::event::{Event, EwKind, NO_FORMAT, Work};
use super::memory::too_wide;
use super::state::{Mask, View};
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;
use crate::isa::table::{MaskOp, Relation};

impl Vm {
    pub(super) fn known_mask(&self, n: u8) -> Result<&Mask> {
        let mask = &self.p[usize::from(n)];
        if mask.opaque {
            let message = format!("time depends on p{n}, which holds a mask that timing-only mode does not compute");
            return Err(Trap::new(TrapKind::Data, message));
        }
        Ok(mask)
    }

    fn writable_mask(&self, n: u8) -> Result<()> {
        if n == 0 { Err(Trap::new(TrapKind::Shape, "p0 is constant: all ones")) } else { Ok(()) }
    }

    /// The number of mask bits that register `n` asks to be moved.
    fn mask_length(&self, n: u8) -> Result<u32> {
        let count = self.known(n, "a mask length")?;
        if count > self.config.vlen_bits.into() {
            let message = format!("{count} mask bits do not fit a register of {} bits", self.config.vlen_bits);
            return Err(Trap::new(TrapKind::Shape, message));
        }
        Ok(count as u32)
    }
}

/// Jumps if a mask is empty.
pub fn jmp_mask(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    if vm.known_mask(inst.rs1)?.next(0).is_none() {
        vm.next_pc = vm.pc.wrapping_add_signed(inst.imm);
    }
    Ok(())
}

/// Finds the next set bit.
pub fn next_mask(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    let from = vm.known(inst.rs2, "a mask index")?;
    match vm.known_mask(inst.rs1)?.next(from) {
        Some(at) => vm.x.set(inst.rd, Some(at.into())),
        None => vm.next_pc = vm.pc.wrapping_add_signed(inst.imm),
    }
    Ok(())
}

/// Loads mask bits.
pub fn ld_m(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    vm.writable_mask(inst.rd)?;
    let count = vm.mask_length(inst.rs3)?;
    let bytes = u64::from(count.div_ceil(8));
    let rows = vm.rows(inst, event, false, 1, bytes)?;
    event.work = Work::Move { bytes, rows: 1, format: NO_FORMAT };
    let mask = &mut vm.p[usize::from(inst.rd)];
    mask.reset(count);
    if vm.memory.real(rows.space) {
        let from = vm.memory.get(rows.row(0));
        (0..count).for_each(|i| mask.set(i, from[(i / 8) as usize] >> (i % 8) & 1 == 1));
    } else {
        (mask.opaque, vm.guesses) = (true, true);
    }
    Ok(())
}

/// Loads mask bits in the view of setmac: one for every term of every output.
pub fn ld_mv(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    vm.writable_mask(inst.rd)?;
    let View { nl, kd, pitch } = vm.view;
    let last = u64::from(nl.saturating_sub(1)) * u64::from(pitch) + u64::from(kd);
    if last > vm.config.vlen_bits.into() {
        let vlen = vm.config.vlen_bits;
        let message = format!("{last} mask bits of a view of {nl} x {kd} do not fit a register of {vlen} bits");
        return Err(Trap::new(TrapKind::Shape, message));
    }
    let bytes = u64::from(kd.div_ceil(8));
    let rows = vm.rows(inst, event, false, nl, bytes)?;
    event.work = Work::Move { bytes: bytes * u64::from(nl), rows: nl, format: NO_FORMAT };
    let mask = &mut vm.p[usize::from(inst.rd)];
    mask.reset(last as u32);
    if !vm.memory.real(rows.space) {
        (mask.opaque, vm.guesses) = (true, true);
        return Ok(());
    }
    for n in 0..nl {
        let from = vm.memory.get(rows.row(n));
        (0..kd).for_each(|k| mask.set(n * pitch + k, from[(k / 8) as usize] >> (k % 8) & 1 == 1));
    }
    Ok(())
}

/// Stores mask bits.
pub fn st_m(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let count = vm.mask_length(inst.rs3)?;
    let bytes = u64::from(count.div_ceil(8));
    let rows = vm.rows(inst, event, true, 1, bytes)?;
    event.work = Work::Move { bytes, rows: 1, format: NO_FORMAT };
    if !vm.memory.real(rows.space) {
        return Ok(());
    }
    let mask = &vm.p[usize::from(inst.rd)];
    if mask.opaque {
        let message = format!("st.m of p{}, a mask that timing-only mode does not compute, to control memory", inst.rd);
        return Err(Trap::new(TrapKind::Data, message));
    }
    let to = vm.memory.get_mut(rows.row(0));
    to.fill(0);
    for i in (0..count).filter(|i| mask.get(*i)) {
        to[(i / 8) as usize] |= 1 << (i % 8);
    }
    Ok(())
}

/// Combines two masks.
pub fn m_op(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    vm.writable_mask(inst.rd)?;
    let op = MaskOp::from_code(inst.mode.into()).expect("decode checks sub-operations");
    let [a, b] = [inst.rs1, inst.rs2].map(|n| &vm.p[usize::from(n)]);
    let (length, opaque) = (a.len.min(b.len), a.opaque || b.opaque);
    event.work = Work::Elementwise { kind: EwKind::Bit, elements: length };
    let mut result = Mask::ones(vm.config.vlen_bits, 0);
    (result.len, result.opaque) = (length, opaque);
    for i in (0..length).filter(|_| !opaque) {
        let (a, b) = (a.get(i), b.get(i));
        let bit = match op {
            MaskOp::MAnd => a && b,
            MaskOp::MOr => a || b,
            MaskOp::MXor => a != b,
            MaskOp::MAndn => a && !b,
        };
        result.set(i, bit);
    }
    vm.p[usize::from(inst.rd)] = result;
    Ok(())
}

/// Moves live elements to the front.
pub fn pack(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    move_live(vm, inst, event, |rank, index| (rank, index))
}

/// Moves elements from the front to the places of live ones.
pub fn expand(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    move_live(vm, inst, event, |rank, index| (index, rank))
}

/// Moves one code for every live element, to and from the places that `places` makes of its rank among the live ones and
/// its index; the rest becomes the code of zero.
fn move_live(vm: &mut Vm, inst: &Inst, event: &mut Event, places: fn(usize, usize) -> (usize, usize)) -> Result<()> {
    let (codes, mask, vl) = (&vm.formats[vm.bound(inst.fa)?], &vm.p[usize::from(inst.rs2)], vm.vl);
    if u64::from(vl) * u64::from(codes.bits) > u64::from(vm.config.vlen_bits) {
        return Err(too_wide(vm, vl.into(), &codes.format.name));
    }
    event.work = Work::Elementwise { kind: EwKind::Copy, elements: vl };
    if vm.values {
        let old = &mut vm.scratch.bits;
        old.clear();
        old.extend_from_slice(vm.v.get(inst.rs1));
        let new = vm.v.get_mut(inst.rd);
        codes.clear_tail(new, 0);
        for (rank, index) in (0..vl).filter(|i| mask.get(*i)).enumerate() {
            let (to, from) = places(rank, index as usize);
            codes.put(new, to, codes.code(old, from));
        }
    }
    vm.x.set(inst.rs3, (!mask.opaque).then(|| mask.count(vl).into()));
    Ok(())
}

/// Compares elements to a mask.
pub fn cmp_v(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    vm.writable_mask(inst.rd)?;
    let vl = vm.f32_elements()?;
    event.work = Work::Elementwise { kind: EwKind::Add, elements: vl };
    let mask = &mut vm.p[usize::from(inst.rd)];
    mask.reset(vl);
    if !vm.values {
        (mask.opaque, vm.guesses) = (true, true);
    } else {
        let relation = Relation::from_code(inst.mode.into()).expect("decode checks enumerations");
        for i in 0..vl {
            let (a, b) = (vm.v.f32(inst.rs1, i as usize), vm.v.f32(inst.rs2, i as usize));
            let holds = match relation {
                Relation::Eq => a == b,
                Relation::Ne => a != b,
                Relation::Lt => a < b,
                Relation::Le => a <= b,
            };
            mask.set(i, holds);
        }
    }
    Ok(())
}
