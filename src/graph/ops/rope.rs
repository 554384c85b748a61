//! Rotary position embedding over the two halves of the last axis.

use super::{Inferred, Op, plain_fp32, want_fp32, want_rank, want_shape};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{HUGE, Operand, Reference, TINY, U};

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

/// `(x1 cos - x2 sin, x2 cos + x1 sin)` of the halves x1, x2 of every row.
pub(super) fn rope(operands: &[Operand<'_>]) -> Result<Reference> {
    let (shape, x) = operands[0].scaled()?;
    let (_, cos) = operands[1].scaled()?;
    let (_, sin) = operands[2].scaled()?;
    let (tokens, half) = (shape[1], shape[2] / 2);
    let mut bounds = Vec::new();
    let mut values = Vec::new();
    for at in 0..x.len() {
        let (row, col) = (at / (2 * half), at % (2 * half));
        let turn = row % tokens * half + col % half;
        let partner = if col < half { at + half } else { at - half };
        let sign = if col < half { -1.0 } else { 1.0 };
        let (a, b) = (x[at] * cos[turn], x[partner] * sin[turn] * sign);
        values.push(a + b);
        let bound = 1.01 * U * (a.abs() + b.abs() + (a + b).abs()) + 3.0 * TINY;
        bounds.push(if a.abs() + b.abs() < HUGE { bound } else { f64::INFINITY });
    }
    let mut reference = Reference::plain(shape, values, |_, _| 0.0);
    reference.bound = bounds;
    Ok(reference)
}
