//! Encode and decode of whole streams by tables that follow from [`super::codec`], code for code.
//!
//! Every encode is monotone, so that among the 65536 floats with the same upper half at most a few codes occur. Of a
//! format of 8 bits or fewer a table keeps, for every upper half, the first code, the last one and the last lower half
//! of the first: one look-up and one comparison an element. Vectors do the same without a table (`super::kernel`). Where a row has more than two codes in such a bucket (a
//! user's dense codebook), and for wider formats, elements are encoded one by one.

use super::codec::{Draw, Rounding, Stochastic, decode, encode};
use super::format::{Format, FormatRef};
use super::isa::Isa;
use super::kernel::Kernel;
use super::philox::Draws;
use super::{arch, bits};

/// How streams are rounded.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// The same way for every element.
    Fixed(Rounding),
    /// By draws of this many bits, at most 32.
    Stochastic(Stochastic, u32, Draws),
}

/// Encoder of one format in one mode.
#[derive(Debug, Clone)]
pub struct Encoder {
    format: FormatRef,
    mode: Mode,
    saturate: bool,
    isa: Isa,
    /// What whole vectors need, if this instruction set and mode have it; then there is no table.
    kernel: Option<Kernel>,
    /// Low byte: first code; next byte: last code; upper half: last lower half with the first code.
    table: Vec<u32>,
}

/// Elements whose codes stay in the nearest cache; a multiple of the vectors.
const PIECE: usize = 2048;

impl Encoder {
    /// An encoder by the best instructions that [`Isa::current`] admits.
    pub fn new(format: FormatRef, mode: Mode, saturate: bool) -> Self {
        Encoder::with_isa(format, mode, saturate, Isa::current())
    }
    /// Prepares an encoder; its table, where it needs one, takes about 10 ms. Every instruction set gives the same codes.
    pub fn with_isa(format: FormatRef, mode: Mode, saturate: bool, isa: Isa) -> Self {
        let fixed = match mode {
            Mode::Fixed(rounding) if format.bits <= 8 => Some(rounding),
            _ => None,
        };
        let kernel = fixed.filter(|_| isa != Isa::Scalar).and_then(|rounding| Kernel::of(format, rounding, saturate));
        let table = fixed.filter(|_| kernel.is_none()).and_then(|rounding| {
            (0..=0xffff).map(|upper| bucket(format, upper << 16, rounding, saturate)).collect::<Option<_>>()
        });
        Encoder { format, mode, saturate, isa, kernel, table: table.unwrap_or_default() }
    }
    /// Encodes f32 bit patterns; `first` is the index of `x[0]` in its tensor (only draws depend on it).
    pub fn encode(&self, x: &[u32], first: u64, codes: &mut Vec<u32>) {
        codes.clear();
        if let Some(kernel) = &self.kernel {
            let mut piece = [0; PIECE];
            for x in x.chunks(PIECE) {
                let bytes = &mut piece[..x.len()];
                self.encode_bytes(kernel, x, bytes);
                codes.extend(bytes.iter().map(|code| u32::from(*code)));
            }
            return;
        }
        match self.mode {
            Mode::Fixed(_) if !self.table.is_empty() => codes.extend(x.iter().map(|x| self.look_up(*x))),
            Mode::Fixed(mode) => codes.extend(x.iter().map(|x| encode(self.format, *x, mode, self.saturate))),
            Mode::Stochastic(kind, bits, draws) => codes.extend(x.iter().zip(first..).map(|(x, index)| {
                let random = (u64::from(draws.word(index)) >> (32 - bits)) as u32;
                encode(self.format, *x, Rounding::Stochastic(Draw { kind, bits, random }), self.saturate)
            })),
        }
    }
    /// One code a byte: whole vectors by the kernel, the rest by the codec.
    fn encode_bytes(&self, kernel: &Kernel, x: &[u32], codes: &mut [u8]) {
        let done = arch::encode(self.isa, kernel, x, codes);
        if let Mode::Fixed(mode) = self.mode {
            for (x, code) in x.iter().zip(codes).skip(done) {
                *code = encode(self.format, *x, mode, self.saturate) as u8;
            }
        }
    }
    fn look_up(&self, x: u32) -> u32 {
        let entry = self.table[(x >> 16) as usize];
        let shift = if x & 0xffff > entry >> 16 { 8 } else { 0 };
        entry >> shift & 0xff
    }
    /// Encodes into packed bytes, first element in the low bits; the last byte is filled with zero bits. `bytes` is
    /// overwritten; one of the right length is not cleared first.
    pub fn encode_packed(&self, x: &[u32], first: u64, bytes: &mut Vec<u8>) {
        if self.format.bits > 8 || (self.kernel.is_none() && self.table.is_empty()) {
            let mut codes = Vec::new();
            self.encode(x, first, &mut codes);
            return pack(self.format, &codes, bytes);
        }
        let width = self.format.bits as usize;
        bytes.resize((x.len() / 8 * width) + (x.len() % 8 * width).div_ceil(8), 0);
        let mut piece = [0; PIECE];
        for (x, bytes) in x.chunks(PIECE).zip(bytes.chunks_mut(PIECE / 8 * width)) {
            let codes = if width == 8 { &mut *bytes } else { &mut piece[..x.len()] };
            match &self.kernel {
                Some(kernel) => self.encode_bytes(kernel, x, codes),
                None => codes.iter_mut().zip(x).for_each(|(code, x)| *code = self.look_up(*x) as u8),
            }
            if width != 8 {
                bits::pack(self.format.bits, &piece[..x.len()], bytes);
            }
        }
    }
}

/// Table entry of the floats `base` to `base + 0xffff`, if they have at most two codes.
fn bucket(format: &Format, base: u32, mode: Rounding, saturate: bool) -> Option<u32> {
    let code = |lower: u32| encode(format, base | lower, mode, saturate);
    let (first, last) = (code(0), code(0xffff));
    if first == last {
        return Some(first | last << 8 | 0xffff << 16);
    }
    // The last lower half with the first code lies in low..high.
    let (mut low, mut high) = (0, 0xffff);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if code(middle) == first { low = middle } else { high = middle }
    }
    (code(high) == last).then_some(first | last << 8 | low << 16)
}

/// Packs codes, first element in the low bits; the last byte is filled with zero bits.
pub fn pack(format: &Format, codes: &[u32], bytes: &mut Vec<u8>) {
    bytes.clear();
    let (mut word, mut filled) = (0u64, 0);
    for code in codes {
        word |= u64::from(code & format.mask()) << filled;
        filled += format.bits;
        while filled >= 8 {
            bytes.push(word as u8);
            (word, filled) = (word >> 8, filled - 8);
        }
    }
    if filled > 0 {
        bytes.push(word as u8);
    }
}

/// Decoder of one format.
pub struct Decoder {
    format: FormatRef,
    /// Value of every code of 16 bits or fewer.
    table: Vec<u32>,
    /// Values of the codes in every byte, for codes of 1, 2, 4 and 8 bits.
    of_byte: Vec<u32>,
}

impl Decoder {
    /// Prepares the tables.
    pub fn new(format: FormatRef) -> Self {
        let codes = if format.bits <= 16 { 0..1u32 << format.bits } else { 0..0 };
        let table: Vec<u32> = codes.map(|code| decode(format, code)).collect();
        let bytes = if matches!(format.bits, 1 | 2 | 4 | 8) { 0..256usize } else { 0..0 };
        let in_byte = |byte: usize| (0..8).step_by(format.bits as usize).map(move |shift| byte >> shift);
        let of_byte = bytes.flat_map(in_byte).map(|code| table[code & (table.len() - 1)]).collect();
        Decoder { format, table, of_byte }
    }
    /// Appends the f32 bit patterns of codes; bits above a code are ignored.
    pub fn decode(&self, codes: impl Iterator<Item = u32>, values: &mut Vec<u32>) {
        match self.table.len() {
            0 => values.extend(codes.map(|code| decode(self.format, code))),
            length => {
                let mask = length - 1;
                values.extend(codes.map(|code| self.table[code as usize & mask]));
            }
        }
    }
    /// Appends the values of `count` packed codes, or of as many as the bytes hold.
    pub fn decode_packed(&self, bytes: &[u8], count: usize, values: &mut Vec<u32>) {
        let bits = self.format.bits as usize;
        let count = count.min(bytes.len() * 8 / bits);
        if bits <= 8 {
            let start = values.len();
            values.resize(start + count, 0);
            return self.decode_into(bytes, &mut values[start..]);
        }
        let (mut word, mut filled, mut next) = (0u64, 0, bytes.iter());
        self.decode(
            (0..count).map(|_| {
                while filled < bits {
                    word |= u64::from(*next.next().unwrap_or(&0)) << filled;
                    filled += 8;
                }
                let code = word as u32 & self.format.mask();
                (word, filled) = (word >> bits, filled - bits);
                code
            }),
            values,
        );
    }
    /// Writes the values of packed codes, as many as `values` or the bytes hold.
    pub fn decode_into(&self, bytes: &[u8], values: &mut [u32]) {
        match self.of_byte.len() / 256 {
            1 => split::<1>(&self.of_byte, bytes, values),
            2 => split::<2>(&self.of_byte, bytes, values),
            4 => split::<4>(&self.of_byte, bytes, values),
            8 => split::<8>(&self.of_byte, bytes, values),
            _ if self.format.bits <= 8 => {
                let (width, mut codes) = (self.format.bits as usize, [0; PIECE]);
                let count = values.len().min(bytes.len() * 8 / width);
                for (values, bytes) in values[..count].chunks_mut(PIECE).zip(bytes.chunks(PIECE / 8 * width)) {
                    bits::unpack(self.format.bits, bytes, &mut codes[..values.len()]);
                    let table = |code: &u8| self.table[usize::from(*code)];
                    values.iter_mut().zip(&codes).for_each(|(value, code)| *value = table(code));
                }
            }
            _ => {
                let mut list = Vec::new();
                self.decode_packed(bytes, values.len(), &mut list);
                values[..list.len()].copy_from_slice(&list);
            }
        }
    }
}

/// Values of bytes of `N` codes each, by a table of all 256 bytes.
fn split<const N: usize>(of_byte: &[u32], bytes: &[u8], values: &mut [u32]) {
    let of_byte: &[[u32; N]; 256] = of_byte.as_chunks().0.try_into().expect("a list for every byte");
    let (whole, rest) = values.as_chunks_mut::<N>();
    for (values, byte) in whole.iter_mut().zip(bytes) {
        *values = of_byte[usize::from(*byte)];
    }
    if let Some(byte) = bytes.get(whole.len()) {
        rest.copy_from_slice(&of_byte[usize::from(*byte)][..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::format::formats;
    use crate::num::philox::Use;

    /// Bit patterns of every kind: each code's value, its neighbours, ties, and a spread of all floats.
    fn samples(format: FormatRef) -> Vec<u32> {
        let mut x: Vec<u32> = (0..40_000u32).map(|i| i.wrapping_mul(0x9e37_79b1)).collect();
        let values: Vec<u32> = (0..1u32 << format.bits.min(8)).map(|code| decode(format, code)).collect();
        let middles = values.windows(2).map(|w| ((f32::from_bits(w[0]) + f32::from_bits(w[1])) / 2.0).to_bits());
        let points: Vec<u32> = values.iter().copied().chain(middles).collect();
        x.extend(points.iter().flat_map(|p| [p.wrapping_sub(1), *p, p.wrapping_add(1)]));
        x
    }

    #[test]
    fn tables_give_the_codes_of_the_codec_and_packing_is_undone() {
        for format in formats() {
            for (mode, saturate) in [(Rounding::NearestEven, true), (Rounding::Down, false)] {
                let x = samples(format);
                let encoder = Encoder::new(format, Mode::Fixed(mode), saturate);
                let (mut codes, mut bytes, mut again) = (Vec::new(), Vec::new(), Vec::new());
                encoder.encode(&x, 0, &mut codes);
                for (x, code) in x.iter().zip(&codes) {
                    assert_eq!(*code, encode(format, *x, mode, saturate), "{} {x:#x} {mode:?}", format.name);
                }
                let decoder = Decoder::new(format);
                let mut values = Vec::new();
                decoder.decode(codes.iter().copied(), &mut values);
                encoder.encode_packed(&x, 0, &mut bytes);
                assert_eq!(bytes.len(), (x.len() * format.bits as usize).div_ceil(8));
                decoder.decode_packed(&bytes, x.len(), &mut again);
                assert!(values == again, "{}", format.name);
                pack(format, &codes, &mut bytes);
                again.clear();
                decoder.decode_packed(&bytes, x.len() - 1, &mut again);
                assert!(values[..x.len() - 1] == again, "{}", format.name);
            }
        }
    }

    #[test]
    fn draws_follow_the_index_not_the_chunk_and_average_to_the_value() {
        let format = crate::num::format::find("fp4e2m1").unwrap();
        let draws = Draws::new(1, "w", 0, Use::Forward);
        let encoder = Encoder::new(format, Mode::Stochastic(Stochastic::Rounded, 24, draws), true);
        let x = vec![2.3f32.to_bits(); 20_000];
        let (mut all, mut tail) = (Vec::new(), Vec::new());
        encoder.encode(&x, 0, &mut all);
        encoder.encode(&x[7001..], 7001, &mut tail);
        assert_eq!(all[7001..], tail);
        let total: f64 = all.iter().map(|code| f64::from(f32::from_bits(decode(format, *code)))).sum();
        assert!((total / 20_000.0 - 2.3).abs() < 0.01, "{total}");
    }
}
