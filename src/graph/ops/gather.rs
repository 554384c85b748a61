//! Embedding: rows of a table, chosen by index.

use super::{Inferred, Op, plain_fp32, want_rank};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{Operand, Reference, decode_rows};
use crate::tensor::{Scaling, rows_cols};

pub(super) fn infer(inputs: &[&Value]) -> Inferred {
    let (table, ids) = (inputs[0], inputs[1]);
    want_rank(&Op::Embedding, table, &["V", "D"])?;
    want_rank(&Op::Embedding, ids, &["T"])?;
    Ok((vec![ids.shape[0], table.shape[1]], plain_fp32()))
}

/// Rows of the table, codes times scales; only the chosen rows are decoded.
pub(super) fn embedding(operands: &[Operand<'_>]) -> Result<Reference> {
    let Operand::Ids(ids) = operands[1] else {
        return Err(Error::internal("embedding without row numbers"));
    };
    let (rows, cols) = match &operands[0] {
        Operand::Packed(table) => table.rows_cols(),
        other => rows_cols(&other.real()?.shape),
    };
    if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
        return Err(Error::bad_input(format!("row {id} is not in a table of {rows} rows")));
    }
    let rows = ids.iter().map(|id| *id as usize);
    let (mut values, exact) = match &operands[0] {
        Operand::Packed(table) => (decode_rows(table, rows), table.ty.scaling == Scaling::None),
        other => {
            let real = other.real()?;
            (rows.flat_map(|row| real.values[row * cols..(row + 1) * cols].to_vec()).collect(), false)
        }
    };
    for (at, value) in values.iter_mut().enumerate() {
        let (row, col) = (ids[at / cols] as usize, at % cols);
        *value *= match &operands[0] {
            Operand::Packed(table) => match table.ty.scaling {
                Scaling::None => 1.0,
                Scaling::Tensor => f64::from(table.scales[0]),
                Scaling::Row => f64::from(table.scales[row]),
                Scaling::Block(n) => f64::from(table.scales[row * cols.div_ceil(n as usize) + col / n as usize]),
            },
            other => other.real()?.scale(row, col),
        };
    }
    let bound = |_, y| if exact { 0.0 } else { super::elementwise::one_rounding(y) };
    Ok(Reference::plain(vec![ids.len(), cols], values, bound))
}
