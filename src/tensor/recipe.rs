//! How weights become codes beyond what their type says: which scale, which rounding, which elements are kept.

use super::fit::scale::{self, Ternary};
use super::{Scaling, Sparsity, TensorType};
use crate::diag::{Error, Result};
use crate::num::bulk::Mode;
use crate::num::codec::Stochastic;
use crate::num::format::ScaleRule;
use crate::num::philox::{Draws, Use};
use crate::num::{Format, FormatRef, Rounding, encode, value};

/// Bits of a draw of stochastic rounding (numerics 2.3).
const DRAW_BITS: u32 = 24;

/// How the scale of a group is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Calibration {
    /// Largest magnitude to the largest level.
    Absmax,
    /// Mean magnitude to one (ternary).
    Absmean,
    /// This percentile of the magnitudes to the largest level.
    Percentile(f64),
    /// Least square error.
    Mse,
    /// Least error with this price of a coded bit.
    RateDistortion(f64),
    /// Least square error of sign planes and triplets.
    LeastSquares,
    /// Exact least squares of ternary values.
    Optimal,
}

/// Steps of quantising a weight; what is `None` follows the type.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Recipe {
    /// Choice of scales.
    pub calibration: Option<Calibration>,
    /// Rounding to codes: `rne`, `rz`, `rna`, `up`, `down` or `sr`.
    pub rounding: Option<&'static str>,
    /// Seed of the draws of `sr`.
    pub seed: Option<u64>,
    /// Elements kept.
    pub sparsity: Option<Sparsity>,
    /// Whether both operands are rotated in runs of 16 first (a policy's rewriting of the graph sees to it).
    pub rotate: bool,
    /// Quantile beyond which weights are clamped, what is cut off being added apart (a policy's rewriting sees to it).
    pub outliers: Option<f64>,
    /// Whether the scales of blocks are quantised themselves ([`super::fit::double`]).
    pub double_quant: Option<bool>,
}

/// Names of the roundings.
pub const ROUNDINGS: [&str; 6] = ["rne", "rz", "rna", "up", "down", "sr"];

impl Calibration {
    /// What policies may write.
    pub const SPELLINGS: &str = "absmax, absmean, percentile:P, mse, rd:LAMBDA, ls, optimal";

    /// Reads a policy's word.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.split_once(':') {
            None => match text {
                "absmax" => Calibration::Absmax,
                "absmean" => Calibration::Absmean,
                "mse" => Calibration::Mse,
                "ls" => Calibration::LeastSquares,
                "optimal" => Calibration::Optimal,
                _ => return None,
            },
            Some(("percentile", p)) => Calibration::Percentile(p.parse().ok().filter(|p| *p > 0.0 && *p <= 100.0)?),
            Some(("rd", l)) => {
                Calibration::RateDistortion(l.parse().ok().filter(|l: &f64| *l >= 0.0 && l.is_finite())?)
            }
            Some(_) => return None,
        })
    }

    /// As policies write it.
    pub fn name(self) -> String {
        match self {
            Calibration::Absmax => "absmax".into(),
            Calibration::Absmean => "absmean".into(),
            Calibration::Percentile(p) => format!("percentile:{p}"),
            Calibration::Mse => "mse".into(),
            Calibration::RateDistortion(l) => format!("rd:{l}"),
            Calibration::LeastSquares => "ls".into(),
            Calibration::Optimal => "optimal".into(),
        }
    }

    /// The scale of a group of finite values.
    ///
    /// # Errors
    /// As the functions of [`super::fit::scale`].
    pub fn scale(self, format: FormatRef, values: &[f32]) -> Result<f32> {
        match self {
            Calibration::Absmax => scale::percentile(format, values, 100.0),
            Calibration::Percentile(percent) => scale::percentile(format, values, percent),
            Calibration::Mse | Calibration::LeastSquares => scale::mse(format, values),
            Calibration::RateDistortion(lambda) => scale::rate_distortion(format, values, lambda),
            Calibration::Absmean => scale::ternary(values, Ternary::Absmean),
            Calibration::Optimal => scale::ternary(values, Ternary::Optimal),
        }
    }

    fn refusal(self, ty: &TensorType) -> Option<&'static str> {
        match self {
            Calibration::LeastSquares if ty.planes > 1 || ty.format.name == "triplet" => None,
            Calibration::LeastSquares => Some("ls fits planes of signs and triplets; write mse"),
            _ if ty.planes > 1 => Some("planes of signs are fitted greedily, or by ls"),
            _ if ty.scale.is_power() || ty.scale.global => Some("its scales follow the rule of the block format"),
            _ if ty.offset => Some("offsets follow from least and largest value"),
            Calibration::Absmean | Calibration::Optimal if !scale::is_ternary(ty.format) => {
                Some("absmean and optimal are rules for ternary")
            }
            _ => None,
        }
    }
}

impl Recipe {
    /// This recipe with what `later` sets in place of it.
    pub fn then(self, later: Recipe) -> Recipe {
        Recipe {
            calibration: later.calibration.or(self.calibration),
            rounding: later.rounding.or(self.rounding),
            seed: later.seed.or(self.seed),
            sparsity: later.sparsity.or(self.sparsity),
            rotate: later.rotate || self.rotate,
            outliers: later.outliers.or(self.outliers),
            double_quant: later.double_quant.or(self.double_quant),
        }
    }

    /// Keys and words, as policies write them.
    pub fn keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = Vec::new();
        keys.extend(self.calibration.map(|calibration| ("calibration", calibration.name())));
        keys.extend(self.rounding.map(|rounding| ("rounding", rounding.to_owned())));
        keys.extend(self.seed.map(|seed| ("seed", seed.to_string())));
        keys.extend(self.sparsity.map(|sparsity| ("sparsity", sparsity.to_string())));
        keys.extend(self.rotate.then(|| ("rotate", "hadamard".to_owned())));
        keys.extend(self.outliers.map(|quantile| ("outliers", format!("occ:{quantile}"))));
        keys.extend(self.double_quant.map(|double| ("double_quant", double.to_string())));
        keys
    }

    /// Whether weights of type `ty` may be made by this recipe. A calibration says nothing about types without scales.
    ///
    /// # Errors
    /// Unsupported, naming type and key.
    pub fn check(&self, ty: &TensorType) -> Result<()> {
        let refuse = |key: &str, why: &str| Err(Error::unsupported(format!("{key} cannot make {ty} weights: {why}")));
        if let Some(calibration) = self.calibration.filter(|_| ty.scaling != Scaling::None)
            && let Some(why) = calibration.refusal(ty)
        {
            return refuse(&format!("calibration {}", calibration.name()), why);
        }
        if self.sparsity.is_some() && self.calibration.is_some() && ty.planes > 1 {
            return refuse("calibration ls with sparsity", "planes are fitted to all elements");
        }
        let blocked = matches!(ty.scaling, Scaling::Block(_) | Scaling::Tile(..)) && !ty.offset;
        if self.double_quant == Some(true) && !(blocked && ty.scale.format.name == "fp32") {
            return refuse("double_quant", "it is for blocks with f32 scales alone");
        }
        let plain = ty.planes > 1 || ty.offset || (ty.format.rule == ScaleRule::Absmean && !has_zero(ty.format));
        match self.rounding {
            Some(mode) if mode != "rne" && plain => {
                refuse(&format!("rounding {mode}"), "its codes are not rounded one by one")
            }
            _ => Ok(()),
        }
    }

    /// The rounding of the elements of the tensor called `name`.
    pub fn mode(&self, name: &str) -> Mode {
        Mode::Fixed(match self.rounding {
            Some("rz") => Rounding::TowardZero,
            Some("rna") => Rounding::NearestAway,
            Some("up") => Rounding::Up,
            Some("down") => Rounding::Down,
            Some("sr") => {
                let draws = Draws::new(self.seed.unwrap_or(0), name, 0, Use::Forward);
                return Mode::Stochastic(Stochastic::Rounded, DRAW_BITS, draws);
            }
            _ => Rounding::NearestEven,
        })
    }
}

fn has_zero(format: &Format) -> bool {
    value(format, encode(format, 0, Rounding::NearestEven, true)) == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn made(values: &[f32], ty: &str, recipe: Recipe) -> Result<Vec<f32>> {
        let ty = TensorType::parse(ty)?;
        Tensor::quantise_with(vec![1, values.len()], values, ty, &recipe, "w").map(|tensor| tensor.to_f32())
    }

    #[test]
    fn words_read_back_and_others_are_refused() {
        for text in ["absmax", "absmean", "percentile:99.9", "mse", "rd:0.01", "ls", "optimal"] {
            assert_eq!(Calibration::parse(text).unwrap().name(), text);
        }
        for text in ["percentile:0", "percentile:nan", "rd:-1", "rd:inf", "median"] {
            assert_eq!(Calibration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn scales_follow_the_live_values_and_the_rule() {
        let values = [8.0, 1.0, -0.9, 0.1];
        let of = |keys: Recipe| made(&values, "ternary/row", keys).unwrap();
        let with = |calibration| Recipe { calibration: Some(calibration), ..Recipe::default() };
        assert_eq!(of(with(Calibration::Optimal)), [8.0, 0.0, 0.0, 0.0]);
        assert_eq!(of(with(Calibration::Absmax)), [8.0, 0.0, 0.0, 0.0]);
        assert_eq!(of(with(Calibration::Absmean)), of(Recipe::default()));
        let sparse = Recipe { sparsity: Sparsity::parse("1:2").ok(), ..Recipe::default() };
        assert_eq!(made(&values, "int4/row", sparse).unwrap()[1..2], [0.0]);
        // The mean of 8 and 0.9 alone: what is dropped is not measured.
        assert_eq!(of(sparse), [4.45, 0.0, 0.0, 0.0]);
        let fitted = made(&[3.0, 1.0, -1.0, -3.0], "colour2", with(Calibration::LeastSquares)).unwrap();
        assert_eq!(fitted, [3.0, 1.0, -1.0, -3.0]);
    }

    #[test]
    fn roundings_bracket_a_value_and_draws_repeat() {
        let of = |rounding, seed| {
            let recipe = Recipe { rounding: Some(rounding), seed: Some(seed), ..Recipe::default() };
            made(&[1.3; 64], "bf16", recipe).unwrap()
        };
        let (down, up) = (of("down", 0)[0], of("up", 0)[0]);
        assert!(down < 1.3 && up > 1.3 && of("rz", 0)[0] == down && of("rne", 0) == of("rna", 0));
        let drawn = of("sr", 1);
        assert!(drawn.contains(&down) && drawn.contains(&up) && drawn == of("sr", 1) && drawn != of("sr", 2));
    }

    #[test]
    fn double_quantised_scales_are_what_a_reader_gets_and_are_counted_as_stored() {
        let values: Vec<f32> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 - 8e6).collect();
        let double = Recipe { double_quant: Some(true), ..Recipe::default() };
        let of = |ty: &str, recipe: &Recipe| {
            Tensor::quantise_with(vec![1024, 1024], &values, TensorType::parse(ty).unwrap(), recipe, "w")
        };
        let (plain, twice) = (of("nf4", &Recipe::default()).unwrap(), of("nf4", &double).unwrap());
        let bits = |tensor: &Tensor| 8.0 * tensor.bytes() as f64 / values.len() as f64;
        assert_eq!((bits(&plain), plain.double_bytes), (4.5, None));
        assert!((bits(&twice) - 4.127).abs() < 0.01, "{}", bits(&twice));
        let fit = super::super::fit::double::DoubleScales::fit(&plain.scales).unwrap();
        assert_eq!((&twice.scales, &twice.payload), (&fit.scales(), &plain.payload));
        assert_ne!(twice.scales, plain.scales);
        // In memory they are expanded.
        assert_eq!(twice.side_data().len(), plain.side_data().len());
        for ty in ["mxfp4", "nvfp4", "int4/row", "fp16", "int4/block32+offset", "int4/block32:bf16", "colour2"] {
            let error = of(ty, &double).unwrap_err();
            assert!(error.message().contains("double_quant cannot make"), "{ty}: {error}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        let recipe = Recipe { calibration: Some(Calibration::Mse), ..Recipe::default() };
        for ty in ["mxfp4", "nvfp4", "colour2", "int4/block32+offset"] {
            assert!(made(&[1.0], ty, recipe).unwrap_err().message().contains("calibration mse cannot make"), "{ty}");
        }
    }
}
