//! Kernels that work row by row: norms, softmax, element-wise ops, quantisers. Rows are double buffered in blocks.

use super::{Call, Context, Lowered};
use crate::compile::Placement;
use crate::compile::place::Workspace;
use crate::diag::{Error, Result};
use crate::graph::{Node, Op};
use crate::num::block::ScaleExponent;
use crate::num::format::ScaleRule;
use crate::tensor::{Scaling, TensorType, rows_cols};

/// Longest row whose sum is one L16 reduction (docs/numerics.md).
const LONGEST_REDUCED_ROW: usize = 4096;

/// Registers of a block of rows.
const BLOCK_REGISTERS: u64 = 32;

/// The frame that `rows.inc` asks of every such kernel.
struct Frame {
    rows: usize,
    cols: usize,
    rb: u64,
    workspace: Workspace,
    params: Vec<(&'static str, u64)>,
}

/// Bytes a kernel needs beside the frame's four buffers.
#[derive(Default)]
struct Extra {
    /// Whatever the number of rows in a block.
    fixed: u64,
    /// For each row of a block.
    per_row: u64,
    /// A second operand is walked row by row too: its blocks are asked for behind those of the first.
    second: bool,
}

impl Frame {
    /// Sizes the blocks and places the buffers. `x` and `y` are walked in step, `rows` rows each.
    fn new(context: &Context<'_>, x: &Placement, y: &Placement, extra: Extra) -> Result<Self> {
        let (rows, cols) = rows_cols(&y.shape);
        let (x_row, y_row) = (x.ty.row_bytes(cols) as u64, y.ty.row_bytes(cols) as u64);
        let mut workspace = context.workspace();
        // Alignment may add up to 64 bytes to each of at most 8 ranges.
        let room = workspace.left().saturating_sub(extra.fixed + 8 * super::super::place::ALIGN);
        let fits = room / (2 * x_row + 2 * y_row + extra.per_row);
        // A quarter of the rows a block leaves transfers something to overlap with. Work on so many registers takes longer than
        // the way of a transfer, and of larger blocks only the first and the last transfer are longer, which nothing hides. A
        // second operand is asked for when its block begins, so its way shows in every block.
        let registers = y_row.max(x_row).div_ceil(u64::from(context.machine.vlen_bits / 8).max(1)).max(1);
        let enough = if extra.second { u64::MAX } else { BLOCK_REGISTERS / registers };
        let rb = fits.min(rows.div_ceil(4) as u64).min(enough).max(1);
        let mut params =
            vec![("rows", rows as u64), ("rb", rb), ("x", x.addr), ("x_row", x_row), ("y", y.addr), ("y_row", y_row)];
        for (name, bytes) in [("bi0", rb * x_row), ("bi1", rb * x_row), ("bo0", rb * y_row), ("bo1", rb * y_row)] {
            params.push((name, workspace.take(bytes, &format!("buffer `{name}` for {rb} row(s) of {cols} elements"))?));
        }
        Ok(Frame { rows, cols, rb, workspace, params })
    }

    fn push(&mut self, name: &'static str, value: u64) {
        self.params.push((name, value));
    }

    fn buffer(&mut self, name: &'static str, bytes: u64) -> Result<()> {
        let at = self.workspace.take(bytes, &format!("buffer `{name}`"))?;
        self.push(name, at);
        Ok(())
    }

    /// One call of `kernel`.
    fn finish(self, kernel: &'static str) -> Lowered {
        let call = Call { kernel, formats: vec![], consts: vec![], params: self.params };
        Lowered {
            calls: vec![call],
            workspace_bytes: self.workspace.used(),
            macs_dense: 0,
            loops: vec![
                format!("for block of {} row(s) in {} rows (double buffered)", self.rb, self.rows),
                format!("  for row in block: {} elements", self.cols),
            ],
        }
    }
}

fn bits(x: f32) -> u64 {
    u64::from(x.to_bits())
}

/// The number of elements as f32; exact, since longer rows are refused.
fn count(n: usize) -> Result<f32> {
    if n > LONGEST_REDUCED_ROW {
        return Err(Error::unsupported(format!(
            "a reduction over {n} elements is longer than the {LONGEST_REDUCED_ROW} served"
        ))
        .code("E0402"));
    }
    Ok(n as f32)
}

/// `Add`, `Mul`, `Mask`: the second operand is as large as the first, one row, or repeats over leading axes.
pub fn binary(context: &Context<'_>, node: &Node) -> Result<Lowered> {
    let (a, b, y) = (context.place(node.inputs[0])?, context.place(node.inputs[1])?, context.place(node.output)?);
    let (rows, cols) = rows_cols(&a.shape);
    let (b_rows, _) = rows_cols(&b.shape);
    let row = 4 * cols as u64;
    let kind = u64::from(node.op == Op::Mul);
    // A broadcast of several rows is one call a repetition; of one row, one call that keeps the row.
    let repeats = if b_rows == 1 { 1 } else { rows / b_rows };
    let part = rows / repeats;
    let shape = vec![part, cols];
    let mut lowered: Option<Lowered> = None;
    for repeat in 0..repeats {
        let offset = (repeat * part) as u64 * row;
        let x_part = Placement { addr: a.addr + offset, shape: shape.clone(), ..a.clone() };
        let y_part = Placement { addr: y.addr + offset, shape: shape.clone(), ..y.clone() };
        let streamed = b_rows > 1 || part == 1;
        let extra = if streamed {
            Extra { per_row: 2 * row, second: true, ..Extra::default() }
        } else {
            Extra { fixed: row, ..Extra::default() }
        };
        let mut frame = Frame::new(context, &x_part, &y_part, extra)?;
        let held = if streamed { frame.rb * row } else { row };
        frame.push("n", cols as u64);
        frame.push("kind", kind);
        frame.push("b", b.addr);
        frame.push("b_step", u64::from(streamed));
        frame.buffer("bb0", held)?;
        if streamed {
            frame.buffer("bb1", held)?;
        } else {
            frame.push("bb1", 0);
        }
        let one = frame.finish("binary");
        match &mut lowered {
            None => lowered = Some(one),
            Some(all) => all.calls.extend(one.calls),
        }
    }
    lowered.ok_or_else(|| Error::internal("a broadcast of nothing"))
}

/// Activations and scaling by a constant.
pub fn unary(context: &Context<'_>, node: &Node) -> Result<Lowered> {
    let (kind, factor) = match node.op {
        Op::Relu => (1, 0.0),
        Op::Relu2 => (2, 0.0),
        Op::Gelu => (3, 0.0),
        Op::Silu => (4, 0.0),
        Op::Scale { factor } => (5, factor),
        _ => return Err(Error::internal(format!("{:?} is not unary", node.op))),
    };
    let mut frame = frame_of(context, node, Extra::default())?;
    frame.push("kind", kind);
    frame.push("factor", bits(factor));
    Ok(frame.finish("unary"))
}

/// A frame over a node's first input and its output, with `n`.
fn frame_of(context: &Context<'_>, node: &Node, extra: Extra) -> Result<Frame> {
    let (x, y) = (context.place(node.inputs[0])?, context.place(node.output)?);
    let mut frame = Frame::new(context, &x, &y, extra)?;
    frame.push("n", frame.cols as u64);
    Ok(frame)
}

/// Layer normalisation.
pub fn layernorm(context: &Context<'_>, node: &Node, eps: f32) -> Result<Lowered> {
    let row = 4 * *context.graph.value(node.output).shape.last().unwrap_or(&1) as u64;
    let mut frame = frame_of(context, node, Extra { fixed: 2 * row, ..Extra::default() })?;
    let (gamma, beta) = (context.place(node.inputs[1])?, context.place(node.inputs[2])?);
    let n = count(frame.cols)?;
    frame.push("gamma", gamma.addr);
    frame.push("beta", beta.addr);
    frame.buffer("bgamma", row)?;
    frame.buffer("bbeta", row)?;
    frame.push("nf", bits(n));
    frame.push("eps", bits(eps));
    Ok(frame.finish("layernorm"))
}

/// Root-mean-square normalisation.
pub fn rmsnorm(context: &Context<'_>, node: &Node, eps: f32) -> Result<Lowered> {
    let row = 4 * *context.graph.value(node.output).shape.last().unwrap_or(&1) as u64;
    let mut frame = frame_of(context, node, Extra { fixed: row, ..Extra::default() })?;
    let n = count(frame.cols)?;
    frame.push("weight", context.place(node.inputs[1])?.addr);
    frame.buffer("bweight", row)?;
    frame.push("nf", bits(n));
    frame.push("eps", bits(eps));
    Ok(frame.finish("rmsnorm"))
}

/// Division by the Euclidean norm.
pub fn l2norm(context: &Context<'_>, node: &Node) -> Result<Lowered> {
    let mut frame = frame_of(context, node, Extra::default())?;
    count(frame.cols)?;
    frame.push("tiny", bits(1e-12));
    Ok(frame.finish("l2norm"))
}

/// Softmax over rows.
pub fn softmax(context: &Context<'_>, node: &Node) -> Result<Lowered> {
    let mut frame = frame_of(context, node, Extra::default())?;
    count(frame.cols)?;
    frame.push("lowest", bits(f32::MIN));
    frame.push("one", bits(1.0));
    Ok(frame.finish("softmax"))
}

/// Rotary embedding: one call a head, since the tables repeat from head to head.
pub fn rope(context: &Context<'_>, node: &Node) -> Result<Lowered> {
    let (x, y) = (context.place(node.inputs[0])?, context.place(node.output)?);
    let (cos, sin) = (context.place(node.inputs[1])?, context.place(node.inputs[2])?);
    let &[heads, tokens, width] = x.shape.as_slice() else {
        return Err(Error::internal(format!("rope over shape {:?}", x.shape)));
    };
    let table_bytes = (tokens * width / 2 * 4) as u64;
    let mut lowered: Option<Lowered> = None;
    context.room_for(heads)?;
    for head in 0..heads {
        let offset = (head * tokens * width * 4) as u64;
        let shape = vec![tokens, width];
        let x_head = Placement { addr: x.addr + offset, shape: shape.clone(), ..x.clone() };
        let y_head = Placement { addr: y.addr + offset, shape, ..y.clone() };
        let mut frame = Frame::new(context, &x_head, &y_head, Extra { fixed: 2 * table_bytes, ..Extra::default() })?;
        frame.push("half", (width / 2) as u64);
        frame.push("cos", cos.addr);
        frame.push("sin", sin.addr);
        frame.buffer("bcos", table_bytes)?;
        frame.buffer("bsin", table_bytes)?;
        let one = frame.finish("rope");
        match &mut lowered {
            None => lowered = Some(one),
            Some(all) => all.calls.extend(one.calls),
        }
    }
    lowered.ok_or_else(|| Error::internal("rope over no heads"))
}

/// Dynamic quantisation, or a cast for formats without a scale.
pub fn quantise(context: &Context<'_>, node: &Node, to: &TensorType) -> Result<Lowered> {
    whole_bytes(context, rows_cols(&context.place(node.output)?.shape).1 as u64, to)?;
    match (to.format.rule, to.scaling) {
        (_, Scaling::None) => {
            let frame = frame_of(context, node, Extra::default())?;
            let mut lowered = frame.finish("cast");
            lowered.calls[0].formats.push(("Y", to.format));
            Ok(lowered)
        }
        (_, Scaling::Row) if to.scale.format.name != "fp32" => {
            Err(Error::unsupported(format!("activations in {to} have no kernel: scales of rows are fp32"))
                .code("E0403"))
        }
        (rule, Scaling::Row) => {
            let y = context.place(node.output)?;
            let (rows, _) = rows_cols(&y.shape);
            let mut frame = frame_of(context, node, Extra { fixed: 4 * rows as u64, ..Extra::default() })?;
            let rule = match rule {
                ScaleRule::Absmean => {
                    count(frame.cols)?;
                    1
                }
                _ => 0,
            };
            frame.push("ys", y.scale_addr);
            frame.buffer("bs", 4 * rows as u64)?;
            let mut lowered = frame.finish("quantise");
            lowered.calls[0].formats.push(("Y", to.format));
            lowered.calls[0].consts.push(("RULE", rule));
            Ok(lowered)
        }
        (_, Scaling::Block(_)) => quantise_blocks(context, node, to),
        _ => Err(Error::unsupported(format!("activations in {to} have no kernel"))
            .code("E0403")
            .help("activations have one scale a row or a block")),
    }
}

/// Refuses rows whose codes a register of fp32 values at a time would not fill whole bytes: stores begin on a byte.
fn whole_bytes(context: &Context<'_>, cols: u64, to: &TensorType) -> Result<()> {
    let (at_once, bits) = (u64::from(context.machine.vlen_bits / 32), u64::from(to.format.bits));
    if cols <= at_once || (at_once * bits).is_multiple_of(8) {
        return Ok(());
    }
    let text = format!(
        "activations in {to} have no kernel at VLEN {}: it stores {at_once} codes of {bits} bits at a time",
        32 * at_once
    );
    let enough = 32 * (1..8).map(|n| 1u64 << n).find(|n| (n * bits).is_multiple_of(8)).unwrap_or(8);
    Err(Error::unsupported(text).code("E0403").help(format!("use wider activations, or a machine with VLEN {enough}")))
}

/// Most scales that one chunk of a row measures.
const CHUNK_SCALES: u64 = 16;

/// Dynamic quantisation with scales that change along the row.
fn quantise_blocks(context: &Context<'_>, node: &Node, to: &TensorType) -> Result<Lowered> {
    let refuse =
        |why: &str| Err(Error::unsupported(format!("activations in {to} have no kernel: {why}")).code("E0403"));
    let rule = match (to.format.rule, to.scale.exponent) {
        _ if to.scale.global => 6,
        (_, exponent) if to.scale.is_power() => match exponent {
            ScaleExponent::Floor => 2,
            ScaleExponent::Ceil => 3,
            ScaleExponent::RoundedCeil => 4,
            ScaleExponent::Even => 5,
        },
        _ if to.scale.format.name != "fp32" => return refuse("their scales are fp32, e8m0 or two-level"),
        (ScaleRule::Absmean, _) => 1,
        _ => 0,
    };
    let Scaling::Block(block) = to.scaling else { return refuse("their scales belong to blocks") };
    if !block.is_multiple_of(8) || block > 2040 {
        return refuse("blocks are multiples of 8 up to 2040");
    }
    let y = context.place(node.output)?;
    let (_, cols) = rows_cols(&y.shape);
    let ys_row = (to.scales_per_row(cols) * to.scale.format.bits as usize / 8) as u64;
    let mut frame = frame_of(context, node, Extra { fixed: 64, per_row: ys_row, second: false })?;
    let entries = u64::from(context.machine.scale_entries()).min(u64::from(context.machine.acc_cols.max(16)));
    let scales = (entries / if rule == 1 { 16 } else { 1 }).clamp(1, CHUNK_SCALES);
    frame.push("ys", y.scale_addr);
    frame.push("ys_row", ys_row);
    frame.push("ys_global", y.global_addr);
    frame.push("cb", scales * u64::from(block));
    let bytes = (frame.rb * ys_row).max(4);
    frame.buffer("bs", bytes)?;
    let mut lowered = frame.finish("quantise-block");
    lowered.calls[0].formats.extend([("Y", to.format), ("SY", to.scale.format)]);
    lowered.calls[0].consts.extend([("RULE", rule), ("BLOCK", i64::from(block))]);
    Ok(lowered)
}
