//! Signal to quantisation noise of a format on three distributions: what `formats show` states beside the codes.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, StudentT};

use crate::diag::Result;
use crate::num::bulk::{Decoder, Encoder, Mode};
use crate::num::format::ScaleRule;
use crate::num::{FormatRef, Rounding};
use crate::tensor::{Scaling, Tensor, TensorType};

/// Samples of a distribution, drawn by ChaCha8 with seed 0.
const SAMPLES: usize = 1 << 16;
/// Elements of a block.
const BLOCK: u32 = 32;

/// One line a distribution: with the scaling of the format's rule, and with the best scale of the whole sample.
pub fn table(format: FormatRef) -> Result<String> {
    let scaling = match format.rule {
        ScaleRule::Cast => Scaling::None,
        ScaleRule::Absmax => Scaling::Block(BLOCK),
        ScaleRule::Absmean => Scaling::Tensor,
    };
    let column = match scaling {
        Scaling::None => "cast".to_string(),
        Scaling::Tensor => "mean scale".to_string(),
        _ => format!("absmax per {BLOCK}"),
    };
    let mut text = format!("\nSQNR, dB      {column:>14}     best scale\n");
    for (name, x) in samples() {
        let shape = vec![SAMPLES / BLOCK as usize, BLOCK as usize];
        let ruled = Tensor::quantise(shape, &x, TensorType::new(format, scaling))?.to_f32();
        text += &format!("{name:<13} {:>14.2}", sqnr_db(&x, &ruled));
        if format.bits <= 8 && scaling != Scaling::None {
            text += &format!(" {:>14.2}", best(format, &x));
        }
        text += "\n";
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

fn sqnr_db(x: &[f32], y: &[f32]) -> f64 {
    let energy = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |sum, v| sum + v * v);
    let signal = energy(&mut x.iter().map(|x| f64::from(*x)));
    let noise = energy(&mut x.iter().zip(y).map(|(x, y)| f64::from(*x) - f64::from(*y)));
    10.0 * (signal / noise).log10()
}

/// The largest SQNR of one scale for all, over scales 2^(1/16) apart.
fn best(format: FormatRef, x: &[f32]) -> f64 {
    let (encoder, decoder) = (Encoder::new(format, Mode::Fixed(Rounding::NearestEven), true), Decoder::new(format));
    let largest = x.iter().fold(0.0, |a: f32, x| if x.abs() > a { x.abs() } else { a });
    let (mut codes, mut values) = (Vec::new(), Vec::new());
    let scales = (0..128).map(|step| largest / format.max * 2f32.powf(-f32::from(step as u8) / 16.0));
    let of_scale = |scale: f32| {
        let scaled: Vec<u32> = x.iter().map(|x| (x / scale).to_bits()).collect();
        encoder.encode(&scaled, 0, &mut codes);
        values.clear();
        decoder.decode(codes.iter().copied(), &mut values);
        let y: Vec<f32> = values.iter().map(|value| f32::from_bits(*value) * scale).collect();
        sqnr_db(x, &y)
    };
    scales.map(of_scale).fold(f64::NEG_INFINITY, |a, b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::find;

    #[test]
    fn the_best_scale_meets_the_closed_forms_of_a_gaussian() {
        // Least mean square error of one scale on N(0, 1), integrated in closed form, in dB.
        let [(_, gauss), ..] = samples();
        let wanted = [
            ("binary", 4.396),
            ("ternary", 7.208),
            ("fp2", 8.010),
            ("fp2sparse", 10.852),
            ("triplet", 9.250),
            ("fp3e2m0", 13.228),
            ("fp3e1m1", 13.292),
            ("fp4e2m1", 18.967),
            ("nf4", 20.044),
            ("log4", 14.156),
        ];
        for (name, db) in wanted {
            let got = best(find(name).expect("a row"), &gauss);
            assert!((got - db).abs() < 0.1, "{name}: {got}");
        }
    }
}
