//! The sum order of reductions (numerics contract, section 7): sixteen lanes, then a fixed tree.

use crate::num::func::fma;

/// Rows longer than this are summed in chunks whose sums are added one after the other.
const CHUNK: usize = 4096;

fn tree(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            lanes[j] += lanes[j + half];
        }
    }
    lanes[0]
}

fn chunked(count: usize, mut step: impl FnMut(usize, f32) -> f32) -> f32 {
    let mut total = None;
    for start in (0..count).step_by(CHUNK) {
        let mut lanes = [0.0f32; 16];
        for i in start..(start + CHUNK).min(count) {
            lanes[(i - start) % 16] = step(i, lanes[(i - start) % 16]);
        }
        let sum = tree(lanes);
        total = Some(total.map_or(sum, |t: f32| t + sum));
    }
    total.unwrap_or(0.0)
}

/// L16 sum of `count` elements given by index.
pub(super) fn sum(count: usize, at: impl Fn(usize) -> f32) -> f32 {
    chunked(count, |i, lane| lane + at(i))
}

/// L16 sum of squares: lanes take `fma(x, x, lane)`.
pub(super) fn sum_of_squares(x: &[f32]) -> f32 {
    chunked(x.len(), |i, lane| fma(x[i], x[i], lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_then_tree() {
        // Lane 0 holds 2^24 + 1 -> 2^24 (rounded away); a plain left-to-right sum would differ.
        let mut x = [0.0f32; 32];
        x[0] = 16_777_216.0;
        x[16] = 1.0;
        x[1] = 1.0;
        x[2] = 1.0;
        // Tree: lane 0 (2^24) + lane 8 + lane 4 + lane 2 (1) -> 2^24, then + lane 1 (1) -> 2^24.
        assert_eq!(sum(32, |i| x[i]).to_bits(), 16_777_216.0f32.to_bits());
        x[9] = 1.0;
        // Lane 1 becomes 2 before it meets lane 0.
        assert_eq!(sum(32, |i| x[i]).to_bits(), 16_777_218.0f32.to_bits());
    }

    #[test]
    fn empty_is_positive_zero_and_chunks_add() {
        assert_eq!(sum(0, |_| 1.0).to_bits(), 0);
        assert_eq!(sum(10_000, |_| 1.0), 10_000.0);
        assert_eq!(sum_of_squares(&[3.0, 4.0]), 25.0);
    }
}
