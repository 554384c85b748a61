//! Ops that only move bytes.

use super::operand::f32s;
use crate::diag::Result;
use crate::tensor::Tensor;

/// Same bytes, other shape.
///
/// # Errors
/// Internal if the shape does not hold the same bytes.
pub(super) fn reshape(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    Tensor::new(shape.to_vec(), x.ty, x.payload.clone(), x.scales.clone())
}

/// Axis i of the result is axis `perm[i]` of x.
pub(super) fn transpose(x: &Tensor, perm: &[usize]) -> Vec<f32> {
    let values = f32s(x);
    let rank = x.shape.len();
    let mut strides = vec![1usize; rank];
    for axis in (1..rank).rev() {
        strides[axis - 1] = strides[axis] * x.shape[axis];
    }
    let extents: Vec<usize> = perm.iter().map(|axis| x.shape[*axis]).collect();
    let steps: Vec<usize> = perm.iter().map(|axis| strides[*axis]).collect();
    let mut index = vec![0usize; rank];
    let mut out = Vec::with_capacity(values.len());
    for _ in 0..values.len() {
        out.push(values[index.iter().zip(&steps).map(|(i, s)| i * s).sum::<usize>()]);
        for axis in (0..rank).rev() {
            index[axis] += 1;
            if index[axis] < extents[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}
