//! Per-element f32 functions with stated bits: the polynomials of the numerics contract, section 7.
//! Every function canonicalises NaN to 0x7fc00000.

/// The canonical NaN.
pub const NAN: f32 = f32::from_bits(0x7fc0_0000);

/// Fused multiply-add, one rounding, canonical NaN not applied.
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

/// `x`, or the canonical NaN if it is any NaN.
pub fn canonical(x: f32) -> f32 {
    if x.is_nan() { NAN } else { x }
}

macro_rules! later { ($($name:ident),*) => { $(
    /// See module docs.
    pub fn $name(x: f32) -> f32 { unimplemented!("{x}") }
)* } }
later!(exp, log, tanh, erf, sigmoid, silu, gelu, relu, relu2, recip, rsqrt, sqrt);

/// Maximum in the total order of the contract: NaN wins, -0 < +0.
pub fn max(a: f32, b: f32) -> f32 {
    unimplemented!("{a}{b}")
}
/// Minimum in the same order: NaN wins.
pub fn min(a: f32, b: f32) -> f32 {
    unimplemented!("{a}{b}")
}
