//! Generic encode and decode of any [`Format`]: f32 bit patterns to codes and back.

use super::format::Format;

/// Rounding mode of an encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    NearestEven,
    /// Toward zero.
    TowardZero,
    /// To nearest, ties away from zero.
    NearestAway,
    /// Toward positive infinity.
    Up,
    /// Toward negative infinity.
    Down,
}

/// Value of `code` as f32 bits (exact; NaN is canonical 0x7fc00000 unless sign-carrying per numerics 1.3).
pub fn decode(format: &Format, code: u32) -> u32 {
    unimplemented!("{format:?} {code}")
}

/// Code nearest to the f32 with bits `x` under `mode`; out-of-range values saturate to the largest finite value if
/// `saturate`, else go to infinity or NaN where the format has one. Int formats clamp to [-2^(b-1), 2^(b-1)-1].
pub fn encode(format: &Format, x: u32, mode: Rounding, saturate: bool) -> u32 {
    unimplemented!("{format:?} {x} {mode:?} {saturate}")
}
