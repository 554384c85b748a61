//! Dynamic quantisation of fp32 activations: a cast, or codes with one scale a row.

use super::reduce::mean_bound;
use super::{Inferred, Op, want_fp32};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{HUGE, Operand, Real, Reference, TINY, U, exp2};
use crate::num::format::{Element, FormatRef, ScaleRule};
use crate::tensor::{Scaling, TensorType, rows_cols};

pub(super) fn infer(to: TensorType, x: &Value) -> Inferred {
    want_fp32(&Op::Quantise { to }, x)?;
    let scaling = if to.format.rule == ScaleRule::Cast { Scaling::None } else { Scaling::Row };
    if to.scaling != scaling {
        return Err(Error::unsupported(format!(
            "quantise of `{}` to {} is not served at run time, only to {}",
            x.name,
            to,
            TensorType::new(to.format, scaling)
        )));
    }
    Ok((x.shape.clone(), to))
}

/// Codes and scales in f64. A code counts as uncertain, and its bound spans its neighbour, where the f32 quotient may
/// fall on the other side of a tie (docs/numerics.md, section 11: within 4u of it).
pub(super) fn quantise(to: TensorType, operands: &[Operand<'_>]) -> Result<Reference> {
    let (shape, x) = operands[0].scaled()?;
    let (_, cols) = rows_cols(&shape);
    let (mut values, mut bound, mut scales, mut scale_bound) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in x.chunks(cols) {
        let Scale { divisor, stored, spread, certain } = scale_of(to.format, row);
        for x in row {
            let q = x / divisor;
            let (value, off) = (nearest(to.format, q), q.abs() * spread);
            let (low, high) = (nearest(to.format, q - off), nearest(to.format, q + off));
            let width = if high - value > value - low { high - value } else { value - low };
            values.push(value);
            bound.push(match (off > 0.0, certain) {
                (_, false) => f64::INFINITY,
                (true, true) => width,
                (false, true) => 0.0,
            });
        }
        if to.scaling == Scaling::Row {
            scales.push(stored);
            scale_bound.push(if certain || stored.is_nan() { spread * stored.abs() + TINY } else { f64::INFINITY });
        }
    }
    let result = Real { shape, values, scales, offsets: Vec::new(), global: 1.0, ty: to };
    Ok(Reference { result, bound, scale_bound })
}

/// How a row is scaled into a format.
struct Scale {
    /// What elements are divided by.
    divisor: f64,
    /// The stored scale; NaN poisons the row.
    stored: f64,
    /// Relative error of the f32 quotient; 0 for casts.
    spread: f64,
    /// False where f32 may overflow.
    certain: bool,
}

fn scale_of(format: FormatRef, row: &[f64]) -> Scale {
    let floor = f64::from(1e-5f32);
    let at_least = |a: f64| if a < floor { floor } else { a };
    let top = row.iter().fold(0.0, |top: f64, x| if x.is_nan() || x.abs() > top { x.abs() } else { top });
    if format.rule == ScaleRule::Cast {
        return Scale { divisor: 1.0, stored: 1.0, spread: 0.0, certain: true };
    }
    if !top.is_finite() {
        // The codes of a poisoned row mean nothing: only its scale is judged.
        return Scale { divisor: f64::INFINITY, stored: f64::NAN, spread: 0.0, certain: false };
    }
    match (format.rule, &format.element) {
        (ScaleRule::Absmean, _) => {
            let sum = row.iter().fold(0.0, |sum, x| sum + x.abs());
            let mean = at_least(sum / row.len() as f64);
            Scale { divisor: mean, stored: mean, spread: mean_bound(row.len()) + 4.0 * U, certain: sum < HUGE }
        }
        (_, Element::Int) => {
            let scale = at_least(top) / (exp2(format.bits as i32 - 1) - 1.0);
            Scale { divisor: scale, stored: scale, spread: 4.0 * U, certain: true }
        }
        _ if top == 0.0 => Scale { divisor: 1.0, stored: 1.0, spread: 4.0 * U, certain: true },
        _ => {
            let exact = top / f64::from(format.max);
            let scale = if exact < TINY { TINY } else { exact };
            Scale { divisor: scale, stored: scale, spread: 4.0 * U + 2.0 * TINY / scale, certain: true }
        }
    }
}

/// The value of the format nearest to x, ties to even, saturating where the format is scaled.
fn nearest(format: FormatRef, x: f64) -> f64 {
    let max = f64::from(format.max);
    let saturates = format.saturate || format.rule != ScaleRule::Cast;
    let limited = |y: f64| {
        if y > max {
            max
        } else if y < -max {
            -max
        } else {
            y
        }
    };
    match &format.element {
        Element::Int => {
            let half = exp2(format.bits as i32 - 1);
            let y = x.round_ties_even();
            if y > half - 1.0 {
                half - 1.0
            } else if y < -half {
                -half
            } else {
                y
            }
        }
        Element::Codebook { levels } => {
            let unit = exp2(format.unit.unwrap_or(0));
            let mut sorted = levels.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let origin = sorted.iter().filter(|level| **level < 0).count();
            // The midpoints below x, and how many lie at x itself: a tie goes to the level of even rank, counted
            // from the smallest level that is not negative.
            let middle = |pair: &[i32]| f64::from(pair[0] + pair[1]) / 2.0 * unit;
            let below = sorted.windows(2).filter(|pair| middle(pair) < x).count();
            let tie = sorted.windows(2).any(|pair| middle(pair) == x);
            let index = if tie && below.abs_diff(origin) % 2 == 1 { below + 1 } else { below };
            sorted.get(index).map_or(0.0, |level| f64::from(*level) * unit)
        }
        Element::Real { values } => {
            let nearer = |a: f32, b: f32| (f64::from(a) - x).abs() < (f64::from(b) - x).abs();
            let best = values.iter().copied().reduce(|best, value| if nearer(value, best) { value } else { best });
            f64::from(best.unwrap_or(0.0))
        }
        // No tensor has elements in squares (TensorType::check).
        Element::Squares => f64::NAN,
        Element::Float { .. } if !x.is_finite() => {
            if format.saturate {
                limited(x)
            } else {
                x
            }
        }
        Element::Float { man, bias, .. } => {
            let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).max(1 - bias);
            let quantum = exp2(exponent - *man as i32);
            let y = (x / quantum).round_ties_even() * quantum;
            if !saturates && y.abs() > max { f64::INFINITY.copysign(y) } else { limited(y) }
        }
    }
}
