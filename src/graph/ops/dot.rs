//! Contractions: `linear` (activations by weights) and `matmul` (activations by activations, heads apart).

use super::{Inferred, Op, plain_fp32, want_rank, want_shape};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{HUGE, Operand, Real, Reference, TINY, U, exp2};
use crate::num::{Accumulator, DotClass, dot_class};
use crate::tensor::{TensorType, Term, rows_cols, terms};

/// Largest extent of a summed axis: exact sums of class S are defined up to here (numerics 3.1).
pub(crate) const MAX_K: usize = 1 << 31;

pub(super) fn infer_linear(inputs: &[&Value]) -> Inferred {
    let (op, x, w) = (&Op::Linear, inputs[0], inputs[1]);
    want_rank(op, x, &["T", "K"])?;
    want_rank(op, w, &["N", "K"])?;
    want_same_k(op, x, w)?;
    if let Some(bias) = inputs.get(2) {
        want_shape(op, bias, &w.shape[..1])?;
        super::want_fp32(op, bias)?;
    }
    Ok((vec![x.shape[0], w.shape[0]], plain_fp32()))
}

pub(super) fn infer_matmul(group: usize, inputs: &[&Value]) -> Inferred {
    let op = &Op::MatMul { group };
    let (a, b) = (inputs[0], inputs[1]);
    want_rank(op, a, &["H", "M", "K"])?;
    want_rank(op, b, &["H/group", "N", "K"])?;
    want_same_k(op, a, b)?;
    if group == 0 || b.shape[0].checked_mul(group) != Some(a.shape[0]) {
        return Err(Error::bad_input(format!(
            "matmul with groups of {group} needs {group} times as many heads in `{}` as in `{}`, not {} and {}",
            a.name, b.name, a.shape[0], b.shape[0]
        )));
    }
    Ok((vec![a.shape[0], a.shape[1], b.shape[1]], plain_fp32()))
}

fn want_same_k(op: &Op, a: &Value, b: &Value) -> Result<()> {
    let (ka, kb) = (a.shape[a.shape.len() - 1], b.shape[b.shape.len() - 1]);
    if ka != kb {
        return Err(Error::bad_input(format!(
            "{} needs the same last axis in both operands, but `{}` has {:?} and `{}` has {:?}",
            op.name(),
            a.name,
            a.shape,
            b.name,
            b.shape
        )));
    }
    if ka > MAX_K {
        return Err(Error::unsupported(format!("{} sums at most 2^31 products, not {ka}", op.name())));
    }
    Ok(())
}

pub(super) fn linear(accumulator: Accumulator, operands: &[Operand<'_>]) -> Result<Reference> {
    let (x, w) = (operands[0].real()?, operands[1].real()?);
    let dot = Dot::new(&x, &w, accumulator)?;
    let bias = match operands.get(2) {
        Some(bias) => Some(bias.scaled()?.1),
        None => None,
    };
    let (rows, outputs) = (x.shape[0], w.shape[0]);
    let (mut values, mut bounds) = (Vec::new(), Vec::new());
    for m in 0..rows {
        for n in 0..outputs {
            let (mut y, mut bound) = dot.element(m, n);
            if let Some(bias) = &bias {
                y += bias[n];
                bound += 1.01 * U * (y.abs() + bound) + TINY;
            }
            values.push(y);
            bounds.push(bound);
        }
    }
    Ok(Reference { result: Real::plain(vec![rows, outputs], values), bound: bounds, scale_bound: Vec::new() })
}

pub(super) fn matmul(group: usize, accumulator: Accumulator, operands: &[Operand<'_>]) -> Result<Reference> {
    let (a, b) = (operands[0].real()?, operands[1].real()?);
    let dot = Dot::new(&a, &b, accumulator)?;
    let (heads, rows, columns) = (a.shape[0], a.shape[1], b.shape[1]);
    let (mut values, mut bounds) = (Vec::new(), Vec::new());
    for h in 0..heads {
        for m in 0..rows {
            for n in 0..columns {
                let (y, bound) = dot.element(h * rows + m, h / group * columns + n);
                values.push(y);
                bounds.push(bound);
            }
        }
    }
    Ok(Reference { result: Real::plain(vec![heads, rows, columns], values), bound: bounds, scale_bound: Vec::new() })
}

/// Rows of `a` against rows of `b`.
struct Dot<'a> {
    a: &'a Real,
    b: &'a Real,
    class: DotClass,
    accumulator: Accumulator,
    terms: Vec<Term>,
    /// Summed extent.
    k: usize,
    /// Ones, for the terms of offsets.
    ones: Vec<f64>,
}

/// What one term adds: its exact sum, the sum of magnitudes, the scale, and how far its accumulator may be off besides
/// rounding.
struct Added {
    sum: f64,
    magnitude: f64,
    scale: f64,
    slack: f64,
}

impl<'a> Dot<'a> {
    fn new(a: &'a Real, b: &'a Real, accumulator: Accumulator) -> Result<Self> {
        let class = dot_class(a.ty.format, b.ty.format, accumulator)?;
        let (_, k) = rows_cols(&a.shape);
        let terms = terms(&a.ty, &b.ty, k, accumulator.chunk())?;
        Ok(Dot { a, b, class, accumulator, terms, k, ones: vec![1.0; if b.ty.offset { k } else { 0 }] })
    }

    fn term(&self, term: &Term, row_a: usize, row_b: usize) -> Added {
        let planes = self.b.ty.planes as usize;
        let a = &self.a.values[row_a * self.k..][term.k.clone()];
        let b = match term.ones {
            true => &self.ones[term.k.clone()],
            false => &self.b.values[(row_b * planes + term.plane) * self.k..][term.k.clone()],
        };
        let (mut kept_a, mut kept_b) = (Vec::new(), Vec::new());
        let (a, b) = match self.b.live.is_empty() {
            true => (a, b),
            false => {
                let live = term.k.clone().zip(a.iter().zip(b)).filter(|(k, _)| self.b.is_live(row_b, *k));
                live.for_each(|(_, (a, b))| {
                    kept_a.push(*a);
                    kept_b.push(*b);
                });
                (&kept_a[..], &kept_b[..])
            }
        };
        let at = term.k.start.min(self.k.saturating_sub(1));
        let scale_b = if term.ones { self.b.offset(row_b, at) } else { self.b.scale(row_b, at, term.plane) };
        let (sum, magnitude) = exact_sum(a, b, self.class == DotClass::PairBf16);
        let mut added = Added { sum, magnitude, scale: self.a.scale(row_a, at, 0) * scale_b, slack: 0.0 };
        match self.class {
            DotClass::Int24s if sum.is_finite() => {
                added.sum = saturating_sum(a, b, exp2(self.unit(term)), (-(1 << 23), (1 << 23) - 1));
            }
            // Truncation to 14 bits at each of the groups of 32, and one f32 addition every 128.
            DotClass::Fp22 => added.slack = (term.k.len().div_ceil(32) as f64) * exp2(-13) * 1.01 * magnitude,
            _ => {}
        }
        if let Accumulator::Adc { bits, noise_milli, rows } = self.accumulator {
            let step = f64::from(rows) * self.largest() * exp2(1 - bits as i32);
            // Half a step by rounding, or one where the largest sum meets the largest code. The noise is a sum of twelve
            // uniform draws, so that it stays within six standard deviations.
            added.slack = step * (1.01 + 6.0 * f64::from(noise_milli) / 1000.0);
        }
        added
    }

    /// Exponent of the quantum of a term.
    fn unit(&self, term: &Term) -> i32 {
        let of_b = if term.ones { 0 } else { self.b.ty.format.unit.unwrap_or(0) };
        self.a.ty.format.unit.unwrap_or(0) + of_b
    }

    /// Largest magnitude of a product of codes.
    fn largest(&self) -> f64 {
        let of = |ty: &TensorType| {
            if ty.format.values.is_empty() {
                return exp2(ty.format.bits as i32 - 1 + ty.format.unit.unwrap_or(0));
            }
            let values = ty.format.values.iter().map(|v| f64::from(f32::from_bits(*v)).abs());
            values.filter(|v| v.is_finite()).fold(0.0, |a, v| if v > a { v } else { a })
        };
        of(&self.a.ty) * of(&self.b.ty)
    }

    /// The scaled sum over k, and the bound of its f32 form (docs/numerics.md, section 11).
    fn element(&self, row_a: usize, row_b: usize) -> (f64, f64) {
        let (mut sum, mut magnitude, mut unscaled, mut largest_scale, mut slack) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for term in &self.terms {
            let added = self.term(term, row_a, row_b);
            sum += added.sum * added.scale;
            magnitude += added.magnitude * added.scale.abs();
            slack += added.slack * added.scale.abs();
            unscaled += added.magnitude;
            if added.scale.abs() > largest_scale {
                largest_scale = added.scale.abs();
            }
        }
        let global = self.a.global * self.b.global;
        // Products of scales, and of global scales, may overflow before they meet a sum that would make up for it.
        let huge = !(magnitude < HUGE && unscaled < HUGE && largest_scale < HUGE && global.abs() < HUGE);
        let lost = if global == 1.0 { 0.0 } else { TINY * magnitude };
        let (sum, magnitude, slack, largest_scale) =
            (sum * global, magnitude * global.abs(), slack * global.abs(), largest_scale * global.abs());
        let reach = magnitude + slack;
        if huge || reach.is_nan() || reach >= HUGE {
            let certain = sum.is_nan() && !magnitude.is_infinite();
            return (sum, if certain { 0.0 } else { f64::INFINITY });
        }
        let count = self.terms.len() as f64;
        let two_level = self.a.ty.scale.global || self.b.ty.scale.global;
        let k = self.terms.iter().map(|term| term.k.len()).max().unwrap_or(0) as f64;
        let single = self.terms.len() <= 1 && !two_level;
        let blocks = if single { 0.0 } else { count + 6.0 };
        let bound = match self.class {
            DotClass::Exact | DotClass::Int24s if single && slack == 0.0 => 3.1 * U * sum.abs(),
            DotClass::Exact | DotClass::Int24s | DotClass::Fp22 => 1.01 * U * (blocks + 4.0) * (magnitude + slack),
            DotClass::Chain => 1.01 * U * (k + 3.0 + blocks) * magnitude + (self.k as f64 + 1.0) * TINY * largest_scale,
            DotClass::PairBf16 | DotClass::PairFp16 => {
                let steps = 19.0 + (k / 32.0).ceil() + blocks;
                let all = (self.k * self.b.ty.planes as usize) as f64;
                1.01 * U * steps * magnitude + (all + all / 16.0 + 2.0) * exp2(-126) * largest_scale
            }
        };
        // A product of scales, and the result, may underflow.
        (sum, bound + slack + lost + 2.0 * TINY * (1.0 + unscaled) * (count + 1.0) * (1.0 + global.abs()))
    }
}

/// Products in units of `unit` added one by one to an integer that stays between the limits.
fn saturating_sum(a: &[f64], b: &[f64], unit: f64, (least, most): (i64, i64)) -> f64 {
    let add = |sum: i64, (a, b): (&f64, &f64)| (sum + (a * b / unit) as i64).clamp(least, most);
    a.iter().zip(b).fold(0, add) as f64 * unit
}

/// Independent partial sums, so that the additions of one need not wait for those of another.
const LANES: usize = 8;

/// Sum of products and of their magnitudes. Products of two codes are exact in f64; the rounding errors of the sum are
/// themselves summed (Knuth's two-sum), so that cancellation costs nothing.
fn exact_sum(a: &[f64], b: &[f64], flush: bool) -> (f64, f64) {
    let read = |x: f64| if flush && x.abs() < f64::from(f32::MIN_POSITIVE) { 0.0 } else { x };
    let (mut sums, mut errors, mut magnitudes) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        let mut products = [0.0; LANES];
        for (product, (a, b)) in products.iter_mut().zip(a.iter().zip(b)) {
            *product = read(*a) * read(*b);
        }
        for lane in 0..LANES {
            let error;
            (sums[lane], error) = two_sum(sums[lane], products[lane]);
            errors[lane] += error;
            magnitudes[lane] += products[lane].abs();
        }
    }
    let (mut sum, mut error, mut magnitude) = (0.0, 0.0, 0.0);
    for lane in 0..LANES {
        let lost;
        (sum, lost) = two_sum(sum, sums[lane]);
        error += lost + errors[lane];
        magnitude += magnitudes[lane];
    }
    (if sum.is_finite() { sum + error } else { sum }, magnitude)
}

/// The rounded sum and its rounding error.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let kept = sum - a;
    (sum, (a - (sum - kept)) + (b - kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancellation_costs_nothing() {
        let a = [1e30, 1.0, -1e30, 3.0, 0.0, 0.0, 0.0, 0.0, 2f64.powi(-80), -1e30, 1e30];
        let b = [1.0; 11];
        assert_eq!(exact_sum(&a, &b, false), (4.0 + 2f64.powi(-80), a.iter().fold(0.0, |m, x| m + x.abs())));
        assert_eq!(exact_sum(&[1e-40, 2.0], &[1.0, 1.0], true).0, 2.0);
        assert!(exact_sum(&[f64::INFINITY, 1.0], &[1.0, 1.0], false).0.is_infinite());
        assert!(exact_sum(&[f64::INFINITY, 1.0], &[0.0, 1.0], false).0.is_nan());
    }
}
