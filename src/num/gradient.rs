//! Derivatives that stand in for the derivative of rounding, which is zero almost everywhere (numerics contract, 9).

use super::func::{exp, log, min};

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
