//! Bit planes: row by row, plane 0 of all elements, then plane 1, and so on; every plane of a row starts on a byte, first
//! element in bit 0, padding bits zero. A plane is a mask that a processor uses as it stands.
//!
//! What the planes of an element are ([`patterns`]) follows from the format's levels.

use super::{Layout, Matrix, not_served};
use crate::diag::Result;
use crate::num::{Element, FormatRef, bits};
use crate::tensor::pack::row_bytes;

/// Bits of an element in its planes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    /// Number of planes, at most 8.
    pub planes: usize,
    /// For every code its bits, plane i in bit i; `None` for codes that are never written.
    pub of_code: Vec<Option<u8>>,
}

/// The planes of a format:
///
/// - a codebook with zero whose other levels are a sign and a magnitude, if that takes no more bits than a code: plane 0
///   says "not zero", plane 1 "negative", further planes hold the rank of the magnitude (ternary, fp1mask: 2 planes;
///   fp2sparse: 3 planes, the last one says "two"); zero is all clear;
/// - a codebook of the sums of n signs, level i = 2i - n (triplet, n = 3): n planes of signs, set = negative, as in binary.
///   Of the ways to write a sum the one with the negative signs first: plane j is set where the sum has more than j
///   negative signs;
/// - every other format of 8 bits or fewer: plane i is bit i of the code.
///
/// # Errors
/// Unsupported for codes of more than 8 bits.
pub fn patterns(format: FormatRef) -> Result<Patterns> {
    if format.bits > 8 {
        return Err(not_served(Layout::Planes, format, "it stores codes of 8 bits or fewer"));
    }
    if let Element::Codebook { levels } = &format.element
        && let Some(patterns) = signs(format, levels).or_else(|| sign_and_magnitude(format, levels))
    {
        return Ok(patterns);
    }
    let written = match &format.element {
        Element::Codebook { levels } => levels.len(),
        Element::Real { values } => values.len(),
        _ => 1 << format.bits,
    };
    let of_code = (0..1usize << format.bits).map(|code| (code < written).then_some(code as u8)).collect();
    Ok(Patterns { planes: format.bits as usize, of_code })
}

/// Planes of signs of a codebook of their sums.
fn signs(format: FormatRef, levels: &[i32]) -> Option<Patterns> {
    let planes = levels.len() - 1;
    let sums = levels.iter().zip(0i32..).all(|(level, code)| *level == 2 * code - planes as i32);
    if !sums || !(2..=8).contains(&planes) {
        return None;
    }
    let negative = |code: usize| ((1u16 << (planes - code)) - 1) as u8;
    let of_code = (0..1usize << format.bits).map(|code| (code <= planes).then(|| negative(code))).collect();
    Some(Patterns { planes, of_code })
}

/// Planes "not zero", "negative" and rank of the magnitude, if they are no more than the bits of a code.
fn sign_and_magnitude(format: FormatRef, levels: &[i32]) -> Option<Patterns> {
    let mut magnitudes: Vec<u32> = levels.iter().map(|level| level.unsigned_abs()).collect();
    magnitudes.sort_unstable();
    magnitudes.dedup();
    let planes = 2 + (magnitudes.len() - 1).next_power_of_two().trailing_zeros() as usize;
    if magnitudes[0] != 0 || planes > format.bits as usize {
        return None;
    }
    let mut of_code = vec![None; 1 << format.bits];
    for (code, level) in levels.iter().enumerate().filter(|(code, level)| !levels[..*code].contains(level)) {
        let rank = magnitudes.binary_search(&level.unsigned_abs()).expect("collected above") as u8;
        let pattern = if rank == 0 { 0 } else { 1 | u8::from(*level < 0) << 1 | (rank - 1) << 2 };
        of_code[code] = Some(pattern);
    }
    Some(Patterns { planes, of_code })
}

impl Patterns {
    /// Map of codes to patterns for [`bits`]; codes that are never written have no image.
    fn forth(&self) -> bits::Map {
        bits::Map::new(self.of_code.clone())
    }
    /// Map of patterns to codes.
    fn back(&self) -> bits::Map {
        let mut code_of = vec![None; 1 << self.planes];
        for (code, pattern) in self.of_code.iter().enumerate() {
            if let Some(pattern) = pattern {
                code_of[usize::from(*pattern)] = Some(code as u8);
            }
        }
        bits::Map::new(code_of)
    }
}

pub(super) fn bytes(matrix: &Matrix) -> Result<usize> {
    let patterns = patterns(matrix.format)?;
    matrix.dense_bytes()?;
    matrix.times_rows(matrix.cols.div_ceil(8).checked_mul(patterns.planes))
}

pub(super) fn pack(matrix: &Matrix, dense: &[u8]) -> Result<Vec<u8>> {
    let patterns = patterns(matrix.format)?;
    let mut out = vec![0; bytes(matrix)?];
    let (from, plane, map) = (row_bytes(matrix.format, matrix.cols), matrix.cols.div_ceil(8), patterns.forth());
    for row in 0..if from == 0 { 0 } else { matrix.rows } {
        let to = &mut out[row * plane * patterns.planes..][..plane * patterns.planes];
        if !bits::split(matrix.format.bits, &dense[row * from..][..from], matrix.cols, &map, to) {
            return Err(matrix.fault(row, "an element has a reserved code"));
        }
    }
    Ok(out)
}

pub(super) fn unpack(matrix: &Matrix, stored: &[u8]) -> Result<Vec<u8>> {
    let patterns = patterns(matrix.format)?;
    matrix.check_length(Layout::Planes.name(), stored, bytes(matrix)?)?;
    let mut out = vec![0; matrix.dense_bytes()?];
    let (to, plane, map) = (row_bytes(matrix.format, matrix.cols), matrix.cols.div_ceil(8), patterns.back());
    for row in 0..if to == 0 { 0 } else { matrix.rows } {
        let from = &stored[row * plane * patterns.planes..][..plane * patterns.planes];
        if from.chunks_exact(plane).any(|plane| bits::padding(1, matrix.cols, plane) != 0) {
            return Err(matrix.fault(row, "its padding is not zero"));
        }
        if !bits::join(matrix.format.bits, from, matrix.cols, &map, &mut out[row * to..][..to]) {
            return Err(matrix.fault(row, "the planes of an element agree with no code"));
        }
    }
    Ok(out)
}
