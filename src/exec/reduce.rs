//! Reductions in an order that does not depend on VLEN: 16 partials by position, collapsed in fixed steps.

use super::Vm;
use super::event::{Event, EwKind, Work};
use super::trap::{Result, Trap, TrapKind};
use crate::isa::Inst;
use crate::isa::table::Red;
use crate::num::func::{self, canonical};

fn operation(inst: &Inst) -> Red {
    Red::from_code(inst.mode.into()).expect("decode checks enumerations")
}

/// Where in row 0 the partial of a position stands.
struct Slot {
    /// Elements of a segment; 0: all are one.
    segment: u64,
    /// One entry a segment (order-free reductions), not sixteen partials.
    one: bool,
}

impl Slot {
    fn of(&self, position: u64) -> u64 {
        match (self.segment, self.one) {
            (0, _) => position % 16,
            (n, true) => position / n,
            (n, false) => position / n * 16 + position % n % 16,
        }
    }
    /// The last entry of the segment of a position.
    fn last(&self, position: u64) -> u64 {
        match (self.segment, self.one) {
            (0, _) => 15,
            (n, true) => position / n,
            (n, false) => (position / n).saturating_mul(16).saturating_add(15),
        }
    }
}

/// Folds vl elements into the partials.
pub fn red(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let op = operation(inst);
    let (vl, kind) = match op {
        Red::Pop => (vm.vl, EwKind::Pop),
        Red::Sq => (vm.f32_elements()?, EwKind::Fma),
        _ => (vm.f32_elements()?, EwKind::Add),
    };
    event.work = Work::Elementwise { kind, elements: vl };
    let position = vm.known(inst.rs2, "a position")?;
    let slot = Slot { segment: inst.imm as u64, one: matches!(op, Red::Max | Red::Amax) };
    let tile = &mut vm.c[usize::from(inst.rd)];
    if slot.last(position.saturating_add(u64::from(vl).saturating_sub(1))) >= tile.stride() as u64 {
        let message = format!("segments of {} up to position {position} + {vl} leave the tile's row", slot.segment);
        return Err(Trap::new(TrapKind::Shape, message));
    }
    tile.become_result(false, "red")?;
    if vm.values {
        let partials = tile.partials();
        if slot.segment == 0 && position.is_multiple_of(16) && op != Red::Pop {
            fold_in(op, &mut partials[..16], &vm.v.get(inst.rs1)[..4 * vl as usize]);
            return Ok(());
        }
        for i in 0..vl as usize {
            let x = if op == Red::Pop { f32::from(vm.v.bit(inst.rs1, i)) } else { vm.v.f32(inst.rs1, i) };
            let partial = &mut partials[slot.of(position.wrapping_add(i as u64)) as usize];
            *partial = step(op, *partial, x);
        }
    }
    Ok(())
}

/// A partial after one more element.
fn step(op: Red, partial: f32, x: f32) -> f32 {
    match op {
        Red::Sum | Red::Pop => partial + x,
        Red::Asum => partial + x.abs(),
        Red::Sq => func::fma(x, x, partial),
        Red::Max => func::max(partial, x),
        Red::Amax => func::max(partial, x.abs()),
    }
}

/// Folds the f32 elements in `bytes`, of which the first goes to the first partial, into sixteen partials.
fn fold_in(op: Red, partials: &mut [f32], bytes: &[u8]) {
    fn each(partials: &mut [f32], bytes: &[u8], step: impl Fn(f32, f32) -> f32) {
        for run in bytes.as_chunks::<4>().0.chunks(16) {
            partials.iter_mut().zip(run).for_each(|(partial, x)| *partial = step(*partial, f32::from_le_bytes(*x)));
        }
    }
    match op {
        Red::Asum => each(partials, bytes, |partial, x| step(Red::Asum, partial, x)),
        Red::Amax => each(partials, bytes, |partial, x| step(Red::Amax, partial, x)),
        _ => each(partials, bytes, |partial, x| step(op, partial, x)),
    }
}

/// Collapses 16 partials in the fixed order; the result stays in the first.
pub(super) fn collapse(op: Red, partials: &mut [f32]) -> f32 {
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            partials[j] = match op {
                Red::Sum | Red::Asum | Red::Sq | Red::Pop => partials[j] + partials[j + half],
                Red::Max | Red::Amax => func::max(partials[j], partials[j + half]),
            };
        }
    }
    partials[0] = canonical(partials[0]);
    partials[0]
}

/// Collapses the partials and broadcasts the result.
pub fn red_end(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let op = operation(inst);
    let vl = vm.f32_elements()?;
    event.work = Work::Elementwise { kind: EwKind::Add, elements: 16 };
    let tile = &mut vm.c[usize::from(inst.rs1)];
    tile.become_result(false, "red.end")?;
    if vm.values {
        let result = collapse(op, &mut tile.partials()[..16]);
        for i in 0..vl as usize {
            vm.v.set_f32(inst.rd, i, result);
        }
        vm.v.zero_f32_from(inst.rd, vl as usize);
    }
    Ok(())
}
