//! Scale vectors and the quantisers: scale from a statistic, codes from values, values from codes.

use super::event::{Event, EwKind, Work};
use super::memory::Rows;
use super::reduce::collapse;
use super::trap::{Result, Trap, TrapKind};
use super::{Codes, Scratch, Vm};
use crate::isa::Inst;
use crate::isa::table::{Red, Round, Rule};
use crate::num::block::{BlockFormat, SCALE_NAN, ScaleExponent, two_level_block, two_level_factor, two_level_global};
use crate::num::codec::{Draw, Rounding, Stochastic, cast, decode, encode};
use crate::num::format::{Element, Format, FormatRef, ScaleRule};
use crate::num::func::{NAN, canonical, max};
use crate::num::philox::Draws;

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
    fn write_codes(&mut self, slot: usize, (to, from): (u8, u8), vl: u32, code: impl Fn(&Format, f32, usize) -> u32) {
        let codes = &self.formats[slot];
        for i in 0..vl as usize {
            // Code i ends where element i ends, or before: in place is safe.
            let code = code(codes.format, self.v.f32(from, i), i);
            codes.put(self.v.get_mut(to), i, code);
        }
        codes.clear_tail(self.v.get_mut(to), vl as usize);
    }

    /// Writes vl f32 elements, each computed from one code of the format of slot `slot`.
    fn write_values(&mut self, slot: usize, (to, from): (u8, u8), vl: u32, value: impl Fn(f32, usize) -> f32) {
        let codes = &self.formats[slot];
        // Element i starts where code i starts, or after: backwards is safe in place.
        for i in (0..vl as usize).rev() {
            let value = canonical(value(codes.real(self.v.get(from), i), i));
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

/// Rows of the scales that `ld.s` and `st.s` move, and their number: one dense row, or one entry a row.
fn scale_rows(vm: &mut Vm, inst: &Inst, event: &mut Event, write: bool) -> Result<(Rows, u32)> {
    let codes = vm.codes(inst.fa)?;
    let (one, id) = (codes.bytes(1), codes.format.id);
    let count = vm.scale_count(inst.rs2)?;
    let (pieces, bytes) = match inst.mem().rows {
        Some(_) => (count, one),
        None => (1, vm.codes(inst.fa)?.bytes(count.into())),
    };
    let rows = match write {
        true => vm.stored(inst, event, pieces, bytes)?,
        false => vm.rows(inst, event, false, pieces, bytes)?,
    };
    event.work = Work::Move { bytes: u64::from(pieces) * bytes, rows: pieces, format: id };
    Ok((rows, count))
}

/// Loads scales.
pub fn ld_s(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (rows, count) = scale_rows(vm, inst, event, false)?;
    if vm.values {
        let codes = &vm.formats[vm.bound(inst.fa)?];
        let entries = vm.config.scale_entries as usize;
        let to = &mut vm.q[usize::from(inst.rd) * entries..][..count as usize];
        for (i, to) in to.iter_mut().enumerate() {
            let (row, at) = if inst.mem().rows.is_some() { (i as u32, 0) } else { (0, i) };
            *to = canonical(codes.load(vm.memory.get(rows.row(row)), at));
        }
    }
    Ok(())
}

/// Stores scales.
pub fn st_s(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let (rows, count) = scale_rows(vm, inst, event, true)?;
    if vm.values {
        let codes = &vm.formats[vm.bound(inst.fa)?];
        let entries = vm.config.scale_entries as usize;
        let from = &vm.q[usize::from(inst.rd) * entries..][..count as usize];
        for (i, from) in from.iter().enumerate() {
            let (row, at) = if inst.mem().rows.is_some() { (i as u32, 0) } else { (0, i) };
            let to = vm.memory.get_mut(rows.row(row));
            if (at * codes.format.bits as usize).is_multiple_of(8) {
                // The tail bits of the last byte are zero.
                let byte = at * codes.format.bits as usize / 8;
                to[byte] = 0;
            }
            codes.store(to, at, cast(codes.format, canonical(*from)));
        }
    }
    Ok(())
}

/// True for formats whose codes come from a product with the factor, false for a quotient by the scale.
fn multiplies(format: &Format) -> bool {
    format.element == Element::Int || format.rule == ScaleRule::Absmean || !format.thresholds.is_empty()
}

/// Stored scale and encode factor of `format` from the statistic of a row of `count` elements.
fn quantiser(format: &Format, statistic: f32, count: u64) -> (f32, f32) {
    let (scale, factor) = match (format.rule, &format.element) {
        (ScaleRule::Absmean, _) => {
            let mean = max(statistic / count as f32, LEAST);
            // Where no level is zero codes are signs: the value itself decides.
            let signs = !format.sorted.iter().any(|code| decoded(format, *code) == 0.0);
            (mean, if signs { 1.0 } else { 1.0 / mean })
        }
        (_, Element::Int) => {
            let largest = max(statistic, LEAST);
            (largest / format.max, format.max / largest)
        }
        _ => {
            let scale = match statistic {
                0.0 => 1.0,
                _ => max(statistic / format.max, f32::from_bits(1)),
            };
            (scale, if multiplies(format) { 1.0 / scale } else { scale })
        }
    };
    if statistic.is_finite() && scale.is_finite() { (scale, factor) } else { (NAN, NAN) }
}

/// Scales of a row, or of its segments, from their statistics.
pub fn qset(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let format = vm.codes(inst.fd)?.format;
    let rule = Rule::from_code(inst.mode.into()).expect("decode checks enumerations");
    let quantiser = Quantiser::new(format, rule, vm.e4m3)?;
    if inst.rd == 15 {
        return Err(Trap::new(TrapKind::Shape, "qset writes qd and q(d+1); q15 has no next register"));
    }
    let segment = inst.imm as u64;
    let elements = vm.known(inst.rs2, "an element count")?;
    let count = if segment == 0 { 1 } else { elements.div_ceil(segment) };
    let room = vm.config.scale_entries.min(vm.config.acc_cols.max(16));
    let per_entry = if segment != 0 && rule == Rule::Absmean { 16 } else { 1 };
    if count > u64::from(room) || count * per_entry > u64::from(vm.config.acc_cols.max(16)) {
        let message = format!("{count} segments of {segment} elements need more than {room} entries");
        return Err(Trap::new(TrapKind::Shape, message));
    }
    event.work = Work::Elementwise { kind: EwKind::Div, elements: 2 * count as u32 };
    if vm.values {
        let up = vm.scales(inst.rs3)[0];
        for entry in 0..count {
            let tile = &vm.c[usize::from(inst.rs1)];
            let of_entry = if segment == 0 { elements } else { segment.min(elements - entry * segment) };
            let statistic = if per_entry == 1 {
                tile.value(0, entry as usize)
            } else {
                let mut partials: [f32; 16] = std::array::from_fn(|j| tile.value(0, 16 * entry as usize + j));
                collapse(Red::Asum, &mut partials)
            };
            let (scale, factor) = quantiser.scale(statistic, of_entry, up);
            vm.scales(inst.rd)[entry as usize] = canonical(scale);
            vm.scales(inst.rd + 1)[entry as usize] = canonical(factor);
        }
    }
    Ok(())
}

/// How the scales of a format follow from statistics, by rule.
enum Quantiser {
    /// absmax, absmean: f32 scales.
    Plain(FormatRef),
    /// Powers of two.
    Power(BlockFormat, ScaleExponent),
    /// E4M3 under the tensor's factor.
    TwoLevel(FormatRef),
    /// The tensor's scale and factor.
    Tensor,
}

impl Quantiser {
    fn new(format: FormatRef, rule: Rule, e4m3: FormatRef) -> Result<Quantiser> {
        let refuse = || {
            let message = format!("{} is scaled by rule {:?}, not {}", format.name, format.rule, rule.name());
            Err(Trap::new(TrapKind::Fmt, message))
        };
        let power = |exponent| Ok(Quantiser::Power(BlockFormat::of(format), exponent));
        match rule {
            Rule::Absmax if format.rule == ScaleRule::Absmax => Ok(Quantiser::Plain(format)),
            Rule::Absmean if format.rule == ScaleRule::Absmean => Ok(Quantiser::Plain(format)),
            Rule::MxFloor => power(ScaleExponent::Floor),
            Rule::MxCeil => power(ScaleExponent::Ceil),
            Rule::MxRceil => power(ScaleExponent::RoundedCeil),
            Rule::MxEven => power(ScaleExponent::Even),
            Rule::Nv if format.max == 6.0 => Ok(Quantiser::TwoLevel(e4m3)),
            Rule::NvTensor if format.max == 6.0 => Ok(Quantiser::Tensor),
            Rule::Absmax | Rule::Absmean | Rule::Nv | Rule::NvTensor => refuse(),
        }
    }

    /// Stored scale, and what values are multiplied or divided by, of `count` elements with this statistic.
    fn scale(&self, statistic: f32, count: u64, up: f32) -> (f32, f32) {
        match self {
            Quantiser::Plain(format) => quantiser(format, statistic, count),
            Quantiser::Power(block, rule) => match block.power_of(statistic.to_bits() & 0x7fff_ffff, *rule) {
                SCALE_NAN => (NAN, NAN),
                code => {
                    let power = |unit: i32| 2f64.powi(i32::from(code) - 127 + unit) as f32;
                    (power(0), power(block.unit))
                }
            },
            Quantiser::TwoLevel(e4m3) if statistic.is_finite() && up.is_finite() => {
                let (code, factor) = two_level_block(e4m3, statistic, up);
                (decoded(e4m3, code), factor)
            }
            Quantiser::Tensor if statistic.is_finite() => (two_level_global(statistic), two_level_factor(statistic)),
            Quantiser::TwoLevel(_) | Quantiser::Tensor => (NAN, NAN),
        }
    }
}

impl Vm {
    /// Position of element 0 and elements of a segment (0: all elements use entry 0) of an instruction with `x?:rs3` and
    /// `seg`; all of its `vl` elements have an entry.
    fn segments(&self, inst: &Inst, vl: u32) -> Result<(u64, u64)> {
        let (position, segment) = (self.known(inst.rs3, "a position")?, inst.imm as u64);
        let entries = u64::from(self.config.scale_entries);
        let last = position.saturating_add(u64::from(vl).saturating_sub(1));
        if last.checked_div(segment).is_some_and(|entry| entry >= entries) {
            let message = format!("position {last} in segments of {segment} is beyond the {entries} entries");
            return Err(Trap::new(TrapKind::Shape, message));
        }
        Ok((position, segment))
    }

    /// The rounding of element `i` of an instruction with `enum?(round):mode` whose element 0 is at `position`.
    fn rounding(&self, inst: &Inst, position: u64) -> impl Fn(usize) -> Rounding + use<> {
        let round = Round::from_code(inst.mode.into()).expect("decode checks enumerations");
        let (draws, base) = self.draws.unwrap_or((Draws::of(0, 0), 0));
        move |i| match round {
            Round::Rne => Rounding::NearestEven,
            Round::Rz => Rounding::TowardZero,
            Round::Rna => Rounding::NearestAway,
            Round::Up => Rounding::Up,
            Round::Down => Rounding::Down,
            Round::Sr => {
                let random = draws.word(base.wrapping_add(position).wrapping_add(i as u64)) >> 8;
                Rounding::Stochastic(Draw { kind: Stochastic::Rounded, bits: 24, random })
            }
        }
    }
}

/// What `quant` does to a value before rounding.
#[derive(Clone, Copy)]
enum Step {
    /// Times the entry of q(b+1).
    Multiply,
    /// Over the entry of qb.
    Divide,
    /// Over the entry of q(b+1), a power of two.
    Shift,
}

impl Step {
    fn of(self, x: f32, scale: f32, factor: f32) -> f32 {
        match self {
            Step::Multiply => x * factor,
            Step::Divide => x / scale,
            Step::Shift => shifted(x, factor),
        }
    }
}

/// `x` over a power of two: below the f32 grid only whether the value is zero matters to an element.
fn shifted(x: f32, power: f32) -> f32 {
    let quotient = x / power;
    if quotient == 0.0 && x != 0.0 { f32::from_bits(1).copysign(x) } else { quotient }
}

/// Values to codes.
pub fn quant(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let slot = vm.bound(inst.fd)?;
    let codes = &vm.formats[slot];
    let rule = Rule::from_code(inst.aux.into()).expect("decode checks enumerations");
    let (step, saturate) = match rule {
        Rule::Absmax | Rule::Absmean if codes.format.rule == ScaleRule::Cast => {
            let message = format!("{} has no scale; cvt casts to it", codes.format.name);
            return Err(Trap::new(TrapKind::Fmt, message));
        }
        Rule::Absmax | Rule::Absmean if multiplies(codes.format) => (Step::Multiply, codes.format.saturate),
        Rule::Absmax | Rule::Absmean => (Step::Divide, codes.format.saturate),
        Rule::MxFloor | Rule::MxCeil | Rule::MxRceil | Rule::MxEven => (Step::Shift, true),
        Rule::Nv | Rule::NvTensor => (Step::Multiply, true),
    };
    if inst.rs2 == 15 {
        return Err(Trap::new(TrapKind::Shape, "quant reads qb and q(b+1); q15 has no next register"));
    }
    let vl = vm.converted(codes)?;
    let (position, segment) = vm.segments(inst, vl)?;
    let zero = codes.zero;
    event.work = Work::Elementwise { kind: EwKind::Convert, elements: vl };
    if vm.values {
        let entries = vm.config.scale_entries as usize;
        let q = std::mem::take(&mut vm.q);
        let (scales, factors) = q[usize::from(inst.rs2) * entries..][..2 * entries].split_at(entries);
        let entry = |i: u64| position.wrapping_add(i).checked_div(segment).unwrap_or(0) as usize;
        let one = Some(entry(0)).filter(|first| *first == entry(u64::from(vl).saturating_sub(1)));
        if let Some(entry) = one.filter(|_| inst.mode == Round::Rne as u8 && saturate == codes.format.saturate)
            && let Some(encoder) = codes.encoder().filter(|_| scales[entry].is_finite())
        {
            let scaled = |x: &[u8; 4]| step.of(f32::from_le_bytes(*x), scales[entry], factors[entry]).to_bits();
            let Scratch { words, bits: packed, .. } = &mut vm.scratch;
            words.clear();
            words.extend(vm.v.get(inst.rs1).as_chunks().0[..vl as usize].iter().map(scaled));
            encoder.encode_packed(words, 0, packed);
            let to = vm.v.get_mut(inst.rd);
            to[..packed.len()].copy_from_slice(packed);
            codes.clear_tail(to, vl as usize);
            vm.q = q;
            return Ok(());
        }
        let rounding = vm.rounding(inst, position);
        vm.write_codes(slot, (inst.rd, inst.rs1), vl, |format, x, i| {
            let (scale, factor) = (scales[entry(i as u64)], factors[entry(i as u64)]);
            if !scale.is_finite() {
                return zero;
            }
            encode(format, step.of(x, scale, factor).to_bits(), rounding(i), saturate)
        });
        vm.q = q;
    }
    Ok(())
}

/// Codes to values.
pub fn dequant(vm: &mut Vm, inst: &Inst, event: &mut Event) -> Result<()> {
    let slot = vm.bound(inst.fa)?;
    let vl = vm.converted(&vm.formats[slot])?;
    let (position, segment) = vm.segments(inst, vl)?;
    event.work = Work::Elementwise { kind: EwKind::Convert, elements: vl };
    if vm.values {
        let q = std::mem::take(&mut vm.q);
        let scales = &q[usize::from(inst.rs2) * vm.config.scale_entries as usize..];
        vm.write_values(slot, (inst.rd, inst.rs1), vl, |x, i| {
            x * scales[position.wrapping_add(i as u64).checked_div(segment).unwrap_or(0) as usize]
        });
        vm.q = q;
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
    let position = vm.known(inst.rs3, "a position")?;
    event.work = Work::Elementwise { kind: EwKind::Convert, elements: vl };
    if vm.values && wide_to {
        vm.write_values(from, (inst.rd, inst.rs1), vl, |x, _| x);
    } else if vm.values {
        let rounding = vm.rounding(inst, position);
        vm.write_codes(to, (inst.rd, inst.rs1), vl, |format, x, i| {
            encode(format, x.to_bits(), rounding(i), format.saturate)
        });
    }
    Ok(())
}

fn decoded(format: &Format, code: u32) -> f32 {
    f32::from_bits(decode(format, code))
}
