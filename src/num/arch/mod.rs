//! SIMD leaves of the codecs: the only files of this room with `unsafe`. Each function does as many whole vectors as it
//! can, says how many elements those were, and leaves the rest to the portable code, which states the bits.

#![cfg_attr(
    not(target_arch = "x86_64"),
    expect(unused_variables, reason = "without leaves nothing is done by vectors")
)]

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::bits::Map;
use super::isa::Isa;
use super::kernel::Kernel;

/// Whole vectors of an encode, one code a byte; returns how many elements.
pub(super) fn encode(isa: Isa, kernel: &Kernel, x: &[u32], codes: &mut [u8]) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => avx2::encode(kernel, x, codes),
        _ => 0,
    }
}

/// Whole vectors of [`super::bits::pack`]; returns how many codes, a multiple of 8.
pub(super) fn pack(isa: Isa, bits: u32, codes: &[u8], out: &mut [u8]) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => avx2::pack(bits, codes, out),
        _ => 0,
    }
}

/// Whole vectors of [`super::bits::split`] of 2-bit codes; returns how many bytes of a plane, and non-zero if one of
/// their codes has no image.
pub(super) fn split2(isa: Isa, map: &Map, bytes: &[u8], first: &mut [u8], second: &mut [u8]) -> (usize, u8) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => avx2::split2(map, bytes, first, second),
        _ => (0, 0),
    }
}

/// Whole vectors of [`super::bits::join`] to 2-bit codes; returns as [`split2`].
pub(super) fn join2(isa: Isa, map: &Map, first: &[u8], second: &[u8], bytes: &mut [u8]) -> (usize, u8) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => avx2::join2(map, first, second, bytes),
        _ => (0, 0),
    }
}
