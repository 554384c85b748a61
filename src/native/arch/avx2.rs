//! AVX2 and FMA leaves.
//!
//! `vpmaddubsw` saturates at 16 bits, so it serves only weights of magnitude 1 (2 * 255 fits); int8 x int8 is
//! widened to 16 bits and uses `vpmaddwd`. Partial sums are 32-bit inside a chunk and 64-bit between chunks.

use super::expand::{expand_binary, expand_ternary};
use crate::native::kernels::Rows;
use std::arch::x86_64::*;

/// Outputs of a float panel.
pub(in crate::native) const LANES: usize = 8;

/// Elements whose sums stay in 32-bit lanes: 2^17 products of 2^14 in eight lanes are 2^28.
const CHUNK: usize = 1 << 17;

fn detected() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// int8 x int8.
pub(in crate::native) fn int8_int8(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]) {
    assert!(detected(), "the kernel table checks the CPU");
    for (r, sum) in sums.iter_mut().enumerate() {
        // SAFETY: AVX2 was detected above.
        *sum = unsafe { dot_int8(x.row(r, k), &w[..k]) };
    }
}

/// int8 x ternary.
pub(in crate::native) fn int8_ternary(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]) {
    let mut levels = vec![0i8; k.next_multiple_of(32)];
    if k.is_multiple_of(32) && detected() {
        // SAFETY: AVX2 was detected just above.
        unsafe { expand_ternary_words(w, &mut levels) };
    } else {
        expand_ternary(w, k, &mut levels);
    }
    signs(x, &levels, k, sums);
}

/// int8 x binary.
pub(in crate::native) fn int8_binary(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]) {
    let mut levels = vec![0i8; k.next_multiple_of(32)];
    if k.is_multiple_of(32) && detected() {
        // SAFETY: AVX2 was detected just above.
        unsafe { expand_binary_words(w, &mut levels) };
    } else {
        expand_binary(w, k, &mut levels);
    }
    signs(x, &levels, k, sums);
}

/// int8 x levels of -1, 0, 1: sum (x + 128) w - 128 sum w.
fn signs(x: Rows<'_, u8>, levels: &[i8], k: usize, sums: &mut [i64]) {
    assert!(detected(), "the kernel table checks the CPU");
    let offset = 128 * levels.iter().map(|w| i64::from(*w)).sum::<i64>();
    for (r, sum) in sums.iter_mut().enumerate() {
        // SAFETY: AVX2 was detected above.
        *sum = unsafe { dot_signs(x.row(r, k), levels) } - offset;
    }
}

/// binary x binary: agreements minus differences.
pub(in crate::native) fn binary_binary(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]) {
    assert!(detected(), "the kernel table checks the CPU");
    let whole = k / 8;
    let ragged = (1u8 << (k % 8)) - 1;
    for (r, sum) in sums.iter_mut().enumerate() {
        let row = x.row(r, k.div_ceil(8));
        // SAFETY: AVX2 was detected above.
        let mut differ = unsafe { count_differences(&row[..whole], &w[..whole]) };
        if ragged != 0 {
            differ += i64::from(((row[whole] ^ w[whole]) & ragged).count_ones());
        }
        *sum = k as i64 - 2 * differ;
    }
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load_levels(levels: &[i8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(levels.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn widen(bytes: &[u8; 16]) -> __m256i {
    // SAFETY: 16 readable bytes; the load needs no alignment.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

#[target_feature(enable = "avx2")]
fn reduce_i32(v: __m256i) -> i64 {
    let mut lanes = [0i32; 8];
    // SAFETY: 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), v) };
    lanes.iter().map(|lane| i64::from(*lane)).sum()
}

#[target_feature(enable = "avx2")]
fn dot_int8(x: &[u8], w: &[u8]) -> i64 {
    let mut total = 0;
    for (xs, ws) in x.chunks(CHUNK).zip(w.chunks(CHUNK)) {
        let mut acc = _mm256_setzero_si256();
        let ((xs, x_rest), (ws, w_rest)) = (xs.as_chunks::<16>(), ws.as_chunks::<16>());
        for (a, b) in xs.iter().zip(ws) {
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(widen(a), widen(b)));
        }
        total += reduce_i32(acc);
        for (a, b) in x_rest.iter().zip(w_rest) {
            total += i64::from(*a as i8) * i64::from(*b as i8);
        }
    }
    total
}

/// Sum of `(x + 128) * level` over whole words of 32; `levels` is padded with zeros, `x` may be ragged.
#[target_feature(enable = "avx2")]
fn dot_signs(x: &[u8], levels: &[i8]) -> i64 {
    let (flip, ones) = (_mm256_set1_epi8(-128), _mm256_set1_epi16(1));
    let mut total = 0;
    for (xs, ws) in x.chunks(CHUNK).zip(levels.chunks(CHUNK)) {
        let mut acc = _mm256_setzero_si256();
        let ((xs, x_rest), (ws, _)) = (xs.as_chunks::<32>(), ws.as_chunks::<32>());
        let mut last = [0u8; 32];
        last[..x_rest.len()].copy_from_slice(x_rest);
        let tail = if x_rest.is_empty() { None } else { Some(&last) };
        for (a, b) in xs.iter().chain(tail).zip(ws) {
            let products = _mm256_maddubs_epi16(_mm256_xor_si256(load(a), flip), load_levels(b));
            acc = _mm256_add_epi32(acc, _mm256_madd_epi16(products, ones));
        }
        total += reduce_i32(acc);
    }
    total
}

/// 8 bytes hold 32 ternary codes: spread each byte over four lanes, test its two bits there.
#[target_feature(enable = "avx2")]
fn expand_ternary_words(w: &[u8], levels: &mut [i8]) {
    #[rustfmt::skip]
    let spread = _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    let plus = _mm256_set1_epi32(0x4010_0401);
    let minus = _mm256_slli_epi32::<1>(plus);
    for (bytes, out) in w.as_chunks::<8>().0.iter().zip(levels.as_chunks_mut::<32>().0) {
        let v = _mm256_shuffle_epi8(_mm256_set1_epi64x(i64::from_le_bytes(*bytes)), spread);
        let is_plus = _mm256_cmpeq_epi8(_mm256_and_si256(v, plus), plus);
        let is_minus = _mm256_cmpeq_epi8(_mm256_and_si256(v, minus), minus);
        // SAFETY: 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_sub_epi8(is_minus, is_plus)) };
    }
}

/// 4 bytes hold 32 binary codes: spread each byte over eight lanes, test its bit there.
#[target_feature(enable = "avx2")]
fn expand_binary_words(w: &[u8], levels: &mut [i8]) {
    #[rustfmt::skip]
    let spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    for (bytes, out) in w.as_chunks::<4>().0.iter().zip(levels.as_chunks_mut::<32>().0) {
        let v = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(*bytes)), spread);
        let is_minus = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
        // SAFETY: 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_or_si256(is_minus, _mm256_set1_epi8(1))) };
    }
}

/// Differing bits of two byte strings, by a table of the sixteen nibbles.
#[target_feature(enable = "avx2")]
fn count_differences(x: &[u8], w: &[u8]) -> i64 {
    let table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    let nibble = _mm256_set1_epi8(15);
    let ((xs, x_rest), (ws, w_rest)) = (x.as_chunks::<32>(), w.as_chunks::<32>());
    let mut acc = _mm256_setzero_si256();
    for (a, b) in xs.iter().zip(ws) {
        let v = _mm256_xor_si256(load(a), load(b));
        let low = _mm256_shuffle_epi8(table, _mm256_and_si256(v, nibble));
        let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(v), nibble));
        acc = _mm256_add_epi64(acc, _mm256_sad_epu8(_mm256_add_epi8(low, high), _mm256_setzero_si256()));
    }
    let mut lanes = [0i64; 4];
    // SAFETY: 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), acc) };
    let rest: u32 = x_rest.iter().zip(w_rest).map(|(a, b)| (a ^ b).count_ones()).sum();
    lanes.iter().sum::<i64>() + i64::from(rest)
}

/// Class C with eight outputs in the lanes.
pub(in crate::native) fn chain(x: Rows<'_, f32>, panel: &[f32], k: usize, out: &mut [f32]) {
    assert!(detected(), "the kernel table checks the CPU");
    let (panel, _) = panel.as_chunks::<LANES>();
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (block, out) in out.chunks_mut(4).enumerate() {
        let row = |r: usize| x.row(4 * block + r, k);
        // SAFETY: AVX2 and FMA were detected above.
        unsafe {
            match out {
                [a, b, c, d] => chain_rows([row(0), row(1), row(2), row(3)], panel, [a, b, c, d]),
                _ => out.iter_mut().enumerate().for_each(|(r, y)| chain_rows([row(r)], panel, [y])),
            }
        }
    }
}

/// Class P with eight outputs in the lanes, for operands that cannot make a tiny partial sum.
pub(in crate::native) fn pair(x: Rows<'_, f32>, panel: &[f32], k: usize, out: &mut [f32]) {
    assert!(detected(), "the kernel table checks the CPU");
    let (panel, _) = panel.as_chunks::<LANES>();
    let (out, _) = out.as_chunks_mut::<LANES>();
    for (block, out) in out.chunks_mut(3).enumerate() {
        let row = |r: usize| x.row(3 * block + r, k);
        // SAFETY: AVX2 and FMA were detected above.
        unsafe {
            match out {
                [a, b, c] => pair_rows([row(0), row(1), row(2)], panel, [a, b, c]),
                _ => out.iter_mut().enumerate().for_each(|(r, y)| pair_rows([row(r)], panel, [y])),
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn lanes_of(values: &[f32; LANES]) -> __m256 {
    // SAFETY: 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx2,fma")]
fn finish<const R: usize>(totals: [__m256; R], out: [&mut [f32; LANES]; R]) {
    for (total, y) in totals.into_iter().zip(out) {
        // SAFETY: 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_ps(y.as_mut_ptr(), _mm256_add_ps(total, _mm256_setzero_ps())) };
    }
}

#[target_feature(enable = "avx2,fma")]
fn chain_rows<const R: usize>(x: [&[f32]; R], panel: &[[f32; LANES]], out: [&mut [f32; LANES]; R]) {
    let mut totals = [_mm256_setzero_ps(); R];
    for (k, w) in panel.iter().enumerate() {
        let w = lanes_of(w);
        for (total, row) in totals.iter_mut().zip(x) {
            *total = _mm256_fmadd_ps(_mm256_set1_ps(row[k]), w, *total);
        }
    }
    finish(totals, out);
}

#[target_feature(enable = "avx2,fma")]
fn pair_rows<const R: usize>(x: [&[f32]; R], panel: &[[f32; LANES]], out: [&mut [f32; LANES]; R]) {
    let mut totals = [_mm256_setzero_ps(); R];
    for (chunk, ws) in panel.chunks(32).enumerate() {
        let mut even = [_mm256_setzero_ps(); R];
        let mut odd = [_mm256_setzero_ps(); R];
        for (j, w) in ws.iter().enumerate() {
            let w = lanes_of(w);
            let lane = if j % 2 == 0 { &mut even } else { &mut odd };
            for (sum, row) in lane.iter_mut().zip(x) {
                *sum = _mm256_fmadd_ps(_mm256_set1_ps(row[32 * chunk + j]), w, *sum);
            }
        }
        for r in 0..R {
            totals[r] = _mm256_add_ps(totals[r], _mm256_add_ps(even[r], odd[r]));
        }
    }
    finish(totals, out);
}
