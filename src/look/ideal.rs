//! The best single scale of a codebook: for the rows of a real tensor, and for a Gaussian, whose figure is what formats of
//! equal bits are usually compared by.
//!
//! Nearest levels change where a value passes the middle between two levels, so with the values sorted and their sums known
//! from the left, the squared error of a scale needs a search for each middle and no walk over the values.

use crate::num::{Format, value};
use crate::tensor::TensorType;

/// Sorted values with running sums of weight and of weighted value.
struct Sums {
    values: Vec<f64>,
    weight: Vec<f64>,
    first: Vec<f64>,
    /// Weighted sum of squares.
    power: f64,
}

impl Sums {
    /// Of (value, weight) in ascending order of values.
    fn new(points: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut sums = Sums { values: Vec::new(), weight: vec![0.0], first: vec![0.0], power: 0.0 };
        let (mut weight, mut first) = (0.0, 0.0);
        for (x, w) in points {
            weight += w;
            first += w * x;
            sums.power += w * x * x;
            sums.values.push(x);
            sums.weight.push(weight);
            sums.first.push(first);
        }
        sums
    }

    /// Weighted sums of x·q and of q·q, where q is the level nearest to x / scale.
    fn products(&self, levels: &[f64], scale: f64) -> (f64, f64) {
        let (mut xq, mut qq, mut from) = (0.0, 0.0, 0);
        for (at, level) in levels.iter().enumerate() {
            let to = match levels.get(at + 1) {
                Some(next) => self.values.partition_point(|x| *x < scale * 0.5 * (level + next)),
                None => self.values.len(),
            };
            xq += level * (self.first[to] - self.first[from]);
            qq += level * level * (self.weight[to] - self.weight[from]);
            from = to;
        }
        (xq, qq)
    }

    /// The least squared error of one scale: a scan over scales 2^(1/4) apart, then alternating nearest levels and the
    /// best scale for them from the three best.
    fn least(&self, levels: &[f64]) -> f64 {
        let reach = |all: &[f64]| all.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        let (largest, top) = (reach(&self.values), reach(levels));
        if largest == 0.0 || top == 0.0 {
            return self.power;
        }
        let error = |scale: f64| {
            let (xq, qq) = self.products(levels, scale);
            self.power - 2.0 * scale * xq + scale * scale * qq
        };
        let start = 2.0 * largest / top;
        let mut scan: Vec<(f64, f64)> =
            (0..28).map(|step| start * 2f64.powf(-f64::from(step) / 4.0)).map(|s| (error(s), s)).collect();
        scan.sort_by(|a, b| a.0.total_cmp(&b.0));
        let refine = |(mut best, mut scale): (f64, f64)| {
            for _ in 0..40 {
                let (xq, qq) = self.products(levels, scale);
                if qq == 0.0 || xq <= 0.0 {
                    break;
                }
                scale = xq / qq;
                let next = error(scale);
                if next >= best {
                    break;
                }
                best = next;
            }
            best
        };
        scan.into_iter().take(3).map(refine).fold(f64::INFINITY, f64::min).max(0.0)
    }
}

/// The levels of an element format of 8 bits or fewer, ascending; empty for a wider one.
fn levels(format: &Format) -> Vec<f64> {
    format.sorted.iter().map(|code| f64::from(value(format, *code))).collect()
}

/// The sets of levels that a type may have up to a scale: one, or for two sign planes one for each ratio of their scales,
/// in steps of 1/32. None for formats of more than 8 bits and for more planes.
fn level_sets(ty: &TensorType) -> Vec<Vec<f64>> {
    let levels = levels(ty.format);
    match ty.planes {
        _ if levels.is_empty() => Vec::new(),
        1 => vec![levels],
        2 => (0..=32).map(|step| f64::from(step) / 32.0).map(|r| vec![-1.0 - r, r - 1.0, 1.0 - r, 1.0 + r]).collect(),
        _ => Vec::new(),
    }
}

fn least_of_sets(sums: &Sums, sets: &[Vec<f64>]) -> Option<f64> {
    sets.iter().map(|levels| sums.least(levels)).min_by(f64::total_cmp)
}

/// The least squared error of rounding `row` to the levels of `ty` under the best scale (the best two of two planes);
/// `None` where that is not worked out: more than 8 bits, more than two planes.
pub fn row_error(ty: &TensorType, row: &[f32]) -> Option<f64> {
    let mut sorted = row.to_vec();
    sorted.sort_by(f32::total_cmp);
    least_of_sets(&Sums::new(sorted.into_iter().map(|x| (f64::from(x), 1.0))), &level_sets(ty))
}

/// SQNR in dB of a Gaussian rounded to the levels of `ty` under the best scale; `None` as for [`row_error`].
pub fn gauss_sqnr_db(ty: &TensorType) -> Option<f64> {
    /// Points of the integral over ±8 standard deviations.
    const POINTS: u32 = 1 << 15;
    let sets = level_sets(ty);
    let points = (0..POINTS).map(|at| {
        let x = 16.0 * (f64::from(at) + 0.5) / f64::from(POINTS) - 8.0;
        (x, (-0.5 * x * x).exp())
    });
    let sums = Sums::new(points);
    least_of_sets(&sums, &sets).map(|error| 10.0 * (sums.power / error).log10())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::find;

    fn ty(name: &str) -> TensorType {
        TensorType::parse(name).unwrap()
    }

    /// Closed forms for N(0, 1) (binary is 1 - 2/pi).
    #[test]
    fn gaussian_figures_are_the_known_ones() {
        let wanted = [
            ("binary", 4.396),
            ("ternary", 7.208),
            ("fp2", 8.010),
            ("triplet", 9.250),
            ("int2", 8.256),
            ("fp2sparse", 10.852),
            ("fp3e2m0", 13.228),
            ("fp3e1m1", 13.292),
            ("int3", 13.911),
            ("fp4e2m1", 18.967),
            ("nf4", 20.044),
            ("int4", 19.258),
        ];
        for (name, db) in wanted {
            let got = gauss_sqnr_db(&ty(name)).unwrap();
            assert!((got - db).abs() < 2e-3, "{name}: {got} is not {db}");
        }
        assert!((gauss_sqnr_db(&ty("colour2")).unwrap() - 9.300).abs() < 0.01);
        assert!(gauss_sqnr_db(&ty("fp16")).is_none() && gauss_sqnr_db(&ty("colour4")).is_none());
    }

    #[test]
    fn the_best_scale_of_a_row_is_no_worse_than_any_scale() {
        let row: Vec<f32> = (0..96).map(|i| ((i * 37 % 97) as f32 - 48.0) * 0.01).collect();
        for name in ["ternary", "triplet", "int4"] {
            let format = find(name).unwrap();
            let best = row_error(&ty(name), &row).unwrap();
            for step in 1..200 {
                let scale = f64::from(step) * 0.005;
                let nearest = |x: f64| {
                    levels(format).into_iter().map(|level| (x - scale * level).powi(2)).fold(f64::INFINITY, f64::min)
                };
                let error: f64 = row.iter().map(|x| nearest(f64::from(*x))).sum();
                assert!(best <= error * (1.0 + 1e-6), "{name} at {scale}: {best} {error}");
            }
        }
        assert_eq!(row_error(&ty("int4"), &[0.0; 4]), Some(0.0));
    }
}
