//! Choice of scales, codebooks, planes, outliers and rotations: offline fits on plain f32 values.
//!
//! Everything here is a pure function. Sums are f64 in index order and a result is rounded once to f32 (numerics
//! contract, section 8), so that a fit has one answer on every machine and at every number of threads.
//!
//! | module | what it fits |
//! |---|---|
//! | [`scale`] | one scale: percentile, least squares, rate-distortion, the ternary rules |
//! | [`codebook`] | the levels of a table (exact k-means on a line) |
//! | [`planes`] | sign planes with a scale each: greedy and alternating least squares |
//! | [`outlier`] | clamp thresholds and the sparse residual beyond them |
//! | [`hadamard`] | random-sign rotations of 16 elements |
//! | [`double`] | scales that are quantised themselves |
//! | [`offset`] | integers with a zero point |
//! | [`density`] | the same figures on Gauss, Laplace and Student-t, by integrals instead of samples |

pub mod codebook;
pub mod density;
pub mod double;
pub mod hadamard;
pub mod offset;
pub mod outlier;
pub mod planes;
pub mod scale;

use crate::diag::{Error, Result};

/// Refuses NaN and infinities, which no fit has an answer for.
fn finite(values: &[f32]) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let what = if values[at].is_nan() { "NaN" } else { "infinite" };
            Err(Error::bad_input(format!("element {at} is {what}, so nothing can be fitted to these values")))
        }
    }
}

/// The largest magnitude, +0 without values.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |a, v| if v.abs() > a { v.abs() } else { a })
}

/// Values that tests fit to.
#[cfg(test)]
mod samples {
    /// A standard normal sample without randomness: the quantiles (i + 1/2) / n, in a scattered order (n a power of two).
    pub fn gauss(n: usize) -> Vec<f32> {
        assert!(n.is_power_of_two());
        let quantile = |p: f64| {
            let (mut low, mut high) = (-10.0, 10.0);
            for _ in 0..60 {
                let middle = (low + high) / 2.0;
                if super::density::Density::Gauss.moments(middle)[0] < p { low = middle } else { high = middle }
            }
            (low + high) / 2.0
        };
        (0..n).map(|i| quantile(((i * 40_503 % n) as f64 + 0.5) / n as f64) as f32).collect()
    }
}
