//! AVX-512 F lanes: the operations from which `functions!` builds the functions of the contract.
//!
//! Truth values are mask registers.

use std::arch::x86_64::*;

/// Values of a vector.
const LANES: usize = 16;

type F = __m512;
type I = __m512i;
type M = __mmask16;

super::functions::functions!("avx512f");

fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(values: &[f32; LANES]) -> F {
    // SAFETY: LANES readable values; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(values: &mut [f32; LANES], x: F) {
    // SAFETY: LANES writable values; the store needs no alignment.
    unsafe { _mm512_storeu_ps(values.as_mut_ptr(), x) };
}

#[target_feature(enable = "avx512f")]
#[inline]
fn splat(x: f32) -> F {
    _mm512_set1_ps(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(a: F, b: F) -> F {
    _mm512_add_ps(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn sub(a: F, b: F) -> F {
    _mm512_sub_ps(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn mul(a: F, b: F) -> F {
    _mm512_mul_ps(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn div(a: F, b: F) -> F {
    _mm512_div_ps(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn fma(a: F, b: F, c: F) -> F {
    _mm512_fmadd_ps(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn less(a: F, b: F) -> M {
    _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn equal(a: F, b: F) -> M {
    _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn is_nan(x: F) -> M {
    _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn select(mask: M, yes: F, no: F) -> F {
    _mm512_mask_blend_ps(mask, no, yes)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn bits(x: F) -> I {
    _mm512_castps_si512(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn from_bits(x: I) -> F {
    _mm512_castsi512_ps(x)
}

/// Of values that are integers.
#[target_feature(enable = "avx512f")]
#[inline]
fn to_int(x: F) -> I {
    _mm512_cvtps_epi32(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn to_float(x: I) -> F {
    _mm512_cvtepi32_ps(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn int_splat(x: i32) -> I {
    _mm512_set1_epi32(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn int_add(a: I, b: I) -> I {
    _mm512_add_epi32(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn int_sub(a: I, b: I) -> I {
    _mm512_sub_epi32(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn int_min(a: I, b: I) -> I {
    _mm512_min_epi32(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn int_max(a: I, b: I) -> I {
    _mm512_max_epi32(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn int_and(a: I, b: I) -> I {
    _mm512_and_si512(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn int_xor(a: I, b: I) -> I {
    _mm512_xor_si512(a, b)
}

/// Half of x, rounded down.
#[target_feature(enable = "avx512f")]
#[inline]
fn int_half(x: I) -> I {
    _mm512_srai_epi32::<1>(x)
}

/// Into the place of the exponent.
#[target_feature(enable = "avx512f")]
#[inline]
fn int_shift_23(x: I) -> I {
    _mm512_slli_epi32::<23>(x)
}
