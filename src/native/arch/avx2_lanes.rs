//! AVX2 and FMA lanes: the operations from which `functions!` builds the functions of the contract.
//!
//! Truth values are lanes of all bits, as comparisons leave them and blends take them.

use std::arch::x86_64::*;

/// Values of a vector.
const LANES: usize = 8;

type F = __m256;
type I = __m256i;
type M = __m256;

super::functions::functions!("avx2,fma");

fn detected() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn load(values: &[f32; LANES]) -> F {
    // SAFETY: LANES readable values; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn store(values: &mut [f32; LANES], x: F) {
    // SAFETY: LANES writable values; the store needs no alignment.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), x) };
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn splat(x: f32) -> F {
    _mm256_set1_ps(x)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn add(a: F, b: F) -> F {
    _mm256_add_ps(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn sub(a: F, b: F) -> F {
    _mm256_sub_ps(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn mul(a: F, b: F) -> F {
    _mm256_mul_ps(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn div(a: F, b: F) -> F {
    _mm256_div_ps(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn fma(a: F, b: F, c: F) -> F {
    _mm256_fmadd_ps(a, b, c)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn less(a: F, b: F) -> M {
    _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn equal(a: F, b: F) -> M {
    _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn is_nan(x: F) -> M {
    _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn select(mask: M, yes: F, no: F) -> F {
    _mm256_blendv_ps(no, yes, mask)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn bits(x: F) -> I {
    _mm256_castps_si256(x)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn from_bits(x: I) -> F {
    _mm256_castsi256_ps(x)
}

/// Of values that are integers.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn to_int(x: F) -> I {
    _mm256_cvtps_epi32(x)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn to_float(x: I) -> F {
    _mm256_cvtepi32_ps(x)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_splat(x: i32) -> I {
    _mm256_set1_epi32(x)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_add(a: I, b: I) -> I {
    _mm256_add_epi32(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_sub(a: I, b: I) -> I {
    _mm256_sub_epi32(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_min(a: I, b: I) -> I {
    _mm256_min_epi32(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_max(a: I, b: I) -> I {
    _mm256_max_epi32(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_and(a: I, b: I) -> I {
    _mm256_and_si256(a, b)
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_xor(a: I, b: I) -> I {
    _mm256_xor_si256(a, b)
}

/// Half of x, rounded down.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_half(x: I) -> I {
    _mm256_srai_epi32::<1>(x)
}

/// Into the place of the exponent.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn int_shift_23(x: I) -> I {
    _mm256_slli_epi32::<23>(x)
}
