//! The best single scale of a codebook: for the rows of a real tensor, and for a Gaussian, whose figure is what formats of
//! equal bits are usually compared by.

use crate::num::{Format, value};
use crate::tensor::TensorType;
use crate::tensor::fit::density::Density;
use crate::tensor::fit::{planes, scale};

/// Bits of a format up to which a row's scale is the exact optimum; wider ones have too many borders between levels, and
/// so many levels that a search comes as near as matters.
const EXACT_BITS: u32 = 4;
/// Rounds of the fit of sign planes.
const PLANE_ROUNDS: usize = 50;

/// Sorted values with running sums: nearest levels change where a value passes the middle between two levels, so the error
/// of a scale needs a search for each middle and no walk over the values.
struct Sums {
    values: Vec<f64>,
    first: Vec<f64>,
    power: f64,
}

impl Sums {
    fn new(row: &[f32]) -> Self {
        let mut values: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        values.sort_by(f64::total_cmp);
        let mut sums = Sums { values: Vec::new(), first: vec![0.0], power: 0.0 };
        let mut first = 0.0;
        for x in &values {
            first += x;
            sums.power += x * x;
            sums.first.push(first);
        }
        Sums { values, ..sums }
    }

    /// Sums of x·q and of q·q, where q is the level nearest to x / scale.
    fn products(&self, levels: &[f64], scale: f64) -> (f64, f64) {
        let (mut xq, mut qq, mut from) = (0.0, 0.0, 0);
        for (at, level) in levels.iter().enumerate() {
            let to = match levels.get(at + 1) {
                Some(next) => self.values.partition_point(|x| *x < scale * 0.5 * (level + next)),
                None => self.values.len(),
            };
            xq += level * (self.first[to] - self.first[from]);
            qq += level * level * (to - from) as f64;
            from = to;
        }
        (xq, qq)
    }

    fn error(&self, levels: &[f64], scale: f64) -> f64 {
        let (xq, qq) = self.products(levels, scale);
        self.power - 2.0 * scale * xq + scale * scale * qq
    }

    /// The least error of a search: scales 2^(1/16) apart, then the best scale for the codes of the best of them while that
    /// lowers the error.
    fn least(&self, levels: &[f64]) -> f64 {
        let reach = |all: &[f64]| all.iter().fold(0.0, |a: f64, v| if v.abs() > a { v.abs() } else { a });
        let (largest, top) = (reach(&self.values), reach(levels));
        if largest == 0.0 || top == 0.0 {
            return self.power;
        }
        let scan = (0..144).map(|step| 2.0 * largest / top * 2f64.powf(-f64::from(step) / 16.0));
        let errors = scan.map(|scale| (self.error(levels, scale), scale));
        let (mut best, mut scale) = errors.fold((f64::INFINITY, 1.0), |a, b| if b.0 < a.0 { b } else { a });
        for _ in 0..40 {
            let (xq, qq) = self.products(levels, scale);
            scale = xq / qq;
            let next = self.error(levels, scale);
            if next.is_nan() || next >= best {
                break;
            }
            best = next;
        }
        best
    }
}

/// The levels of an element format of 8 bits or fewer, ascending; none of a wider one.
fn levels(format: &Format) -> Option<Vec<f64>> {
    let levels: Vec<f64> = format.sorted.iter().map(|code| f64::from(value(format, *code))).collect();
    (!levels.is_empty() && format.bits <= 8).then_some(levels)
}

/// The least squared error of rounding the finite values of `row` to the levels of `ty` under the best scale (the
/// least-squares scales of sign planes); `None` for formats of more than 8 bits.
pub fn row_error(ty: &TensorType, row: &[f32]) -> Option<f64> {
    if ty.planes > 1 {
        return planes::least_squares(row, ty.planes as usize, PLANE_ROUNDS).ok().map(|fit| fit.error(row));
    }
    let (levels, sums) = (levels(ty.format)?, Sums::new(row));
    let error = match ty.format.bits <= EXACT_BITS {
        true => sums.error(&levels, f64::from(scale::mse(ty.format, row).ok()?)),
        false => sums.least(&levels),
    };
    Some(if error > 0.0 { error } else { 0.0 })
}

/// SQNR in dB of a Gaussian rounded to the levels of `ty` under the best scale; `None` as for [`row_error`].
pub fn gauss_sqnr_db(ty: &TensorType) -> Option<f64> {
    if ty.planes > 1 {
        return Some(Density::Gauss.sign_planes(ty.planes as usize).1.sqnr_db);
    }
    Density::Gauss.best(&levels(ty.format)?).map(|figures| figures.sqnr_db)
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
        for (name, db) in [("colour2", 9.300), ("colour3", 14.325), ("colour4", 19.415)] {
            let got = gauss_sqnr_db(&ty(name)).unwrap();
            assert!((got - db).abs() < 0.01, "{name}: {got}");
        }
        assert!(gauss_sqnr_db(&ty("fp16")).is_none() && row_error(&ty("fp16"), &[1.0]).is_none());
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
                    levels(format)
                        .unwrap()
                        .into_iter()
                        .map(|level| (x - scale * level).powi(2))
                        .fold(f64::INFINITY, f64::min)
                };
                let error: f64 = row.iter().map(|x| nearest(f64::from(*x))).sum();
                assert!(best <= error * (1.0 + 1e-6), "{name} at {scale}: {best} {error}");
            }
        }
        assert_eq!(row_error(&ty("int4"), &[0.0; 4]), Some(0.0));
    }
}
