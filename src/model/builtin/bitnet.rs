//! `builtin:bitnet-tiny`: the architecture of BitNet b1.58 2B4T (Ma et al., arXiv:2504.12285, section 2) made small:
//! RMSNorm before and inside attention and feed-forward, rotary positions over halves, grouped queries, squared relu.
//! Bytes are its tokens.

use super::super::tokenizer::{Limits, Tokenizer};
use super::super::{Input, Kind, Network, Prepared};
use super::Seeded;
use crate::diag::Result;
use crate::graph::{Graph, InputData, Op, ValueId};
use crate::tensor::Tensor;
use std::sync::Arc;

const BLOCKS: usize = 4;
const HIDDEN: usize = 128;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = HIDDEN / HEADS;
const WIDE: usize = 384;
const VOCAB: usize = 256;
const POSITIONS: usize = 512;
const EPS: f32 = 1e-5;
const THETA: f64 = 500_000.0;
/// Sixteen bytes.
const SAMPLE: &str = "a bit at a time.";

/// Linear weights of a block with their outputs and inputs, in the order in which they are drawn.
const MATRICES: [(&str, usize, usize); 7] = [
    ("q", HIDDEN, HIDDEN),
    ("k", KV_HEADS * HEAD, HIDDEN),
    ("v", KV_HEADS * HEAD, HIDDEN),
    ("o", HIDDEN, HIDDEN),
    ("gate", WIDE, HIDDEN),
    ("up", WIDE, HIDDEN),
    ("down", HIDDEN, WIDE),
];
/// Norm weights of a block with their width, drawn after the matrices.
const NORMS: [(&str, usize); 4] =
    [("input_norm", HIDDEN), ("attn_sub_norm", HIDDEN), ("post_norm", HIDDEN), ("ffn_sub_norm", WIDE)];

struct Bitnet {
    embed: Arc<Tensor>,
    /// Of each block: matrices, then norms.
    blocks: Vec<Vec<(&'static str, Arc<Tensor>)>>,
    final_norm: Arc<Tensor>,
    head: Arc<Tensor>,
}

pub(super) fn build() -> Result<Arc<dyn Network>> {
    let mut seeded = Seeded::new(3);
    let embed = seeded.tensor(&[VOCAB, HIDDEN], 0.0, 1.0)?;
    let mut blocks = Vec::new();
    for _ in 0..BLOCKS {
        let mut block = Vec::new();
        for (name, outputs, inputs) in MATRICES {
            block.push((name, seeded.matrix(outputs, inputs)?));
        }
        for (name, width) in NORMS {
            block.push((name, seeded.tensor(&[width], 1.0, 0.1)?));
        }
        blocks.push(block);
    }
    let final_norm = seeded.tensor(&[HIDDEN], 1.0, 0.1)?;
    Ok(Arc::new(Bitnet { embed, blocks, final_norm, head: seeded.matrix(VOCAB, HIDDEN)? }))
}

/// Constants that all blocks of one graph share.
struct Shared {
    cos: ValueId,
    sin: ValueId,
    mask: ValueId,
    tokens: usize,
}

/// Adds the nodes of one block; names are relative to it.
struct BlockBuilder<'a> {
    graph: &'a mut Graph,
    index: usize,
    weights: &'a [(&'static str, Arc<Tensor>)],
}

impl BlockBuilder<'_> {
    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        self.graph.add_node(&format!("blocks.{}.{name}", self.index), op, inputs)
    }

    /// `op(x, weight)` with the weight of the same name.
    fn weighted(&mut self, name: &str, op: Op, x: ValueId) -> Result<ValueId> {
        let missing = || crate::diag::Error::internal(format!("no weight `{name}`"));
        let (_, tensor) = self.weights.iter().find(|(known, _)| *known == name).ok_or_else(missing)?;
        let weight = self.graph.add_const(&format!("blocks.{}.{name}.weight", self.index), tensor.clone());
        self.node(name, op, &[x, weight])
    }

    fn norm(&mut self, name: &str, x: ValueId) -> Result<ValueId> {
        self.weighted(name, Op::RmsNorm { eps: EPS }, x)
    }

    /// Projects and splits into heads: axes of `[T, heads, width]` permuted by `perm`.
    fn heads(&mut self, name: &str, x: ValueId, heads: usize, perm: [usize; 3]) -> Result<ValueId> {
        let tokens = self.graph.value(x).shape[0];
        let y = self.weighted(name, Op::Linear, x)?;
        let y = self.node(&format!("{name}.split"), Op::Reshape { shape: vec![tokens, heads, HEAD] }, &[y])?;
        self.node(&format!("{name}.heads"), Op::Transpose { perm: perm.to_vec() }, &[y])
    }

    fn attention(&mut self, x: ValueId, shared: &Shared) -> Result<ValueId> {
        let normed = self.norm("input_norm", x)?;
        let q = self.heads("q", normed, HEADS, [1, 0, 2])?;
        let k = self.heads("k", normed, KV_HEADS, [1, 0, 2])?;
        let v = self.heads("v", normed, KV_HEADS, [1, 2, 0])?;
        let q = self.node("q.rope", Op::Rope, &[q, shared.cos, shared.sin])?;
        let k = self.node("k.rope", Op::Rope, &[k, shared.cos, shared.sin])?;
        let group = HEADS / KV_HEADS;
        let factor = (1.0 / (HEAD as f64).sqrt()) as f32;
        let y = self.node("scores", Op::MatMul { group }, &[q, k])?;
        let y = self.node("scaled", Op::Scale { factor }, &[y])?;
        let y = self.node("masked", Op::Mask, &[y, shared.mask])?;
        let y = self.node("probs", Op::Softmax, &[y])?;
        let y = self.node("context", Op::MatMul { group }, &[y, v])?;
        let y = self.node("context.tokens", Op::Transpose { perm: vec![1, 0, 2] }, &[y])?;
        let y = self.node("context.rows", Op::Reshape { shape: vec![shared.tokens, HIDDEN] }, &[y])?;
        let y = self.norm("attn_sub_norm", y)?;
        let y = self.weighted("o", Op::Linear, y)?;
        self.node("attn_add", Op::Add, &[y, x])
    }

    fn feed_forward(&mut self, x: ValueId) -> Result<ValueId> {
        let normed = self.norm("post_norm", x)?;
        let gate = self.weighted("gate", Op::Linear, normed)?;
        let up = self.weighted("up", Op::Linear, normed)?;
        let gate = self.node("gate.relu2", Op::Relu2, &[gate])?;
        let y = self.node("product", Op::Mul, &[gate, up])?;
        let y = self.norm("ffn_sub_norm", y)?;
        let y = self.weighted("down", Op::Linear, y)?;
        self.node("ffn_add", Op::Add, &[y, x])
    }
}

impl Network for Bitnet {
    fn kind(&self) -> Kind {
        Kind::Decoder
    }

    fn prepare(&self, input: &Input) -> Result<Prepared> {
        let limits = Limits { vocab: VOCAB, positions: POSITIONS };
        let tokens = Tokenizer::Bytes.tokens(input, SAMPLE, &limits)?;
        let count = tokens.ids.len();
        let mut graph = Graph::default();
        let ids = graph.add_indices("input_ids", count);
        let table = graph.add_const("embed.weight", self.embed.clone());
        let (cos, sin) = rope_tables(count)?;
        let shared = Shared {
            cos: graph.add_const("rope.cos", cos),
            sin: graph.add_const("rope.sin", sin),
            mask: graph.add_const("causal_mask", causal_mask(count)?),
            tokens: count,
        };
        let mut x = graph.add_node("embed", Op::Embedding, &[table, ids])?;
        for (index, weights) in self.blocks.iter().enumerate() {
            let mut block = BlockBuilder { graph: &mut graph, index, weights };
            x = block.attention(x, &shared)?;
            x = block.feed_forward(x)?;
        }
        let norm = graph.add_const("final_norm.weight", self.final_norm.clone());
        let head = graph.add_const("head.weight", self.head.clone());
        let x = graph.add_node("final_norm", Op::RmsNorm { eps: EPS }, &[x, norm])?;
        let logits = graph.add_node("head", Op::Linear, &[x, head])?;
        graph.outputs.push(("logits".into(), logits));
        Ok(Prepared { graph, inputs: vec![InputData::Ids(tokens.ids)], tokens: count, padding: 0, text: tokens.text })
    }
}

/// Cosines and sines `[T, HEAD/2]` of position times frequency `theta^(-2i/d)`, each step rounded to f32
/// (docs/numerics.md, rotary embedding).
fn rope_tables(tokens: usize) -> Result<(Arc<Tensor>, Arc<Tensor>)> {
    let half = HEAD / 2;
    let angle = |position: usize, i: usize| {
        let frequency = THETA.powf(-2.0 * i as f64 / HEAD as f64) as f32;
        f64::from(position as f32 * frequency)
    };
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f32> = (0..tokens * half).map(|at| f(angle(at / half, at % half)) as f32).collect();
        Tensor::from_f32(vec![tokens, half], &values).map(Arc::new)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

/// 0 where key <= query, -inf where the key lies in the future: `[T, T]`.
fn causal_mask(tokens: usize) -> Result<Arc<Tensor>> {
    let visible = |at: usize| at % tokens <= at / tokens;
    let values: Vec<f32> = (0..tokens * tokens).map(|at| if visible(at) { 0.0 } else { f32::NEG_INFINITY }).collect();
    Tensor::from_f32(vec![tokens, tokens], &values).map(Arc::new)
}
