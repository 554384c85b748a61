//! Mask registers: load, compare, and the jumps that skip dead blocks.

use super::Vm;
use super::event::{Event, EwKind, NO_FORMAT, Work};
use super::state::View;
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;
use crate::isa::table::Relation;

impl Vm {
    pub(super) fn known_mask(&self, n: u8) -> Result<&super::Mask> {
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
    let count = vm.known(inst.rs3, "a mask length")?;
    if count > vm.config.vlen_bits.into() {
        let message = format!("{count} mask bits do not fit a register of {} bits", vm.config.vlen_bits);
        return Err(Trap::new(TrapKind::Shape, message));
    }
    let bytes = count.div_ceil(8);
    let rows = vm.rows(inst, event, false, 1, bytes)?;
    event.work = Work::Move { bytes, rows: 1, format: NO_FORMAT };
    let mask = &mut vm.p[usize::from(inst.rd)];
    mask.reset(count as u32);
    if vm.memory.real(rows.space) {
        let from = vm.memory.get(rows.row(0));
        (0..count as u32).for_each(|i| mask.set(i, from[(i / 8) as usize] >> (i % 8) & 1 == 1));
    } else {
        mask.opaque = true;
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
        mask.opaque = true;
        return Ok(());
    }
    for n in 0..nl {
        let from = vm.memory.get(rows.row(n));
        (0..kd).for_each(|k| mask.set(n * pitch + k, from[(k / 8) as usize] >> (k % 8) & 1 == 1));
    }
    Ok(())
}

/// Compares elements to a mask.
pub fn cmp_v(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    vm.writable_mask(inst.rd)?;
    let vl = vm.f32_elements()?;
    event.work = Work::Elementwise { kind: EwKind::Add, elements: vl };
    let mask = &mut vm.p[usize::from(inst.rd)];
    mask.reset(vl);
    mask.opaque = !vm.values;
    if vm.values {
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
