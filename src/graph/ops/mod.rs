//! The closed set of ops. One file per op family holds shape inference, the f64 reference and its error bound.

mod dot;
mod elementwise;
mod gather;
mod layout;
mod norm;
mod quantise;
mod reduce;
mod rope;

use super::{Def, Value};
use crate::diag::{Error, Result};
use crate::graph::eval::{Operand, Reference};
use crate::num::{Accumulator, format};
use crate::tensor::{Scaling, TensorType};

/// What a node computes. `T` tokens, `K` inputs, `N` outputs, `H` heads, `D` head width; all results fp32 unless said.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `y[T,N] = x[T,K] . w[N,K]^T (+ bias[N])`. Inputs: x, w, optional bias (fp32).
    Linear,
    /// Batched `y[b,m,n] = sum_k a[b,m,k] * b[b/group,n,k]`: both operands have k last. Inputs: a `[H,M,K]`, b `[H/group,N,K]`.
    MatMul {
        /// Heads of `a` that share one head of `b` (1: plain; more: grouped-query attention).
        group: usize,
    },
    /// `fl(a + b)`; b's shape is a suffix of a's (broadcast over the leading axes). Inputs: a, b.
    Add,
    /// `fl(a * b)`, broadcast as [`Op::Add`]. Inputs: a, b.
    Mul,
    /// `fl(x * factor)`. Input: x.
    Scale {
        /// The factor.
        factor: f32,
    },
    /// `fl(scores + bias)` where bias is 0 or -inf, `[T,T]` broadcast over heads. Inputs: scores `[H,T,T]`, bias.
    Mask,
    /// Over the last axis, numerics 7; -inf entries give +0; a row of only -inf gives all +0. Input: x.
    Softmax,
    /// Over the last axis. Inputs: x, gamma, beta.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// Over the last axis. Inputs: x, weight.
    RmsNorm {
        /// Added to the mean square.
        eps: f32,
    },
    /// Exact (erf) GELU. Input: x.
    Gelu,
    /// max(x, 0). Input: x.
    Relu,
    /// relu(x)^2. Input: x.
    Relu2,
    /// x * sigmoid(x). Input: x.
    Silu,
    /// Rows of a table: `y[t,:] = table[ids[t],:]`, dequantised to fp32. Inputs: table `[V,D]`, ids `[T]` ([`Def::Indices`]).
    Embedding,
    /// Mean over the tokens: `[T,D] -> [D]`. Input: x.
    MeanPool,
    /// `x / max(sqrt(sum x^2), 1e-12)` over the last axis. Input: x.
    L2Norm,
    /// Same bytes, other shape. Input: x.
    Reshape {
        /// The new shape (same element count, same last-axis byte layout for packed formats).
        shape: Vec<usize>,
    },
    /// Permutes axes (rank 2 or 3): axis i of the result is axis `perm[i]` of x. Input: x (fp32).
    Transpose {
        /// The permutation.
        perm: Vec<usize>,
    },
    /// Rotary embedding over halves of the last axis of `[H,T,D]`. Inputs: x, cos `[T,D/2]`, sin `[T,D/2]`.
    Rope,
    /// Dynamic quantisation of fp32 into a type: per row (scaled formats) or a cast. Input: x.
    Quantise {
        /// Target type.
        to: TensorType,
    },
}

/// Shape and type of a result.
type Inferred = Result<(Vec<usize>, TensorType)>;

impl Op {
    /// Lower-case name, as in the text form of a graph.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Linear => "linear",
            Op::MatMul { .. } => "matmul",
            Op::Add => "add",
            Op::Mul => "mul",
            Op::Scale { .. } => "scale",
            Op::Mask => "mask",
            Op::Softmax => "softmax",
            Op::LayerNorm { .. } => "layernorm",
            Op::RmsNorm { .. } => "rmsnorm",
            Op::Gelu => "gelu",
            Op::Relu => "relu",
            Op::Relu2 => "relu2",
            Op::Silu => "silu",
            Op::Embedding => "embedding",
            Op::MeanPool => "meanpool",
            Op::L2Norm => "l2norm",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Rope => "rope",
            Op::Quantise { .. } => "quantise",
        }
    }

    /// Fewest and most operands.
    pub fn arity(&self) -> (usize, usize) {
        match self {
            Op::Linear => (2, 3),
            Op::LayerNorm { .. } | Op::Rope => (3, 3),
            Op::MatMul { .. } | Op::Add | Op::Mul | Op::Mask | Op::RmsNorm { .. } | Op::Embedding => (2, 2),
            _ => (1, 1),
        }
    }
}

/// Shape and type of the result.
///
/// # Errors
/// BadInput or Unsupported with one sentence if the operands do not fit.
pub fn infer(op: &Op, inputs: &[&Value]) -> Result<(Vec<usize>, TensorType)> {
    let (least, most) = op.arity();
    if inputs.len() < least || inputs.len() > most {
        let wanted = if least == most { least.to_string() } else { format!("{least} or {most}") };
        return Err(Error::bad_input(format!("{} takes {wanted} operands, not {}", op.name(), inputs.len())));
    }
    for (at, value) in inputs.iter().enumerate() {
        let takes_ids = matches!(op, Op::Embedding) && at == 1;
        if matches!(value.def, Def::Indices) != takes_ids {
            let what = if takes_ids { "must be indices" } else { "must be numbers, not indices" };
            return Err(Error::bad_input(format!("operand `{}` of {} {what}", value.name, op.name())));
        }
    }
    match op {
        Op::Linear => dot::infer_linear(inputs),
        Op::MatMul { group } => dot::infer_matmul(*group, inputs),
        Op::Add | Op::Mul | Op::Mask => elementwise::infer_broadcast(op, inputs),
        Op::Scale { .. } | Op::Gelu | Op::Relu | Op::Relu2 | Op::Silu => same_shape(op, inputs),
        Op::Softmax | Op::L2Norm => same_shape(op, inputs),
        Op::LayerNorm { eps } | Op::RmsNorm { eps } => norm::infer(op, *eps, inputs),
        Op::Embedding => gather::infer(inputs),
        Op::MeanPool => reduce::infer_meanpool(inputs),
        Op::Reshape { shape } => layout::infer_reshape(shape, inputs[0]),
        Op::Transpose { perm } => layout::infer_transpose(perm, inputs[0]),
        Op::Rope => rope::infer(inputs),
        Op::Quantise { to } => quantise::infer(*to, inputs[0]),
    }
}

/// The op in f64 on operands that [`infer`] accepts, with the bound for an f32 result.
///
/// # Errors
/// BadInput if a row number lies outside its table; Unsupported if the dot product's class is not defined.
pub fn reference(op: &Op, accumulator: Accumulator, operands: &[Operand<'_>]) -> Result<Reference> {
    match op {
        Op::Linear => dot::linear(accumulator, operands),
        Op::MatMul { group } => dot::matmul(*group, accumulator, operands),
        Op::Add | Op::Mul | Op::Mask => elementwise::pairwise(op, operands),
        Op::Scale { factor } => elementwise::scale(*factor, operands),
        Op::Gelu | Op::Relu | Op::Relu2 | Op::Silu => elementwise::activation(op, operands),
        Op::Softmax => reduce::softmax(operands),
        Op::MeanPool => reduce::meanpool(operands),
        Op::LayerNorm { eps } => norm::layernorm(f64::from(*eps), operands),
        Op::RmsNorm { eps } => norm::rmsnorm(f64::from(*eps), operands),
        Op::L2Norm => norm::l2norm(operands),
        Op::Embedding => gather::embedding(operands),
        Op::Reshape { shape } => layout::reshape(shape, operands),
        Op::Transpose { perm } => layout::transpose(perm, operands),
        Op::Rope => rope::rope(operands),
        Op::Quantise { to } => quantise::quantise(*to, operands),
    }
}

/// The plain fp32 type of almost every result.
pub(crate) fn plain_fp32() -> TensorType {
    TensorType::plain(format::find("fp32").expect("the format table has fp32"))
}

fn is_plain_fp32(ty: TensorType) -> bool {
    ty.scaling == Scaling::None && ty.format.name == "fp32"
}

/// Refuses an operand that is not plain fp32.
fn want_fp32(op: &Op, value: &Value) -> Result<()> {
    if is_plain_fp32(value.ty) {
        return Ok(());
    }
    Err(Error::bad_input(format!("{} needs `{}` in fp32, not {}", op.name(), value.name, value.ty)))
}

/// Refuses an operand of another rank; `axes` names the axes wanted.
fn want_rank(op: &Op, value: &Value, axes: &[&str]) -> Result<()> {
    if value.shape.len() == axes.len() {
        return Ok(());
    }
    let axes = axes.join(", ");
    Err(Error::bad_input(format!("{} needs `{}` as [{axes}], not {:?}", op.name(), value.name, value.shape)))
}

/// Refuses an operand of another shape.
fn want_shape(op: &Op, value: &Value, shape: &[usize]) -> Result<()> {
    if value.shape == shape {
        return Ok(());
    }
    Err(Error::bad_input(format!("{} needs `{}` of shape {shape:?}, not {:?}", op.name(), value.name, value.shape)))
}

/// Element-wise or row-wise fp32 ops of one operand that keep the shape.
fn same_shape(op: &Op, inputs: &[&Value]) -> Inferred {
    want_fp32(op, inputs[0])?;
    if inputs[0].shape.is_empty() {
        return Err(Error::bad_input(format!("{} needs at least one axis in `{}`", op.name(), inputs[0].name)));
    }
    Ok((inputs[0].shape.clone(), plain_fp32()))
}
