//! Sine and cosine in f32 with stated bits (numerics contract, section 7): the angle is reduced exactly enough in integers
//! for every finite f32, so large angles are as good as small ones.

use super::func::{NAN, fma, round_i128};

/// floor(2/pi * 2^198): what lies above 2^128 and the rest.
const TWO_OVER_PI: [u128; 2] = [0x28_be60_db93_9105_4a7f, 0x09d5_f47d_4d37_7036_d8a5_664f_10e4_107f];
/// pi/2 * 2^62, to nearest.
const HALF_PI: i128 = 0x6487_ed51_10b4_611a;
/// Below it an angle is its own remainder.
const SPLIT: f32 = 0.78125;

/// (sin(r)/r - 1) / z in z = r^2 for |r| <= pi/4, highest power first: minimax, each coefficient rounded to f32 and those
/// of higher powers fitted again. Relative error of r + r z p(z) before rounding: 4.0e-9.
const SIN: [f32; 3] = [
    f32::from_bits(0xb94c_a9fe), // -0x1.9953fcp-13
    f32::from_bits(0x3c08_83bc), // 0x1.110778p-7
    f32::from_bits(0xbe2a_aaa3), // -0x1.555546p-3
];
/// (cos(r) - 1 + z/2) / z^2, the same way. Relative error of the cosine before rounding: 1.2e-10.
const COS: [f32; 3] = [
    f32::from_bits(0x37cc_f406), // 0x1.99e80cp-16
    f32::from_bits(0xbab6_0614), // -0x1.6c0c28p-10
    f32::from_bits(0x3d2a_aaa5), // 0x1.55554ap-5
];

/// Sine. Error bound: docs/numerics.md, section 7; keeps the sign of a zero, NaN of an infinity.
pub fn sin(x: f32) -> f32 {
    let Some((quarter, r)) = reduce(x.abs()) else { return NAN };
    let magnitude = if quarter & 1 == 0 { sin_near_zero(r) } else { cos_near_zero(r) };
    if (quarter & 2 != 0) != x.is_sign_negative() { -magnitude } else { magnitude }
}

/// Cosine. Error bound: docs/numerics.md, section 7; NaN of an infinity.
pub fn cos(x: f32) -> f32 {
    let Some((quarter, r)) = reduce(x.abs()) else { return NAN };
    let magnitude = if quarter & 1 == 0 { cos_near_zero(r) } else { sin_near_zero(r) };
    if quarter.wrapping_add(1) & 2 != 0 { -magnitude } else { magnitude }
}

/// Quarter turns (mod 4) and the rest of an angle that is not negative, |rest| <= pi/4; `None` if it is not finite.
fn reduce(x: f32) -> Option<(u32, f32)> {
    if !x.is_finite() {
        return None;
    }
    if x < SPLIT {
        return Some((0, x));
    }
    // x = significand * 2^(field - 150), field >= 126: the shift is at most 128.
    let (significand, field) = (u128::from(x.to_bits() & 0x7f_ffff | 0x80_0000), x.to_bits() >> 23);
    let window = match 254 - field {
        0 => TWO_OVER_PI[1],
        128 => TWO_OVER_PI[0],
        shift => TWO_OVER_PI[1] >> shift | TWO_OVER_PI[0] << (128 - shift),
    };
    // Quarter turns with 94 binary places, mod 4.
    let turns = (significand * (window & ((1 << 96) - 1))) & ((1 << 96) - 1);
    let nearest = (turns + (1 << 93)) >> 94;
    let rest = (turns as i128 - ((nearest as i128) << 94)) >> 30;
    Some((nearest as u32, round_i128(rest * HALF_PI, -126)))
}

fn sin_near_zero(r: f32) -> f32 {
    let z = r * r;
    let p = fma(fma(SIN[0], z, SIN[1]), z, SIN[2]);
    fma(p * z, r, r)
}

fn cos_near_zero(r: f32) -> f32 {
    let z = r * r;
    let p = fma(fma(COS[0], z, COS[1]), z, COS[2]);
    fma(z * z, p, fma(z, -0.5, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f32::consts::{FRAC_PI_2, PI, TAU};

    /// Error in units of the last place of the f32 at `wanted`.
    fn ulps(got: f32, wanted: f64) -> f64 {
        let exponent = (wanted.abs().log2().floor() as i32).max(-126);
        (f64::from(got) - wanted).abs() / 2f64.powi(exponent - 23)
    }

    #[test]
    fn errors_stay_below_their_bound_over_all_magnitudes() {
        for (name, f, exact) in [("sin", sin as fn(f32) -> f32, f64::sin as fn(f64) -> f64), ("cos", cos, f64::cos)] {
            let (mut worst, mut at) = (0.0, 0.0);
            for bits in (0..0x7f80_0000u32).step_by(509) {
                let x = f32::from_bits(bits);
                let wanted = exact(f64::from(x));
                let error = if wanted == 0.0 { 0.0 } else { ulps(f(x), wanted) };
                assert_eq!(f(-x).to_bits(), if name == "sin" { (-f(x)).to_bits() } else { f(x).to_bits() });
                (worst, at) = if error > worst { (error, x) } else { (worst, at) };
            }
            assert!(worst < 1.6, "{name}({at:e}): {worst} ulp");
            assert!(worst > 0.5, "{name}: {worst} ulp is too good for the sample to mean anything");
        }
    }

    #[test]
    fn the_contract_states_the_coefficients_and_constants() {
        let contract = include_str!("../../docs/numerics.md");
        for [a, b, c] in [SIN, COS] {
            let listed = [a, b, c].map(hex_float).join(", ");
            assert!(contract.contains(&listed), "docs/numerics.md lacks {listed}");
        }
        assert!(contract.contains(&format!("{HALF_PI:#x}")) && contract.contains(&format!("x < {SPLIT}")));
        // pi/2 * 2/pi is 1, up to the 60 bits taken of the second; the bits after those are tried by large angles.
        let product = (TWO_OVER_PI[0] >> 10) * HALF_PI as u128;
        assert!(product.abs_diff(1 << 122) < 1 << 63, "{product:#x}");
    }

    /// As docs/numerics.md writes an f32.
    fn hex_float(x: f32) -> String {
        let (exponent, fraction) = ((x.to_bits() >> 23 & 0xff) as i32 - 127, (x.to_bits() & 0x7f_ffff) << 1);
        let digits = format!("{fraction:06x}");
        format!("{}0x1.{}p{exponent}", if x < 0.0 { "-" } else { "" }, digits.trim_end_matches('0'))
    }

    #[test]
    fn hard_angles_and_special_ones() {
        // Multiples of pi/2 that f32 comes closest to, and the largest f32.
        for x in [FRAC_PI_2, PI, TAU, 16_367_173.0 * 2f32.powi(72), f32::MAX, 1e20, 0.78125] {
            assert!(ulps(sin(x), f64::from(x).sin()) < 1.6, "sin {x:e}");
            assert!(ulps(cos(x), f64::from(x).cos()) < 1.6, "cos {x:e}");
        }
        let bits = |x: f32| x.to_bits();
        assert_eq!([sin(0.0), sin(-0.0), cos(0.0), cos(-0.0)].map(bits), [0.0, -0.0, 1.0, 1.0].map(bits));
        assert_eq!(sin(f32::from_bits(1)).to_bits(), 1);
        for x in [f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0xffc0_0123)] {
            assert_eq!([sin(x), cos(x)].map(bits), [0x7fc0_0000; 2]);
        }
    }
}
