//! AVX2 leaves.

use crate::num::bits::Map;
use crate::num::kernel::{Float, Int, Kernel, Steps};
use std::arch::x86_64::*;

fn detected() -> bool {
    is_x86_feature_detected!("avx2")
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are readable; the load has no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8; 32], vector: __m256i) {
    // SAFETY: 32 bytes are writable; the store has no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}

/// A table of 16 bytes in both lanes, for `vpshufb`.
#[target_feature(enable = "avx2")]
fn table(of: impl Fn(usize) -> u8) -> __m256i {
    load(&std::array::from_fn(|at| of(at % 16)))
}

/// Low and high half of every byte.
#[target_feature(enable = "avx2")]
fn nibbles(bytes: __m256i) -> (__m256i, __m256i) {
    let low = _mm256_set1_epi8(15);
    (_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low))
}

/// See [`super::pack`].
pub(super) fn pack(bits: u32, codes: &[u8], out: &mut [u8]) -> usize {
    assert!(detected(), "the level was checked");
    let (whole, _) = codes.as_chunks::<32>();
    // SAFETY: AVX2 was detected above.
    unsafe {
        match bits {
            1 => out.as_chunks_mut().0.iter_mut().zip(whole).for_each(|(out, codes)| *out = pack1(codes)),
            2 => out.as_chunks_mut().0.iter_mut().zip(whole).for_each(|(out, codes)| *out = pack2(codes)),
            4 => out.as_chunks_mut().0.iter_mut().zip(whole).for_each(|(out, codes)| *out = pack4(codes)),
            8 => out[..32 * whole.len()].copy_from_slice(whole.as_flattened()),
            _ => return 0,
        }
    }
    32 * whole.len()
}

#[target_feature(enable = "avx2")]
fn pack1(codes: &[u8; 32]) -> [u8; 4] {
    (_mm256_movemask_epi8(_mm256_slli_epi16::<7>(load(codes))) as u32).to_le_bytes()
}

#[target_feature(enable = "avx2")]
fn pack2(codes: &[u8; 32]) -> [u8; 8] {
    let codes = _mm256_and_si256(load(codes), _mm256_set1_epi8(3));
    let pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x0401));
    let quads = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x0010_0001));
    let first = table(|at| if at < 4 { 4 * at as u8 } else { 0x80 });
    let lanes = _mm256_shuffle_epi8(quads, first);
    let both = _mm256_permutevar8x32_epi32(lanes, _mm256_setr_epi32(0, 4, 1, 1, 1, 1, 1, 1));
    _mm_cvtsi128_si64(_mm256_castsi256_si128(both)).to_le_bytes()
}

#[target_feature(enable = "avx2")]
fn pack4(codes: &[u8; 32]) -> [u8; 16] {
    let codes = _mm256_and_si256(load(codes), _mm256_set1_epi8(15));
    let pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x1001));
    let lanes = _mm256_packus_epi16(pairs, pairs);
    let both = _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(lanes));
    let mut out = [0; 16];
    // SAFETY: 16 bytes are writable; the store has no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), both) };
    out
}

/// See [`super::split2`]: 64 bytes of codes become 32 bytes of each plane.
pub(super) fn split2(map: &Map, bytes: &[u8], first: &mut [u8], second: &mut [u8]) -> (usize, u8) {
    assert!(detected(), "the level was checked");
    // SAFETY: AVX2 was detected above.
    unsafe { split2_vectors(map, bytes.as_chunks().0, first.as_chunks_mut().0, second.as_chunks_mut().0) }
}

#[target_feature(enable = "avx2")]
fn split2_vectors(map: &Map, bytes: &[[u8; 64]], first: &mut [[u8; 32]], second: &mut [[u8; 32]]) -> (usize, u8) {
    // Of two codes: their bits of plane 0 in bits 0 and 1, those of plane 1 in bits 4 and 5.
    let spread = |image: u8| image & 1 | (image & 2) << 3;
    let image = |pair: usize| spread(map.image[pair & 3]) | spread(map.image[pair >> 2]) << 1;
    let low_image = table(image);
    let high_image = table(|pair| image(pair) << 2);
    let none = table(|pair| map.none[pair & 3] | map.none[pair >> 2]);
    let mut missing = _mm256_setzero_si256();
    let mut images = |bytes: &[u8; 32]| {
        let (low, high) = nibbles(load(bytes));
        let none = _mm256_or_si256(_mm256_shuffle_epi8(none, low), _mm256_shuffle_epi8(none, high));
        missing = _mm256_or_si256(missing, none);
        let both = _mm256_or_si256(_mm256_shuffle_epi8(low_image, low), _mm256_shuffle_epi8(high_image, high));
        let (first, second) = nibbles(both);
        let join = _mm256_set1_epi16(0x1001);
        (_mm256_maddubs_epi16(first, join), _mm256_maddubs_epi16(second, join))
    };
    for ((bytes, first), second) in bytes.iter().zip(&mut *first).zip(&mut *second) {
        let (halves, _) = bytes.as_chunks::<32>();
        let ((first_a, second_a), (first_b, second_b)) = (images(&halves[0]), images(&halves[1]));
        store(first, _mm256_permute4x64_epi64::<0xd8>(_mm256_packus_epi16(first_a, first_b)));
        store(second, _mm256_permute4x64_epi64::<0xd8>(_mm256_packus_epi16(second_a, second_b)));
    }
    (32 * bytes.len(), u8::from(_mm256_testz_si256(missing, missing) == 0))
}

/// See [`super::join2`]: 32 bytes of each plane become 64 bytes of codes.
pub(super) fn join2(map: &Map, first: &[u8], second: &[u8], bytes: &mut [u8]) -> (usize, u8) {
    assert!(detected(), "the level was checked");
    // SAFETY: AVX2 was detected above.
    unsafe { join2_vectors(map, first.as_chunks().0, second.as_chunks().0, bytes.as_chunks_mut().0) }
}

#[target_feature(enable = "avx2")]
fn join2_vectors(map: &Map, first: &[[u8; 32]], second: &[[u8; 32]], bytes: &mut [[u8; 64]]) -> (usize, u8) {
    // Of four bits: each in the low bit of a pair.
    let spread = |bits: usize| (0..4).fold(0, |byte, at| byte | (bits as u8 >> at & 1) << (2 * at));
    let (even, odd) = (table(spread), table(|bits| spread(bits) << 1));
    let image = |pair: usize| map.image[pair & 3] | map.image[pair >> 2] << 2;
    let (low_image, high_image) = (table(image), table(|pair| image(pair) << 4));
    let none = table(|pair| map.none[pair & 3] | map.none[pair >> 2]);
    let mut missing = _mm256_setzero_si256();
    let mut codes = |first: __m256i, second: __m256i| {
        let pairs = _mm256_or_si256(_mm256_shuffle_epi8(even, first), _mm256_shuffle_epi8(odd, second));
        let (low, high) = nibbles(pairs);
        let none = _mm256_or_si256(_mm256_shuffle_epi8(none, low), _mm256_shuffle_epi8(none, high));
        missing = _mm256_or_si256(missing, none);
        _mm256_or_si256(_mm256_shuffle_epi8(low_image, low), _mm256_shuffle_epi8(high_image, high))
    };
    // Rows of planes lie one after the other, and two short streams in one page escape the processor's own prefetch.
    let ahead = (2 * 32 * first.len()).min(4096);
    for ((first, second), bytes) in first.iter().zip(second).zip(&mut *bytes) {
        for plane in [first, second] {
            _mm_prefetch::<_MM_HINT_T0>(plane.as_ptr().wrapping_add(ahead).cast());
        }
        let ((first_low, first_high), (second_low, second_high)) = (nibbles(load(first)), nibbles(load(second)));
        let (low, high) = (codes(first_low, second_low), codes(first_high, second_high));
        let (a, b) = (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high));
        let (halves, _) = bytes.as_chunks_mut::<32>();
        store(&mut halves[0], _mm256_permute2x128_si256::<0x20>(a, b));
        store(&mut halves[1], _mm256_permute2x128_si256::<0x31>(a, b));
    }
    (32 * first.len(), u8::from(_mm256_testz_si256(missing, missing) == 0))
}

/// See [`super::encode`].
pub(super) fn encode(kernel: &Kernel, x: &[u32], codes: &mut [u8]) -> usize {
    assert!(detected(), "the level was checked");
    let (x, codes) = (x.as_chunks().0, codes.as_chunks_mut().0);
    // SAFETY: AVX2 was detected above.
    unsafe {
        match kernel {
            Kernel::Float(float) => encode_float(float, x, codes),
            Kernel::Int(int) => encode_int(int, x, codes),
            Kernel::Steps(steps) => encode_steps(steps, x, codes),
        }
    }
    32 * x.len().min(codes.len())
}

/// Codes in the low bytes of four vectors of eight, as bytes in the order of the elements.
#[target_feature(enable = "avx2")]
#[inline]
fn each(x: &[u32; 32], code: impl Fn(__m256i) -> __m256i) -> __m256i {
    // SAFETY: 32 bytes are readable at each of the four places; the load has no alignment.
    let at = |i: usize| code(unsafe { _mm256_loadu_si256(x[8 * i..8 * i + 8].as_ptr().cast()) });
    let (low, high) = (_mm256_packus_epi32(at(0), at(1)), _mm256_packus_epi32(at(2), at(3)));
    let bytes = _mm256_packus_epi16(low, high);
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

#[target_feature(enable = "avx2")]
fn encode_float(f: &Float, x: &[[u32; 32]], codes: &mut [[u8; 32]]) {
    let all = |word: i32| _mm256_set1_epi32(word);
    let (magnitude_bits, offset, one) = (all(i32::MAX), all(f.offset), all(1));
    let below_half = all((1 << (f.drop - 1)) - 1);
    let (least_normal, magic, limit) = (all(f.least_normal), _mm256_set1_ps(f.magic), all(f.limit));
    let (infinity, nan, minus_nan) = (all(0x7f80_0000), all(f.nan[0]), all(f.nan[1]));
    let drop = _mm_cvtsi32_si128(f.drop as i32);
    let (sign_shift, sign) = (_mm_cvtsi32_si128(32 - f.bits as i32), all(1 << (f.bits - 1)));
    let code = |x: __m256i| {
        let a = _mm256_and_si256(x, magnitude_bits);
        let t = _mm256_sub_epi32(a, offset);
        let odd = _mm256_and_si256(_mm256_srl_epi32(t, drop), one);
        let normal = _mm256_srl_epi32(_mm256_add_epi32(_mm256_add_epi32(t, below_half), odd), drop);
        let sum = _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(a), magic));
        let small = _mm256_sub_epi32(sum, _mm256_castps_si256(magic));
        let code = _mm256_blendv_epi8(normal, small, _mm256_cmpgt_epi32(least_normal, a));
        let code = _mm256_min_epi32(code, limit);
        let mut negative = _mm256_and_si256(_mm256_srl_epi32(x, sign_shift), sign);
        if f.one_zero {
            negative = _mm256_andnot_si256(_mm256_cmpeq_epi32(code, _mm256_setzero_si256()), negative);
        }
        let nan = _mm256_blendv_epi8(nan, minus_nan, _mm256_srai_epi32::<31>(x));
        _mm256_blendv_epi8(_mm256_or_si256(code, negative), nan, _mm256_cmpgt_epi32(a, infinity))
    };
    for (x, codes) in x.iter().zip(codes) {
        store(codes, each(x, code));
    }
}

#[target_feature(enable = "avx2")]
fn encode_int(int: &Int, x: &[[u32; 32]], codes: &mut [[u8; 32]]) {
    let largest = ((1 << (int.bits - 1)) - 1) as f32;
    let per_unit = _mm256_set1_ps(int.per_unit);
    let (low, high) = (_mm256_set1_ps(-largest - 1.0), _mm256_set1_ps(largest));
    let mask = _mm256_set1_epi32((1 << int.bits) - 1);
    let code = |x: __m256i| {
        let x = _mm256_mul_ps(_mm256_castsi256_ps(x), per_unit);
        let number = _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
        let clamped = _mm256_max_ps(_mm256_min_ps(number, high), low);
        _mm256_and_si256(_mm256_cvtps_epi32(clamped), mask)
    };
    for (x, codes) in x.iter().zip(codes) {
        store(codes, each(x, code));
    }
}

#[target_feature(enable = "avx2")]
fn encode_steps(steps: &Steps, x: &[[u32; 32]], codes: &mut [[u8; 32]]) {
    let (infinity, magnitude_bits) = (_mm256_set1_epi32(0x7f80_0000), _mm256_set1_epi32(i32::MAX));
    let nan = _mm256_set1_epi32(steps.nan);
    // A border is the first key of a step and greater than the least of all integers.
    let mut before = [_mm256_setzero_si256(); 15];
    before.iter_mut().zip(&steps.borders).for_each(|(before, border)| *before = _mm256_set1_epi32(border - 1));
    let before = &before[..steps.borders.len()];
    let of_step = table(|step| steps.codes[step]);
    let step = |x: __m256i| {
        let a = _mm256_and_si256(x, magnitude_bits);
        let key = _mm256_xor_si256(x, _mm256_srli_epi32::<1>(_mm256_srai_epi32::<31>(x)));
        let key = _mm256_blendv_epi8(key, nan, _mm256_cmpgt_epi32(a, infinity));
        let add = |sum, before: &__m256i| _mm256_sub_epi32(sum, _mm256_cmpgt_epi32(key, *before));
        before.iter().fold(_mm256_setzero_si256(), add)
    };
    for (x, codes) in x.iter().zip(codes) {
        store(codes, _mm256_shuffle_epi8(of_step, each(x, step)));
    }
}
