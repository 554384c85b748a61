//! The specification of every dot product: plain scalar loops (numerics contract, section 3).
//!
//! A dot product here is unscaled: operands are the values of the codes, and the result is `F` of the contract,
//! which is never -0.

use crate::num::func::{NAN, fma};

/// Exact sum of products of integer levels. `wide` says that 8192 products may not fit an i64.
pub(super) fn exact_sum(x: &[i64], w: &[i64], wide: bool) -> i128 {
    if wide {
        return x.iter().zip(w).map(|(a, b)| i128::from(*a) * i128::from(*b)).sum();
    }
    x.chunks(8192)
        .zip(w.chunks(8192))
        .map(|(xs, ws)| i128::from(xs.iter().zip(ws).map(|(a, b)| a * b).sum::<i64>()))
        .sum()
}

/// `sum * 2^unit`, rounded once to f32 (ties to even, gradual underflow).
pub(super) fn round_sum(sum: i128, unit: i32) -> f32 {
    if (-90..0).contains(&unit) {
        // What is not 0 stays normal, so that the power of two does not round again.
        return sum as f32 * f32::from_bits(((127 + unit) as u32) << 23);
    }
    // To 53 bits with what is below them in the last one (round to odd), then once to f32, subnormal or not.
    let magnitude = sum.unsigned_abs();
    let drop = (128 - magnitude.leading_zeros()).saturating_sub(53);
    let lost = magnitude & ((1 << drop) - 1) != 0;
    let odd = (magnitude >> drop | u128::from(lost)) as f64 * f64::from(unit + drop as i32).exp2();
    if sum < 0 { -odd as f32 } else { odd as f32 }
}

/// Result of an exact dot product some of whose products are NaN or infinite; `None` if all are finite.
pub(super) fn special(x: &[f32], w: &[f32]) -> Option<f32> {
    let (mut up, mut down) = (false, false);
    for (a, b) in x.iter().zip(w) {
        let product = f64::from(*a) * f64::from(*b);
        if product.is_nan() {
            return Some(NAN);
        }
        up |= product == f64::INFINITY;
        down |= product == f64::NEG_INFINITY;
    }
    match (up, down) {
        (false, false) => None,
        (true, true) => Some(NAN),
        (true, false) => Some(f32::INFINITY),
        (false, true) => Some(f32::NEG_INFINITY),
    }
}

/// Class C: one fused chain, k ascending.
pub(super) fn chain(x: &[f32], w: &[f32]) -> f32 {
    let mut total = 0.0f32;
    for (a, b) in x.iter().zip(w) {
        total = fma(*a, *b, total);
    }
    total + 0.0
}

/// Class P: chunks of 32, even and odd elements in chains of their own. `flush` selects the bf16 rules: results
/// that are tiny after rounding become zero (operands must already have their subnormals read as zero).
pub(super) fn pair(x: &[f32], w: &[f32], flush: bool) -> f32 {
    let step = if flush { flushing_fma } else { fma };
    let mut total = 0.0f32;
    for (xs, ws) in x.chunks(32).zip(w.chunks(32)) {
        let mut lanes = [0.0f32; 2];
        for (j, (a, b)) in xs.iter().zip(ws).enumerate() {
            lanes[j % 2] = step(*a, *b, lanes[j % 2]);
        }
        let chunk = step(lanes[0], 1.0, lanes[1]);
        total = step(total, 1.0, chunk);
    }
    total + 0.0
}

/// `fma(a, b, c)`, flushed to a zero of its sign if it is below 2^-126 after rounding to 24 bits with unbounded
/// exponent. A gradual result of exactly 2^-126 may have been rounded up from below, so it is judged again at
/// 2^100 times its size.
pub(super) fn flushing_fma(a: f32, b: f32, c: f32) -> f32 {
    const LEAST_NORMAL: f32 = f32::MIN_POSITIVE;
    const P50: f32 = 1_125_899_906_842_624.0;
    let gradual = fma(a, b, c);
    if gradual.abs() > LEAST_NORMAL || gradual.is_nan() {
        return gradual;
    }
    let scaled = fma(a * P50, b * P50, c * P50 * P50);
    if scaled != 0.0 && scaled.abs() < LEAST_NORMAL * P50 * P50 { 0.0f32.copysign(scaled) } else { gradual }
}

/// Class P reads subnormal bf16 operands as zeros of their sign.
pub(super) fn subnormals_as_zero(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_sums_round_once() {
        // 2^24 + 1 is a tie that goes to even, 2^24 + 3 one that goes up; both only if rounded once.
        assert_eq!(round_sum((1 << 24) + 1, 0), 16_777_216.0);
        assert_eq!(round_sum((1 << 24) + 3, 0), 16_777_220.0);
        assert_eq!(round_sum(-3, -1), -1.5);
        assert_eq!(round_sum(0, -18).to_bits(), 0);
        let big = [i64::from(i32::MAX) * 2; 3];
        let expected = 3 * (i128::from(i32::MAX) * 2).pow(2);
        assert_eq!(exact_sum(&big, &big, true), expected);
        let ones = vec![-128i64; 20_000];
        assert_eq!(exact_sum(&ones, &ones, false), 16_384 * 20_000);
    }

    #[test]
    fn special_products_follow_the_contract() {
        let inf = f32::INFINITY;
        assert_eq!(special(&[1.0, 2.0], &[3.0, 4.0]), None);
        assert!(special(&[inf], &[0.0]).is_some_and(f32::is_nan));
        assert!(special(&[f32::NAN, 1.0], &[0.0, 1.0]).is_some_and(f32::is_nan));
        assert!(special(&[inf, inf], &[1.0, -1.0]).is_some_and(f32::is_nan));
        assert_eq!(special(&[inf, 1.0], &[-2.0, 5.0]), Some(-inf));
    }

    #[test]
    fn exact_sums_round_once_wherever_they_fall() {
        assert_eq!(round_sum((1 << 24) + 1, 0), 16_777_216.0);
        assert_eq!(round_sum(-(1 << 25) - 3, -1), -16_777_218.0);
        assert_eq!([round_sum(1, -150), round_sum(3, -150)], [0.0, f32::from_bits(2)]);
        assert_eq!(round_sum(0, -200).to_bits(), 0);
        // Rounding to 24 bits first would make a tie of the subnormal grid out of this.
        assert_eq!(round_sum((1 << 40) + (1 << 39) + 1, -190), f32::from_bits(1));
        assert_eq!(round_sum((1 << 40) + (1 << 39) - 1, -189), f32::from_bits(1));
        assert_eq!(round_sum(1 << 100, 100), f32::INFINITY);
        for unit in [-100, -90, -89, -1, 0, 5] {
            for sum in [1, 12_345_678_901_234_567i128, -98_765_432_109_876_543_210] {
                assert_eq!(round_sum(sum, unit), sum as f32 * 2f32.powi(unit), "{sum} {unit}");
            }
        }
    }

    #[test]
    fn chain_is_sequential_and_never_minus_zero() {
        assert_eq!(chain(&[], &[]).to_bits(), 0);
        assert_eq!(chain(&[-0.0], &[1.0]).to_bits(), 0);
        assert_eq!(chain(&[f32::MIN_POSITIVE], &[-f32::MIN_POSITIVE]).to_bits(), 0);
        assert_eq!(chain(&[16_777_216.0, 1.0, 1.0], &[1.0, 1.0, 1.0]), 16_777_216.0);
        assert_eq!(chain(&[1.0, 1.0, 16_777_216.0], &[1.0, 1.0, 1.0]), 16_777_218.0);
    }

    #[test]
    fn pair_order_keeps_even_and_odd_apart() {
        // Even chain: 2^24 + 1 -> 2^24; odd chain: 1 + 1 = 2; sum 2^24 + 2. A plain chain gives 2^24.
        let x = [16_777_216.0, 1.0, 1.0, 1.0];
        assert_eq!(pair(&x, &[1.0; 4], true), 16_777_218.0);
        // A new chunk begins at element 32: its ones meet first.
        let mut x = [0.0f32; 36];
        x[0] = 16_777_216.0;
        (x[32], x[33]) = (1.0, 1.0);
        assert_eq!(pair(&x, &[1.0; 36], false), 16_777_218.0);
    }

    #[test]
    fn tiny_results_are_judged_before_gradual_rounding() {
        // 2^-126 - 1.25 * 2^-151: gradual rounding gives 2^-126, rounding to 24 bits stays below it.
        let c = f32::MIN_POSITIVE;
        let a = -1.25 * 2f32.powi(-75);
        let b = 2f32.powi(-76);
        assert_eq!(fma(a, b, c), c);
        assert_eq!(flushing_fma(a, b, c).to_bits(), 0);
        assert_eq!(flushing_fma(a, 0.0, -c), -c);
        assert_eq!(flushing_fma(-c, 0.5, 0.0).to_bits(), 0x8000_0000);
        assert_eq!(subnormals_as_zero(f32::from_bits(0x8000_0001)).to_bits(), 0x8000_0000);
    }
}
