//! Packed tensors: payload, format, scales, shape.
//!
//! The last axis is a row. Every row starts on a byte, first element in the low bits; padding bits are zero.

pub mod fit;
pub mod layout;
pub mod pack;
mod quantise;

pub use quantise::MAGNITUDE_FLOOR;

use crate::diag::{Error, Result};
use crate::num::FormatRef;
use crate::num::format::{self, ScaleRule};
use std::fmt;

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
    /// The type that `text` names: `FORMAT`, `FORMAT/tensor`, `FORMAT/row` or `FORMAT/blockN`. Without a scaling, formats
    /// that are cast have none, absmax formats one scale a row and absmean formats one a tensor.
    ///
    /// # Errors
    /// BadInput for an unknown format or scaling, Unsupported as [`TensorType::check`].
    pub fn parse(text: &str) -> Result<Self> {
        let (name, scaling) = match text.split_once('/') {
            Some((name, scaling)) => (name, Some(scaling)),
            None => (text, None),
        };
        let format = format::find(name)?;
        let scaling = match (scaling, format.rule) {
            (None, ScaleRule::Cast) => Scaling::None,
            (None, ScaleRule::Absmax) | (Some("row"), _) => Scaling::Row,
            (None, ScaleRule::Absmean) | (Some("tensor"), _) => Scaling::Tensor,
            (Some(other), _) => match other.strip_prefix("block").and_then(|n| n.parse().ok()) {
                Some(n) => Scaling::Block(n),
                None => {
                    return Err(Error::bad_input(format!("unknown scaling `{other}` of {name}"))
                        .help("write FORMAT/tensor, FORMAT/row or FORMAT/blockN, for example fp4e2m1/block32"));
                }
            },
        };
        let ty = TensorType { format, scaling };
        ty.check()?;
        Ok(ty)
    }
    /// Whether the scaling goes with the format's rule: a scale for formats that a quantiser scales, none for casts.
    ///
    /// # Errors
    /// Unsupported, naming the type.
    pub fn check(&self) -> Result<()> {
        let cast = self.format.rule == ScaleRule::Cast;
        match self.scaling {
            Scaling::Block(0) => Err(Error::bad_input(format!("{self}: a block has at least one element"))),
            Scaling::None => Ok(()),
            _ if cast => Err(Error::unsupported(format!("{self}: {} takes no scale", self.format.name))
                .help(format!("write `{}` alone", self.format.name))),
            _ => Ok(()),
        }
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
        pack::row_bytes(self.format, cols)
    }
    /// Payload plus scale bytes of a tensor of `rows` x `cols`.
    pub fn bytes(&self, rows: usize, cols: usize) -> usize {
        rows * self.row_bytes(cols) + 4 * self.scale_count(rows, cols)
    }
}

impl fmt::Display for TensorType {
    /// As policies write it: `int8/row`, `fp4e2m1/block32`, `fp32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.format.name;
        match self.scaling {
            Scaling::None => write!(f, "{name}"),
            Scaling::Tensor => write!(f, "{name}/tensor"),
            Scaling::Row => write!(f, "{name}/row"),
            Scaling::Block(n) => write!(f, "{name}/block{n}"),
        }
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
            return Err(Error::internal(format!(
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
    /// Packed bytes of one row.
    pub fn row(&self, row: usize) -> &[u8] {
        let (_, cols) = self.rows_cols();
        let bytes = self.ty.row_bytes(cols);
        &self.payload[row * bytes..(row + 1) * bytes]
    }
    /// Index in [`Tensor::scales`] of the scale of an element, if the tensor has scales.
    pub fn scale_index(&self, row: usize, col: usize) -> Option<usize> {
        match self.ty.scaling {
            Scaling::None => None,
            Scaling::Tensor => Some(0),
            Scaling::Row => Some(row),
            Scaling::Block(n) => {
                let (_, cols) = self.rows_cols();
                Some(row * cols.div_ceil(n as usize) + col / n as usize)
            }
        }
    }
    /// Payload plus scale bytes.
    pub fn bytes(&self) -> usize {
        self.payload.len() + 4 * self.scales.len()
    }
}
