//! Per-element f32 functions with stated bits: the polynomials of the numerics contract, section 7, and the single
//! roundings into f32 that dot products end with.
//!
//! Every function works in f32 with round to nearest even and gradual underflow; a product and a sum written apart are
//! two roundings, [`fma`] is one. Every function returns the canonical NaN 0x7fc00000 for any NaN.

use super::coefficients as c;

/// The canonical NaN.
pub const NAN: f32 = f32::from_bits(0x7fc0_0000);
/// The least normal f32, 2^-126.
const TINY: f32 = f32::MIN_POSITIVE;

/// Fused multiply-add: one rounding. NaN is left as the host makes it; canonicalise what leaves a node.
#[inline]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// `x`, or the canonical NaN if it is any NaN.
#[inline]
pub fn canonical(x: f32) -> f32 {
    // On bits: optimisers hold all NaN patterns for equal and drop a float comparison after sqrt.
    if x.to_bits() & 0x7fff_ffff > 0x7f80_0000 { NAN } else { x }
}

/// Correctly rounded square root; NaN below zero.
pub fn sqrt(x: f32) -> f32 {
    canonical(x.sqrt())
}

/// `fl(1 / x)`.
pub fn recip(x: f32) -> f32 {
    canonical(1.0 / x)
}

/// `fl(1 / fl(sqrt(x)))`: two roundings, error below 1.5 ulp.
pub fn rsqrt(x: f32) -> f32 {
    canonical(1.0 / x.sqrt())
}

/// 2^e for -126 <= e <= 127.
fn exp2(e: i32) -> f32 {
    super::codec::exp2(e)
}

/// Evaluates a polynomial by Horner's rule with fma, highest coefficient first.
fn horner(x: f32, coefficients: &[f32]) -> f32 {
    let (first, rest) = coefficients.split_first().expect("a polynomial has a coefficient");
    rest.iter().fold(*first, |p, c| fma(p, x, *c))
}

/// e^x. Error bound: docs/numerics.md, section 7; +0 below -87.3365402, infinity above 88.7228317.
pub fn exp(x: f32) -> f32 {
    if x.is_nan() {
        return NAN;
    }
    if x < c::EXP_LOWEST {
        return 0.0;
    }
    if x > c::EXP_HIGHEST {
        return f32::INFINITY;
    }
    let j = fma(x, c::LOG2_E, c::SHIFTER) - c::SHIFTER;
    let r = fma(j, -c::LN_2_LOW, fma(j, -c::LN_2_HIGH, x));
    let p = fma(fma(horner(r, &c::EXP), r, 1.0), r, 1.0);
    let j = (j as i32).clamp(-126, 128);
    // h = rne(j / 2): an odd j gives way to the even half.
    let h = (j + (j >> 1 & 1)) >> 1;
    (p * exp2(h)) * exp2(j - h)
}

/// Natural logarithm. Error bound: docs/numerics.md, section 7; -infinity of zero, NaN below zero.
pub fn log(x: f32) -> f32 {
    if x.is_nan() || x < 0.0 {
        return NAN;
    }
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x == f32::INFINITY {
        return x;
    }
    let (a, i) = if x < TINY { (x * exp2(23), -23.0) } else { (x, 0.0) };
    let e = (a.to_bits().wrapping_sub(0x3f2a_aaab) & 0xff80_0000) as i32;
    let m = f32::from_bits(a.to_bits().wrapping_sub(e as u32)) - 1.0;
    let i = fma(e as f32, exp2(-23), i);
    let s = m * m;
    let [c10, c9, c8, c7, c6, c5, c4, c3] = c::LOG;
    let r = fma(fma(fma(c10, s, c8), s, c6), s, c4);
    let t = fma(fma(c9, s, c7), s, c5);
    let r = fma(fma(fma(t, m, r), m, c3), m, -0.5);
    fma(i, c::LN_2, fma(r, s, m))
}

/// Hyperbolic tangent. Error bound: docs/numerics.md, section 7; +0 at -0, as the formula has it.
pub fn tanh(x: f32) -> f32 {
    if x.is_nan() {
        return NAN;
    }
    let magnitude = x.abs();
    if magnitude < c::TANH_SPLIT {
        let z = x * x;
        return fma(horner(z, &c::TANH) * z, x, x);
    }
    (1.0 - 2.0 / (exp(2.0 * magnitude) + 1.0)).copysign(x)
}

/// Error function. Error bound: docs/numerics.md, section 7; +-1 beyond 4.
pub fn erf(x: f32) -> f32 {
    if x.is_nan() {
        return NAN;
    }
    let t = x.abs();
    if t > 4.0 {
        return 1f32.copysign(x);
    }
    let s = x * x;
    if t < c::ERF_SPLIT {
        return fma(horner(s, &c::ERF_LOW), x, x);
    }
    let [c7, c6, c5, c4, c3, c2, c1] = c::ERF_HIGH;
    let r = fma(fma(c7, t, c6), s, fma(c5, t, c4));
    let r = fma(fma(fma(r, t, c3), t, c2), t, c1);
    (1.0 - exp(fma(r, t, -t))).copysign(x)
}

/// `fl(1 / fl(1 + exp(-x)))`.
pub fn sigmoid(x: f32) -> f32 {
    canonical(1.0 / (1.0 + exp(-x)))
}

/// `fl(x / fl(1 + exp(-x)))`; -0 at -infinity.
pub fn silu(x: f32) -> f32 {
    if x == f32::NEG_INFINITY {
        return -0.0;
    }
    canonical(x / (1.0 + exp(-x)))
}

/// `fl(fl(x / 2) * fl(1 + erf(fl(x * 0.707106769))))`; -0 at -infinity. The
/// relative error of the negative tail is unbounded by cancellation.
pub fn gelu(x: f32) -> f32 {
    if x == f32::NEG_INFINITY {
        return -0.0;
    }
    canonical((0.5 * x) * (1.0 + erf(x * c::SQRT_HALF)))
}

/// sqrt(2/pi).
const GELUT_LINEAR: f32 = f32::from_bits(0x3f4c_422a); // 0x1.988454p-1
/// 0.044715 sqrt(2/pi).
const GELUT_CUBIC: f32 = f32::from_bits(0x3d12_2279); // 0x1.2444f2p-5

/// tanh of the polynomial that [`gelut`] approximates erf with, and the slope of that polynomial.
pub(super) fn gelut_parts(x: f32) -> (f32, f32) {
    let s = x * x;
    (tanh(x * fma(s, GELUT_CUBIC, GELUT_LINEAR)), fma(s, 3.0 * GELUT_CUBIC, GELUT_LINEAR))
}

/// `fl(fl(x / 2) * fl(1 + tanh(fl(x * fma(fl(x*x), c3, c1)))))` with c1 = sqrt(2/pi), c3 = 0.044715 c1: the other GELU in use,
/// which is no rounding of [`gelu`]; -0 at -infinity.
pub fn gelut(x: f32) -> f32 {
    if x == f32::NEG_INFINITY {
        return -0.0;
    }
    canonical((0.5 * x) * (1.0 + gelut_parts(x).0))
}

/// `x` if it is positive, else +0.
pub fn relu(x: f32) -> f32 {
    if x.is_nan() {
        NAN
    } else if x > 0.0 {
        x
    } else {
        0.0
    }
}

/// `fl(relu(x)^2)`.
pub fn relu2(x: f32) -> f32 {
    let r = relu(x);
    r * r
}

/// Integer key of the total order -infinity < .. < -0 < +0 < .. < +infinity.
fn key(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

/// Maximum in the total order of the contract: NaN wins, -0 < +0.
pub fn max(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() {
        return NAN;
    }
    if key(a) >= key(b) { a } else { b }
}

/// Minimum in the same order: NaN wins.
pub fn min(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() {
        return NAN;
    }
    if key(a) <= key(b) { a } else { b }
}

/// To the nearest integer, ties to even; NaN and infinities stay.
pub fn rne(x: f32) -> f32 {
    canonical(x.round_ties_even())
}

/// Reads a subnormal as a zero of its sign (DAZ), as the bf16 pair order reads its operands.
pub fn daz(x: f32) -> f32 {
    if x.abs() < TINY { 0f32.copysign(x) } else { x }
}

/// Fused multiply-add of the bf16 pair order: a result that is tiny after rounding to 24 bits with unbounded exponent
/// becomes a zero of its sign. Operands must be normal or zero (see [`daz`]); a and b are bf16 values.
///
/// Rounding gradually and then flushing is not the same: a result just below 2^-126 may round up to it.
pub fn fma_ftz(a: f32, b: f32, c: f32) -> f32 {
    let g = fma(a, b, c);
    if g.abs() > TINY || g.is_nan() {
        return canonical(g);
    }
    // The same sum 100 binades higher, where rounding has 24 bits.
    let up = exp2(50);
    let t = fma(a * up, b * up, c * up * up);
    if t != 0.0 && t.abs() < exp2(-26) { 0f32.copysign(t) } else { g }
}

/// Sum of the bf16 pair order: subnormal results become a zero of their sign (such sums are exact, so the order of
/// rounding and flushing does not matter).
pub fn add_ftz(a: f32, b: f32) -> f32 {
    canonical(daz(a + b))
}

/// `sum * 2^unit` rounded once to f32, nearest even, gradual underflow, infinity beyond the range; zero is +0. This is
/// how an exact sum becomes a number.
pub fn round_i128(sum: i128, unit: i32) -> f32 {
    let magnitude = sum.unsigned_abs();
    if magnitude == 0 {
        return 0.0;
    }
    let sign = u32::from(sum < 0) << 31;
    let top = i64::from(unit) + 127 - i64::from(magnitude.leading_zeros());
    if top > 127 {
        return f32::from_bits(sign | 0x7f80_0000);
    }
    // Quantum of the result: 24 significant bits, never below 2^-149.
    let quantum = (top - 23).max(-149);
    let shift = quantum - i64::from(unit);
    let units = if shift <= 0 {
        magnitude << -shift
    } else if shift > 128 {
        0
    } else {
        let half = 1u128 << (shift - 1);
        let rest = magnitude & (half | (half - 1));
        let kept = if shift == 128 { 0 } else { magnitude >> shift };
        kept + u128::from(rest > half || (rest == half && kept & 1 == 1))
    };
    // As in the codec, a carry moves into the exponent field by itself, up to infinity.
    f32::from_bits(sign | ((((quantum + 149) as u32) << 23) + units as u32))
}

/// `x` rounded once to f32, nearest even; NaN is canonical.
pub fn round_f64(x: f64) -> f32 {
    canonical(x as f32)
}

#[cfg(test)]
#[path = "func_tests.rs"]
mod tests;
