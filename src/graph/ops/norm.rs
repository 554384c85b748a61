//! Row normalisations: layernorm, rmsnorm, l2norm.

use super::{Inferred, Op, same_shape, want_fp32, want_shape};
use crate::diag::Error;
use crate::graph::Value;

pub(super) fn infer(op: &Op, eps: f32, inputs: &[&Value]) -> Inferred {
    let inferred = same_shape(op, inputs)?;
    if !(eps.is_finite() && eps >= 0.0) {
        return Err(Error::bad_input(format!("{} needs a finite eps of at least 0, not {eps}", op.name())));
    }
    let cols = &inferred.0[inferred.0.len() - 1..];
    for weight in &inputs[1..] {
        want_shape(op, weight, cols)?;
        want_fp32(op, weight)?;
    }
    Ok(inferred)
}
