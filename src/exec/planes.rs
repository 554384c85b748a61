//! Contraction with weights that are planes of bits: signs to add, two's complement, a sign and a mask, or colour channels.

use super::event::{Event, Work};
use super::mac::masked_work;
use super::operand::{contract, path};
use super::trap::{Result, Trap, TrapKind};
use super::{Scratch, Vm};
use crate::isa::Inst;
use crate::isa::table::Planes;

/// The weight, an int8 code, whose bits are `bits` (plane j in bit j) of `count` planes.
fn weight(mode: Planes, bits: u8, count: u32) -> i8 {
    let unused = 8 - count;
    match mode {
        Planes::Tri | Planes::Colour => count as i8 - 2 * bits.count_ones() as i8,
        Planes::Bits => (bits << unused) as i8 >> unused,
        Planes::Tern => (bits & 1) as i8 * (1 - (bits & 2) as i8),
    }
}

/// What a macp of these fields works on: planes, and tile rows.
fn shape(vm: &Vm, inst: &Inst, mode: Planes) -> Result<(u32, usize)> {
    let (planes, rows) = (inst.imm as u32, if mode == Planes::Colour { inst.imm as u64 } else { 1 });
    let refuse = |message: String| Err(Trap::new(TrapKind::Shape, message));
    if mode == Planes::Tern && planes != 2 {
        return refuse(format!("a trit has two planes, not zero and negative; macp tern got {planes}"));
    }
    if u32::from(inst.rs1) + planes > 32 {
        return refuse(format!("{planes} planes from v{} on need more registers than there are", inst.rs1));
    }
    let row = vm.tile_row(inst.rs3)?;
    if row as u64 + rows > vm.config.acc_rows.into() {
        return refuse(format!("{rows} rows from row {row} on of a tile of {} rows", vm.config.acc_rows));
    }
    Ok((planes, row))
}

/// Multiply-accumulate with weights in planes of bits, in the view of setmac.
pub fn macp(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let mode = Planes::from_code(inst.mode.into()).expect("decode checks enumerations");
    let (planes, row) = shape(vm, inst, mode)?;
    let (weights, inputs) = (&vm.plane_weights, &vm.formats[vm.bound(inst.fb)?]);
    let (view, vlen) = (vm.view, vm.config.vlen_bits);
    if view.nl * view.pitch > vlen || view.pitch * inputs.bits > vlen || !view.pitch.is_multiple_of(8) {
        let (nl, pitch, x) = (view.nl, view.pitch, &inputs.format.name);
        let message = format!("the view of {nl} x {pitch} elements was not set for binary weights and {x} inputs");
        return Err(Trap::new(TrapKind::Shape, message));
    }
    let tile = &mut vm.c[usize::from(inst.rd)];
    let (path, unit) = path(tile.class(), weights, inputs)?;
    tile.begin(unit)?;
    let (nl, kd) = (view.nl as usize, view.kd as usize);
    let mask = &vm.p[usize::from(inst.pm)];
    let work = match inst.pm != 0 && inst.pz && !mask.opaque {
        true => masked_work(mask, view, false, vm.config.skip_granule),
        false => [view.nl * view.kd; 3],
    };
    let channels = if mode == Planes::Colour { planes } else { 1 };
    event.work = Work::Mac {
        outputs: channels * view.nl,
        terms: planes * view.nl * view.kd,
        live: planes * work[0],
        granules: planes * work[1],
        fullest: planes * work[2],
        weights: vm.binary,
        inputs: inputs.format.id,
        class: tile.class(),
        row: row as u32,
    };
    if !vm.values {
        return Ok(());
    }
    let Scratch { weights: w, inputs: x, live, bits: codes, .. } = &mut vm.scratch;
    x.reset(inputs, path, 1, kd);
    x.set_row(inputs, path, 0, vm.v.get(inst.rs2));
    live.clear();
    if inst.pm != 0 {
        live.extend((0..view.kd).map(|k| mask.get(k)));
        x.kill(path, 0, live);
    }
    for channel in 0..channels as u8 {
        let (first, count) = (inst.rs1 + channel, planes / channels);
        w.reset(weights, path, nl, kd);
        for n in 0..nl {
            let bits = |k| (0..count as u8).fold(0, |b, j| b | vm.v.bit(first + j, n * view.pitch as usize + k) << j);
            codes.clear();
            codes.extend((0..kd).map(|k| weight(mode, bits(k), count) as u8));
            w.set_row(weights, path, n, codes);
        }
        contract(tile, row + usize::from(channel), (w, nl), (x, 0), path, live)?;
    }
    Ok(())
}
