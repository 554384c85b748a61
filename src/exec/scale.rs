//! Scale vectors and the quantisers: scale from a statistic, codes from values, values from codes.

use super::event::{Event, EwKind, Work};
use super::trap::{Result, Trap, TrapKind};
use super::{Codes, Vm};
use crate::isa::Inst;
use crate::isa::table::Rule;
use crate::num::codec::cast;
use crate::num::format::{Element, Format, ScaleRule};
use crate::num::func::{NAN, canonical, max};

/// Smallest statistic of integer, ternary and binary quantisers: a row of zeros keeps a finite factor.
const LEAST: f32 = 1e-5;

impl Vm {
    fn scales(&mut self, n: u8) -> &mut [f32] {
        let entries = self.config.scale_entries as usize;
        &mut self.q[usize::from(n) * entries..][..entries]
    }

    fn scale_count(&self, n: u8) -> Result<u32> {
        let (count, entries) = (self.known(n, "a scale count")?, self.config.scale_entries);
        if count > entries.into() {
            let message = format!("{count} scales in a scale vector of {entries} entries");
            return Err(Trap::new(TrapKind::Shape, message));
        }
        Ok(count as u32)
    }

    /// vl, if that many f32 and as many codes of `codes` fit a register.
    fn converted(&self, codes: &Codes) -> Result<u32> {
        let vl = self.f32_elements()?;
        if vl * codes.bits > self.config.vlen_bits {
            return Err(Trap::new(
                TrapKind::Shape,
                format!("{vl} codes of {} do not fit a register", codes.format.name),
            ));
        }
        Ok(vl)
    }

    /// Writes vl codes of the format of slot `slot`, each computed from the value of one f32 element.
    fn write_codes(&mut self, slot: usize, (to, from): (u8, u8), vl: u32, code: impl Fn(&Format, f32) -> u32) {
        let codes = &self.formats[slot];
        for i in 0..vl as usize {
            // Code i ends where element i ends, or before: in place is safe.
            let code = code(codes.format, self.v.f32(from, i));
            codes.put(self.v.get_mut(to), i, code);
        }
        codes.clear_tail(self.v.get_mut(to), vl as usize);
    }

    /// Writes vl f32 elements, each computed from one code of the format of slot `slot`.
    fn write_values(&mut self, slot: usize, (to, from): (u8, u8), vl: u32, value: impl Fn(f32) -> f32) {
        let codes = &self.formats[slot];
        // Element i starts where code i starts, or after: backwards is safe in place.
        for i in (0..vl as usize).rev() {
            let value = canonical(value(codes.real(self.v.get(from), i)));
            self.v.set_f32(to, i, value);
        }
        self.v.zero_f32_from(to, vl as usize);
    }
}

/// The same scale in all entries.
pub fn q_fill(vm: &mut Vm, inst: &Inst, _: &mut Event) -> Result<()> {
    if vm.values {
        let value = f32::from_bits(vm.x.get(inst.rs1) as u32);
        vm.scales(inst.rd).fill(value);
    }
    Ok(())
}

/// Loads scales.
pub fn ld_s(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let bytes = 4 * u64::from(vm.scale_count(inst.rs3)?);
    let rows = vm.rows(inst, event, false, 1, bytes)?;
    event.work = Work::Move { bytes, rows: 1, format: vm.fp32 };
    if vm.values {
        let entries = vm.config.scale_entries as usize;
        let to = &mut vm.q[usize::from(inst.rd) * entries..];
        for (to, b) in to.iter_mut().zip(vm.memory.get(rows.row(0)).chunks_exact(4)) {
            *to = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        }
    }
    Ok(())
}

/// Stores scales.
pub fn st_s(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let bytes = 4 * u64::from(vm.scale_count(inst.rs3)?);
    let rows = vm.rows(inst, event, true, 1, bytes)?;
    event.work = Work::Move { bytes, rows: 1, format: vm.fp32 };
    if vm.values {
        let entries = vm.config.scale_entries as usize;
        let from = &vm.q[usize::from(inst.rd) * entries..];
        for (to, from) in vm.memory.get_mut(rows.row(0)).chunks_exact_mut(4).zip(from) {
            to.copy_from_slice(&from.to_le_bytes());
        }
    }
    Ok(())
}

/// True for formats whose codes come from a product with the factor, false for a quotient by the scale.
fn multiplies(format: &Format) -> bool {
    format.element == Element::Int || format.rule == ScaleRule::Absmean
}

/// Stored scale and encode factor of `format` from the statistic of a row of `count` elements.
fn quantiser(format: &Format, statistic: f32, count: u64) -> (f32, f32) {
    let (scale, factor) = match (format.rule, &format.element) {
        (ScaleRule::Absmean, _) => {
            let mean = max(statistic / count as f32, LEAST);
            // Codes of one bit are signs: the value itself decides.
            (mean, if format.bits == 1 { 1.0 } else { 1.0 / mean })
        }
        (_, Element::Int) => {
            let largest = max(statistic, LEAST);
            let levels = ((1u32 << (format.bits - 1)) - 1) as f32;
            (largest / levels, levels / largest)
        }
        _ => {
            let scale = match statistic {
                0.0 => 1.0,
                _ => max(statistic / format.max, f32::from_bits(1)),
            };
            (scale, scale)
        }
    };
    if statistic.is_finite() && scale.is_finite() { (scale, factor) } else { (NAN, NAN) }
}

/// Scale of a row from its statistic.
pub fn qset(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let format = vm.codes(inst.fd)?.format;
    let rule = match Rule::from_code(inst.mode.into()).expect("decode checks enumerations") {
        Rule::Absmax => ScaleRule::Absmax,
        Rule::Absmean => ScaleRule::Absmean,
    };
    if format.rule != rule {
        let message = format!("{} is scaled by rule {:?}, not {rule:?}", format.name, format.rule);
        return Err(Trap::new(TrapKind::Fmt, message));
    }
    if inst.rd == 15 {
        return Err(Trap::new(TrapKind::Shape, "qset writes qd and q(d+1); q15 has no next register"));
    }
    event.work = Work::Elementwise { kind: EwKind::Div, elements: 2 };
    if vm.values {
        let statistic = vm.c[usize::from(inst.rs1)].value(0, 0);
        let (scale, factor) = quantiser(format, statistic, vm.x.get(inst.rs2));
        vm.scales(inst.rd)[0] = scale;
        vm.scales(inst.rd + 1)[0] = factor;
    }
    Ok(())
}

/// Values to codes.
pub fn quant(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let slot = vm.bound(inst.fd)?;
    let codes = &vm.formats[slot];
    if codes.format.rule == ScaleRule::Cast {
        let message = format!("{} has no scale; cvt casts to it", codes.format.name);
        return Err(Trap::new(TrapKind::Fmt, message));
    }
    if inst.rs2 == 15 {
        return Err(Trap::new(TrapKind::Shape, "quant reads qb and q(b+1); q15 has no next register"));
    }
    let vl = vm.converted(codes)?;
    let (zero, product) = (codes.zero, multiplies(codes.format));
    event.work = Work::Elementwise { kind: EwKind::Convert, elements: vl };
    if vm.values {
        let (scale, factor) = (vm.scales(inst.rs2)[0], vm.scales(inst.rs2 + 1)[0]);
        let poisoned = !scale.is_finite();
        vm.write_codes(slot, (inst.rd, inst.rs1), vl, |format, x| {
            let scaled = if product { x * factor } else { x / scale };
            if poisoned { zero } else { cast(format, scaled) }
        });
    }
    Ok(())
}

/// Codes to values.
pub fn dequant(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let slot = vm.bound(inst.fa)?;
    let vl = vm.converted(&vm.formats[slot])?;
    event.work = Work::Elementwise { kind: EwKind::Convert, elements: vl };
    if vm.values {
        let scale = vm.scales(inst.rs2)[0];
        vm.write_values(slot, (inst.rd, inst.rs1), vl, |x| x * scale);
    }
    Ok(())
}

/// Cast to or from fp32.
pub fn cvt(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (to, from) = (vm.bound(inst.fd)?, vm.bound(inst.fa)?);
    let (wide_to, wide_from) = (vm.formats[to].is_f32, vm.formats[from].is_f32);
    if !wide_to && !wide_from {
        let (to, from) = (&vm.formats[to].format.name, &vm.formats[from].format.name);
        let message = format!("cvt from {from} to {to}: one of them must be fp32");
        return Err(Trap::new(TrapKind::Fmt, message));
    }
    let vl = vm.converted(&vm.formats[if wide_to { from } else { to }])?;
    event.work = Work::Elementwise { kind: EwKind::Convert, elements: vl };
    if vm.values && wide_to {
        vm.write_values(from, (inst.rd, inst.rs1), vl, |x| x);
    } else if vm.values {
        vm.write_codes(to, (inst.rd, inst.rs1), vl, cast);
    }
    Ok(())
}
