//! One matrix product as a model: for `preon gemm` and for experiments on a single layer.

use super::Prepared;
use crate::diag::{Error, Result};
use crate::graph::{Graph, InputData, Op};
use crate::num::format;
use crate::tensor::{Tensor, TensorType};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::sync::Arc;

/// Most elements of one operand.
const LARGEST: usize = 1 << 28;

/// `y[m,n] = x[m,k] . w[n,k]^T` with x, then w, drawn from a standard normal by ChaCha8 seeded with `seed`; or with
/// zeros, for runs that compute no values. The weight is called `gemm.weight`, the node and the output `gemm`.
///
/// # Errors
/// Usage for an extent of 0 or an operand of more than 2^28 elements.
pub fn gemm(m: usize, n: usize, k: usize, seed: u64, zeros: bool) -> Result<Prepared> {
    check(m, n, k)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |count: usize| -> Vec<f32> {
        if zeros { vec![0.0; count] } else { StandardNormal.sample_iter(&mut rng).take(count).collect() }
    };
    let x = Tensor::from_f32(vec![m, k], &draw(m * k))?;
    let w = Tensor::from_f32(vec![n, k], &draw(n * k))?;
    product(x, w)
}

/// The same product with operands of which only the shapes are known, for runs that compute no values and under policies
/// that do not look at them ([`Tensor::hollow`]).
///
/// # Errors
/// As [`gemm`].
pub fn hollow_gemm(m: usize, n: usize, k: usize) -> Result<Prepared> {
    check(m, n, k)?;
    let fp32 = TensorType::plain(format::find("fp32")?);
    product(Tensor::hollow(vec![m, k], fp32), Tensor::hollow(vec![n, k], fp32))
}

fn check(m: usize, n: usize, k: usize) -> Result<()> {
    for (name, a, b) in [("x", m, k), ("w", n, k), ("y", m, n)] {
        match a.checked_mul(b) {
            Some(1..=LARGEST) => {}
            _ => {
                return Err(Error::usage(format!(
                    "{name} of {a} x {b} elements is not served; operands have 1 to 2^28"
                )));
            }
        }
    }
    Ok(())
}

fn product(x: Tensor, w: Tensor) -> Result<Prepared> {
    let (m, n, k) = (x.shape[0], w.shape[0], x.shape[1]);
    let mut graph = Graph { name: format!("gemm-{m}x{n}x{k}"), ..Graph::default() };
    let input = graph.add_input("x", vec![m, k], TensorType::plain(format::find("fp32")?));
    let weight = graph.add_const("gemm.weight", Arc::new(w));
    let y = graph.add_node("gemm", Op::Linear, &[input, weight])?;
    graph.outputs.push(("gemm".into(), y));
    Ok(Prepared { graph, inputs: vec![InputData::Dense(Arc::new(x))], tokens: m, padding: 0, text: None })
}
