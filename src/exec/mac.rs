//! Contraction on registers: a weight register seen as NL rows of KD elements, times an input register.
//!
//! A mask takes terms away: bit k that of every output, or with `.n` bit n * pitch + k that of output n alone. How much
//! work that saves is counted in granules, here, because only here the bits are known; what it saves in time is the
//! machine's law.

use super::event::{Event, Work};
use super::operand::contract;
use super::panel::Key;
use super::state::{Mask, View};
use super::trap::{Result, Trap, TrapKind};
use super::{Scratch, Vm};
use crate::isa::Inst;

/// Multiply-accumulate in the view of setmac.
pub fn mac(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let bound = [vm.bound(inst.fa)?, vm.bound(inst.fb)?];
    let (weights, inputs) = (&vm.formats[bound[0]], &vm.formats[bound[1]]);
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
    let (path, unit, leaf) = vm.pair.find(tile.class(), &vm.formats, bound)?;
    tile.begin(unit)?;
    let (nl, kd) = (view.nl as usize, view.kd as usize);
    let mask = &vm.p[usize::from(inst.pm)];
    let by_output = inst.flag(0) && inst.pm != 0;
    let work = match inst.pm != 0 && inst.pz && !mask.opaque {
        true => masked_work(mask, view, by_output, vm.config.skip_granule),
        false => [view.nl * view.kd; 3],
    };
    event.work = Work::Mac {
        outputs: view.nl,
        terms: view.nl * view.kd,
        live: work[0],
        granules: work[1],
        fullest: work[2],
        weights: weights.format.id,
        inputs: inputs.format.id,
        class: tile.class(),
        row: row as u32,
    };
    if !vm.values {
        return Ok(());
    }
    let Scratch { weights: w, inputs: x, panel_inputs, held_weights, held_inputs, live, .. } = &mut vm.scratch;
    if let Some(leaf) = leaf.filter(|_| !by_output) {
        let [w_key, x_key] = bound.map(|format| Key { format, layout: leaf.layout_of(nl), view });
        let w = held_weights.weights(&mut vm.v, inst.rs1, w_key, weights);
        let x = held_inputs.inputs(&mut vm.v, inst.rs2, x_key, inputs);
        let x = match inst.pm {
            0 => x,
            _ => {
                live.clear();
                live.extend((0..view.kd).map(|k| mask.get(k)));
                panel_inputs.clone_from(x);
                panel_inputs.kill(0, live);
                panel_inputs
            }
        };
        if leaf.contract(tile, row, w, x) {
            return Ok(());
        }
    }
    w.reset(weights, path, nl, kd);
    let pitch = (view.pitch * bits_w / 8) as usize;
    for n in 0..nl {
        w.set_row(weights, path, n, &vm.v.get(inst.rs1)[n * pitch..]);
    }
    x.reset(inputs, path, 1, kd);
    x.set_row(inputs, path, 0, vm.v.get(inst.rs2));
    live.clear();
    if by_output {
        live.extend((0..view.nl).flat_map(|n| (0..view.kd).map(move |k| mask.get(n * view.pitch + k))));
        (0..nl).for_each(|n| w.kill(path, n, &live[n * kd..][..kd]));
    } else if inst.pm != 0 {
        live.extend((0..view.kd).map(|k| mask.get(k)));
        x.kill(path, 0, live);
    }
    contract(tile, row, (w, nl), (x, 0), path, live)
}

/// Terms that a mask leaves: the live ones; those of granules of `rows` x `depth` terms that hold a live one; and those
/// that there were if every row of granules had as many as the fullest.
pub(super) fn masked_work(mask: &Mask, view: View, by_output: bool, [rows, depth]: [u32; 2]) -> [u32; 3] {
    let View { nl, kd, pitch } = view;
    if !by_output {
        let deep = |k: u32| (k..(k + depth).min(kd)).any(|k| mask.get(k));
        let wide: u32 = match depth {
            1 => mask.count(kd),
            _ => (0..kd).step_by(depth as usize).filter(|k| deep(*k)).map(|k| depth.min(kd - k)).sum(),
        };
        return [nl * mask.count(kd), nl * wide, nl * wide];
    }
    let [mut live, mut granules, mut fullest] = [0; 3];
    for first in (0..nl).step_by(rows as usize) {
        let outputs = first..(first + rows).min(nl);
        let count = |k: u32| {
            let terms = |n: u32| (k..(k + depth).min(kd)).filter(|k| mask.get(n * pitch + k)).count();
            outputs.clone().map(terms).sum::<usize>() as u32
        };
        let mut wide = 0;
        for k in (0..kd).step_by(depth as usize) {
            let terms = count(k);
            live += terms;
            wide += if terms > 0 { depth.min(kd - k) } else { 0 };
        }
        granules += wide * outputs.len() as u32;
        fullest = fullest.max(wide);
    }
    [live, granules, fullest * nl]
}
