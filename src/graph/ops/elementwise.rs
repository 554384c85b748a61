//! Ops on single elements, alone or in pairs: add, mul, scale, mask and the activation functions.

use super::{Inferred, Op, plain_fp32, want_fp32};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{Operand, Reference, TINY, U};

pub(super) fn infer_broadcast(op: &Op, inputs: &[&Value]) -> Inferred {
    let (a, b) = (inputs[0], inputs[1]);
    want_fp32(op, a)?;
    want_fp32(op, b)?;
    if !a.shape.ends_with(&b.shape) {
        return Err(Error::bad_input(format!(
            "{} needs the shape of `{}` to end with that of `{}`, but they are {:?} and {:?}",
            op.name(),
            a.name,
            b.name,
            a.shape,
            b.shape
        )));
    }
    Ok((a.shape.clone(), plain_fp32()))
}

/// `a op b`, b repeated along the leading axes of a.
pub(super) fn pairwise(op: &Op, operands: &[Operand<'_>]) -> Result<Reference> {
    let (shape, a) = operands[0].scaled()?;
    let (_, b) = operands[1].scaled()?;
    let pairs = a.iter().zip(b.iter().cycle());
    let values = match op {
        Op::Mul => pairs.map(|(a, b)| a * b).collect(),
        _ => pairs.map(|(a, b)| a + b).collect(),
    };
    Ok(Reference::plain(shape, values, |_, y| one_rounding(y)))
}

pub(super) fn scale(factor: f32, operands: &[Operand<'_>]) -> Result<Reference> {
    let (shape, x) = operands[0].scaled()?;
    let values = x.iter().map(|x| x * f64::from(factor)).collect();
    Ok(Reference::plain(shape, values, |_, y| one_rounding(y)))
}

/// Bound of a single correctly rounded operation.
pub(super) fn one_rounding(y: f64) -> f64 {
    1.01 * U * y.abs() + TINY
}

pub(super) fn activation(op: &Op, operands: &[Operand<'_>]) -> Result<Reference> {
    let (shape, x) = operands[0].scaled()?;
    let values = x.iter().map(|x| activate(op, *x)).collect();
    Ok(Reference::plain(shape, values, |_, y| match op {
        Op::Relu => 0.0,
        Op::Relu2 => one_rounding(y),
        // exp 0.857 ulp, then a sum and a quotient; below -88.7 the exponential overflows and the result is -0.
        Op::Silu => 5.0 * U * y.abs() + 3e-37,
        // The tail cancels: 1 + erf is known to about 2^-24 only (docs/numerics.md, gelu).
        _ => 4.3e-7 + 4.0 * U * y.abs(),
    }))
}

fn activate(op: &Op, x: f64) -> f64 {
    match op {
        Op::Relu | Op::Relu2 if x <= 0.0 => 0.0,
        Op::Relu => x,
        Op::Relu2 => x * x,
        _ if x == f64::NEG_INFINITY => 0.0,
        Op::Silu => x / (1.0 + (-x).exp()),
        _ => 0.5 * x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
    }
}

/// Complementary error function: Abramowitz and Stegun 7.1.6 (a series of positive terms) up to 3, the continued
/// fraction 7.1.14 beyond.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x.is_nan() || x > 30.0 {
        return if x.is_nan() { x } else { 0.0 };
    }
    let root_pi = std::f64::consts::PI.sqrt();
    if x < 3.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term > 1e-18 * sum {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        return 1.0 - 2.0 / root_pi * (-x * x).exp() * sum;
    }
    let tail = (1..=120).rev().fold(x, |tail, k| x + f64::from(k) / 2.0 / tail);
    (-x * x).exp() / (root_pi * tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_agrees_with_printed_values() {
        // Abramowitz and Stegun, table 7.1 (erf 0.5, 1, 2) and table 7.3 (x exp(x^2) erfc x at 1/x^2 = 0.04).
        for (x, erf) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((1.0 - erfc(x) - erf).abs() < 1e-10, "{x}");
            assert!((erfc(-x) - 1.0 - erf).abs() < 1e-10, "{x}");
        }
        assert!((erfc(3.0 - 1e-12) - erfc(3.0)).abs() < 1e-15);
        assert!((erfc(5.0) / 1.537_459_794_428_035e-12 - 1.0).abs() < 1e-12);
        assert!((activate(&Op::Gelu, 1.0) - 0.841_344_746_068_543).abs() < 1e-14);
        assert_eq!(activate(&Op::Silu, f64::NEG_INFINITY), 0.0);
    }
}
