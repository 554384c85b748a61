//! SIMD leaves of exact products: the only files of this room with `unsafe`. They belong to exec alone.
//!
//! A sum of integers has one value in any order, so a leaf is free in its order and must give what
//! [`super::panel::reference`] gives. Sums are i32 modulo 2^32; the tile sees to it that the result fits.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
