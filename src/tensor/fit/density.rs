//! What a codebook does to Gauss, Laplace and Student-t(3) numbers, from integrals of their densities.
//!
//! A level l with scale s takes the values between the middles to its neighbours. The error, the probabilities and the
//! least-squares scale of such cells need only the moments of order 0, 1 and 2 of the density up to a border, and these
//! have closed forms for all three. Of each the usual form is taken: variance 1 (Gauss), 2 (Laplace) and 3 (Student-t).

use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};

/// A density around 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Density {
    /// exp(-x^2/2) / sqrt(2 pi).
    Gauss,
    /// exp(-|x|) / 2.
    Laplace,
    /// 6 sqrt(3) / (pi (3 + x^2)^2): Student's t with three degrees of freedom.
    StudentT3,
}

/// What one scale does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// The scale.
    pub scale: f64,
    /// Mean square error.
    pub mse: f64,
    /// Signal to quantisation noise, dB.
    pub sqnr_db: f64,
    /// Entropy of the codes, bits.
    pub entropy_bits: f64,
    /// Probability of the level 0 (0 if there is none).
    pub p_zero: f64,
}

impl Density {
    /// Name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Density::Gauss => "Gauss",
            Density::Laplace => "Laplace",
            Density::StudentT3 => "Student-t(3)",
        }
    }

    /// Mean of x^2.
    pub fn variance(self) -> f64 {
        match self {
            Density::Gauss => 1.0,
            Density::Laplace => 2.0,
            Density::StudentT3 => 3.0,
        }
    }

    /// Integrals of p(x), x p(x) and x^2 p(x) from minus infinity to `t`, which may be infinite.
    pub fn moments(self, t: f64) -> [f64; 3] {
        if t.is_infinite() {
            return if t < 0.0 { [0.0; 3] } else { [1.0, 0.0, self.variance()] };
        }
        match self {
            Density::Gauss => {
                let (p, below) = ((-t * t / 2.0).exp() / TAU.sqrt(), erfc(-t * FRAC_1_SQRT_2) / 2.0);
                [below, -p, below - t * p]
            }
            Density::Laplace => {
                let tail = (-t.abs()).exp() / 2.0;
                let (first, second) = (-tail * (t.abs() + 1.0), tail * (t * t + 2.0 * t.abs() + 2.0));
                if t < 0.0 { [tail, first, second] } else { [1.0 - tail, first, 2.0 - second] }
            }
            Density::StudentT3 => {
                let (u, angle, root) = (3.0 + t * t, (t / 3f64.sqrt()).atan(), 3f64.sqrt());
                let below = 0.5 + (t * root / u + angle) / PI;
                [below, -3.0 * root / (PI * u), 1.5 + (3.0 * angle - 3.0 * root * t / u) / PI]
            }
        }
    }

    /// Figures of ascending distinct `levels` times `scale`, every value at its nearest level.
    pub fn figures(self, levels: &[f64], scale: f64) -> Figures {
        let (mut mse, mut entropy_bits, mut p_zero) = (0.0, 0.0, 0.0);
        self.cells(levels, scale, |level, [p, first, second]| {
            mse += second - 2.0 * level * scale * first + (level * scale) * (level * scale) * p;
            if p > 0.0 {
                entropy_bits -= p * p.log2();
            }
            if level == 0.0 {
                p_zero = p;
            }
        });
        Figures { scale, mse, sqnr_db: 10.0 * (self.variance() / mse).log10(), entropy_bits, p_zero }
    }

    /// Figures at the scale of least mean square error.
    ///
    /// The error may have several minima in the scale (a float grid has one an octave), so the largest level is tried at
    /// 2^-2 to 2^20 standard deviations, sixteen scales an octave, and the best of these is improved by the least-squares
    /// scale of its cells until it stands still. `None` where no level differs from 0.
    pub fn best(self, levels: &[f64]) -> Option<Figures> {
        let top = levels.iter().fold(0.0, |a, l| if l.abs() > a { l.abs() } else { a });
        if top == 0.0 {
            return None;
        }
        let mut best: Option<Figures> = None;
        for step in -32..=320 {
            let scale = self.variance().sqrt() / top * (f64::from(step) / 16.0).exp2();
            let here = self.figures(levels, scale);
            if best.is_none_or(|best| here.mse < best.mse) {
                best = Some(here);
            }
        }
        let mut best = best?;
        for _ in 0..10_000 {
            let (mut above, mut below) = (0.0, 0.0);
            self.cells(levels, best.scale, |level, [p, first, _]| {
                above += level * first;
                below += level * level * p;
            });
            let scale = above / below;
            if scale <= 0.0 || (scale / best.scale - 1.0).abs() < 1e-13 {
                break;
            }
            best = self.figures(levels, scale);
        }
        Some(best)
    }

    /// Mean of |x|.
    pub fn mean_magnitude(self) -> f64 {
        -2.0 * self.moments(0.0)[1]
    }

    /// Scales of `planes` sign planes, falling, and the figures of their sums: every value at its nearest sum, and the
    /// scales that solve the normal equations of these cells, in turn from scales 1 : 1/2 : 1/4 .. on, until they stand
    /// still.
    pub fn sign_planes(self, planes: usize) -> (Vec<f64>, Figures) {
        let mut scales: Vec<f64> = (0..planes).map(|plane| self.mean_magnitude() / (1u64 << plane) as f64).collect();
        let sign = |signs: u32, plane: usize| if signs >> plane & 1 == 1 { -1.0 } else { 1.0 };
        let sums = |scales: &[f64]| {
            let sum = |signs| scales.iter().enumerate().fold(0.0, |sum, (plane, a)| sum + a * sign(signs, plane));
            let mut sums: Vec<(f64, u32)> = (0..1u32 << planes).map(|signs| (sum(signs), signs)).collect();
            sums.sort_by(|a, b| a.0.total_cmp(&b.0));
            sums.into_iter().unzip::<f64, u32, Vec<f64>, Vec<u32>>()
        };
        for _ in 0..2_000 {
            let (levels, signs) = sums(&scales);
            let mut rows = vec![vec![0.0; planes + 1]; planes];
            let mut cell = 0;
            self.cells(&levels, 1.0, |_, [p, first, _]| {
                for (i, row) in rows.iter_mut().enumerate() {
                    let b = sign(signs[cell], i);
                    (0..planes).for_each(|j| row[j] += b * sign(signs[cell], j) * p);
                    row[planes] += b * first;
                }
                cell += 1;
            });
            let Some(next) = super::planes::solution(rows, 1e-9) else { break };
            let still = next.iter().zip(&scales).all(|(a, b)| (a - b).abs() < 1e-13 * b.abs());
            scales = next;
            if still {
                break;
            }
        }
        let figures = self.figures(&sums(&scales).0, 1.0);
        (scales, figures)
    }

    fn cells(self, levels: &[f64], scale: f64, mut each: impl FnMut(f64, [f64; 3])) {
        let mut below = [0.0; 3];
        for (at, level) in levels.iter().enumerate() {
            let border = levels.get(at + 1).map_or(f64::INFINITY, |next| (level + next) / 2.0 * scale);
            let above = self.moments(border);
            each(*level, [0, 1, 2].map(|order| above[order] - below[order]));
            below = above;
        }
    }
}

/// 1 - erf(x): the series x exp(-x^2) sum of (2 x^2)^n / (1 3 5 .. (2n+1)) near zero, the continued fraction of Laplace
/// beyond (Abramowitz and Stegun 7.1.6 and 7.1.14); about 14 digits, in the far tail relative to its value.
pub fn erfc(x: f64) -> f64 {
    let (t, square) = (x.abs(), x * x);
    if t < 3.0 {
        let (mut term, mut sum, mut n) = (1.0, 0.0, 1.0);
        while term > sum * 1e-17 {
            sum += term;
            n += 2.0;
            term *= 2.0 * square / n;
        }
        return 1.0 - x * 2.0 / PI.sqrt() * (-square).exp() * sum;
    }
    let fraction = (1..=60).rev().fold(t, |rest, k| t + f64::from(k) / 2.0 / rest);
    let tail = (-square).exp() / PI.sqrt() / fraction;
    if x < 0.0 { 2.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::{codec, format};

    const ALL: [Density; 3] = [Density::Gauss, Density::Laplace, Density::StudentT3];

    fn golden() -> serde_json::Value {
        serde_json::from_str(include_str!("../../../tests/data/gauss-codebooks.json")).expect("a JSON file")
    }

    #[test]
    fn the_closed_forms_of_a_gaussian_hold_for_every_codebook() {
        let golden = golden();
        let rows = golden["codebooks"].as_object().expect("codebooks by name");
        assert_eq!(rows.len(), 18);
        for (name, row) in rows {
            let number = |key: &str| row[key].as_f64().expect("a number");
            let levels: Vec<f64> =
                row["levels"].as_array().expect("levels").iter().filter_map(|l| l.as_f64()).collect();
            let best = Density::Gauss.best(&levels).expect("levels other than 0");
            assert!(best.mse < number("mse") + 1e-4, "{name}: {best:?}");
            // A logarithmic grid has a minimum an octave. The table states one of them, which is not the least.
            let ours = match name.as_str() {
                "log2_4b" => {
                    assert!((best.scale - 4.1936).abs() < 1e-4 && (best.mse - 0.037745).abs() < 1e-6, "{best:?}");
                    Density::Gauss.figures(&levels, number("scale"))
                }
                _ => best,
            };
            let pairs = [
                ("scale", ours.scale),
                ("mse", ours.mse),
                ("sqnr_db", ours.sqnr_db),
                ("entropy_bits", ours.entropy_bits),
            ];
            for (key, got) in pairs {
                assert!((got - number(key)).abs() < 1e-4, "{name} {key}: {got} and {}", number(key));
            }
            // The table gives p0 of the symmetric books only and 0 for the rest.
            if number("p_zero") > 0.0 {
                assert!((ours.p_zero - number("p_zero")).abs() < 1e-4, "{name} p0 {}", ours.p_zero);
            }
        }
    }

    #[test]
    fn formats_of_the_table_are_these_codebooks() {
        let golden = golden();
        let names = [
            ("binary", "binary"),
            ("ternary", "ternary"),
            ("fp2", "fp2"),
            ("fp2_sparse", "fp2sparse"),
            ("triplet", "triplet"),
            ("fp1_masked", "fp1mask"),
            ("int2", "int2"),
            ("log2_4b", "log4"),
            ("int3", "int3"),
            ("int4", "int4"),
            ("fp3_e2m0", "fp3e2m0"),
            ("fp3_e1m1", "fp3e1m1"),
            ("e2m1", "fp4e2m1"),
            ("nf4", "nf4"),
        ];
        for (theirs, ours) in names {
            let format = format::find(ours).unwrap();
            let levels: Vec<f64> = format.sorted.iter().map(|c| f64::from(codec::value(format, *c))).collect();
            let row = golden["codebooks"][theirs]["levels"].as_array().expect("levels");
            let wanted: Vec<f64> = row.iter().filter_map(|l| l.as_f64()).collect();
            assert_eq!(levels.len(), wanted.len(), "{ours}");
            assert!(levels.iter().zip(&wanted).all(|(a, b)| *a as f32 == *b as f32), "{ours}: {levels:?}");
        }
    }

    #[test]
    fn absmean_ternary_and_greedy_colours_have_their_closed_forms() {
        let golden = golden();
        let row = &golden["bitnet_absmean"];
        let scale = (2.0 / PI).sqrt();
        let ours = Density::Gauss.figures(&[-1.0, 0.0, 1.0], scale);
        for (key, got) in [("scale", scale), ("mse", ours.mse), ("p_zero", ours.p_zero)] {
            assert!((got - row[key].as_f64().unwrap()).abs() < 1e-4, "{key} {got}");
        }
        // Greedy residuals: the levels of one stage are the borders of the next.
        let (mut levels, mut borders, mut error) = (vec![0.0], Vec::<f64>::new(), 1.0);
        for stage in golden["colour_greedy"].as_array().expect("pairs of scale and error") {
            let mut mean = 0.0;
            for (at, level) in levels.iter().enumerate() {
                let low = if at == 0 { f64::NEG_INFINITY } else { borders[at - 1] };
                let high = borders.get(at).copied().unwrap_or(f64::INFINITY);
                for (low, high, sign) in [(low, *level, -1.0), (*level, high, 1.0)] {
                    let (a, b) = (Density::Gauss.moments(low), Density::Gauss.moments(high));
                    mean += sign * (b[1] - a[1] - level * (b[0] - a[0]));
                }
            }
            error -= mean * mean;
            assert!((mean - stage[0].as_f64().unwrap()).abs() < 1e-4, "scale {mean}");
            assert!((error - stage[1].as_f64().unwrap()).abs() < 1e-4, "error {error}");
            borders.extend(&levels);
            borders.sort_by(f64::total_cmp);
            levels = levels.iter().flat_map(|level| [level - mean, level + mean]).collect();
            levels.sort_by(f64::total_cmp);
        }
    }

    #[test]
    fn sign_planes_have_their_joint_optima() {
        for (planes, wanted) in [(1, 0.363_38), (2, 0.117_48), (3, 0.036_94), (4, 0.011_41)] {
            let (scales, figures) = Density::Gauss.sign_planes(planes);
            assert!((figures.mse - wanted).abs() < 1e-4, "{planes}: {scales:?} {figures:?}");
            assert!(scales.windows(2).all(|pair| pair[0] > pair[1]), "{scales:?}");
        }
        assert!((Density::Laplace.mean_magnitude() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn moments_are_the_integrals_of_the_densities() {
        let p = |density: Density, x: f64| match density {
            Density::Gauss => (-x * x / 2.0).exp() / TAU.sqrt(),
            Density::Laplace => (-x.abs()).exp() / 2.0,
            Density::StudentT3 => 6.0 * 3f64.sqrt() / (PI * (3.0 + x * x).powi(2)),
        };
        for density in ALL {
            for (a, b) in [(-9.0, -2.5), (-2.5, 0.0), (0.0, 0.7), (0.7, 5.0)] {
                // Simpson's rule.
                let steps = 2000;
                for (order, power) in (0..3).enumerate() {
                    let f = |i: i32| {
                        let x = a + (b - a) * f64::from(i) / f64::from(steps);
                        x.powi(power) * p(density, x)
                    };
                    let inner: f64 = (1..steps).fold(0.0, |sum, i| sum + f(i) * if i % 2 == 1 { 4.0 } else { 2.0 });
                    let wanted = (f(0) + inner + f(steps)) * (b - a) / f64::from(steps) / 3.0;
                    let got = density.moments(b)[order] - density.moments(a)[order];
                    assert!((got - wanted).abs() < 1e-9, "{density:?} {a} {b} {order}: {got} {wanted}");
                }
            }
        }
    }

    #[test]
    fn the_error_function_meets_known_digits() {
        // Abramowitz and Stegun, table 7.1, and the tail value of the complement at 5.
        for (x, erf) in [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0)] {
            assert!((1.0 - erfc(x) - erf).abs() < 1e-10 && (erfc(-x) - 1.0 - erf).abs() < 1e-10);
        }
        assert!((erfc(5.0) / 1.537_459_794_428_035e-12 - 1.0).abs() < 1e-12);
        assert_eq!(erfc(0.0), 1.0);
        assert!((erfc(3.0 - 1e-12) / erfc(3.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn degenerate_codebooks() {
        for density in ALL {
            assert_eq!(density.best(&[]), None);
            assert_eq!(density.best(&[0.0]), None);
            let one = density.best(&[1.0]).unwrap();
            // A constant does not help: the least of the scales tried is the best.
            assert!(one.mse >= density.variance() && one.entropy_bits == 0.0, "{one:?}");
        }
    }
}
