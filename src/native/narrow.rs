//! Accumulators of a given width (numerics contract, section 4): saturating, truncating, and read by a converter.

use super::dots::round_sum;
use crate::num::philox::{Draws, Use};

/// Products added one by one to a 24-bit integer that saturates.
pub(super) fn int24s(x: &[i64], w: &[i64]) -> i128 {
    const LIMIT: i64 = 1 << 23;
    x.iter().zip(w).fold(0, |sum: i64, (a, b)| (sum + a * b).clamp(-LIMIT, LIMIT - 1)).into()
}

/// Groups of 32 products summed exactly, added to 14 significant bits, which go into an f32 every four groups.
pub(super) fn fp22(x: &[i64], w: &[i64], unit: i32) -> f32 {
    let mut total = 0.0f32;
    for (xs, ws) in x.chunks(128).zip(w.chunks(128)) {
        let mut held = 0i128;
        for (xs, ws) in xs.chunks(32).zip(ws.chunks(32)) {
            let group: i128 = xs.iter().zip(ws).map(|(a, b)| i128::from(*a) * i128::from(*b)).sum();
            held = fourteen_bits(held + group);
        }
        total += round_sum(held, unit);
    }
    total + 0.0
}

/// The 14 highest significant bits; zeros below them.
fn fourteen_bits(sum: i128) -> i128 {
    let width = i128::BITS - sum.unsigned_abs().leading_zeros();
    let unit = 1i128 << width.saturating_sub(14);
    sum / unit * unit
}

/// A converter that reads exact sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Converter {
    /// Bits of its codes.
    pub bits: u32,
    /// Full scale in quanta of the sum.
    pub full: i128,
    /// Deviation of its noise in 2^-16 of a step.
    pub sigma: i64,
    /// Draws of the node.
    pub draws: Draws,
}

impl Converter {
    /// The draws of a node's converter.
    pub fn draws_of(node: &str) -> Draws {
        Draws::new(0, node, 0, Use::Forward)
    }

    /// What the converter makes of `sum`, in quanta 2^(bits - 1) finer; `index` chooses the noise.
    pub fn read(&self, sum: i128, index: u64) -> i128 {
        let noise = if self.sigma == 0 { 0 } else { i128::from(self.sigma) * self.noise(index) };
        // In 2^-32 of a step, times the full scale: exact. |sum| <= full < 2^64.
        let scaled = (sum << (self.bits - 1 + 32)) + noise * self.full;
        let step = self.full << 32;
        let (below, rest) = (scaled.div_euclid(step), scaled.rem_euclid(step));
        let up = 2 * rest > step || (2 * rest == step && below & 1 == 1);
        let limit = 1i128 << (self.bits - 1);
        (below + i128::from(up)).clamp(-limit, limit - 1) * self.full
    }

    /// Nearly normal, of deviation 2^16: twelve uniform halves of words, about their mean.
    fn noise(&self, index: u64) -> i128 {
        let (a, b) = (self.draws.quad(2 * index), self.draws.quad(2 * index + 1));
        let words = [a[0], a[1], a[2], a[3], b[0], b[1]];
        words.iter().map(|word| i128::from(word & 0xffff) + i128::from(word >> 16)).sum::<i128>() - 393_210
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_in_the_order_of_k() {
        let big = [1 << 11; 3];
        assert_eq!(int24s(&big, &[1 << 12, 1 << 12, -1]), (1 << 23) - 1 - (1 << 11));
        assert_eq!(int24s(&big, &[-(1 << 12), -(1 << 12), 1]), -(1 << 23) + (1 << 11));
        assert_eq!(int24s(&[], &[]), 0);
    }

    #[test]
    fn fourteen_bits_are_kept_and_f32_takes_over_every_128() {
        assert_eq!([16_383, 16_385, 32_771, -32_771].map(fourteen_bits), [16_383, 16_384, 32_768, -32_768]);
        // One at a time below the 14 bits is lost; summed in the group it is not.
        let mut x = [0i64; 129];
        (x[0], x[32], x[64], x[128]) = (1 << 15, 3, 3, 1);
        assert_eq!(fp22(&x, &[1; 129], -1), ((1 << 15) + 1) as f32 / 2.0);
        assert_eq!(fp22(&[-1], &[0], 0).to_bits(), 0);
    }

    #[test]
    fn a_converter_rounds_to_its_steps_and_clamps() {
        let converter = Converter { bits: 3, full: 100, sigma: 0, draws: Converter::draws_of("n") };
        // Steps of 25 quanta: results in quarters of a quantum.
        assert_eq!([0, 12, 13, 38, 100, -100].map(|s| converter.read(s, 0) / 100), [0, 0, 1, 2, 3, -4]);
        let noisy = Converter { sigma: 1 << 16, ..converter };
        let codes: Vec<i128> = (0..4000).map(|i| noisy.read(0, i) / 100).collect();
        let mean = codes.iter().sum::<i128>() as f64 / 4000.0;
        let square = codes.iter().map(|c| c * c).sum::<i128>() as f64 / 4000.0;
        // Deviation 1 and the rounding's 1/12.
        assert!(mean.abs() < 0.07 && (square - 13.0 / 12.0).abs() < 0.1, "{mean} {square}");
    }
}
