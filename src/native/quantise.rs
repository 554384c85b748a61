//! Dynamic quantisation of activations (numerics contract, section 8), and dequantising table look-up.

use super::operand::{Operand, f32s};
use super::sums;
use crate::diag::{Error, Result};
use crate::num::block::{self, BlockFormat, SCALE_NAN};
use crate::num::format::ScaleRule;
use crate::num::func::NAN;
use crate::num::{self, FormatRef, Rounding};
use crate::tensor::{ScaleType, Scaling, Tensor, TensorType, pack};

/// Smallest scale base of integer, ternary and binary formats.
const FLOOR: f32 = 1e-5;

/// How the values of a group that shares a scale become codes.
#[derive(Clone, Copy)]
enum Step {
    /// The scale is NaN: every code is that of zero.
    Poison,
    /// The value itself decides: casts, and signs.
    Plain,
    /// The value times a factor.
    Multiply(f32),
    /// The value over the stored scale.
    Divide(f32),
    /// The value over a power of two, given by its code.
    Power(u8),
}

/// Quantises `x` into `to`: whole rows, or blocks of rows, share a scale.
///
/// # Errors
/// Unsupported for types that are not measured at run time (planes, offsets, scales of tensors and tiles).
pub(super) fn quantise(x: &Tensor, to: TensorType) -> Result<Tensor> {
    let served = matches!(to.scaling, Scaling::None | Scaling::Row | Scaling::Block(_));
    if !served || to.planes > 1 || to.offset {
        let message = format!("activations in {to} are not served");
        return Err(Error::unsupported(message).help("use a plain cast, or one scale a row or block"));
    }
    let (rows, cols) = x.rows_cols();
    let values = f32s(x);
    let (mut payload, mut scales, mut codes) = (Vec::new(), Vec::new(), Vec::with_capacity(cols));
    let tensor_peak = absmax(&values);
    for row in (0..rows).map(|r| &values[r * cols..(r + 1) * cols]) {
        codes.clear();
        match to.scaling {
            Scaling::None => encode_group(to.format, Step::Plain, row, &mut codes),
            Scaling::Block(n) => {
                for group in row.chunks(n as usize) {
                    scales.push(quantise_group(&to, group, tensor_peak, &mut codes));
                }
            }
            _ => scales.push(quantise_group(&to, row, tensor_peak, &mut codes)),
        }
        payload.extend(pack::pack_row(to.format, &codes));
    }
    let global = match to.scale.global {
        true if tensor_peak.is_finite() => block::two_level_global(tensor_peak),
        true => NAN,
        false => 1.0,
    };
    Tensor::with_sides(x.shape.clone(), to, payload, (scales, Vec::new(), global))
}

/// Appends the codes of a group that shares a scale, and gives the scale.
fn quantise_group(to: &TensorType, group: &[f32], tensor_peak: f32, codes: &mut Vec<u32>) -> f32 {
    let (scale, step) = if to.scale.global {
        two_level(to.scale, absmax(group), tensor_peak)
    } else if to.scale.is_power() {
        let code = BlockFormat::of(to.format).power_of(absmax(group).to_bits(), to.scale.exponent);
        let step = if code == SCALE_NAN { Step::Poison } else { Step::Power(code) };
        (num::value(to.scale.format, code.into()), step)
    } else {
        let (scale, step) = match to.format.rule {
            ScaleRule::Absmean => absmean(to.format, group),
            _ => absmax_scale(to.format, absmax(group)),
        };
        stored(to.scale, scale, step)
    };
    encode_group(to.format, step, group, codes);
    scale
}

fn encode_group(format: FormatRef, step: Step, group: &[f32], codes: &mut Vec<u32>) {
    let nearest = |v: f32| num::encode(format, v.to_bits(), Rounding::NearestEven, true);
    match step {
        Step::Poison => codes.extend(group.iter().map(|_| nearest(0.0))),
        Step::Plain => codes.extend(group.iter().map(|v| num::cast(format, *v))),
        Step::Multiply(factor) => codes.extend(group.iter().map(|v| nearest(v * factor))),
        Step::Divide(scale) => codes.extend(group.iter().map(|v| nearest(v / scale))),
        Step::Power(code) => {
            let block = BlockFormat::of(format);
            codes.extend(group.iter().map(|v| block.code_power(v.to_bits(), code, Rounding::NearestEven)));
        }
    }
}

/// Largest magnitude; NaN if there is one.
fn absmax(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().map(|v| v.to_bits() & 0x7fff_ffff).max().unwrap_or(0))
}

fn at_least_floor(a: f32) -> f32 {
    if a < FLOOR { FLOOR } else { a }
}

/// The block scale under the tensor's factor, as a value.
fn two_level(scale: ScaleType, peak: f32, tensor_peak: f32) -> (f32, Step) {
    if !tensor_peak.is_finite() {
        return (NAN, Step::Poison);
    }
    let (code, factor) = block::two_level_block(scale.format, peak, block::two_level_factor(tensor_peak));
    (num::value(scale.format, code), Step::Multiply(factor))
}

/// The largest magnitude maps to the largest level.
fn absmax_scale(format: FormatRef, peak: f32) -> (f32, Step) {
    if format.element == num::Element::Int {
        let peak = at_least_floor(peak);
        return (peak / format.max, Step::Multiply(format.max / peak));
    }
    let scale = match peak / format.max {
        _ if peak == 0.0 => 1.0,
        0.0 => f32::from_bits(1),
        scale => scale,
    };
    // Formats with borders of their own are defined on a product with the reciprocal.
    (scale, if format.thresholds.is_empty() { Step::Divide(scale) } else { Step::Multiply(1.0 / scale) })
}

/// The mean magnitude maps to one: signs only where no level is zero.
fn absmean(format: FormatRef, group: &[f32]) -> (f32, Step) {
    let mean = at_least_floor(sums::sum(group.len(), |i| group[i].abs()) / group.len() as f32);
    let has_zero = format.sorted.iter().any(|code| num::value(format, *code) == 0.0);
    (mean, if has_zero { Step::Multiply(1.0 / mean) } else { Step::Plain })
}

/// A measured scale as it is stored, and the step that goes with it: codes belong to the scale that is stored.
fn stored(scale: ScaleType, measured: f32, step: Step) -> (f32, Step) {
    if !measured.is_finite() {
        return (NAN, Step::Poison);
    }
    if scale.format.name == "fp32" {
        return (measured, step);
    }
    let nearest = num::encode(scale.format, measured.to_bits(), Rounding::NearestEven, true);
    // What would be zero is the least positive scale.
    let value = match num::value(scale.format, nearest) {
        0.0 => num::value(scale.format, 1),
        value => value,
    };
    (value, if matches!(step, Step::Plain) { step } else { Step::Divide(value) })
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
            rows.drop_masked(id, 0..rows.cols, &mut codes);
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
        let row = out.len() - rows.cols;
        rows.drop_masked(id, 0..rows.cols, &mut out[row..]);
    }
    Ok(out)
}
