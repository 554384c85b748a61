//! The closed set of ops. One file per op family holds attributes, shape inference and the f64 reference evaluation.

use super::Value;
use crate::diag::Result;
use crate::tensor::TensorType;

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
    /// Rows of a table: `y[t,:] = table[ids[t],:]`, dequantised to fp32. Inputs: table `[V,D]`, ids `[T]` (int32 input).
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

/// Shape and type of the result.
///
/// # Errors
/// BadInput with one sentence if the operands do not fit.
pub fn infer(op: &Op, inputs: &[&Value]) -> Result<(Vec<usize>, TensorType)> {
    unimplemented!("{op:?}{inputs:?}")
}
