//! AVX-512 VNNI leaves: the outputs of a panel are two vectors, and up to eight rows of inputs pass at a time; those of a
//! panel of few are one, each in two lanes, and one row passes.
//!
//! `vpdpbusd` adds four products of unsigned and signed bytes to a lane of 32 bits, without saturation.

use crate::exec::panel::{FEW, Group, OUTPUTS, Sums, rows};
use std::arch::x86_64::*;

/// Sums that run at a time for one row of inputs: a vector's is not there for the next step at once.
const CHAINS: usize = 4;
/// Vectors of a group.
const VECTORS: usize = OUTPUTS / 16;

fn detected() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
}

/// Sums of one row of bytes, offset by 128, with a panel of few.
pub(in crate::exec) fn few(x: &[[u8; 8]], w: &[Group<i8, 8, FEW>]) -> [i32; FEW] {
    assert!(detected(), "the level was checked");
    // SAFETY: the features were detected above.
    unsafe { byte_row(x, w) }
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn byte_row(x: &[[u8; 8]], w: &[Group<i8, 8, FEW>]) -> [i32; FEW] {
    const { assert!(size_of::<Group<i8, 8, FEW>>() == 64, "a group is a vector") };
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    let mut add = |n: usize, x: &[u8; 8], w: &Group<i8, 8, FEW>| {
        let x = _mm512_set1_epi64(i64::from_le_bytes(*x));
        // SAFETY: a group is one vector of plain integers, and begins where one may.
        let w = unsafe { _mm512_load_si512(std::ptr::from_ref(w).cast()) };
        sums[n] = _mm512_dpbusd_epi32(sums[n], x, w);
    };
    let ((xs, rest_x), (ws, rest_w)) = (x.as_chunks::<CHAINS>(), w.as_chunks::<CHAINS>());
    for (xs, ws) in xs.iter().zip(ws) {
        (0..CHAINS).for_each(|n| add(n, &xs[n], &ws[n]));
    }
    rest_x.iter().zip(rest_w).enumerate().for_each(|(n, (x, w))| add(n, x, w));
    let sum = sums.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b));
    let both = _mm512_cvtepi64_epi32(_mm512_add_epi32(sum, _mm512_srli_epi64::<32>(sum)));
    let mut out = [0; FEW];
    // SAFETY: 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), both) };
    out
}

/// Sums of bytes, inputs offset by 128.
pub(in crate::exec) fn bytes(x: &[[u8; 4]], pitch: usize, w: &[Group<i8, 4>], count: usize, sums: &mut Sums) -> usize {
    assert!(detected(), "the level was checked");
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
