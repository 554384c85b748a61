//! Ops that move elements and change none: reshape and transpose.

use super::{Inferred, Op, plain_fp32, want_fp32};
use crate::diag::{Error, Result};
use crate::graph::Value;
use crate::graph::eval::{Operand, Real, Reference};
use crate::tensor::Scaling;

pub(super) fn infer_reshape(shape: &[usize], x: &Value) -> Inferred {
    let count = |shape: &[usize]| shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    if count(shape).is_none() || count(shape) != count(&x.shape) {
        return Err(Error::bad_input(format!(
            "reshape of `{}` from {:?} to {shape:?} changes the number of elements",
            x.name, x.shape
        )));
    }
    let byte_rows =
        |shape: &[usize]| shape.last().is_none_or(|cols| (cols * x.ty.format.bits as usize).is_multiple_of(8));
    let same_rows = shape.last() == x.shape.last();
    let keeps_bytes = byte_rows(shape) && byte_rows(&x.shape) && x.ty.scaling == Scaling::None;
    if !same_rows && !keeps_bytes {
        return Err(Error::unsupported(format!(
            "reshape of `{}` from {:?} to {shape:?} would repack its {} codes",
            x.name, x.shape, x.ty
        )));
    }
    Ok((shape.to_vec(), x.ty))
}

pub(super) fn infer_transpose(perm: &[usize], x: &Value) -> Inferred {
    let op = Op::Transpose { perm: perm.to_vec() };
    want_fp32(&op, x)?;
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !(2..=3).contains(&perm.len()) || sorted.iter().copied().ne(0..perm.len()) || perm.len() != x.shape.len() {
        return Err(Error::bad_input(format!(
            "transpose needs a permutation of the 2 or 3 axes of `{}` {:?}, not {perm:?}",
            x.name, x.shape
        )));
    }
    Ok((perm.iter().map(|axis| x.shape[*axis]).collect(), plain_fp32()))
}

pub(super) fn reshape(shape: &[usize], operands: &[Operand<'_>]) -> Result<Reference> {
    let result = Real { shape: shape.to_vec(), ..operands[0].real()?.into_owned() };
    let (bound, scale_bound) = (vec![0.0; result.values.len()], vec![0.0; result.scales.len()]);
    Ok(Reference { result, bound, scale_bound })
}

pub(super) fn transpose(perm: &[usize], operands: &[Operand<'_>]) -> Result<Reference> {
    let (from, x) = operands[0].scaled()?;
    let shape: Vec<usize> = perm.iter().map(|axis| from[*axis]).collect();
    let stride = |axis: usize| from[axis + 1..].iter().product::<usize>();
    let values = (0..x.len()).map(|at| {
        let (mut rest, mut source) = (at, 0);
        for (extent, axis) in shape.iter().zip(perm).rev() {
            source += rest % extent * stride(*axis);
            rest /= extent;
        }
        x[source]
    });
    let values = values.collect();
    Ok(Reference::plain(shape, values, |_, _| 0.0))
}
