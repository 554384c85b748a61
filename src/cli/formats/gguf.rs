//! `preon formats round|encode|decode` of the block types of GGUF files: scales stand inside the blocks.

use super::block::ShapeArgs;
use super::stream::{PIECE, RoundingArgs, Sink, Source, all_there, put, whole_rows};
use crate::diag::{Error, Result};
use crate::num::gguf::Container;

/// f32 values to dequantised f32 values.
pub fn round(container: &Container, rounding: &RoundingArgs, shape: &ShapeArgs, sink: &mut Sink) -> Result<()> {
    let (mut values, mut bytes) = (Vec::new(), Vec::new());
    each(container, rounding, shape, |blocks| {
        values.clear();
        container.decode(blocks, &mut values)?;
        put(&values, 4, &mut bytes);
        sink.put(&bytes)
    })
}

/// f32 values to blocks.
pub fn encode(container: &Container, rounding: &RoundingArgs, shape: &ShapeArgs, sink: &mut Sink) -> Result<()> {
    each(container, rounding, shape, |blocks| sink.put(blocks))
}

/// The blocks of every piece of the stream.
fn each(
    container: &Container,
    rounding: &RoundingArgs,
    shape: &ShapeArgs,
    mut done: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if !rounding.is_plain() {
        return Err(Error::unsupported(format!("{} rounds as GGUF defines it", container.name))
            .help("leave out --mode and --no-saturate"));
    }
    if let Some(cols) = shape.cols
        && !cols.is_multiple_of(container.elements as u64)
    {
        return Err(Error::unsupported(format!("rows of {cols} are no blocks of {}", container.elements))
            .help("GGUF has no short blocks: pad the rows"));
    }
    let (mut source, mut blocks, mut count) = (Source::of(4, shape.cols)?, Vec::new(), 0);
    loop {
        let x = if container.is_whole() { source.all_floats()? } else { source.floats(PIECE)?.unwrap_or(&[]).to_vec() };
        if x.is_empty() {
            return whole_rows(shape.cols, count);
        }
        count += x.len() as u64;
        let x: Vec<f32> = x.into_iter().map(f32::from_bits).collect();
        blocks.clear();
        container.encode(&x, &mut blocks)?;
        done(&blocks)?;
    }
}

/// Blocks to f32 values; `count` of them, or as many as there are.
pub fn decode(container: &Container, count: Option<u64>, sink: &mut Sink) -> Result<()> {
    let (mut source, mut values, mut bytes) = (Source::new(), Vec::new(), Vec::new());
    let mut left = count.unwrap_or(u64::MAX);
    let size = if container.is_whole() { usize::MAX } else { PIECE * container.bytes };
    while left > 0 {
        let blocks = source.bytes(size)?;
        if blocks.is_empty() {
            break;
        }
        values.clear();
        container.decode(blocks, &mut values)?;
        values.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= values.len() as u64;
        put(&values, 4, &mut bytes);
        sink.put(&bytes)?;
    }
    count.map_or(Ok(()), |count| all_there(count, left))
}
