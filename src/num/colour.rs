//! Colour formats: a row as a sum of n sign planes, each with a scale of its own (multi-bit binarisation), fitted greedily.
//!
//! Plane after plane takes the signs of what is left and, as its scale, the mean magnitude of that: r_0 = x, a_i = RN32(sum
//! of |r_(i-1)| / N), r_i = r_(i-1) -+ a_i, all but the scales in f64, sums in the order of the elements.

use crate::num::func;

/// Sign planes of the format called `name`: 2 to 4, `None` for other formats.
pub fn planes(name: &str) -> Option<usize> {
    ["colour2", "colour3", "colour4"].iter().position(|known| *known == name).map(|at| at + 2)
}

/// Appends the codes of a row, bit i set where plane i is negative, and its scales, one a plane. NaN or infinity in the row:
/// every scale is NaN, every code 0.
pub fn encode_row(x: &[f32], planes: usize, codes: &mut Vec<u32>, scales: &mut Vec<f32>) {
    let start = codes.len();
    codes.resize(start + x.len(), 0);
    if !x.iter().all(|x| x.is_finite()) {
        scales.resize(scales.len() + planes, func::canonical(f32::NAN));
        return;
    }
    let mut rest: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    for plane in 0..planes {
        let total = rest.iter().fold(0.0, |sum, r| sum + r.abs());
        let scale = func::round_f64(total / x.len().max(1) as f64);
        for (r, code) in rest.iter_mut().zip(&mut codes[start..]) {
            let negative = *r < 0.0;
            *code |= u32::from(negative) << plane;
            *r += if negative { f64::from(scale) } else { -f64::from(scale) };
        }
        scales.push(scale);
    }
}

/// Value of a code as f32 bits: the signed scales, added in the order of the planes, each sum rounded; NaN is canonical.
pub fn decode(code: u32, scales: &[f32]) -> u32 {
    let signed = |(plane, scale): (usize, &f32)| if code >> plane & 1 == 1 { -scale } else { *scale };
    let value = scales.iter().enumerate().map(signed).reduce(|sum, term| sum + term);
    func::canonical(value.unwrap_or(0.0)).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_plane_takes_the_mean_of_what_is_left() {
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        encode_row(&[3.0, -1.0, 0.5, -3.5], 2, &mut codes, &mut scales);
        // Mean 2; what is left is 1, 1, -1.5, -1.5: mean 1.25.
        assert_eq!((&codes[..], &scales[..]), (&[0b00, 0b01, 0b10, 0b11][..], &[2.0, 1.25][..]));
        let values: Vec<f32> = codes.iter().map(|code| f32::from_bits(decode(*code, &scales))).collect();
        assert_eq!(values, [3.25, -0.75, 0.75, -3.25]);
        encode_row(&[1.0, f32::NAN], 2, &mut codes, &mut scales);
        assert_eq!((&codes[4..], decode(0, &scales[2..])), (&[0, 0][..], 0x7fc0_0000));
        assert_eq!((planes("colour4"), planes("colour5")), (Some(4), None));
    }

    #[test]
    fn a_gaussian_row_has_the_published_scales() {
        // Quantiles of a normal distribution by sums of uniform ones; the closed forms are .7979 and .4826.
        let draw = |i: u32| f64::from(crate::num::philox::philox([i, 0, 0, 0], [1, 2])[0]) / 4_294_967_296.0;
        let gauss = |i: u32| ((0..12).map(|j| draw(12 * i + j)).fold(0.0, |a, b| a + b) - 6.0) as f32;
        let x: Vec<f32> = (0..40_000).map(gauss).collect();
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        encode_row(&x, 2, &mut codes, &mut scales);
        assert!((scales[0] - 0.7979).abs() < 0.02 && (scales[1] - 0.4826).abs() < 0.02, "{scales:?}");
    }
}
