//! AVX-512 leaves: VNNI for int8 activations, VPOPCNTDQ for binary pairs.
//!
//! `vpdpbusd` multiplies unsigned by signed bytes into 32-bit lanes without saturation, so activations are offset by
//! 128 and 128 times the sum of the weights is taken off. Ragged ends are loaded under a byte mask (zeros beyond).

use super::expand::{expand_binary, expand_ternary};
use crate::native::kernels::Rows;
use std::arch::x86_64::*;

/// Elements whose sums stay in 32-bit lanes: 2^15 / 16 * 255 * 128 < 2^27.
const CHUNK: usize = 1 << 15;

fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx512vpopcntdq")
}

/// int8 x int8.
pub(in crate::native) fn int8_int8(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]) {
    let levels: Vec<i8> = w[..k].iter().map(|code| *code as i8).collect();
    offset_dots(x, &levels, sums);
}

/// int8 x ternary.
pub(in crate::native) fn int8_ternary(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]) {
    let mut levels = vec![0i8; k];
    expand_ternary(w, k, &mut levels);
    offset_dots(x, &levels, sums);
}

/// int8 x binary.
pub(in crate::native) fn int8_binary(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]) {
    let mut levels = vec![0i8; k];
    expand_binary(w, k, &mut levels);
    offset_dots(x, &levels, sums);
}

/// sum (x + 128) w - 128 sum w.
fn offset_dots(x: Rows<'_, u8>, levels: &[i8], sums: &mut [i64]) {
    assert!(detected(), "the kernel table checks the CPU");
    let offset = 128 * levels.iter().map(|w| i64::from(*w)).sum::<i64>();
    for (r, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the features of `dot_offset` were detected above.
        *sum = unsafe { dot_offset(x.row(r, levels.len()), levels) } - offset;
    }
}

/// binary x binary: agreements minus differences.
pub(in crate::native) fn binary_binary(x: Rows<'_, u8>, w: &[u8], k: usize, sums: &mut [i64]) {
    assert!(detected(), "the kernel table checks the CPU");
    let whole = k / 8;
    let ragged = (1u8 << (k % 8)) - 1;
    for (r, sum) in sums.iter_mut().enumerate() {
        let row = x.row(r, k.div_ceil(8));
        // SAFETY: the features of `count_differences` were detected above.
        let mut differ = unsafe { count_differences(&row[..whole], &w[..whole]) };
        if ragged != 0 {
            differ += i64::from(((row[whole] ^ w[whole]) & ragged).count_ones());
        }
        *sum = k as i64 - 2 * differ;
    }
}

/// Mask of the first `len` of 64 bytes.
fn first(len: usize) -> __mmask64 {
    if len >= 64 { !0 } else { (1 << len) - 1 }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn load(bytes: &[u8]) -> __m512i {
    // SAFETY: only the bytes of the slice are read: the mask covers the rest.
    unsafe { _mm512_maskz_loadu_epi8(first(bytes.len()), bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn load_levels(levels: &[i8]) -> __m512i {
    // SAFETY: only the bytes of the slice are read: the mask covers the rest.
    unsafe { _mm512_maskz_loadu_epi8(first(levels.len()), levels.as_ptr()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_offset(x: &[u8], levels: &[i8]) -> i64 {
    let flip = _mm512_set1_epi8(-128);
    let mut total = 0;
    for (xs, ws) in x.chunks(CHUNK).zip(levels.chunks(CHUNK)) {
        let mut acc = _mm512_setzero_si512();
        for (a, b) in xs.chunks(64).zip(ws.chunks(64)) {
            acc = _mm512_dpbusd_epi32(acc, _mm512_xor_si512(load(a), flip), load_levels(b));
        }
        // 32 bits hold the sum: 2^15 products of at most 255 * 128.
        total += i64::from(_mm512_reduce_add_epi32(acc));
    }
    total
}

#[target_feature(enable = "avx512f,avx512bw,avx512vpopcntdq")]
fn count_differences(x: &[u8], w: &[u8]) -> i64 {
    let mut acc = _mm512_setzero_si512();
    for (a, b) in x.chunks(64).zip(w.chunks(64)) {
        acc = _mm512_add_epi64(acc, _mm512_popcnt_epi64(_mm512_xor_si512(load(a), load(b))));
    }
    _mm512_reduce_add_epi64(acc)
}
