//! Embedding: rows of a table, chosen by index.

use super::{Inferred, Op, plain_fp32, want_rank};
use crate::graph::Value;

pub(super) fn infer(inputs: &[&Value]) -> Inferred {
    let (table, ids) = (inputs[0], inputs[1]);
    want_rank(&Op::Embedding, table, &["V", "D"])?;
    want_rank(&Op::Embedding, ids, &["T"])?;
    Ok((vec![ids.shape[0], table.shape[1]], plain_fp32()))
}
