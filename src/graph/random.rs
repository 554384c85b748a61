//! Small random graphs for property tests: every op, ragged shapes, types of every kind whose dot product is defined.
//!
//! The same seed gives the same graph everywhere (ChaCha8), so that a failing seed can be run again.

use super::{Graph, InputData, Op, ValueId};
use crate::diag::Result;
use crate::num::{Accumulator, dot_class};
use crate::tensor::{Scaling, Tensor, TensorType, terms};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::sync::Arc;

/// Types of run-time operands; without a scaling, formats that are scaled have one scale a row.
const ACTIVATIONS: [&str; 26] = [
    "fp32",
    "bf16",
    "fp16",
    "tf32",
    "int8/row",
    "int4/row",
    "int2/row",
    "int16/row",
    "fp8e4m3/row",
    "fp8e5m2/row",
    "fp4e2m1/row",
    "fp6e3m2/row",
    "ternary/row",
    "binary/row",
    "triplet/row",
    "fp2sparse/row",
    "log8/row",
    "int8/block32",
    "ternary/block16",
    "mxfp8e4m3",
    "mxfp6e2m3:even",
    "mxfp4:ceil",
    "mxint8:rceil",
    "nvfp4",
    "nf4",
    "log4/block32",
];

/// Types of weights that no run-time operand has.
const WEIGHTS: [&str; 12] = [
    "int4/block32:bf16",
    "int8/row+offset",
    "int4/block32+offset",
    "colour2",
    "colour3",
    "colour4",
    "nvfp4/16x16",
    "fp8e4m3/8x16",
    "ternary/tensor:squares",
    "fp1mask/tensor",
    "int3/block16:fp16",
    "fp8e5m2/16x16:e8m0",
];

/// Accumulators, the plain one most often.
const ACCUMULATORS: [Accumulator; 10] = [
    Accumulator::Exact,
    Accumulator::Exact,
    Accumulator::Exact,
    Accumulator::Exact,
    Accumulator::F32,
    Accumulator::F32,
    Accumulator::Chunked(32),
    Accumulator::Int24s,
    Accumulator::Fp22,
    Accumulator::Adc { bits: 8, noise_milli: 500, rows: 32 },
];

/// A sound graph of 3 to 8 random layers and inputs for it.
///
/// # Errors
/// Internal if the generator builds something that the ops refuse: a bug.
pub fn graph(seed: u64) -> Result<(Graph, Vec<InputData>)> {
    let mut builder = Builder { rng: ChaCha8Rng::seed_from_u64(seed), graph: Graph::default(), count: 0 };
    builder.graph.name = format!("random-{seed}");
    let tokens = 1 + builder.below(20);
    let (mut x, input) = builder.source(tokens)?;
    for _ in 0..3 + builder.below(6) {
        x = builder.layer(x)?;
    }
    if builder.below(3) == 0 {
        x = builder.node(Op::MeanPool, &[x])?;
        x = builder.node(Op::L2Norm, &[x])?;
    }
    builder.graph.outputs.push(("result".into(), x));
    Ok((builder.graph, vec![input]))
}

struct Builder {
    rng: ChaCha8Rng,
    graph: Graph,
    count: usize,
}

impl Builder {
    /// A whole number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n as u64) as usize
    }

    /// One extent in three is odd-sized around a multiple of 16 or 32, where tiles and lanes end.
    fn extent(&mut self) -> usize {
        const EDGES: [usize; 9] = [1, 15, 16, 17, 31, 32, 33, 64, 65];
        if self.below(3) == 0 { EDGES[self.below(EDGES.len())] } else { 1 + self.below(48) }
    }

    /// Normal values; now and then a whole tensor is tiny or large, has an outlier, or is zero.
    fn values(&mut self, count: usize) -> Vec<f32> {
        let size = [1.0, 1.0, 1.0, 1e-3, 30.0, 0.0][self.below(6)];
        let mut values: Vec<f32> = (0..count).map(|_| size * self.normal()).collect();
        if self.below(4) == 0 {
            let at = self.below(count);
            values[at] *= 50.0;
        }
        values
    }

    fn normal(&mut self) -> f32 {
        StandardNormal.sample(&mut self.rng)
    }

    fn name(&mut self, stem: &str) -> String {
        self.count += 1;
        format!("{stem}{}", self.count)
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let name = self.name(op.name());
        self.graph.add_node(&name, op, inputs)
    }

    fn constant(&mut self, shape: Vec<usize>) -> Result<ValueId> {
        let values = self.values(shape.iter().product());
        let name = self.name("const");
        Ok(self.graph.add_const(&name, Arc::new(Tensor::from_f32(shape, &values)?)))
    }

    fn source(&mut self, tokens: usize) -> Result<(ValueId, InputData)> {
        let width = self.extent();
        if self.below(2) == 0 {
            let dense = Arc::new(Tensor::from_f32(vec![tokens, width], &self.values(tokens * width))?);
            let x = self.graph.add_input("x", vec![tokens, width], dense.ty);
            return Ok((x, InputData::Dense(dense)));
        }
        let rows = 1 + self.below(12);
        let ty = self.weight_type()?;
        let table = self.weight(rows, width, ty)?;
        let ids = self.graph.add_indices("ids", tokens);
        let x = self.node(Op::Embedding, &[table, ids])?;
        Ok((x, InputData::Ids((0..tokens).map(|_| self.below(rows) as u32).collect())))
    }

    /// A type of weights: one of their own, or that of an activation with any scaling that the format takes.
    fn weight_type(&mut self) -> Result<TensorType> {
        if self.below(4) == 0 {
            return TensorType::parse(WEIGHTS[self.below(WEIGHTS.len())]);
        }
        let mut ty = self.activation_type()?;
        if ty.scaling == Scaling::Row {
            ty.scaling = [Scaling::Tensor, Scaling::Row, Scaling::Block(16), Scaling::Block(32)][self.below(4)];
        }
        Ok(ty)
    }

    fn activation_type(&mut self) -> Result<TensorType> {
        TensorType::parse(ACTIVATIONS[self.below(ACTIVATIONS.len())])
    }

    fn weight(&mut self, rows: usize, cols: usize, ty: TensorType) -> Result<ValueId> {
        let values = self.values(rows * cols);
        let tensor = Tensor::quantise(vec![rows, cols], &values, ty)?;
        let name = self.name("weight");
        Ok(self.graph.add_const(&name, Arc::new(tensor)))
    }

    /// `x` in a type: itself, a cast, or codes with scales.
    fn quantised(&mut self, x: ValueId, to: TensorType) -> Result<ValueId> {
        if to.format.name == "fp32" {
            return Ok(x);
        }
        self.node(Op::Quantise { to }, &[x])
    }

    /// A pair of types with a dot product of `k` elements, and its accumulator; the second type is that of a weight or not.
    fn pair(&mut self, k: usize, weight: bool) -> Result<(TensorType, TensorType, Accumulator)> {
        loop {
            let x = self.activation_type()?;
            let w = if weight { self.weight_type()? } else { self.activation_type()? };
            let accumulator = ACCUMULATORS[self.below(ACCUMULATORS.len())];
            if dot_class(x.format, w.format, accumulator).is_ok() && terms(&x, &w, k, accumulator.chunk()).is_ok() {
                return Ok((x, w, accumulator));
            }
        }
    }

    /// A random op on `[T, D]` that gives `[T, anything]`.
    fn layer(&mut self, x: ValueId) -> Result<ValueId> {
        let shape = self.graph.value(x).shape.clone();
        let width = shape[1];
        match self.below(14) {
            0 => self.node(Op::Gelu, &[x]),
            1 => self.node(Op::Relu, &[x]),
            2 => self.node(Op::Relu2, &[x]),
            3 => self.node(Op::Silu, &[x]),
            4 => self.node(Op::Softmax, &[x]),
            5 => self.node(Op::L2Norm, &[x]),
            6 => {
                let factor = self.normal();
                self.node(Op::Scale { factor }, &[x])
            }
            7 => {
                let (gamma, beta) = (self.constant(vec![width])?, self.constant(vec![width])?);
                self.node(Op::LayerNorm { eps: 1e-5 }, &[x, gamma, beta])
            }
            8 => {
                let gamma = self.constant(vec![width])?;
                self.node(Op::RmsNorm { eps: 1e-5 }, &[x, gamma])
            }
            9 => {
                let from = if self.below(2) == 0 { 1 } else { 0 };
                let other = if self.below(3) == 0 { x } else { self.constant(shape[from..].to_vec())? };
                let op = if self.below(2) == 0 { Op::Add } else { Op::Mul };
                self.node(op, &[x, other])
            }
            10 | 11 => self.attention(x),
            _ => {
                let outputs = self.extent();
                self.linear(x, outputs)
            }
        }
    }

    fn linear(&mut self, x: ValueId, outputs: usize) -> Result<ValueId> {
        let inputs = self.graph.value(x).shape[1];
        let (a, b, accumulator) = self.pair(inputs, true)?;
        let x = self.quantised(x, a)?;
        let mut operands = vec![x, self.weight(outputs, inputs, b)?];
        if self.below(2) == 0 {
            operands.push(self.constant(vec![outputs])?);
        }
        let y = self.node(Op::Linear, &operands)?;
        self.accumulate(accumulator);
        Ok(y)
    }

    fn matmul(&mut self, a: ValueId, b: ValueId, group: usize) -> Result<ValueId> {
        let k = self.graph.value(a).shape[2];
        let (type_a, type_b, accumulator) = self.pair(k, false)?;
        let operands = [self.quantised(a, type_a)?, self.quantised(b, type_b)?];
        let y = self.node(Op::MatMul { group }, &operands)?;
        self.accumulate(accumulator);
        Ok(y)
    }

    /// Sets the accumulator of the newest node.
    fn accumulate(&mut self, accumulator: Accumulator) {
        if let Some(node) = self.graph.nodes.last_mut() {
            node.accumulator = accumulator;
        }
    }

    /// Projects to heads `[H, T, D]` (or `[H, D, T]`).
    fn heads(&mut self, x: ValueId, heads: usize, width: usize, perm: [usize; 3]) -> Result<ValueId> {
        let tokens = self.graph.value(x).shape[0];
        let y = self.linear(x, heads * width)?;
        let y = self.node(Op::Reshape { shape: vec![tokens, heads, width] }, &[y])?;
        self.node(Op::Transpose { perm: perm.to_vec() }, &[y])
    }

    /// Self-attention with grouped keys, now and then with rotary positions and a causal mask.
    fn attention(&mut self, x: ValueId) -> Result<ValueId> {
        let tokens = self.graph.value(x).shape[0];
        let (kv, group, width) = (1 + self.below(2), 1 + self.below(3), 2 * (1 + self.below(9)));
        let mut q = self.heads(x, kv * group, width, [1, 0, 2])?;
        let mut k = self.heads(x, kv, width, [1, 0, 2])?;
        let v = self.heads(x, kv, width, [1, 2, 0])?;
        if self.below(2) == 0 {
            let (cos, sin) = (self.constant(vec![tokens, width / 2])?, self.constant(vec![tokens, width / 2])?);
            q = self.node(Op::Rope, &[q, cos, sin])?;
            k = self.node(Op::Rope, &[k, cos, sin])?;
        }
        let mut y = self.matmul(q, k, group)?;
        y = self.node(Op::Scale { factor: 0.25 }, &[y])?;
        if self.below(2) == 0 {
            let visible = |at: usize| at % tokens <= at / tokens;
            let values: Vec<f32> =
                (0..tokens * tokens).map(|at| if visible(at) { 0.0 } else { f32::NEG_INFINITY }).collect();
            let name = self.name("mask");
            let mask = self.graph.add_const(&name, Arc::new(Tensor::from_f32(vec![tokens, tokens], &values)?));
            y = self.node(Op::Mask, &[y, mask])?;
        }
        y = self.node(Op::Softmax, &[y])?;
        y = self.matmul(y, v, group)?;
        y = self.node(Op::Transpose { perm: vec![1, 0, 2] }, &[y])?;
        self.node(Op::Reshape { shape: vec![tokens, kv * group * width] }, &[y])
    }
}
