//! Learned codebooks: the k levels of least square error for a tensor, and the codes that go with them.
//!
//! Eight levels are codebook8: 3-bit codes into a table of the tensor's own.

use super::finite;
use crate::diag::{Error, Result};
use crate::num::func;

/// Distinct values up to which the levels are exact.
const EXACT_VALUES: usize = 1 << 14;

/// The levels of one tensor, ascending; code i is level i.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook {
    /// Level of every code, ascending. Fewer distinct values than levels repeat the highest.
    pub levels: Vec<f32>,
}

/// A point that stands for some values: their number and sum, and the sum of the squares.
type Weighted = [f64; 3];

impl Codebook {
    /// The `k` levels, 1 to 256, of least square error: k-means on a line, whose clusters are intervals of the sorted
    /// values, so that a dynamic programme over the sorted values finds the global optimum (Wang and Song, Ckmeans.1d.dp,
    /// R Journal 2011; divide and conquer as in Groenlund et al., arXiv:1701.07204). Among equal optima it takes the one
    /// with the lowest borders. Of no more distinct values than levels each is a level, exactly.
    ///
    /// Beyond 16384 distinct values they are first collected into 16384 bins of equal width between the least and the
    /// largest, each of which counts with the sum of its values: exact but for where within a bin a border lies.
    ///
    /// # Errors
    /// BadInput without values, with NaN or infinity among them, or for another `k`.
    pub fn fit(values: &[f32], k: usize) -> Result<Codebook> {
        if !(1..=256).contains(&k) {
            return Err(Error::bad_input(format!("a codebook has 1 to 256 levels, not {k}")));
        }
        finite(values)?;
        if values.is_empty() {
            return Err(Error::bad_input("no values, so there are no levels to fit"));
        }
        let (mean, points) = collect(values);
        let level = |[count, sum, _]: Weighted| func::round_f64(mean + sum / count) + 0.0;
        let mut levels: Vec<f32> = match points.len() <= k {
            true => distinct(values),
            false => clusters(&points, k).into_iter().map(level).collect(),
        };
        levels.resize(k, *levels.last().expect("at least one cluster"));
        Ok(Codebook { levels })
    }

    /// Code of the level nearest to `x`, a tie to the lower one; NaN gives 0.
    pub fn code(&self, x: f32) -> u8 {
        let below = |pair: &[f32]| f64::from(x) > (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
        self.levels.windows(2).take_while(|pair| below(pair)).count() as u8
    }

    /// Level of `code`; codes beyond the table give +0.
    pub fn value(&self, code: u8) -> f32 {
        self.levels.get(usize::from(code)).copied().unwrap_or(0.0)
    }
}

/// The distinct values, ascending: levels as they are, where there are enough for all.
fn distinct(values: &[f32]) -> Vec<f32> {
    let mut sorted: Vec<f32> = values.iter().map(|v| v + 0.0).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    sorted.dedup();
    sorted
}

/// Mean of the values, and their distinct ones (or bins) ascending, taken about the mean.
fn collect(values: &[f32]) -> (f64, Vec<Weighted>) {
    let mean = values.iter().fold(0.0, |sum, v| sum + f64::from(*v)) / values.len() as f64;
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let (low, high) = (f64::from(sorted[0]), f64::from(sorted[sorted.len() - 1]));
    let distinct = 1 + sorted.windows(2).filter(|pair| pair[0] < pair[1]).count();
    let bin = |v: f64| ((v - low) / (high - low) * EXACT_VALUES as f64) as usize;
    let together = |a: f32, b: f32| a == b || (distinct > EXACT_VALUES && bin(f64::from(a)) == bin(f64::from(b)));
    let mut points: Vec<Weighted> = Vec::new();
    for (at, v) in sorted.iter().enumerate() {
        if at == 0 || !together(sorted[at - 1], *v) {
            points.push([0.0; 3]);
        }
        let (point, v) = (points.last_mut().expect("just pushed"), f64::from(*v) - mean);
        *point = [point[0] + 1.0, point[1] + v, point[2] + v * v];
    }
    (mean, points)
}

/// Count, sum and sum of squares of every cluster of the best partition of `points` into `k` intervals.
fn clusters(points: &[Weighted], k: usize) -> Vec<Weighted> {
    let mut prefix = vec![[0.0; 3]];
    for point in points {
        let last = prefix[prefix.len() - 1];
        prefix.push([0, 1, 2].map(|i| last[i] + point[i]));
    }
    let between = |from: usize, to: usize| [0, 1, 2].map(|i| prefix[to][i] - prefix[from][i]);
    let cost = |from: usize, to: usize| {
        let [count, sum, squares] = between(from, to);
        squares - sum * sum / count
    };
    // error[j]: of the first j points in as many clusters as there are rounds done; from[round][j]: where the last began.
    let n = points.len();
    let mut error: Vec<f64> = (0..=n).map(|j| if j == 0 { 0.0 } else { cost(0, j) }).collect();
    let mut from = vec![vec![0usize; n + 1]];
    for round in 1..k {
        let (mut next, mut begins) = (vec![f64::INFINITY; n + 1], vec![0; n + 1]);
        // Where the last cluster begins rises with j: halve the range of j, and with it that of beginnings.
        let mut work = vec![(round + 1, n, round, n - 1)];
        while let Some((low, high, first, last)) = work.pop() {
            if low > high {
                continue;
            }
            let middle = usize::midpoint(low, high);
            let range = first..=last.min(middle - 1);
            for (begin, before) in range.clone().zip(&error[range]) {
                let here = before + cost(begin, middle);
                if here < next[middle] {
                    (next[middle], begins[middle]) = (here, begin);
                }
            }
            work.push((low, middle - 1, first, begins[middle]));
            work.push((middle + 1, high, begins[middle], last));
        }
        error = next;
        from.push(begins);
    }
    let mut end = n;
    let mut out: Vec<Weighted> = Vec::with_capacity(k);
    for begins in from.iter().rev() {
        out.push(between(begins[end], end));
        end = begins[end];
    }
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::super::samples::gauss;
    use super::*;

    fn error(values: &[f32], book: &Codebook) -> f64 {
        values.iter().fold(0.0, |sum, x| sum + f64::from(*x - book.value(book.code(*x))).powi(2))
    }

    #[test]
    fn the_levels_of_a_gaussian_are_lloyd_and_max_s() {
        // J. Max, Quantizing for Minimum Distortion (1960), table I.
        let golden: [(usize, &[f64], f64); 3] =
            [(2, &[0.7980], 0.3634), (4, &[0.4528, 1.510], 0.1175), (8, &[0.2451, 0.7560, 1.344, 2.152], 0.03454)];
        for n in [1 << 12, 1 << 15] {
            let x = gauss(n);
            for (k, levels, mse) in golden {
                let book = Codebook::fit(&x, k).unwrap();
                for (got, wanted) in book.levels[k / 2..].iter().zip(levels) {
                    assert!((f64::from(*got) - wanted).abs() < 0.012, "{k}: {:?}", book.levels);
                }
                let got = error(&x, &book) / n as f64;
                assert!((got - mse).abs() < 5e-4, "{k}: {got}");
            }
        }
    }

    #[test]
    fn no_other_partition_is_better() {
        let x: Vec<f32> = (0..11u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 64.0).collect();
        let mut sorted = x.clone();
        sorted.sort_by(f32::total_cmp);
        let best = error(&x, &Codebook::fit(&x, 3).unwrap());
        let mean = |part: &[f32]| part.iter().fold(0.0, |sum, v| sum + v) / part.len() as f32;
        for a in 1..10 {
            for b in a + 1..11 {
                let levels = vec![mean(&sorted[..a]), mean(&sorted[a..b]), mean(&sorted[b..])];
                assert!(best <= error(&x, &Codebook { levels }) + 1e-9);
            }
        }
    }

    #[test]
    fn codes_are_nearest_and_ties_go_down() {
        let book = Codebook { levels: vec![-1.0, 0.0, 2.0] };
        assert_eq!([-9.0, -0.5, -0.4, 1.0, 1.1, 9.0].map(|x| book.code(x)), [0, 0, 1, 1, 2, 2]);
        assert_eq!([book.code(f32::NAN), book.code(f32::INFINITY)], [0, 2]);
        assert_eq!(book.value(7), 0.0);
    }

    #[test]
    fn degenerate_input() {
        assert_eq!(Codebook::fit(&[0.0, -0.0, 0.0], 8).unwrap().levels, [0.0; 8]);
        assert_eq!(Codebook::fit(&[2.5], 2).unwrap().levels, [2.5; 2]);
        let few = Codebook::fit(&[3.0, 1.0, 1.0], 4).unwrap();
        assert_eq!(few.levels, [1.0, 3.0, 3.0, 3.0]);
        assert_eq!([few.code(1.0), few.code(3.0)], [0, 1]);
        let far = Codebook::fit(&[f32::MAX, -f32::MAX, 1e-40], 3).unwrap();
        assert_eq!((far.levels[0], far.levels[2]), (-f32::MAX, f32::MAX));
        assert!(Codebook::fit(&[], 2).is_err() && Codebook::fit(&[f32::NAN], 2).is_err());
        assert!(Codebook::fit(&[1.0], 0).is_err() && Codebook::fit(&[1.0], 257).is_err());
    }
}
