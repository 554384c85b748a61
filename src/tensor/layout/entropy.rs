//! Entropy-coded tensors (`preon.ec/1`): the codes of a format in about as many bits as they carry information, cut
//! into tiles that decode alone.
//!
//! One static model a tensor gives every code that occurs a frequency out of 4096. Each tile is a run of codes in
//! row-major order, coded by asymmetric numeral systems with a state of 32 bits and words of 16 bits (`constriction`):
//! a decoder in hardware is a multiplier of 20 x 12 bits and a table.
//! docs/storage.md states the bytes and the decoding rule; [`crate::exec`] has the rule as an instruction, written
//! from that page.

use crate::diag::{Error, Result};
use crate::num::Format;
use crate::num::crc32::crc32;
use crate::tensor::pack;
use constriction::stream::Decode;
use constriction::stream::model::ContiguousCategoricalEntropyModel;
use constriction::stream::stack::AnsCoder;

/// Codes in a tile unless told otherwise.
pub const TILE_SYMBOLS: u32 = 16384;
/// Bits of a model's frequencies: they sum to `2^PRECISION`.
pub const PRECISION: usize = 12;
/// Sum of the frequencies of a model.
pub const TOTAL: u32 = 1 << PRECISION;

const MAGIC: &[u8; 8] = b"PREONEC1";
/// Bytes before the model.
pub(super) const HEADER: usize = 30;

/// The model and coder of constriction that have our precision.
type Categorical = ContiguousCategoricalEntropyModel<u16, Vec<u16>, PRECISION>;
type Coder = AnsCoder<u16, u32>;

/// Frequencies of codes: which codes occur, and how often out of [`TOTAL`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Model {
    codes: Vec<u8>,
    /// Sums of the frequencies before each code, then the total.
    starts: Vec<u32>,
}

impl Model {
    /// The model of `counts`, indexed by code: every code that occurs has a frequency of at least 1, and there are at
    /// least two codes. The frequencies are the nearest to proportional in coded length.
    ///
    /// # Errors
    /// Internal if `counts` has not 2 to 256 entries.
    pub fn of_counts(counts: &[u64]) -> Result<Model> {
        if !(2..=256).contains(&counts.len()) {
            return Err(Error::internal(format!("an entropy model of {} codes", counts.len())));
        }
        let mut live: Vec<(u8, u64)> = (0u8..=255).zip(counts.iter().copied()).filter(|(_, n)| *n > 0).collect();
        for code in 0..2 {
            if live.len() < 2 && !live.iter().any(|(c, _)| *c == code) {
                live.push((code, 0));
            }
        }
        // The most frequent code first: its start is 0, so that a run of it at the end of a tile costs nothing.
        live.sort_unstable_by_key(|(code, n)| (std::cmp::Reverse(*n), *code));
        let sum: u128 = live.iter().map(|(_, n)| u128::from(*n)).sum::<u128>().max(1);
        let scaled = |n: u64| (u128::from(n) * u128::from(TOTAL) / sum) as u32;
        let mut frequencies: Vec<u32> = live.iter().map(|(_, n)| scaled(*n).clamp(1, TOTAL - 1)).collect();
        let mut total: u32 = frequencies.iter().sum();
        // Give to the code that gains most by one more, take from the one that loses least: d(n log f) = n / f.
        while total != TOTAL {
            let up = total < TOTAL;
            let weight = |i: usize| {
                let f = 2 * u128::from(frequencies[i]);
                (u128::from(live[i].1), if up { f + 1 } else { f - 1 })
            };
            let better = |a: usize, b: usize| {
                let ((na, fa), (nb, fb)) = (weight(a), weight(b));
                if up { na * fb > nb * fa } else { na * fb < nb * fa }
            };
            let able = (0..live.len()).filter(|&i| up || frequencies[i] > 1);
            let best = able.reduce(|best, i| if better(i, best) { i } else { best }).unwrap_or(0);
            frequencies[best] = if up { frequencies[best] + 1 } else { frequencies[best] - 1 };
            total = if up { total + 1 } else { total - 1 };
        }
        Ok(Model::of_frequencies(live.iter().map(|(code, _)| *code).collect(), &frequencies))
    }

    fn of_frequencies(codes: Vec<u8>, frequencies: &[u32]) -> Model {
        let mut starts = vec![0];
        for f in frequencies {
            starts.push(starts[starts.len() - 1] + f);
        }
        Model { codes, starts }
    }

    /// Reads a model from the start of `bytes`: the number of codes less one, then for every code the code
    /// and its frequency as u16. Gives the bytes that it took.
    ///
    /// # Errors
    /// BadInput if the bytes end early, a code stands twice or has more than `bits` bits, a frequency is 0,
    /// or the sum is not [`TOTAL`].
    pub fn read(bytes: &[u8], bits: u32) -> Result<(Model, usize)> {
        let wrong = |what: &str| Error::bad_input(format!("the entropy model is damaged: {what}"));
        let count = usize::from(*bytes.first().ok_or_else(|| wrong("it is empty"))?) + 1;
        let rows = bytes.get(1..1 + 3 * count).ok_or_else(|| wrong("it ends early"))?;
        let codes: Vec<u8> = rows.chunks_exact(3).map(|row| row[0]).collect();
        let frequencies: Vec<u32> =
            rows.chunks_exact(3).map(|row| u16::from_le_bytes([row[1], row[2]]).into()).collect();
        let mut seen = [false; 256];
        let once = codes.iter().all(|code| !std::mem::replace(&mut seen[usize::from(*code)], true));
        if !once || codes.iter().any(|code| u32::from(*code) >> bits.min(8) != 0) {
            return Err(wrong("its codes are not different codes of the format"));
        }
        if frequencies.contains(&0) || frequencies.iter().sum::<u32>() != TOTAL {
            return Err(wrong("its frequencies do not sum to 4096"));
        }
        Ok((Model::of_frequencies(codes, &frequencies), 1 + 3 * count))
    }

    /// The model as bytes: what [`Model::read`] reads, in files and in control memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![(self.codes.len() - 1) as u8];
        for (i, code) in self.codes.iter().enumerate() {
            out.push(*code);
            out.extend((self.frequency(i) as u16).to_le_bytes());
        }
        out
    }

    /// Codes that have a frequency, most frequent first.
    pub fn codes(&self) -> &[u8] {
        &self.codes
    }
    /// Frequency of the `i`-th of [`Model::codes`].
    pub fn frequency(&self, i: usize) -> u32 {
        self.starts[i + 1] - self.starts[i]
    }
    /// Index, first position and frequency of the code at position `at` (below [`TOTAL`]) of the cumulative table.
    pub fn find(&self, at: u32) -> (usize, u32, u32) {
        let i = self.starts.partition_point(|start| *start <= at).clamp(1, self.codes.len()) - 1;
        (i, self.starts[i], self.frequency(i))
    }
    /// Bits that codes with these counts take under this model, on average a code.
    pub fn cross_entropy_bits(&self, counts: &[u64]) -> f64 {
        let total = counts.iter().sum::<u64>() as f64;
        let bits = |i: usize| {
            let n = counts.get(usize::from(self.codes[i])).copied().unwrap_or(0);
            n as f64 * (f64::from(TOTAL) / f64::from(self.frequency(i))).log2()
        };
        if total == 0.0 { 0.0 } else { (0..self.codes.len()).fold(0.0, |sum, i| sum + bits(i)) / total }
    }

    fn categorical(&self) -> Result<Categorical> {
        let frequencies = (0..self.codes.len()).map(|i| self.frequency(i) as u16);
        Categorical::from_nonzero_fixed_point_probabilities(frequencies, false)
            .map_err(|()| Error::internal("an entropy model that does not sum to its total"))
    }
}

/// Entropy of a source with these counts, bits a symbol.
pub fn entropy_bits(counts: &[u64]) -> f64 {
    let total = counts.iter().sum::<u64>() as f64;
    let term = |n: f64| if n == 0.0 { 0.0 } else { n / total * (total / n).log2() };
    counts.iter().fold(0.0, |sum, n| sum + term(*n as f64))
}

/// Where a tile lies and how many codes it holds: all that decoding it needs beside the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// First byte, from the start of the payload.
    pub offset: u64,
    /// Bytes.
    pub bytes: u32,
    /// Codes.
    pub symbols: u32,
}

impl Restart {
    /// Bytes of an entry of a restart table in control memory.
    pub const BYTES: u64 = 16;
    /// The entry: offset as u64, bytes and symbols as u32, little-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.bytes.to_le_bytes());
        out[12..].copy_from_slice(&self.symbols.to_le_bytes());
        out
    }
}

/// An entropy-coded tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coded {
    bits: u32,
    symbols: u64,
    tile_symbols: u32,
    model: Model,
    /// End of each tile in the payload.
    ends: Vec<u64>,
    payload: Vec<u8>,
}

impl Coded {
    /// Codes the `rows` x `cols` elements of dense packed rows in tiles of `tile_symbols`.
    ///
    /// # Errors
    /// Unsupported for codes of more than 8 bits; Internal if the payload has not the size of the rows or a tile holds
    /// nothing.
    pub fn of_rows(format: &Format, rows: usize, cols: usize, dense: &[u8], tile_symbols: u32) -> Result<Coded> {
        if format.bits > 8 {
            let message = format!("{} has codes of {} bits; entropy coding takes up to 8", format.name, format.bits);
            return Err(Error::unsupported(message));
        }
        let pitch = pack::row_bytes(format, cols);
        if dense.len() != rows * pitch || tile_symbols == 0 {
            return Err(Error::internal(format!("{} bytes of {rows} x {cols} {}", dense.len(), format.name)));
        }
        let mut codes = Vec::with_capacity(rows * cols);
        for row in 0..rows {
            let row = &dense[row * pitch..][..pitch];
            codes.extend((0..cols).map(|i| pack::get(format, row, i) as u8));
        }
        Coded::of_codes(format.bits, &codes, tile_symbols)
    }

    fn of_codes(bits: u32, codes: &[u8], tile_symbols: u32) -> Result<Coded> {
        let model = Model::of_counts(&histogram(bits, codes))?;
        let categorical = model.categorical()?;
        let mut place = [0usize; 256];
        model.codes.iter().enumerate().for_each(|(i, code)| place[usize::from(*code)] = i);
        let (mut payload, mut ends) = (Vec::new(), Vec::new());
        for tile in codes.chunks(tile_symbols as usize) {
            let mut coder = Coder::new();
            coder
                .encode_iid_symbols_reverse(tile.iter().map(|code| place[usize::from(*code)]), &categorical)
                .map_err(|error| Error::internal(format!("entropy coding: {error}")))?;
            let words = coder.into_compressed().unwrap_or_else(|never| match never {});
            payload.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            // The tile is one little-endian number; its leading zeros are not stored.
            let start = ends.last().copied().unwrap_or(0) as usize;
            let zeros = payload[start..].iter().rev().take_while(|byte| **byte == 0).count();
            payload.truncate(payload.len() - zeros);
            ends.push(payload.len() as u64);
        }
        Ok(Coded { bits, symbols: codes.len() as u64, tile_symbols, model, ends, payload })
    }

    /// The tensor as dense packed rows of `cols` codes of `format`.
    ///
    /// # Errors
    /// BadInput if a tile is damaged; Internal if the rows do not take all codes, or are of another width.
    pub fn to_rows(&self, format: &Format, rows: usize, cols: usize) -> Result<Vec<u8>> {
        if (rows as u64).checked_mul(cols as u64) != Some(self.symbols) || format.bits != self.bits {
            return Err(Error::internal(format!("{} codes are not {rows} x {cols} {}", self.symbols, format.name)));
        }
        let pitch = pack::row_bytes(format, cols);
        let mut dense = vec![0; rows * pitch];
        let mut at = 0;
        for tile in 0..self.tiles() {
            for code in self.tile(tile)? {
                pack::put(format, &mut dense[at / cols * pitch..][..pitch], at % cols, code.into());
                at += 1;
            }
        }
        Ok(dense)
    }

    /// Codes of a tile that holds whole rows of `cols` codes and about [`TILE_SYMBOLS`], so that every row can start on a
    /// byte when the tile is decoded: what the kernel `unpack-ec` needs.
    pub fn tile_of_rows(cols: usize) -> u32 {
        let cols = u32::try_from(cols.max(1)).unwrap_or(u32::MAX);
        cols * (TILE_SYMBOLS / cols).max(1)
    }

    /// The codes of one tile, decoded from nothing but the model and the tile's bytes.
    ///
    /// # Errors
    /// BadInput if the bytes are not exactly those of the tile's codes; Internal for a tile that does not exist.
    pub fn tile(&self, tile: usize) -> Result<Vec<u8>> {
        let restart = self.restart(tile)?;
        let bytes = &self.payload[restart.offset as usize..][..restart.bytes as usize];
        decode_tile(&self.model, bytes, restart.symbols)
            .ok_or_else(|| Error::bad_input(format!("tile {tile} of the entropy-coded tensor is damaged")))
    }

    /// Where tile `tile` lies.
    ///
    /// # Errors
    /// Internal for a tile that does not exist.
    pub fn restart(&self, tile: usize) -> Result<Restart> {
        let end = *self.ends.get(tile).ok_or_else(|| Error::internal(format!("there is no tile {tile}")))?;
        let offset = if tile == 0 { 0 } else { self.ends[tile - 1] };
        let before = tile as u64 * u64::from(self.tile_symbols);
        let symbols = (self.symbols - before).min(self.tile_symbols.into()) as u32;
        Ok(Restart { offset, bytes: (end - offset) as u32, symbols })
    }

    /// The restart table and then the model, as `ec.open` reads them in control memory: `tiles` entries of
    /// [`Restart::BYTES`], then [`Model::to_bytes`].
    pub fn control_bytes(&self) -> Vec<u8> {
        let mut out: Vec<u8> =
            (0..self.tiles()).flat_map(|tile| self.restart(tile).map(Restart::to_bytes)).flatten().collect();
        out.extend(self.model.to_bytes());
        out
    }

    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.ends.len()
    }
    /// Number of codes.
    pub fn symbols(&self) -> u64 {
        self.symbols
    }
    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }
    /// The tiles' bytes, one after the other.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
    /// Bytes of the whole layout: header, model, restart table and tiles, as [`Coded::to_bytes`] writes them.
    pub fn stored_bytes(&self) -> usize {
        let (_, width) = self.length_code();
        HEADER + 1 + 3 * self.model.codes.len() + (self.tiles() * width as usize).div_ceil(8) + self.payload.len()
    }

    /// Shortest tile, and the bits that the others' lengths above it take.
    fn length_code(&self) -> (u32, u32) {
        let lengths = |i: usize| self.ends[i] - if i == 0 { 0 } else { self.ends[i - 1] };
        let shortest = (0..self.tiles()).map(lengths).min().unwrap_or(0);
        let longest = (0..self.tiles()).map(lengths).max().unwrap_or(0);
        (shortest as u32, u64::BITS - (longest - shortest).leading_zeros())
    }

    /// The layout as docs/storage.md states it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (shortest, width) = self.length_code();
        let mut body = Vec::with_capacity(self.stored_bytes());
        body.extend(self.symbols.to_le_bytes());
        body.extend(self.tile_symbols.to_le_bytes());
        body.extend(shortest.to_le_bytes());
        body.push(width as u8);
        body.push(self.bits as u8);
        body.extend(self.model.to_bytes());
        let mut lengths = vec![0; (self.tiles() * width as usize).div_ceil(8)];
        for tile in 0..self.tiles() {
            let offset = if tile == 0 { 0 } else { self.ends[tile - 1] };
            put_bits(&mut lengths, width, tile, self.ends[tile] - offset - u64::from(shortest));
        }
        body.extend(lengths);
        body.extend(&self.payload);
        let mut out = MAGIC.to_vec();
        out.extend(crc32(&body).to_le_bytes());
        out.extend(body);
        out
    }

    /// Reads a layout of `symbols` codes of `format` (both known from the tensor's header, so that a few hostile bytes
    /// cannot ask for much memory).
    ///
    /// # Errors
    /// BadInput if the bytes are not exactly such a layout, or damaged. Tiles are checked when they are decoded.
    pub fn from_bytes(bytes: &[u8], format: &Format, symbols: u64) -> Result<Coded> {
        let wrong = |what: &str| Error::bad_input(format!("the entropy-coded tensor is damaged: {what}"));
        if bytes.len() < HEADER || &bytes[..8] != MAGIC {
            return Err(Error::bad_input("this is not an entropy-coded tensor").help("they begin with `PREONEC1`"));
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if crc32(&bytes[12..]) != u32_at(8) {
            return Err(wrong("its checksum does not match"));
        }
        let stated = u64::from(u32_at(12)) | u64::from(u32_at(16)) << 32;
        let (tile_symbols, shortest, width, bits) =
            (u32_at(20), u32_at(24), u32::from(bytes[28]), u32::from(bytes[29]));
        if stated != symbols || bits != format.bits || bits > 8 {
            let message = format!("it holds {stated} codes of {bits} bits, not {symbols} of {}", format.bits);
            return Err(wrong(&message));
        }
        if tile_symbols == 0 || width > 32 {
            return Err(wrong("its header is not possible"));
        }
        let (model, used) = Model::read(&bytes[HEADER..], bits)?;
        let tiles = symbols.div_ceil(tile_symbols.into());
        let table = tiles.checked_mul(width.into()).map(|n| n.div_ceil(8));
        let rest = &bytes[HEADER + used..];
        let table = table.filter(|n| *n <= rest.len() as u64).ok_or_else(|| wrong("its restart table ends early"))?;
        let (table, payload) = rest.split_at(table as usize);
        let mut ends = Vec::with_capacity(tiles as usize);
        let mut end = 0u64;
        for tile in 0..tiles as usize {
            end += u64::from(shortest) + get_bits(table, width, tile);
            ends.push(end);
        }
        if end != payload.len() as u64 {
            return Err(wrong("its tiles do not fill it"));
        }
        Ok(Coded { bits, symbols, tile_symbols, model, ends, payload: payload.to_vec() })
    }
}

/// Number of times that each code of `bits` bits occurs.
pub fn histogram(bits: u32, codes: &[u8]) -> Vec<u64> {
    let mut counts = vec![0; 1 << bits];
    codes.iter().for_each(|code| counts[usize::from(*code)] += 1);
    counts
}

/// `symbols` codes from the bytes of a tile; `None` unless they are exactly its bytes.
fn decode_tile(model: &Model, bytes: &[u8], symbols: u32) -> Option<Vec<u8>> {
    let word = |pair: &[u8]| pair.iter().rev().fold(0, |word, byte| word << 8 | u16::from(*byte));
    let words: Vec<u16> = bytes.chunks(2).map(word).collect();
    if bytes.last() == Some(&0) {
        return None;
    }
    let mut coder = Coder::from_compressed(words).ok()?;
    let categorical = model.categorical().ok()?;
    let mut codes = Vec::with_capacity(symbols as usize);
    for symbol in coder.decode_iid_symbols(symbols as usize, &categorical) {
        codes.push(model.codes[symbol.ok()?]);
    }
    coder.is_empty().then_some(codes)
}

/// Number `index` of a packed list of numbers of `width` bits (up to 57), low bits first.
pub(super) fn get_bits(bytes: &[u8], width: u32, index: usize) -> u64 {
    let start = index as u64 * u64::from(width);
    let first = (start / 8) as usize;
    let last = ((start + u64::from(width)).div_ceil(8) as usize).min(bytes.len());
    let word = bytes[first.min(last)..last].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    word >> (start % 8) & ((1 << width) - 1)
}

/// Writes number `index` of such a list, whose bits are zero before.
pub(super) fn put_bits(bytes: &mut [u8], width: u32, index: usize, value: u64) {
    let start = index as u64 * u64::from(width);
    let shifted = (value & ((1 << width) - 1)) << (start % 8);
    let last = (start + u64::from(width)).div_ceil(8) as usize;
    for (byte, part) in bytes[(start / 8) as usize..last].iter_mut().zip(shifted.to_le_bytes()) {
        *byte |= part;
    }
}

#[cfg(test)]
mod tests;
