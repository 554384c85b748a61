//! Dynamic quantisation of fp32 activations: a cast, or codes with one scale a row.

use super::{Inferred, Op, type_name, want_fp32};
use crate::diag::Error;
use crate::graph::Value;
use crate::num::format::ScaleRule;
use crate::tensor::{Scaling, TensorType};

pub(super) fn infer(to: TensorType, x: &Value) -> Inferred {
    want_fp32(&Op::Quantise { to }, x)?;
    let scaling = if to.format.rule == ScaleRule::Cast { Scaling::None } else { Scaling::Row };
    if to.scaling != scaling {
        return Err(Error::unsupported(format!(
            "quantise of `{}` to {} is not served at run time, only to {}",
            x.name,
            type_name(to),
            type_name(TensorType { format: to.format, scaling })
        )));
    }
    Ok((x.shape.clone(), to))
}
