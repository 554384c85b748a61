//! `Linear` and `MatMul`.

use super::contract::{Product, Setting, contract};
use super::operand::{Operand, f32s};
use crate::diag::Result;
use crate::tensor::Tensor;

/// `y[T,N] = x[T,K] . w[N,K]^T`, then `fl(y + bias[n])`.
pub(super) fn linear(setting: Setting<'_>, inputs: &[&Tensor]) -> Result<Product> {
    let (x, w) = (Operand::whole(inputs[0]), Operand::whole(inputs[1]));
    let mut product = contract(setting, &x, &w)?;
    if let Some(bias) = inputs.get(2) {
        let bias = f32s(bias);
        for row in product.values.chunks_mut(bias.len().max(1)) {
            row.iter_mut().zip(&bias).for_each(|(y, b)| *y += b);
        }
    }
    Ok(product)
}

/// `y[h,m,n] = sum_k a[h,m,k] * b[h/group,n,k]`.
pub(super) fn matmul(setting: Setting<'_>, group: usize, a: &Tensor, b: &Tensor) -> Result<Product> {
    let (heads, rows, b_rows) = (a.shape[0], a.shape[1], b.shape[1]);
    let mut all: Option<Product> = None;
    for h in 0..heads {
        let (x, w) = (Operand::slab(a, h, rows), Operand::slab(b, h / group, b_rows));
        let product = contract(Setting { first: h * rows * b_rows, ..setting }, &x, &w)?;
        match &mut all {
            None => all = Some(product),
            Some(all) => all.values.extend(product.values),
        }
    }
    all.ok_or_else(|| crate::diag::Error::bad_input("a matrix product needs at least one head"))
}
