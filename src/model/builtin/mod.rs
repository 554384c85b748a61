//! Networks that need no file. Their weights come from a stated seed: they are untrained, so their quality is how
//! close a precision stays to their own fp32 run.
//!
//! The generator is ChaCha8 seeded with [`SEED`] and normal deviates of `rand_distr`, drawn in the order in which the
//! tensors are named in each file.

mod bitnet;
mod mlp;

use super::Network;
use crate::diag::Result;
use crate::tensor::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use std::sync::Arc;

/// Seed of all built-in weights and sample inputs.
pub(super) const SEED: u64 = 0x5052_454f_4e00_0001; // "PREON", 1

/// One built-in network.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) build: fn() -> Result<Arc<dyn Network>>,
}

/// All built-in networks.
pub(super) const TABLE: &[Row] = &[
    Row { name: "mlp", doc: "three dense layers, 64 to 256 to 256 to 10, relu; 16 rows by default", build: mlp::build },
    Row {
        name: "bitnet-tiny",
        doc: "a BitNet-style byte-level decoder: 4 blocks, width 128, 4 heads over 2 key-value heads",
        build: bitnet::build,
    },
];

/// The seeded source of weights.
struct Seeded(ChaCha8Rng);

impl Seeded {
    fn new(stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        rng.set_stream(stream);
        Seeded(rng)
    }

    /// Normal deviates of the given mean and standard deviation, each rounded to f32.
    fn numbers(&mut self, count: usize, mean: f64, deviation: f64) -> Result<Vec<f32>> {
        let normal = Normal::new(mean, deviation).map_err(|e| crate::diag::Error::internal(e.to_string()))?;
        Ok((0..count).map(|_| normal.sample(&mut self.0) as f32).collect())
    }

    fn tensor(&mut self, shape: &[usize], mean: f64, deviation: f64) -> Result<Arc<Tensor>> {
        let values = self.numbers(shape.iter().product(), mean, deviation)?;
        Tensor::from_f32(shape.to_vec(), &values).map(Arc::new)
    }

    /// A weight matrix `[outputs, inputs]` that keeps the variance of its input.
    fn matrix(&mut self, outputs: usize, inputs: usize) -> Result<Arc<Tensor>> {
        self.tensor(&[outputs, inputs], 0.0, 1.0 / (inputs as f64).sqrt())
    }
}
