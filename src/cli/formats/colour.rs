//! `preon formats round|encode|decode` of colour formats: sign planes under scales of each row, fitted greedily.

use std::io::{Read, Write};

use super::block::ShapeArgs;
use super::stream::{PIECE, RoundingArgs, Sink, Source, all_there, put, whole_rows};
use crate::diag::{Error, Result};
use crate::num::bulk::pack;
use crate::num::{FormatRef, colour, format};
use crate::tensor::pack::{get, row_bytes};

/// f32 values to dequantised f32 values.
pub fn round(planes: usize, rounding: &RoundingArgs, shape: &ShapeArgs, sink: &mut Sink) -> Result<()> {
    let mut bytes = Vec::new();
    each_row(planes, rounding, shape, |codes, scales| {
        let values: Vec<u32> = codes.iter().map(|code| colour::decode(*code, scales)).collect();
        put(&values, 4, &mut bytes);
        sink.put(&bytes)
    })
}

/// f32 values to codes, bit i the sign of plane i; the f32 scales of every row to their file.
pub fn encode(planes: usize, rounding: &RoundingArgs, shape: &ShapeArgs, packed: bool, sink: &mut Sink) -> Result<()> {
    let failed = |e: std::io::Error| Error::usage(format!("cannot write the scales: {e}"));
    let (mut file, carrier, mut bytes) = (shape.create()?, carrier(planes)?, Vec::new());
    each_row(planes, rounding, shape, |codes, scales| {
        let words: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        file.write_all(&words).map_err(failed)?;
        if packed {
            pack(carrier, codes, &mut bytes)
        } else {
            put(codes, 1, &mut bytes)
        }
        sink.put(&bytes)
    })?;
    file.flush().map_err(failed)
}

/// A format whose codes have as many bits as there are planes: only its packing is used.
fn carrier(planes: usize) -> Result<FormatRef> {
    format::find(["int2", "int3", "int4"][planes - 2])
}

fn each_row(
    planes: usize,
    rounding: &RoundingArgs,
    shape: &ShapeArgs,
    mut done: impl FnMut(&[u32], &[f32]) -> Result<()>,
) -> Result<()> {
    if !rounding.is_plain() {
        return Err(Error::unsupported("colour formats keep signs, which no mode rounds").help("leave out --mode"));
    }
    let (mut source, mut codes, mut scales, mut count) = (Source::of(4, shape.cols)?, Vec::new(), Vec::new(), 0);
    loop {
        let x = match shape.cols {
            Some(cols) => source.floats(usize::try_from(cols).unwrap_or(usize::MAX))?.unwrap_or(&[]).to_vec(),
            None => source.all_floats()?,
        };
        if x.is_empty() {
            return Ok(());
        }
        count += x.len() as u64;
        whole_rows(shape.cols, count)?;
        let x: Vec<f32> = x.into_iter().map(f32::from_bits).collect();
        codes.clear();
        scales.clear();
        colour::encode_row(&x, planes, &mut codes, &mut scales);
        done(&codes, &scales)?;
    }
}

/// Codes and scales to f32 values; `count` of them, or as many as there are.
pub fn decode(planes: usize, shape: &ShapeArgs, packed: bool, count: Option<u64>, sink: &mut Sink) -> Result<()> {
    let (mut file, mut source, carrier) = (shape.open()?, Source::new(), carrier(planes)?);
    let (mut left, mut bytes) = (count.unwrap_or(u64::MAX), Vec::new());
    let cols = shape.cols.map(|cols| usize::try_from(cols).unwrap_or(usize::MAX));
    let mut scales = vec![0f32; planes];
    let mut in_row = 0;
    while left > 0 {
        // Without --cols everything is one row, read in pieces.
        let wanted = cols.unwrap_or(PIECE).min(usize::try_from(left).unwrap_or(usize::MAX));
        let input = source.bytes(if packed { row_bytes(carrier, wanted) } else { wanted })?;
        let number = if packed { (input.len() * 8 / planes).min(wanted) } else { input.len() };
        if number == 0 {
            break;
        }
        if cols.is_some() || in_row == 0 {
            for scale in &mut scales {
                let mut word = [0; 4];
                file.read_exact(&mut word)
                    .map_err(|_| Error::bad_input("there are fewer scales than planes of rows"))?;
                *scale = f32::from_le_bytes(word);
            }
        }
        in_row += number;
        let code = |at| if packed { get(carrier, input, at) } else { u32::from(input[at]) };
        let values: Vec<u32> = (0..number).map(|at| colour::decode(code(at), &scales)).collect();
        left -= number as u64;
        put(&values, 4, &mut bytes);
        sink.put(&bytes)?;
    }
    count.map_or(Ok(()), |count| all_there(count, left))
}
