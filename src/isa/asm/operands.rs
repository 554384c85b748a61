//! One instruction: mnemonic and operands by the row of the table.

use super::expr::{Cursor, evaluate};
use super::lexer::{Kind, Token};
use super::source::{Fault, Span};
use super::state::{Assembler, Fixup, Target};
use super::textbook;
use crate::diag::did_you_mean;
use crate::isa::encode::{Mem, Step};
use crate::isa::table::{Mnemonic, Op, Operand, RegClass, Row, When, mnemonics};
use crate::isa::{Inst, manual};

impl Assembler<'_> {
    /// Assembles one instruction, in the spelling of the textbooks where that is switched on.
    pub(super) fn instruction(&mut self, word: &str, head: &Token, cursor: Cursor) -> Result<(), Fault> {
        if self.textbook
            && let Some(lines) = self.textbook_lines(word, head.span, &cursor)
        {
            let span = cursor.rest().last().map_or(head.span, |last| head.span.to(last.span));
            return self.as_textbook(&lines, span);
        }
        let (words, fixups, uses) = (self.insts.len(), self.fixups.len(), self.alias_uses.len());
        self.plain(word, head, cursor.clone()).map_err(|fault| {
            let Some(lines) = self.textbook_lines(word, head.span, &cursor) else { return fault };
            self.insts.truncate(words);
            self.lines.truncate(words);
            self.fixups.truncate(fixups);
            self.alias_uses.truncate(uses);
            textbook::fault(word, head.span, &lines)
        })
    }

    /// One instruction as the manual spells it.
    pub(super) fn plain(&mut self, word: &str, head: &Token, mut cursor: Cursor) -> Result<(), Fault> {
        let name = word.to_lowercase();
        if name == "li" || name == "la" {
            return self.load_immediate(head.span, cursor);
        }
        let Some(mnemonic) = mnemonics().get(&name) else {
            let fault = Fault::new("E0102", head.span, format!("there is no instruction or macro `{word}`"));
            let known = mnemonics().keys().chain(self.macros.keys()).map(String::as_str);
            return Err(match did_you_mean(&name, known) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help("`preon isa list` shows every instruction"),
            });
        };
        let usage = |fault: Fault| fault.inside(&format!("`{}`", manual::usage(&name, mnemonic)));
        let span = cursor.rest().last().map_or(head.span, |last| head.span.to(last.span));
        let inst = self.operands(mnemonic, &mut cursor).map_err(usage)?;
        cursor.finish().map_err(usage)?;
        if let Some(alias) = mnemonic.alias {
            self.alias_uses.push((self.insts.len() as u32, alias, head.span));
        }
        self.emit(inst, span)
    }

    fn operands(&mut self, mnemonic: &Mnemonic, cursor: &mut Cursor) -> Result<Inst, Fault> {
        let row = mnemonic.op.row();
        let mut inst = Inst::new(mnemonic.op);
        inst.set_sub_code(mnemonic.sub);
        mnemonic.alias.iter().flat_map(|alias| alias.fixed).for_each(|(field, value)| inst.set(*field, *value));
        let mut first = true;
        for operand in row.operands {
            match operand {
                _ if mnemonic.alias.is_some_and(|alias| alias.fixes(operand)) => continue,
                Operand::Reg { when: When::Sub(code), .. } if *code != mnemonic.sub => continue,
                Operand::Reg { when: When::Given, .. } | Operand::Mask | Operand::Choice { .. } | Operand::Segment
                    if !optional_follows(operand, cursor) =>
                {
                    continue;
                }
                Operand::Flag { .. } => continue,
                _ => {}
            }
            if !first {
                cursor.expect(",")?;
            }
            first = false;
            self.operand(operand, row, &mut inst, cursor)?;
        }
        flags(row, &mut inst, cursor)?;
        Ok(inst)
    }

    fn operand(&mut self, operand: &Operand, row: &Row, inst: &mut Inst, cursor: &mut Cursor) -> Result<(), Fault> {
        let (lo, hi) = row.form.imm_range();
        match *operand {
            Operand::Reg { class, field, .. } => inst.set(field, i64::from(register(cursor, class)?)),
            Operand::RegOrImm { field } => {
                if let Some(number) = peek_register(cursor, RegClass::X) {
                    cursor.bump();
                    inst.set(field, i64::from(number));
                } else {
                    inst.imm = self.immediate(cursor, lo, hi, "an x register or a number")?;
                    inst.set_immediate();
                }
            }
            Operand::Imm => inst.imm = self.immediate(cursor, lo, hi, "a number")?,
            Operand::Bits => inst.imm = self.immediate(cursor, lo, i64::from(u32::MAX), "a number")?,
            Operand::Num { field, lo, hi } => {
                let value = self.immediate(cursor, i64::from(lo), i64::from(hi), "a number")?;
                inst.set(field, i64::from(value));
            }
            Operand::Label => return self.label(inst, cursor),
            Operand::Fmt => inst.imm = self.format_operand(cursor)?,
            Operand::Base { field } => {
                inst.imm = self.offset(cursor, lo, hi)?;
                inst.set(field, i64::from(base(cursor)?));
            }
            Operand::Mem { rows, steps } => {
                let span = cursor.span();
                let mem = self.memory(cursor, lo, hi, rows)?;
                if !steps && matches!(mem.step, Step::Register(_)) {
                    return Err(Fault::new("E0104", span, "this instruction has no `+xS` form"));
                }
                inst.set_mem(mem);
            }
            Operand::Tile { field } => {
                inst.set(field, i64::from(register(cursor, RegClass::C)?));
                if cursor.eat("[") {
                    inst.rs3 = register(cursor, RegClass::X)?;
                    cursor.expect("]")?;
                }
            }
            Operand::Enum { field, names } | Operand::Choice { field, names } => inst.set(field, named(cursor, names)?),
            Operand::Segment => {
                cursor.bump();
                inst.imm = self.immediate(cursor, 1, hi, "the length of a segment")?;
            }
            Operand::Mask => mask(inst, cursor)?,
            Operand::Flag { .. } => {}
        }
        Ok(())
    }

    /// A number of the given range.
    fn immediate(&self, cursor: &mut Cursor, lo: i64, hi: i64, wanted: &str) -> Result<i32, Fault> {
        let span = cursor.span();
        if cursor.peek().is_none() || any_register(cursor).is_some() {
            return Err(cursor.unexpected(wanted));
        }
        let value = evaluate(cursor, self)?;
        if value < i128::from(lo) || value > i128::from(hi) {
            let fault = Fault::new("E0106", span, format!("{value} is out of range: {lo}..={hi} fits here"));
            return Err(if hi == 2047 {
                fault.help("put the address in a register and write `imm(xN)`, or add it to the base register first")
            } else if hi == i64::from(i32::MAX) {
                fault.help("load it into a register with `li`")
            } else {
                fault
            });
        }
        Ok(value as i32)
    }

    /// The part of a memory operand in front of its bracket; absent = 0.
    fn offset(&self, cursor: &mut Cursor, lo: i64, hi: i64) -> Result<i32, Fault> {
        let bare = cursor.peek().is_some_and(|token| token.is("("))
            && cursor.peek_second().is_some_and(|token| register_of(token, RegClass::X).is_some());
        if bare { Ok(0) } else { self.immediate(cursor, lo, hi, "a memory operand `offset(xB)`") }
    }

    fn memory(&self, cursor: &mut Cursor, lo: i64, hi: i64, rows: bool) -> Result<Mem, Fault> {
        let offset = self.offset(cursor, lo, hi)?;
        let base = base(cursor)?;
        let step = match cursor.eat("+") {
            false => Step::Stay,
            true => match peek_register(cursor, RegClass::X) {
                Some(number) => {
                    cursor.bump();
                    Step::Register(number)
                }
                None => Step::Bytes,
            },
        };
        let mut mem = Mem { base, offset, step, rows: None };
        if cursor.peek().and_then(Token::word) == Some("rows") {
            if !rows {
                return Err(Fault::new("E0104", cursor.span(), "this instruction has no `rows` form"));
            }
            cursor.bump();
            mem.rows = Some(register(cursor, RegClass::X)?);
        }
        Ok(mem)
    }

    /// A label, a numeric label, or `.`, `.+n`, `.-n` words from here.
    fn label(&mut self, inst: &mut Inst, cursor: &mut Cursor) -> Result<(), Fault> {
        let span = cursor.span();
        let target = match cursor.peek().map(|token| &token.kind) {
            Some(Kind::Word(word)) if &**word == "." => {
                cursor.bump();
                if cursor.peek().is_some() {
                    let (lo, hi) = (i64::from(i32::MIN), i64::from(i32::MAX));
                    inst.imm = self.immediate(cursor, lo, hi, "a distance in words")?;
                }
                return Ok(());
            }
            Some(Kind::Word(word)) if any_register(cursor).is_none() => Target::Name(word.to_string()),
            Some(Kind::Local { number, forward }) => {
                let defined = self.locals.get(number).map_or(0, Vec::len);
                let index = if *forward { Some(defined) } else { defined.checked_sub(1) };
                Target::Local { number: *number, index }
            }
            _ => return Err(cursor.unexpected("a label")),
        };
        cursor.bump();
        self.fixups.push(Fixup { word: self.insts.len() as u32, target, span });
        Ok(())
    }

    /// The name of a format or of a format parameter, or a row of the object's table.
    fn format_operand(&mut self, cursor: &mut Cursor) -> Result<i32, Fault> {
        let span = cursor.span();
        match cursor.peek().and_then(Token::word) {
            Some(word) => {
                cursor.bump();
                self.format(word, span)
            }
            None => self.immediate(cursor, 0, i64::from(u16::MAX), "a format"),
        }
    }

    /// `li xd, value`: one word if the value fits a signed 32-bit immediate, else two.
    fn load_immediate(&mut self, span: Span, mut cursor: Cursor) -> Result<(), Fault> {
        let rd = register(&mut cursor, RegClass::X)?;
        cursor.expect(",")?;
        if any_register(&cursor).is_some() {
            return Err(cursor.unexpected("a number").help("`mv` copies a register"));
        }
        let value = evaluate(&mut cursor, self)? as i64;
        cursor.finish()?;
        let mut add = Inst { rd, imm: value as i32, ..Inst::new(Op::Alu) };
        add.set_immediate();
        self.emit(add, span)?;
        if i64::from(value as i32) != value {
            self.emit(Inst { rd, imm: (value >> 32) as i32, ..Inst::new(Op::Lih) }, span)?;
        }
        Ok(())
    }
}

/// `(xB)`.
fn base(cursor: &mut Cursor) -> Result<u8, Fault> {
    cursor.expect("(")?;
    let number = register(cursor, RegClass::X)?;
    cursor.expect(")")?;
    Ok(number)
}

/// `, pN`, `, pN.z`, `, dN`, `, name`, `, seg N`: does the optional operand stand here?
fn optional_follows(operand: &Operand, cursor: &Cursor) -> bool {
    let next = cursor.peek_second().and_then(Token::word);
    let fits = |word: &str| match operand {
        Operand::Choice { names, .. } => names.contains(&&*word.to_lowercase()),
        Operand::Segment => word.eq_ignore_ascii_case("seg"),
        Operand::Reg { class, .. } => word.starts_with(class.letter()),
        _ => word.starts_with(RegClass::P.letter()),
    };
    cursor.peek().is_some_and(|token| token.is(",")) && next.is_some_and(fits)
}

/// `pN` or `pN.z`.
fn mask(inst: &mut Inst, cursor: &mut Cursor) -> Result<(), Fault> {
    let span = cursor.span();
    let word = cursor.peek().and_then(Token::word).unwrap_or_default();
    let (name, skips) = word.strip_suffix(".z").map_or((word, false), |name| (name, true));
    match register_number(name, RegClass::P) {
        Some(number) if number < u32::from(RegClass::P.count()) => {
            cursor.bump();
            (inst.pm, inst.pz) = (number as u8, skips);
            Ok(())
        }
        _ => Err(Fault::new("E0104", span, format!("expected a mask register, found {}", cursor.found()))
            .label("p0..p7, or pN.z to skip the work")),
    }
}

/// Flags after the operands, in any order, with or without a comma.
fn flags(row: &Row, inst: &mut Inst, cursor: &mut Cursor) -> Result<(), Fault> {
    loop {
        let comma = cursor.peek().is_some_and(|token| token.is(","));
        let token = if comma { cursor.peek_second() } else { cursor.peek() };
        let Some((token, word)) = token.and_then(|token| token.word().map(|word| (token, word))) else { return Ok(()) };
        if !word.starts_with('.') {
            return Ok(());
        }
        let known = |operand: &Operand| match operand {
            Operand::Flag { name, bit } => Some((*name, *bit)),
            _ => None,
        };
        let Some((_, bit)) = row.operands.iter().filter_map(known).find(|(name, _)| *name == word) else {
            return Err(Fault::new("E0104", token.span, format!("`{}` has no suffix `{word}`", row.name)));
        };
        inst.mode |= 1 << bit;
        cursor.eat(",");
        cursor.bump();
    }
}

/// One of `names`.
fn named(cursor: &mut Cursor, names: &[&str]) -> Result<i64, Fault> {
    let span = cursor.span();
    let sign = if cursor.eat("-") { "-" } else { "" };
    let text = match cursor.peek().map(|token| &token.kind) {
        Some(Kind::Word(word)) => format!("{sign}{}", word.to_lowercase()),
        Some(Kind::Int(value)) => format!("{sign}{value}"),
        _ => return Err(cursor.unexpected(&format!("one of {}", names.join(", ")))),
    };
    if let Some(code) = names.iter().position(|name| *name == text) {
        cursor.bump();
        return Ok(code as i64);
    }
    let fault = Fault::new("E0104", span, format!("`{text}` is not one of {}", names.join(", ")));
    Err(match did_you_mean(&text, names.iter().copied()) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    })
}

/// The number in the name of a register of `class`, whether or not it exists.
fn register_number(word: &str, class: RegClass) -> Option<u32> {
    RegClass::parse(word).filter(|(found, _)| *found == class).map(|(_, number)| number)
}

fn register_of(token: &Token, class: RegClass) -> Option<u8> {
    let number = register_number(token.word()?, class)?;
    u8::try_from(number).ok().filter(|number| *number < class.count())
}

fn peek_register(cursor: &Cursor, class: RegClass) -> Option<u8> {
    register_of(cursor.peek()?, class)
}

/// The class of the register name at the cursor.
fn any_register(cursor: &Cursor) -> Option<RegClass> {
    RegClass::parse(cursor.peek()?.word()?).map(|(class, _)| class)
}

/// A register of `class`.
pub fn register(cursor: &mut Cursor, class: RegClass) -> Result<u8, Fault> {
    if let Some(number) = peek_register(cursor, class) {
        cursor.bump();
        return Ok(number);
    }
    let (letter, last) = (class.letter(), class.count() - 1);
    let word = cursor.peek().and_then(Token::word).unwrap_or_default();
    if register_number(word, class).is_some() {
        let fault = Fault::new("E0105", cursor.span(), format!("{} `{word}` does not exist", class.title()));
        return Err(fault.label(format!("{letter}0..{letter}{last}")));
    }
    let fault = cursor.unexpected(&format!("a {}", class.title())).label(format!("{letter}0..{letter}{last}"));
    let names: Vec<String> = (0..=last).map(|number| format!("{letter}{number}")).collect();
    let misspelt = !word.is_empty() && any_register(cursor).is_none();
    let near = misspelt.then(|| did_you_mean(word, names.iter().map(String::as_str))).flatten();
    Err(match near {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    })
}
