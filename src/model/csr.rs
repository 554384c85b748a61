//! Sparse matrices of a weights file: compressed sparse rows under the names of the matrix become masked fp32 weights.
//!
//! The matrix `NAME` of `rows` x `cols` stands as `NAME.indptr` (`rows` + 1 places), `NAME.indices` (the column of each
//! element, ascending in a row) and `NAME.values`. What is stored is live, stored zeros too; all else is masked.

use crate::diag::{Error, Result};
use crate::num::format;
use crate::tensor::layout::sparse::{Order, Sparse};
use crate::tensor::{Mask, Sparsity, Tensor, TensorType};
use safetensors::Dtype;

/// Names of the three parts behind that of the matrix.
pub(super) const NAMES: [&str; 3] = ["indptr", "indices", "values"];

/// Most elements of the dense matrix: a small file may state a huge one.
const MOST_ELEMENTS: usize = 1 << 28;

/// Patterns that are recognised, the cheapest to store first; any other mask is one of elements.
const PATTERNS: [&str; 3] = ["1:4", "2:4", "4:8"];

/// The three parts as they were read.
pub(super) struct Triple {
    /// Where each row begins among the elements, and where the last ends.
    pub indptr: Vec<u64>,
    /// Column of each element.
    pub indices: Vec<u64>,
    /// Little-endian fp32 values, finite.
    pub values: Vec<u8>,
}

/// Whole numbers of a file.
///
/// # Errors
/// BadInput for one below zero.
pub(super) fn places(bytes: &[u8], dtype: Dtype) -> Result<Vec<u64>> {
    let numbers: Vec<i128> = match dtype {
        Dtype::I32 => bytes.as_chunks().0.iter().map(|b| i128::from(i32::from_le_bytes(*b))).collect(),
        Dtype::U32 => bytes.as_chunks().0.iter().map(|b| i128::from(u32::from_le_bytes(*b))).collect(),
        Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i128::from(i64::from_le_bytes(*b))).collect(),
        _ => bytes.as_chunks().0.iter().map(|b| i128::from(u64::from_le_bytes(*b))).collect(),
    };
    let place = |(at, number): (usize, i128)| {
        u64::try_from(number).map_err(|_| Error::bad_input(format!("entry {at} is {number}, but no place is below 0")))
    };
    numbers.into_iter().enumerate().map(place).collect()
}

impl Triple {
    /// The masked fp32 matrix of this shape.
    ///
    /// # Errors
    /// BadInput if the parts do not make a matrix of that shape; Unsupported beyond 2^28 elements.
    pub(super) fn tensor(self, shape: &[usize]) -> Result<Tensor> {
        let &[rows, cols] = shape else {
            return Err(Error::bad_input(format!("stands as sparse rows, but config.json calls for shape {shape:?}")));
        };
        if rows.checked_mul(cols).is_none_or(|elements| elements > MOST_ELEMENTS) {
            return Err(Error::unsupported(format!("{rows} x {cols} is too large for sparse rows (2^28 elements)")));
        }
        let fp32 = format::find("fp32")?;
        let codes: Vec<u32> = self.values.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        // All that is said of the three together is checked there.
        Sparse::of_triple(Order::Rows, fp32, (rows, cols), &codes, &self.indices, &self.indptr)?;
        let mut payload = vec![0u8; 4 * rows * cols];
        let pitch = cols.div_ceil(8);
        let mut bits = vec![0u8; rows * pitch];
        for row in 0..rows {
            let own = self.indptr[row] as usize..self.indptr[row + 1] as usize;
            for (code, col) in codes[own.clone()].iter().zip(&self.indices[own]) {
                let col = *col as usize;
                payload[4 * (row * cols + col)..][..4].copy_from_slice(&code.to_le_bytes());
                bits[row * pitch + col / 8] |= 1 << (col % 8);
            }
        }
        let tensor = Tensor::new(shape.to_vec(), TensorType::plain(fp32), payload, Vec::new())?;
        let masked = rows * cols - codes.len();
        let milli = (1000 * masked as u64 / (rows * cols).max(1) as u64).min(999) as u32;
        let fits = PATTERNS.iter().find_map(|pattern| {
            let pattern = Sparsity::parse(pattern).ok()?;
            Mask::new(pattern, (rows, cols), bits.clone()).ok()
        });
        let mask = match fits {
            Some(mask) => mask,
            None => Mask::new(Sparsity::Element { milli }, (rows, cols), bits)?,
        };
        tensor.with_mask(mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triple(indptr: &[u64], indices: &[u64], values: &[f32]) -> Triple {
        let values = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Triple { indptr: indptr.to_vec(), indices: indices.to_vec(), values }
    }

    #[test]
    fn what_is_stored_is_live_and_patterns_are_recognised() {
        let t = triple(&[0, 2, 2, 4], &[0, 4, 1, 2], &[1.5, 0.0, -2.0, 3.0]).tensor(&[3, 5]).unwrap();
        assert_eq!(t.to_f32(), [1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0, 3.0, 0.0, 0.0]);
        let mask = t.mask.as_ref().unwrap();
        assert!(mask.live(0, 4) && !mask.live(0, 1) && !mask.live(1, 0) && mask.sparsity.to_string() == "2:4");
        let t = triple(&[0, 3], &[0, 1, 2], &[1.0; 3]).tensor(&[1, 4]).unwrap();
        assert_eq!(t.mask.unwrap().sparsity.to_string(), "4:8");
        let t = triple(&[0, 5], &[0, 1, 2, 3, 4], &[1.0; 5]).tensor(&[1, 8]).unwrap();
        assert_eq!(t.mask.unwrap().sparsity.to_string(), "element:0.375");
    }

    #[test]
    fn damaged_triples_give_one_sentence() {
        for (indptr, indices, values, shape) in [
            (&[0, 1][..], &[0][..], &[1.0][..], &[2, 4][..]),
            (&[0, 2, 1], &[0], &[1.0], &[2, 4]),
            (&[1, 1, 1], &[0], &[1.0], &[2, 4]),
            (&[0, 1, 1], &[4], &[1.0], &[2, 4]),
            (&[0, 2, 2], &[1, 1], &[1.0, 2.0], &[2, 4]),
            (&[0, 2, 2], &[1, 2], &[1.0], &[2, 4]),
            (&[0, 1], &[0], &[1.0], &[4]),
        ] {
            let error = triple(indptr, indices, values).tensor(shape).unwrap_err();
            assert!(error.kind() == crate::diag::Kind::BadInput && !error.message().contains('\n'), "{error}");
        }
        let error = triple(&[0], &[], &[]).tensor(&[1 << 20, 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), crate::diag::Kind::Unsupported);
        assert_eq!(places(&[1, 0, 0, 0, 2, 0, 0, 0], Dtype::I32).unwrap(), [1, 2]);
        assert!(places(&(-1i64).to_le_bytes(), Dtype::I64).unwrap_err().message().contains("entry 0 is -1"));
    }
}
