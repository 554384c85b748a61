//! Colour: values as a sum of 2 to 4 sign planes with a scale each, x about a1 b1 + a2 b2 + .. with b = +-1.
//!
//! Three planes with one scale are the triplet, whose levels +-1, +-3 are a row of the format table: fit it with
//! [`super::scale::mse`].

use super::{finite, largest};
use crate::diag::{Error, Result};
use crate::num::func;

/// Planes of a group of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    /// Scale of every plane, never negative.
    pub scales: Vec<f32>,
    /// Signs of every value: bit i is set where plane i has -1.
    pub signs: Vec<u8>,
}

impl Planes {
    /// Value of a set of signs: the scales with their signs, added in f64 in plane order, rounded once.
    pub fn value(&self, signs: u8) -> f32 {
        func::round_f64(level(&self.scales, signs))
    }
    /// Sum of (x - value)^2.
    pub fn error(&self, values: &[f32]) -> f64 {
        values.iter().zip(&self.signs).fold(0.0, |sum, (x, signs)| {
            let miss = f64::from(*x) - level(&self.scales, *signs);
            sum + miss * miss
        })
    }
}

fn level(scales: &[f32], signs: u8) -> f64 {
    scales
        .iter()
        .enumerate()
        .fold(0.0, |sum, (plane, a)| sum + if signs >> plane & 1 == 1 { -f64::from(*a) } else { f64::from(*a) })
}

/// The greedy fit: r = x; for every plane b = sign(r) with sign(+-0) = +1, a = RN32(mean |r|), r = r - a b, residuals and
/// sums in f64 (Guo et al., Network Sketching, arXiv:1706.02021, algorithm 1). No values give scales of 0.
///
/// # Errors
/// BadInput for NaN or infinite values, or a number of planes outside 1 to 4.
pub fn greedy(values: &[f32], planes: usize) -> Result<Planes> {
    check(values, planes)?;
    let mut rest: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
    let mut out = Planes { scales: Vec::new(), signs: vec![0; values.len()] };
    for plane in 0..planes {
        let sum = rest.iter().fold(0.0, |sum, r| sum + r.abs());
        let scale = if values.is_empty() { 0.0 } else { func::round_f64(sum / values.len() as f64) };
        for (r, signs) in rest.iter_mut().zip(&mut out.signs) {
            let negative = *r < 0.0;
            *signs |= u8::from(negative) << plane;
            *r -= if negative { -f64::from(scale) } else { f64::from(scale) };
        }
        out.scales.push(scale);
    }
    Ok(out)
}

/// The least-squares fit by alternation: signs that bring every value to its nearest of the 2^n sums (a tie to the lower
/// number of signs), then scales that solve the n normal equations in f64, until the error falls no more or `rounds` are
/// done (Lin et al., Towards Accurate Binary Convolutional Neural Network, arXiv:1711.11294, and Zhang et al., LQ-Nets,
/// arXiv:1807.10029). It starts from the greedy scales and from scales 2^(n-1) : .. : 2 : 1, and keeps the better end.
///
/// # Errors
/// As [`greedy`].
pub fn least_squares(values: &[f32], planes: usize, rounds: usize) -> Result<Planes> {
    let greedy = greedy(values, planes)?;
    let top = largest(values);
    if top == 0.0 {
        return Ok(greedy);
    }
    let mean = greedy.scales[0] / ((1 << planes) as f32 / 2.0);
    let uniform: Vec<f32> = (0..planes).map(|plane| mean * (1 << (planes - 1 - plane)) as f32).collect();
    let mut best = greedy.clone();
    for start in [greedy.scales, uniform] {
        let end = alternate(values, start, rounds);
        if end.error(values) < best.error(values) {
            best = end;
        }
    }
    Ok(best)
}

fn check(values: &[f32], planes: usize) -> Result<()> {
    if !(1..=4).contains(&planes) {
        return Err(Error::unsupported(format!("{planes} sign planes: 1 to 4 are fitted")));
    }
    finite(values)
}

fn alternate(values: &[f32], scales: Vec<f32>, rounds: usize) -> Planes {
    let mut best = Planes { signs: nearest(values, &scales), scales };
    let mut least = best.error(values);
    for _ in 0..rounds {
        let Some(scales) = solve(values, &best) else { break };
        let next = Planes { signs: nearest(values, &scales), scales };
        let error = next.error(values);
        if error >= least {
            break;
        }
        (best, least) = (next, error);
    }
    best
}

/// Signs of the nearest sum for every value.
fn nearest(values: &[f32], scales: &[f32]) -> Vec<u8> {
    let mut sums: Vec<(f64, u8)> = (0..1u8 << scales.len()).map(|signs| (level(scales, signs), signs)).collect();
    sums.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let borders: Vec<f64> = sums.windows(2).map(|pair| (pair[0].0 + pair[1].0) / 2.0).collect();
    values.iter().map(|x| sums[borders.partition_point(|border| *border < f64::from(*x))].1).collect()
}

/// Scales that fit the signs best; negative ones turn positive (the next signs turn with them). `None` where the planes
/// do not determine them.
fn solve(values: &[f32], planes: &Planes) -> Option<Vec<f32>> {
    let n = planes.scales.len();
    // The normal equations, right-hand side last.
    let mut rows = vec![vec![0.0; n + 1]; n];
    for (x, signs) in values.iter().zip(&planes.signs) {
        let b = |plane: usize| if signs >> plane & 1 == 1 { -1.0 } else { 1.0 };
        for (i, row) in rows.iter_mut().enumerate() {
            (0..n).for_each(|j| row[j] += b(i) * b(j));
            row[n] += b(i) * f64::from(*x);
        }
    }
    let scales = solution(rows, 1e-9 * values.len() as f64)?;
    Some(scales.into_iter().map(|scale| func::round_f64(scale.abs())).collect())
}

/// Solution of normal equations with the right-hand side last in every row, by Gauss-Jordan: the matrix is positive
/// definite, so no rows need to change places. `None` where a pivot is below `least`.
pub(super) fn solution(mut rows: Vec<Vec<f64>>, least: f64) -> Option<Vec<f64>> {
    let n = rows.len();
    for i in 0..n {
        let pivot = rows[i][i];
        if pivot < least {
            return None;
        }
        rows[i].iter_mut().for_each(|entry| *entry /= pivot);
        let done = rows[i].clone();
        for (_, row) in rows.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            let factor = row[i];
            row.iter_mut().zip(&done).for_each(|(entry, above)| *entry -= factor * above);
        }
    }
    Some(rows.iter().map(|row| row[n]).collect())
}

#[cfg(test)]
mod tests {
    use super::super::samples::gauss;
    use super::*;

    #[test]
    fn both_fits_meet_the_figures_of_a_gaussian() {
        let x = gauss(1 << 14);
        let n = x.len() as f64;
        let fit = greedy(&x, 4).unwrap();
        for (got, wanted) in fit.scales.iter().zip([0.797_88, 0.482_63, 0.268_38, 0.159_67]) {
            assert!((f64::from(*got) - wanted).abs() < 1e-3, "{:?}", fit.scales);
        }
        for (planes, wanted) in [(1, 0.363_4), (2, 0.130_4), (3, 0.058_4), (4, 0.032_9)] {
            let error = greedy(&x, planes).unwrap().error(&x) / n;
            assert!((error - wanted).abs() < 5e-4, "{planes} {error}");
        }
        // Joint optima, by minimisation of the closed forms.
        for (planes, wanted) in [(1, 0.363_38), (2, 0.117_48), (3, 0.036_94), (4, 0.011_41)] {
            let fit = least_squares(&x, planes, 200).unwrap();
            let error = fit.error(&x) / n;
            assert!((error - wanted).abs() < wanted * 0.015, "{planes} {error} {:?}", fit.scales);
        }
    }

    #[test]
    fn sums_of_planes_are_found_exactly() {
        let values: Vec<f32> = (0..64).map(|i| [7.0, 5.0, 3.0, 1.0, -1.0, -3.0, -5.0, -7.0][i * 5 % 8]).collect();
        let fit = least_squares(&values, 3, 50).unwrap();
        assert_eq!(fit.error(&values), 0.0);
        assert!(values.iter().zip(&fit.signs).all(|(x, signs)| fit.value(*signs) == *x));
        assert_eq!(fit.scales, [4.0, 2.0, 1.0]);
    }

    #[test]
    fn degenerate_input() {
        let zeros = least_squares(&[0.0, -0.0], 3, 9).unwrap();
        assert_eq!((zeros.scales, zeros.signs), (vec![0.0; 3], vec![0, 0]));
        assert_eq!(greedy(&[], 2).unwrap().scales, [0.0, 0.0]);
        for x in [-2.5f32, 1e-45, 1e38, -1e38] {
            let fit = least_squares(&[x], 2, 9).unwrap();
            assert_eq!(fit.value(fit.signs[0]), x);
        }
        assert!(greedy(&[f32::NAN], 2).is_err() && least_squares(&[f32::INFINITY], 2, 9).is_err());
        assert!(greedy(&[1.0], 0).is_err() && greedy(&[1.0], 5).is_err());
    }
}
