//! One scale for a group of values, by rules that look at more than the largest magnitude.
//!
//! A value is quantised with scale s as decode(encode(fl(x / s))) * s, to nearest even and saturating. Every rule gives 1
//! for zeros alone and for no values, so that zeros stay zeros, and refuses NaN and infinities.

use super::{finite, largest};
use crate::diag::{Error, Result};
use crate::num::bulk::{Decoder, Encoder, Mode};
use crate::num::{Element, Format, FormatRef, Rounding, codec, func};

/// Crossings of a level's border up to which [`mse`] is exact.
const EXACT_EVENTS: usize = 1 << 22;
/// Bits of a format up to which [`mse`] may be exact.
const EXACT_BITS: u32 = 4;
/// Scales an octave that a search tries.
const STEPS: i32 = 16;

/// Rules for the scale of ternary values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ternary {
    /// Mean magnitude (BitNet b1.58, arXiv:2402.17764): zeros are what lies within half of it.
    Absmean,
    /// Largest magnitude.
    Absmax,
    /// Least squares, exact: over the k largest magnitudes, the k that makes (their sum)^2 / k largest, and their mean
    /// (the closed form behind Ternary Weight Networks, arXiv:1605.04711, equation 5, without its approximation).
    Optimal,
    /// A scale that training has found; it passes through.
    Learned(f32),
}

/// Scale that maps the percentile `percent` of the magnitudes onto the largest level: of n ascending magnitudes the one
/// at position ceil(fl(fl(percent * n) / 100)) in f64, counted from 1 (nearest rank), divided by `format.max`. What lies beyond
/// saturates.
///
/// # Errors
/// BadInput for NaN or infinite values, or a percentile outside (0, 100].
pub fn percentile(format: &Format, values: &[f32], percent: f64) -> Result<f32> {
    if !(percent > 0.0 && percent <= 100.0) {
        return Err(Error::bad_input(format!("a scale at the percentile {percent}"))
            .help("above 0 and at most 100; 99.9 lets one value in a thousand saturate"));
    }
    finite(values)?;
    if largest(values) == 0.0 {
        return Ok(1.0);
    }
    let mut magnitudes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
    let rank = ((percent * values.len() as f64 / 100.0).ceil() as usize).clamp(1, values.len());
    let (_, at, _) = magnitudes.select_nth_unstable_by(rank - 1, f32::total_cmp);
    // A tensor of mostly zeros still needs a scale that is not zero.
    let top = if *at > 0.0 { *at } else { largest(values) };
    Ok(onto(format, top))
}

/// Scale of least square error.
///
/// Up to 4 bits, and up to 2^22 pairs of a value and a border between levels, it is the exact minimum over all scales:
/// as s falls from infinity, codes change only where x / s meets a border; for the codes q between two such points the
/// least error is sum x^2 - (sum q x)^2 / sum q^2 at s = sum q x / sum q^2, and the best of all is taken (the largest s of
/// equals). Otherwise it is a search: 16 scales an octave from twice the absmax scale to 2^-8 of it (the
/// larger of equals), the best of which is replaced by sum q x / sum q^2 of its codes while that lowers the error, 16 times at most.
///
/// # Errors
/// BadInput for NaN or infinite values; Unsupported for formats wider than 16 bits, which are not scaled.
pub fn mse(format: FormatRef, values: &[f32]) -> Result<f32> {
    let top = scalable(format, values)?;
    if top == 0.0 {
        return Ok(1.0);
    }
    let borders = format.sorted.len().saturating_sub(1);
    if format.bits <= EXACT_BITS && values.len().saturating_mul(borders) <= EXACT_EVENTS {
        return Ok(exact(format, values).unwrap_or_else(|| onto(format, top)));
    }
    let trial = Trial::new(format, values);
    let (mut best, mut least) = search(&trial, onto(format, top), -8 * STEPS..=STEPS, Outcome::error);
    for _ in 0..16 {
        let outcome = trial.at(best);
        let scale = normal(outcome.product / outcome.square);
        let error = trial.at(scale).error();
        if error >= least {
            break;
        }
        (best, least) = (scale, error);
    }
    Ok(best)
}

/// Scale of the least (mean square error / mean square) + `lambda` x (entropy of the codes in bits an element): what an
/// entropy coder will write counts. The error is relative so that one `lambda` serves tensors of any magnitude; a bit is
/// worth 6 dB at best, a `lambda` of 0 is [`mse`] by search.
///
/// Searched at 16 scales an octave, from 2^-8 of the absmax scale up to the first at which every value takes the code of
/// zero; equals go to the larger scale.
///
/// # Errors
/// As [`mse`]; BadInput for a `lambda` that is negative or not finite.
pub fn rate_distortion(format: FormatRef, values: &[f32], lambda: f64) -> Result<f32> {
    if !(lambda >= 0.0 && lambda.is_finite()) {
        return Err(Error::bad_input(format!("a bit cannot cost {lambda}")).help("lambda is 0 or more"));
    }
    let top = scalable(format, values)?;
    if top == 0.0 {
        return Ok(1.0);
    }
    let trial = Trial::new(format, values);
    let power = values.iter().fold(0.0, |sum, x| sum + f64::from(*x) * f64::from(*x));
    let least_level = (0..format.codes() as u32)
        .map(|code| codec::value(format, code))
        .fold(f32::INFINITY, |a, v| if v > 0.0 && v < a { v } else { a });
    // Beyond top / (least / 2) all is zero.
    let above = ((format.max / least_level).log2().ceil() as i32 + 2) * STEPS;
    let cost = |outcome: &Outcome| outcome.error() / power + lambda * outcome.entropy();
    Ok(search(&trial, onto(format, top), -8 * STEPS..=above, cost).0)
}

/// Scale of ternary values by `rule`; the codes follow from it as clamp(rne(x / scale), -1, 1).
///
/// # Errors
/// BadInput for NaN or infinite values, or a learned scale that is not positive.
pub fn ternary(values: &[f32], rule: Ternary) -> Result<f32> {
    finite(values)?;
    let top = largest(values);
    if let Ternary::Learned(scale) = rule {
        let usable = scale > 0.0 && scale.is_finite();
        return if usable { Ok(scale) } else { Err(Error::bad_input(format!("a learned scale of {scale}"))) };
    }
    if top == 0.0 {
        return Ok(1.0);
    }
    Ok(match rule {
        Ternary::Absmax | Ternary::Learned(_) => top,
        Ternary::Absmean => normal(values.iter().fold(0.0, |sum, v| sum + f64::from(v.abs())) / values.len() as f64),
        Ternary::Optimal => {
            let mut magnitudes: Vec<f32> = values.iter().map(|v| v.abs()).collect();
            magnitudes.sort_unstable_by(|a, b| b.total_cmp(a));
            let (mut sum, mut best, mut scale) = (0.0, 0.0, 0.0);
            for (at, magnitude) in magnitudes.iter().enumerate() {
                sum += f64::from(*magnitude);
                let (gain, mean) = (sum * sum / (at + 1) as f64, sum / (at + 1) as f64);
                if gain > best {
                    (best, scale) = (gain, mean);
                }
            }
            normal(scale)
        }
    })
}

/// Scale that maps `top` onto the largest level, never zero.
fn onto(format: &Format, top: f32) -> f32 {
    func::max(top / format.max, f32::from_bits(1))
}

/// A positive scale as f32, never zero.
fn normal(scale: f64) -> f32 {
    func::max(func::round_f64(scale), f32::from_bits(1))
}

/// Largest magnitude of values that may be scaled into `format`.
fn scalable(format: &Format, values: &[f32]) -> Result<f32> {
    if format.bits > 16 {
        return Err(Error::unsupported(format!("`{}` is wide enough to need no fitted scale", format.name)));
    }
    finite(values)?;
    Ok(largest(values))
}

/// The exact least-squares scale, `None` where no scale lowers the error.
fn exact(format: &Format, values: &[f32]) -> Option<f32> {
    let levels: Vec<f64> = format.sorted.iter().map(|code| f64::from(codec::value(format, *code))).collect();
    let borders: Vec<f64> = match format.thresholds.as_slice() {
        [] => levels.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect(),
        thresholds => thresholds.iter().map(|t| f64::from(*t)).collect(),
    };
    let (mut product, mut square) = (0.0, 0.0);
    // (s, value, level before, level after) at every crossing.
    let mut events: Vec<(f64, u32, u8, bool)> = Vec::new();
    for (index, x) in values.iter().enumerate() {
        let x = f64::from(*x);
        let rank = borders.iter().filter(|b| **b < 0.0 || (**b == 0.0 && x >= 0.0)).count();
        product += levels[rank] * x;
        square += levels[rank] * levels[rank];
        let crossed = borders.iter().enumerate().filter(|(_, b)| **b * x > 0.0);
        events.extend(crossed.map(|(border, b)| (x / b, index as u32, border as u8, x > 0.0)));
    }
    events.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let (mut gain, mut scale) = (0.0, None);
    let mut consider = |product: f64, square: f64| {
        if product > 0.0 && square > 0.0 && product * product / square > gain {
            (gain, scale) = (product * product / square, Some(product / square));
        }
    };
    consider(product, square);
    for (at, (s, index, border, up)) in events.iter().enumerate() {
        let (low, high) = (levels[usize::from(*border)], levels[usize::from(*border) + 1]);
        let (before, after) = if *up { (low, high) } else { (high, low) };
        product += (after - before) * f64::from(values[*index as usize]);
        square += after * after - before * before;
        if events.get(at + 1).is_none_or(|next| next.0 < *s) {
            consider(product, square);
        }
    }
    scale.map(normal)
}

/// Values against which scales are tried.
struct Trial<'a> {
    values: &'a [f32],
    format: FormatRef,
    /// Table of codes, where there are values enough to pay for it.
    encoder: Option<Encoder>,
    decoder: Decoder,
}

/// Sums over the codes of one scale.
struct Outcome {
    /// Of (x - q s)^2.
    error: f64,
    /// Of q x.
    product: f64,
    /// Of q^2.
    square: f64,
    /// How often every code is taken.
    counts: Vec<u32>,
}

impl Outcome {
    fn error(&self) -> f64 {
        self.error
    }
    /// Entropy of the codes, bits an element.
    fn entropy(&self) -> f64 {
        let n = self.counts.iter().fold(0.0, |sum, count| sum + f64::from(*count));
        let bits = |count: &u32| f64::from(*count) / n * (n / f64::from(*count)).log2();
        self.counts.iter().filter(|count| **count > 0).fold(0.0, |sum, count| sum + bits(count))
    }
}

impl<'a> Trial<'a> {
    fn new(format: FormatRef, values: &'a [f32]) -> Self {
        let mode = Mode::Fixed(Rounding::NearestEven);
        let encoder = (values.len() > 4096).then(|| Encoder::new(format, mode, true));
        Trial { values, format, encoder, decoder: Decoder::new(format) }
    }
    fn at(&self, scale: f32) -> Outcome {
        let (mut codes, mut decoded) = (Vec::new(), Vec::new());
        let mut out = Outcome { error: 0.0, product: 0.0, square: 0.0, counts: vec![0; 1 << self.format.bits] };
        // In pieces, so that a tensor of any length needs little memory.
        for piece in self.values.chunks(4096) {
            let scaled: Vec<u32> = piece.iter().map(|x| (x / scale).to_bits()).collect();
            codes.clear();
            decoded.clear();
            match &self.encoder {
                Some(encoder) => encoder.encode(&scaled, 0, &mut codes),
                None => {
                    codes.extend(scaled.iter().map(|x| codec::encode(self.format, *x, Rounding::NearestEven, true)))
                }
            }
            codes.iter().for_each(|code| out.counts[*code as usize] += 1);
            self.decoder.decode(codes.iter().copied(), &mut decoded);
            for (x, q) in piece.iter().zip(&decoded) {
                let (x, q) = (f64::from(*x), f64::from(f32::from_bits(*q)));
                let miss = x - q * f64::from(scale);
                out.error += miss * miss;
                out.product += q * x;
                out.square += q * q;
            }
        }
        out
    }
}

/// The scale of least cost among `base` * 2^(step / 16), the largest of equals, and its cost.
fn search(
    trial: &Trial<'_>,
    base: f32,
    steps: std::ops::RangeInclusive<i32>,
    cost: impl Fn(&Outcome) -> f64,
) -> (f32, f64) {
    let mut best = (base, f64::INFINITY);
    for step in steps.rev() {
        let scale = normal(f64::from(base) * (f64::from(step) / f64::from(STEPS)).exp2());
        if scale.is_infinite() {
            continue;
        }
        let here = cost(&trial.at(scale));
        if here < best.1 {
            best = (scale, here);
        }
    }
    best
}

/// Whether `format` is a grid that a ternary rule may scale.
pub fn is_ternary(format: &Format) -> bool {
    matches!(&format.element, Element::Codebook { .. }) && format.sorted.len() == 3 && format.max == 1.0
}

#[cfg(test)]
mod tests {
    use super::super::density::Density;
    use super::super::samples::gauss;
    use super::*;
    use crate::num::format::find;

    fn error(format: FormatRef, values: &[f32], scale: f32) -> f64 {
        Trial::new(format, values).at(scale).error()
    }

    #[test]
    fn least_squares_meet_the_closed_forms_of_a_gaussian() {
        // A sample of n quantiles ends where the density does not: of int8, which loses most to the tail, the error is 8 %
        // below the integral at 2^14 values and 2 % at 2^17. There the sample itself is the measure: the scale of the
        // integral is no better, by more than the 0.1 % that a search of so many bits may miss, and not 1 % worse.
        let (few, many) = (gauss(1 << 14), gauss(1 << 17));
        for name in
            ["binary", "ternary", "fp2", "fp2sparse", "triplet", "int2", "int4", "fp4e2m1", "nf4", "int8", "fp8e4m3"]
        {
            let x = if name == "int8" { &many } else { &few };
            let format = find(name).unwrap();
            let levels: Vec<f64> = format.sorted.iter().map(|c| f64::from(codec::value(format, *c))).collect();
            let theory = Density::Gauss.best(&levels).unwrap();
            let got = error(format, x, mse(format, x).unwrap()) / x.len() as f64;
            let gap = if name == "int8" { 0.021 } else { 0.01 };
            assert!((got / theory.mse - 1.0).abs() < gap, "{name}: {got} and {}", theory.mse);
            let there = error(format, x, theory.scale as f32) / x.len() as f64;
            assert!(got <= there * 1.001 && got > there * 0.99, "{name}: {got} and {there}");
        }
    }

    #[test]
    fn the_exact_scale_is_never_worse_than_any_of_many() {
        for (name, seed) in
            [("ternary", 3u32), ("int2", 5), ("fp4e2m1", 7), ("nf4", 11), ("binary", 13), ("triplet", 17)]
        {
            let format = find(name).unwrap();
            for n in [1usize, 2, 7, 40] {
                let x: Vec<f32> = (0..n as u32)
                    .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
                    .collect();
                let best = error(format, &x, mse(format, &x).unwrap());
                for step in (1..4000).step_by(7) {
                    let other = error(format, &x, step as f32 * 0.001);
                    assert!(best <= other * (1.0 + 1e-5) + 1e-12, "{name} {n}: {best} and {other} at {step}");
                }
            }
        }
    }

    #[test]
    fn ternary_rules() {
        let x = [1.0, -0.5, 0.25, -0.25];
        let of = |rule| ternary(&x, rule).unwrap();
        assert_eq!([of(Ternary::Absmean), of(Ternary::Absmax), of(Ternary::Learned(0.3))], [0.5, 1.0, 0.3]);
        // Sums 1, 1.5, 1.75, 2 squared over 1, 2, 3, 4: 1, 1.125, 1.02, 1.
        assert_eq!(of(Ternary::Optimal), 0.75);
        let x = gauss(1 << 12);
        let (closed, swept) = (ternary(&x, Ternary::Optimal).unwrap(), mse(find("ternary").unwrap(), &x).unwrap());
        assert!((closed / swept - 1.0).abs() < 1e-5 && (closed - 1.22401).abs() < 0.01, "{closed} {swept}");
        assert!(ternary(&x, Ternary::Learned(0.0)).is_err() && ternary(&x, Ternary::Learned(f32::NAN)).is_err());
        assert!(is_ternary(find("ternary").unwrap()) && !is_ternary(find("binary").unwrap()));
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        let x: Vec<f32> = (0..1000).map(|i| if i % 2 == 0 { i as f32 } else { -(i as f32) }).collect();
        let int8 = find("int8").unwrap();
        let of = |percent| percentile(int8, &x, percent).unwrap() * 127.0;
        assert_eq!([of(100.0).round(), of(99.9).round(), of(50.0).round()], [999.0, 998.0, 499.0]);
        assert_eq!(percentile(int8, &[0.0, 0.0, 0.0, 127.0], 50.0).unwrap(), 1.0);
        for percent in [0.0, -1.0, 100.1, f64::NAN] {
            assert!(percentile(int8, &x, percent).is_err());
        }
    }

    #[test]
    fn a_dearer_bit_gives_fewer_bits() {
        let x = gauss(1 << 12);
        for name in ["int4", "ternary", "fp8e4m3"] {
            let format = find(name).unwrap();
            let mut last = f64::INFINITY;
            for lambda in [0.0, 0.01, 0.1, 10.0] {
                let scale = rate_distortion(format, &x, lambda).unwrap();
                let bits = Trial::new(format, &x).at(scale).entropy();
                assert!(bits <= last + 1e-9, "{name} {lambda}: {bits} after {last}");
                last = bits;
            }
            // Where a bit costs more than all error, only the sign of zero is left of a float.
            assert!(last <= 1.001, "{name}: {last}");
            let (free, fitted) = (rate_distortion(format, &x, 0.0).unwrap(), mse(format, &x).unwrap());
            assert!(error(format, &x, free) <= error(format, &x, fitted) * 1.01, "{name}");
        }
    }

    #[test]
    fn degenerate_input() {
        for name in ["ternary", "fp4e2m1", "int8", "binary", "bf16", "int16"] {
            let format = find(name).unwrap();
            for zeros in [&[][..], &[0.0, -0.0]] {
                assert_eq!(mse(format, zeros).unwrap(), 1.0);
                assert_eq!(rate_distortion(format, zeros, 0.1).unwrap(), 1.0);
                assert_eq!(percentile(format, zeros, 99.0).unwrap(), 1.0);
            }
            for bad in [f32::NAN, f32::INFINITY] {
                assert!(mse(format, &[1.0, bad]).is_err() && rate_distortion(format, &[bad], 0.0).is_err());
                assert!(percentile(format, &[bad], 50.0).is_err() && ternary(&[bad], Ternary::Absmax).is_err());
            }
            for one in [1.0, -3.0, f32::MAX / 4.0, 1e-30, f32::from_bits(1)] {
                let scale = mse(format, &[one]).unwrap();
                assert!(scale > 0.0 && scale.is_finite(), "{name} {one:e}");
                if one.abs() > 1e-32 {
                    assert!(
                        error(format, &[one], scale).sqrt() <= f64::from(one.abs()) * 0.01,
                        "{name} {one:e} {scale:e}"
                    );
                }
            }
        }
        assert_eq!(ternary(&[], Ternary::Optimal).unwrap(), 1.0);
        assert_eq!(ternary(&[0.0], Ternary::Absmean).unwrap(), 1.0);
        assert!(mse(find("fp32").unwrap(), &[1.0]).is_err());
        assert!(rate_distortion(find("int4").unwrap(), &[1.0], -1.0).is_err());
    }
}
