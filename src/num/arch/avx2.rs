//! AVX2 leaves.

use crate::num::bits::Map;
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
    for ((first, second), bytes) in first.iter().zip(second).zip(&mut *bytes) {
        let ((first_low, first_high), (second_low, second_high)) = (nibbles(load(first)), nibbles(load(second)));
        let (low, high) = (codes(first_low, second_low), codes(first_high, second_high));
        let (a, b) = (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high));
        let (halves, _) = bytes.as_chunks_mut::<32>();
        store(&mut halves[0], _mm256_permute2x128_si256::<0x20>(a, b));
        store(&mut halves[1], _mm256_permute2x128_si256::<0x31>(a, b));
    }
    (32 * first.len(), u8::from(_mm256_testz_si256(missing, missing) == 0))
}
