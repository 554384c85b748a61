//! Packing codes into rows and back, f32 tensors, and the offline quantisers of weights (numerics 8).

use super::{Tensor, TensorType};
use crate::diag::Result;
use crate::num::Format;

/// Reads code `index` of a packed row.
pub fn get(format: &Format, row: &[u8], index: usize) -> u32 {
    unimplemented!("{format:?}{row:?}{index}")
}
/// Writes code `index` of a packed row (the bits must be zero before).
pub fn put(format: &Format, row: &mut [u8], index: usize, code: u32) {
    unimplemented!("{format:?}{row:?}{index}{code}")
}
/// Packs codes into one row.
pub fn pack_row(format: &Format, codes: &[u32]) -> Vec<u8> {
    unimplemented!("{format:?}{codes:?}")
}
/// Unpacks `n` codes of one row.
pub fn unpack_row(format: &Format, row: &[u8], n: usize) -> Vec<u32> {
    unimplemented!("{format:?}{row:?}{n}")
}

impl Tensor {
    /// An fp32 tensor; NaNs become canonical.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self> {
        unimplemented!("{shape:?}{values:?}")
    }
    /// Dequantised values, row-major: decode(code) * scale in f32.
    pub fn to_f32(&self) -> Vec<f32> {
        unimplemented!()
    }
    /// Quantises f32 weights into `ty` with the rule of its format (numerics 8). NaN or infinity is an error.
    pub fn quantise(shape: Vec<usize>, values: &[f32], ty: TensorType) -> Result<Self> {
        unimplemented!("{shape:?}{values:?}{ty:?}")
    }
}
