//! Rotary position embedding over the two halves of the last axis.

use super::{Inferred, Op, plain_fp32, want_fp32, want_rank, want_shape};
use crate::diag::Error;
use crate::graph::Value;

pub(super) fn infer(inputs: &[&Value]) -> Inferred {
    let x = inputs[0];
    want_rank(&Op::Rope, x, &["H", "T", "D"])?;
    want_fp32(&Op::Rope, x)?;
    let (tokens, width) = (x.shape[1], x.shape[2]);
    if width % 2 != 0 {
        return Err(Error::bad_input(format!("rope needs an even last axis, but `{}` has {width}", x.name)));
    }
    for table in &inputs[1..] {
        want_shape(&Op::Rope, table, &[tokens, width / 2])?;
        want_fp32(&Op::Rope, table)?;
    }
    Ok((x.shape.clone(), plain_fp32()))
}
