//! A layer of a workload without weights to a program of its own.
//!
//! Products, attention and passes become small graphs whose constants are hollow ([`Tensor::hollow`]) and take the way of
//! every other graph; convolutions and pools become calls of their kernels (`conv`). Inputs lie in DRAM and results go
//! there, or both on the chip ([`super::Layout::resident`]); scores of attention stay on chip where they fit. Nothing here
//! takes memory with the size of a layer.

mod conv;
mod estimate;
mod strips;
mod whole;

pub use estimate::estimate;

use super::link::Bodies;
use super::{Compiled, Options, compile_with};
use crate::diag::{Error, Result};
use crate::graph::{Graph, Op, ValueId};
use crate::isa::Object;
use crate::machine::Machine;
use crate::num::{Accumulator, format};
use crate::tensor::{Scaling, Tensor, TensorType};
use crate::workload::{Act, Attention, Epilogue, Gemm, Kind, Pass};
use std::sync::Arc;

/// Formats of a layer, decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Formats {
    /// Weights, or the table of an embedding.
    pub weights: TensorType,
    /// Inputs.
    pub inputs: TensorType,
    /// Results. Scales of a row or tensor are known beforehand, so results are plain codes; scales of blocks are measured
    /// by a pass behind the product.
    pub outputs: TensorType,
    /// Queries and probabilities.
    pub attention: TensorType,
    /// Keys and values.
    pub kv: TensorType,
    /// Accumulator of products.
    pub accumulator: Accumulator,
}

/// The program of a layer.
#[derive(Debug, Clone)]
pub struct Program {
    /// Code and parameter blocks.
    pub object: Arc<Object>,
    /// Kernels of its steps, in order, each once.
    pub kernels: Vec<String>,
    /// Steps of the program: nodes of its ledger.
    pub steps: usize,
    /// Bytes of DRAM that it reaches up to.
    pub dram_end: u64,
    /// Where its result lies.
    pub output: u64,
    /// Most bytes of SRAM in use.
    pub sram_bytes: u64,
    /// Row numbers of an embedding: address in control memory, count, rows of the table.
    pub indices: Option<(u64, u64, u64)>,
    /// Terms of a panel of the weights of a convolution, which lie as they are fetched: panel > output channel > term.
    pub panel: Option<u64>,
}

/// The program of one layer.
///
/// # Errors
/// Unsupported where no kernel serves the formats or a tile does not fit, as for graphs.
pub fn compile(
    kind: &Kind,
    formats: &Formats,
    machine: &Machine,
    options: &Options,
    bodies: &mut Bodies,
) -> Result<Program> {
    let graph = match kind {
        Kind::Conv(conv) => return conv::conv(conv, formats, machine, options, bodies),
        Kind::Pool(pool) => return conv::pool(pool, formats, machine, options, bodies),
        Kind::Gemm(gemm) => product(gemm, formats)?,
        Kind::Attention(attention) => self::attention(attention, formats)?,
        Kind::Pass { pass, rows, cols } => self::pass(*pass, size(*rows)?, size(*cols)?, formats)?,
        Kind::Embedding { rows, cols, tokens } => embedding(size(*rows)?, size(*cols)?, size(*tokens)?, formats)?,
    };
    let mut options = options.clone();
    options.layout.results_in_dram = !options.layout.resident;
    let compiled = compile_with(&graph, machine, &options, bodies)?;
    Ok(program(&graph, compiled, kind))
}

fn program(graph: &Graph, compiled: Compiled, kind: &Kind) -> Program {
    let indices = match kind {
        Kind::Embedding { rows, tokens, .. } => {
            let is_indices = |value: ValueId| matches!(graph.value(value).def, crate::graph::Def::Indices);
            compiled.inputs.iter().find(|place| is_indices(place.value)).map(|place| (place.addr, *tokens, *rows))
        }
        _ => None,
    };
    let mut kernels: Vec<String> = Vec::new();
    for step in &compiled.steps {
        if !kernels.contains(&step.kernel) {
            kernels.push(step.kernel.clone());
        }
    }
    Program {
        output: compiled.steps.last().map_or(0, |step| step.output.addr),
        object: Arc::new(compiled.object),
        kernels,
        steps: compiled.steps.len(),
        dram_end: compiled.dram_bytes,
        sram_bytes: compiled.peak_sram_bytes,
        indices,
        panel: None,
    }
}

pub(super) fn size(extent: u64) -> Result<usize> {
    usize::try_from(extent).map_err(|_| Error::unsupported(format!("an extent of {extent} is not served here")))
}

fn fp32() -> TensorType {
    TensorType::plain(format::find("fp32").expect("fp32 is a built-in format"))
}

/// Plain codes of a type, as results are written; blocks are left to a pass.
pub(super) fn codes(ty: &TensorType) -> Option<TensorType> {
    match ty.scaling {
        Scaling::Block(_) | Scaling::Tile(..) => None,
        _ => Some(TensorType::plain(ty.format)),
    }
}

fn act(act: Act) -> Op {
    match act {
        Act::Relu => Op::Relu,
        Act::Relu2 => Op::Relu2,
        Act::Gelu => Op::Gelu,
        Act::Silu => Op::Silu,
    }
}

/// Ends a graph in `value`, written as `formats` say; `residual` lies as the result does.
fn finish(graph: &mut Graph, value: ValueId, residual: Option<ValueId>, ty: &TensorType) -> Result<()> {
    let mut last = value;
    match codes(ty) {
        Some(plain) => {
            for id in residual.into_iter().chain([value]) {
                graph.values[id.0 as usize].ty = plain;
            }
        }
        None => last = graph.add_node("quantise", Op::Quantise { to: *ty }, &[value])?,
    }
    graph.outputs.push(("result".into(), last));
    Ok(())
}

fn product(gemm: &Gemm, formats: &Formats) -> Result<Graph> {
    let (m, n, k) = (size(gemm.m)?, size(gemm.n)?, size(gemm.k)?);
    let mut graph = Graph::default();
    let x = graph.add_input("x", vec![m, k], formats.inputs);
    let w = graph.add_const("w", Arc::new(Tensor::hollow(vec![n, k], formats.weights)));
    let mut operands = vec![x, w];
    let Epilogue { bias, act: activation, residual } = gemm.then;
    if bias {
        operands.push(graph.add_const("bias", Arc::new(Tensor::hollow(vec![n], fp32()))));
    }
    let mut y = graph.add_node("product", Op::Linear, &operands)?;
    graph.nodes[0].accumulator = formats.accumulator;
    if let Some(activation) = activation {
        y = graph.add_node("act", act(activation), &[y])?;
    }
    let mut other = None;
    if residual {
        let value = graph.add_input("residual", vec![m, n], fp32());
        y = graph.add_node("add", Op::Add, &[y, value])?;
        other = Some(value);
    }
    finish(&mut graph, y, other, &formats.outputs)?;
    Ok(graph)
}

/// Heads that share keys are rows of one product; values lie transposed, so that keys are their depth.
fn attention(shape: &Attention, formats: &Formats) -> Result<Graph> {
    let heads = size(shape.batch * shape.kv_heads)?;
    let rows = size(shape.queries * (shape.heads / shape.kv_heads))?;
    let (keys, width) = (size(shape.keys)?, size(shape.width)?);
    let mut graph = Graph::default();
    let q = graph.add_input("q", vec![heads, rows, width], formats.attention);
    let k = graph.add_input("k", vec![heads, keys, width], formats.kv);
    let v = graph.add_input("v", vec![heads, width, keys], formats.kv);
    let scores = graph.add_node("scores", Op::MatMul { group: 1 }, &[q, k])?;
    let mut p = graph.add_node("softmax", Op::Softmax, &[scores])?;
    if formats.attention.format.name != "fp32" {
        p = graph.add_node("probabilities", Op::Quantise { to: formats.attention }, &[p])?;
    }
    let y = graph.add_node("values", Op::MatMul { group: 1 }, &[p, v])?;
    graph.nodes.iter_mut().for_each(|node| node.accumulator = formats.accumulator);
    finish(&mut graph, y, None, &formats.outputs)?;
    Ok(graph)
}

fn pass(pass: Pass, rows: usize, cols: usize, formats: &Formats) -> Result<Graph> {
    let mut graph = Graph::default();
    let shape = if pass == Pass::Rope { vec![1, rows, cols] } else { vec![rows, cols] };
    let x = graph.add_input("x", shape.clone(), fp32());
    let weight = |graph: &mut Graph, name: &str| graph.add_const(name, Arc::new(Tensor::hollow(vec![cols], fp32())));
    let y = match pass {
        Pass::Add | Pass::Mul => {
            let other = graph.add_input("other", shape, fp32());
            graph.add_node("pass", if pass == Pass::Add { Op::Add } else { Op::Mul }, &[x, other])?
        }
        Pass::Act(activation) => graph.add_node("pass", act(activation), &[x])?,
        Pass::LayerNorm => {
            let operands = [x, weight(&mut graph, "gamma"), weight(&mut graph, "beta")];
            graph.add_node("pass", Op::LayerNorm { eps: 1e-12 }, &operands)?
        }
        Pass::RmsNorm => {
            let operands = [x, weight(&mut graph, "weight")];
            graph.add_node("pass", Op::RmsNorm { eps: 1e-5 }, &operands)?
        }
        Pass::Softmax => graph.add_node("pass", Op::Softmax, &[x])?,
        Pass::Rope => {
            let table = || Arc::new(Tensor::hollow(vec![rows, cols / 2], fp32()));
            let operands = [x, graph.add_const("cos", table()), graph.add_const("sin", table())];
            graph.add_node("pass", Op::Rope, &operands)?
        }
        Pass::Quantise => graph.add_node("pass", Op::Quantise { to: formats.inputs }, &[x])?,
    };
    graph.outputs.push(("result".into(), y));
    Ok(graph)
}

fn embedding(rows: usize, cols: usize, tokens: usize, formats: &Formats) -> Result<Graph> {
    let mut graph = Graph::default();
    let table = graph.add_const("table", Arc::new(Tensor::hollow(vec![rows, cols], formats.weights)));
    let ids = graph.add_indices("ids", tokens);
    let y = graph.add_node("embedding", Op::Embedding, &[table, ids])?;
    graph.outputs.push(("result".into(), y));
    Ok(graph)
}
