//! Normalisations over the last axis.

use super::operand::f32s;
use super::sums;
use crate::num::func::{self, fma};
use crate::tensor::Tensor;

/// `fl(1 / fl(sqrt(x)))`.
fn inverse_root(x: f32) -> f32 {
    1.0 / x.sqrt()
}

/// Mean and variance by L16 sums; `y = fma(fl(d * r), gamma, beta)`.
pub(super) fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f32) -> Vec<f32> {
    let (mut values, gamma, beta) = (f32s(x), f32s(gamma), f32s(beta));
    let n = gamma.len() as f32;
    for row in values.chunks_mut(gamma.len().max(1)) {
        let mean = sums::sum(row.len(), |i| row[i]) / n;
        row.iter_mut().for_each(|v| *v -= mean);
        let r = inverse_root(sums::sum_of_squares(row) / n + eps);
        for (v, (g, b)) in row.iter_mut().zip(gamma.iter().zip(&beta)) {
            *v = fma(*v * r, *g, *b);
        }
    }
    values
}

/// `y = fl(fl(x * r) * w)` with `r` from the mean square.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Vec<f32> {
    let (mut values, weight) = (f32s(x), f32s(weight));
    let n = weight.len() as f32;
    for row in values.chunks_mut(weight.len().max(1)) {
        let r = inverse_root(sums::sum_of_squares(row) / n + eps);
        row.iter_mut().zip(&weight).for_each(|(v, w)| *v = *v * r * *w);
    }
    values
}

/// `y = fl(x / max(sqrt(sum x^2), 1e-12))`.
pub(super) fn l2_norm(x: &Tensor) -> Vec<f32> {
    let (_, cols) = x.rows_cols();
    let mut values = f32s(x);
    for row in values.chunks_mut(cols.max(1)) {
        let length = func::max(sums::sum_of_squares(row).sqrt(), 1e-12);
        row.iter_mut().for_each(|v| *v /= length);
    }
    values
}
