//! Outlier clamping and compensation (OCC): the tails of a tensor are clamped before it is quantised, and what the clamp
//! took away is kept as a short list (Wang et al., arXiv:2501.17116, section 3.2).

use super::finite;
use crate::diag::{Error, Result};

/// A tensor split at two thresholds: `values = clamped + residual`.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Lower threshold.
    pub low: f32,
    /// Upper threshold.
    pub high: f32,
    /// Every value, clamped to the thresholds.
    pub clamped: Vec<f32>,
    /// Index and fl(x - clamped) of every element that the clamp changed, in index order.
    pub residual: Vec<(usize, f32)>,
}

/// Thresholds of `values` at the quantile `alpha`, between 0.5 and 1: the elements at the sorted positions
/// floor((1 - alpha) n) and floor(alpha n), the latter n - 1 at most; both products in f64.
///
/// # Errors
/// BadInput without values, with NaN or infinity among them, or with `alpha` outside [0.5, 1].
pub fn thresholds(values: &[f32], alpha: f64) -> Result<(f32, f32)> {
    if !(0.5..=1.0).contains(&alpha) {
        return Err(Error::bad_input(format!("the quantile of an outlier clamp cannot be {alpha}"))
            .help("from 0.5 to 1; 0.99 leaves 1 % of the values on either side"));
    }
    finite(values)?;
    let Some(last) = values.len().checked_sub(1) else {
        return Err(Error::bad_input("no values, so there are no outliers to clamp"));
    };
    let mut sorted = values.to_vec();
    let mut at = |quantile: f64| {
        let position = ((quantile * values.len() as f64) as usize).min(last);
        *sorted.select_nth_unstable_by(position, f32::total_cmp).1
    };
    Ok((at(1.0 - alpha), at(alpha)))
}

/// Clamps `values` to their [`thresholds`] and lists what that took away.
///
/// # Errors
/// As [`thresholds`]; BadInput where a residual lies beyond f32.
pub fn split(values: &[f32], alpha: f64) -> Result<Split> {
    let (low, high) = thresholds(values, alpha)?;
    let mut out = Split { low, high, clamped: Vec::with_capacity(values.len()), residual: Vec::new() };
    for (at, x) in values.iter().enumerate() {
        let inside = if *x < low {
            low
        } else if *x > high {
            high
        } else {
            *x
        };
        out.clamped.push(inside);
        if inside != *x {
            let rest = x - inside;
            if rest.is_infinite() {
                return Err(Error::bad_input(format!("the residual of element {at} is beyond f32")));
            }
            out.residual.push((at, rest));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::samples::gauss;
    use super::*;

    #[test]
    fn thresholds_are_the_elements_at_the_stated_positions() {
        let values: Vec<f32> = (0..1000).map(|i| ((i * 7) % 1000) as f32).collect();
        assert_eq!(thresholds(&values, 0.99).unwrap(), (10.0, 990.0));
        assert_eq!(thresholds(&values, 1.0).unwrap(), (0.0, 999.0));
        assert_eq!(thresholds(&values, 0.5).unwrap(), (500.0, 500.0));
        assert_eq!(thresholds(&[3.0], 0.99).unwrap(), (3.0, 3.0));
    }

    #[test]
    fn the_residual_gives_back_every_value() {
        let values = gauss(1024);
        let split = split(&values, 0.97).unwrap();
        // floor(0.03 n) below; beyond floor(0.97 n) above.
        assert_eq!(split.residual.len(), 30 + 30);
        let mut again = split.clamped.clone();
        for (at, rest) in &split.residual {
            again[*at] += rest;
        }
        assert!(again.iter().zip(&values).all(|(a, b)| (a - b).abs() <= 1e-6));
        assert!(split.clamped.iter().all(|x| (split.low..=split.high).contains(x)));
    }

    #[test]
    fn degenerate_input() {
        let zeros = split(&[0.0, -0.0, 0.0], 0.99).unwrap();
        assert!(zeros.residual.is_empty() && zeros.clamped.len() == 3);
        assert!(thresholds(&[], 0.99).is_err());
        assert!(thresholds(&[1.0, f32::NAN], 0.99).is_err());
        assert!(thresholds(&[1.0, f32::NEG_INFINITY], 0.99).is_err());
        for alpha in [0.4, 1.1, f64::NAN] {
            assert!(thresholds(&[1.0], alpha).is_err(), "{alpha}");
        }
        let mut far = vec![-f32::MAX; 10];
        far.push(f32::MAX);
        assert!(split(&far, 0.6).unwrap_err().message().contains("beyond f32"));
    }
}
