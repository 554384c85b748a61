//! Kernels that mostly move bytes: embedding, pooling, transposition.

use super::{Call, Context, Lowered};
use crate::compile::mask_row_bytes;
use crate::diag::{Error, Result};
use crate::graph::Node;
use crate::tensor::layout::sparse;
use crate::tensor::{Scaling, rows_cols};

/// Gathers rows of a table and decodes them.
pub fn embedding(context: &Context<'_>, node: &Node) -> Result<Lowered> {
    let (table, ids, y) = (context.place(node.inputs[0])?, context.place(node.inputs[1])?, context.place(node.output)?);
    let (rows, cols) = rows_cols(&y.shape);
    let mask_row = mask_row_bytes(context.graph.value(node.inputs[0])) as u64;
    let (w_row, y_row) = (table.ty.row_bytes(cols) as u64 + mask_row, y.ty.row_bytes(cols) as u64);
    let ty = &table.ty;
    // Masked codes are zeros, which decode to +0 without the mask; what has none would need it.
    if mask_row > 0 && (ty.offset || ty.planes > 1 || sparse::zero_code(ty.format).is_err()) {
        let message = format!("a masked embedding table in {ty} has no kernel: it needs a zero, and no offset");
        return Err(Error::unsupported(message).code("E0403"));
    }
    let global = context.graph.constant(node.inputs[0]).map_or(1.0, |tensor| tensor.global);
    let each = ty.scales_per_row(cols) * if ty.offset { 2 } else { 1 };
    let (array, scale) = match ty.scaling {
        Scaling::None => (false, 1.0),
        Scaling::Tensor if each == 1 => {
            (false, context.graph.constant(node.inputs[0]).map_or(1.0, |tensor| tensor.scales[0]))
        }
        _ => (true, 1.0),
    };
    let block = match ty.scaling {
        Scaling::Block(n) | Scaling::Tile(_, n) => u64::from(n),
        _ => 0,
    };
    if block > 2047 {
        return Err(Error::unsupported(format!("an embedding table in {ty} has no kernel: blocks are up to 2047"))
            .code("E0403"));
    }
    let s_row = if array { (each * ty.scale.format.bits as usize / 8) as u64 } else { 0 };
    let entries = u64::from(context.machine.scale_entries());
    // A chunk begins on a byte of the codes whatever the block.
    let cb = if block == 0 { cols as u64 } else { block * (entries / 8 * 8).max(8) };
    let mut workspace = context.workspace();
    let rb = (workspace.left() / (w_row + y_row + s_row + 192)).clamp(1, rows as u64);
    let bw = workspace.take(rb * w_row, &format!("{rb} row(s) of the table"))?;
    let bs = workspace.take((rb * s_row).max(4), "their scales")?;
    let by = workspace.take(rb * y_row, &format!("{rb} decoded row(s)"))?;
    let params = vec![
        ("rows", rows as u64),
        ("rb", rb),
        ("n", cols as u64),
        ("table", table.addr),
        ("w_row", w_row),
        ("scales", table.scale_addr),
        ("s_row", s_row),
        ("scale", u64::from(scale.to_bits())),
        ("global", u64::from(global.to_bits())),
        ("ids", ids.addr),
        ("y", y.addr),
        ("y_row", y_row),
        ("bw", bw),
        ("bs", bs),
        ("by", by),
        ("cb", cb),
    ];
    let consts = vec![
        ("SCALES", i64::from(array)),
        ("BLOCK", block as i64),
        ("SBYTES", i64::from(ty.scale.format.bits / 8)),
        ("PLANES", i64::from(ty.planes)),
        ("OFFSET", i64::from(ty.offset)),
        ("GLOBAL", i64::from(ty.scale.global)),
        ("WBITS", i64::from(ty.format.bits)),
    ];
    let formats = vec![("W", ty.format), ("S", ty.scale.format)];
    Ok(Lowered {
        calls: vec![Call { kernel: "embedding", formats, consts, params }],
        workspace_bytes: workspace.used(),
        macs_dense: 0,
        loops: vec![format!("for block of {rb} token(s) in {rows}: gather, decode {cols} elements each")],
    })
}

/// Mean over rows, a strip of columns at a time.
pub fn meanpool(context: &Context<'_>, node: &Node) -> Result<Lowered> {
    let (x, y) = (context.place(node.inputs[0])?, context.place(node.output)?);
    let (rows, cols) = rows_cols(&x.shape);
    if rows > 4096 {
        return Err(Error::unsupported(format!("a mean over {rows} rows is longer than the 4096 served")).code("E0402"));
    }
    let strip = u64::from(context.machine.vlen_bits / 32).min(cols as u64);
    let mut workspace = context.workspace();
    let bx = workspace.take(rows as u64 * strip * 4, &format!("a strip of {rows} rows by {strip} columns"))?;
    let by = workspace.take(strip * 4, "a strip of the mean")?;
    let params = vec![
        ("rows", rows as u64),
        ("n", cols as u64),
        ("cb", strip),
        ("x", x.addr),
        ("x_row", 4 * cols as u64),
        ("y", y.addr),
        ("bx", bx),
        ("by", by),
        ("nf", u64::from((rows as f32).to_bits())),
    ];
    Ok(Lowered {
        calls: vec![Call { kernel: "meanpool", formats: vec![], consts: vec![], params }],
        workspace_bytes: workspace.used(),
        macs_dense: 0,
        loops: vec![format!("for strip of {strip} columns in {cols}: 16 partial sums over {rows} rows")],
    })
}

/// Permutes axes of a tensor of 4-byte elements with one matrix move per outer index.
pub fn transpose(context: &Context<'_>, node: &Node, perm: &[usize]) -> Result<Lowered> {
    let (x, y) = (context.place(node.inputs[0])?, context.place(node.output)?);
    if x.ty.format.bits != 32 {
        return Err(
            Error::unsupported(format!("a transposition of packed {} has no kernel", x.ty.format.name)).code("E0403")
        );
    }
    let extent = |axis: usize| x.shape[axis] as u64;
    let step = |axis: usize| 4 * x.shape[axis + 1..].iter().product::<usize>() as u64;
    // (outer extent, outer step, row extent, row step, columns, turn): rows x cols is gathered, turned or not, stored.
    let (outer, in_step, rows, in_row, cols, turn) = match *perm {
        [0, 1] | [0, 1, 2] => (1, 0, 1, 0, x.shape.iter().product::<usize>() as u64, 0),
        [1, 0] => (1, 0, extent(0), step(0), extent(1), 1),
        [1, 0, 2] => (extent(1), step(1), extent(0), step(0), extent(2), 0),
        [0, 2, 1] => (extent(0), step(0), extent(1), step(1), extent(2), 1),
        [1, 2, 0] => (extent(1), step(1), extent(0), step(0), extent(2), 1),
        [2, 0, 1] => (1, 0, extent(0) * extent(1), step(1), extent(2), 1),
        _ => {
            return Err(Error::unsupported(format!("permutation {perm:?} has no kernel")).code("E0403"));
        }
    };
    let mut workspace = context.workspace();
    let matrix_bytes = rows * cols * 4;
    let b0 = workspace.take(matrix_bytes, &format!("a matrix of {rows} x {cols} fp32"))?;
    let b1 = if turn == 1 {
        workspace.take(matrix_bytes, &format!("the turned matrix of {cols} x {rows} fp32"))?
    } else {
        0
    };
    let params = vec![
        ("outer", outer),
        ("in_step", in_step),
        ("in_row", in_row),
        ("rows", rows),
        ("cols", cols),
        ("turn", turn),
        ("x", x.addr),
        ("y", y.addr),
        ("b0", b0),
        ("b1", b1),
    ];
    Ok(Lowered {
        calls: vec![Call { kernel: "transpose", formats: vec![], consts: vec![], params }],
        workspace_bytes: workspace.used(),
        macs_dense: 0,
        loops: vec![format!(
            "for outer in {outer}: matrix {rows} x {cols}{}",
            if turn == 1 { ", turned in SRAM" } else { "" }
        )],
    })
}
