//! Reductions: softmax over rows and the mean over tokens.

use super::{Inferred, Op, plain_fp32, want_fp32, want_rank};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{HUGE, Operand, Reference, U, exp2};
use crate::tensor::rows_cols;

pub(super) fn infer_meanpool(inputs: &[&Value]) -> Inferred {
    let x = inputs[0];
    want_rank(&Op::MeanPool, x, &["T", "D"])?;
    want_fp32(&Op::MeanPool, x)?;
    if x.shape[0] == 0 {
        return Err(Error::bad_input(format!("meanpool of `{}` has no tokens to average", x.name)));
    }
    Ok((x.shape[1..].to_vec(), plain_fp32()))
}

/// Bound, in units of the mean magnitude, of an L16 sum of `n` elements divided by n: sixteen lanes, a tree of four
/// levels, the division, and one step a chunk beyond 4096.
pub(super) fn mean_bound(n: usize) -> f64 {
    (n.min(4096).div_ceil(16) as f64 + 5.0 + (n / 4096) as f64) * 1.01 * U
}

pub(super) fn softmax(operands: &[Operand<'_>]) -> Result<Reference> {
    let (shape, x) = operands[0].scaled()?;
    let (_, cols) = rows_cols(&shape);
    let (mut values, mut bounds) = (Vec::new(), Vec::new());
    for row in x.chunks(cols) {
        let top = row.iter().fold(f64::NEG_INFINITY, |m, x| if x.is_nan() || *x > m { *x } else { m });
        if top == f64::NEG_INFINITY {
            values.extend(row.iter().map(|_| 0.0));
            bounds.extend(row.iter().map(|_| 0.0));
            continue;
        }
        let exps: Vec<f64> = row.iter().map(|x| (x - top).exp()).collect();
        let sum = exps.iter().fold(0.0, |sum, e| sum + e);
        for (x, e) in row.iter().zip(&exps) {
            // An entry more than 87.3 below the top is flushed to +0.
            let steps = 7.0 + cols as f64 / 16.0 + if e.is_finite() && *e > 0.0 { top - x } else { 0.0 };
            values.push(e / sum);
            bounds.push(1.01 * U * steps * e / sum + exp2(-125));
        }
    }
    let mut reference = Reference::plain(shape, values, |_, _| 0.0);
    reference.bound = bounds;
    Ok(reference)
}

/// Mean of every column.
pub(super) fn meanpool(operands: &[Operand<'_>]) -> Result<Reference> {
    let (shape, x) = operands[0].scaled()?;
    let (rows, cols) = rows_cols(&shape);
    let column =
        |col: usize, f: fn(f64) -> f64| (0..rows).fold(0.0, |sum, row| sum + f(x[row * cols + col])) / rows as f64;
    let values = (0..cols).map(|col| column(col, |x| x)).collect();
    Ok(Reference::plain(vec![cols], values, |col, _| {
        let magnitude = column(col, f64::abs);
        if magnitude * (rows as f64) < HUGE { mean_bound(rows) * magnitude + exp2(-147) } else { f64::INFINITY }
    }))
}
