//! `preon formats round|encode|decode` of block formats. MX streams run in constant memory; NVFP4, whose tensor scale needs
//! every value first, is read whole.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use super::stream::{PIECE, RoundingArgs, Source, code_bytes, pieces, put};
use crate::cli::out;
use crate::diag::{Error, Result};
use crate::num::block::{
    BlockFormat, BlockScale, Blocking, ScaleExponent, TwoLevel, decode_two_level, encode_two_level,
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
    /// MX formats: how the scale of a block follows from its largest magnitude
    #[arg(long, value_name = "RULE", default_value = "floor", value_parser = ["floor", "ceil", "rceil", "even"])]
    scale_rule: String,
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
        match self.scale_rule.as_str() {
            "ceil" => ScaleExponent::Ceil,
            "rceil" => ScaleExponent::RoundedCeil,
            "even" => ScaleExponent::Even,
            _ => ScaleExponent::Floor,
        }
    }
    fn block(&self, format: &BlockFormat) -> Result<(usize, usize)> {
        let (rows, cols) = self.block.unwrap_or((1, format.default_block()));
        if rows > 1 && format.scale == BlockScale::Power {
            return Err(Error::unsupported(format!("{} has blocks within a row, not of {rows} rows", format.name))
                .help("write --block 1xN"));
        }
        Ok((rows, cols))
    }
    fn scale_path(&self) -> Result<&PathBuf> {
        self.scales.as_ref().ok_or_else(|| {
            Error::usage("a block format keeps its scales in a file of their own").help("add --scales FILE")
        })
    }
    fn create(&self) -> Result<BufWriter<File>> {
        let path = self.scale_path()?;
        let file = File::create(path);
        file.map(BufWriter::new).map_err(|e| Error::usage(format!("cannot write {}: {e}", path.display())))
    }
    fn open(&self) -> Result<BufReader<File>> {
        let path = self.scale_path()?;
        let file = File::open(path);
        file.map(BufReader::new)
            .map_err(|e| Error::bad_input(format!("cannot read the scales: {e}")).in_file(path.display().to_string()))
    }
    /// Blocks of a tensor of `count` elements.
    fn blocking(&self, format: &BlockFormat, count: usize) -> Result<Blocking> {
        let (block_rows, block_cols) = self.block(format)?;
        let cols = self.cols.map_or(count.max(1), |cols| usize::try_from(cols).unwrap_or(usize::MAX));
        if !count.is_multiple_of(cols) {
            return Err(Error::bad_input(format!("{count} elements are no rows of {cols}")));
        }
        Ok(Blocking { rows: count / cols, cols, block_rows, block_cols })
    }
    /// Elements of every piece of an MX stream: whole rows or whole blocks of one.
    fn pieces(&self, block: usize) -> impl Iterator<Item = usize> + use<> {
        let size = (PIECE / (8 * block)).max(1) * 8 * block;
        pieces(Some(self.cols.unwrap_or(u64::MAX / 2)), size)
    }
}

/// f32 values to dequantised f32 values.
pub fn round(format: &BlockFormat, rounding: &RoundingArgs, shape: &ShapeArgs) -> Result<()> {
    let mut source = Source::new();
    let mut bytes = Vec::new();
    if format.scale == BlockScale::TwoLevel {
        let x = source.all_floats()?;
        let blocking = shape.blocking(format, x.len())?;
        let tensor = encode_two_level(&x, blocking, rounding.mode())?;
        put(&decode_two_level(&tensor, blocking)?, 4, &mut bytes);
        return out::bytes(&bytes);
    }
    let (_, block) = shape.block(format)?;
    let (mut codes, mut values, mut at) = (Vec::new(), Vec::new(), 0);
    for piece in shape.pieces(block) {
        let Some(x) = source.floats(piece)? else { break };
        values.clear();
        for x in x.chunks(block) {
            let scale = format.power(x, shape.rule());
            codes.clear();
            format.encode_power(x, scale, rounding.mode(), at, &mut codes);
            values.extend(codes.iter().map(|code| format.decode_power(*code, scale)));
            at += x.len() as u64;
        }
        put(&values, 4, &mut bytes);
        out::bytes(&bytes)?;
    }
    Ok(())
}

/// f32 values to codes; scales to their file.
pub fn encode(format: &BlockFormat, rounding: &RoundingArgs, shape: &ShapeArgs, packed: bool) -> Result<()> {
    let mut source = Source::new();
    let (_, block) = shape.block(format)?;
    let mut file = shape.create()?;
    let failed = |e: std::io::Error| Error::usage(format!("cannot write the scales: {e}"));
    let mut bytes = Vec::new();
    if format.scale == BlockScale::TwoLevel {
        let x = source.all_floats()?;
        let blocking = shape.blocking(format, x.len())?;
        let tensor = encode_two_level(&x, blocking, rounding.mode())?;
        file.write_all(&tensor.global.to_le_bytes()).and_then(|()| file.write_all(&tensor.scales)).map_err(failed)?;
        file.flush().map_err(failed)?;
        for row in tensor.codes.chunks(blocking.cols) {
            write_codes(format, row, packed, &mut bytes)?;
        }
        return Ok(());
    }
    let (mut codes, mut at) = (Vec::new(), 0);
    for piece in shape.pieces(block) {
        let Some(x) = source.floats(piece)? else { break };
        codes.clear();
        for x in x.chunks(block) {
            let scale = format.power(x, shape.rule());
            format.encode_power(x, scale, rounding.mode(), at, &mut codes);
            file.write_all(&[scale]).map_err(failed)?;
            at += x.len() as u64;
        }
        write_codes(format, &codes, packed, &mut bytes)?;
    }
    file.flush().map_err(failed)
}

fn write_codes(format: &BlockFormat, codes: &[u32], packed: bool, bytes: &mut Vec<u8>) -> Result<()> {
    if packed {
        pack(format.element, codes, bytes)
    } else {
        put(codes, code_bytes(format.element), bytes)
    }
    out::bytes(bytes)
}

/// Codes and scales to f32 values; `count` of them, or as many as there are.
pub fn decode(format: &BlockFormat, shape: &ShapeArgs, packed: bool, count: Option<u64>) -> Result<()> {
    let (_, block) = shape.block(format)?;
    let mut file = shape.open()?;
    let mut source = Source::new();
    let two_levels = format.scale == BlockScale::TwoLevel;
    let (mut all, mut bytes, mut left) = (Vec::new(), Vec::new(), count.unwrap_or(u64::MAX));
    for piece in shape.pieces(block) {
        let piece = piece.min(usize::try_from(left).unwrap_or(usize::MAX));
        let bits = if packed { format.element.bits as usize } else { 8 };
        let input = source.bytes((piece * bits).div_ceil(8))?;
        if input.is_empty() {
            break;
        }
        let number = piece.min(input.len() * 8 / bits);
        let code = |index| if packed { get(format.element, input, index) } else { u32::from(input[index]) };
        let codes: Vec<u32> = (0..number).map(code).collect();
        left -= number as u64;
        if two_levels {
            all.extend(codes);
            continue;
        }
        let mut values = Vec::with_capacity(number);
        for codes in codes.chunks(block) {
            let mut scale = [0];
            file.read_exact(&mut scale).map_err(|_| Error::bad_input("there are fewer scales than blocks"))?;
            values.extend(codes.iter().map(|code| format.decode_power(*code, scale[0])));
        }
        put(&values, 4, &mut bytes);
        out::bytes(&bytes)?;
    }
    if count.is_some() && left != 0 {
        return Err(Error::bad_input(format!("the stream ends {left} elements too early")));
    }
    if !two_levels {
        return Ok(());
    }
    let (mut global, mut scales) = ([0; 4], Vec::new());
    file.read_exact(&mut global)
        .and_then(|()| file.read_to_end(&mut scales))
        .map_err(|e| Error::bad_input(format!("the scales begin with an f32: {e}")))?;
    let blocking = shape.blocking(format, all.len())?;
    let tensor = TwoLevel { codes: all, scales, global: f32::from_le_bytes(global) };
    put(&decode_two_level(&tensor, blocking)?, 4, &mut bytes);
    out::bytes(&bytes)
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
