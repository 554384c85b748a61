//! Matrix products: `Linear` with its fused epilogue, and `MatMul` as one product a head.

use super::{Call, Context, Lowered};
use crate::compile::fuse::Group;
use crate::compile::place::{SPACE_SHIFT, Workspace};
use crate::compile::tile::{After, Path, Product, Tiling, choose};
use crate::compile::trial;
use crate::compile::{CodedWeights, Placement, ScaleOrder, mask_row_bytes};
use crate::diag::{Error, Result};
use crate::graph::{Node, NodeId, Op, ValueId};
use crate::num::format::ScaleRule;
use crate::num::philox::{Draws, Use};
use crate::num::{Accumulator, DotClass, FormatRef, dot_class};
use crate::tensor::layout::entropy::Restart;
use crate::tensor::{Scaling, TensorType, rows_cols, terms};

/// Epilogue of a product, as addresses; 0 = absent.
#[derive(Default)]
pub(super) struct Epilogue {
    pub(super) bias: u64,
    pub(super) activation: u64,
    pub(super) residual: u64,
}

/// One product: operands and where the result goes.
pub(super) struct Operands<'a> {
    pub(super) x: Placement,
    pub(super) w: Placement,
    pub(super) y: Placement,
    w_scales: Scales,
    /// Index in the node's output of the first element of this result.
    y_first: u64,
    /// The weights, if they lie entropy-coded.
    coded: Option<&'a CodedWeights>,
}

/// How a kernel walks the scales of its weights (`sw_mode` to `sw_tile` of the kernels).
#[derive(Debug, Clone, Copy)]
pub(super) enum Scales {
    /// One value for all.
    Value(f32),
    /// `each` scales an output, term by term and in each output by output, of all `outputs`: constants.
    ByTerm { addr: u64, outputs: u64, each: u64 },
    /// `each` scales an output, output by output: results of steps.
    ByOutput { addr: u64, each: u64 },
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
    let w_scales = weight_scales(context, node.inputs[1], &w);
    let coded = context.coded.iter().find(|coded| coded.value == node.inputs[1]);
    let operands = Operands { x, w, y, w_scales, y_first: 0, coded };
    if let Some(sparse) = context.sparse.iter().find(|sparse| sparse.value == node.inputs[1]) {
        return super::tiles::linear(context, node, &operands, &epilogue, sparse);
    }
    let product = product(context, node, &operands, &epilogue)?;
    let call = |tiling: &Tiling| call(context, node, &operands, &epilogue, &product, tiling);
    let tiling = trial::tiling(context.trial.as_ref(), context.machine, &product, context.workspace_bytes, call)?;
    let mut lowered = lowered(&product, &tiling, 1);
    lowered.calls.push(call(&tiling)?);
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

/// Scales of the second operand of a `Linear`.
fn weight_scales(context: &Context<'_>, value: ValueId, w: &Placement) -> Scales {
    let (outputs, cols) = rows_cols(&w.shape);
    let each = (w.ty.scales_per_row(cols) * if w.ty.offset { 2 } else { 1 }) as u64;
    match (w.ty.scaling, context.graph.constant(value)) {
        (Scaling::None, _) => Scales::Value(1.0),
        (Scaling::Tensor, Some(tensor)) if each == 1 => Scales::Value(tensor.scales[0]),
        _ if w.order == ScaleOrder::ByTerm => Scales::ByTerm { addr: w.scale_addr, outputs: outputs as u64, each },
        _ => Scales::ByOutput { addr: w.scale_addr, each },
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
        let w_scales = match w.ty.scaling {
            Scaling::None => Scales::Value(1.0),
            _ => Scales::ByOutput { addr: w.scale_addr, each: w.ty.scales_per_row(k) as u64 },
        };
        Operands { x, w, y, w_scales, y_first: (head * m * n) as u64, coded: None }
    };
    let product = product(context, node, &head_operands(0), &Epilogue::default())?;
    // A head alone says little of heads one after the other, between other steps: no trial.
    let tiling = choose(context.machine, &product, context.workspace_bytes)?;
    context.room_for(heads)?;
    let mut lowered = lowered(&product, &tiling, heads as u64);
    for head in 0..heads {
        lowered.calls.push(call(context, node, &head_operands(head), &Epilogue::default(), &product, &tiling)?);
    }
    Ok(lowered)
}

/// Rows `from..` of a placed value, as a value of `shape`.
fn slice(whole: &Placement, from: usize, shape: Vec<usize>) -> Placement {
    let (_, cols) = rows_cols(&whole.shape);
    let scales = from as u64 * scale_row(&whole.ty, cols);
    let scale_addr = if whole.scale_addr == 0 { 0 } else { whole.scale_addr + scales };
    Placement { addr: whole.addr + (from * whole.ty.row_bytes(cols)) as u64, scale_addr, shape, ..whole.clone() }
}

/// Bytes of the scales of one row of a run-time value.
fn scale_row(ty: &TensorType, cols: usize) -> u64 {
    (ty.scales_per_row(cols) * ty.scale.format.bits as usize / 8) as u64
}

pub(super) fn product(
    context: &Context<'_>,
    node: &Node,
    operands: &Operands<'_>,
    epilogue: &Epilogue,
) -> Result<Product> {
    let (m, k) = rows_cols(&operands.x.shape);
    let (n, _) = rows_cols(&operands.w.shape);
    let (x, w) = (&operands.x.ty, &operands.w.ty);
    let terms = terms(x, w, k, node.accumulator.chunk())?;
    let refuse = |why: &str| Err(Error::unsupported(format!("{x} x {w} has no kernel: {why}")).code("E0403"));
    let changes = |ty: &TensorType| matches!(ty.scaling, Scaling::Block(_) | Scaling::Tile(..));
    if [x, w].iter().any(|ty| changes(ty) && !ty.run(k).is_multiple_of(8)) {
        return refuse("blocks are multiples of 8, so that each begins on a byte");
    }
    let planes = u64::from(w.planes);
    let runs = terms.len() as u64 / planes / if w.offset { 2 } else { 1 };
    let kb = if runs > 1 { terms[0].k.len() } else { k };
    let mut product = Product {
        m: m as u64,
        n: n as u64,
        k: k as u64 * planes,
        kb: kb as u64,
        blocked: planes * runs > 1,
        planes,
        offset: w.offset,
        w: w.format,
        x: x.format,
        x_scale_row: scale_row(x, k),
        w_scale_row: match operands.w_scales {
            Scales::Value(_) => 0,
            Scales::ByTerm { each, .. } | Scales::ByOutput { each, .. } => each * scale_bytes(w),
        },
        residual: epilogue.residual != 0,
        mask_row: mask_row_bytes(context.graph.value(operands.w.value)) as u64,
        coded: operands.coded.map(|coded| (coded.tile_rows, coded.longest)),
        on_chip: [&operands.x, &operands.y].map(|place| place.addr >> SPACE_SHIFT != 0),
        one_term: false,
        y_bits: operands.y.ty.format.bits,
        after: After::Nothing,
    };
    product.one_term = one_term(&product, &scale_consts(operands, &product, node.accumulator)?);
    product.after = after(&operands.y.ty, epilogue);
    if product.mask_row > 0 {
        let register =
            u64::from(context.machine.vlen_bits) / u64::from(w.format.container_bits.max(x.format.container_bits));
        if register < 8 || (product.blocked && !product.kb.is_multiple_of(8)) {
            return refuse("the bits of a mask are read in bytes, so registers and terms hold multiples of 8 elements");
        }
        if operands.coded.is_some() {
            return refuse("weights are masked or entropy-coded, not both");
        }
    }
    Ok(product)
}

fn scale_bytes(ty: &TensorType) -> u64 {
    u64::from(ty.scale.format.bits / 8)
}

fn call(
    context: &Context<'_>,
    node: &Node,
    operands: &Operands<'_>,
    epilogue: &Epilogue,
    product: &Product,
    tiling: &Tiling,
) -> Result<Call> {
    let class = dot_class(product.x, product.w, node.accumulator)?;
    let class = DotClass::ALL.iter().position(|c| *c == class).expect("every class is listed");
    let (kernel, depth) = match tiling.path {
        Path::Array => ("linear-array", ("kt", tiling.kt)),
        Path::Vector => ("linear-vector", ("nl", tiling.nl)),
    };
    // With one term, "the next fold" lies beyond any k.
    let kb = if product.blocked { product.kb } else { product.k.next_multiple_of(32) };
    let mut params = vec![
        ("m", product.m),
        ("n", product.n),
        ("k", product.k),
        ("mt", tiling.mt),
        ("nt", tiling.nt),
        depth,
        ("kb", kb),
        ("plane", product.k / product.planes),
        ("x", operands.x.addr),
        ("x_row", product.x_row()),
        ("w", operands.w.addr),
        ("w_row", product.w_row()),
        ("bias", epilogue.bias),
        ("act", epilogue.activation),
        ("res", epilogue.residual),
        ("y", operands.y.addr),
        ("y_row", operands.y.ty.row_bytes(product.n as usize) as u64),
    ];
    params.extend(scale_params(operands, product, tiling.nt));
    params.extend(converter_params(context, node, operands, product));
    if let Some(coded) = operands.coded {
        let tiles = coded.coded.tiles() as u64;
        params.extend([("table", coded.table), ("model", coded.table + Restart::BYTES * tiles)]);
        params.push(("tile_rows", coded.tile_rows));
    } else if tiling.path == Path::Vector {
        params.extend(["table", "model", "tile_rows"].map(|name| (name, 0)));
    }
    let mut workspace: Workspace = context.workspace();
    for (name, bytes) in product.buffers(tiling.path, tiling.mt, tiling.nt, tiling.kt) {
        if name == "bcoded" && tiling.path == Path::Array {
            continue;
        }
        params.push((name, workspace.take(bytes, &format!("buffer `{name}`"))?));
    }
    let mut consts = scale_consts(operands, product, node.accumulator)?;
    let bits = |format: FormatRef| i64::from(format.bits);
    let lanes = u64::from(context.machine.vlen_bits / 32).max(1);
    let y = results(operands, epilogue, product, tiling, (&consts, lanes))?;
    consts.extend(y);
    if tiling.path == Path::Array && product.sums_in_turn(context.machine) {
        consts.push(("ALT", 1));
    }
    consts.extend([("WBITS", bits(product.w)), ("XBITS", bits(product.x)), ("CLASS", class as i64)]);
    if tiling.path == Path::Vector {
        consts.extend([("OFFSET", i64::from(product.offset)), ("CODED", i64::from(product.coded.is_some()))]);
        consts.push(("MASKED", i64::from(product.mask_row > 0)));
        params.push(("mask_at", product.w_codes()));
    }
    let (x, w) = (&operands.x.ty, &operands.w.ty);
    let mut formats = vec![("W", w.format), ("X", x.format), ("SW", w.scale.format), ("SX", x.scale.format)];
    if operands.y.ty.format.name != "fp32" {
        formats.push(("Y", operands.y.ty.format));
    }
    Ok(Call { kernel, formats, consts, params })
}

/// Whether the sums of a tile are folded once, with scales that stay.
fn one_term(product: &Product, consts: &[(&'static str, i64)]) -> bool {
    let alone = |(name, value): &(&str, i64)| !["SXB", "SWB", "PLANES", "FINAL", "ADC"].contains(name) || *value == 0;
    !product.blocked && consts.iter().all(alone)
}

/// What follows the product, for the ranking of tilings.
fn after(ty: &TensorType, epilogue: &Epilogue) -> After {
    let narrow = ty.format.name != "fp32";
    let (plain, special) = match epilogue.activation {
        0 => (0, 0),
        activation @ 1..=2 => (activation, 0),
        _ => (0, 1),
    };
    let (bias, residual) = (epilogue.bias != 0, epilogue.residual != 0);
    let alone = !bias && !residual;
    match (narrow, alone) {
        (false, true) if plain + special == 0 => After::Nothing,
        (true, true) if plain + special == 0 && ty.format.rule == ScaleRule::Cast => After::Nothing,
        (true, true) => After::Narrow { plain, special },
        _ => {
            // A residual of codes is widened, and the result narrowed.
            let codes = if narrow { 1 + u64::from(residual) } else { 0 };
            After::Rows { plain: plain + u64::from(bias) + u64::from(residual) + codes, special }
        }
    }
}

/// Constants for results in another format than fp32: their bits, whether the array's kernel stores a tile as codes at
/// once because nothing follows the product, and whether a tile is narrowed as one run.
fn results(
    operands: &Operands<'_>,
    epilogue: &Epilogue,
    product: &Product,
    tiling: &Tiling,
    (consts, lanes): (&[(&'static str, i64)], u64),
) -> Result<Vec<(&'static str, i64)>> {
    let ty = &operands.y.ty;
    if ty.format.name == "fp32" {
        return Ok(Vec::new());
    }
    let bits = u64::from(ty.format.bits);
    let narrow = ty.scaling == Scaling::None && bits < 32;
    let whole = |codes: u64| (codes * bits).is_multiple_of(8);
    if !narrow || !whole(lanes) || (tiling.nt < product.n && !whole(tiling.nt)) {
        let why = "results are fp32 or codes without scales, of which a register and a tile's row are whole bytes";
        return Err(Error::unsupported(format!("results in {ty} have no kernel: {why}")).code("E0403"));
    }
    let follows = epilogue.bias != 0 || epilogue.activation != 0 || epilogue.residual != 0;
    let last = consts.iter().any(|(name, value)| *name == "FINAL" && *value != 0);
    // Tiles are stored in formats that take no scale.
    let cast = ty.format.rule == ScaleRule::Cast;
    let stored = tiling.path == Path::Array && cast && !follows && !last;
    let flat = !stored && epilogue.bias == 0 && epilogue.residual == 0 && whole(tiling.nt);
    let then = if flat { epilogue.activation as i64 } else { 0 };
    Ok(vec![("YBITS", bits as i64), ("STORED", i64::from(stored)), ("FLAT", i64::from(flat)), ("THEN", then)])
}

/// Parameters by which the kernels walk scales.
pub(super) fn scale_params(operands: &Operands<'_>, product: &Product, nt: u64) -> Vec<(&'static str, u64)> {
    let Operands { x, w, w_scales, .. } = operands;
    let k = product.k / product.planes;
    let run = |ty: &TensorType| match ty.planes {
        1 => (ty.run(k as usize) as u64).max(1),
        _ => k,
    };
    let bytes = scale_bytes(&w.ty);
    let (mode, sw, per_output, count, pitch, tile) = match *w_scales {
        Scales::Value(scale) => (0, u64::from(scale.to_bits()), 0, 0, 0, 0),
        Scales::ByTerm { addr, outputs, each } => (1, addr, bytes, each, outputs * bytes, nt * bytes),
        Scales::ByOutput { addr, each } => (1, addr, each * bytes, 1, 0, 0),
    };
    let step = match w_scales {
        Scales::ByTerm { .. } => tile * if product.offset { 2 } else { 1 },
        _ => bytes * if product.offset { 2 } else { 1 },
    };
    // From a scale to the offset that belongs to it.
    let tile = if tile == 0 { bytes } else { tile };
    vec![
        ("sx", x.scale_addr),
        ("sx_row", product.x_scale_row),
        ("x_run", run(&x.ty)),
        ("gx", x.global_addr),
        ("gw", w.global_addr),
        ("sw", sw),
        ("sw_mode", mode),
        ("sw_n", per_output),
        ("sw_count", count),
        ("sw_pitch", pitch),
        ("w_run", run(&w.ty)),
        ("sw_step", step),
        ("sw_tile", tile),
    ]
}

/// Parameters of converters that read the sums of chunks (numerics contract, section 4); zeros without them.
fn converter_params(
    context: &Context<'_>,
    node: &Node,
    operands: &Operands<'_>,
    product: &Product,
) -> Vec<(&'static str, u64)> {
    let names = ["adc_draws", "adc_full", "adc_sigma", "adc_first", "adc_outputs", "adc_at"];
    let Accumulator::Adc { noise_milli, rows, .. } = node.accumulator else {
        return names.map(|name| (name, 0)).to_vec();
    };
    let largest = |format: FormatRef| match format.integers.iter().map(|level| level.unsigned_abs()).max() {
        Some(largest) => largest,
        None => 1 << (format.bits - 1),
    };
    let outputs = context.graph.value(node.output).shape.iter().product::<usize>() as u64;
    let draws = Draws::new(0, &node.name, 0, Use::Forward).counter();
    let sigma = (f64::from(noise_milli) * 65.536).round_ties_even() as u64;
    let full = u64::from(rows) * largest(product.x) * largest(product.w);
    names.into_iter().zip([draws, full, sigma, operands.y_first, outputs, 0]).collect()
}

/// Constants that say which scales change along k, and what follows the last term.
pub(super) fn scale_consts(
    operands: &Operands<'_>,
    product: &Product,
    accumulator: Accumulator,
) -> Result<Vec<(&'static str, i64)>> {
    let (x, w) = (&operands.x.ty, &operands.w.ty);
    let k = (product.k / product.planes) as usize;
    let global = x.scale.global || w.scale.global;
    let last = match (accumulator.chunk().is_some(), global) {
        (false, false) => 0,
        (true, false) => 1,
        (false, true) => 2,
        (true, true) => {
            return Err(Error::unsupported("chunks of sums and a global scale have no kernel together").code("E0403"));
        }
    };
    let bits = match accumulator {
        Accumulator::Adc { bits, .. } => i64::from(bits),
        _ => 0,
    };
    Ok(vec![
        ("SXB", i64::from(x.scales_per_row(k) > 1)),
        ("SWB", i64::from(w.scales_per_row(k) > 1 || w.offset)),
        ("SXBYTES", scale_bytes(x) as i64),
        ("PLANES", i64::from(product.planes > 1)),
        ("FINAL", last),
        ("ADC", bits),
    ])
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
