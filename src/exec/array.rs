//! Contraction on the array: a stationary tile of weights, times tiles of inputs from SRAM.

use super::event::{Event, Work};
use super::operand::{contract, path};
use super::trap::{Result, Trap, TrapKind};
use super::{Scratch, Vm};
use crate::isa::Inst;

/// Loads the stationary weights.
pub fn mm_w(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let format = vm.bound(inst.fa)?;
    let [_, tn, tk] = vm.tile;
    let row_bytes = vm.formats[format].bytes(tk.into());
    let rows = vm.rows(inst, event, false, tn, row_bytes)?;
    event.work = Work::TileLoad { tn, tk, weights: vm.formats[format].format.id };
    let stationary = &mut vm.stationary;
    (stationary.format, stationary.tn, stationary.tk) = (Some(format), tn, tk);
    stationary.decoded = None;
    if vm.values {
        let codes = &vm.formats[format];
        let pitch = codes.register_bytes(tk.into()) as usize;
        stationary.bytes.clear();
        stationary.bytes.resize(tn as usize * pitch, 0);
        for n in 0..tn {
            let to = &mut stationary.bytes[n as usize * pitch..][..pitch];
            codes.widen(vm.memory.get(rows.row(n)), to, tk as usize);
        }
    }
    Ok(())
}

/// Multiplies a tile of inputs with the stationary weights.
pub fn mm_x(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let [tm, tn, tk] = vm.tile;
    let stationary = &vm.stationary;
    let Some(format) = stationary.format.filter(|_| (stationary.tn, stationary.tk) == (tn, tk)) else {
        let held = match stationary.format {
            None => "no weights".to_string(),
            Some(_) => format!("weights of {} x {}", stationary.tn, stationary.tk),
        };
        let message = format!("the tile view is {tn} x {tk}, the array holds {held}; mm.w loads them");
        return Err(Trap::new(TrapKind::Shape, message));
    };
    let inputs = vm.bound(inst.fb)?;
    let row_bytes = vm.formats[inputs].bytes(tk.into());
    let rows = vm.rows(inst, event, false, tm, row_bytes)?;
    let (weights, inputs) = (&vm.formats[format], &vm.formats[inputs]);
    let tile = &mut vm.c[usize::from(inst.rd)];
    if inst.flag(3) {
        tile.clear();
    }
    let (path, unit) = path(tile.class(), weights, inputs)?;
    tile.begin(unit)?;
    let (weights_id, inputs_id) = (weights.format.id, inputs.format.id);
    event.work = Work::TileMac { tm, tn, tk, weights: weights_id, inputs: inputs_id, class: tile.class() };
    if !vm.values {
        return Ok(());
    }
    vm.stationary.decode(weights, path);
    let Scratch { inputs: x, codes, .. } = &mut vm.scratch;
    x.reset(inputs, path, tm as usize, tk as usize);
    codes.clear();
    codes.resize(inputs.register_bytes(tk.into()) as usize, 0);
    for m in 0..tm {
        inputs.widen(vm.memory.get(rows.row(m)), codes, tk as usize);
        x.set_row(inputs, path, m as usize, codes);
    }
    for m in 0..tm as usize {
        contract(tile, m, (&vm.stationary.weights, tn as usize), (x, m), path, &[])?;
    }
    Ok(())
}
