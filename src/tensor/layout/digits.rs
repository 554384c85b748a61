//! Groups of base-b digits in as few bits as hold them: five trits in a byte (3^5 = 243), three quints in seven bits
//! (5^3 = 125). A digit is a code; the first element of a group is the lowest digit.
//!
//! Groups follow each other without gaps, low bits first; a row starts on a byte. The missing elements of a row's last
//! group are digits of zero and the padding bits after it are zero.

use super::{Layout, Matrix, not_served};
use crate::diag::Result;
use crate::num::{Element, bits};
use crate::tensor::pack::row_bytes;

/// A packing of `digits` digits of base `base` into `bits` bits.
pub(super) struct Digits {
    layout: Layout,
    base: usize,
    digits: usize,
    bits: u32,
}

pub(super) const TRITS5: Digits = Digits { layout: Layout::Trits5, base: 3, digits: 5, bits: 8 };
pub(super) const QUINTS3: Digits = Digits { layout: Layout::Quints3, base: 5, digits: 3, bits: 7 };

impl Digits {
    pub(super) fn bytes(&self, matrix: &Matrix) -> Result<usize> {
        let levels = match &matrix.format.element {
            Element::Codebook { levels } => levels.len(),
            Element::Real { values } => values.len(),
            _ => 0,
        };
        if levels != self.base {
            let why = format!("it stores formats of exactly {} levels", self.base);
            return Err(not_served(self.layout, matrix.format, &why));
        }
        matrix.dense_bytes()?;
        matrix.times_rows(Some(self.row_bytes(matrix.cols)))
    }
    /// Bytes of a row: fewer than dense ones, which fit.
    fn row_bytes(&self, cols: usize) -> usize {
        let groups = cols.div_ceil(self.digits);
        groups / 8 * self.bits as usize + (groups % 8 * self.bits as usize).div_ceil(8)
    }
    fn groups(&self) -> usize {
        self.base.pow(self.digits as u32)
    }

    pub(super) fn pack(&self, matrix: &Matrix, dense: &[u8]) -> Result<Vec<u8>> {
        let mut out = vec![0; self.bytes(matrix)?];
        let (from, to) = (row_bytes(matrix.format, matrix.cols), self.row_bytes(matrix.cols));
        let mut codes = vec![0; matrix.cols];
        let mut groups = vec![0; matrix.cols.div_ceil(self.digits)];
        for row in 0..if from == 0 { 0 } else { matrix.rows } {
            bits::unpack(matrix.format.bits, &dense[row * from..][..from], &mut codes);
            if let Some(col) = codes.iter().position(|code| usize::from(*code) >= self.base) {
                return Err(matrix.fault(row, format_args!("element {col} has the reserved code {}", codes[col])));
            }
            for (group, codes) in groups.iter_mut().zip(codes.chunks(self.digits)) {
                *group = codes.iter().rev().fold(0, |value, digit| value * self.base as u8 + digit);
            }
            bits::pack(self.bits, &groups, &mut out[row * to..][..to]);
        }
        Ok(out)
    }

    pub(super) fn unpack(&self, matrix: &Matrix, stored: &[u8]) -> Result<Vec<u8>> {
        matrix.check_length(self.layout.name(), stored, self.bytes(matrix)?)?;
        let mut out = vec![0; matrix.dense_bytes()?];
        let (from, to) = (self.row_bytes(matrix.cols), row_bytes(matrix.format, matrix.cols));
        let digits_of: Vec<[u8; 5]> = (0..256usize)
            .map(|value| std::array::from_fn(|at| (value / self.base.pow(at as u32) % self.base) as u8))
            .collect();
        let mut groups = vec![0; matrix.cols.div_ceil(self.digits)];
        let mut codes = Vec::with_capacity(groups.len() * self.digits);
        for row in 0..if from == 0 { 0 } else { matrix.rows } {
            let bytes = &stored[row * from..][..from];
            bits::unpack(self.bits, bytes, &mut groups);
            if let Some(group) = groups.iter().position(|value| usize::from(*value) >= self.groups()) {
                let what = format_args!("group {group} is {}, not below {}", groups[group], self.groups());
                return Err(matrix.fault(row, what));
            }
            codes.clear();
            codes.extend(groups.iter().flat_map(|group| &digits_of[usize::from(*group)][..self.digits]));
            if codes[matrix.cols..].iter().any(|digit| *digit != 0)
                || bits::padding(self.bits, groups.len(), bytes) != 0
            {
                return Err(matrix.fault(row, "its padding is not zero"));
            }
            bits::pack(matrix.format.bits, &codes[..matrix.cols], &mut out[row * to..][..to]);
        }
        Ok(out)
    }
}
