//! Row normalisations: layernorm, rmsnorm, l2norm.

use super::reduce::mean_bound;
use super::{Inferred, Op, same_shape, want_fp32, want_shape};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{HUGE, Operand, Reference, U, exp2};
use crate::tensor::rows_cols;

pub(super) fn infer(op: &Op, eps: f32, inputs: &[&Value]) -> Inferred {
    let inferred = same_shape(op, inputs)?;
    if !(eps.is_finite() && eps >= 0.0) {
        return Err(Error::bad_input(format!("{} needs a finite eps of at least 0, not {eps}", op.name())));
    }
    let cols = &inferred.0[inferred.0.len() - 1..];
    for weight in &inputs[1..] {
        want_shape(op, weight, cols)?;
        want_fp32(op, weight)?;
    }
    Ok(inferred)
}

fn mean(row: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    row.iter().fold(0.0, |sum, x| sum + f(*x)) / row.len() as f64
}

/// Applies `f` to every row; it appends values and bounds of the row.
fn by_rows(x: &Operand<'_>, mut f: impl FnMut(&[f64], &mut Vec<f64>, &mut Vec<f64>)) -> Result<Reference> {
    let (shape, x) = x.scaled()?;
    let (_, cols) = rows_cols(&shape);
    let (mut values, mut bounds) = (Vec::new(), Vec::new());
    for row in x.chunks(cols) {
        f(row, &mut values, &mut bounds);
    }
    let mut reference = Reference::plain(shape, values, |_, _| 0.0);
    reference.bound = bounds;
    Ok(reference)
}

/// `(x - mean) / sqrt(variance + eps) * gamma + beta`.
///
/// The bound follows the f32 steps: the mean is off by `em`, which shifts every difference; the variance is off by at
/// most `ev`; one over the root of it is then off by a factor between `1 - rel` and `1 + rel`.
pub(super) fn layernorm(eps: f64, operands: &[Operand<'_>]) -> Result<Reference> {
    let (_, gamma) = operands[1].scaled()?;
    let (_, beta) = operands[2].scaled()?;
    by_rows(&operands[0], |row, values, bounds| {
        let mu = mean(row, |x| x);
        let variance = mean(row, |x| (x - mu) * (x - mu));
        let r = 1.0 / (variance + eps).sqrt();
        let em = mean_bound(row.len()) * mean(row, f64::abs) + exp2(-147);
        let spread = mean(row, |x| (x - mu).abs());
        let ev = 2.0 * (em + U * spread) * spread + em * em + (mean_bound(row.len()) + 3.0 * U) * (variance + eps);
        let lost = ev / (variance + eps);
        let rel = if lost < 0.9 { 1.0 / (1.0 - lost).sqrt() - 1.0 + 5.0 * U } else { f64::INFINITY };
        let judged = mean(row, f64::abs) * row.len() as f64 * (1.0 + variance.sqrt()) < HUGE.sqrt();
        for (at, x) in row.iter().enumerate() {
            let (d, g) = (x - mu, gamma[at]);
            let y = d * r * g + beta[at];
            let off = g.abs() * r * (1.0 + rel) * (em + 2.0 * U * (d.abs() + em)) + (g * r * d).abs() * rel;
            let exact_zero = g == 0.0 && judged;
            values.push(y);
            bounds.push(match (exact_zero, judged) {
                (true, _) => 0.0,
                (false, true) => 1.05 * off + 1.01 * U * y.abs() + exp2(-147),
                (false, false) => f64::INFINITY,
            });
        }
    })
}

/// `x / sqrt(mean of squares + eps) * weight`.
pub(super) fn rmsnorm(eps: f64, operands: &[Operand<'_>]) -> Result<Reference> {
    let (_, weight) = operands[1].scaled()?;
    by_rows(&operands[0], |row, values, bounds| {
        let square = mean(row, |x| x * x);
        let r = 1.0 / (square + eps).sqrt();
        let rel = mean_bound(row.len()) / 2.0 + 6.0 * U;
        let judged = square * (row.len() as f64) < HUGE;
        for (x, w) in row.iter().zip(&weight) {
            let y = x * r * w;
            values.push(y);
            // Squares below 2^-149 vanish: without eps a tiny row has no meaning in f32.
            let judged = judged && square + eps > exp2(-100);
            bounds.push(if judged { rel * y.abs() + exp2(-147) * (1.0 + w.abs()) } else { f64::INFINITY });
        }
    })
}

/// `x / max(sqrt(sum of squares), 1e-12)`.
pub(super) fn l2norm(operands: &[Operand<'_>]) -> Result<Reference> {
    by_rows(&operands[0], |row, values, bounds| {
        let sum = mean(row, |x| x * x) * row.len() as f64;
        let root = sum.sqrt();
        let floor = f64::from(1e-12f32);
        let length = if root < floor { floor } else { root };
        let rel = mean_bound(row.len()) / 2.0 + 4.0 * U;
        for x in row {
            let y = x / length;
            values.push(y);
            bounds.push(if sum < HUGE { rel * y.abs() + exp2(-148) } else { f64::INFINITY });
        }
    })
}
