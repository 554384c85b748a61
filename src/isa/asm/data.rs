//! Numbers of data statements as codes: raw integers, or values of any number format, packed densely.
//!
//! A list is `item, item, ..`; an item is a number, `COUNT of NUMBER`, or `FIRST to LAST` (integers, ascending). The
//! first element stands in the low bits; the last byte is filled with zero bits.

use super::expr::{Cursor, Symbols, evaluate};
use super::lexer::Kind;
use super::source::{Fault, Span};
use super::state::unknown_format;
use crate::num::codec::{Rounding, decode, encode};
use crate::num::format::{Element, FormatRef, find};

/// Most elements of one list.
const MAX_ELEMENTS: usize = 1 << 22;

/// Names of raw integers and their bytes.
const RAW: &[(&str, u32)] = &[("byte", 1), ("half", 2), ("word", 4), ("dword", 8)];

/// What a list of numbers is written in.
#[derive(Debug, Clone, Copy)]
pub enum Layout {
    /// Integers of that many bytes, signed or unsigned.
    Raw(u32),
    /// Values of a number format.
    Format(FormatRef),
}

impl Layout {
    /// The layout called `name`: `byte`, `half`, `word`, `dword`, `float`, or a number format.
    pub fn find(name: &str) -> Option<Layout> {
        let raw = RAW.iter().find(|(known, _)| *known == name).map(|(_, bytes)| Layout::Raw(*bytes));
        raw.or_else(|| find(if name == "float" { "fp32" } else { name }).ok().map(Layout::Format))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Raw(bytes) => RAW.iter().find(|(_, known)| *known == bytes).map_or("byte", |(name, _)| name),
            Layout::Format(format) => &format.name,
        }
    }

    /// Bits of one element in memory.
    pub fn bits(self) -> u32 {
        match self {
            Layout::Raw(bytes) => 8 * bytes,
            Layout::Format(format) => format.bits,
        }
    }

    /// Bits of one element in a vector register.
    pub fn register_bits(self) -> u32 {
        match self {
            Layout::Raw(bytes) => 8 * bytes,
            Layout::Format(format) => format.container_bits,
        }
    }

    /// A code as people read it: value and bits.
    pub fn show(self, code: u64) -> String {
        let digits = self.bits().div_ceil(4) as usize;
        match self {
            Layout::Raw(bytes) => {
                let shift = 64 - 8 * bytes;
                format!("{} ({code:#0width$x})", (code << shift) as i64 >> shift, width = digits + 2)
            }
            Layout::Format(format) => {
                let value = f32::from_bits(decode(format, code as u32));
                format!("{value} ({code:#0width$x})", width = digits + 2)
            }
        }
    }

    /// The codes of a list up to the end of the statement.
    pub fn list(self, cursor: &mut Cursor, symbols: &dyn Symbols) -> Result<Vec<u64>, Fault> {
        let mut codes = Vec::new();
        loop {
            let span = cursor.span();
            let first = number(cursor, symbols)?;
            match cursor.peek().and_then(|token| token.word()) {
                Some("of") => {
                    cursor.bump();
                    let count = whole(first, span)?;
                    let span = cursor.span();
                    let code = self.code(number(cursor, symbols)?, span)?;
                    let count = usize::try_from(count).ok().filter(|count| codes.len() + count <= MAX_ELEMENTS);
                    codes.extend(std::iter::repeat_n(code, count.ok_or_else(|| too_many(span))?));
                }
                Some("to") => {
                    cursor.bump();
                    let (first, last) = (whole(first, span)?, whole(number(cursor, symbols)?, span)?);
                    if last < first || last - first >= (MAX_ELEMENTS - codes.len()) as i128 {
                        return Err(too_many(span));
                    }
                    for value in first..=last {
                        codes.push(self.code(Number::Whole(value), span)?);
                    }
                }
                _ => codes.push(self.code(first, span)?),
            }
            if codes.len() > MAX_ELEMENTS {
                return Err(too_many(span));
            }
            if !cursor.eat(",") {
                cursor.finish()?;
                return Ok(codes);
            }
        }
    }

    /// The code of one number, which must be a value of the layout's range.
    fn code(self, number: Number, span: Span) -> Result<u64, Fault> {
        match self {
            Layout::Raw(bytes) => {
                let value = whole(number, span)?;
                let bits = 8 * bytes;
                let (lo, hi) = (-(1i128 << (bits - 1)), (1i128 << bits) - 1);
                if !(lo..=hi).contains(&value) {
                    let message = format!("{value} does not fit in {bytes} bytes ({lo}..={hi})");
                    return Err(Fault::new("E0106", span, message));
                }
                Ok(value as u64 & (u64::MAX >> (64 - bits)))
            }
            Layout::Format(format) => of_format(format, number, span).map(u64::from),
        }
    }

    /// Codes in dense storage, the last byte filled with zero bits.
    pub fn pack(self, codes: &[u64]) -> Vec<u8> {
        let bits = self.bits() as usize;
        let mut bytes = vec![0u8; (codes.len() * bits).div_ceil(8)];
        for (index, code) in codes.iter().enumerate() {
            for bit in 0..bits {
                let at = index * bits + bit;
                bytes[at / 8] |= ((code >> bit & 1) as u8) << (at % 8);
            }
        }
        bytes
    }
}

/// `count` codes of `bits` bits each, as far as `bytes` has them.
pub fn unpack(bits: u32, bytes: &[u8], count: usize) -> Vec<u64> {
    let bits = bits as usize;
    let held = (8 * bytes.len() / bits).min(count);
    let bit = |at: usize| u64::from(bytes[at / 8] >> (at % 8) & 1);
    (0..held).map(|index| (0..bits).fold(0, |code, at| code | bit(index * bits + at) << at)).collect()
}

/// A number as it was written.
#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(i128),
    Real(f64),
}

fn number(cursor: &mut Cursor, symbols: &dyn Symbols) -> Result<Number, Fault> {
    let minus = cursor.peek().is_some_and(|token| token.is("-"));
    let token = if minus { cursor.peek_second() } else { cursor.peek() };
    let value = match token.map(|token| &token.kind) {
        Some(Kind::Float(value)) if value.is_infinite() => {
            return Err(Fault::new("E0104", cursor.span(), "this number is larger than any float; `inf` is infinity"));
        }
        Some(Kind::Float(value)) => *value,
        Some(Kind::Word(word)) if &**word == "inf" => f64::INFINITY,
        Some(Kind::Word(word)) if &**word == "nan" => f64::NAN,
        Some(Kind::Int(0)) if minus => return negative_zero(cursor, symbols),
        _ => return evaluate(cursor, symbols).map(Number::Whole),
    };
    if minus {
        cursor.bump();
    }
    cursor.bump();
    Ok(Number::Real(if minus { -value } else { value }))
}

/// `-0`, which floats tell from 0, unless an expression goes on from there.
fn negative_zero(cursor: &mut Cursor, symbols: &dyn Symbols) -> Result<Number, Fault> {
    let mut after = cursor.clone();
    let value = evaluate(&mut after, symbols)?;
    let alone = cursor.rest().len() - after.rest().len() == 2;
    *cursor = after;
    Ok(if alone { Number::Real(-0.0) } else { Number::Whole(value) })
}

fn whole(number: Number, span: Span) -> Result<i128, Fault> {
    match number {
        Number::Whole(value) => Ok(value),
        Number::Real(0.0) => Ok(0),
        Number::Real(value) => Err(Fault::new("E0104", span, format!("expected an integer, found `{value}`"))),
    }
}

fn too_many(span: Span) -> Fault {
    Fault::new("E0114", span, format!("a list holds 1..={MAX_ELEMENTS} numbers"))
}

/// Floats and real codebooks round to nearest; integers and codebooks of levels take their own values only.
fn of_format(format: FormatRef, number: Number, span: Span) -> Result<u32, Fault> {
    let value = match number {
        Number::Whole(value) => value as f32,
        Number::Real(value) => value as f32,
    };
    if let Number::Real(wide) = number
        && wide.is_finite()
        && value.is_infinite()
    {
        let message = format!("{wide} does not fit in `{}`, whose numbers are at most {}", format.name, f32::MAX);
        return Err(Fault::new("E0104", span, message));
    }
    let value = if value.is_nan() { f32::from_bits(0x7fc0_0000) } else { value };
    let code = encode(format, value.to_bits(), Rounding::NearestEven, !value.is_infinite());
    let back = f32::from_bits(decode(format, code));
    let (lo, hi) = number_range(format);
    let wrong = if value.is_nan() != back.is_nan() || value.is_infinite() && back != value {
        format!("`{}` has no {}", format.name, if value.is_nan() { "NaN" } else { "infinity" })
    } else if value.is_finite() && (value < lo || value > hi) {
        format!("{value} does not fit in `{}`, which goes from {lo} to {hi}", format.name)
    } else if value.is_finite() && value != back && matches!(format.element, Element::Int | Element::Codebook { .. }) {
        format!("{value} is not a value of `{}`; the nearest is {back}", format.name)
    } else {
        return Ok(code & format.mask());
    };
    Err(Fault::new("E0106", span, wrong))
}

/// Smallest and largest finite value.
fn number_range(format: FormatRef) -> (f32, f32) {
    let value = |code: &u32| f32::from_bits(decode(format, *code));
    match (format.sorted.first(), format.sorted.last()) {
        (Some(first), Some(last)) => (value(first), value(last)),
        _ if matches!(format.element, Element::Squares) => (0.0, f32::MAX),
        _ if matches!(format.element, Element::Int) => {
            let unit = format.max / ((1u64 << (format.bits - 1)) - 1) as f32;
            (-((1u64 << (format.bits - 1)) as f32) * unit, format.max)
        }
        _ => (-format.max, format.max),
    }
}

/// The layout named at the cursor.
pub fn layout(cursor: &mut Cursor) -> Result<Layout, Fault> {
    let span = cursor.span();
    let Some(word) = cursor.peek().and_then(|token| token.word()) else {
        return Err(cursor.unexpected("a number format, or byte, half, word, dword"));
    };
    let found = Layout::find(word);
    cursor.bump();
    found.ok_or_else(|| unknown_format(word, RAW.iter().map(|(name, _)| name.to_string()), span))
}
