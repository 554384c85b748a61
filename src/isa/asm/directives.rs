//! Directives: symbols, formats, parameters, sections and data.

use super::data::Layout;
use super::expr::{Cursor, evaluate};
use super::lexer::{Kind, Token};
use super::source::{Fault, Span};
use super::state::{Assembler, MAX_CONTROL, Section, unknown_format};
use crate::diag::did_you_mean;
use crate::isa::Inst;
use crate::isa::table::{Op, RegClass};
use crate::num;

/// Every directive with its form, for messages and the manual.
pub const DIRECTIVES: &[(&str, &str, &str)] = &[
    (".equ", ".equ NAME, EXPR", "a constant; a value bound by the caller wins"),
    (
        ".param",
        ".param NAME[, NAME..]",
        "parameters of a kernel, 8 bytes each; a name is its offset in the block at x10",
    ),
    (
        ".format",
        ".format NAME [= FORMAT]",
        "a format parameter, bound by the caller; the default serves when it is not",
    ),
    (".formats", ".formats FORMAT[, FORMAT..]", "the first rows of the object's format table"),
    (".fmt", ".fmt fN=FORMAT[, fN=FORMAT..]", "binds format slots: one fmt.set each"),
    (".control", ".control", "what follows is initial control memory, from its address 0"),
    (".dram", ".dram", "what follows is initial DRAM, from its address 0"),
    (".sram", ".sram", "what follows is initial SRAM of every core, from its first address"),
    (".code", ".code", "what follows is instructions again"),
    (".byte", ".byte EXPR[, EXPR..]", "bytes"),
    (".half", ".half EXPR[, EXPR..]", "2-byte integers"),
    (".word", ".word EXPR[, EXPR..]", "4-byte integers"),
    (".dword", ".dword EXPR[, EXPR..]", "8-byte integers"),
    (".float", ".float NUMBER[, NUMBER..]", "f32 numbers; inf and nan are known"),
    (
        ".FORMAT",
        ".FORMAT NUMBER[, NUMBER..]",
        "numbers of any format, packed: `.fp4e2m1 0.5, -6`, `.ternary 1, 0, -1`; in every list `20 of 0` repeats and `1 to 9` counts",
    ),
    (".ascii", ".ascii \"TEXT\"[, ..]", "the bytes of a text; \\n \\t \\r \\0 \\\\ \\\" \\xHH"),
    (".string", ".string \"TEXT\"[, ..]", "the same with a zero byte behind each"),
    (".incbin", ".incbin \"FILE\"[, OFFSET[, BYTES]]", "the bytes of a file that stands beside the text"),
    (".zero", ".zero EXPR", "that many zero bytes"),
    (".align", ".align EXPR", "zero bytes up to a multiple of a power of two"),
    (".entry", ".entry LABEL", "where the program starts; word 0 without it"),
    (".extern", ".extern NAME[, NAME..]", "labels that linking supplies: names of kernels"),
    (
        ".macro",
        ".macro NAME [PARAM[=DEFAULT], ..] .. .endm",
        "\\PARAM stands for an operand, given in order or as PARAM=VALUE; \\@ for a number unique to the use",
    ),
    (".rept", ".rept EXPR[, INDEX] .. .endr", "repeats statements; \\INDEX counts from 0"),
    (".if", ".if EXPR .. [.elif EXPR ..] [.else ..] .endif", "statements under a condition"),
    (".include", ".include \"FILE\"", "another source text"),
    (".textbook", ".textbook on|off", "takes the textbook spelling of instructions (docs/assembler.md)"),
    (".test", ".test \"NAME\" .. .endt", "a test of this text, for `preon test` (docs/assembler.md)"),
];

impl Assembler<'_> {
    /// Obeys one directive that is not a block.
    pub(super) fn directive(&mut self, word: &str, span: Span, mut cursor: Cursor, depth: usize) -> Result<(), Fault> {
        match word {
            ".equ" => {
                let (name, at) = name(&mut cursor)?;
                cursor.expect(",")?;
                let value = evaluate(&mut cursor, self)?;
                cursor.finish()?;
                self.define(&name, value as i64, at)
            }
            ".param" => self.each(cursor, |asm, cursor| {
                let (name, at) = name(cursor)?;
                asm.define(&name, 8 * asm.params.len() as i64, at)?;
                asm.params.push(name);
                Ok(())
            }),
            ".format" => self.format_param(cursor),
            ".formats" => self.each(cursor, |asm, cursor| {
                let (name, at) = name(cursor)?;
                asm.format(&name, at).map(|_| ())
            }),
            ".fmt" => self.each(cursor, |asm, cursor| asm.bind_slot(cursor)),
            ".control" | ".code" | ".dram" | ".sram" => {
                cursor.finish()?;
                self.section = match word {
                    ".code" => Section::Code,
                    ".control" => Section::Control,
                    ".dram" => Section::Dram,
                    _ => Section::Sram,
                };
                Ok(())
            }
            ".ascii" | ".string" => self.text(word, cursor),
            ".incbin" => self.include_bytes(cursor, span),
            ".textbook" => self.textbook_switch(cursor),
            ".zero" | ".align" => self.padding(word, cursor, span),
            ".entry" => {
                let (name, at) = name(&mut cursor)?;
                cursor.finish()?;
                match self.entry.replace((name, at)) {
                    Some((_, first)) => Err(self.duplicate(".entry", at, first)),
                    None => Ok(()),
                }
            }
            ".extern" => self.each(cursor, |asm, cursor| {
                let (name, at) = name(cursor)?;
                asm.externs.insert(name, at);
                Ok(())
            }),
            ".include" => self.include(cursor, span, depth),
            ".endm" | ".endr" | ".endif" | ".endt" | ".else" | ".elif" => {
                Err(Fault::new("E0116", span, format!("this `{word}` closes nothing")))
            }
            _ => {
                if let Some(layout) = Layout::find(&word[1..]) {
                    return self.numbers(layout, cursor, span);
                }
                let fault = Fault::new("E0103", span, format!("there is no directive `{word}`"));
                let formats: Vec<String> = num::format::formats().iter().map(|row| format!(".{}", row.name)).collect();
                let known = DIRECTIVES.iter().map(|(name, ..)| *name).chain(formats.iter().map(String::as_str));
                Err(match did_you_mean(word, known) {
                    Some(near) => fault.help(format!("did you mean `{near}`?")),
                    None => fault,
                })
            }
        }
    }

    /// Runs `item` for each of a list separated by commas.
    fn each(
        &mut self,
        mut cursor: Cursor,
        mut item: impl FnMut(&mut Self, &mut Cursor) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        loop {
            item(self, &mut cursor)?;
            if !cursor.eat(",") {
                return cursor.finish();
            }
        }
    }

    /// `.format W` or `.format W = int8`.
    fn format_param(&mut self, mut cursor: Cursor) -> Result<(), Fault> {
        let (param, at) = name(&mut cursor)?;
        let default = if cursor.eat("=") { Some(name(&mut cursor)?) } else { None };
        cursor.finish()?;
        if let Some((_, first)) = self.format_params.get(&param) {
            return Err(self.duplicate(&param, at, *first));
        }
        let bound = self.options.formats.get(&param).map(|format| (format.clone(), at));
        let Some((format, place)) = bound.or(default) else {
            let fault = Fault::new("E0110", at, format!("the format parameter `{param}` is not bound"));
            return Err(fault.help(format!("bind it, or give it a default: `.format {param} = int8`")));
        };
        if num::format::find(&format).is_err() {
            return Err(unknown_format(&format, std::iter::empty(), place));
        }
        self.format_params.insert(param, (format, at));
        Ok(())
    }

    /// `f1=W` of `.fmt`.
    fn bind_slot(&mut self, cursor: &mut Cursor) -> Result<(), Fault> {
        let span = cursor.span();
        let slot = super::operands::register(cursor, RegClass::F)?;
        cursor.expect("=")?;
        let (format, at) = name(cursor)?;
        let imm = self.format(&format, at)?;
        self.emit(Inst { rd: slot, imm, ..Inst::new(Op::FmtSet) }, span.to(at))
    }

    /// `.int4 1, -2`: numbers of any layout, packed.
    fn numbers(&mut self, layout: Layout, mut cursor: Cursor, span: Span) -> Result<(), Fault> {
        let codes = layout.list(&mut cursor, self)?;
        self.data(&layout.pack(&codes), span)
    }

    /// `.ascii "text"`, `.string "text"` with a zero byte behind.
    fn text(&mut self, word: &str, cursor: Cursor) -> Result<(), Fault> {
        self.each(cursor, |asm, cursor| {
            let at = cursor.span();
            let Some(Token { kind: Kind::Text(text), .. }) = cursor.peek() else {
                return Err(cursor.unexpected("a text in double quotes"));
            };
            cursor.bump();
            let mut bytes = unescaped(text, at)?;
            if word == ".string" {
                bytes.push(0);
            }
            asm.data(&bytes, at)
        })
    }

    /// `.incbin "FILE"[, OFFSET[, BYTES]]`.
    fn include_bytes(&mut self, mut cursor: Cursor, span: Span) -> Result<(), Fault> {
        let Some(Token { kind: Kind::Text(path), span: at, .. }) = cursor.bump() else {
            return Err(Fault::new("E0115", span, "`.incbin` needs the name of a file in double quotes"));
        };
        let Some(bytes) = self.sources.bytes(path) else {
            let fault = Fault::new("E0115", *at, format!("there is no file `{path}`"));
            return Err(fault.help("`.incbin` takes a file that stands beside the text, by its bare name"));
        };
        let mut number = |asm: &Self, default: usize| {
            if !cursor.eat(",") {
                return Ok(default);
            }
            let at = cursor.span();
            let value = evaluate(&mut cursor, asm)?;
            let held = format!("`{path}` has {} bytes", bytes.len());
            usize::try_from(value).ok().filter(|v| *v <= bytes.len()).ok_or_else(|| Fault::new("E0106", at, held))
        };
        let offset = number(self, 0)?;
        let count = number(self, bytes.len() - offset)?;
        cursor.finish()?;
        match bytes.get(offset..offset + count) {
            Some(part) => self.data(part, span),
            None => Err(Fault::new("E0106", span, format!("`{path}` has {} bytes", bytes.len()))),
        }
    }

    /// `.textbook on|off`.
    fn textbook_switch(&mut self, mut cursor: Cursor) -> Result<(), Fault> {
        self.textbook = match cursor.peek().and_then(Token::word) {
            Some("on") => true,
            Some("off") => false,
            _ => return Err(cursor.unexpected("`on` or `off`")),
        };
        cursor.bump();
        cursor.finish()
    }

    fn padding(&mut self, word: &str, cursor: Cursor, span: Span) -> Result<(), Fault> {
        let value = self.number(cursor.rest(), span)?;
        let count = match (word, usize::try_from(value)) {
            (".zero", Ok(count)) => count,
            (_, Ok(step)) if step.is_power_of_two() && word == ".align" => {
                self.section_memory().map_or(0, |(_, memory)| memory.len()).wrapping_neg() & (step - 1)
            }
            _ => return Err(Fault::new("E0106", span, format!("`{word}` does not take {value}"))),
        };
        if count > MAX_CONTROL {
            return Err(too_much_control(span));
        }
        self.data(&vec![0; count], span)
    }

    /// Appends bytes to the section of data at hand.
    fn data(&mut self, bytes: &[u8], span: Span) -> Result<(), Fault> {
        let Some((_, memory)) = self.section_memory() else {
            let fault = Fault::new("E0118", span, "data cannot stand in the code");
            return Err(fault.help("begin a section of data with `.control`, `.dram` or `.sram`"));
        };
        if memory.len() + bytes.len() > MAX_CONTROL {
            return Err(too_much_control(span));
        }
        memory.extend_from_slice(bytes);
        Ok(())
    }

    fn include(&mut self, mut cursor: Cursor, span: Span, depth: usize) -> Result<(), Fault> {
        let Some(Token { kind: Kind::Text(path), span: at, .. }) = cursor.bump() else {
            return Err(Fault::new("E0115", span, "`.include` needs the name of a file in double quotes"));
        };
        cursor.finish()?;
        let Some(file) = self.sources.find(path, at.file) else {
            let fault = Fault::new("E0115", *at, format!("there is no source `{path}`"));
            let known: Vec<&str> = self.sources.paths().collect();
            return Err(match did_you_mean(path, known.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help(format!("known sources: {}", known[..known.len() - 1].join(", "))),
            });
        };
        self.file(file, depth + 1);
        Ok(())
    }
}

fn too_much_control(span: Span) -> Fault {
    Fault::new("E0114", span, format!("a section of data has at most {MAX_CONTROL} bytes"))
}

/// The bytes of a quoted text.
fn unescaped(text: &str, span: Span) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend(c.to_string().bytes());
            continue;
        }
        let byte = match chars.next() {
            Some('n') => Some(b'\n'),
            Some('t') => Some(b'\t'),
            Some('r') => Some(b'\r'),
            Some('0') => Some(0),
            Some('\\') => Some(b'\\'),
            Some('"') => Some(b'"'),
            Some('x') => {
                let digit = |c: Option<char>| c.and_then(|c| c.to_digit(16));
                digit(chars.next()).zip(digit(chars.next())).map(|(high, low)| (16 * high + low) as u8)
            }
            _ => None,
        };
        let wrong = || Fault::new("E0101", span, "this text has a backslash that escapes nothing");
        bytes.push(byte.ok_or_else(|| wrong().help("known: \\n \\t \\r \\0 \\\\ \\\" \\xHH"))?);
    }
    Ok(bytes)
}

/// A name: letters, digits, `_` and dots.
fn name(cursor: &mut Cursor) -> Result<(String, Span), Fault> {
    let span = cursor.span();
    match cursor.peek().and_then(Token::word) {
        Some(word) => {
            cursor.bump();
            Ok((word.to_string(), span))
        }
        None => Err(cursor.unexpected("a name")),
    }
}
