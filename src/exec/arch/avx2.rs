//! AVX2 and FMA leaves. In products the outputs of a panel are four vectors, and some rows of inputs pass at a time.
//!
//! `vpmaddubsw` saturates at 16 bits, so it serves weights of at most 64 in magnitude (2 * 255 * 64 fits), and a lane of
//! 16 bits takes as many of its sums as the caller says. Wider weights are words of 16 bits for `vpmaddwd`.

use crate::exec::panel::{Group, OUTPUTS, Sums, rows};
use crate::num::func::canonical;
use std::arch::x86_64::*;

/// Vectors of a group.
const VECTORS: usize = OUTPUTS / 8;

fn detected() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Sums of bytes, inputs offset by 128; `hold` sums of two products fit 16 bits.
pub(in crate::exec) fn bytes(
    x: &[[u8; 4]],
    pitch: usize,
    w: &[Group<i8, 4>],
    count: usize,
    sums: &mut Sums,
    hold: usize,
) -> usize {
    assert!(detected() && hold > 0, "the level and the weights were checked");
    // SAFETY: AVX2 was detected above.
    unsafe {
        match count {
            2.. => byte_rows::<2>(rows(x, pitch, w.len()), w, sums, hold),
            _ => byte_rows::<1>(rows(x, pitch, w.len()), w, sums, hold),
        }
    }
}

/// Sums of words.
pub(in crate::exec) fn words(
    x: &[[i16; 2]],
    pitch: usize,
    w: &[Group<i16, 2>],
    count: usize,
    sums: &mut Sums,
) -> usize {
    assert!(detected(), "the level was checked");
    // SAFETY: AVX2 was detected above.
    unsafe {
        match count {
            2.. => word_rows::<2>(rows(x, pitch, w.len()), w, sums),
            _ => word_rows::<1>(rows(x, pitch, w.len()), w, sums),
        }
    }
}

#[target_feature(enable = "avx2")]
fn byte_rows<const R: usize>(x: [&[[u8; 4]]; R], w: &[Group<i8, 4>], out: &mut Sums, hold: usize) -> usize {
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; R];
    let mut start = 0;
    while start < w.len() {
        let end = w.len().min(start + hold);
        let mut held = [[_mm256_setzero_si256(); VECTORS]; R];
        for at in start..end {
            let w = load(&w[at]);
            for row in 0..R {
                let x = _mm256_set1_epi32(i32::from_le_bytes(x[row][at]));
                for v in 0..VECTORS {
                    held[row][v] = _mm256_add_epi16(held[row][v], _mm256_maddubs_epi16(x, w[v]));
                }
            }
        }
        for row in 0..R {
            for v in 0..VECTORS {
                sums[row][v] = _mm256_add_epi32(sums[row][v], _mm256_madd_epi16(held[row][v], ones));
            }
        }
        start = end;
    }
    store(sums, out)
}

#[target_feature(enable = "avx2")]
fn word_rows<const R: usize>(x: [&[[i16; 2]]; R], w: &[Group<i16, 2>], out: &mut Sums) -> usize {
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; R];
    for at in 0..w.len() {
        let w = load(&w[at]);
        for row in 0..R {
            let [low, high] = x[row][at];
            let x = _mm256_set1_epi32(i32::from(low as u16) | i32::from(high) << 16);
            for v in 0..VECTORS {
                sums[row][v] = _mm256_add_epi32(sums[row][v], _mm256_madd_epi16(x, w[v]));
            }
        }
    }
    store(sums, out)
}

/// The vectors of a group.
#[target_feature(enable = "avx2")]
fn load<T, const G: usize>(group: &Group<T, G>) -> [__m256i; VECTORS] {
    const { assert!(size_of::<Group<T, G>>() == 32 * VECTORS, "a group is whole vectors") };
    let from = std::ptr::from_ref(group).cast::<__m256i>();
    // SAFETY: a group is VECTORS vectors of plain integers, and the loads need no alignment.
    unsafe {
        [
            _mm256_loadu_si256(from),
            _mm256_loadu_si256(from.add(1)),
            _mm256_loadu_si256(from.add(2)),
            _mm256_loadu_si256(from.add(3)),
        ]
    }
}

/// Writes the sums and says of how many rows they are.
#[target_feature(enable = "avx2")]
fn store<const R: usize>(sums: [[__m256i; VECTORS]; R], out: &mut Sums) -> usize {
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.as_chunks_mut::<8>().0.iter_mut().zip(sums) {
            // SAFETY: 32 writable bytes; the store needs no alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
        }
    }
    R
}

/// Adds sums times their scales to results.
pub(in crate::exec) fn scale_into(results: &mut [f32], sums: &[f32], of_input: f32, of_weights: &[f32]) {
    #[target_feature(enable = "avx2,fma")]
    fn all(results: &mut [f32], sums: &[f32], of_input: f32, of_weights: &[f32]) {
        for ((result, sum), of_weight) in results.iter_mut().zip(sums).zip(of_weights) {
            *result = canonical(sum.mul_add(of_input * of_weight, canonical(*result)));
        }
    }
    assert!(detected(), "the level was checked");
    // SAFETY: AVX2 and FMA were detected above.
    unsafe { all(results, sums, of_input, of_weights) }
}
