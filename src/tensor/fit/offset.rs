//! Integers with a zero point: x is about (q - zero) * scale with q from 0 to 2^N - 1, or a q + b with a = scale and
//! b = fl(-zero * scale).

use super::finite;
use crate::diag::{Error, Result};
use crate::num::func::rne;

/// Scale and zero point of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Step from one code to the next.
    pub scale: f32,
    /// The code, possibly outside the range of codes and always an integer, that stands for 0.
    pub zero: f32,
    /// Bits of a code, 1 to 16.
    pub bits: u32,
}

impl Affine {
    /// The fit of numerics contract, section 8, every operation in f32: scale = fl(fl(max - min) / (2^N - 1)), zero =
    /// rne(fl(-min / scale)).
    ///
    /// Where that scale is 0 (all values alike, or subnormals too near each other) it is |min|, or 1 for zeros, so that
    /// a constant is exact.
    ///
    /// # Errors
    /// BadInput without values, with NaN or infinity among them, with more than f32 between the least and the largest,
    /// or with bits outside 1 to 16.
    pub fn fit(values: &[f32], bits: u32) -> Result<Affine> {
        if !(1..=16).contains(&bits) {
            return Err(Error::bad_input(format!("integers with a zero point have 1 to 16 bits, not {bits}")));
        }
        finite(values)?;
        let Some(first) = values.first() else {
            return Err(Error::bad_input("no values, so there is no range to fit"));
        };
        let low = values.iter().fold(*first, |a, v| if *v < a { *v } else { a });
        let high = values.iter().fold(*first, |a, v| if *v > a { *v } else { a });
        if (high - low).is_infinite() {
            return Err(Error::bad_input(format!("the range from {low:e} to {high:e} is beyond f32")));
        }
        let steps = ((1u32 << bits) - 1) as f32;
        let mut scale = (high - low) / steps;
        if scale == 0.0 {
            scale = if low == 0.0 { 1.0 } else { low.abs() };
        }
        // Adding 0 makes a zero positive.
        Ok(Affine { scale, zero: rne(-low / scale) + 0.0, bits })
    }

    /// Code of `x`: clamp(rne(fl(x / scale)) + zero, 0, 2^N - 1); NaN gives 0.
    pub fn code(&self, x: f32) -> u32 {
        let top = (1u32 << self.bits) - 1;
        // Conversion saturates; -infinity and NaN become 0.
        ((rne(x / self.scale) + self.zero) as u32).min(top)
    }

    /// Value of `code` as fl((code - zero) * scale), the difference rounded too.
    pub fn value(&self, code: u32) -> f32 {
        (code as f32 - self.zero) * self.scale
    }

    /// The offset b of a q + b: fl(-zero * scale).
    pub fn offset(&self) -> f32 {
        -self.zero * self.scale + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_maps_onto_the_codes() {
        let values = [-1.0, 0.0, 0.5, 2.0];
        let fit = Affine::fit(&values, 8).unwrap();
        assert_eq!((fit.scale, fit.zero), (3.0 / 255.0, 85.0));
        assert_eq!(values.map(|x| fit.code(x)), [0, 85, 127, 255]);
        assert_eq!(fit.value(85), 0.0);
        assert!((fit.offset() + 1.0).abs() < 1e-6);
        for x in values {
            let y = fit.value(fit.code(x));
            assert!((x - y).abs() <= fit.scale * 0.500_01);
        }
        assert_eq!([fit.code(9.0), fit.code(-9.0), fit.code(f32::NAN)], [255, 0, 0]);
        // Ties to even: 1.5 steps of 1 over 0 .. 3.
        let fit = Affine::fit(&[0.0, 3.0], 2).unwrap();
        assert_eq!([0.5, 1.5, 2.5].map(|x| fit.code(x)), [0, 2, 2]);
    }

    #[test]
    fn degenerate_input() {
        for x in [5.5f32, -5.5, 1e-45, -1e38] {
            let fit = Affine::fit(&[x; 3], 4).unwrap();
            assert_eq!(fit.value(fit.code(x)), x);
        }
        let zeros = Affine::fit(&[0.0, -0.0], 4).unwrap();
        assert_eq!((zeros.scale, zeros.zero.to_bits(), zeros.value(zeros.code(0.0))), (1.0, 0, 0.0));
        assert_eq!(zeros.offset().to_bits(), 0);
        assert!(Affine::fit(&[], 8).is_err());
        assert!(Affine::fit(&[f32::NAN], 8).is_err() && Affine::fit(&[0.0, f32::INFINITY], 8).is_err());
        assert!(Affine::fit(&[1.0], 0).is_err() && Affine::fit(&[1.0], 17).is_err());
        assert!(Affine::fit(&[-f32::MAX, f32::MAX], 8).is_err());
    }
}
