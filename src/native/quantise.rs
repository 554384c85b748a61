//! Dynamic quantisation of activations (numerics contract, section 8), and dequantising table look-up.

use super::operand::{Operand, f32s};
use super::sums;
use crate::diag::{Error, Result};
use crate::num::format::ScaleRule;
use crate::num::func::NAN;
use crate::num::{self, Element, FormatRef, Rounding};
use crate::tensor::{Scaling, Tensor, TensorType, pack};

/// Smallest scale base of integer, ternary and binary formats.
const FLOOR: f32 = 1e-5;

/// Quantises every row of `x` into `to`.
///
/// # Errors
/// Unsupported for scalings other than none and one a row.
pub(super) fn quantise(x: &Tensor, to: TensorType) -> Result<Tensor> {
    let (_, cols) = x.rows_cols();
    let format = to.format;
    let (mut payload, mut scales) = (Vec::new(), Vec::new());
    for row in f32s(x).chunks(cols.max(1)) {
        let (codes, scale) = match (to.scaling, format.rule) {
            (Scaling::None, _) => (cast_row(row, format), None),
            (Scaling::Row, ScaleRule::Absmax) => absmax_row(row, format),
            (Scaling::Row, ScaleRule::Absmean) => absmean_row(row, format),
            _ => {
                let message = format!("activations in {} with this scaling are not served", format.name);
                return Err(Error::unsupported(message).help("use a plain cast or one scale per row"));
            }
        };
        payload.extend(pack::pack_row(format, &codes));
        scales.extend(scale);
    }
    Tensor::new(x.shape.clone(), to, payload, scales)
}

/// Nearest codes without a scale: fp16 and bf16 overflow to infinity, narrower formats saturate.
fn cast_row(row: &[f32], format: FormatRef) -> Vec<u32> {
    row.iter().map(|v| num::encode(format, v.to_bits(), Rounding::NearestEven, format.bits < 16)).collect()
}

/// A row whose scale is NaN or infinite: every product with it is NaN, and its codes are those of 0.
fn poisoned(row: &[f32], format: FormatRef) -> (Vec<u32>, Option<f32>) {
    (vec![num::encode(format, 0, Rounding::NearestEven, true); row.len()], Some(NAN))
}

/// Largest magnitude; NaN if the row has one.
fn absmax(row: &[f32]) -> f32 {
    f32::from_bits(row.iter().map(|v| v.to_bits() & 0x7fff_ffff).max().unwrap_or(0))
}

fn at_least_floor(a: f32) -> f32 {
    if a < FLOOR { FLOOR } else { a }
}

/// The largest magnitude maps to the largest level.
fn absmax_row(row: &[f32], format: FormatRef) -> (Vec<u32>, Option<f32>) {
    let peak = absmax(row);
    if !peak.is_finite() {
        return poisoned(row, format);
    }
    let nearest = |v: f32| num::encode(format, v.to_bits(), Rounding::NearestEven, true);
    if format.element == Element::Int {
        let (peak, top) = (at_least_floor(peak), ((1u32 << (format.bits - 1)) - 1) as f32);
        let factor = top / peak;
        return (row.iter().map(|v| nearest(v * factor)).collect(), Some(peak / top));
    }
    let scale = match peak / format.max {
        _ if peak == 0.0 => 1.0,
        0.0 => f32::from_bits(1),
        scale => scale,
    };
    (row.iter().map(|v| nearest(v / scale)).collect(), Some(scale))
}

/// The mean magnitude maps to one: signs only for binary, -1, 0, 1 for ternary.
fn absmean_row(row: &[f32], format: FormatRef) -> (Vec<u32>, Option<f32>) {
    let mean = sums::sum(row.len(), |i| row[i].abs()) / row.len() as f32;
    if !mean.is_finite() {
        return poisoned(row, format);
    }
    let mean = at_least_floor(mean);
    if format.bits == 1 {
        return (row.iter().map(|v| u32::from(*v < 0.0)).collect(), Some(mean));
    }
    let factor = 1.0 / mean;
    let level = |v: &f32| (v * factor).round_ties_even().clamp(-1.0, 1.0);
    let code = |v: &f32| num::encode(format, level(v).to_bits(), Rounding::NearestEven, true);
    (row.iter().map(code).collect(), Some(mean))
}

/// Rows `ids` of the table, dequantised as [`Tensor::to_f32`] states; unscaled tables are only decoded.
///
/// # Errors
/// BadInput for an id outside the table.
pub(super) fn embedding(table: &Tensor, ids: &[u32]) -> Result<Vec<f32>> {
    let rows = Operand::whole(table);
    let planes = table.ty.planes as usize;
    let mut out = Vec::with_capacity(ids.len() * rows.cols);
    let mut codes = Vec::new();
    for id in ids.iter().map(|id| *id as usize) {
        if id >= rows.rows {
            return Err(Error::bad_input(format!("token id {id} is outside the table of {} rows", rows.rows)));
        }
        codes.clear();
        (0..planes).for_each(|plane| rows.values((id, plane), 0..rows.cols, &mut codes));
        if table.ty.scaling == Scaling::None {
            out.extend_from_slice(&codes);
            continue;
        }
        for col in 0..rows.cols {
            let mut total = codes[col] * rows.scale(id, col, 0);
            for plane in 1..planes {
                total = num::func::fma(codes[plane * rows.cols + col], rows.scale(id, col, plane), total);
            }
            if table.ty.offset {
                total += rows.offset(id, col);
            }
            out.push(if table.ty.scale.global { total * rows.global } else { total });
        }
    }
    Ok(out)
}
