//! f32 tensors and the offline quantisers of weights (numerics contract, section 8).
//!
//! A group of values that share a scale (a tensor, a row, a block, a tile) is measured, then every value is encoded. All
//! steps are f32 operations, each rounded, but means, which are summed in f64 and rounded once.

use super::pack::{get, put};
use super::{Calibration, Mask, Recipe, Scaling, Tensor, TensorType, fit, rows_cols};
use crate::diag::{Error, Result};
use crate::num::block::{self, BlockFormat, Blocking};
use crate::num::bulk::Mode;
use crate::num::format::{self, Format, ScaleRule};
use crate::num::{Element, Rounding, cast, encode, func, value};
use std::ops::Range;

/// Floor of the measured magnitude that ints and ternary divide by, so that a group of zeros has a finite factor.
pub const MAGNITUDE_FLOOR: f32 = 1e-5;

/// Rounds of alternation at most in a fit of planes by least squares.
const LEAST_SQUARES_ROUNDS: usize = 100;

/// How the values of one group become codes.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// code = encode(x): casts, and binary, whose code is the sign.
    Plain,
    /// code = encode(fl(x * factor)): ints and ternary.
    Multiply(f32),
    /// code = encode(fl(x / scale)): absmax into floats and codebooks, and every scale that was rounded to its format.
    Divide(f32),
    /// code = clamp(rne(fl(x / scale)) - shift) for a shift by a whole number.
    Shift(f32, f32),
    /// code = encode(x / 2^(code - 127)), exactly scaled.
    Power(BlockFormat, u8),
}

/// What the values of one group have in common.
struct Group {
    step: Step,
    scale: f32,
    offset: f32,
}

impl Tensor {
    /// An fp32 tensor; NaNs become canonical.
    ///
    /// # Errors
    /// Internal if the number of values is not that of the shape.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self> {
        let payload = values.iter().flat_map(|v| func::canonical(*v).to_le_bytes()).collect();
        Tensor::new(shape, TensorType::plain(format::find("fp32")?), payload, Vec::new())
    }

    /// Dequantised values, row-major, in f32: the codes' terms folded as a dot with one folds them, that is
    /// t = fl(code * scale); with planes then t = fma(code_i, scale_i, t); with an offset t = fl(t + offset); with a global
    /// scale t = fl(t * global). NaN is canonical.
    pub fn to_f32(&self) -> Vec<f32> {
        let (rows, cols) = self.rows_cols();
        if self.ty.format.name == "fp32" && self.ty.scaling == Scaling::None && self.mask.is_none() {
            let words = self.payload.as_chunks::<4>().0.iter();
            return words.map(|word| func::canonical(f32::from_le_bytes(*word))).collect();
        }
        let mut values = Vec::with_capacity(rows * cols);
        let plane_bytes = self.ty.plane_bytes(cols);
        for row in 0..rows {
            let packed = self.row(row);
            for col in 0..cols {
                if !self.live(row, col) {
                    values.push(0.0);
                    continue;
                }
                let code =
                    |plane: usize| value(self.ty.format, get(self.ty.format, &packed[plane * plane_bytes..], col));
                let Some(at) = self.scale_index(row, col) else {
                    values.push(code(0));
                    continue;
                };
                let mut total = code(0) * self.scales[at];
                for plane in 1..self.ty.planes as usize {
                    total = func::fma(code(plane), self.scales[at + plane], total);
                }
                if self.ty.offset {
                    total += self.offsets[at];
                }
                if self.ty.scale.global {
                    total *= self.global;
                }
                values.push(func::canonical(total));
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
        Tensor::quantise_with(shape, values, ty, &Recipe::default(), "")
    }

    /// As [`Tensor::quantise`], with the scales, the rounding and the sparsity of a recipe. The draws of a stochastic
    /// rounding are those of the tensor called `name`.
    ///
    /// # Errors
    /// As [`Tensor::quantise`] and [`Recipe::check`].
    pub fn quantise_with(
        shape: Vec<usize>,
        values: &[f32],
        ty: TensorType,
        recipe: &Recipe,
        name: &str,
    ) -> Result<Self> {
        Tensor::quantise_masked(shape, values, ty, (recipe, name), None)
    }

    /// This tensor's values in another type, as [`Tensor::quantise_with`]; its mask stays, unless the recipe has a
    /// sparsity of its own.
    ///
    /// # Errors
    /// As [`Tensor::quantise_with`].
    pub fn requantised(&self, ty: TensorType, recipe: &Recipe, name: &str) -> Result<Self> {
        Tensor::quantise_masked(self.shape.clone(), &self.to_f32(), ty, (recipe, name), self.mask.as_ref())
    }

    fn quantise_masked(
        shape: Vec<usize>,
        values: &[f32],
        ty: TensorType,
        (recipe, name): (&Recipe, &str),
        mask: Option<&Mask>,
    ) -> Result<Self> {
        let (rows, cols) = rows_cols(&shape);
        if values.len() != rows * cols {
            return Err(Error::internal(format!("{} values for the shape {shape:?}", values.len())));
        }
        ty.check()?;
        recipe.check(&ty)?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let what = if values[at].is_nan() { "NaN" } else { "infinite" };
            return Err(Error::bad_input(format!("element {at} is {what}, so the tensor cannot be quantised"))
                .help("export the model's weights again"));
        }
        let grid = Grid::new(ty.scaling, rows, cols);
        let mask = recipe.sparsity.map(|sparsity| Mask::of_largest(sparsity, cols, values)).or(mask.cloned());
        let is_live = |at: usize| mask.as_ref().is_none_or(|mask| mask.live(at / cols, at % cols));
        // What is not kept is zero, and no scale is measured over it.
        let kept: Vec<f32> = values.iter().enumerate().map(|(at, v)| if is_live(at) { *v } else { 0.0 }).collect();
        let (values, mode) = (kept.as_slice(), recipe.mode(name));
        let ty = match ty.format.name == format::CODEBOOK {
            true => learned(ty, (0..values.len()).filter(|at| is_live(*at)).map(|at| values[at]).collect())?,
            false => ty,
        };
        if ty.scale.global {
            return masked(two_level(shape, values, ty, grid, mode)?, mask);
        }
        if ty.planes > 1 {
            let made = planes(shape, values, ty, grid, (recipe.calibration.is_some(), mask.as_ref()))?;
            return masked(made, mask);
        }
        let row_bytes = ty.row_bytes(cols);
        let mut payload = vec![0; rows * row_bytes];
        let (mut scales, mut offsets) = (Vec::with_capacity(ty.scale_count(rows, cols)), Vec::new());
        let mut inside = Vec::new();
        for (band, columns) in grid.groups() {
            inside.clear();
            for row in band.clone() {
                let places = columns.clone().map(|col| row * cols + col);
                inside.extend(places.filter(|at| is_live(*at)).map(|at| values[at]));
            }
            if mask.is_some() && inside.is_empty() {
                inside.push(0.0);
            }
            let group = match (ty.scaling, recipe.calibration) {
                (Scaling::None, _) => Group { step: Step::Plain, scale: 1.0, offset: 0.0 },
                (_, None) => measure(&ty, &inside),
                (_, Some(calibration)) => fitted(&ty, &inside, calibration)?,
            };
            if ty.scaling != Scaling::None {
                scales.push(group.scale);
            }
            if ty.offset {
                offsets.push(group.offset);
            }
            for row in band {
                let packed = &mut payload[row * row_bytes..][..row_bytes];
                for col in columns.clone() {
                    let at = row * cols + col;
                    put(ty.format, packed, col, group.step.code(ty.format, values[at], block::at(mode, at as u64)));
                }
            }
        }
        let tensor = masked(Tensor::with_sides(shape, ty, payload, (scales, offsets, 1.0))?, mask)?;
        if recipe.double_quant == Some(true) { tensor.double_quantised() } else { Ok(tensor) }
    }

    /// The same codes under scales that are quantised themselves, as QLoRA does: the codes are those of the scales before.
    fn double_quantised(self) -> Result<Self> {
        let double = fit::double::DoubleScales::fit(&self.scales)?;
        Ok(Tensor { scales: double.scales(), double_bytes: Some(double.bytes()), ..self })
    }
}

/// The type whose table is the one of least square error for these values.
fn learned(ty: TensorType, values: Vec<f32>) -> Result<TensorType> {
    let mut levels = [0.0; format::CODEBOOK_LEVELS];
    if !values.is_empty() {
        let book = fit::codebook::Codebook::fit(&values, format::CODEBOOK_LEVELS)?;
        levels.copy_from_slice(&book.levels);
    }
    Ok(TensorType { format: format::learned(&levels)?, ..ty })
}

fn masked(tensor: Tensor, mask: Option<Mask>) -> Result<Tensor> {
    match mask {
        Some(mask) => tensor.with_mask(mask),
        None => Ok(tensor),
    }
}

/// The tensor cut into groups that share a scale.
#[derive(Clone, Copy)]
struct Grid {
    rows: usize,
    cols: usize,
    /// Rows of a group, and how many bands of that height there are.
    height: usize,
    bands: usize,
    /// Columns of a group, and how many of that width there are.
    width: usize,
    across: usize,
}

impl Grid {
    fn new(scaling: Scaling, rows: usize, cols: usize) -> Self {
        let (height, bands, width, across) = match scaling {
            Scaling::None | Scaling::Tensor => (rows, 1, cols, 1),
            Scaling::Row => (1, rows, cols, 1),
            Scaling::Block(n) => (1, rows, n as usize, cols.div_ceil(n as usize)),
            Scaling::Tile(r, n) => (r as usize, rows.div_ceil(r as usize), n as usize, cols.div_ceil(n as usize)),
        };
        Grid { rows, cols, height, bands, width, across }
    }

    /// Rows and columns of every group, in the order of the scales.
    fn groups(self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        (0..self.bands).flat_map(move |band| {
            let rows = band * self.height..((band + 1) * self.height).min(self.rows);
            (0..self.across).map(move |at| (rows.clone(), at * self.width..((at + 1) * self.width).min(self.cols)))
        })
    }
}

/// NVFP4, in the order of operations of its reference ([`block::encode_two_level`]).
fn two_level(shape: Vec<usize>, values: &[f32], ty: TensorType, grid: Grid, mode: Mode) -> Result<Tensor> {
    let bits: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
    let Grid { rows, cols, height, width, .. } = grid;
    let blocking = Blocking { rows, cols, block_rows: height, block_cols: width };
    let coded = block::encode_two_level(&bits, blocking, mode)?;
    let payload = coded.codes.chunks(cols.max(1)).flat_map(|row| super::pack::pack_row(ty.format, row)).collect();
    let scales = coded.scales.iter().map(|code| value(ty.scale.format, u32::from(*code))).collect();
    Tensor::with_sides(shape, ty, payload, (scales, Vec::new(), coded.global))
}

/// Sums of sign planes, greedily (the signs of what is left, times its mean magnitude, plane after plane), or by least
/// squares.
fn planes(
    shape: Vec<usize>,
    values: &[f32],
    ty: TensorType,
    grid: Grid,
    (least_squares, mask): (bool, Option<&Mask>),
) -> Result<Tensor> {
    let (plane_bytes, row_bytes) = (ty.plane_bytes(grid.cols), ty.row_bytes(grid.cols));
    let mut payload = vec![0; grid.rows * row_bytes];
    let mut scales = Vec::new();
    for (band, _) in grid.groups() {
        let first = band.start * grid.cols;
        let mut left = values[first..band.end * grid.cols].to_vec();
        if least_squares {
            let fit = fit::planes::least_squares(&left, ty.planes as usize, LEAST_SQUARES_ROUNDS)?;
            scales.extend(fit.scales.iter().map(|scale| cast_scale(&ty, *scale)));
            for (at, signs) in fit.signs.iter().enumerate() {
                let (row, col) = (band.start + at / grid.cols, at % grid.cols);
                for plane in 0..ty.planes as usize {
                    let code = u32::from(signs >> plane & 1);
                    put(ty.format, &mut payload[row * row_bytes + plane * plane_bytes..][..plane_bytes], col, code);
                }
            }
            continue;
        }
        for plane in 0..ty.planes as usize {
            let live = |at: usize| mask.is_none_or(|mask| mask.live(band.start + at / grid.cols, at % grid.cols));
            let inside: Vec<f32> = (0..left.len()).filter(|at| live(*at)).map(|at| left[at]).collect();
            let scale = cast_scale(&ty, mean_magnitude(&inside));
            scales.push(scale);
            for (at, x) in left.iter_mut().enumerate() {
                let (row, col) = (band.start + at / grid.cols, at % grid.cols);
                let code = cast(ty.format, *x);
                put(ty.format, &mut payload[row * row_bytes + plane * plane_bytes..][..plane_bytes], col, code);
                *x -= value(ty.format, code) * scale;
            }
        }
    }
    Tensor::new(shape, ty, payload, scales)
}

impl Step {
    fn code(self, format: &Format, x: f32, mode: Rounding) -> u32 {
        let rounded = |x: f32| encode(format, x.to_bits(), mode, true);
        match self {
            Step::Plain => encode(format, x.to_bits(), mode, format.saturate),
            Step::Multiply(factor) => rounded(x * factor),
            Step::Divide(scale) => rounded(x / scale),
            Step::Shift(scale, shift) => rounded(func::rne(x / scale) - shift),
            Step::Power(block, scale) => block.code_power(x.to_bits(), scale, mode),
        }
    }
}

/// `scale` rounded to the format of the type's scales; what rounds to zero or beyond the largest is the nearest value that
/// is neither.
fn cast_scale(ty: &TensorType, scale: f32) -> f32 {
    let format = ty.scale.format;
    let stored = value(format, encode(format, scale.to_bits(), Rounding::NearestEven, true));
    if format.element == Element::Squares {
        return settled(format, stored);
    }
    if stored == 0.0 && scale > 0.0 { value(format, 1) } else { stored }
}

/// A sum of squares that is its own code's value: a sum may be rounded to one with other roots, so it is coded again until
/// it stays; a single square always does.
fn settled(format: &Format, mut scale: f32) -> f32 {
    for _ in 0..16 {
        let code = encode(format, scale.to_bits(), Rounding::NearestEven, true);
        let again = value(format, code);
        if again == scale {
            return scale;
        }
        scale = again;
    }
    value(format, encode(format, scale.to_bits(), Rounding::NearestEven, true) & 0xffff)
}

/// Step, stored scale and offset of a group of finite values.
fn measure(ty: &TensorType, values: &[f32]) -> Group {
    let format = ty.format;
    if ty.scale.is_power() {
        let block = BlockFormat::of(format);
        let bits: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
        let code = block.power(&bits, ty.scale.exponent);
        return Group { step: Step::Power(block, code), scale: value(ty.scale.format, u32::from(code)), offset: 0.0 };
    }
    if ty.offset {
        return affine(ty, values);
    }
    let (step, exact) = measure_exact(format, values);
    let scale = cast_scale(ty, exact);
    let step = match step {
        Step::Plain => Step::Plain,
        // The codes belong to the scale that is stored.
        _ if ty.scale.format.name != "fp32" => Step::Divide(scale),
        step => step,
    };
    Group { step, scale, offset: 0.0 }
}

/// Step and stored scale of a group by a calibration: the codes belong to the scale that is stored.
fn fitted(ty: &TensorType, values: &[f32], calibration: Calibration) -> Result<Group> {
    let scale = cast_scale(ty, calibration.scale(ty.format, values)?);
    let signs =
        ty.format.rule == ScaleRule::Absmean && !ty.format.sorted.iter().any(|code| value(ty.format, *code) == 0.0);
    Ok(Group { step: if signs { Step::Plain } else { Step::Divide(scale) }, scale, offset: 0.0 })
}

/// Asymmetric integers: the range from least to largest value, zero included, in 2^N - 1 steps; zero is a code. The code
/// of -2^(N-1) is the least value, so element = code * s + b with b = fl(s * (2^(N-1) - z)).
fn affine(ty: &TensorType, values: &[f32]) -> Group {
    let least = values.iter().fold(0.0, |a, v| if *v < a { *v } else { a });
    let largest = values.iter().fold(0.0, |a, v| if *v > a { *v } else { a });
    let steps = ((1u32 << ty.format.bits) - 1) as f32;
    let scale = cast_scale(ty, (largest - least) / steps);
    let scale = if scale == 0.0 { 1.0 } else { scale };
    let zero = func::rne(-least / scale);
    let shift = (1u32 << (ty.format.bits - 1)) as f32 - zero;
    Group { step: Step::Shift(scale, shift), scale, offset: scale * shift }
}

/// Step and f32 scale of a group of finite values, by the rule of the format.
fn measure_exact(format: &Format, values: &[f32]) -> (Step, f32) {
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
    // Grids with borders of their own are read off as their definition has it, by a product.
    let step = if format.thresholds.is_empty() { Step::Divide(scale) } else { Step::Multiply(1.0 / scale) };
    (step, scale)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantise(shape: &[usize], values: &[f32], ty: &str) -> Tensor {
        let ty = TensorType::parse(ty).unwrap_or_else(|e| panic!("{e}"));
        Tensor::quantise(shape.to_vec(), values, ty).unwrap_or_else(|e| panic!("{e}"))
    }

    fn codes(tensor: &Tensor) -> Vec<u32> {
        let (rows, cols) = tensor.rows_cols();
        (0..rows).flat_map(|r| super::super::pack::unpack_row(tensor.ty.format, tensor.row(r), cols)).collect()
    }

    #[test]
    fn int8_rows_follow_the_stated_operations() {
        let t = quantise(&[2, 3], &[1.0, -0.5, 0.25, 0.0, 0.0, 0.0], "int8/row");
        assert_eq!(codes(&t), [127, 0xc0, 32, 0, 0, 0]); // -63.5 ties to -64, 31.75 to 32
        assert_eq!(t.scales, [1.0 / 127.0, 1e-5 / 127.0]);
        // x * fl(127/a), not x / fl(a/127): these differ on some values, and this is one.
        let (x, a) = (0.019_684_99f32, 0.999_999f32);
        let t = quantise(&[2], &[x, a], "int8/tensor");
        assert_eq!(codes(&t)[0], func::rne(x * (127.0 / a)) as u32);
        assert_eq!(quantise(&[1, 2], &[1.0, -1.0], "int4/block2").payload, [0x97]);
        assert_eq!(quantise(&[2], &[2.0, -0.9], "int2/row").payload, [0b0001]);
    }

    #[test]
    fn floats_divide_by_the_scale_and_zero_groups_have_scale_one() {
        let t = quantise(&[1, 4], &[0.0, 0.0, 3.0, -12.0], "fp4e2m1/block2");
        assert_eq!((codes(&t), t.scales.clone()), (vec![0, 0, 3, 15], vec![1.0, 2.0]));
        assert_eq!(t.to_f32(), [0.0, 0.0, 3.0, -12.0]);
        let t = quantise(&[1, 2], &[896.0, -1.0], "fp8e4m3/row");
        assert_eq!((codes(&t), t.scales), (vec![0x7e, 0xb0], vec![2.0]));
        // A scale that would underflow to zero is the least subnormal.
        let t = quantise(&[1, 1], &[f32::from_bits(3)], "fp8e4m3/row");
        assert_eq!((t.scales[0].to_bits(), codes(&t)), (1, vec![0x44]));
    }

    #[test]
    fn ternary_and_binary_scale_by_the_mean_magnitude() {
        let t = quantise(&[2, 2], &[1.0, -0.5, 0.25, -0.25], "ternary/tensor");
        assert_eq!((codes(&t), t.scales.clone()), (vec![1, 2, 0, 0], vec![0.5])); // 0.25/0.5 ties to 0
        assert_eq!(t.payload, [0b1001, 0]);
        let zeros = quantise(&[1, 2], &[0.0, -0.0], "ternary/tensor");
        assert_eq!((codes(&zeros), zeros.scales.clone()), (vec![0, 0], vec![1e-5]));
        let b = quantise(&[2, 2], &[3.0, -1.0, -0.0, 0.0], "binary/row");
        assert_eq!((codes(&b), b.scales.clone(), b.payload.clone()), (vec![0, 1, 0, 0], vec![2.0, 0.0], vec![2, 0]));
        assert_eq!(b.to_f32(), [2.0, -2.0, 0.0, 0.0]);
    }

    #[test]
    fn casts_have_no_scale_and_nan_is_refused() {
        let t = quantise(&[3], &[1.0, 1e9, -1e-9], "fp16");
        assert_eq!((codes(&t), t.scales.len(), t.bytes()), (vec![0x3c00, 0x7c00, 0x8000], 0, 6));
        let plain = Tensor::from_f32(vec![2], &[f32::from_bits(0xffc0_1234), -0.0]).unwrap();
        assert_eq!(codes(&plain), [0x7fc0_0000, 0x8000_0000]);
        let ty = TensorType::parse("int8/row").unwrap();
        for bad in [f32::NAN, f32::INFINITY] {
            let error = Tensor::quantise(vec![2], &[0.0, bad], ty).unwrap_err();
            assert!(error.message().starts_with("element 1 is "), "{error}");
        }
        assert!(Tensor::quantise(vec![3], &[0.0], ty).is_err());
    }

    proptest! {
        #[test]
        fn quantised_values_stay_within_half_a_step(
            rows in 1usize..4, cols in 0usize..40, seed in any::<u32>(), block in 1u32..20
        ) {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            };
            let values: Vec<f32> = (0..rows * cols).map(|_| next()).collect();
            for (name, half_step) in [("int8", 0.5 / 127.0), ("int4", 0.5 / 7.0), ("fp4e2m1", 1.0 / 6.0), ("fp8e4m3", 16.0 / 448.0)] {
                let ty = format!("{name}/block{block}");
                let t = quantise(&[rows, cols], &values, &ty);
                prop_assert_eq!(t.scales.len(), t.ty.scale_count(rows, cols));
                prop_assert_eq!(t.payload.len(), rows * t.ty.row_bytes(cols));
                for (at, (x, y)) in values.iter().zip(t.to_f32()).enumerate() {
                    let start = at / cols * cols + at % cols / block as usize * block as usize;
                    let end = (start + block as usize).min(at / cols * cols + cols);
                    let largest = values[start..end].iter().fold(0f32, |a, v| if v.abs() > a { v.abs() } else { a });
                    prop_assert!((x - y).abs() <= largest * half_step * 1.000_01 + 1e-7, "{} {} {}", ty, x, y);
                }
                // A second quantisation of what was read back changes no code.
                let again = quantise(&[rows, cols], &t.to_f32(), &ty);
                prop_assert_eq!(again.payload, t.payload);
            }
        }
    }

    #[test]
    fn a_codebook_is_learned_from_what_is_kept() {
        // Eight distinct values come back as they were, whatever they are.
        let eight = [0.3, -7.0, 1e-20, 2.5, -0.1, 0.7, 100.0, -3.0f32];
        let values: Vec<f32> = (0..40).map(|i| eight[i * i % 7 + i % 2]).chain(eight).collect();
        let t = quantise(&[6, 8], &values, "codebook8");
        assert!(t.ty.format.is_learned() && t.ty.general() == TensorType::parse("codebook8").unwrap());
        assert!(TensorType::parse("codebook8").unwrap().asks_for(&t.ty) && !t.ty.asks_for(&t.ty.general()));
        assert_eq!((t.to_f32(), t.bytes(), t.scales.len()), (values.clone(), 6 * 3, 0));
        assert_eq!(TensorType::parse(&t.ty.to_string()).unwrap(), t.ty);
        // More values: the levels of the fit, each value at the nearest.
        let many: Vec<f32> = (0..999).map(|i| (i as f32 * 0.37).sin()).collect();
        let book = fit::codebook::Codebook::fit(&many, 8).unwrap();
        let t = quantise(&[27, 37], &many, "codebook8");
        assert_eq!(t.ty.format.values, book.levels.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
        assert!(many.iter().zip(t.to_f32()).all(|(x, y)| book.levels.iter().all(|l| (x - y).abs() <= (x - l).abs())));
        // Zeros, nothing at all, and a mask, whose dropped elements teach nothing.
        assert_eq!(quantise(&[2], &[0.0, -0.0], "codebook8").to_f32(), [0.0, 0.0]);
        assert_eq!(quantise(&[0, 4], &[], "codebook8").bytes(), 0);
        let half = Recipe { sparsity: crate::tensor::Sparsity::parse("1:2").ok(), ..Recipe::default() };
        let ty = TensorType::parse("codebook8").unwrap();
        let t = Tensor::quantise_with(vec![1, 4], &[1.0, 9.0, -8.0, 2.0], ty, &half, "w").unwrap();
        assert_eq!((t.to_f32(), t.ty.format.max), (vec![0.0, 9.0, -8.0, 0.0], 9.0));
        assert!(TensorType::parse("codebook8/row").unwrap_err().to_string().contains("takes no scale"));
    }

    #[test]
    fn the_mean_is_summed_in_lanes() {
        // Lane by lane the small values survive where one running sum would lose them.
        let mut values = vec![0f32; 32];
        values[0] = 1e30;
        values[1] = 3.0;
        assert_eq!(mean_magnitude(&values), func::round_f64((1e30f32 as f64 + 3.0) / 32.0));
        assert_eq!(mean_magnitude(&[]), 0.0);
        assert_eq!(mean_magnitude(&[-1.0, 2.0, -6.0]), 3.0);
    }
}
