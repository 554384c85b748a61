//! Contractions: `linear` (activations by weights) and `matmul` (activations by activations, heads apart).

use super::{Inferred, Op, is_plain_fp32, plain_fp32, type_name, want_rank, want_shape};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::tensor::Scaling;

/// Largest extent of a summed axis: exact sums of class S are defined up to here (numerics 3.1).
pub(crate) const MAX_K: usize = 1 << 31;

pub(super) fn infer_linear(inputs: &[&Value]) -> Inferred {
    let (op, x, w) = (&Op::Linear, inputs[0], inputs[1]);
    want_rank(op, x, &["T", "K"])?;
    want_rank(op, w, &["N", "K"])?;
    want_same_k(op, x, w)?;
    want_row_scaling(op, x)?;
    if let Some(bias) = inputs.get(2) {
        want_shape(op, bias, &w.shape[..1])?;
        super::want_fp32(op, bias)?;
    }
    Ok((vec![x.shape[0], w.shape[0]], plain_fp32()))
}

pub(super) fn infer_matmul(group: usize, inputs: &[&Value]) -> Inferred {
    let op = &Op::MatMul { group };
    let (a, b) = (inputs[0], inputs[1]);
    want_rank(op, a, &["H", "M", "K"])?;
    want_rank(op, b, &["H/group", "N", "K"])?;
    want_same_k(op, a, b)?;
    want_row_scaling(op, a)?;
    want_row_scaling(op, b)?;
    if group == 0 || b.shape[0].checked_mul(group) != Some(a.shape[0]) {
        return Err(Error::bad_input(format!(
            "matmul with groups of {group} needs {group} times as many heads in `{}` as in `{}`, not {} and {}",
            a.name, b.name, a.shape[0], b.shape[0]
        )));
    }
    Ok((vec![a.shape[0], a.shape[1], b.shape[1]], plain_fp32()))
}

fn want_same_k(op: &Op, a: &Value, b: &Value) -> Result<()> {
    let (ka, kb) = (a.shape[a.shape.len() - 1], b.shape[b.shape.len() - 1]);
    if ka != kb {
        return Err(Error::bad_input(format!(
            "{} needs the same last axis in both operands, but `{}` has {:?} and `{}` has {:?}",
            op.name(),
            a.name,
            a.shape,
            b.name,
            b.shape
        )));
    }
    if ka > MAX_K {
        return Err(Error::unsupported(format!("{} sums at most 2^31 products, not {ka}", op.name())));
    }
    Ok(())
}

/// Run-time operands carry no scales or one a row.
fn want_row_scaling(op: &Op, value: &Value) -> Result<()> {
    if is_plain_fp32(value.ty) || matches!(value.ty.scaling, Scaling::None | Scaling::Row) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "{} does not take `{}` in {}: only weights may have scales of a tensor or of blocks",
        op.name(),
        value.name,
        type_name(value.ty)
    )))
}
