//! `preon formats round|encode|decode`: raw little-endian streams of any length, in constant memory.
//!
//! f32 values are 4 bytes. A code takes one byte up to 8 bits, two up to 16, else four; `--packed` leaves no gaps, first
//! element in the low bits, and starts every row of `--cols` elements on a byte.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use crate::cli::out;
use crate::diag::{Error, Result};
use crate::num::bulk::{Decoder, Encoder, Mode, pack};
use crate::num::philox::{Draws, Use};
use crate::num::{Draw, FormatRef, Rounding, Stochastic, encode as encode_one};

/// Elements handled at once; a multiple of 8, so that pieces of a packed row end on bytes.
pub const PIECE: usize = 1 << 16;

/// How values are rounded.
#[derive(Debug, Clone, clap::Args)]
pub struct RoundingArgs {
    /// Rounding: to nearest with ties to even (rne) or away from zero (rna), toward zero, up, down, or by chance; `formats
    /// show` of a format says what its cast does
    #[arg(long, value_name = "MODE", default_value = "rne", value_parser = ["rne", "rz", "rna", "up", "down", "sr",
        "srodd", "srfast", "srfastest", "psigmoid", "pclip"])]
    mode: String,
    /// Random bits of a rounding by chance
    #[arg(long, alias = "random-bits", value_name = "K", default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=32))]
    bits: u32,
    /// Seed of a rounding by chance
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Tensor whose draws a rounding by chance takes
    #[arg(long, value_name = "NAME", default_value = "")]
    tensor: String,
    /// Step whose draws a rounding by chance takes
    #[arg(long, value_name = "N", default_value_t = 0)]
    step: u32,
    /// Draws from a file instead, a little-endian u32 a value of which the low K bits count
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "tensor", "step"])]
    draws: Option<PathBuf>,
    /// Temperature T of psigmoid: binary is +1 with probability sigmoid(x / T)
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = positive)]
    temperature: f32,
    /// Range A of pclip: binary is +1 with probability (1 + clip(x / A)) / 2
    #[arg(long, value_name = "A", default_value_t = 1.0, value_parser = positive)]
    range: f32,
    /// Values beyond the largest become the largest (default: as the format's row says)
    #[arg(long, conflicts_with = "no_saturate")]
    saturate: bool,
    /// Values beyond the largest become infinity or NaN, if the format has them
    #[arg(long)]
    no_saturate: bool,
}

fn positive(text: &str) -> std::result::Result<f32, String> {
    let number = text.parse().ok().filter(|x: &f32| x.is_finite() && *x > 0.0);
    number.ok_or_else(|| "write a positive number".into())
}

impl RoundingArgs {
    /// The rounding of all values alike, or the definition of one by chance.
    fn kind(&self) -> std::result::Result<Rounding, Stochastic> {
        match self.mode.as_str() {
            "rz" => Ok(Rounding::TowardZero),
            "rna" => Ok(Rounding::NearestAway),
            "up" => Ok(Rounding::Up),
            "down" => Ok(Rounding::Down),
            "sr" => Err(Stochastic::Rounded),
            "srodd" => Err(Stochastic::RoundedOdd),
            "srfast" => Err(Stochastic::Fast),
            "srfastest" => Err(Stochastic::Fastest),
            "psigmoid" => Err(Stochastic::Sigmoid(self.temperature.to_bits())),
            "pclip" => Err(Stochastic::Clip(self.range.to_bits())),
            _ => Ok(Rounding::NearestEven),
        }
    }
    /// The mode that the words name, for the elements of blocks, which always saturate.
    ///
    /// # Errors
    /// Unsupported with --no-saturate, --draws and the p-bits.
    pub fn mode(&self) -> Result<Mode> {
        let refused = match self.kind() {
            _ if self.no_saturate => Some(("the elements of a block always saturate", "leave out --no-saturate")),
            _ if self.draws.is_some() => Some(("draws from a file are for formats of single elements", "use --seed")),
            Err(Stochastic::Sigmoid(_) | Stochastic::Clip(_)) => Some(P_BIT),
            _ => None,
        };
        match refused {
            Some((what, help)) => Err(Error::unsupported(what).help(help)),
            None => Ok(self.any_mode()),
        }
    }
    fn any_mode(&self) -> Mode {
        let draws = Draws::new(self.seed, &self.tensor, self.step, Use::Forward);
        self.kind().map_or_else(|kind| Mode::Stochastic(kind, self.bits, draws), Mode::Fixed)
    }
    /// Nothing but plain rounding to nearest even.
    pub fn is_plain(&self) -> bool {
        self.kind() == Ok(Rounding::NearestEven) && !self.no_saturate
    }
    fn rounder(&self, format: FormatRef) -> Result<Rounder> {
        let saturate = self.saturate || (format.saturate && !self.no_saturate);
        let kind = self.kind();
        if matches!(kind, Err(Stochastic::Sigmoid(_) | Stochastic::Clip(_))) && format.sorted.len() != 2 {
            return Err(Error::unsupported(P_BIT.0).help(P_BIT.1));
        }
        match (&self.draws, kind) {
            (None, _) => Ok(Rounder::Stated(Encoder::new(format, self.any_mode(), saturate))),
            (Some(_), Ok(_)) => Err(Error::usage(format!("{} draws nothing", self.mode)).help("leave out --draws")),
            (Some(path), Err(kind)) => {
                let file = File::open(path).map_err(|e| {
                    Error::bad_input(format!("cannot read the draws: {e}")).in_file(path.display().to_string())
                })?;
                Ok(Rounder::Listed { format, kind, bits: self.bits, saturate, draws: BufReader::new(file) })
            }
        }
    }
}

/// Why a format other than binary takes no p-bit, and what to do.
const P_BIT: (&str, &str) =
    ("psigmoid and pclip draw one of two levels", "use them with binary, or --mode sr with other formats");

/// Encoder with draws that follow from the index, or that stand in a file.
enum Rounder {
    Stated(Encoder),
    Listed { format: FormatRef, kind: Stochastic, bits: u32, saturate: bool, draws: BufReader<File> },
}

impl Rounder {
    /// Encodes f32 bit patterns; `first` is the index of `x[0]`.
    fn encode(&mut self, x: &[u32], first: u64, codes: &mut Vec<u32>) -> Result<()> {
        match self {
            Rounder::Stated(encoder) => encoder.encode(x, first, codes),
            Rounder::Listed { format, kind, bits, saturate, draws } => {
                let mut listed = vec![0; 4 * x.len()];
                draws.read_exact(&mut listed).map_err(|_| Error::bad_input("there are fewer draws than values"))?;
                codes.clear();
                codes.extend(x.iter().zip(listed.as_chunks::<4>().0).map(|(x, draw)| {
                    let random = u32::from_le_bytes(*draw) & (u32::MAX >> (32 - *bits));
                    let mode = Rounding::Stochastic(Draw { kind: *kind, bits: *bits, random });
                    encode_one(format, *x, mode, *saturate)
                }));
            }
        }
        Ok(())
    }
    fn encode_packed(&mut self, x: &[u32], first: u64, bytes: &mut Vec<u8>) -> Result<()> {
        if let Rounder::Stated(encoder) = self {
            encoder.encode_packed(x, first, bytes);
            return Ok(());
        }
        let mut codes = Vec::new();
        self.encode(x, first, &mut codes)?;
        if let Rounder::Listed { format, .. } = self {
            pack(format, &codes, bytes);
        }
        Ok(())
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
pub fn round(format: FormatRef, rounding: &RoundingArgs, cols: Option<u64>, sink: &mut Sink) -> Result<()> {
    let (mut encoder, decoder) = (rounding.rounder(format)?, Decoder::new(format));
    let (mut codes, mut values, mut bytes, mut at) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut source = Source::of(4, cols)?;
    while let Some(x) = source.floats(PIECE)? {
        encoder.encode(x, at, &mut codes)?;
        at += x.len() as u64;
        values.clear();
        decoder.decode(codes.iter().copied(), &mut values);
        put(&values, 4, &mut bytes);
        sink.put(&bytes)?;
    }
    whole_rows(cols, at)
}

/// f32 values to codes.
pub fn encode(
    format: FormatRef,
    rounding: &RoundingArgs,
    cols: Option<u64>,
    packed: bool,
    sink: &mut Sink,
) -> Result<()> {
    let mut encoder = rounding.rounder(format)?;
    let (mut codes, mut bytes, mut at) = (Vec::new(), Vec::new(), 0);
    let mut source = Source::of(4, cols)?;
    for piece in pieces(cols.filter(|_| packed), PIECE) {
        let Some(x) = source.floats(piece)? else { break };
        if packed || format.bits == 8 {
            encoder.encode_packed(x, at, &mut bytes)?;
        } else {
            encoder.encode(x, at, &mut codes)?;
            put(&codes, code_bytes(format), &mut bytes);
        }
        at += x.len() as u64;
        sink.put(&bytes)?;
    }
    whole_rows(cols, at)
}

/// Codes to f32 values; `count` of them, or as many as there are.
pub fn decode(format: FormatRef, cols: Option<u64>, packed: bool, count: Option<u64>, sink: &mut Sink) -> Result<()> {
    let decoder = Decoder::new(format);
    let (mut values, mut bytes, mut left) = (Vec::new(), Vec::new(), count.unwrap_or(u64::MAX));
    let width = code_bytes(format);
    let mut source = match packed || count.is_some() {
        true => Source::new(),
        false => Source::of(width, cols)?,
    };
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
            whole_elements(width, input.len() as u64)?;
            decoder.decode(
                input.chunks(width).map(|code| code.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))),
                &mut values,
            );
        }
        left -= values.len() as u64;
        put(&values, 4, &mut bytes);
        sink.put(&bytes)?;
    }
    match count {
        Some(count) => all_there(count, left),
        None => whole_rows(cols, u64::MAX - left),
    }
}

/// That none of the `count` elements asked for is left.
pub fn all_there(count: u64, left: u64) -> Result<()> {
    match left {
        0 => Ok(()),
        _ => Err(Error::bad_input(format!("the stream ends after {} of {count} elements", count - left))),
    }
}

/// That `count` elements are whole rows.
pub fn whole_rows(cols: Option<u64>, count: u64) -> Result<()> {
    match cols {
        Some(cols) if !count.is_multiple_of(cols) => {
            Err(Error::bad_input(format!("{count} elements are no rows of {cols}")))
        }
        _ => Ok(()),
    }
}

/// That `bytes` are whole elements of `width` bytes.
fn whole_elements(width: usize, bytes: u64) -> Result<()> {
    match bytes.is_multiple_of(width as u64) {
        true => Ok(()),
        false => Err(Error::bad_input(format!("the stream ends inside an element of {width} bytes"))
            .help("standard input is raw and little-endian; f32 values have 4 bytes each")),
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

/// Bytes of results that are held back.
const HELD: usize = 1 << 20;

/// Results on their way to standard output. The first MiB of them waits for more or for the end, so that a stream of that
/// size which turns out to be damaged leaves nothing behind but its error.
#[derive(Default)]
pub struct Sink {
    held: Vec<u8>,
    open: bool,
}

impl Sink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// As [`out::bytes`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.open {
            return out::bytes(bytes);
        }
        self.held.extend_from_slice(bytes);
        self.open = self.held.len() > HELD;
        if self.open { self.finish() } else { Ok(()) }
    }
    /// Writes what is held: all went well.
    ///
    /// # Errors
    /// As [`out::bytes`].
    pub fn finish(&mut self) -> Result<()> {
        out::bytes(&std::mem::take(&mut self.held))
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
    /// Standard input of elements of `width` bytes in whole rows of `cols`: where it is a file, its length is checked
    /// before anything is read.
    ///
    /// # Errors
    /// BadInput if the file does not end with an element and a row.
    pub fn of(width: usize, cols: Option<u64>) -> Result<Self> {
        let source = Source::new();
        if let Some(bytes) = source.remaining() {
            whole_elements(width, bytes)?;
            whole_rows(cols, bytes / width as u64)?;
        }
        Ok(source)
    }
    /// Bytes ahead, if standard input is a file.
    #[cfg(unix)]
    fn remaining(&self) -> Option<u64> {
        use std::io::Seek;
        use std::os::fd::AsFd;
        let mut file = File::from(self.stdin.as_fd().try_clone_to_owned().ok()?);
        let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
        Some(length.saturating_sub(file.stream_position().ok()?))
    }
    /// Nothing is known of standard input.
    #[cfg(not(unix))]
    fn remaining(&self) -> Option<u64> {
        None
    }
    /// The next `count` bytes, fewer only at the end.
    ///
    /// # Errors
    /// BadInput if the stream cannot be read.
    pub fn bytes(&mut self, count: usize) -> Result<&[u8]> {
        self.buffer.clear();
        let read = (&mut self.stdin).take(count as u64).read_to_end(&mut self.buffer);
        read.map_err(|error| Error::bad_input(format!("cannot read standard input: {error}")))?;
        Ok(&self.buffer)
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
        let filled = self.bytes(count.saturating_mul(4))?.len();
        whole_elements(4, filled as u64)?;
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
