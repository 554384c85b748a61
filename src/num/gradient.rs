//! Derivatives: of the activations, and those that stand in for the derivative of rounding, which is zero almost everywhere
//! (numerics contract, 9). NaN gives NaN.

use super::coefficients::SQRT_HALF;
use super::func::{self, erf, exp, fma, gelut_parts, log, min, sigmoid};

/// 1/sqrt(2 pi).
const DENSITY: f32 = f32::from_bits(0x3ecc_422a); // 0x1.988454p-2

/// Derivative of relu: 1 above 0, else 0.
pub fn relu(x: f32) -> f32 {
    if x.is_nan() { func::NAN } else { f32::from(u8::from(x > 0.0)) }
}

/// Derivative of relu^2: 2 relu(x).
pub fn relu2(x: f32) -> f32 {
    2.0 * func::relu(x)
}

/// Derivative of gelu: with a = fl(0.5 fl(1 + erf(fl(x sqrt(1/2))))) and e = exp(fl(fl(-0.5x) x)) it is fma(fl(x / sqrt(2 pi)), e,
/// a), or a where e is 0.
pub fn gelu(x: f32) -> f32 {
    let (a, e) = (0.5 * (1.0 + erf(x * SQRT_HALF)), exp(-0.5 * x * x));
    if e == 0.0 { a } else { func::canonical(fma(x * DENSITY, e, a)) }
}

/// Derivative of gelut: with t its tanh, a = fl(0.5 fl(1 + t)) and b = fma(-t, t, 1) it is fma(fl(fl(0.5x) b), u, a), u the slope
/// of the polynomial inside, or a where b is 0.
pub fn gelut(x: f32) -> f32 {
    let (t, slope) = gelut_parts(x);
    let (a, b) = (0.5 * (1.0 + t), fma(-t, t, 1.0));
    if b == 0.0 { a } else { func::canonical(fma(0.5 * x * b, slope, a)) }
}

/// Derivative of silu: with s = sigmoid(x) and p = fl(s fl(1 - s)) it is fma(x, p, s), or s where p is 0.
pub fn silu(x: f32) -> f32 {
    let s = sigmoid(x);
    let p = s * (1.0 - s);
    if p == 0.0 { s } else { func::canonical(fma(x, p, s)) }
}

/// Exponent of the differentiable gradient estimator that its paper recommends.
pub const DGE_K: f32 = 5.0;
/// Bound of its derivative.
pub const DGE_CLIP: f32 = 3.0;

/// Derivative of the differentiable gradient estimator at `x`, a value already scaled to the ascending `grid`:
/// min((1/k) |2 (x - low) / (high - low) - 1|^(1/k - 1), 3) in the interval [low, high) of the grid that holds x
/// (Wang et al., Optimizing Large Language Model Training Using FP4 Quantization, arXiv:2501.17116, section 3.1).
///
/// Every operation is rounded to f32 in the order printed; the power is exp((1/k - 1) log u) by [`exp`] and [`log`]. The
/// middle of an interval, where the power is infinite, gives the bound. Outside the grid the function is that of MS-AMP:
/// below the first point the first interval goes on, above the last point the derivative is 0 (an absmax scale leaves no
/// value there). NaN gives NaN; a grid of fewer than two points gives 0.
pub fn dge(x: f32, grid: &[f32], k: f32) -> f32 {
    let [.., last] = grid else { return 0.0 };
    if grid.len() < 2 || x > *last {
        return 0.0;
    }
    let at = grid.partition_point(|point| *point <= x).clamp(1, grid.len() - 1);
    let (low, high) = (grid[at - 1], grid[at]);
    let u = (2.0 * (x - low) / (high - low) - 1.0).abs();
    let inverse = 1.0 / k;
    // log(0) is -infinity and its negative multiple +infinity: the middle needs no case of its own.
    min(inverse * exp((inverse - 1.0) * log(u)), DGE_CLIP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::{codec, format};

    #[test]
    fn slopes_are_those_of_the_activations() {
        // Central differences of the f64 functions; erf by its integral, Simpson's rule with 2000 steps.
        let erf = |x: f64| {
            let f = |t: f64| (-t * t).exp() * std::f64::consts::FRAC_2_SQRT_PI;
            let h = x / 2000.0;
            let inner = (1..2000).map(|i| f(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 });
            (inner.fold(f(0.0) + f(x), |a, b| a + b)) * h / 3.0
        };
        let wide_gelu = |x: f64| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()));
        let wide_gelut =
            |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh());
        let wide_silu = |x: f64| x / (1.0 + (-x).exp());
        type Pair<'a> = (&'a str, fn(f32) -> f32, fn(f32) -> f32, &'a dyn Fn(f64) -> f64);
        let pairs: [Pair<'_>; 3] = [
            ("gelu", gelu, func::gelu, &wide_gelu),
            ("gelut", gelut, func::gelut, &wide_gelut),
            ("silu", silu, func::silu, &wide_silu),
        ];
        for (name, slope, function, wide) in pairs {
            for i in -160..=160 {
                let x = i as f32 / 16.0;
                let at = f64::from(x);
                assert!(
                    (f64::from(function(x)) - wide(at)).abs() < 6e-7 * at.abs().max(1.0),
                    "{name}({x}) = {}",
                    function(x)
                );
                let difference = (wide(at + 1e-4) - wide(at - 1e-4)) / 2e-4;
                assert!((f64::from(slope(x)) - difference).abs() < 1e-6, "{name}'({x}) = {}", slope(x));
            }
            assert_eq!([slope(f32::INFINITY), slope(1e30)], [1.0; 2], "{name}");
            assert_eq!([slope(f32::NEG_INFINITY), slope(-1e30)], [0.0; 2], "{name}");
            assert_eq!(slope(f32::from_bits(0xffc0_0001)).to_bits(), 0x7fc0_0000, "{name}");
            assert_eq!([slope(0.0), function(f32::NEG_INFINITY)].map(f32::to_bits), [0.5, -0.0].map(f32::to_bits));
        }
        assert_eq!([relu(-1.0), relu(0.0), relu(1e-40), relu2(-2.0), relu2(3.0)], [0.0, 0.0, 1.0, 0.0, 6.0]);
        assert!(relu(f32::NAN).is_nan() && relu2(f32::NAN).is_nan());
    }

    fn grid() -> Vec<f32> {
        let e2m1 = format::find("fp4e2m1").unwrap();
        e2m1.sorted.iter().map(|code| codec::value(e2m1, *code)).collect()
    }

    #[test]
    fn it_agrees_with_the_reference_within_1e_4_and_with_its_bf16_vector() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/dge.json")).expect("a JSON file");
        let list = |key: &str| -> Vec<f64> {
            golden[key].as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
        };
        let grid = grid();
        assert_eq!(grid.len(), 15);
        let x = golden["x"].as_str().expect("text").split(' ').map(|x| u32::from_str_radix(x, 16).expect("hex"));
        let mut tried = 0;
        for (x, wanted) in x.zip(list("d")) {
            let got = dge(f32::from_bits(x), &grid, DGE_K);
            assert!((f64::from(got) - wanted).abs() < 1e-4, "{}: {got} and {wanted}", f32::from_bits(x));
            tried += 1;
        }
        assert_eq!(tried, list("d").len());
        // MS-AMP computes in bf16 and prints four digits: equal once ours is rounded so.
        let bf16 = format::find("bf16").unwrap();
        for (x, wanted) in list("msamp_x").into_iter().zip(list("msamp_d")) {
            let got = f64::from(codec::value(bf16, codec::cast(bf16, dge(x as f32, &grid, DGE_K))));
            assert!((got - wanted).abs() <= wanted / 128.0 + 5e-5, "{x}: {got} and {wanted}");
        }
    }

    #[test]
    fn ends_middles_and_outsides() {
        let grid = grid();
        let of = |x: f32| dge(x, &grid, DGE_K);
        assert_eq!([of(0.25), of(-5.0), of(2.5), of(5.0)], [3.0; 4]);
        for point in &grid {
            assert!((of(*point) - 0.2).abs() < 1e-7, "{point}");
        }
        assert_eq!([of(6.000_001), of(f32::INFINITY)], [0.0; 2]);
        assert!(of(-6.5) > 0.0 && of(-6.5) < 0.2);
        assert_eq!(of(f32::NEG_INFINITY), 0.0);
        assert!(of(f32::NAN).is_nan());
        assert_eq!([dge(1.0, &[], 5.0), dge(1.0, &[1.0], 5.0)], [0.0; 2]);
    }

    #[test]
    fn clipping_takes_41_percent_of_the_mean() {
        let steps = 40_000;
        let sum = (0..steps).fold(0.0, |sum, i| {
            sum + f64::from(dge((f64::from(i) + 0.5) as f32 / steps as f32 * 2.0 + 4.0, &grid(), DGE_K))
        });
        assert!((sum / f64::from(steps) - 0.5935).abs() < 2e-4, "{}", sum / f64::from(steps));
    }
}
