//! AVX-512 VNNI leaf: the outputs of a panel are two vectors, and up to eight rows of inputs pass at a time.
//!
//! `vpdpbusd` adds four products of unsigned and signed bytes to a lane of 32 bits, without saturation.

use crate::exec::panel::{Group, OUTPUTS, Sums, rows};
use std::arch::x86_64::*;

/// Vectors of a group.
const VECTORS: usize = OUTPUTS / 16;

/// Sums of bytes, inputs offset by 128.
pub(in crate::exec) fn bytes(x: &[[u8; 4]], pitch: usize, w: &[Group<i8, 4>], count: usize, sums: &mut Sums) -> usize {
    let detected = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    assert!(detected, "the level was checked");
    // SAFETY: the features were detected above.
    unsafe {
        match count {
            8.. => byte_rows::<8>(rows(x, pitch, w.len()), w, sums),
            4.. => byte_rows::<4>(rows(x, pitch, w.len()), w, sums),
            2.. => byte_rows::<2>(rows(x, pitch, w.len()), w, sums),
            _ => byte_rows::<1>(rows(x, pitch, w.len()), w, sums),
        }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn byte_rows<const R: usize>(x: [&[[u8; 4]]; R], w: &[Group<i8, 4>], out: &mut Sums) -> usize {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; R];
    for at in 0..w.len() {
        let w = load(&w[at]);
        for row in 0..R {
            let x = _mm512_set1_epi32(i32::from_le_bytes(x[row][at]));
            for v in 0..VECTORS {
                sums[row][v] = _mm512_dpbusd_epi32(sums[row][v], x, w[v]);
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
            // SAFETY: 64 writable bytes; the store needs no alignment.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) };
        }
    }
    R
}

/// The vectors of a group.
#[target_feature(enable = "avx512f")]
fn load(group: &Group<i8, 4>) -> [__m512i; VECTORS] {
    const { assert!(size_of::<Group<i8, 4>>() == 64 * VECTORS, "a group is whole vectors") };
    let from = std::ptr::from_ref(group).cast::<__m512i>();
    // SAFETY: a group is VECTORS vectors of plain integers, and the loads need no alignment.
    unsafe { [_mm512_loadu_si512(from), _mm512_loadu_si512(from.add(1))] }
}
