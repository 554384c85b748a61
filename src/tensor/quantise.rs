//! f32 tensors and the offline quantisers of weights (numerics contract, section 8).
//!
//! A group of values that share a scale (a tensor, a row, a block) is measured, then every value is encoded. All steps
//! are f32 operations, each rounded, but the mean magnitude, which is summed in f64 and rounded once.

use super::pack::{get, put};
use super::{Scaling, Tensor, TensorType, rows_cols};
use crate::diag::{Error, Result};
use crate::num::format::{Format, ScaleRule};
use crate::num::{Element, Rounding, cast, encode, func, value};

/// Floor of the measured magnitude that ints and ternary divide by, so that a group of zeros has a finite factor.
pub const MAGNITUDE_FLOOR: f32 = 1e-5;

/// How the values of one group become codes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// code = encode(x): casts, and binary, whose code is the sign.
    Plain,
    /// code = encode(fl(x * factor)): ints and ternary.
    Multiply(f32),
    /// code = encode(fl(x / scale)): absmax into floats and codebooks.
    Divide(f32),
}

impl Tensor {
    /// An fp32 tensor; NaNs become canonical.
    ///
    /// # Errors
    /// Internal if the number of values is not that of the shape.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self> {
        let payload = values.iter().flat_map(|v| func::canonical(*v).to_le_bytes()).collect();
        Tensor::new(shape, TensorType::plain(crate::num::format::find("fp32")?), payload, Vec::new())
    }

    /// Dequantised values, row-major: the value of the code, times its scale in f32 if it has one. NaN is canonical.
    pub fn to_f32(&self) -> Vec<f32> {
        let (rows, cols) = self.rows_cols();
        let mut values = Vec::with_capacity(rows * cols);
        for row in 0..rows {
            let packed = self.row(row);
            for col in 0..cols {
                let plain = value(self.ty.format, get(self.ty.format, packed, col));
                values.push(match self.scale_index(row, col) {
                    None => plain,
                    Some(at) => func::canonical(plain * self.scales[at]),
                });
            }
        }
        values
    }

    /// Quantises f32 weights into `ty` with the rule of its format (numerics 8).
    ///
    /// # Errors
    /// BadInput if a value is NaN or infinite (the caller knows the tensor's name); Unsupported where the scaling does
    /// not go with the format's rule; Internal if the number of values is not that of the shape.
    pub fn quantise(shape: Vec<usize>, values: &[f32], ty: TensorType) -> Result<Self> {
        let (rows, cols) = rows_cols(&shape);
        if values.len() != rows * cols {
            return Err(Error::internal(format!("{} values for the shape {shape:?}", values.len())));
        }
        ty.check()?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let what = if values[at].is_nan() { "NaN" } else { "infinite" };
            return Err(Error::bad_input(format!("element {at} is {what}, so the tensor cannot be quantised"))
                .help("export the model's weights again"));
        }
        let groups = match ty.scaling {
            Scaling::None | Scaling::Tensor => vec![0..values.len()],
            Scaling::Row => (0..rows).map(|r| r * cols..(r + 1) * cols).collect(),
            Scaling::Block(n) => blocks(rows, cols, n as usize),
        };
        let row_bytes = ty.row_bytes(cols);
        let mut payload = vec![0; rows * row_bytes];
        let mut scales = Vec::with_capacity(ty.scale_count(rows, cols));
        for group in groups {
            let (step, scale) = if ty.scaling == Scaling::None {
                (Step::Plain, 1.0)
            } else {
                measure(ty.format, &values[group.clone()])
            };
            if ty.scaling != Scaling::None {
                scales.push(scale);
            }
            for at in group {
                let row = &mut payload[at / cols * row_bytes..][..row_bytes];
                put(ty.format, row, at % cols, step.code(ty.format, values[at]));
            }
        }
        Tensor::new(shape, ty, payload, scales)
    }
}

fn blocks(rows: usize, cols: usize, n: usize) -> Vec<std::ops::Range<usize>> {
    let starts = (0..rows).flat_map(|r| (0..cols).step_by(n).map(move |c| (r, c)));
    starts.map(|(r, c)| r * cols + c..r * cols + (c + n).min(cols)).collect()
}

impl Step {
    fn code(self, format: &Format, x: f32) -> u32 {
        match self {
            Step::Plain => cast(format, x),
            Step::Multiply(factor) => encode(format, (x * factor).to_bits(), Rounding::NearestEven, true),
            Step::Divide(scale) => encode(format, (x / scale).to_bits(), Rounding::NearestEven, true),
        }
    }
}

/// Step and stored scale of a group of finite values.
fn measure(format: &Format, values: &[f32]) -> (Step, f32) {
    if format.rule == ScaleRule::Absmean {
        let mean = mean_magnitude(values);
        // Without a zero among its levels a format keeps the sign alone, and the mean is not divided by.
        if !format.sorted.iter().any(|code| value(format, *code) == 0.0) {
            return (Step::Plain, mean);
        }
        let mean = func::max(mean, MAGNITUDE_FLOOR);
        return (Step::Multiply(1.0 / mean), mean);
    }
    let largest = values.iter().fold(0.0, |a, v| func::max(a, v.abs()));
    if matches!(format.element, Element::Int) {
        let largest = func::max(largest, MAGNITUDE_FLOOR);
        return (Step::Multiply(format.max / largest), largest / format.max);
    }
    let scale = if largest == 0.0 { 1.0 } else { func::max(largest / format.max, f32::from_bits(1)) };
    (Step::Divide(scale), scale)
}

/// Mean of |x|: L16 sum in f64 (lane i mod 16, then lanes 8, 4, 2, 1 apart), divided, rounded once to f32.
fn mean_magnitude(values: &[f32]) -> f32 {
    let mut lanes = [0f64; 16];
    for (at, v) in values.iter().enumerate() {
        lanes[at % 16] += f64::from(v.abs());
    }
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    if values.is_empty() { 0.0 } else { func::round_f64(lanes[0] / values.len() as f64) }
}
