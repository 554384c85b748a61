//! Views of packed tensors as the rows of a contraction, and their decoding.

use crate::num::{self, FormatRef};
use crate::tensor::{Scaling, Tensor, TensorType, pack};
use std::ops::Range;

/// Rows of a packed tensor, or of one slab of its first axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand<'a> {
    pub format: FormatRef,
    pub scaling: Scaling,
    pub payload: &'a [u8],
    pub scales: &'a [f32],
    pub rows: usize,
    pub cols: usize,
}

impl<'a> Operand<'a> {
    /// All rows of `tensor`.
    pub fn whole(tensor: &'a Tensor) -> Self {
        let (rows, cols) = tensor.rows_cols();
        let TensorType { format, scaling } = tensor.ty;
        Operand { format, scaling, payload: &tensor.payload, scales: &tensor.scales, rows, cols }
    }

    /// Rows `index * rows .. (index + 1) * rows` of `tensor`.
    pub fn slab(tensor: &'a Tensor, index: usize, rows: usize) -> Self {
        let all = Operand::whole(tensor);
        let bytes = tensor.ty.row_bytes(all.cols);
        let scales = match all.scaling {
            Scaling::None | Scaling::Tensor => all.scales,
            Scaling::Row | Scaling::Block(_) => {
                let each = tensor.ty.scale_count(rows, all.cols);
                &all.scales[index * each..(index + 1) * each]
            }
        };
        Operand { payload: &all.payload[index * rows * bytes..(index + 1) * rows * bytes], scales, rows, ..all }
    }

    /// Bytes of one packed row.
    pub fn row_bytes(&self) -> usize {
        (self.cols * self.format.bits as usize).div_ceil(8)
    }

    /// Packed codes of row `r`.
    pub fn row(&self, r: usize) -> &'a [u8] {
        &self.payload[r * self.row_bytes()..(r + 1) * self.row_bytes()]
    }

    /// Scale of block `block` of row `r`; 1 for an unscaled operand. Unblocked scales ignore `block`.
    pub fn scale(&self, r: usize, block: usize) -> f32 {
        match self.scaling {
            Scaling::None => 1.0,
            Scaling::Tensor => self.scales[0],
            Scaling::Row => self.scales[r],
            Scaling::Block(n) => self.scales[r * self.cols.div_ceil(n as usize) + block],
        }
    }

    /// Calls `each` with the codes of row `r` in the columns `k`, ascending.
    pub fn codes(&self, r: usize, k: Range<usize>, each: impl FnMut(u32)) {
        let row = self.row(r);
        match self.format.bits {
            8 => row[k].iter().map(|b| u32::from(*b)).for_each(each),
            16 => {
                let (pairs, _) = row[2 * k.start..2 * k.end].as_chunks::<2>();
                pairs.iter().map(|b| u32::from(u16::from_le_bytes(*b))).for_each(each);
            }
            32 => {
                let (quads, _) = row[4 * k.start..4 * k.end].as_chunks::<4>();
                quads.iter().map(|b| u32::from_le_bytes(*b)).for_each(each);
            }
            _ => k.map(|i| pack::get(self.format, row, i)).for_each(each),
        }
    }

    /// Unscaled values of row `r` in the columns `k`, appended to `out`.
    pub fn values(&self, r: usize, k: Range<usize>, out: &mut Vec<f32>) {
        let format = self.format;
        if format.values.is_empty() {
            self.codes(r, k, |code| out.push(f32::from_bits(num::decode(format, code))));
        } else {
            self.codes(r, k, |code| out.push(f32::from_bits(format.values[code as usize])));
        }
    }

    /// Unscaled values of all rows.
    pub fn all_values(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.cols);
        for r in 0..self.rows {
            self.values(r, 0..self.cols, &mut out);
        }
        out
    }
}

/// Values of an fp32 tensor.
pub(super) fn f32s(tensor: &Tensor) -> Vec<f32> {
    Operand::whole(tensor).all_values()
}
