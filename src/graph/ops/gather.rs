//! Embedding: rows of a table, chosen by index.

use super::{Inferred, Op, plain_fp32, want_rank};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{Operand, Real, Reference, TINY, U, live_rows};
use crate::tensor::{Scaling, Tensor, rows_cols};
use std::borrow::Cow;

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
    let real = match &operands[0] {
        Operand::Packed(table) => Cow::Owned(chosen_rows(table, ids)?),
        other => other.real()?,
    };
    let places: Vec<usize> = match &operands[0] {
        Operand::Packed(_) => (0..ids.len()).collect(),
        _ => ids.iter().map(|id| *id as usize).collect(),
    };
    let values = real.dequantised(places.into_iter());
    let ty = real.ty;
    // One rounding a scale, plane, offset and global scale; what cancels between them is bounded by the sum of magnitudes.
    let roundings = f64::from(ty.planes + u32::from(ty.offset) + u32::from(ty.scale.global));
    let largest = real.scales.iter().chain(&real.offsets).fold(0.0f64, |a, s| if s.abs() > a { s.abs() } else { a });
    let reach = largest * real.global.abs() * (f64::from(ty.format.max) * 1.01 + 1.0) * roundings;
    let bound = |_, y| match ty.scaling {
        Scaling::None => 0.0,
        _ if roundings <= 1.0 => super::elementwise::one_rounding(y),
        _ => 2.0 * U * roundings * reach + TINY,
    };
    Ok(Reference::plain(vec![ids.len(), cols], values, bound))
}

/// The rows of a table that `ids` choose, in that order, decoded.
fn chosen_rows(table: &Tensor, ids: &[u32]) -> Result<Real> {
    let (_, cols) = table.rows_cols();
    let (stride, each) = (table.ty.row_bytes(cols), table.ty.scales_per_row(cols));
    let mut payload = Vec::with_capacity(ids.len() * stride);
    let (mut scales, mut offsets) = (Vec::new(), Vec::new());
    let mut ty = table.ty;
    for row in ids.iter().map(|id| *id as usize) {
        payload.extend_from_slice(&table.payload[row * stride..(row + 1) * stride]);
        let first = table.scale_index(row, 0);
        scales.extend(first.map_or(&[][..], |at| &table.scales[at..at + each]));
        offsets.extend(first.filter(|_| ty.offset).map_or(&[][..], |at| &table.offsets[at..at + each]));
    }
    match ty.scaling {
        Scaling::Tensor => (scales, offsets) = (table.scales.clone(), table.offsets.clone()),
        Scaling::Tile(_, n) => ty.scaling = Scaling::Block(n),
        _ => {}
    }
    let chosen = Tensor::with_sides(vec![ids.len(), cols], ty, payload, (scales, offsets, table.global))?;
    let live = live_rows(table, ids.iter().map(|id| *id as usize), cols);
    Ok(Real { live, ..Real::decode(&chosen) })
}
