//! Block formats: elements that share a scale which is itself a code (OCP MX and NVFP4; numerics contract, 8).
//!
//! MX: one E8M0 scale for 32 elements along a row. NVFP4: one E4M3 scale for 16 elements of a row, or for 16 x 16, and one
//! f32 scale for the tensor. All arithmetic is f32, each operation rounded, in the order written here.

use super::bulk::Mode;
use super::codec::{Draw, Rounding, decode, encode};
use super::format::{Element, FormatRef, find};
use crate::diag::{Error, Result};

/// How the scale of a block follows from its largest magnitude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleExponent {
    /// floor(log2 a) - emax: the rule of the specification.
    Floor,
    /// ceil(log2 a) - emax.
    Ceil,
    /// a / max, by a product with the rounded reciprocal, up to a power of two.
    RoundedCeil,
    /// floor(log2 of a rounded to the element's fraction) - emax.
    Even,
}

/// The scale of a block format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockScale {
    /// A power of two in E8M0.
    Power,
    /// E4M3 under one f32 scale for the tensor.
    TwoLevel,
}

/// A block format.
#[derive(Debug, Clone, Copy)]
pub struct BlockFormat {
    /// Name used everywhere.
    pub name: &'static str,
    /// Format of the elements.
    pub element: FormatRef,
    /// Value of one in the element's codes: elements are codes * 2^unit (MXINT8 has 2^-6).
    pub unit: i32,
    /// Exponent of the largest element.
    pub emax: i32,
    /// Fraction bits of the elements.
    pub fraction: u32,
    /// Kind of scale.
    pub scale: BlockScale,
}

/// Name, element, unit, emax and fraction bits of every block format; all but the last have E8M0 scales.
const BLOCKS: [(&str, &str, i32, i32, u32); 7] = [
    ("mxfp8e4m3", "fp8e4m3", 0, 8, 3),
    ("mxfp8e5m2", "fp8e5m2", 0, 15, 2),
    ("mxfp6e3m2", "fp6e3m2", 0, 4, 2),
    ("mxfp6e2m3", "fp6e2m3", 0, 2, 3),
    ("mxfp4", "fp4e2m1", 0, 2, 1),
    ("mxint8", "int8", -6, 0, 6),
    ("nvfp4", "fp4e2m1", 0, 2, 1),
];

/// E8M0 code of NaN.
pub const SCALE_NAN: u8 = 0xff;
/// E4M3 code of NaN.
const E4M3_NAN: u32 = 0x7f;

impl BlockFormat {
    /// The block format called `name`, if there is one.
    ///
    /// # Errors
    /// Only where the built-in table lacks the element.
    pub fn find(name: &str) -> Result<Option<BlockFormat>> {
        let Some((name, element, unit, emax, fraction)) = BLOCKS.iter().copied().find(|row| row.0 == name) else {
            return Ok(None);
        };
        let scale = if name == "nvfp4" { BlockScale::TwoLevel } else { BlockScale::Power };
        Ok(Some(BlockFormat { name, element: find(element)?, unit, emax, fraction, scale }))
    }
    /// All block formats.
    ///
    /// # Errors
    /// As [`BlockFormat::find`].
    pub fn all() -> Result<Vec<BlockFormat>> {
        BLOCKS.iter().filter_map(|row| BlockFormat::find(row.0).transpose()).collect()
    }
    /// Elements of a block along a row unless something else is asked for.
    pub fn default_block(&self) -> usize {
        if self.scale == BlockScale::Power { 32 } else { 16 }
    }

    /// Encodes rows that share one row of blocks: appends the codes in row-major order and one scale a block.
    pub fn encode_strip(
        &self,
        strip: Strip<'_>,
        rule: ScaleExponent,
        mode: Mode,
        codes: &mut Vec<u32>,
        scales: &mut Vec<u8>,
    ) {
        let Strip { x, cols, block_cols, first } = strip;
        let start = scales.len();
        for left in (0..cols).step_by(block_cols) {
            let columns = left..(left + block_cols).min(cols);
            let largest = x.chunks(cols).map(|row| magnitude(&row[columns.clone()])).max();
            scales.push(self.power_of(largest.unwrap_or(0), rule));
        }
        let mut at = first;
        for row in x.chunks(cols) {
            for (x, scale) in row.chunks(block_cols).zip(&scales[start..]) {
                self.encode_power(x, *scale, mode, at, codes);
                at += x.len() as u64;
            }
        }
    }
    /// Appends the values of rows of `cols` codes that share one row of blocks.
    pub fn decode_strip(&self, codes: &[u32], cols: usize, block_cols: usize, scales: &[u8], values: &mut Vec<u32>) {
        for row in codes.chunks(cols) {
            for (codes, scale) in row.chunks(block_cols).zip(scales) {
                values.extend(codes.iter().map(|code| self.decode_power(*code, *scale)));
            }
        }
    }

    /// Blocks of `element` under scales in E8M0. Every element format has an exponent of its largest value and a number of
    /// fraction bits, so that the rules of MX apply to all of them.
    pub fn of(element: FormatRef) -> BlockFormat {
        let fraction = match &element.element {
            Element::Float { man, .. } => *man,
            Element::Int => element.bits - 2,
            Element::Codebook { .. } | Element::Real { .. } | Element::Squares => 0,
        };
        let emax = floor_log2(element.max.to_bits());
        BlockFormat { name: "", element, unit: 0, emax, fraction, scale: BlockScale::Power }
    }

    /// E8M0 code for a block of which `x` are the f32 bits.
    pub fn power(&self, x: &[u32], rule: ScaleExponent) -> u8 {
        self.power_of(magnitude(x), rule)
    }
    /// E8M0 code for a block whose largest magnitude has these f32 bits.
    pub fn power_of(&self, largest: u32, rule: ScaleExponent) -> u8 {
        if largest >= 0x7f80_0000 {
            return SCALE_NAN;
        }
        if largest == 0 {
            return 0;
        }
        let exponent = match rule {
            ScaleExponent::RoundedCeil => {
                let max = f64::from(self.element.max) * 2f64.powi(self.unit);
                let quotient = (f32::from_bits(largest) * (1.0 / max as f32)).to_bits();
                let (field, fraction) = (quotient >> 23, quotient & 0x7f_ffff);
                let up = fraction > 0 && field != 0xfe && !(field == 0 && fraction <= 0x40_0000);
                return (field + u32::from(up)) as u8;
            }
            ScaleExponent::Floor => floor_log2(largest),
            ScaleExponent::Ceil => {
                let floor = floor_log2(largest);
                floor + i32::from(f64::from(f32::from_bits(largest)) > 2f64.powi(floor))
            }
            ScaleExponent::Even => ((largest + (1 << (22 - self.fraction))) >> 23) as i32 - 127,
        };
        ((exponent - self.emax).clamp(-127, 127) + 127) as u8
    }

    /// Codes of the elements of a block with this E8M0 scale; `first` is the index of the first in its tensor.
    pub fn encode_power(&self, x: &[u32], scale: u8, mode: Mode, first: u64, codes: &mut Vec<u32>) {
        codes.extend(x.iter().zip(first..).map(|(x, index)| self.code_power(*x, scale, at(mode, index))));
    }

    /// Code of the element with bits `x` in a block with this E8M0 scale.
    pub fn code_power(&self, x: u32, scale: u8, mode: Rounding) -> u32 {
        if scale == SCALE_NAN {
            return 0;
        }
        let value = f64::from(f32::from_bits(x));
        // Below the f32 grid only whether the value is zero matters to an element.
        let scaled = match (value * 2f64.powi(127 - i32::from(scale) - self.unit)) as f32 {
            0.0 if value > 0.0 => f32::from_bits(1),
            0.0 if value < 0.0 => -f32::from_bits(1),
            scaled => scaled,
        };
        encode(self.element, scaled.to_bits(), mode, true)
    }

    /// Value of a code under an E8M0 scale, as f32 bits.
    pub fn decode_power(&self, code: u32, scale: u8) -> u32 {
        if scale == SCALE_NAN {
            return 0x7fc0_0000;
        }
        let element = f64::from(f32::from_bits(decode(self.element, code)));
        // Exact in f64, rounded once.
        let value = (element * 2f64.powi(i32::from(scale) - 127 + self.unit)) as f32;
        if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
    }
}

/// Rows of `cols` f32 bit patterns that share one row of blocks, each `block_cols` wide.
#[derive(Debug, Clone, Copy)]
pub struct Strip<'a> {
    /// The rows, one after the other, all whole.
    pub x: &'a [u32],
    /// Elements of a row; not 0.
    pub cols: usize,
    /// Elements of a block along a row; not 0, the last may be short.
    pub block_cols: usize,
    /// Index of the first element in its tensor (only draws depend on it).
    pub first: u64,
}

/// Bits of the largest magnitude.
fn magnitude(x: &[u32]) -> u32 {
    x.iter().map(|x| x & 0x7fff_ffff).max().unwrap_or(0)
}

/// The fixed rounding of the element at `index`.
pub(crate) fn at(mode: Mode, index: u64) -> Rounding {
    match mode {
        Mode::Fixed(mode) => mode,
        Mode::Stochastic(kind, bits, draws) => {
            let random = (u64::from(draws.word(index)) >> (32 - bits)) as u32;
            Rounding::Stochastic(Draw { kind, bits, random })
        }
    }
}

/// floor(log2) of positive finite f32 bits.
fn floor_log2(bits: u32) -> i32 {
    match bits >> 23 {
        0 => -118 - bits.leading_zeros() as i32,
        field => field as i32 - 127,
    }
}

/// A tensor in NVFP4: E2M1 codes, E4M3 codes of block scales in order of (block row, block), and the tensor's scale.
#[derive(Debug, Clone, PartialEq)]
pub struct TwoLevel {
    /// One code an element, row-major.
    pub codes: Vec<u32>,
    /// One E4M3 code a block.
    pub scales: Vec<u8>,
    /// Scale of the tensor: fl(largest magnitude / 2688); NaN if the tensor holds NaN or infinity.
    pub global: f32,
}

/// Rows and columns of a tensor, and of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocking {
    /// Rows of the tensor.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// Rows of a block; the last may be short.
    pub block_rows: usize,
    /// Elements of a block along a row; the last may be short.
    pub block_cols: usize,
}

impl Blocking {
    /// Blocks in a row of blocks.
    fn across(&self) -> usize {
        self.cols.div_ceil(self.block_cols)
    }
    /// Blocks of the tensor.
    pub fn count(&self) -> usize {
        self.rows.div_ceil(self.block_rows) * self.across()
    }
    /// Block of the element `index`.
    fn block(&self, index: usize) -> usize {
        index / self.cols / self.block_rows * self.across() + index % self.cols / self.block_cols
    }
}

/// Largest product of an element and a block scale: 448 * 6.
const TWO_LEVEL_MAX: f32 = 2688.0;

/// Quantises f32 bits to NVFP4 in the order of operations of NVIDIA's reference.
///
/// # Errors
/// Unsupported only if the built-in table lacks E2M1 or E4M3.
pub fn encode_two_level(x: &[u32], shape: Blocking, mode: Mode) -> Result<TwoLevel> {
    let (e2m1, e4m3) = (find("fp4e2m1")?, find("fp8e4m3")?);
    let mut largest = vec![0u32; shape.count()];
    for (index, x) in x.iter().enumerate() {
        let of_block = &mut largest[shape.block(index)];
        *of_block = (*of_block).max(x & 0x7fff_ffff);
    }
    let all = f32::from_bits(largest.iter().copied().max().unwrap_or(0));
    if !all.is_finite() {
        let scales = vec![E4M3_NAN as u8; largest.len()];
        return Ok(TwoLevel { codes: vec![0; x.len()], scales, global: f32::from_bits(0x7fc0_0000) });
    }
    let up = two_level_factor(all);
    let levels = largest.iter().map(|a| two_level_block(e4m3, f32::from_bits(*a), up));
    let (scales, factors): (Vec<u32>, Vec<f32>) = levels.unzip();
    let code = |(index, x): (usize, &u32)| {
        let scaled = f32::from_bits(*x) * factors[shape.block(index)];
        encode(e2m1, scaled.to_bits(), at(mode, index as u64), true)
    };
    let codes = x.iter().enumerate().map(code).collect();
    Ok(TwoLevel { codes, scales: scales.into_iter().map(|s| s as u8).collect(), global: two_level_global(all) })
}

/// `x`, infinity replaced by the largest finite value.
fn finite(x: f32) -> f32 {
    if x > f32::MAX { f32::MAX } else { x }
}

/// Stored scale of an NVFP4 tensor whose largest magnitude is `largest`.
pub fn two_level_global(largest: f32) -> f32 {
    largest / TWO_LEVEL_MAX
}

/// Factor that takes an NVFP4 tensor of largest magnitude `largest` onto the range of element times block scale.
pub fn two_level_factor(largest: f32) -> f32 {
    let up = finite(TWO_LEVEL_MAX / largest);
    if largest == 0.0 || up == 0.0 { 1.0 } else { up }
}

/// E4M3 code of the scale of an NVFP4 block of largest magnitude `largest` under the tensor's factor `up`, and the factor
/// that takes its values to elements.
pub fn two_level_block(e4m3: FormatRef, largest: f32, up: f32) -> (u32, f32) {
    let scale = encode(e4m3, (largest * (up * (1.0 / 6.0))).to_bits(), Rounding::NearestEven, true);
    (scale, finite(1.0 / (f32::from_bits(decode(e4m3, scale)) * (1.0 / up))))
}

/// f32 bits of a tensor in NVFP4: fl(element * block scale * tensor scale), the first product being exact.
///
/// # Errors
/// BadInput if the numbers of codes and scales do not fit.
pub fn decode_two_level(tensor: &TwoLevel, shape: Blocking) -> Result<Vec<u32>> {
    let (e2m1, e4m3) = (find("fp4e2m1")?, find("fp8e4m3")?);
    if tensor.scales.len() != shape.count() || tensor.codes.len() != shape.rows * shape.cols {
        return Err(Error::bad_input(format!(
            "{} codes in blocks of {} x {} have {} scales, not {}",
            tensor.codes.len(),
            shape.block_rows,
            shape.block_cols,
            shape.count(),
            tensor.scales.len()
        )));
    }
    let value = |(index, code): (usize, &u32)| {
        let scale = f32::from_bits(decode(e4m3, u32::from(tensor.scales[shape.block(index)])));
        let value = f32::from_bits(decode(e2m1, *code)) * scale * tensor.global;
        if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
    };
    Ok(tensor.codes.iter().enumerate().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAREST: Mode = Mode::Fixed(Rounding::NearestEven);

    fn of(name: &str) -> BlockFormat {
        BlockFormat::find(name).unwrap().unwrap()
    }
    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn scale_rules_differ_where_they_should() {
        use ScaleExponent::{Ceil, Even, Floor, RoundedCeil};
        let code = |name: &str, a: f32, rule| i32::from(of(name).power(&bits(&[a, -0.5]), rule)) - 127;
        // 7 = 1.75 * 4: floor keeps 2^0 and clamps to 6, the others leave room; 1.75 rounds to 2 with one fraction bit.
        assert_eq!([Floor, Ceil, RoundedCeil, Even].map(|rule| code("mxfp4", 7.0, rule)), [0, 1, 1, 1]);
        assert_eq!([Floor, Ceil, RoundedCeil, Even].map(|rule| code("mxfp4", 5.0, rule)), [0, 1, 0, 0]);
        assert_eq!([Floor, Ceil, RoundedCeil, Even].map(|rule| code("mxfp8e4m3", 256.0, rule)), [0, 0, 0, 0]);
        assert_eq!([Floor, Ceil].map(|rule| code("mxint8", 1.5, rule)), [0, 1]);
        for rule in [Floor, Ceil, RoundedCeil, Even] {
            let power = |x: &[f32]| of("mxfp4").power(&bits(x), rule);
            assert_eq!(power(&[0.0, -0.0]), 0);
            assert_eq!([power(&[1.0, f32::NAN]), power(&[f32::NEG_INFINITY, 1.0])], [SCALE_NAN; 2]);
            assert_eq!(power(&[f32::from_bits(1)]), 0);
        }
        assert_eq!(floor_log2(1), -149);
        assert_eq!(floor_log2(f32::MIN_POSITIVE.to_bits()), -126);
    }

    #[test]
    fn mx_blocks_round_and_clamp() {
        let round = |name: &str, x: &[f32]| {
            let (format, x) = (of(name), bits(x));
            let scale = format.power(&x, ScaleExponent::Floor);
            let mut codes = Vec::new();
            format.encode_power(&x, scale, NEAREST, 0, &mut codes);
            codes.iter().map(|code| f32::from_bits(format.decode_power(*code, scale))).collect::<Vec<f32>>()
        };
        assert_eq!(round("mxfp4", &[7.0, 2.5, -0.3, 0.2]), [6.0, 2.0, -0.5, 0.0]);
        assert_eq!(round("mxint8", &[1.0, -0.507_812_5, 0.02]), [1.0, -0.5, 0.015_625]);
        assert!(round("mxfp8e4m3", &[1.0, f32::NAN]).iter().all(|x| x.is_nan()));
        assert_eq!(round("mxfp6e2m3", &[0.0, -0.0]), [0.0, 0.0]);
    }

    #[test]
    fn nvfp4_keeps_the_order_of_operations() {
        let shape = Blocking { rows: 1, cols: 32, block_rows: 1, block_cols: 16 };
        let x: Vec<f32> = (0..32).map(|i| if i < 16 { i as f32 / 8.0 } else { i as f32 * 3.0 }).collect();
        let tensor = encode_two_level(&bits(&x), shape, NEAREST).unwrap();
        assert_eq!((tensor.global, tensor.scales[1]), (93.0 / 2688.0, 0x7e));
        let values = decode_two_level(&tensor, shape).unwrap();
        // The stored global scale is rounded, so the largest value comes back one ulp low.
        assert_eq!((f32::from_bits(values[31]), values.len()), (6.0 * 448.0 * (93.0f32 / 2688.0), 32));
        let zero = encode_two_level(&[0; 32], shape, NEAREST).unwrap();
        assert_eq!((zero.global, &zero.scales[..], &zero.codes[..]), (0.0, &[0, 0][..], &[0; 32][..]));
        let poison = encode_two_level(&bits(&[f32::NAN; 32]), shape, NEAREST).unwrap();
        assert!(decode_two_level(&poison, shape).unwrap().iter().all(|v| *v == 0x7fc0_0000));
        let square = Blocking { rows: 20, cols: 20, block_rows: 16, block_cols: 16 };
        assert_eq!((square.count(), square.block(16 * 20 + 17), square.block(15 * 20 + 15)), (4, 3, 0));
        assert!(decode_two_level(&zero, square).is_err());
    }
}
