//! Mask registers: load, compare, and the jumps that skip dead blocks.

use super::Vm;
use super::event::{Event, EwKind, NO_FORMAT, Work};
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;
use crate::isa::table::Relation;

impl Vm {
    fn known_mask(&self, n: u8) -> Result<&super::Mask> {
        let mask = &self.p[usize::from(n)];
        if mask.opaque {
            let message = format!("a jump depends on p{n}, which holds a mask that timing-only mode does not compute");
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
