//! Dynamic quantisation of fp32 activations: a cast, or codes with one scale a row or block.

use super::reduce::mean_bound;
use super::{Inferred, Op, want_fp32};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{HUGE, Operand, Real, Reference, TINY, U, exp2};
use crate::num::Element;
use crate::num::block::ScaleExponent;
use crate::num::format::{Format, FormatRef, ScaleRule, Specials};
use crate::tensor::{Scaling, TensorType, rows_cols};

pub(super) fn infer(to: TensorType, x: &Value) -> Inferred {
    want_fp32(&Op::Quantise { to }, x)?;
    to.check()?;
    let refuse = |why: &str| {
        let message = format!("quantise of `{}` to {to} is not served at run time: {why}", x.name);
        Err(Error::unsupported(message).help("at run time a row or a block along it has a scale"))
    };
    match to.scaling {
        _ if to.planes > 1 => refuse("planes are fitted to weights"),
        _ if to.offset => refuse("offsets are fitted to weights"),
        Scaling::Tensor => refuse("a scale of the tensor is measured over weights"),
        Scaling::Tile(..) => refuse("scales of tiles are measured over weights"),
        Scaling::None | Scaling::Row | Scaling::Block(_) => Ok((x.shape.clone(), to)),
    }
}

/// Codes and scales in f64. A code counts as uncertain, and its bound spans its neighbour, where the f32 quotient may
/// fall on the other side of a tie (docs/numerics.md, section 11: within 4u of it).
pub(super) fn quantise(to: TensorType, operands: &[Operand<'_>]) -> Result<Reference> {
    let (shape, x) = operands[0].scaled()?;
    let (rows, cols) = rows_cols(&shape);
    let tensor = Tensor::of(&to, &x);
    let (mut values, mut bound, mut scales, mut scale_bound) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in (0..rows).map(|r| &x[r * cols..(r + 1) * cols]) {
        let run = if matches!(to.scaling, Scaling::Block(_)) { to.run(cols) } else { cols.max(1) };
        let groups: Vec<&[f64]> =
            if row.is_empty() && to.scaling == Scaling::Row { vec![row] } else { row.chunks(run).collect() };
        for group in groups {
            let Scale { divisor, stored, spread, scale_bound: scale_off, certain } = scale_of(&to, &tensor, group);
            for x in group {
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
            if to.scaling != Scaling::None {
                scales.push(stored);
                scale_bound.push(if certain || stored.is_nan() { scale_off } else { f64::INFINITY });
            }
        }
    }
    if to.scale.global {
        scale_bound.push(0.0);
    }
    let result = Real { shape, values, scales, offsets: Vec::new(), global: tensor.global, ty: to, live: Vec::new() };
    Ok(Reference { result, bound, scale_bound })
}

/// One rounding to f32.
fn fl(x: f64) -> f64 {
    f64::from(x as f32)
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |top: f64, x| if x.is_nan() || x.abs() > top { x.abs() } else { top })
}

/// What two-level scaling knows of the whole tensor.
struct Tensor {
    /// Factor onto the range of element times block scale.
    up: f64,
    /// The stored scale; NaN if the tensor has NaN or infinity, 1 without two levels.
    global: f64,
}

impl Tensor {
    fn of(to: &TensorType, x: &[f64]) -> Self {
        if !to.scale.global {
            return Tensor { up: 1.0, global: 1.0 };
        }
        let top = largest(x);
        if !top.is_finite() {
            return Tensor { up: f64::NAN, global: f64::NAN };
        }
        let up = finite(fl(2688.0 / top));
        Tensor { up: if top == 0.0 || up == 0.0 { 1.0 } else { up }, global: fl(top / 2688.0) }
    }
}

/// Infinity replaced by the largest f32.
fn finite(x: f64) -> f64 {
    if x > f64::from(f32::MAX) { f64::from(f32::MAX) } else { x }
}

/// How a group is scaled into a format.
struct Scale {
    /// What elements are divided by.
    divisor: f64,
    /// The stored scale; NaN poisons the group.
    stored: f64,
    /// Relative error of the f32 quotient; 0 for casts.
    spread: f64,
    /// How far the stored scale may be off.
    scale_bound: f64,
    /// False where f32 may overflow.
    certain: bool,
}

impl Scale {
    /// A scale whose every operation was followed here, so that only the quotient is rounded.
    fn exact(divisor: f64, stored: f64, spread: f64) -> Self {
        Scale { divisor, stored, spread, scale_bound: 0.0, certain: true }
    }
    /// The codes of a poisoned group mean nothing: only its scale is judged.
    fn poison() -> Self {
        Scale { divisor: f64::INFINITY, stored: f64::NAN, spread: 0.0, scale_bound: 0.0, certain: false }
    }
}

fn scale_of(to: &TensorType, tensor: &Tensor, group: &[f64]) -> Scale {
    let top = largest(group);
    if to.scaling == Scaling::None {
        return Scale::exact(1.0, 1.0, 0.0);
    }
    if !top.is_finite() || tensor.global.is_nan() {
        return Scale::poison();
    }
    if to.scale.global {
        let stored = nearest(to.scale.format, fl(top * fl(tensor.up * fl(1.0 / 6.0))));
        let factor = finite(fl(1.0 / fl(stored * fl(1.0 / tensor.up))));
        return Scale::exact(1.0 / factor, stored, 2.0 * U);
    }
    if to.scale.is_power() {
        let power = exp2(exponent(to.format, to.scale.exponent, top));
        return Scale::exact(power, power, 0.0);
    }
    let measured = measured(to.format, top, group);
    if to.scale.format.name == "fp32" || measured.stored.is_nan() {
        return measured;
    }
    // The scale is rounded to its format, and codes are quotients by what is stored.
    let format = to.scale.format;
    let reach = f64::from(format.max);
    let step = match &format.element {
        Element::Float { man, .. } => exp2(-(*man as i32)),
        // Two roots of 8 bits.
        _ => exp2(-12),
    };
    let stored = match &format.element {
        Element::Float { man, bias, .. } => {
            let least = exp2(1 - bias - *man as i32);
            let value = nearest(format, if measured.stored > reach { reach } else { measured.stored });
            if value < least { least } else { value }
        }
        _ => measured.stored,
    };
    let off = measured.scale_bound + step * stored + 2.0 * exp2(-133);
    let off = if measured.scale_bound == 0.0 && matches!(format.element, Element::Float { .. }) { 0.0 } else { off };
    Scale { divisor: stored, stored, spread: 2.0 * U + off / stored, scale_bound: off, certain: measured.certain }
}

/// Exponent of the power of two of a block whose largest magnitude is `top`, an f32.
fn exponent(format: FormatRef, rule: ScaleExponent, top: f64) -> i32 {
    if top == 0.0 {
        return -127;
    }
    let log2 = |x: f64| (x.to_bits() >> 52) as i32 - 1023;
    let floor = log2(top);
    let fraction = match &format.element {
        Element::Float { man, .. } => *man as i32,
        Element::Int => format.bits as i32 - 2,
        _ => 0,
    };
    let emax = log2(f64::from(format.max));
    let exponent = match rule {
        ScaleExponent::Floor => floor,
        ScaleExponent::Ceil => floor + i32::from(top > exp2(floor)),
        // Half a step of the element's fraction is added to the bits of the f32, whose subnormals count as 2^-127.
        ScaleExponent::Even => {
            let base = if floor < -126 { -126 } else { floor };
            let (significand, raised) = (top / exp2(base), top / exp2(base) + exp2(-fraction - 1));
            match significand {
                _ if raised >= 2.0 => base + 1,
                _ if raised < 1.0 => -127,
                _ => base,
            }
        }
        ScaleExponent::RoundedCeil => {
            let quotient = fl(top * fl(1.0 / f64::from(format.max)));
            if quotient <= exp2(-127) {
                return -127;
            }
            let below = log2(quotient);
            return (below + i32::from(quotient > exp2(below))).clamp(-127, 127);
        }
    };
    (exponent - emax).clamp(-127, 127)
}

/// The scale in f32 by the rule of the format.
fn measured(format: FormatRef, top: f64, group: &[f64]) -> Scale {
    let floor = f64::from(1e-5f32);
    let at_least = |a: f64| if a < floor { floor } else { a };
    match (format.rule, &format.element) {
        (ScaleRule::Absmean, _) => {
            let sum = group.iter().fold(0.0, |sum, x| sum + x.abs());
            if group.is_empty() {
                return Scale::poison();
            }
            let mean = at_least(sum / group.len() as f64);
            let spread = mean_bound(group.len()) + 4.0 * U;
            Scale { divisor: mean, stored: mean, spread, scale_bound: spread * mean + TINY, certain: sum < HUGE }
        }
        (_, Element::Int) => {
            let scale = at_least(top) / f64::from(format.max);
            Scale::exact(scale, fl(scale), 4.0 * U)
        }
        _ if top == 0.0 => Scale::exact(1.0, 1.0, 0.0),
        _ => {
            let exact = fl(top / f64::from(format.max));
            let scale = if exact < TINY { TINY } else { exact };
            if scale.is_infinite() {
                return Scale::poison();
            }
            // Formats with borders of their own take a product with the reciprocal, which overflows for tiny scales.
            let certain = format.thresholds.is_empty() || 1.0 / scale < HUGE;
            Scale { certain, ..Scale::exact(scale, scale, 4.0 * U) }
        }
    }
}

/// The level nearest to x of a list of f32 values: a tie goes to the level of even rank, counted from the smallest that is
/// not negative, unless the format has borders of its own. Of such lists only powers of two have NaN, for what has no logarithm.
fn nearest_level(format: &Format, values: &[f32], x: f64) -> f64 {
    if values.iter().any(|v| v.is_nan()) && x < 0.0 {
        return f64::NAN;
    }
    let mut sorted: Vec<f64> = values.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v)).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    let origin = sorted.partition_point(|level| *level < 0.0);
    let middle = |rank: usize| sorted[rank - 1] + sorted[rank];
    let index = match format.thresholds.is_empty() {
        false => format.thresholds.iter().filter(|border| f64::from(**border) < x).count(),
        true => (1..sorted.len())
            .filter(|rank| {
                middle(*rank) < 2.0 * x || middle(*rank) == 2.0 * x && rank.abs_diff(origin).is_multiple_of(2)
            })
            .count(),
    };
    sorted[index]
}

/// The value of the format nearest to x, ties to even, saturating where the format is scaled.
fn nearest(format: FormatRef, x: f64) -> f64 {
    let max = f64::from(format.max);
    let saturates = format.saturate || format.rule != ScaleRule::Cast;
    if x.is_nan() {
        return match &format.element {
            Element::Float { specials: Specials::None, .. } => max,
            Element::Float { .. } => x,
            Element::Real { values } if values.iter().any(|v| v.is_nan()) => x,
            _ => nearest(format, 0.0),
        };
    }
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
            let (half, unit) = (exp2(format.bits as i32 - 1), exp2(format.unit.unwrap_or(0)));
            let y = (x / unit).round_ties_even();
            let y = if y > half - 1.0 {
                half - 1.0
            } else if y < -half {
                -half
            } else {
                y
            };
            y * unit
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
        Element::Real { values } => nearest_level(format, values, x),
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
