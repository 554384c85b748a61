//! Decode tables: what every code of a format means, laid out so that an instruction looks values up.
//!
//! Built once per format from [`crate::num::decode`]. Integers are the values in units of the format's
//! quantum, so that sums of products are exact in integer arithmetic.

use crate::num::bulk::{Encoder, Mode};
use crate::num::codec::cast;
use crate::num::{Element, FormatRef, Isa, Lazy, Rounding, Specials, decode};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Marks of a code that is not a number: such codes are 0 as integers and carry one of these bits.
pub const SPECIAL_NAN: u8 = 1;
/// Positive infinity.
pub const SPECIAL_PLUS: u8 = 2;
/// Negative infinity.
pub const SPECIAL_MINUS: u8 = 4;

/// A format with its tables.
#[derive(Debug, Clone)]
pub struct Codes {
    /// The row.
    pub format: FormatRef,
    /// Bits of a code in a register (its container): 1, 2, 4, 8, 16 or 32. Memory has `format.bits` of them.
    pub bits: u32,
    /// Code of zero: what fills the rest of a register.
    pub zero: u32,
    /// True if codes are f32 patterns.
    pub is_f32: bool,
    /// Value of every code of a container (bits above the code are ignored); empty for containers of 32 bits, which are
    /// decoded one by one.
    pub reals: Vec<f32>,
    /// [`Codes::reals`] with subnormal values read as zeros, as the pair order with a bf16 carrier reads them.
    pub normals: Vec<f32>,
    /// Integer of every code in quanta; empty if the format has no common quantum.
    pub integers: Vec<i64>,
    /// [`Codes::integers`] where all fit 13 bits, else empty.
    pub small: Vec<i16>,
    /// [`Codes::integers`] of the codes in every byte where all fit a byte, else empty; as many as a byte holds, the rest 0.
    pub bytes: Vec<[i8; 8]>,
    /// How many sums of two products of such a byte with a byte without sign 16 bits hold.
    pub hold: usize,
    /// True if codes are bytes that are their integers.
    pub plain: bool,
    /// Special marks of every code; empty if no code is special.
    pub specials: Vec<u8>,
    /// The values in ascending order, each once, NaN and infinities left out; empty for codes of more than 8 bits.
    pub grid: Vec<f32>,
    /// Largest integer magnitude.
    pub largest: i64,
    /// True if every value is exact in bf16 (up to subnormals).
    pub in_bf16: bool,
    /// True if every value is exact in fp16.
    pub in_fp16: bool,
    /// The plain cast of many values at once, made when it is first wanted.
    encoder: Lazy<Encoder>,
}

impl Codes {
    /// The tables of `format`, made when it is first asked for: those of 16 bits take as long as a short program.
    pub fn of(format: FormatRef) -> Arc<Codes> {
        static KNOWN: Mutex<BTreeMap<u16, Arc<Codes>>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(format.id).or_insert_with(|| Arc::new(Codes::new(format))).clone()
    }

    /// Tables of `format`.
    pub fn new(format: FormatRef) -> Codes {
        let bits = format.container_bits;
        let count = if bits == 32 { 0 } else { 1u32 << bits };
        let reals: Vec<f32> = (0..count).map(|code| f32::from_bits(decode(format, code))).collect();
        let normals = reals.iter().map(|&x| flush_subnormal(x)).collect();
        let mut integers = Vec::new();
        let mut specials = Vec::new();
        if let Some(unit) = format.unit {
            integers = reals.iter().map(|&x| quanta(x, unit)).collect();
            if reals.iter().any(|x| !x.is_finite()) {
                specials = reals.iter().map(|&x| special(x)).collect();
            }
        }
        let largest = integers.iter().map(|n| n.abs()).max().unwrap_or(0);
        let small = if largest < 1 << 12 { integers.iter().map(|&n| n as i16).collect() } else { Vec::new() };
        let fits = !integers.is_empty() && bits <= 8 && integers.iter().all(|n| i8::try_from(*n).is_ok());
        let byte = |byte: usize| {
            let code = |at: usize| byte >> (at * bits as usize) & ((1 << bits) - 1);
            std::array::from_fn(|at| if at < 8 / bits as usize { integers[code(at)] as i8 } else { 0 })
        };
        Codes {
            format,
            bits,
            bytes: if fits { (0..256).map(byte).collect() } else { Vec::new() },
            hold: usize::try_from(i64::from(i16::MAX) / (2 * 255 * largest.max(1))).unwrap_or(0),
            plain: fits && bits == 8 && integers.iter().zip(0u32..).all(|(n, code)| *n == i64::from(code as u8 as i8)),
            zero: cast(format, 0.0),
            is_f32: format.element == Element::Float { exp: 8, man: 23, bias: 127, specials: Specials::Ieee },
            in_bf16: bits <= 16 && reals.iter().all(|x| x.is_nan() || x.to_bits() & 0xffff == 0),
            in_fp16: bits <= 16 && reals.iter().all(|&x| !x.is_finite() || exact_in_fp16(x)),
            encoder: Lazy::new(),
            reals,
            normals,
            integers,
            grid: format.sorted.iter().map(|&code| f32::from_bits(decode(format, code))).collect(),
            small,
            specials,
            largest,
        }
    }

    /// An encoder of many values to nearest even into a register, where the format has a cheap one: whatever it is asked,
    /// the codes are those of [`crate::num::codec::encode`].
    pub fn encoder(&self) -> Option<&Encoder> {
        let narrow = self.format.bits <= 4 || (self.format.bits <= 8 && self.format.element == Element::Int);
        let cheap = narrow && self.bits == self.format.bits && Isa::current() != Isa::Scalar;
        let make = || Encoder::new(self.format, Mode::Fixed(Rounding::NearestEven), self.format.saturate);
        cheap.then(|| self.encoder.get_or_init(make))
    }

    /// Bytes of `n` codes in memory.
    pub fn bytes(&self, n: u64) -> u64 {
        (n * u64::from(self.format.bits)).div_ceil(8)
    }

    /// Bytes of `n` codes in a register.
    pub fn register_bytes(&self, n: u64) -> u64 {
        (n * u64::from(self.bits)).div_ceil(8)
    }

    /// Whether `n` codes end on a byte in memory and in a register.
    pub fn whole_bytes(&self, n: u32) -> bool {
        (n * self.bits).is_multiple_of(8) && (n * self.format.bits).is_multiple_of(8)
    }

    /// Moves `n` codes from memory, where they are dense, to the containers of a register; what follows them in their
    /// last byte is memory's.
    pub fn widen(&self, from: &[u8], to: &mut [u8], n: usize) {
        if self.bits == self.format.bits {
            let bytes = self.bytes(n as u64) as usize;
            to[..bytes].copy_from_slice(&from[..bytes]);
            return;
        }
        for i in 0..n {
            self.put(to, i, get_bits(from, i, self.format.bits));
        }
    }

    /// Moves `n` codes from the containers of a register to memory; tail bits of the last byte are zero.
    pub fn narrow(&self, from: &[u8], to: &mut [u8], n: usize) {
        let bytes = self.bytes(n as u64) as usize;
        if self.bits == self.format.bits {
            to[..bytes].copy_from_slice(&from[..bytes]);
            let tail = n as u32 * self.bits % 8;
            if tail != 0 {
                to[bytes - 1] &= (1 << tail) - 1;
            }
            return;
        }
        to[..bytes].fill(0);
        for i in 0..n {
            put_bits(to, i, self.format.bits, self.code(from, i) & self.format.mask());
        }
    }

    /// The f32 of code `i` of codes in memory.
    pub fn load(&self, bytes: &[u8], i: usize) -> f32 {
        let code = get_bits(bytes, i, self.format.bits);
        if self.bits == 32 { self.wide(code) } else { self.reals[code as usize] }
    }

    /// Code `i` of codes in memory.
    pub fn stored(&self, bytes: &[u8], i: usize) -> u32 {
        get_bits(bytes, i, self.format.bits)
    }

    /// Writes code `i` of codes in memory.
    pub fn store(&self, to: &mut [u8], i: usize, code: u32) {
        if self.bits == self.format.bits { self.put(to, i, code) } else { put_bits(to, i, self.format.bits, code) }
    }

    /// Decodes the codes of a register with `table`, one of the tables of this format.
    pub fn unpack<T: Copy>(&self, bytes: &[u8], table: &[T], out: &mut [T]) {
        match self.bits {
            8 => out.iter_mut().zip(bytes).for_each(|(o, &b)| *o = table[usize::from(b)]),
            16 => {
                let codes = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
                out.iter_mut().zip(codes).for_each(|(o, code)| *o = table[usize::from(code)]);
            }
            4 => unpack_small::<4, T>(bytes, table, out),
            2 => unpack_small::<2, T>(bytes, table, out),
            _ => unpack_small::<1, T>(bytes, table, out),
        }
    }

    /// Decodes the codes of a register to integers, where [`Codes::bytes`] has them.
    pub fn unpack_bytes(&self, bytes: &[u8], out: &mut [i8]) {
        match self.bits {
            8 if self.plain => out.iter_mut().zip(bytes).for_each(|(o, &b)| *o = b as i8),
            8 => out.iter_mut().zip(bytes).for_each(|(o, &b)| *o = self.bytes[usize::from(b)][0]),
            4 => spread::<2>(bytes, &self.bytes, out),
            2 => spread::<4>(bytes, &self.bytes, out),
            _ => spread::<8>(bytes, &self.bytes, out),
        }
    }

    /// Decodes the codes of a register to f32; `flushed` reads subnormal values as zeros.
    pub fn unpack_reals(&self, bytes: &[u8], flushed: bool, out: &mut [f32]) {
        if self.bits == 32 {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                let x = self.wide(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                *o = if flushed { flush_subnormal(x) } else { x };
            }
        } else {
            self.unpack(bytes, if flushed { &self.normals } else { &self.reals }, out);
        }
    }

    /// Value of a code in a container of 32 bits.
    fn wide(&self, code: u32) -> f32 {
        f32::from_bits(if self.is_f32 { code } else { decode(self.format, code) })
    }

    /// The f32 of code `i` of a register.
    pub fn real(&self, bytes: &[u8], i: usize) -> f32 {
        let code = self.code(bytes, i);
        if self.bits == 32 { self.wide(code) } else { self.reals[code as usize] }
    }

    /// Code `i` of a register.
    pub fn code(&self, bytes: &[u8], i: usize) -> u32 {
        let bits = self.bits as usize;
        match bits {
            32 => u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]),
            16 => u32::from(u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])),
            8 => u32::from(bytes[i]),
            _ => u32::from(bytes[i * bits / 8] >> (i * bits % 8)) & ((1 << bits) - 1),
        }
    }

    /// Writes code `i` of a register.
    pub fn put(&self, bytes: &mut [u8], i: usize, code: u32) {
        let bits = self.bits as usize;
        if bits >= 8 {
            let width = bits / 8;
            bytes[i * width..][..width].copy_from_slice(&code.to_le_bytes()[..width]);
        } else {
            let (shift, mask) = (i * bits % 8, (1u8 << bits) - 1);
            let byte = &mut bytes[i * bits / 8];
            *byte = (*byte & !(mask << shift)) | ((code as u8 & mask) << shift);
        }
    }

    /// Fills codes `from..` of a register with the code of zero.
    pub fn clear_tail(&self, bytes: &mut [u8], from: usize) {
        let count = bytes.len() * 8 / self.bits as usize;
        let started = (from * self.bits as usize).div_ceil(8).min(bytes.len());
        let whole = if self.zero == 0 { started } else { bytes.len() };
        bytes[whole..].fill(0);
        for i in from..(whole * 8 / self.bits as usize).min(count) {
            self.put(bytes, i, self.zero);
        }
    }
}

/// Code `i` of dense codes of `bits` bits.
fn get_bits(bytes: &[u8], i: usize, bits: u32) -> u32 {
    let first = i * bits as usize;
    let last = first + bits as usize - 1;
    let window = bytes[first / 8..=last / 8].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    (window >> (first % 8)) as u32 & (u32::MAX >> (32 - bits))
}

/// Writes code `i` of dense codes of `bits` bits.
fn put_bits(bytes: &mut [u8], i: usize, bits: u32, code: u32) {
    let first = i * bits as usize;
    let last = first + bits as usize - 1;
    let mask = u64::from(u32::MAX >> (32 - bits)) << (first % 8);
    let code = u64::from(code) << (first % 8);
    for (at, byte) in bytes[first / 8..=last / 8].iter_mut().enumerate() {
        *byte = *byte & !((mask >> (8 * at)) as u8) | (code >> (8 * at)) as u8;
    }
}

/// Decodes codes of `BITS` < 8 bits with `table`, which has one entry a code.
fn unpack_small<const BITS: usize, T: Copy>(bytes: &[u8], table: &[T], out: &mut [T]) {
    let table = &table[..1 << BITS];
    let decode = |byte: u8, i: usize| table[usize::from(byte) >> (i * BITS) & ((1 << BITS) - 1)];
    for (group, &byte) in out.chunks_mut(8 / BITS).zip(bytes) {
        for (i, o) in group.iter_mut().enumerate() {
            *o = decode(byte, i);
        }
    }
}

/// Copies the first `COUNT` entries of the table's row of every byte.
fn spread<const COUNT: usize>(bytes: &[u8], table: &[[i8; 8]], out: &mut [i8]) {
    let (whole, rest) = out.as_chunks_mut::<COUNT>();
    let row = |byte: u8| &table[usize::from(byte)][..COUNT];
    whole.iter_mut().zip(bytes).for_each(|(out, &byte)| out.copy_from_slice(row(byte)));
    if let Some(&byte) = bytes.get(whole.len()) {
        rest.copy_from_slice(&row(byte)[..rest.len()]);
    }
}

/// `x`, with subnormal values replaced by a zero of their sign.
pub fn flush_subnormal(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// `x` in quanta of 2^unit: exact for finite values of the format, 0 for special ones.
fn quanta(x: f32, unit: i32) -> i64 {
    if x.is_finite() { (f64::from(x) * 2f64.powi(-unit)) as i64 } else { 0 }
}

/// True if finite `x` is a value of fp16: at most 11 significant bits, a multiple of 2^-24, at most 65504.
fn exact_in_fp16(x: f32) -> bool {
    let quanta = f64::from(x) * 2f64.powi(24);
    x.to_bits() & 0x1fff == 0 && x.abs() <= 65504.0 && quanta == quanta.trunc()
}

fn special(x: f32) -> u8 {
    match x {
        _ if x.is_nan() => SPECIAL_NAN,
        f32::INFINITY => SPECIAL_PLUS,
        f32::NEG_INFINITY => SPECIAL_MINUS,
        _ => 0,
    }
}
