//! Contraction on registers: a weight register seen as NL rows of KD elements, times an input register.

use super::event::{Event, Work};
use super::operand::{contract, path};
use super::trap::{Result, Trap, TrapKind};
use super::{Scratch, Vm};
use crate::isa::Inst;

/// Multiply-accumulate in the view of setmac.
pub fn mac(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (weights, inputs) = (&vm.formats[vm.bound(inst.fa)?], &vm.formats[vm.bound(inst.fb)?]);
    let view = vm.view;
    let (bits_w, bits_x, vlen) = (weights.bits, inputs.bits, vm.config.vlen_bits);
    if view.nl * view.pitch * bits_w > vlen || view.pitch * bits_x > vlen || !weights.whole_bytes(view.pitch) {
        let (w, x) = (&weights.format.name, &inputs.format.name);
        let message =
            format!("the view of {} x {} elements was not set for {w} weights and {x} inputs", view.nl, view.pitch);
        return Err(Trap::new(TrapKind::Shape, message));
    }
    let row = vm.tile_row(inst.rs3)?;
    let tile = &mut vm.c[usize::from(inst.rd)];
    let (path, unit) = path(tile.class(), weights, inputs)?;
    tile.begin(unit)?;
    let (nl, kd) = (view.nl as usize, view.kd as usize);
    let mask = &vm.p[usize::from(inst.pm)];
    let live = if inst.pm != 0 && inst.pz && !mask.opaque { mask.count(view.kd) } else { view.kd };
    event.work = Work::Mac {
        outputs: view.nl,
        terms: view.nl * view.kd,
        live: view.nl * live,
        weights: weights.format.id,
        inputs: inputs.format.id,
        class: tile.class(),
    };
    if !vm.values {
        return Ok(());
    }
    let Scratch { weights: w, inputs: x, live, .. } = &mut vm.scratch;
    w.reset(weights, path, nl, kd);
    let pitch = (view.pitch * bits_w / 8) as usize;
    for n in 0..nl {
        w.set_row(weights, path, n, &vm.v.get(inst.rs1)[n * pitch..]);
    }
    x.reset(inputs, path, 1, kd);
    x.set_row(inputs, path, 0, vm.v.get(inst.rs2));
    live.clear();
    if inst.pm != 0 {
        live.extend((0..view.kd).map(|k| mask.get(k)));
        x.kill(path, 0, live);
    }
    contract(tile, row, (w, nl), (x, 0), path, live)
}
