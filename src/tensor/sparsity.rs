//! Masks of weights: which elements a dot product skips, how they are chosen, and what a mask costs to store.
//!
//! A mask is held as rows of bits, one an element, 1 = live; each row begins on a byte, low bits first, padding bits are
//! zero. Its stored size follows from the pattern in closed form ([`Sparsity::bytes`]): blocks need a bit each, N of M
//! the number of one of C(M, N) choices.

use super::pack;
use crate::diag::{Error, Result};
use crate::num::{self, Format};
use std::fmt;

/// The pattern of a mask. Shares are of masked elements (blocks), in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sparsity {
    /// Elements one by one: this share of the tensor's is masked.
    Element {
        /// Thousandths that are masked.
        milli: u32,
    },
    /// At most `n` of every `m` successive elements of a row are live.
    Pattern {
        /// Live elements of a group.
        n: u32,
        /// Elements of a group.
        m: u32,
    },
    /// Tiles of `rows` x `cols` elements live or die together.
    Block {
        /// Rows of a tile.
        rows: u32,
        /// Columns of a tile.
        cols: u32,
        /// Thousandths of the tiles that are masked.
        milli: u32,
    },
}

/// Longest group of N:M: C(32, 16) has 30 bits.
const LONGEST_GROUP: u32 = 32;

impl Sparsity {
    /// The pattern that `text` names: `element:0.5`, `2:4`, `block4x4:0.5`.
    ///
    /// # Errors
    /// BadInput for anything else.
    pub fn parse(text: &str) -> Result<Sparsity> {
        let unknown = || {
            Error::bad_input(format!("unknown sparsity `{text}`"))
                .help("write N:M (2:4), element:SHARE or blockRxC:SHARE, where SHARE of the elements is masked (0.5)")
        };
        let (head, tail) = text.split_once(':').ok_or_else(unknown)?;
        let share = || {
            let share: f64 = tail.parse().ok().filter(|share| (0.0..1.0).contains(share)).ok_or_else(unknown)?;
            let milli = (share * 1000.0).round();
            if (milli - share * 1000.0).abs() > 1e-6 || milli > 999.0 {
                return Err(Error::bad_input(format!("the share `{tail}` has more than three decimals")));
            }
            Ok(milli as u32)
        };
        if head == "element" {
            return Ok(Sparsity::Element { milli: share()? });
        }
        if let Some(size) = head.strip_prefix("block") {
            let (rows, cols) = size.split_once('x').ok_or_else(unknown)?;
            let extent = |text: &str| text.parse::<u32>().ok().filter(|n| (1..=4096).contains(n)).ok_or_else(unknown);
            return Ok(Sparsity::Block { rows: extent(rows)?, cols: extent(cols)?, milli: share()? });
        }
        let (n, m) = (head.parse().map_err(|_| unknown())?, tail.parse().map_err(|_| unknown())?);
        if n == 0 || n >= m || m > LONGEST_GROUP {
            return Err(Error::bad_input(format!(
                "`{text}` is not N:M with N from 1 to M - 1 live elements of M, M up to {LONGEST_GROUP}"
            )));
        }
        Ok(Sparsity::Pattern { n, m })
    }

    /// Stored bytes of the mask of a tensor of `rows` x `cols`. Elements: 1 bit each. N:M: ceil(log2 C(M, N)) bits for
    /// every group begun. Tiles: 1 bit each. Rows (of tiles) begin on a byte.
    pub fn bytes(&self, rows: usize, cols: usize) -> usize {
        match *self {
            Sparsity::Element { .. } => rows * cols.div_ceil(8),
            Sparsity::Pattern { n, m } => rows * (cols.div_ceil(m as usize) * choice_bits(n, m) as usize).div_ceil(8),
            Sparsity::Block { rows: height, cols: width, .. } => {
                rows.div_ceil(height as usize) * cols.div_ceil(width as usize).div_ceil(8)
            }
        }
    }
}

/// ceil(log2 C(m, n)).
fn choice_bits(n: u32, m: u32) -> u32 {
    let choices = (0..u64::from(n)).fold(1, |choices, i| choices * (u64::from(m) - i) / (i + 1));
    choices.next_power_of_two().ilog2()
}

impl fmt::Display for Sparsity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sparsity::Element { milli } => write!(f, "element:{}", f64::from(*milli) / 1000.0),
            Sparsity::Pattern { n, m } => write!(f, "{n}:{m}"),
            Sparsity::Block { rows, cols, milli } => write!(f, "block{rows}x{cols}:{}", f64::from(*milli) / 1000.0),
        }
    }
}

/// Which elements of a tensor are live, and by which pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// The pattern.
    pub sparsity: Sparsity,
    /// Rows of bits; 1 = live.
    bits: Vec<u8>,
    cols: usize,
}

impl Mask {
    /// A mask from its rows of bits.
    ///
    /// # Errors
    /// BadInput if the bits are not those of `rows` x `cols` elements, a padding bit is set, or the bits break the
    /// pattern: more than N live in a group of M, or a tile in part.
    pub fn new(sparsity: Sparsity, (rows, cols): (usize, usize), bits: Vec<u8>) -> Result<Mask> {
        let pitch = cols.div_ceil(8);
        if bits.len() != rows * pitch {
            let message = format!("a mask of {rows} x {cols} elements has {} bytes, not {}", bits.len(), rows * pitch);
            return Err(Error::bad_input(message));
        }
        let mask = Mask { sparsity, bits, cols };
        let padded = |row: usize| (cols..8 * pitch).any(|col| mask.bit(row * pitch, col));
        if (0..rows).any(padded) {
            return Err(Error::bad_input("a mask has padding bits that are set"));
        }
        let fits = match sparsity {
            Sparsity::Element { .. } => true,
            Sparsity::Pattern { n, m } => (0..rows).all(|row| {
                let group = |start: usize| start..(start + m as usize).min(cols);
                (0..cols).step_by(m as usize).all(|at| group(at).filter(|c| mask.live(row, *c)).count() <= n as usize)
            }),
            Sparsity::Block { rows: height, cols: width, .. } => (0..rows).all(|row| {
                let corner = |col: usize| (row - row % height as usize, col - col % width as usize);
                (0..cols).all(|col| mask.live(row, col) == mask.live(corner(col).0, corner(col).1))
            }),
        };
        match fits {
            true => Ok(mask),
            false => Err(Error::bad_input(format!("a mask is not of the pattern {sparsity}"))),
        }
    }

    /// The mask that keeps the largest magnitudes of `values`, row-major in rows of `cols`: of groups and of the tensor
    /// the largest |x|, of tiles those of the largest sum of squares (f64, row-major). Of equals the first is kept. Of a
    /// share s of `count`, floor(s * count) are masked.
    pub fn of_largest(sparsity: Sparsity, cols: usize, values: &[f32]) -> Mask {
        let rows = values.len().checked_div(cols).unwrap_or(0);
        let mut mask = Mask { sparsity, bits: vec![0; rows * cols.div_ceil(8)], cols };
        let live = |count: usize, milli: u32| count - (count as u64 * u64::from(milli) / 1000) as usize;
        match sparsity {
            Sparsity::Element { milli } => {
                let all: Vec<f64> = values.iter().map(|x| f64::from(x.abs())).collect();
                largest(&all, live(all.len(), milli)).for_each(|at| mask.set(at / cols, at % cols));
            }
            Sparsity::Pattern { n, m } => {
                for (row, values) in values.chunks(cols.max(1)).enumerate() {
                    for (group, values) in values.chunks(m as usize).enumerate() {
                        let group_values: Vec<f64> = values.iter().map(|x| f64::from(x.abs())).collect();
                        largest(&group_values, (n as usize).min(values.len()))
                            .for_each(|at| mask.set(row, group * m as usize + at));
                    }
                }
            }
            Sparsity::Block { rows: height, cols: width, milli } => {
                let (height, width) = (height as usize, width as usize);
                let across = cols.div_ceil(width);
                let mut energy = vec![0.0f64; rows.div_ceil(height) * across];
                for (at, x) in values.iter().enumerate() {
                    energy[at / cols / height * across + at % cols / width] += f64::from(*x) * f64::from(*x);
                }
                let mut alive = vec![false; energy.len()];
                largest(&energy, live(energy.len(), milli)).for_each(|tile| alive[tile] = true);
                for at in 0..values.len() {
                    if alive[at / cols / height * across + at % cols / width] {
                        mask.set(at / cols, at % cols);
                    }
                }
            }
        }
        mask
    }

    fn bit(&self, row_start: usize, col: usize) -> bool {
        self.bits[row_start + col / 8] >> (col % 8) & 1 == 1
    }
    fn set(&mut self, row: usize, col: usize) {
        self.bits[row * self.cols.div_ceil(8) + col / 8] |= 1 << (col % 8);
    }
    /// Whether an element counts.
    pub fn live(&self, row: usize, col: usize) -> bool {
        self.bit(row * self.cols.div_ceil(8), col)
    }
    /// All rows of bits, one bit an element.
    pub fn bits(&self) -> &[u8] {
        &self.bits
    }
    /// Bits of one row.
    pub fn row(&self, row: usize) -> &[u8] {
        let pitch = self.cols.div_ceil(8);
        &self.bits[row * pitch..(row + 1) * pitch]
    }
    /// Number of live elements.
    pub fn live_count(&self) -> usize {
        self.bits.iter().map(|byte| byte.count_ones() as usize).sum()
    }
}

/// Indices of the `count` largest values; of equals the first.
fn largest(values: &[f64], count: usize) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order.truncate(count);
    order.into_iter()
}

/// What stands in the place of a masked code: that of +0, or code 0 in a format without a zero. Nothing reads it.
fn masked_code(format: &Format) -> u32 {
    let code = num::cast(format, 0.0);
    if num::decode(format, code) == 0 { code } else { 0 }
}

/// Puts the code of a masked element into every masked place of packed planes.
pub(super) fn clear_masked(format: &Format, planes: usize, payload: &mut [u8], mask: &Mask) {
    let (code, pitch) = (masked_code(format), pack::row_bytes(format, mask.cols).max(1));
    for (at, plane) in payload.chunks_mut(pitch).enumerate() {
        (0..mask.cols).filter(|col| !mask.live(at / planes, *col)).for_each(|col| pack::set(format, plane, col, code));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Recipe, Tensor, TensorType};
    use proptest::prelude::*;

    fn made(shape: Vec<usize>, values: &[f32], ty: TensorType, sparsity: Sparsity) -> Tensor {
        let recipe = Recipe { sparsity: Some(sparsity), ..Recipe::default() };
        Tensor::quantise_with(shape, values, ty, &recipe, "w").unwrap_or_else(|e| panic!("{e}"))
    }

    fn parse(text: &str) -> Sparsity {
        Sparsity::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn patterns_are_read_as_they_are_written() {
        for text in ["2:4", "4:8", "element:0.5", "element:0.125", "element:0", "block4x4:0.5", "block1x32:0.9"] {
            assert_eq!(parse(text).to_string(), text);
        }
        for text in
            ["", "5:4", "4:4", "0:4", "2:64", "element", "element:1", "element:0.12345", "block4:0.5", "block0x4:0.5"]
        {
            assert!(Sparsity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn stored_bytes_are_the_closed_forms() {
        assert_eq!(parse("element:0.5").bytes(3, 20), 9);
        // C(4,2) = 6 in 3 bits, C(8,4) = 70 in 7; 5 and 3 groups begun.
        assert_eq!((parse("2:4").bytes(3, 20), parse("4:8").bytes(3, 20)), (3 * 2, 3 * 3));
        assert_eq!((choice_bits(1, 2), choice_bits(4, 4), choice_bits(16, 32)), (1, 0, 30));
        assert_eq!(parse("block4x4:0.5").bytes(9, 36), 3 * 2);
    }

    #[test]
    fn the_largest_are_kept_and_of_equals_the_first() {
        let values = [1.0, -3.0, 2.0, 2.0, 0.0, 0.0, 0.0, 5.0];
        let live = |text: &str, cols: usize| {
            let mask = Mask::of_largest(parse(text), cols, &values);
            (0..8).map(|at| u8::from(mask.live(at / cols, at % cols))).collect::<Vec<_>>()
        };
        assert_eq!(live("2:4", 8), [0, 1, 1, 0, 1, 0, 0, 1]);
        assert_eq!(live("element:0.5", 4), [0, 1, 1, 1, 0, 0, 0, 1]);
        assert_eq!(live("element:0.75", 4), [0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(live("block2x2:0.5", 4), [0, 0, 1, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn scales_are_measured_on_what_is_live() {
        let quantise = |text: &str| {
            let ty = TensorType::parse(text).unwrap_or_else(|e| panic!("{e}"));
            made(vec![1, 4], &[1.0, -3.0, 0.5, 2.0], ty, parse("2:4"))
        };
        let binary = quantise("binary/row");
        assert_eq!((binary.scales[0], binary.payload[0]), (2.5, 0b0010));
        assert_eq!(binary.to_f32(), [0.0, -2.5, 0.0, 2.5]);
        assert_eq!(quantise("ternary").to_f32(), [0.0, -2.5, 0.0, 2.5]);
        // nf4's zero is code 7; masked codes are it.
        let nf4 = quantise("nf4/row");
        assert_eq!((pack::get(nf4.ty.format, nf4.row(0), 0), nf4.to_f32()[2]), (7, 0.0));
        assert_eq!(quantise("int4/row+offset").to_f32()[0].to_bits(), 0);
    }

    proptest! {
        #[test]
        fn masks_keep_to_their_pattern_and_read_back(
            rows in 1usize..9, cols in 1usize..40, seed in any::<u32>(), which in 0usize..5
        ) {
            let sparsity = parse(["element:0.3", "2:4", "4:8", "block4x4:0.5", "1:3"][which]);
            let mut state = seed;
            let values: Vec<f32> = (0..rows * cols).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as f32 / 32_768.0 - 1.0
            }).collect();
            let mask = Mask::of_largest(sparsity, cols, &values);
            let again = Mask::new(sparsity, (rows, cols), mask.bits().to_vec());
            prop_assert_eq!(again.as_ref().ok(), Some(&mask));
            // No masked element of a group or of the tensor is larger than a live one.
            if let Sparsity::Element { milli } = sparsity {
                prop_assert_eq!(mask.live_count(), rows * cols - rows * cols * milli as usize / 1000);
                let place = |at: &usize| mask.live(at / cols, at % cols);
                let (live, dead): (Vec<usize>, Vec<usize>) = (0..rows * cols).partition(place);
                prop_assert!(dead.iter().all(|d| live.iter().all(|l| values[*l].abs() >= values[*d].abs())));
            }
            for name in ["binary", "fp2", "triplet", "colour2", "int8", "mxfp4", "bf16", "nvfp4", "int4/row+offset"] {
                let ty = TensorType::parse(name).unwrap();
                let t = made(vec![rows, cols], &values, ty, sparsity);
                let mask = t.mask.as_ref().unwrap();
                for (at, x) in t.to_f32().into_iter().enumerate() {
                    prop_assert!(mask.live(at / cols, at % cols) || x.to_bits() == 0, "{} {}", name, x);
                }
                prop_assert_eq!(t.bytes(), ty.bytes(rows, cols) + sparsity.bytes(rows, cols));
            }
        }
    }
}
