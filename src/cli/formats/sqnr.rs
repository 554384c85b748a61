//! What a format does to three distributions, as `formats show` states it beside the codes: by integrals of the densities
//! where one scale serves all values, on samples where every block has a scale of its own.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, StudentT};

use crate::diag::Result;
use crate::look::sqnr_db;
use crate::num::format::ScaleRule;
use crate::num::{FormatRef, value};
use crate::tensor::fit::density::{Density, Figures};
use crate::tensor::{Scaling, Tensor, TensorType};

/// Samples of a distribution, drawn by ChaCha8 with seed 0.
const SAMPLES: usize = 1 << 16;
/// Elements of a block.
const BLOCK: u32 = 32;

/// What the element format `format` does to each distribution: by integrals under the best scale and under the mean
/// magnitude, where these are scales of the format, and on samples under scales of blocks or none.
///
/// # Errors
/// As [`Tensor::quantise`].
pub fn table(format: FormatRef) -> Result<String> {
    let mut text = String::new();
    if format.bits <= 8 && format.rule != ScaleRule::Cast {
        let levels: Vec<f64> = format.sorted.iter().map(|code| f64::from(value(format, *code))).collect();
        text += &figures("scale of least error", |density| density.best(&levels));
        if format.rule == ScaleRule::Absmean {
            text += &figures("mean magnitude", |density| Some(density.figures(&levels, density.mean_magnitude())));
        }
    }
    match format.rule {
        ScaleRule::Cast => text += &sampled("cast", TensorType::plain(format))?,
        ScaleRule::Absmax => {
            text += &sampled(&format!("absmax per {BLOCK}"), TensorType::new(format, Scaling::Block(BLOCK)))?;
        }
        ScaleRule::Absmean => {}
    }
    Ok(text)
}

/// The same of a composite type; nothing of a name that is none.
///
/// # Errors
/// As [`Tensor::quantise`].
pub fn composite(name: &str) -> Result<String> {
    let Some(ty) = TensorType::composite_names().find(|known| *known == name) else { return Ok(String::new()) };
    let ty = TensorType::parse(ty)?;
    if ty.planes == 1 {
        return sampled("own blocks", ty);
    }
    let fit = |density: Density| density.sign_planes(ty.planes as usize);
    let mut text = figures("least squares; the largest plane's scale", |density| {
        let (scales, figures) = fit(density);
        Some(Figures { scale: scales[0], ..figures })
    });
    text += "\nscales of the planes\n";
    for density in DENSITIES {
        let scales: Vec<String> = fit(density).0.iter().map(|scale| format!("{scale:>9.5}")).collect();
        text += &format!("{:<13}{}\n", density.name(), scales.concat());
    }
    Ok(text + &sampled("greedy", ty)?)
}

const DENSITIES: [Density; 3] = [Density::Gauss, Density::Laplace, Density::StudentT3];

/// One line a density, of variance 1, 2 and 3.
fn figures(title: &str, of: impl Fn(Density) -> Option<Figures>) -> String {
    let mut text = format!("\n{title}\n                scale       MSE  SQNR, dB  entropy, bits      p0\n");
    for density in DENSITIES {
        if let Some(f) = of(density) {
            text += &format!(
                "{:<13}{:>8.5} {:>9.6} {:>9.3} {:>14.4} {:>7.4}\n",
                density.name(),
                f.scale,
                f.mse,
                f.sqnr_db,
                f.entropy_bits,
                f.p_zero
            );
        }
    }
    text
}

/// SQNR of samples as the quantiser scales them.
fn sampled(title: &str, ty: TensorType) -> Result<String> {
    let mut text = format!("\nSQNR of {SAMPLES} samples, dB: {title}\n");
    let row = if matches!(ty.scaling, Scaling::Row) { SAMPLES } else { BLOCK as usize };
    for (name, x) in samples() {
        let got = Tensor::quantise(vec![SAMPLES / row, row], &x, ty)?.to_f32();
        text += &format!("{name:<13}{:>8.2}\n", sqnr_db(&x, &got).unwrap_or(f64::INFINITY));
    }
    Ok(text)
}

fn samples() -> [(&'static str, Vec<f32>); 3] {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut draw = |next: &dyn Fn(&mut ChaCha8Rng) -> f64| (0..SAMPLES).map(|_| next(&mut rng) as f32).collect();
    let student = StudentT::new(3.0).expect("three degrees of freedom are positive");
    let laplace = |rng: &mut ChaCha8Rng| {
        let sign = if rng.next_u32() & 1 == 0 { 1.0 } else { -1.0 };
        // 1 - u is never 0.
        -sign * (1.0 - rng.random::<f64>()).ln()
    };
    [
        ("Gauss", draw(&|rng| StandardNormal.sample(rng))),
        ("Laplace", draw(&laplace)),
        ("Student-t(3)", draw(&|rng| student.sample(rng))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::find;

    #[test]
    fn figures_stand_beside_samples_that_bear_them_out() {
        let ternary = table(find("ternary").unwrap()).unwrap();
        let best = ternary.lines().find(|line| line.starts_with("Gauss")).unwrap();
        assert_eq!(best.split_whitespace().collect::<Vec<_>>()[1..4], ["1.22401", "0.190174", "7.208"], "{ternary}");
        assert!(ternary.contains("mean magnitude") && !ternary.contains("samples"), "{ternary}");
        assert!(!table(find("fp16").unwrap()).unwrap().contains("least error"));
        // Greedy planes of a long row come near their closed form, 1 / 0.1304.
        let colour = composite("colour2").unwrap();
        let greedy = colour.lines().rfind(|line| line.starts_with("Gauss")).unwrap();
        let db: f64 = greedy.split_whitespace().next_back().unwrap().parse().unwrap();
        assert!((db - 8.85).abs() < 0.1, "{colour}");
        assert!(composite("mxfp4").unwrap().contains("own blocks") && composite("fp64").unwrap().is_empty());
    }
}
