//! The spelling of textbooks: upper case, registers `r1`, the address in front of the register.
//!
//! `LD.BP 0x1000, r1`, `MAC.TRIPLET r1, r2, r3` and `JMP.MASK 0x2000, skip` are rewritten to lines of the real
//! instruction set, with the slots that a textbook leaves out: `f0` holds the format of what is loaded, `f1` and `f2`
//! those of a product. An address that does not fit the instruction goes through `x30`. Under `.textbook on` these
//! lines are assembled; otherwise the error shows them.

use super::expr::{Cursor, evaluate};
use super::lexer::{Kind, Token, lex};
use super::source::{Fault, Span};
use super::state::Assembler;
use crate::isa::table::{Operand, RegClass, When, mnemonics};

/// The fault of a line in textbook spelling where that is switched off.
pub fn fault(word: &str, span: Span, lines: &[String]) -> Fault {
    let message = format!("`{word}` is in the spelling of a textbook here");
    let written = lines.join("; ");
    Fault::new("E0120", span, message).help(format!("write `{written}`, or put `.textbook on` in front of it"))
}

/// The number of a register `rN`.
fn plain_register(token: &Token) -> Option<&str> {
    let digits = token.word()?.strip_prefix(['r', 'R'])?;
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    number.then_some(digits)
}

impl Assembler<'_> {
    /// The lines that an instruction in textbook spelling stands for; `None` if it is not in that spelling.
    pub(super) fn textbook_lines(&self, word: &str, span: Span, cursor: &Cursor) -> Option<Vec<String>> {
        let name = word.to_lowercase();
        mnemonics().get(&name)?;
        let operands: Vec<&[Token]> = cursor.rest().split(|token| token.is(",")).collect();
        let address = |tokens: &[Token]| -> Option<i128> {
            let mut cursor = Cursor::new(tokens);
            let value = evaluate(&mut cursor, self).ok()?;
            cursor.finish().ok().map(|()| value)
        };
        match (name.as_str(), &operands[..]) {
            ("ld.bp" | "st.bp", [at, [register]]) => {
                let number = plain_register(register)?;
                let (mut lines, base) = based(address(at)?, &self.written(at, span));
                lines.push(format!("{name} v{number}, {base}, f0"));
                Some(lines)
            }
            ("jmp.mask", [at, [label]])
                if at.first().and_then(Token::word).is_none_or(|w| RegClass::parse(w).is_none()) =>
            {
                let target = self.written(std::slice::from_ref(label), span);
                let (mut lines, base) = based(address(at)?, &self.written(at, span));
                lines.push(format!("ld.m p7, {base}, x31"));
                lines.push(format!("jmp.mask p7, {target}"));
                Some(lines)
            }
            _ => self.registers_only(&name, &operands).map(|line| vec![line]),
        }
    }

    /// `name r1, r2, ..`: each register of the class that the instruction has there, then the slots.
    fn registers_only(&self, name: &str, operands: &[&[Token]]) -> Option<String> {
        let mnemonic = mnemonics().get(name)?;
        let mut classes = mnemonic.op.row().operands.iter().filter_map(|operand| match operand {
            _ if mnemonic.alias.is_some_and(|alias| alias.fixes(operand)) => None,
            Operand::Reg { when: When::Given, .. } => None,
            Operand::Reg { when: When::Sub(code), .. } if *code != mnemonic.sub => None,
            Operand::Reg { class, .. } => Some(Some(*class)),
            Operand::Tile { .. } => Some(Some(RegClass::C)),
            Operand::RegOrImm { .. } => Some(Some(RegClass::X)),
            Operand::Mask | Operand::Flag { .. } | Operand::Choice { .. } | Operand::Segment => None,
            _ => Some(None),
        });
        let mut parts = Vec::new();
        let mut any = false;
        for operand in operands {
            let class = classes.next()?;
            match (*operand, class) {
                ([token], Some(class)) if plain_register(token).is_some() => {
                    any = true;
                    parts.push(format!("{}{}", class.letter(), plain_register(token)?));
                }
                (tokens, _) => parts.push(self.written(tokens, tokens.first()?.span)),
            }
        }
        for (slot, class) in (1..).zip(classes) {
            if class != Some(RegClass::F) {
                return None;
            }
            parts.push(format!("f{slot}"));
        }
        any.then(|| format!("{name} {}", parts.join(", ")))
    }

    /// Tokens as they were typed.
    fn written(&self, tokens: &[Token], span: Span) -> String {
        let whole = tokens.first().zip(tokens.last()).map_or(span, |(first, last)| first.span.to(last.span));
        self.sources.snippet(whole)
    }

    /// Assembles lines of the real instruction set in the place of a statement.
    pub(super) fn as_textbook(&mut self, lines: &[String], span: Span) -> Result<(), Fault> {
        for text in lines {
            for mut line in lex(span.file, text, &mut Vec::new()) {
                line.iter_mut().for_each(|token| token.span = span);
                let (head, rest) = (line[0].clone(), &line);
                let Kind::Word(word) = &head.kind else { continue };
                self.plain(word, &head, Cursor::after_head(rest))?;
            }
        }
        Ok(())
    }
}

/// Lines that prepare an address, and its memory operand.
fn based(value: i128, text: &str) -> (Vec<String>, String) {
    if (-2048..=2047).contains(&value) {
        return (Vec::new(), format!("{text}(x0)"));
    }
    (vec![format!("li x30, {text}")], "0(x30)".to_string())
}
