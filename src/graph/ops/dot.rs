//! Contractions: `linear` (activations by weights) and `matmul` (activations by activations, heads apart).

use super::{Inferred, Op, is_plain_fp32, plain_fp32, type_name, want_rank, want_shape};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{HUGE, Operand, Real, Reference, TINY, U, exp2};
use crate::num::{Accumulator, DotClass, dot_class};
use crate::tensor::{Scaling, rows_cols};

/// Largest extent of a summed axis: exact sums of class S are defined up to here (numerics 3.1).
pub(crate) const MAX_K: usize = 1 << 31;

pub(super) fn infer_linear(inputs: &[&Value]) -> Inferred {
    let (op, x, w) = (&Op::Linear, inputs[0], inputs[1]);
    want_rank(op, x, &["T", "K"])?;
    want_rank(op, w, &["N", "K"])?;
    want_same_k(op, x, w)?;
    want_row_scaling(op, x)?;
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
    want_row_scaling(op, a)?;
    want_row_scaling(op, b)?;
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

/// Run-time operands carry no scales or one a row.
fn want_row_scaling(op: &Op, value: &Value) -> Result<()> {
    if is_plain_fp32(value.ty) || matches!(value.ty.scaling, Scaling::None | Scaling::Row) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "{} does not take `{}` in {}: only weights may have scales of a tensor or of blocks",
        op.name(),
        value.name,
        type_name(value.ty)
    )))
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
    /// Summed extent.
    k: usize,
    /// Run along k that shares one scale of `b`.
    block: usize,
    /// Subnormal operands count as zero (the bf16 pair order reads them so).
    flush: bool,
}

impl<'a> Dot<'a> {
    fn new(a: &'a Real, b: &'a Real, accumulator: Accumulator) -> Result<Self> {
        let class = dot_class(a.format, b.format, accumulator)?;
        let (_, k) = rows_cols(&a.shape);
        let block = match b.scaling {
            Scaling::Block(n) => n as usize,
            _ => k,
        };
        Ok(Dot { a, b, class, k, block: block.max(1), flush: class == DotClass::PairBf16 })
    }

    /// The scaled sum over k, and the bound of its f32 form (docs/numerics.md, section 11).
    fn element(&self, row_a: usize, row_b: usize) -> (f64, f64) {
        let a = &self.a.values[row_a * self.k..(row_a + 1) * self.k];
        let b = &self.b.values[row_b * self.k..(row_b + 1) * self.k];
        let scale_a = self.a.scale(row_a, 0);
        let (mut sum, mut magnitude, mut unscaled, mut largest_scale) = (0.0, 0.0, 0.0, 0.0);
        for (g, (a, b)) in a.chunks(self.block).zip(b.chunks(self.block)).enumerate() {
            let scale = scale_a * self.b.scale(row_b, g * self.block);
            let (s, m) = exact_sum(a, b, self.flush);
            sum += s * scale;
            magnitude += m * scale.abs();
            unscaled += m;
            if scale.abs() > largest_scale {
                largest_scale = scale.abs();
            }
        }
        if !(magnitude < HUGE && unscaled < HUGE) {
            let certain = sum.is_nan() && !magnitude.is_infinite();
            return (sum, if certain { 0.0 } else { f64::INFINITY });
        }
        let (k, groups) = (self.block.min(self.k) as f64, self.k.div_ceil(self.block) as f64);
        let blocks = if self.b.scaling == Scaling::None || groups <= 1.0 { 0.0 } else { groups + 3.0 };
        let bound = match self.class {
            DotClass::Exact if blocks == 0.0 => 3.1 * U * sum.abs(),
            DotClass::Exact => 1.01 * U * blocks * magnitude,
            DotClass::Chain => 1.01 * U * (k + 3.0 + blocks) * magnitude + (self.k as f64 + 1.0) * TINY * largest_scale,
            DotClass::PairBf16 | DotClass::PairFp16 => {
                let steps = 19.0 + (k / 32.0).ceil() + blocks;
                let all = self.k as f64;
                1.01 * U * steps * magnitude + (all + all / 16.0 + 2.0) * exp2(-126) * largest_scale
            }
        };
        // A product of scales, and the result, may underflow.
        (sum, bound + 2.0 * TINY * (1.0 + unscaled) * groups)
    }
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
