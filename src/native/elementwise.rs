//! Element-wise ops: each result is one rounding (or one function of `num`) of its operands.

use super::functions::Function;
use super::operand::f32s;
use crate::num::{Isa, func};
use crate::tensor::Tensor;

/// `f(a, b)` where b's shape is a suffix of a's and repeats over the leading axes.
pub(super) fn binary(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
    let (mut a, b) = (f32s(a), f32s(b));
    for run in a.chunks_mut(b.len().max(1)) {
        run.iter_mut().zip(&b).for_each(|(x, y)| *x = f(*x, *y));
    }
    a
}

/// `f(x)`.
pub(super) fn unary(x: &Tensor, f: impl Fn(f32) -> f32) -> Vec<f32> {
    f32s(x).into_iter().map(f).collect()
}

/// A function of every value.
pub(super) fn function(isa: Isa, x: &Tensor, function: Function) -> Vec<f32> {
    let mut values = f32s(x);
    function.apply(isa, &mut values);
    values
}

/// Rotary embedding: halves `x1, x2` of a row become `x1 c - x2 s` and `x2 c + x1 s`, every product rounded.
pub(super) fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Vec<f32> {
    let (_, width) = x.rows_cols();
    let (half, tokens) = (width / 2, cos.rows_cols().0);
    let (mut y, cos, sin) = (f32s(x), f32s(cos), f32s(sin));
    for (r, row) in y.chunks_mut(width.max(1)).enumerate() {
        let at = (r % tokens) * half;
        for i in 0..half {
            let (x1, x2, c, s) = (row[i], row[half + i], cos[at + i], sin[at + i]);
            row[i] = x1 * c - x2 * s;
            row[half + i] = x2 * c + x1 * s;
        }
    }
    y
}

/// Mean over the rows: per column, the L16 sum over tokens divided by their number.
pub(super) fn mean_pool(x: &Tensor) -> Vec<f32> {
    let (rows, cols) = x.rows_cols();
    let values = f32s(x);
    (0..cols).map(|c| super::sums::sum(rows, |r| values[r * cols + c]) / rows as f32).collect()
}

/// Softmax of every row.
pub(super) fn softmax(isa: Isa, x: &Tensor) -> Vec<f32> {
    let (_, cols) = x.rows_cols();
    let mut values = f32s(x);
    for row in values.chunks_mut(cols.max(1)) {
        let peak = row.iter().fold(f32::NEG_INFINITY, |m, v| func::max(m, *v));
        if peak == f32::NEG_INFINITY {
            row.fill(0.0);
            continue;
        }
        row.iter_mut().for_each(|v| *v -= peak);
        Function::Exp.apply(isa, row);
        let inverse = 1.0 / super::sums::sum(row.len(), |i| row[i]);
        row.iter_mut().for_each(|v| *v *= inverse);
    }
    values
}
