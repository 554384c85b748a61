//! Random-sign Hadamard rotation of runs of 16 elements: x -> (1/4) H diag(signs) x with H the Sylvester matrix.
//!
//! It spreads an outlier over its run. Both operands of a dot, rotated with the same signs, keep their dot up to rounding.

use crate::diag::{Error, Result};
use crate::num::philox::{Draws, Use};

/// Elements that are rotated together.
pub const RUN: usize = 16;

/// Signs of a rotation: bit i is set where element i changes its sign first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signs(pub u16);

impl Signs {
    /// The fixed signs of TransformerEngine: + + + - + - - - - - - + - + - -.
    pub const TRANSFORMER_ENGINE: Signs = Signs(0b1101_0111_1110_1000);

    /// Signs of the tensor called `name`: the top 16 bits of the first draw of its stream (numerics contract, 2.4).
    pub fn of(seed: u64, name: &str) -> Signs {
        Signs((Draws::new(seed, name, 0, Use::Forward).word(0) >> 16) as u16)
    }

    fn flip(self, run: &mut [f32]) {
        for (at, x) in run.iter_mut().enumerate() {
            if self.0 >> at & 1 == 1 {
                *x = -*x;
            }
        }
    }
}

/// Rotates every run of `values`: signs first, then butterflies (a, b) -> (a + b, a - b) over distances 1, 2, 4, 8, then
/// times 0.25, each rounded to f32 (numerics contract, section 8). NaN and infinities spread over their run.
///
/// # Errors
/// Unsupported if the length is no multiple of 16: call it row by row.
pub fn rotate(values: &mut [f32], signs: Signs) -> Result<()> {
    whole(values)?;
    for run in values.chunks_exact_mut(RUN) {
        signs.flip(run);
        transform(run);
    }
    Ok(())
}

/// The inverse of [`rotate`] up to rounding: the same butterflies (H is its own inverse times 16), then the signs.
///
/// # Errors
/// As [`rotate`].
pub fn unrotate(values: &mut [f32], signs: Signs) -> Result<()> {
    whole(values)?;
    for run in values.chunks_exact_mut(RUN) {
        transform(run);
        signs.flip(run);
    }
    Ok(())
}

fn whole(values: &[f32]) -> Result<()> {
    if values.len().is_multiple_of(RUN) {
        return Ok(());
    }
    Err(Error::unsupported(format!("a Hadamard rotation of {} elements: it takes runs of {RUN}", values.len())))
}

fn transform(run: &mut [f32]) {
    for distance in [1, 2, 4, 8] {
        for low in (0..RUN).filter(|at| at & distance == 0) {
            let (a, b) = (run[low], run[low + distance]);
            (run[low], run[low + distance]) = (a + b, a - b);
        }
    }
    run.iter_mut().for_each(|x| *x *= 0.25);
}

#[cfg(test)]
mod tests {
    use super::super::samples::gauss;
    use super::*;

    #[test]
    fn a_rotation_is_the_sylvester_matrix_with_signs() {
        let te = [1.0, 1.0, 1.0, -1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, -1.0];
        for (column, sign) in te.iter().enumerate() {
            let mut unit = [0f32; RUN];
            unit[column] = 1.0;
            rotate(&mut unit, Signs::TRANSFORMER_ENGINE).unwrap();
            for (row, got) in unit.iter().enumerate() {
                let entry = if (row & column).count_ones().is_multiple_of(2) { 0.25 } else { -0.25 };
                assert_eq!(*got, entry * sign, "{row} {column}");
            }
        }
    }

    #[test]
    fn it_inverts_and_keeps_dots_and_spreads_outliers() {
        let (mut x, mut y) = (gauss(1024), gauss(1024));
        y.rotate_left(100);
        x[5] = 1000.0;
        let signs = Signs::of(0, "layer.0");
        assert_ne!(signs, Signs::of(0, "layer.1"));
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).fold(0.0, |sum, (x, y)| sum + f64::from(*x) * f64::from(*y));
        let (before, old) = (dot(&x, &y), x.clone());
        rotate(&mut x, signs).unwrap();
        rotate(&mut y, signs).unwrap();
        assert!((dot(&x, &y) - before).abs() < 1e-3, "{before}");
        assert!(x.iter().all(|x| x.abs() < 300.0));
        unrotate(&mut x, signs).unwrap();
        assert!(x.iter().zip(&old).all(|(a, b)| (a - b).abs() < 2e-4));
        // Small integers have no rounding at all.
        let whole: Vec<f32> = (0..32).map(|i| (i * 5 % 17) as f32 - 8.0).collect();
        let mut turned = whole.clone();
        rotate(&mut turned, signs).unwrap();
        unrotate(&mut turned, signs).unwrap();
        assert_eq!(turned, whole);
    }

    #[test]
    fn degenerate_input() {
        assert!(rotate(&mut [], Signs(0)).is_ok());
        assert!(rotate(&mut [1.0], Signs(0)).is_err() && unrotate(&mut [0.0; 17], Signs(0)).is_err());
        let mut zeros = [0f32; 16];
        rotate(&mut zeros, Signs::TRANSFORMER_ENGINE).unwrap();
        assert!(zeros.iter().all(|x| *x == 0.0));
    }
}
