//! Packed tensors: payload, format, scales, shape.
//!
//! The last axis is a row. Every row starts on a byte, first element in the low bits; padding bits are zero.

pub mod fit;
pub mod layout;
pub mod pack;
mod quantise;
mod recipe;
mod sparsity;
pub mod store;
mod ty;

pub use quantise::MAGNITUDE_FLOOR;
pub use recipe::{Calibration, ROUNDINGS, Recipe};
pub use sparsity::{Mask, Sparsity};
pub use store::Store;
pub use ty::{EXPONENT_RULES, ScaleType, Scaling, TensorType, Term, terms};

use crate::diag::{Error, Result};
use crate::num;

/// A packed tensor. Invariants (checked by [`Tensor::with_sides`]): payload is rows x row bytes, scales and offsets match
/// the type.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Extent of each axis; an empty shape is a scalar with one row of one element.
    pub shape: Vec<usize>,
    /// Format and scaling.
    pub ty: TensorType,
    /// Packed rows; the planes of a row follow each other.
    pub payload: Vec<u8>,
    /// Values of the scales in row-major order of (row, block or plane), each a value of the scale format.
    pub scales: Vec<f32>,
    /// One offset a scale, if the type has offsets.
    pub offsets: Vec<f32>,
    /// Scale of the whole tensor on top of the others; 1 if the type has none.
    pub global: f32,
    /// The layout in which the codes are kept where they are stored, and their bytes there.
    pub store: (Store, usize),
    /// Which elements count; all if there is none. A masked code is that of zero, where the format has one.
    pub mask: Option<Mask>,
    /// Stored bytes of the scales where they are quantised themselves; `None` where each is stored in its format. In
    /// memory they are expanded either way.
    pub double_bytes: Option<usize>,
}

/// Rows and columns of a shape: the last axis is the row.
pub fn rows_cols(shape: &[usize]) -> (usize, usize) {
    match shape.split_last() {
        None => (1, 1),
        Some((cols, outer)) => (outer.iter().product(), *cols),
    }
}

impl Tensor {
    /// A tensor of a type without offsets and global scale from its parts.
    ///
    /// # Errors
    /// Internal if the sizes do not fit the shape and type.
    pub fn new(shape: Vec<usize>, ty: TensorType, payload: Vec<u8>, scales: Vec<f32>) -> Result<Self> {
        Tensor::with_sides(shape, ty, payload, (scales, Vec::new(), 1.0))
    }
    /// A tensor from its parts; `sides` are scales, offsets and the global scale.
    ///
    /// # Errors
    /// Internal if the sizes do not fit the shape and type.
    pub fn with_sides(
        shape: Vec<usize>,
        ty: TensorType,
        payload: Vec<u8>,
        (scales, offsets, global): (Vec<f32>, Vec<f32>, f32),
    ) -> Result<Self> {
        let (rows, cols) = rows_cols(&shape);
        let count = ty.scale_count(rows, cols);
        let wanted = (rows * ty.row_bytes(cols), count, if ty.offset { count } else { 0 });
        if (payload.len(), scales.len(), offsets.len()) != wanted {
            return Err(Error::internal(format!(
                "tensor of shape {shape:?} in {ty} has {} payload bytes, {} scales and {} offsets",
                payload.len(),
                scales.len(),
                offsets.len()
            )));
        }
        let store = (Store::default(), payload.len());
        Ok(Tensor { shape, ty, payload, scales, offsets, global, store, mask: None, double_bytes: None })
    }
    /// A tensor of which only shape and type are known: no codes, no scales, and 1 where a type has one scale. It is enough
    /// to lay memory out and to count cycles and joules, and takes no memory itself.
    pub fn hollow(shape: Vec<usize>, ty: TensorType) -> Self {
        let (rows, cols) = rows_cols(&shape);
        let bytes = rows.saturating_mul(ty.row_bytes(cols));
        let scales = if ty.scaling == Scaling::Tensor { vec![1.0; ty.scale_count(rows, cols)] } else { Vec::new() };
        let store = (Store::default(), bytes);
        let payload = Vec::new();
        let offsets = Vec::new();
        Tensor { shape, ty, payload, scales, offsets, global: 1.0, store, mask: None, double_bytes: None }
    }
    /// Whether only shape and type of the tensor are known.
    pub fn is_hollow(&self) -> bool {
        self.payload.is_empty() && self.store.1 > 0
    }
    /// The tensor with only the live elements of `mask`.
    ///
    /// # Errors
    /// Internal if the mask has not one bit an element.
    pub fn with_mask(mut self, mask: Mask) -> Result<Self> {
        let (rows, cols) = self.rows_cols();
        if mask.bits().len() != rows * cols.div_ceil(8) {
            return Err(Error::internal(format!(
                "a mask of {} bytes for the shape {:?}",
                mask.bits().len(),
                self.shape
            )));
        }
        sparsity::clear_masked(self.ty.format, self.ty.planes as usize, &mut self.payload, &mask);
        self.mask = Some(mask);
        Ok(self)
    }
    /// Whether an element counts.
    pub fn live(&self, row: usize, col: usize) -> bool {
        self.mask.as_ref().is_none_or(|mask| mask.live(row, col))
    }
    /// Stored bytes of the mask.
    pub fn mask_bytes(&self) -> usize {
        let (rows, cols) = self.rows_cols();
        self.mask.as_ref().map_or(0, |mask| mask.sparsity.bytes(rows, cols))
    }
    /// Rows and columns: the last axis is the row.
    pub fn rows_cols(&self) -> (usize, usize) {
        rows_cols(&self.shape)
    }
    /// Packed bytes of one row, all planes.
    pub fn row(&self, row: usize) -> &[u8] {
        let (_, cols) = self.rows_cols();
        let bytes = self.ty.row_bytes(cols);
        &self.payload[row * bytes..(row + 1) * bytes]
    }
    /// Index in [`Tensor::scales`] of the scale of an element in plane 0, if the tensor has scales.
    pub fn scale_index(&self, row: usize, col: usize) -> Option<usize> {
        self.ty.scale_index(row, col, 0, self.rows_cols().1)
    }
    /// Stored codes plus side data: scales in their format (or quantised themselves), offsets, global scale; and the mask.
    pub fn bytes(&self) -> usize {
        let (rows, cols) = self.rows_cols();
        let scales = self.ty.scale_bytes(rows, cols);
        let sides = self.ty.side_bytes(rows, cols) - scales + self.double_bytes.unwrap_or(scales);
        self.store.1 + sides + self.mask_bytes()
    }
    /// The side data as it lies in memory: scales as codes of their format, little-endian, in the order of
    /// [`Tensor::scales`]; then offsets and the global scale in f32.
    pub fn side_data(&self) -> Vec<u8> {
        let (rows, cols) = self.rows_cols();
        let mut bytes = Vec::with_capacity(self.ty.side_bytes(rows, cols));
        for scale in &self.scales {
            let code = num::encode(self.ty.scale.format, scale.to_bits(), num::Rounding::NearestEven, false);
            bytes.extend(&code.to_le_bytes()[..self.ty.scale.format.bits as usize / 8]);
        }
        bytes.resize(self.ty.offsets_at(rows, cols), 0);
        self.offsets.iter().for_each(|offset| bytes.extend(offset.to_le_bytes()));
        if self.ty.scale.global {
            bytes.extend(self.global.to_le_bytes());
        }
        bytes
    }
    /// A tensor from its payload and the side data that [`Tensor::side_data`] writes.
    ///
    /// # Errors
    /// Internal if the sizes do not fit the shape and type.
    pub fn from_bytes(shape: Vec<usize>, ty: TensorType, payload: Vec<u8>, side: &[u8]) -> Result<Self> {
        let (rows, cols) = rows_cols(&shape);
        if side.len() != ty.side_bytes(rows, cols) {
            let message = format!("{} bytes of scales for a tensor of shape {shape:?} in {ty}", side.len());
            return Err(Error::internal(message));
        }
        let scale = |code: &[u8]| {
            let mut word = [0; 4];
            word[..code.len()].copy_from_slice(code);
            num::value(ty.scale.format, u32::from_le_bytes(word))
        };
        let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        let scales = side[..ty.scale_bytes(rows, cols)].chunks(ty.scale.format.bits as usize / 8).map(scale).collect();
        let (offsets_at, global_at) = (ty.offsets_at(rows, cols), ty.global_at(rows, cols));
        let offsets = side[offsets_at..global_at].chunks(4).map(float).collect();
        let global = if ty.scale.global { float(&side[global_at..]) } else { 1.0 };
        Tensor::with_sides(shape, ty, payload, (scales, offsets, global))
    }
}
