//! `preon formats round|encode|decode`: raw little-endian streams of any length, in constant memory.
//!
//! f32 values are 4 bytes. A code takes one byte up to 8 bits, two up to 16, else four; `--packed` leaves no gaps, first
//! element in the low bits, and starts every row of `--cols` elements on a byte.

use std::io::{ErrorKind, Read};

use crate::cli::out;
use crate::diag::{Error, Result};
use crate::num::bulk::{Decoder, Encoder, Mode};
use crate::num::philox::{Draws, Use};
use crate::num::{FormatRef, Rounding, Stochastic};

/// Elements handled at once; a multiple of 8, so that pieces of a packed row end on bytes.
pub const PIECE: usize = 1 << 16;

/// How values are rounded.
#[derive(Debug, Clone, clap::Args)]
pub struct RoundingArgs {
    /// Rounding: nearest even, toward zero, nearest with ties away from zero, up, down, or stochastic in three ways
    #[arg(long, value_name = "MODE", default_value = "rne", value_parser = ["rne", "rz", "rna", "up", "down", "sr", "srfast", "srfastest"])]
    mode: String,
    /// Random bits of a stochastic rounding
    #[arg(long, value_name = "K", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=32))]
    random_bits: u32,
    /// Seed of a stochastic rounding
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Tensor whose draws a stochastic rounding takes
    #[arg(long, value_name = "NAME", default_value = "")]
    tensor: String,
    /// Step whose draws a stochastic rounding takes
    #[arg(long, value_name = "N", default_value_t = 0)]
    step: u32,
    /// Values beyond the largest become the largest (default: as the format's row says)
    #[arg(long, conflicts_with = "no_saturate")]
    saturate: bool,
    /// Values beyond the largest become infinity or NaN, if the format has them
    #[arg(long)]
    no_saturate: bool,
}

impl RoundingArgs {
    /// The mode that the words name.
    pub fn mode(&self) -> Mode {
        let draws = || Draws::new(self.seed, &self.tensor, self.step, Use::Forward);
        let stochastic = |kind| Mode::Stochastic(kind, self.random_bits, draws());
        match self.mode.as_str() {
            "rz" => Mode::Fixed(Rounding::TowardZero),
            "rna" => Mode::Fixed(Rounding::NearestAway),
            "up" => Mode::Fixed(Rounding::Up),
            "down" => Mode::Fixed(Rounding::Down),
            "sr" => stochastic(Stochastic::Rounded),
            "srfast" => stochastic(Stochastic::Fast),
            "srfastest" => stochastic(Stochastic::Fastest),
            _ => Mode::Fixed(Rounding::NearestEven),
        }
    }
    /// Itself, for block formats, whose elements always saturate.
    ///
    /// # Errors
    /// Unsupported with --no-saturate.
    pub fn of_blocks(&self) -> Result<&Self> {
        match self.no_saturate {
            false => Ok(self),
            true => Err(Error::unsupported("the elements of a block always saturate").help("leave out --no-saturate")),
        }
    }
    fn encoder(&self, format: FormatRef) -> Encoder {
        let saturate = self.saturate || (format.saturate && !self.no_saturate);
        Encoder::new(format, self.mode(), saturate)
    }
}

/// Sizes of the pieces of rows of `cols` elements: whole rows, or parts of at most `most`.
pub fn pieces(cols: Option<u64>, most: usize) -> impl Iterator<Item = usize> {
    let mut left = cols.unwrap_or(0);
    std::iter::repeat_with(move || {
        let Some(row) = cols else { return most };
        let piece = left.min(most as u64);
        left = if left == piece { row } else { left - piece };
        piece as usize
    })
}

/// f32 values to f32 values on the grid of the format.
pub fn round(format: FormatRef, rounding: &RoundingArgs) -> Result<()> {
    let (encoder, decoder) = (rounding.encoder(format), Decoder::new(format));
    let (mut codes, mut values, mut bytes, mut at) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut source = Source::new();
    while let Some(x) = source.floats(PIECE)? {
        encoder.encode(x, at, &mut codes);
        at += x.len() as u64;
        values.clear();
        decoder.decode(codes.iter().copied(), &mut values);
        put(&values, 4, &mut bytes);
        out::bytes(&bytes)?;
    }
    Ok(())
}

/// f32 values to codes.
pub fn encode(format: FormatRef, rounding: &RoundingArgs, cols: Option<u64>, packed: bool) -> Result<()> {
    let encoder = rounding.encoder(format);
    let (mut codes, mut bytes, mut at) = (Vec::new(), Vec::new(), 0);
    let mut source = Source::new();
    for piece in pieces(cols.filter(|_| packed), PIECE) {
        let Some(x) = source.floats(piece)? else { break };
        if packed || format.bits == 8 {
            encoder.encode_packed(x, at, &mut bytes);
        } else {
            encoder.encode(x, at, &mut codes);
            put(&codes, code_bytes(format), &mut bytes);
        }
        at += x.len() as u64;
        out::bytes(&bytes)?;
    }
    Ok(())
}

/// Codes to f32 values; `count` of them, or as many as there are.
pub fn decode(format: FormatRef, cols: Option<u64>, packed: bool, count: Option<u64>) -> Result<()> {
    let decoder = Decoder::new(format);
    let (mut values, mut bytes, mut left) = (Vec::new(), Vec::new(), count.unwrap_or(u64::MAX));
    let (mut source, width) = (Source::new(), code_bytes(format));
    for piece in pieces(cols.filter(|_| packed), PIECE) {
        let piece = piece.min(usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = if packed { (piece * format.bits as usize).div_ceil(8) } else { piece * width };
        let input = source.bytes(wanted)?;
        if input.is_empty() {
            break;
        }
        values.clear();
        if packed {
            decoder.decode_packed(input, piece, &mut values);
        } else {
            let (codes, rest) = (input.chunks_exact(width), input.len() % width);
            if rest != 0 {
                return Err(Error::bad_input(format!("the stream ends inside a code of {width} bytes")));
            }
            decoder.decode(
                codes.map(|code| code.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))),
                &mut values,
            );
        }
        left -= values.len() as u64;
        put(&values, 4, &mut bytes);
        out::bytes(&bytes)?;
    }
    match count {
        Some(count) if left != 0 => {
            Err(Error::bad_input(format!("the stream ends after {} of {count} elements", count - left)))
        }
        _ => Ok(()),
    }
}

/// Bytes of one code that is not packed.
pub fn code_bytes(format: FormatRef) -> usize {
    match format.bits {
        0..=8 => 1,
        9..=16 => 2,
        _ => 4,
    }
}

/// The low `width` bytes of every word, little-endian.
pub fn put(words: &[u32], width: usize, bytes: &mut Vec<u8>) {
    bytes.clear();
    match width {
        1 => bytes.extend(words.iter().map(|word| *word as u8)),
        2 => bytes.extend(words.iter().flat_map(|word| (*word as u16).to_le_bytes())),
        _ => bytes.extend(words.iter().flat_map(|word| word.to_le_bytes())),
    }
}

/// Standard input in pieces.
pub struct Source {
    stdin: std::io::StdinLock<'static>,
    buffer: Vec<u8>,
    words: Vec<u32>,
}

impl Source {
    /// The whole of standard input is ahead.
    pub fn new() -> Self {
        Source { stdin: std::io::stdin().lock(), buffer: Vec::new(), words: Vec::new() }
    }
    /// The next `count` bytes, fewer only at the end.
    ///
    /// # Errors
    /// BadInput if the stream cannot be read.
    pub fn bytes(&mut self, count: usize) -> Result<&[u8]> {
        self.buffer.resize(count, 0);
        let mut filled = 0;
        while filled < count {
            match self.stdin.read(&mut self.buffer[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::bad_input(format!("cannot read standard input: {error}"))),
            }
        }
        Ok(&self.buffer[..filled])
    }
    /// Bit patterns of all f32 values that are left.
    ///
    /// # Errors
    /// As [`Source::floats`].
    pub fn all_floats(&mut self) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        while let Some(x) = self.floats(PIECE)? {
            all.extend_from_slice(x);
        }
        Ok(all)
    }
    /// Bit patterns of the next `count` f32 values, fewer only at the end; `None` at the end.
    ///
    /// # Errors
    /// BadInput if the stream cannot be read or ends inside a value.
    pub fn floats(&mut self, count: usize) -> Result<Option<&[u32]>> {
        let filled = self.bytes(4 * count)?.len();
        if filled % 4 != 0 {
            return Err(Error::bad_input("the stream ends inside an f32")
                .help("standard input is raw little-endian f32 values, 4 bytes each"));
        }
        let (words, _) = self.buffer[..filled].as_chunks::<4>();
        self.words.clear();
        self.words.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
        Ok((!self.words.is_empty()).then_some(&self.words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_rows_are_cut_into_pieces_that_end_on_bytes() {
        let sizes =
            |packed: bool, cols: Option<u64>| pieces(cols.filter(|_| packed), PIECE).take(4).collect::<Vec<_>>();
        assert_eq!(sizes(true, Some(PIECE as u64 + 3)), [PIECE, 3, PIECE, 3]);
        assert_eq!(sizes(true, Some(5)), [5; 4]);
        assert_eq!(sizes(false, Some(5)), [PIECE; 4]);
        assert_eq!(sizes(true, None), [PIECE; 4]);
    }

    #[test]
    fn codes_take_the_least_whole_bytes() {
        let bytes = |name| code_bytes(crate::num::format::find(name).expect("a row"));
        assert_eq!(["binary", "fp8e4m3", "bf16", "tf32"].map(bytes), [1, 1, 2, 4]);
    }
}
