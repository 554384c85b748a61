//! Training: straight-through estimators and fused optimiser steps, element by element in f32.

use super::event::{Event, EwKind, Work};
use super::trap::{Result, Trap, TrapKind};
use super::{Codes, Vm};
use crate::isa::Inst;
use crate::isa::table::Ste;
use crate::num::func::{canonical, fma, sqrt, tanh};
use crate::num::{codec, gradient};

/// Gradients through quantisers.
pub fn ste(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let kind = Ste::from_code(inst.mode.into()).expect("decode checks enumerations");
    let vl = vm.f32_elements()?;
    let (work, times) = match kind {
        Ste::Identity | Ste::Clip | Ste::Pact | Ste::PactAlpha | Ste::Lsq => (EwKind::Mul, 1),
        Ste::Bireal | Ste::LsqStep => (EwKind::Fma, 2),
        Ste::Tanh => (EwKind::Special, 1),
        // A logarithm and an exponential.
        Ste::Dge => (EwKind::Special, 2),
    };
    event.work = Work::Elementwise { kind: work, elements: times * vl };
    let codes = if matches!(kind, Ste::Lsq | Ste::LsqStep | Ste::Dge) { Some(grid(vm, inst.fa)?) } else { None };
    if vm.values {
        let k = if inst.rs3 == 0 { usual(kind) } else { f32::from_bits(vm.x.get(inst.rs3) as u32) };
        for i in 0..vl as usize {
            let s = vm.v.f32(inst.rs2, i);
            let d = match kind {
                Ste::Identity => 1.0,
                _ if s.is_nan() => s,
                _ => slope(kind, s, k, codes.map(|at| &*vm.formats[at])),
            };
            vm.v.set_f32(inst.rd, i, canonical(vm.v.f32(inst.rs1, i) * d));
        }
        vm.v.zero_f32_from(inst.rd, vl as usize);
    }
    Ok(())
}

/// Index of the format bound to slot `slot`, whose values an estimator needs.
fn grid(vm: &Vm, slot: u8) -> Result<usize> {
    let at = vm.bound(slot)?;
    if vm.formats[at].grid.len() < 2 {
        let message =
            format!("ste needs the values of a format of 8 bits or fewer, not {}", vm.formats[at].format.name);
        return Err(Trap::new(TrapKind::Fmt, message));
    }
    Ok(at)
}

/// The parameter of an estimator that is given none.
fn usual(kind: Ste) -> f32 {
    match kind {
        Ste::Pact | Ste::PactAlpha => 6.0,
        Ste::Dge => gradient::DGE_K,
        Ste::Identity | Ste::Clip | Ste::Bireal | Ste::Tanh | Ste::Lsq | Ste::LsqStep => 1.0,
    }
}

/// The estimate at `s`, no NaN, with parameter `k`; `codes` for the kinds that have a grid.
fn slope(kind: Ste, s: f32, k: f32, codes: Option<&Codes>) -> f32 {
    let step = |inside: bool| f32::from(u8::from(inside));
    let grid = codes.map_or(&[][..], |codes| &codes.grid);
    match (kind, grid, codes) {
        (Ste::Clip, ..) => step(s.abs() <= k),
        (Ste::Bireal, ..) if s.abs() < 1.0 => fma(-2.0, s.abs(), 2.0),
        (Ste::Tanh, ..) => {
            let t = tanh(k * s);
            k * fma(-t, t, 1.0)
        }
        (Ste::Pact, ..) => step(0.0 <= s && s < k),
        (Ste::PactAlpha, ..) => step(s >= k),
        (Ste::Lsq, [low, .., high], _) => step(*low < s && s < *high),
        (Ste::LsqStep, [low, .., _], _) if s <= *low => *low,
        (Ste::LsqStep, [.., high], _) if s >= *high => *high,
        (Ste::LsqStep, _, Some(codes)) => codec::value(codes.format, codec::cast(codes.format, s)) - s,
        (Ste::Dge, ..) => gradient::dge(s, grid, k),
        (Ste::Identity, ..) => 1.0,
        (Ste::Bireal | Ste::Lsq | Ste::LsqStep, ..) => 0.0,
    }
}

/// Refuses an optimiser step whose registers are not all different.
fn distinct(registers: &[u8]) -> Result<()> {
    let twice = registers.iter().enumerate().find(|(i, n)| registers[..*i].contains(n));
    match twice {
        Some((_, n)) => {
            let message = format!("an optimiser step needs different registers for its operands; v{n} stands twice");
            Err(Trap::new(TrapKind::Shape, message))
        }
        None => Ok(()),
    }
}

impl Vm {
    /// The first entries of scale vector `n`: hyper-parameters.
    fn hyper<const N: usize>(&self, n: u8) -> [f32; N] {
        let entries = &self.q[usize::from(n) * self.config.scale_entries as usize..];
        std::array::from_fn(|i| entries[i])
    }

    /// Checks the scale vectors for `wanted` entries.
    fn room_for_hyper(&self, wanted: u32) -> Result<()> {
        if self.config.scale_entries < wanted {
            let have = self.config.scale_entries;
            let message = format!("{wanted} hyper-parameters in a scale vector of {have} entries");
            return Err(Trap::new(TrapKind::Shape, message));
        }
        Ok(())
    }
}

/// One step of SGD with momentum.
pub fn opt_sgd(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let vl = vm.f32_elements()?;
    distinct(&[inst.rd, inst.rs1, inst.rs2])?;
    vm.room_for_hyper(3)?;
    let nesterov = inst.flag(0);
    event.work = Work::Elementwise { kind: EwKind::Fma, elements: (3 + u32::from(nesterov)) * vl };
    if vm.values {
        let [lr, mu, wd] = vm.hyper(inst.aux);
        for i in 0..vl as usize {
            let [w, m, g] = [inst.rd, inst.rs1, inst.rs2].map(|n| vm.v.f32(n, i));
            let h = fma(wd, w, g);
            let m = fma(mu, m, h);
            let h = if nesterov { fma(mu, m, h) } else { m };
            vm.v.set_f32(inst.rd, i, canonical(fma(-lr, h, w)));
            vm.v.set_f32(inst.rs1, i, canonical(m));
        }
        [inst.rd, inst.rs1].iter().for_each(|n| vm.v.zero_f32_from(*n, vl as usize));
    }
    Ok(())
}

/// One step of AdamW.
pub fn opt_adam(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let vl = vm.f32_elements()?;
    distinct(&[inst.rd, inst.rs1, inst.rs2, inst.rs3])?;
    vm.room_for_hyper(7)?;
    // Ten multiplications and additions, a division as four of them and a square root as ten.
    event.work = Work::Elementwise { kind: EwKind::Fma, elements: 24 * vl };
    if vm.values {
        let [lr, b1, b2, eps, wd, c1, c2] = vm.hyper(inst.aux);
        let decay = lr * wd;
        for i in 0..vl as usize {
            let [w, m, v, g] = [inst.rd, inst.rs1, inst.rs2, inst.rs3].map(|n| vm.v.f32(n, i));
            let w = fma(-decay, w, w);
            let m = fma(b1, m, (1.0 - b1) * g);
            let v = fma(b2, v, (1.0 - b2) * g * g);
            let d = sqrt(v * c2) + eps;
            vm.v.set_f32(inst.rd, i, canonical(fma(-lr, m * c1 / d, w)));
            vm.v.set_f32(inst.rs1, i, canonical(m));
            vm.v.set_f32(inst.rs2, i, canonical(v));
        }
        [inst.rd, inst.rs1, inst.rs2].iter().for_each(|n| vm.v.zero_f32_from(*n, vl as usize));
    }
    Ok(())
}
