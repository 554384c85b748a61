//! Packed tensors: payload, format, scales, shape.
//!
//! The last axis is a row. Every row starts on a byte, first element in the low bits; padding bits are zero.

pub mod pack;

use crate::diag::Result;
use crate::num::FormatRef;

/// How a tensor's codes are scaled. Scales are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scaling {
    /// Codes are values.
    None,
    /// One scale.
    Tensor,
    /// One scale a row (output channel of a weight, token of an activation).
    Row,
    /// One scale for every run of this many elements along a row; the last may be short.
    Block(u32),
}

/// Format and scaling of a tensor: what "fp4 with a scale every 32" means.
#[derive(Debug, Clone, Copy)]
pub struct TensorType {
    /// Element format.
    pub format: FormatRef,
    /// Scaling.
    pub scaling: Scaling,
}

impl TensorType {
    /// Plain unscaled `format`.
    pub fn plain(format: FormatRef) -> Self {
        TensorType { format, scaling: Scaling::None }
    }
    /// Number of scales of a tensor with `rows` rows of `cols` elements.
    pub fn scale_count(&self, rows: usize, cols: usize) -> usize {
        match self.scaling {
            Scaling::None => 0,
            Scaling::Tensor => 1,
            Scaling::Row => rows,
            Scaling::Block(n) => rows * cols.div_ceil(n as usize),
        }
    }
    /// Bytes of one packed row of `cols` elements.
    pub fn row_bytes(&self, cols: usize) -> usize {
        (cols * self.format.bits as usize).div_ceil(8)
    }
    /// Payload plus scale bytes of a tensor of `rows` x `cols`.
    pub fn bytes(&self, rows: usize, cols: usize) -> usize {
        rows * self.row_bytes(cols) + 4 * self.scale_count(rows, cols)
    }
}

impl PartialEq for TensorType {
    fn eq(&self, other: &Self) -> bool {
        self.format.id == other.format.id && self.scaling == other.scaling
    }
}

/// A packed tensor. Invariants (checked by [`Tensor::new`]): payload is rows x row bytes, scales match the type.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Extent of each axis; an empty shape is a scalar with one row of one element.
    pub shape: Vec<usize>,
    /// Format and scaling.
    pub ty: TensorType,
    /// Packed rows.
    pub payload: Vec<u8>,
    /// f32 scales in row-major order of (row, block).
    pub scales: Vec<f32>,
}

/// Rows and columns of a shape: the last axis is the row.
pub fn rows_cols(shape: &[usize]) -> (usize, usize) {
    match shape.split_last() {
        None => (1, 1),
        Some((cols, outer)) => (outer.iter().product(), *cols),
    }
}

impl Tensor {
    /// A tensor from its parts.
    ///
    /// # Errors
    /// Internal if the sizes do not fit the shape and type.
    pub fn new(shape: Vec<usize>, ty: TensorType, payload: Vec<u8>, scales: Vec<f32>) -> Result<Self> {
        let (rows, cols) = rows_cols(&shape);
        if payload.len() != rows * ty.row_bytes(cols) || scales.len() != ty.scale_count(rows, cols) {
            return Err(crate::diag::Error::internal(format!(
                "tensor of shape {shape:?} in {} has {} payload bytes and {} scales",
                ty.format.name,
                payload.len(),
                scales.len()
            )));
        }
        Ok(Tensor { shape, ty, payload, scales })
    }
    /// Rows and columns: the last axis is the row.
    pub fn rows_cols(&self) -> (usize, usize) {
        rows_cols(&self.shape)
    }
    /// Payload plus scale bytes.
    pub fn bytes(&self) -> usize {
        self.payload.len() + 4 * self.scales.len()
    }
}
