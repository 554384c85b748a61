//! `preon formats round|encode|decode` of block formats. MX streams run in constant memory; NVFP4, whose tensor scale needs
//! every value first, is read whole.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use super::stream::{PIECE, RoundingArgs, Sink, Source, all_there, code_bytes, pieces, put, whole_rows};
use crate::diag::{Error, Result};
use crate::num::block::{
    BlockFormat, BlockScale, Blocking, ScaleExponent, Strip, TwoLevel, decode_two_level, encode_two_level,
};
use crate::num::bulk::pack;
use crate::tensor::pack::get;

/// The shape of a tensor and how blocks are scaled.
#[derive(Debug, Clone, clap::Args)]
pub struct ShapeArgs {
    /// Elements of a row; without it the stream is one row
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub cols: Option<u64>,
    /// Block formats: rows and elements of a block (default 1x32, nvfp4 1x16)
    #[arg(long, value_name = "RxC", value_parser = parse_block)]
    block: Option<(usize, usize)>,
    /// MX formats: how the scale of a block follows from its largest magnitude [default: floor]
    #[arg(long, value_name = "RULE", value_parser = ["floor", "ceil", "rceil", "even"])]
    scale_rule: Option<String>,
    /// Block formats: the file of the scales, the tensor's f32 one first if there are two levels
    #[arg(long, value_name = "FILE")]
    scales: Option<PathBuf>,
}

fn parse_block(text: &str) -> std::result::Result<(usize, usize), String> {
    let size = |part: &str| part.parse().ok().filter(|n| (1..=1 << 16).contains(n));
    let parts = text.split_once('x').and_then(|(rows, cols)| Some((size(rows)?, size(cols)?)));
    parts.ok_or_else(|| "write ROWSxCOLUMNS, for example 1x32".into())
}

impl ShapeArgs {
    fn rule(&self) -> ScaleExponent {
        match self.scale_rule.as_deref() {
            Some("ceil") => ScaleExponent::Ceil,
            Some("rceil") => ScaleExponent::RoundedCeil,
            Some("even") => ScaleExponent::Even,
            _ => ScaleExponent::Floor,
        }
    }
    /// Refuses what says nothing about the format called `name`, which has no blocks of a length of one's choice and,
    /// unless `scales`, no file of scales.
    ///
    /// # Errors
    /// Usage, naming the flag.
    pub fn without_blocks(&self, name: &str, scales: bool) -> Result<()> {
        let given = [
            ("--block", self.block.is_some()),
            ("--scale-rule", self.scale_rule.is_some()),
            ("--scales", self.scales.is_some() && !scales),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::usage(format!("{flag} says nothing about {name}"))
                .help("it is for block formats such as mxfp4 and nvfp4; leave it out")),
        }
    }
    /// Rows and elements of a block.
    fn block(&self, format: &BlockFormat) -> (usize, usize) {
        self.block.unwrap_or((1, format.default_block()))
    }
    fn scale_path(&self) -> Result<&PathBuf> {
        self.scales.as_ref().ok_or_else(|| {
            Error::usage("a block format keeps its scales in a file of their own").help("add --scales FILE")
        })
    }
    /// The file of the scales, to be written.
    pub fn create(&self) -> Result<BufWriter<File>> {
        let path = self.scale_path()?;
        let file = File::create(path);
        file.map(BufWriter::new).map_err(|e| Error::usage(format!("cannot write {}: {e}", path.display())))
    }
    /// The file of the scales, to be read.
    pub fn open(&self) -> Result<BufReader<File>> {
        let path = self.scale_path()?;
        let file = File::open(path);
        file.map(BufReader::new)
            .map_err(|e| Error::bad_input(format!("cannot read the scales: {e}")).in_file(path.display().to_string()))
    }
    /// Blocks of a tensor of `count` elements.
    fn blocking(&self, format: &BlockFormat, count: usize) -> Result<Blocking> {
        let (block_rows, block_cols) = self.block(format);
        let cols = self.cols.map_or(count.max(1), |cols| usize::try_from(cols).unwrap_or(usize::MAX));
        whole_rows(self.cols, count as u64)?;
        Ok(Blocking { rows: count / cols, cols, block_rows, block_cols })
    }
    /// How an MX stream is read.
    fn parts(&self, (block_rows, block_cols): (usize, usize)) -> Result<impl Iterator<Item = Part> + use<>> {
        let long = (PIECE / (8 * block_cols)).max(1) * 8 * block_cols;
        let rows = match self.cols.map(|cols| usize::try_from(cols).unwrap_or(usize::MAX)) {
            None if block_rows > 1 => {
                return Err(Error::usage("blocks of several rows need the length of a row").help("add --cols N"));
            }
            // One row, or rows too long to be read at once.
            None => None,
            Some(cols) if block_rows == 1 && cols > long => None,
            Some(cols) => {
                let strip = cols.saturating_mul(block_rows);
                Some((strip.saturating_mul((PIECE / strip).max(1)), cols))
            }
        };
        let mut cuts = pieces(Some(self.cols.unwrap_or(u64::MAX / 2)), long);
        Ok(std::iter::repeat_with(move || match rows {
            Some((elements, cols)) => Part { elements, cols: Some(cols) },
            None => Part { elements: cuts.next().unwrap_or(long), cols: None },
        }))
    }
}

/// A part of an MX stream: rows of `cols` elements that make whole blocks, or a piece of one row.
struct Part {
    elements: usize,
    cols: Option<usize>,
}

impl Part {
    /// Elements of a row of what was read.
    fn width(&self, read: usize) -> usize {
        self.cols.unwrap_or(read)
    }
}

/// f32 values to dequantised f32 values.
pub fn round(format: &BlockFormat, rounding: &RoundingArgs, shape: &ShapeArgs, sink: &mut Sink) -> Result<()> {
    let mut bytes = Vec::new();
    if format.scale == BlockScale::TwoLevel {
        let x = Source::of(4, shape.cols)?.all_floats()?;
        let blocking = shape.blocking(format, x.len())?;
        let tensor = encode_two_level(&x, blocking, rounding.mode()?)?;
        put(&decode_two_level(&tensor, blocking)?, 4, &mut bytes);
        return sink.put(&bytes);
    }
    each_strip(format, rounding, shape, |codes, width, block_cols, scales| {
        let mut values = Vec::with_capacity(codes.len());
        format.decode_strip(codes, width, block_cols, scales, &mut values);
        put(&values, 4, &mut bytes);
        sink.put(&bytes)
    })
}

/// Encodes an MX stream; `done` gets the codes, their row length, the elements of a block along a row and the scales of
/// each row of blocks, or of each piece of a long row.
fn each_strip(
    format: &BlockFormat,
    rounding: &RoundingArgs,
    shape: &ShapeArgs,
    mut done: impl FnMut(&[u32], usize, usize, &[u8]) -> Result<()>,
) -> Result<()> {
    let block @ (block_rows, block_cols) = shape.block(format);
    let (rule, mode) = (shape.rule(), rounding.mode()?);
    let mut source = Source::of(4, shape.cols)?;
    let (mut codes, mut scales, mut first) = (Vec::new(), Vec::new(), 0);
    for part in shape.parts(block)? {
        let Some(x) = source.floats(part.elements)? else { break };
        let cols = part.width(x.len());
        if !x.len().is_multiple_of(cols) {
            return whole_rows(shape.cols, first + x.len() as u64);
        }
        for x in x.chunks(block_rows.saturating_mul(cols)) {
            codes.clear();
            scales.clear();
            format.encode_strip(Strip { x, cols, block_cols, first }, rule, mode, &mut codes, &mut scales);
            first += x.len() as u64;
            done(&codes, cols, block_cols, &scales)?;
        }
    }
    whole_rows(shape.cols, first)
}

/// f32 values to codes; scales to their file.
pub fn encode(
    format: &BlockFormat,
    rounding: &RoundingArgs,
    shape: &ShapeArgs,
    packed: bool,
    sink: &mut Sink,
) -> Result<()> {
    let mut file = shape.create()?;
    let failed = |e: std::io::Error| Error::usage(format!("cannot write the scales: {e}"));
    if format.scale == BlockScale::TwoLevel {
        let x = Source::of(4, shape.cols)?.all_floats()?;
        let blocking = shape.blocking(format, x.len())?;
        let tensor = encode_two_level(&x, blocking, rounding.mode()?)?;
        file.write_all(&tensor.global.to_le_bytes()).and_then(|()| file.write_all(&tensor.scales)).map_err(failed)?;
        file.flush().map_err(failed)?;
        return write_codes(format, &tensor.codes, blocking.cols, packed, sink);
    }
    each_strip(format, rounding, shape, |codes, cols, _, scales| {
        file.write_all(scales).map_err(failed)?;
        write_codes(format, codes, cols, packed, sink)
    })?;
    file.flush().map_err(failed)
}

/// Writes rows of codes; packed ones start on a byte.
fn write_codes(format: &BlockFormat, codes: &[u32], cols: usize, packed: bool, sink: &mut Sink) -> Result<()> {
    let mut bytes = Vec::new();
    if !packed {
        put(codes, code_bytes(format.element), &mut bytes);
        return sink.put(&bytes);
    }
    for row in codes.chunks(cols) {
        pack(format.element, row, &mut bytes);
        sink.put(&bytes)?;
    }
    Ok(())
}

/// Codes and scales to f32 values; `count` of them, or as many as there are.
pub fn decode(
    format: &BlockFormat,
    shape: &ShapeArgs,
    packed: bool,
    count: Option<u64>,
    sink: &mut Sink,
) -> Result<()> {
    let (block_rows, block_cols) = shape.block(format);
    let mut file = shape.open()?;
    let mut source = Source::new();
    let two_levels = format.scale == BlockScale::TwoLevel;
    let (mut all, mut bytes, mut left) = (Vec::new(), Vec::new(), count.unwrap_or(u64::MAX));
    // Two levels say nothing about strips: their codes are gathered first.
    let strip_rows = if two_levels { 1 } else { block_rows };
    for part in shape.parts((strip_rows, block_cols))? {
        let wanted = part.elements.min(usize::try_from(left).unwrap_or(usize::MAX));
        let codes = read_codes(&mut source, format, wanted, part.width(wanted), packed)?;
        if codes.is_empty() {
            break;
        }
        left -= codes.len() as u64;
        if two_levels {
            all.extend(codes);
            continue;
        }
        let cols = part.width(codes.len());
        let mut values = Vec::with_capacity(codes.len());
        for codes in codes.chunks(strip_rows.saturating_mul(cols)) {
            let mut scales = vec![0; cols.min(codes.len()).div_ceil(block_cols)];
            file.read_exact(&mut scales).map_err(|_| Error::bad_input("there are fewer scales than blocks"))?;
            format.decode_strip(codes, cols, block_cols, &scales, &mut values);
        }
        put(&values, 4, &mut bytes);
        sink.put(&bytes)?;
    }
    count.map_or(Ok(()), |count| all_there(count, left))?;
    if !two_levels {
        return match file.read(&mut [0]) {
            Ok(0) => Ok(()),
            _ if count.is_some() => Ok(()),
            _ => Err(Error::bad_input("there are more scales than blocks")
                .help("give --cols and --block as the encode had them")),
        };
    }
    let (mut global, mut scales) = ([0; 4], Vec::new());
    file.read_exact(&mut global)
        .and_then(|()| file.read_to_end(&mut scales))
        .map_err(|e| Error::bad_input(format!("the scales begin with an f32: {e}")))?;
    let blocking = shape.blocking(format, all.len())?;
    let tensor = TwoLevel { codes: all, scales, global: f32::from_le_bytes(global) };
    put(&decode_two_level(&tensor, blocking)?, 4, &mut bytes);
    sink.put(&bytes)
}

/// The next `count` codes or fewer at the end, in rows of `cols` that start on a byte if they are packed.
fn read_codes(source: &mut Source, format: &BlockFormat, count: usize, cols: usize, packed: bool) -> Result<Vec<u32>> {
    let bits = format.element.bits as usize;
    if !packed {
        return Ok(source.bytes(count)?.iter().map(|code| u32::from(*code)).collect());
    }
    let row_bytes = |cols: usize| cols.saturating_mul(bits).div_ceil(8);
    let (rows, rest) = (count / cols.max(1), count % cols.max(1));
    let input = source.bytes(rows.saturating_mul(row_bytes(cols)).saturating_add(row_bytes(rest)))?;
    let row = |row: &[u8]| (0..cols.min(row.len() * 8 / bits)).map(|at| get(format.element, row, at)).collect();
    let rows: Vec<Vec<u32>> = input.chunks(row_bytes(cols).max(1)).map(row).collect();
    let mut codes = rows.concat();
    codes.truncate(count);
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_written_as_rows_by_columns() {
        assert_eq!(parse_block("16x16"), Ok((16, 16)));
        assert!(["16", "0x16", "1x", "ax2", "1x99999"].iter().all(|text| parse_block(text).is_err()));
    }
}
