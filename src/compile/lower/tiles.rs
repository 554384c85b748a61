//! `Linear` with weights of which only live tiles lie in memory: one call of `linear-sparse`.

use super::linear::{Epilogue, Operands, product, scale_consts, scale_params};
use super::{Call, Context, Lowered};
use crate::compile::place::Workspace;
use crate::compile::sparse::SparseWeights;
use crate::compile::tile::Path;
use crate::diag::Result;
use crate::graph::Node;
use crate::num::{DotClass, dot_class};

/// The call for weights that were cut into tiles.
pub fn linear(
    context: &Context<'_>,
    node: &Node,
    operands: &Operands<'_>,
    epilogue: &Epilogue,
    sparse: &SparseWeights,
) -> Result<Lowered> {
    let product = product(context, node, operands, epilogue)?;
    let tiles = &sparse.tiles;
    let class = dot_class(product.x, product.w, node.accumulator)?;
    let class = DotClass::ALL.iter().position(|c| *c == class).expect("every class is listed");
    let mut params = vec![
        ("m", product.m),
        ("n", product.n),
        ("k", product.k),
        ("mt", tiles.mt),
        ("nt", tiles.nt),
        ("nl", tiles.nl),
        ("bh", tiles.bh()),
        ("kt", tiles.kt),
        ("x", operands.x.addr),
        ("x_row", product.x_row()),
        ("w", operands.w.addr),
        ("tile_row", tiles.row),
        ("tile_bytes", tiles.tile_bytes()),
        ("mask_at", tiles.codes),
        ("map", sparse.map),
        ("map_row", sparse.map_row),
        ("tiles_k", product.k.div_ceil(tiles.kt)),
        ("table", sparse.table),
        ("bits", sparse.bits),
        ("bits_tile", tiles.block_bits().div_ceil(8)),
        ("bits_count", tiles.block_bits()),
        ("block", tiles.blocks.map_or(0, |(rows, cols)| rows << 32 | cols)),
        ("bits_at", 0),
        ("bias", epilogue.bias),
        ("act", epilogue.activation),
        ("res", epilogue.residual),
        ("y", operands.y.addr),
        ("y_row", 4 * product.n),
    ];
    params.extend(scale_params(operands, &product, tiles.nt));
    let mut workspace: Workspace = context.workspace();
    for (name, bytes) in tiles.buffers(&product) {
        params.push((name, workspace.take(bytes, &format!("buffer `{name}`"))?));
    }
    let mut consts = scale_consts(operands, &product, node.accumulator)?;
    consts.retain(|(name, _)| *name != "PLANES");
    let (kept, of) = tiles.packed.unwrap_or((0, 0));
    consts.extend([
        ("WBITS", i64::from(product.w.bits)),
        ("XBITS", i64::from(product.x.bits)),
        ("CLASS", class as i64),
        ("ARRAY", i64::from(tiles.path == Path::Array)),
        ("GROUPS", tiles.groups as i64),
        ("MASKED", i64::from(tiles.masked || tiles.blocks.is_some())),
        ("TAIL", i64::from(!product.k.is_multiple_of(tiles.kt))),
        ("PACKN", kept as i64),
        ("PACKM", of as i64),
    ]);
    let (x, w) = (&operands.x.ty, &operands.w.ty);
    let formats = vec![("W", w.format), ("X", x.format), ("SW", w.scale.format), ("SX", x.scale.format)];
    let call = Call { kernel: "linear-sparse", formats, consts, params };
    let unit = match tiles.path {
        Path::Array => "mm.w, mm.x on the array".to_owned(),
        Path::Vector => format!("mac on {} registers of {} outputs", tiles.groups, tiles.nl),
    };
    let rows = tiles.mt.min(product.m);
    let loops = vec![
        format!("for m in {} step {}: {} B of inputs stay in SRAM", product.m, tiles.mt, rows * product.x_row()),
        format!("  for n in {} step {}: live tiles double buffered", product.n, tiles.nt),
        format!("    for n in {} step {}: {} of {} tiles live in all", tiles.nt, tiles.bh(), sparse.live, sparse.all),
        format!("      for live k in {} step {}: {unit}", product.k, tiles.kt),
    ];
    let macs_dense = product.m * product.n * product.k;
    Ok(Lowered { calls: vec![call], workspace_bytes: workspace.used(), macs_dense, loops })
}
