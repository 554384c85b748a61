//! Matrix products: `Linear` with its fused epilogue, and `MatMul` as one product a head.

use super::{Call, Context, Lowered};
use crate::compile::Placement;
use crate::compile::fuse::Group;
use crate::compile::place::Workspace;
use crate::compile::tile::{Path, Product, Tiling, choose};
use crate::diag::{Error, Result};
use crate::graph::{Node, NodeId, Op, ValueId};
use crate::num::{DotClass, dot_class};
use crate::tensor::{Scaling, rows_cols};

/// Epilogue of a product, as addresses; 0 = absent.
#[derive(Default)]
struct Epilogue {
    bias: u64,
    activation: u64,
    residual: u64,
}

/// One product: operands, where the result goes, and how weights are scaled.
struct Operands {
    x: Placement,
    w: Placement,
    y: Placement,
    /// `sw_mode` and `sw` of the kernels.
    weight_scale: (u64, u64),
}

/// `Linear` and what was fused behind it.
pub fn linear(context: &Context<'_>, group: &Group) -> Result<Lowered> {
    let graph = context.graph;
    let node = graph.node(group.head);
    let (x, w) = (context.place(node.inputs[0])?, context.place(node.inputs[1])?);
    let y = context.place(graph.node(group.last()).output)?;
    let mut epilogue =
        Epilogue { activation: group.activation.map_or(0, |id| activation_code(context, id)), ..Epilogue::default() };
    if let Some(bias) = node.inputs.get(2) {
        epilogue.bias = context.place(*bias)?.addr;
    }
    if let Some((_, value)) = group.residual {
        epilogue.residual = context.place(value)?.addr;
    }
    let weight_scale = weight_scale(context, node.inputs[1], &w);
    let operands = Operands { x, w, y, weight_scale };
    let (product, tiling) = plan(context, node, &operands, epilogue.residual != 0)?;
    let mut lowered = lowered(&product, &tiling, 1);
    let call = call(context, node, &operands, &epilogue, &product, &tiling)?;
    lowered.calls.push(call);
    Ok(lowered)
}

fn activation_code(context: &Context<'_>, node: NodeId) -> u64 {
    match context.graph.node(node).op {
        Op::Relu => 1,
        Op::Relu2 => 2,
        Op::Gelu => 3,
        _ => 4,
    }
}

/// `sw_mode` and `sw`: a scale for all (its bits), an array a row, or an array [block][row].
fn weight_scale(context: &Context<'_>, value: ValueId, w: &Placement) -> (u64, u64) {
    let all = |scale: f32| (0, u64::from(scale.to_bits()));
    match w.ty.scaling {
        Scaling::None => all(1.0),
        Scaling::Tensor => all(context.graph.constant(value).map_or(1.0, |tensor| tensor.scales[0])),
        Scaling::Row => (1, w.scale_addr),
        Scaling::Block(_) | Scaling::Tile(..) => (2, w.scale_addr),
    }
}

/// Batched product: every head is a product of its own with addresses moved along.
pub fn matmul(context: &Context<'_>, node: &Node, shared: usize) -> Result<Lowered> {
    let (a, b, y) = (context.place(node.inputs[0])?, context.place(node.inputs[1])?, context.place(node.output)?);
    let (&[heads, m, k], &[_, n, _]) = (a.shape.as_slice(), b.shape.as_slice()) else {
        return Err(Error::internal(format!("matmul of shapes {:?} and {:?}", a.shape, b.shape)));
    };
    let head_operands = |head: usize| {
        let other = head / shared;
        let x = slice(&a, head * m, vec![m, k]);
        let w = slice(&b, other * n, vec![n, k]);
        let y = slice(&y, head * m, vec![m, n]);
        let weight_scale = match w.ty.scaling {
            Scaling::Row => (1, w.scale_addr),
            _ => (0, u64::from(1.0f32.to_bits())),
        };
        Operands { x, w, y, weight_scale }
    };
    let (product, tiling) = plan(context, node, &head_operands(0), false)?;
    let mut lowered = lowered(&product, &tiling, heads as u64);
    for head in 0..heads {
        lowered.calls.push(call(context, node, &head_operands(head), &Epilogue::default(), &product, &tiling)?);
    }
    Ok(lowered)
}

/// Rows `from..` of a placed value, as a value of `shape`.
fn slice(whole: &Placement, from: usize, shape: Vec<usize>) -> Placement {
    let (_, cols) = rows_cols(&whole.shape);
    let scale_addr =
        if whole.ty.scaling == Scaling::Row { whole.scale_addr + 4 * from as u64 } else { whole.scale_addr };
    Placement { addr: whole.addr + (from * whole.ty.row_bytes(cols)) as u64, scale_addr, shape, ..whole.clone() }
}

fn plan(context: &Context<'_>, node: &Node, operands: &Operands, residual: bool) -> Result<(Product, Tiling)> {
    let (m, k) = rows_cols(&operands.x.shape);
    let (n, _) = rows_cols(&operands.w.shape);
    if !matches!(operands.x.ty.scaling, Scaling::None | Scaling::Row) {
        return Err(Error::unsupported(format!(
            "inputs of {} with scaling {:?} have no kernel",
            operands.x.ty.format.name, operands.x.ty.scaling
        ))
        .code("E0403")
        .help("scales of activations are per row"));
    }
    let (kb, blocked) = match operands.w.ty.scaling {
        // A block starts on a byte whatever the format.
        Scaling::Block(b) if !b.is_multiple_of(8) => {
            return Err(Error::unsupported(format!("weight blocks of {b} have no kernel; blocks are multiples of 8"))
                .code("E0403"));
        }
        Scaling::Block(b) => (u64::from(b), true),
        _ => (k as u64, false),
    };
    let plain = |ty: &crate::tensor::TensorType| {
        let plain = crate::tensor::TensorType::new(ty.format, ty.scaling);
        *ty == plain && !matches!(ty.scaling, Scaling::Tile(..)) && node.accumulator.chunk().is_none()
    };
    if !plain(&operands.w.ty) || !plain(&operands.x.ty) {
        let message =
            format!("{} x {} with accumulator {} has no kernel", operands.x.ty, operands.w.ty, node.accumulator.name());
        return Err(Error::unsupported(message).code("E0403"));
    }
    let product = Product {
        m: m as u64,
        n: n as u64,
        k: k as u64,
        kb,
        blocked,
        w: operands.w.ty.format,
        x: operands.x.ty.format,
        residual,
    };
    if product.w.bits != product.w.container_bits || product.x.bits != product.x.container_bits {
        return Err(Error::unsupported(format!(
            "no kernel repacks codes that do not fill their register lanes: weights {} ({} bits) with inputs {} ({} bits)",
            product.w.name, product.w.bits, product.x.name, product.x.bits
        ))
        .code("E0403"));
    }
    dot_class(product.x, product.w, node.accumulator)?;
    let tiling = choose(context.machine, &product, context.workspace_bytes)?;
    Ok((product, tiling))
}

fn call(
    context: &Context<'_>,
    node: &Node,
    operands: &Operands,
    epilogue: &Epilogue,
    product: &Product,
    tiling: &Tiling,
) -> Result<Call> {
    let class = match dot_class(product.x, product.w, node.accumulator)? {
        DotClass::Exact => 0,
        DotClass::Chain => 1,
        DotClass::PairBf16 => 2,
        DotClass::PairFp16 => 3,
        class @ (DotClass::Int24s | DotClass::Fp22) => {
            return Err(Error::unsupported(format!("sums of class {} have no kernel", class.name())).code("E0403"));
        }
    };
    let (kernel, depth) = match tiling.path {
        Path::Array => ("linear-array", ("kt", tiling.kt)),
        Path::Vector => ("linear-vector", ("nl", tiling.nl)),
    };
    let x_scaled = operands.x.ty.scaling == Scaling::Row;
    // Without scale blocks, "the next fold" lies beyond any k.
    let kb = if product.blocked { product.kb } else { product.k.next_multiple_of(32) };
    let mut params = vec![
        ("m", product.m),
        ("n", product.n),
        ("k", product.k),
        ("mt", tiling.mt),
        ("nt", tiling.nt),
        depth,
        ("kb", kb),
        ("x", operands.x.addr),
        ("x_row", product.x_row()),
        ("sx", if x_scaled { operands.x.scale_addr } else { 0 }),
        ("w", operands.w.addr),
        ("w_row", product.w_row()),
        ("sw", operands.weight_scale.1),
        ("sw_mode", operands.weight_scale.0),
        ("bias", epilogue.bias),
        ("act", epilogue.activation),
        ("res", epilogue.residual),
        ("y", operands.y.addr),
        ("y_row", 4 * product.n),
    ];
    let mut workspace: Workspace = context.workspace();
    for (name, bytes) in product.buffers(tiling.path, tiling.mt, tiling.nt, tiling.kt) {
        params.push((name, workspace.take(bytes, &format!("buffer `{name}`"))?));
    }
    let bits = |format: crate::num::FormatRef| i64::from(format.bits);
    Ok(Call {
        kernel,
        formats: vec![("W", product.w), ("X", product.x)],
        consts: vec![("WBITS", bits(product.w)), ("XBITS", bits(product.x)), ("CLASS", class)],
        params,
    })
}

fn lowered(product: &Product, tiling: &Tiling, heads: u64) -> Lowered {
    let Product { m, n, k, kb, .. } = product;
    let mut loops = Vec::new();
    if heads > 1 {
        loops.push(format!("for head in {heads}"));
    }
    loops.push(format!(
        "for m in {m} step {}: {} B of inputs stay in SRAM",
        tiling.mt,
        tiling.mt.min(*m) * product.x_row()
    ));
    loops.push(format!(
        "  for n in {n} step {}: weights double buffered, {} x fp32 results",
        tiling.nt,
        tiling.mt * tiling.nt
    ));
    match tiling.path {
        Path::Array => loops.push(format!("    for k in {k} step {}: mm.w, mm.x on the array", tiling.kt)),
        Path::Vector => {
            loops.push(format!("    for {} outputs a register, k in registers: mac on the vector unit", tiling.nl))
        }
    }
    if product.blocked {
        loops.push(format!("      fold every {kb} of k"));
    }
    Lowered { calls: Vec::new(), workspace_bytes: tiling.bytes, macs_dense: heads * m * n * k, loops }
}
