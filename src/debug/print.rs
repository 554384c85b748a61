//! Registers and memory as text, in any number format.

use super::moment::Moment;
use crate::diag::{Error, Result};
use crate::exec::Vm;
use crate::isa::table::RegClass;
use crate::num::{FormatRef, codec, format};

/// Most bytes of memory that one command shows.
pub const MOST_BYTES: u64 = 1 << 16;

/// How values are written.
#[derive(Debug, Clone, Copy)]
pub enum As {
    /// As suits the place: scalars in hexadecimal and decimal, bytes in hexadecimal.
    Plain,
    /// Bytes in hexadecimal.
    Hex,
    /// Bits, the lowest first.
    Bits,
    /// Codes of a number format.
    Format(FormatRef),
}

impl As {
    /// `hex`, `bits`, or the name of a number format.
    ///
    /// # Errors
    /// That of [`format::find`].
    pub fn parse(name: &str) -> Result<As> {
        Ok(match name {
            "hex" => As::Hex,
            "bits" => As::Bits,
            name => As::Format(format::find(name)?),
        })
    }
}

/// A register by its name; `None` if the text is no register's name.
pub fn register(name: &str) -> Option<(RegClass, u8)> {
    let (class, n) = RegClass::parse(name)?;
    let n = u8::try_from(n).ok()?;
    (n < class.count()).then_some((class, n))
}

/// Bytes and their place: sixteen a line in hexadecimal, or the elements of a format.
pub fn memory(addr: u64, bytes: &[u8], how: As) -> String {
    match how {
        As::Plain | As::Hex => bytes
            .chunks(16)
            .enumerate()
            .map(|(line, chunk)| {
                let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{:#018x}  {}\n", addr + 16 * line as u64, hex.join(" "))
            })
            .collect(),
        As::Bits => bits(bytes, bytes.len() * 8),
        As::Format(format) => elements(format, bytes, bytes.len() * 8 / format.bits as usize, format.bits),
    }
}

/// Bits of `bytes`, the lowest first, in groups of eight.
fn bits(bytes: &[u8], count: usize) -> String {
    lines(64, (0..count).map(|i| char::from(b'0' + (bytes[i / 8] >> (i % 8) & 1))), |line| {
        let groups: Vec<String> = line.chunks(8).map(|group| group.iter().collect()).collect();
        groups.join(" ")
    })
}

/// Elements with the index of the first of each line; runs of lines that repeat the one before are cut short.
fn lines<T>(a_line: usize, items: impl Iterator<Item = T>, text: impl Fn(&[T]) -> String) -> String {
    let items: Vec<T> = items.collect();
    let texts: Vec<String> = items.chunks(a_line).map(text).collect();
    let mut out = String::new();
    let mut at = 0;
    while at < texts.len() {
        out += &format!("[{}]", at * a_line);
        out += &format!("{}{}\n", " ".repeat(6usize.saturating_sub(digits(at * a_line))), texts[at]);
        let same = texts[at + 1..].iter().take_while(|next| **next == texts[at]).count();
        if same > 1 {
            out += &format!("        ({same} more lines like this)\n");
            at += same;
        }
        at += 1;
    }
    out
}

fn digits(n: usize) -> usize {
    n.to_string().len() + 2
}

/// `count` codes of `format` that stand `width` bits apart.
fn elements(format: FormatRef, bytes: &[u8], count: usize, width: u32) -> String {
    let code = |i: usize| {
        let from = i * width as usize;
        (0..format.bits as usize).fold(0, |code, bit| {
            let at = from + bit;
            code | u32::from(bytes[at / 8] >> (at % 8) & 1) << bit
        })
    };
    let wide = if format.bits <= 4 { 16 } else { 8 };
    lines(wide, (0..count).map(|i| real(codec::value(format, code(i)))), |line| line.join(" "))
}

/// A number in few characters that reads back as the same f32.
pub fn real(value: f32) -> String {
    let magnitude = value.abs();
    if value.is_finite() && magnitude != 0.0 && !(1e-4..1e7).contains(&magnitude) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// A register.
///
/// # Errors
/// Usage where `how` does not fit it.
pub fn show(now: &Moment, (class, n): (RegClass, u8), how: As) -> Result<String> {
    let vm = &now.vm;
    let name = format!("{}{n}", class.letter());
    Ok(match class {
        RegClass::X => scalar(&name, vm.x(n), how),
        RegClass::V => vector(vm, n, how),
        RegClass::P => mask(vm, n),
        RegClass::Q => {
            let entries = vm.q(n).unwrap_or_default();
            lines(8, entries.iter().map(|entry| real(*entry)), |line| line.join(" "))
        }
        RegClass::C => tile(vm, n),
        RegClass::T => {
            let count = now.sim.unfinished(n, super::clock::view(now, now.peek().as_ref()));
            format!("{name} = {count} unfinished transfer{}\n", if count == 1 { "" } else { "s" })
        }
        RegClass::F => format!("{name} = {}\n", vm.slot(n).map_or("unbound", |format| format.name.as_str())),
        RegClass::D => {
            let levels = vm.shape(n);
            let text = (1..).zip(levels).map(|(level, (count, src, dst))| {
                format!("level {level}: {count} x, source {src:+}, destination {dst:+}\n")
            });
            text.collect()
        }
        RegClass::E => return Err(Error::usage("the state of entropy decoders cannot be printed")),
    })
}

/// A scalar in a line.
pub fn scalar(name: &str, value: Option<u64>, how: As) -> String {
    let Some(value) = value else { return format!("{name} = unknown\n") };
    match how {
        As::Plain => format!("{name} = {value:#x} = {}\n", value as i64),
        As::Hex => format!("{name} = {value:#018x}\n"),
        As::Bits => bits(&value.to_le_bytes(), 64),
        As::Format(format) => format!("{name} = {}\n", real(codec::value(format, value as u32 & format.mask()))),
    }
}

fn vector(vm: &Vm, n: u8, how: As) -> String {
    let bytes = vm.v(n).unwrap_or_default();
    match how {
        As::Plain | As::Hex => lines(32, bytes.iter(), |line| {
            let words = line.chunks(4).map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            words.collect::<Vec<_>>().join(" ")
        }),
        As::Bits => bits(bytes, bytes.len() * 8),
        As::Format(format) => {
            let width = format.container_bits;
            elements(format, bytes, bytes.len() * 8 / width as usize, width)
        }
    }
}

fn mask(vm: &Vm, n: u8) -> String {
    let len = vm.mask_len(n);
    let set = (0..len).filter(|bit| vm.p(n, *bit) == Some(true)).count();
    let head = format!("p{n}: {set} of {len} bits set\n");
    let bit = |bit| if vm.p(n, bit) == Some(true) { '1' } else { '0' };
    head + &lines(64, (0..len).map(bit), |line| {
        let groups: Vec<String> = line.chunks(8).map(|group| group.iter().collect()).collect();
        groups.join(" ")
    })
}

/// Rows of a tile that are not all zero.
fn tile(vm: &Vm, n: u8) -> String {
    let (rows, cols) = (vm.config().acc_rows as usize, vm.config().acc_cols as usize);
    let mut out = format!("c{n}: sums of class {}, {rows} x {cols}\n", vm.class(n).name());
    let mut empty = 0;
    for row in 0..rows {
        let values: Vec<f32> = (0..cols).map(|col| vm.c(n, row, col).unwrap_or_default()).collect();
        let used = values.iter().rposition(|value| value.to_bits() != 0).map_or(0, |last| last + 1);
        if used == 0 {
            empty += 1;
            continue;
        }
        let text: Vec<String> = values[..used].iter().map(|value| real(*value)).collect();
        let rest = if used < cols { " 0 .." } else { "" };
        out += &format!("[{row}]{}{}{rest}\n", " ".repeat(6usize.saturating_sub(digits(row))), text.join(" "));
    }
    if empty > 0 {
        out += &format!("        ({empty} rows of zeros)\n");
    }
    out
}
