//! Tests of the functions: error bounds against f64, special cases, and exact roundings.

use super::*;

/// erf in f64 by its all-positive series, good to about 1e-15.
fn erf_f64(x: f64) -> f64 {
    let t = x.abs();
    if t > 6.0 {
        return 1f64.copysign(x);
    }
    let (mut term, mut total, mut n) = (t, t, 1.0);
    while term > total * 1e-18 {
        term *= 2.0 * t * t / (2.0 * n + 1.0);
        total += term;
        n += 1.0;
    }
    (total * (-t * t).exp() * std::f64::consts::FRAC_2_SQRT_PI).copysign(x)
}

/// Error of `got` in units of the last place of the f32 at `wanted`.
fn ulps(got: f32, wanted: f64) -> f64 {
    if f64::from(got) == wanted || wanted.abs() > f64::from(f32::MAX) && got.is_infinite() {
        return 0.0;
    }
    let exponent = (wanted.abs().log2().floor() as i32).clamp(-126, 127);
    (f64::from(got) - wanted).abs() / 2f64.powi(exponent - 23)
}

/// The largest error over a dense sample of all finite f32 that `inside` accepts.
fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, inside: fn(f32) -> bool) -> f64 {
    let mut worst = 0.0;
    for bits in (0..u32::MAX).step_by(4099) {
        let x = f32::from_bits(bits);
        if x.is_finite() && inside(x) {
            let error = ulps(f(x), exact(f64::from(x)));
            worst = if error > worst { error } else { worst };
        }
    }
    worst
}

#[test]
fn functions_keep_their_error_bounds() {
    let sigmoid_f64 = |x: f64| 1.0 / (1.0 + (-x).exp());
    let silu_f64 = |x: f64| x / (1.0 + (-x).exp());
    let rsqrt_f64 = |x: f64| 1.0 / x.sqrt();
    let cases: [(&str, f64, f64); 7] = [
        ("exp", worst(exp, f64::exp, |x| x > -87.0), 0.87),
        ("log", worst(log, f64::ln, |x| x > 0.0), 0.87),
        ("tanh", worst(tanh, f64::tanh, |_| true), 1.1),
        ("erf", worst(erf, erf_f64, |_| true), 1.0),
        // Below -87 the quotient is subnormal or 1/inf.
        ("sigmoid", worst(sigmoid, sigmoid_f64, |x| x > -87.0), 2.5),
        ("silu", worst(silu, silu_f64, |x| x > -87.0), 2.5),
        ("rsqrt", worst(rsqrt, rsqrt_f64, |x| x > 0.0), 1.5),
    ];
    for (name, found, bound) in cases {
        assert!(found <= bound, "{name}: {found} ulp");
        assert!(found > 0.4, "{name}: {found} ulp is too good for the sample to mean anything");
    }
}

#[test]
fn gelu_keeps_its_absolute_bound() {
    for bits in (0..u32::MAX).step_by(4099) {
        let x = f32::from_bits(bits);
        if x.abs() < 16.0 {
            let wide = f64::from(x);
            let wanted = 0.5 * wide * (1.0 + erf_f64(wide * std::f64::consts::FRAC_1_SQRT_2));
            let error = (f64::from(gelu(x)) - wanted).abs();
            let bound = 4.9e-7;
            assert!(error <= bound, "{x}: {error}");
        }
    }
}

#[test]
fn special_cases_are_exact() {
    let inf = f32::INFINITY;
    let bits = |x: f32| x.to_bits();
    type Cases<'a> = &'a [(&'a str, fn(f32) -> f32, f32, f32)];
    let cases: Cases<'_> = &[
        ("exp", exp, 0.0, 1.0),
        ("exp", exp, -0.0, 1.0),
        ("exp", exp, -inf, 0.0),
        ("exp", exp, inf, inf),
        ("exp", exp, -87.4, 0.0),
        ("exp", exp, 88.8, inf),
        ("log", log, 1.0, 0.0),
        ("log", log, 0.0, -inf),
        ("log", log, -0.0, -inf),
        ("log", log, inf, inf),
        ("log", log, -1.0, NAN),
        ("tanh", tanh, inf, 1.0),
        ("tanh", tanh, -inf, -1.0),
        ("tanh", tanh, -0.0, 0.0),
        ("erf", erf, inf, 1.0),
        ("erf", erf, -5.0, -1.0),
        ("erf", erf, -0.0, -0.0),
        ("sigmoid", sigmoid, 0.0, 0.5),
        ("sigmoid", sigmoid, -inf, 0.0),
        ("sigmoid", sigmoid, inf, 1.0),
        ("silu", silu, -inf, -0.0),
        ("silu", silu, inf, inf),
        ("gelu", gelu, -inf, -0.0),
        ("gelu", gelu, inf, inf),
        ("gelu", gelu, -0.0, -0.0),
        ("relu", relu, -0.0, 0.0),
        ("relu", relu, -1.0, 0.0),
        ("relu", relu, 2.5, 2.5),
        ("relu2", relu2, 3.0, 9.0),
        ("relu2", relu2, -3.0, 0.0),
        ("recip", recip, -0.0, -inf),
        ("recip", recip, 4.0, 0.25),
        ("rsqrt", rsqrt, 4.0, 0.5),
        ("rsqrt", rsqrt, 0.0, inf),
        ("rsqrt", rsqrt, -1.0, NAN),
        ("sqrt", sqrt, -1.0, NAN),
        ("sqrt", sqrt, -0.0, -0.0),
        ("rne", rne, 2.5, 2.0),
        ("rne", rne, -0.4, -0.0),
    ];
    for (name, f, x, wanted) in cases {
        assert_eq!(bits(f(*x)), bits(*wanted), "{name}({x})");
        assert_eq!(bits(f(f32::from_bits(0xffc0_0123))), 0x7fc0_0000, "{name}(NaN)");
    }
}

#[test]
fn max_and_min_order_zeros_and_prefer_nan() {
    let bits = |x: f32| x.to_bits();
    assert_eq!([bits(max(-0.0, 0.0)), bits(max(0.0, -0.0))], [0, 0]);
    assert_eq!([bits(min(-0.0, 0.0)), bits(min(0.0, -0.0))], [1 << 31, 1 << 31]);
    assert_eq!(bits(max(1.0, f32::from_bits(0xffff_ffff))), 0x7fc0_0000);
    assert_eq!(bits(min(f32::NAN, f32::NEG_INFINITY)), 0x7fc0_0000);
    assert_eq!([max(-1.0, -2.0), min(-1.0, -2.0), max(3.0, -4.0)], [-1.0, -2.0, 3.0]);
}

#[test]
fn sums_are_rounded_once() {
    let mut state = 0x1234_5678_9abc_def0u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..200_000 {
        let (high, low, shift) = (next(), next(), next() % 127);
        let sum = ((u128::from(high) << 64 | u128::from(low)) as i128) >> shift;
        let unit = (next() % 300) as i32 - 200;
        let got = round_i128(sum, unit);
        assert_eq!(got.to_bits(), slow_round(sum, unit).to_bits(), "{sum} * 2^{unit}");
    }
    assert_eq!(round_i128(0, 5).to_bits(), 0);
    assert_eq!(round_i128(i128::MIN, 0), -(2f32.powi(127)));
    assert_eq!(round_i128(i128::MAX, 0), 2f32.powi(127));
    assert_eq!(round_i128(i128::MIN, 1), f32::NEG_INFINITY);
    assert_eq!(
        [round_i128(1, -149).to_bits(), round_i128(-1, -150).to_bits(), round_i128(3, -150).to_bits()],
        [1, 1 << 31, 2]
    );
    assert_eq!(round_i128((1 << 24) - 1, -150).to_bits(), 0x0080_0000); // rounds up out of the subnormals
    assert_eq!(round_i128((1 << 25) - 1, 103), f32::INFINITY);
}

/// The nearest f32 by bisection over all of them with exact comparisons of scaled integers.
fn slow_round(sum: i128, unit: i32) -> f32 {
    let magnitude = sum.unsigned_abs();
    // |sum| * 2^unit against the midpoint m of two f32: both as integers times powers of two.
    let above = |bits: u32| {
        // Midpoint between `bits` and `bits + 1` is (2 * significand + 1) * 2^(exponent - 1).
        let (field, fraction) = (bits >> 23, u128::from(bits & 0x7f_ffff));
        let (significand, exponent) =
            if field == 0 { (fraction, -149) } else { (fraction | 1 << 23, field as i32 - 150) };
        compare(magnitude, unit, 2 * significand + 1, exponent - 1)
    };
    let (mut low, mut high) = (0u32, 0x7f80_0000u32);
    while low < high {
        let middle = low + (high - low) / 2;
        let order = above(middle);
        if order.is_gt() || (order.is_eq() && middle & 1 == 1) { low = middle + 1 } else { high = middle }
    }
    f32::from_bits(low | u32::from(sum < 0) << 31)
}

fn compare(a: u128, a_unit: i32, b: u128, b_unit: i32) -> std::cmp::Ordering {
    let top = |m: u128, unit: i32| unit + 128 - m.leading_zeros() as i32;
    if a == 0 || b == 0 || top(a, a_unit) != top(b, b_unit) {
        return (a != 0, top(a, a_unit)).cmp(&(b != 0, top(b, b_unit)));
    }
    (a << a.leading_zeros()).cmp(&(b << b.leading_zeros()))
}

#[test]
fn tiny_results_of_the_pair_order_are_flushed_before_they_round_up() {
    let bf16 = |bits: u32| f32::from_bits(bits << 16);
    // 2^-126 - 1.25 * 2^-151: gradual rounding gives 2^-126, but the 24-bit result lies below it.
    let (a, b) = (-1.25 * exp2(-75), exp2(-76));
    assert_eq!(fma(a, b, TINY), TINY);
    assert_eq!(fma_ftz(a, b, TINY).to_bits(), 0);
    assert_eq!(fma_ftz(-a, b, -TINY).to_bits(), 1 << 31);
    assert_eq!(fma_ftz(exp2(-63), exp2(-63), 0.0), TINY);
    assert_eq!(fma_ftz(-exp2(-64), exp2(-63), 0.0).to_bits(), 1 << 31);
    assert_eq!(fma_ftz(3.0, 4.0, 5.0), 17.0);
    assert_eq!(fma_ftz(f32::INFINITY, 0.0, 1.0).to_bits(), 0x7fc0_0000);
    // Exact cancellation of large terms stays a zero though the scaled terms overflow.
    assert_eq!(fma_ftz(exp2(100), exp2(-100), -1.0).to_bits(), 0);
    assert_eq!(add_ftz(1.5 * TINY, -TINY).to_bits(), 0);
    assert_eq!(add_ftz(-1.5 * TINY, TINY).to_bits(), 1 << 31);
    assert_eq!(daz(bf16(0x8001)).to_bits(), 1 << 31);
    assert_eq!(daz(bf16(0x0080)), TINY);
}

#[test]
fn flushing_agrees_with_a_model_in_integers() {
    // Products and sums around 2^-126, in units of 2^-200, exact in i128.
    let mut state = 99u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let mut flushed = 0;
    for _ in 0..300_000 {
        let significand = |r: u32| i128::from(128 + (r & 127)) * if r & 128 == 0 { 1 } else { -1 };
        let (ra, rb, rc) = (next(), next(), next());
        let (ea, eb) = ((next() % 8) as i32 - 75, (next() % 8) as i32 - 75);
        let (ma, mb) = (significand(ra), significand(rb));
        let mc = i128::from(1 << 23 | rc & 0x7f_ffff) * if rc >> 30 & 1 == 0 { 1 } else { -1 };
        let ec = -149 + (next() % 3) as i32;
        let a = ma as f32 * exp2(ea + 7) * exp2(-7);
        let b = mb as f32 * exp2(eb + 7) * exp2(-7);
        let c = (mc as f64 * 2f64.powi(ec)) as f32;
        let sum = ma * mb * (1i128 << (ea + eb + 200)) + mc * (1i128 << (ec + 200));
        // Rounded with unbounded exponent (50 binades up), tiny if below 2^-126.
        let wide = f64::from(round_i128(sum, -150));
        let wanted = if sum != 0 && wide.abs() < 2f64.powi(-76) {
            flushed += 1;
            0f32.copysign(wide as f32)
        } else {
            round_i128(sum, -200)
        };
        assert_eq!(fma_ftz(a, b, c).to_bits(), wanted.to_bits(), "{a:e} {b:e} {c:e}");
    }
    assert!(flushed > 1000, "{flushed}");
}

/// As docs/numerics.md writes an f32: significand without zeros at its end.
fn hex_float(x: f32) -> String {
    let (exponent, fraction) = ((x.to_bits() >> 23 & 0xff) as i32 - 127, (x.to_bits() & 0x7f_ffff) << 1);
    let sign = if x < 0.0 { "-" } else { "" };
    let digits = format!("{fraction:06x}");
    format!("{sign}0x1.{}p{exponent}", digits.trim_end_matches('0'))
}

#[test]
fn the_contract_lists_the_coefficients_that_the_code_has() {
    let contract = include_str!("../../docs/numerics.md");
    let tables: [&[f32]; 5] = [&c::EXP, &c::LOG, &c::TANH, &c::ERF_LOW, &c::ERF_HIGH];
    for table in tables {
        let listed = table.iter().map(|x| hex_float(*x)).collect::<Vec<_>>().join(", ");
        assert!(contract.contains(&listed), "docs/numerics.md lacks {listed}");
    }
    for single in [c::LOG2_E, c::LN_2, c::LN_2_HIGH, c::LN_2_LOW, c::SQRT_HALF, c::EXP_LOWEST, c::EXP_HIGHEST] {
        assert!(contract.contains(&hex_float(single)), "docs/numerics.md lacks {}", hex_float(single));
    }
    for decimal in [c::SHIFTER, c::TANH_SPLIT, c::ERF_SPLIT] {
        assert!(contract.contains(&decimal.to_string()), "docs/numerics.md lacks {decimal}");
    }
}
