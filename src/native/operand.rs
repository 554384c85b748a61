//! Views of packed tensors as the rows of a contraction, and their decoding.

use crate::num::{self, FormatRef};
use crate::tensor::{Mask, Tensor, TensorType, pack};
use std::ops::Range;

/// Rows of a packed tensor, or of one slab of its first axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand<'a> {
    pub ty: TensorType,
    pub format: FormatRef,
    pub payload: &'a [u8],
    pub scales: &'a [f32],
    pub offsets: &'a [f32],
    pub global: f32,
    /// Which elements count; all if there is none.
    pub mask: Option<&'a Mask>,
    /// Row of the tensor at which the slab begins.
    first: usize,
    pub rows: usize,
    pub cols: usize,
}

impl<'a> Operand<'a> {
    /// All rows of `tensor`.
    pub fn whole(tensor: &'a Tensor) -> Self {
        let (rows, cols) = tensor.rows_cols();
        let Tensor { ty, payload, scales, offsets, global, mask, .. } = tensor;
        let mask = mask.as_ref();
        Operand { ty: *ty, format: ty.format, payload, scales, offsets, global: *global, mask, first: 0, rows, cols }
    }

    /// Rows `index * rows .. (index + 1) * rows` of `tensor`.
    pub fn slab(tensor: &'a Tensor, index: usize, rows: usize) -> Self {
        let all = Operand::whole(tensor);
        let bytes = tensor.ty.row_bytes(all.cols);
        Operand {
            payload: &all.payload[index * rows * bytes..(index + 1) * rows * bytes],
            first: index * rows,
            rows,
            ..all
        }
    }

    /// Bytes of one packed row, planes included.
    pub fn row_bytes(&self) -> usize {
        self.ty.row_bytes(self.cols)
    }

    /// Packed codes of a plane of row `r`.
    pub fn plane(&self, r: usize, plane: usize) -> &'a [u8] {
        let bytes = self.ty.plane_bytes(self.cols);
        &self.payload[(r * self.ty.planes as usize + plane) * bytes..][..bytes]
    }

    /// Scale of an element of a plane; 1 for an unscaled operand.
    pub fn scale(&self, r: usize, col: usize, plane: usize) -> f32 {
        self.ty.scale_index(self.first + r, col, plane, self.cols).map_or(1.0, |at| self.scales[at])
    }

    /// Offset of an element; 0 without offsets.
    pub fn offset(&self, r: usize, col: usize) -> f32 {
        let at = self.ty.scale_index(self.first + r, col, 0, self.cols).filter(|_| self.ty.offset);
        at.map_or(0.0, |at| self.offsets[at])
    }

    /// Puts +0 where row `r` is masked, into `values` of the columns `k`.
    pub fn drop_masked<T: Default>(&self, r: usize, k: Range<usize>, values: &mut [T]) {
        let Some(mask) = self.mask else { return };
        let dead = k.zip(values).filter(|(col, _)| !mask.live(self.first + r, *col));
        dead.for_each(|(_, value)| *value = T::default());
    }

    /// Calls `each` with the codes of a plane of row `r` in the columns `k`, ascending.
    pub fn codes(&self, (r, plane): (usize, usize), k: Range<usize>, each: impl FnMut(u32)) {
        let row = self.plane(r, plane);
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

    /// Unscaled values of a plane of row `r` in the columns `k`, appended to `out`.
    pub fn values(&self, r: (usize, usize), k: Range<usize>, out: &mut Vec<f32>) {
        let format = self.format;
        if format.values.is_empty() {
            self.codes(r, k, |code| out.push(f32::from_bits(num::decode(format, code))));
        } else {
            self.codes(r, k, |code| out.push(f32::from_bits(format.values[code as usize])));
        }
    }

    /// Unscaled values of all rows, first planes.
    pub fn all_values(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.cols);
        for r in 0..self.rows {
            self.values((r, 0), 0..self.cols, &mut out);
        }
        out
    }
}

/// Values of an fp32 tensor.
pub(super) fn f32s(tensor: &Tensor) -> Vec<f32> {
    Operand::whole(tensor).all_values()
}
