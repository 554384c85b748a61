//! The functions of the numerics contract, section 7, over the patterns of f32: every instruction set gives the bits of
//! the scalar specification, and the errors against f64 stay within what docs/numerics.md states.
//!
//! One of `PREON_EXHAUSTIVE` patterns is tried (default 4096; 1 is all 2^32). With `--nocapture` the table is printed.
#![expect(clippy::print_stdout, reason = "the table is what the nightly run is for")]

use preon::native::{Function, Isa};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
use std::fmt::Write as _;

/// Odd and prime: its multiples run through all patterns, and any stretch of them is spread over all exponents.
const STRIDE: u32 = 2_654_435_761;
const BATCH: usize = 4096;

fn one_of() -> u64 {
    std::env::var("PREON_EXHAUSTIVE").ok().and_then(|text| text.parse().ok()).unwrap_or(4096)
}

/// erf in f64: Taylor series about multiples of 1/32.
struct Erf {
    series: Vec<[f64; 12]>,
}

impl Erf {
    const STEPS: f64 = 32.0;

    fn new() -> Self {
        let series = (0..=(6.0 * Self::STEPS) as usize).map(|i| Self::about(i as f64 / Self::STEPS)).collect();
        Self { series }
    }

    /// Coefficients about `a`: erf' = y with y' = -2 x y, so (n + 1) y_{n+1} = -2 (a y_n + y_{n-1}).
    fn about(a: f64) -> [f64; 12] {
        let (mut term, mut value, mut n) = (a, a, 1.0);
        while term > value * 1e-18 {
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            value += term;
            n += 1.0;
        }
        let density = FRAC_2_SQRT_PI * (-a * a).exp();
        let mut c = [0.0; 12];
        c[0] = value * density;
        let (mut before, mut y) = (0.0, density);
        for (n, c) in c.iter_mut().enumerate().skip(1) {
            *c = y / n as f64;
            (before, y) = (y, -2.0 * (a * y + before) / n as f64);
        }
        c
    }

    fn at(&self, x: f64) -> f64 {
        let t = x.abs();
        if t >= 6.0 {
            return 1f64.copysign(x);
        }
        let nearest = (t * Self::STEPS).round();
        let d = t - nearest / Self::STEPS;
        self.series[nearest as usize].iter().rev().fold(0.0, |p, c| p * d + c).copysign(x)
    }
}

/// The function in f64, the arguments over which its error is bounded, and the bound: in units of the last place, or
/// absolute for gelu.
struct Claim<'a> {
    exact: &'a dyn Fn(f64) -> f64,
    inside: fn(f32) -> bool,
    bound: f64,
    absolute: bool,
}

fn claim<'a>(function: Function, erf: &'a dyn Fn(f64) -> f64, gelu: &'a dyn Fn(f64) -> f64) -> Claim<'a> {
    let ulps = |exact, inside, bound| Claim { exact, inside, bound, absolute: false };
    match function {
        Function::Exp => ulps(&f64::exp, |x| (-87.336_54..=88.722_83).contains(&x), 0.90),
        Function::Log => ulps(&f64::ln, |x| x > 0.0, 0.88),
        Function::Tanh => ulps(&f64::tanh, |_| true, 1.1),
        Function::Erf => ulps(erf, |_| true, 1.03),
        // Below -87 the quotient is subnormal or 1/infinity.
        Function::Sigmoid => ulps(&|x| 1.0 / (1.0 + (-x).exp()), |x| x > -87.0, 2.5),
        Function::Silu => ulps(&|x| x / (1.0 + (-x).exp()), |x| x > -87.0, 2.5),
        Function::Gelu => Claim { exact: gelu, inside: |x| x.abs() < 16.0, bound: 4.9e-7, absolute: true },
        Function::Relu => ulps(&|x| if x > 0.0 { x } else { 0.0 }, |_| true, 0.0),
        Function::Relu2 => ulps(&|x| if x > 0.0 { x * x } else { 0.0 }, |_| true, 0.5),
    }
}

/// Error of `got`, in units of the last place of the f32 at `wanted` unless `absolute`.
fn error(got: f32, wanted: f64, absolute: bool) -> f64 {
    let difference = (f64::from(got) - wanted).abs();
    if absolute || difference == 0.0 {
        return difference;
    }
    if wanted.abs() > f64::from(f32::MAX) && got.is_infinite() {
        return 0.0;
    }
    let exponent = ((wanted.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(-126);
    difference / f64::from_bits(((exponent - 23 + 1023) as u64) << 52)
}

/// Largest error and where; panics at the first pattern where a twin differs.
fn sweep(function: Function, claim: &Claim<'_>, twins: &[Isa]) -> (f64, f32) {
    let scalar = function.scalar();
    let (mut worst, mut place) = (0.0, 0.0);
    let count = (1u64 << 32) / one_of();
    let mut x = [0f32; BATCH];
    for start in (0..count).step_by(BATCH) {
        for (i, x) in x.iter_mut().enumerate() {
            *x = f32::from_bits((start as u32).wrapping_add(i as u32).wrapping_mul(STRIDE));
        }
        let y = x.map(scalar);
        for isa in twins {
            let mut twin = x;
            function.apply(*isa, &mut twin);
            for ((x, y), twin) in x.iter().zip(&y).zip(&twin) {
                let (y, twin, x_bits) = (y.to_bits(), twin.to_bits(), x.to_bits());
                assert_eq!(
                    y,
                    twin,
                    "{} at {x_bits:#010x}: scalar {y:#010x}, {} {twin:#010x}",
                    function.name(),
                    isa.name()
                );
            }
        }
        for (x, y) in x.iter().zip(&y).filter(|(x, _)| x.is_finite() && (claim.inside)(**x)) {
            let found = error(*y, (claim.exact)(f64::from(*x)), claim.absolute);
            if found > worst {
                (worst, place) = (found, *x);
            }
        }
    }
    (worst, place)
}

#[test]
fn every_instruction_set_gives_the_scalar_bits_within_the_stated_errors() {
    let table = Erf::new();
    let erf = |x| table.at(x);
    let gelu = |x| 0.5 * x * (1.0 + table.at(x * FRAC_1_SQRT_2));
    let twins: Vec<Isa> = Isa::ALL.into_iter().filter(|isa| *isa != Isa::Scalar && isa.available()).collect();
    let names: Vec<&str> = twins.iter().map(|isa| isa.name()).collect();
    let mut report = format!("1 of {} patterns; scalar = {}\n", one_of(), names.join(" = "));
    let mut beyond = Vec::new();
    for function in Function::ALL {
        let claim = claim(function, &erf, &gelu);
        let (worst, place) = sweep(function, &claim, &twins);
        let unit = if claim.absolute { "absolute" } else { "ulp" };
        writeln!(report, "{:8} {worst:.4e} {unit} at {place:e} ({:#010x})", function.name(), place.to_bits())
            .expect("a string takes text");
        if worst > claim.bound {
            beyond.push(function.name());
        }
    }
    println!("{report}");
    assert!(beyond.is_empty(), "beyond the stated errors: {}\n{report}", beyond.join(", "));
}

#[test]
fn slices_of_any_length_are_served_and_nothing_beyond_them() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        for length in 0..40 {
            let input: Vec<f32> = (0..length + 1).map(|i| i as f32 * 0.37 - 5.0).collect();
            let mut values = input.clone();
            Function::Tanh.apply(isa, &mut values[..length]);
            for (i, (x, y)) in input.iter().zip(&values).enumerate() {
                let wanted = if i < length { Function::Tanh.scalar()(*x) } else { *x };
                assert_eq!(wanted.to_bits(), y.to_bits(), "{} {length} {i}", isa.name());
            }
        }
    }
}

#[test]
fn the_reference_erf_is_good_to_f64() {
    let table = Erf::new();
    for (x, wanted) in [
        (0.25, 0.276_326_390_168_236_93),
        (0.5, 0.520_499_877_813_046_5),
        (1.0, 0.842_700_792_949_714_9),
        (2.0, 0.995_322_265_018_952_7),
        (-3.0, -0.999_977_909_503_001_4),
    ] {
        assert!((table.at(x) - wanted).abs() < 4e-16, "{x}");
    }
    assert_eq!(table.at(1e-30), 1e-30 * FRAC_2_SQRT_PI);
}
