//! Ops on single elements, alone or in pairs: add, mul, scale, mask and the activation functions.

use super::{Inferred, Op, plain_fp32, want_fp32};
use crate::diag::Error;
use crate::graph::Value;

pub(super) fn infer_broadcast(op: &Op, inputs: &[&Value]) -> Inferred {
    let (a, b) = (inputs[0], inputs[1]);
    want_fp32(op, a)?;
    want_fp32(op, b)?;
    if !a.shape.ends_with(&b.shape) {
        return Err(Error::bad_input(format!(
            "{} needs the shape of `{}` to end with that of `{}`, but they are {:?} and {:?}",
            op.name(),
            a.name,
            b.name,
            a.shape,
            b.shape
        )));
    }
    Ok((a.shape.clone(), plain_fp32()))
}
