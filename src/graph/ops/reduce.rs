//! Reductions: softmax over rows and the mean over tokens.

use super::{Inferred, Op, plain_fp32, want_fp32, want_rank};
use crate::diag::Error;
use crate::graph::Value;

pub(super) fn infer_meanpool(inputs: &[&Value]) -> Inferred {
    let x = inputs[0];
    want_rank(&Op::MeanPool, x, &["T", "D"])?;
    want_fp32(&Op::MeanPool, x)?;
    if x.shape[0] == 0 {
        return Err(Error::bad_input(format!("meanpool of `{}` has no tokens to average", x.name)));
    }
    Ok((x.shape[1..].to_vec(), plain_fp32()))
}
