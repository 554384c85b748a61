//! SIMD leaves of the CPU backend: the only files of this room with `unsafe`. Each must give the bits of the
//! scalar specification; the kernel table's property tests and tests/functions.rs hold them to it.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2_lanes;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512_lanes;
#[cfg(target_arch = "x86_64")]
mod expand;
#[cfg(target_arch = "x86_64")]
mod functions;
