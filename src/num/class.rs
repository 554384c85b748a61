//! Which class of dot product a pair of formats belongs to: decided by formats, scales and the policy alone,
//! never by shape, tile or machine (numerics contract, section 3).

use super::format::FormatRef;
use crate::diag::Result;

/// The arithmetic of a dot product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DotClass {
    /// S: the sum is exact in integers and rounded once.
    Exact,
    /// P: pair order of 32 with a bf16 carrier (FTZ/DAZ).
    PairBf16,
    /// P: pair order of 32 with an fp16 carrier.
    PairFp16,
    /// C: one ascending FMA chain in f32.
    Chain,
}

/// Accumulator option of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Accumulator {
    /// The class that section 3 of the contract gives the pair.
    #[default]
    Exact,
    /// Sums of low-bit pairs kept in f32 as well (class P, carrier bf16).
    F32,
}

/// Class of `activations x weights` without scales along k. Scales that vary along k (blocks) use the same class
/// inside a block and an f32 FMA chain over blocks (class B2).
///
/// # Errors
/// Unsupported, naming the pair, where no class is defined.
pub fn dot_class(activations: FormatRef, weights: FormatRef, accumulator: Accumulator) -> Result<DotClass> {
    unimplemented!("{activations:?} {weights:?} {accumulator:?}")
}
