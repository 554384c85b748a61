//! The walk over statements: labels, `.macro`, `.rept`, `.if`, `.include`, macro uses; everything else goes on to
//! [`super::directives`] or [`super::operands`]. Expansion works on tokens, so places survive it.

use super::case::Block;
use super::expr::{Cursor, evaluate};
use super::lexer::{Kind, Line, Token, lex, relex};
use super::source::{Fault, Span};
use super::state::{Assembler, Macro};
use std::rc::Rc;

/// Deepest nesting of macro uses, includes and blocks.
const DEPTH: usize = 64;
/// Most repetitions of one `.rept`.
const MAX_REPEAT: i128 = 1 << 16;
/// Most tokens of one statement.
const MAX_TOKENS: usize = 4096;

/// Block directives: opening word, closing word.
const BLOCKS: &[(&str, &str)] = &[(".macro", ".endm"), (".rept", ".endr"), (".if", ".endif"), (".test", ".endt")];

impl Assembler<'_> {
    /// Reads a file of the sources and walks it.
    pub(super) fn file(&mut self, file: u16, depth: usize) {
        let text = self.sources.text(file);
        let mut faults = Vec::new();
        let lines = lex(file, &text, &mut faults);
        faults.into_iter().for_each(|fault| self.fault(fault));
        self.walk(&lines, depth);
    }

    /// Walks statements in order. Faults are recorded and the walk goes on.
    fn walk(&mut self, lines: &[Line], depth: usize) {
        let mut at = 0;
        while at < lines.len() {
            let span = lines[at][0].span;
            if !self.spend(span) {
                return;
            }
            if depth > DEPTH {
                return self.fault(
                    Fault::new("E0114", span, format!("macros, blocks and includes nest at most {DEPTH} deep"))
                        .help("a macro that uses itself needs an `.if` that ends it"),
                );
            }
            let head = head(&lines[at]).unwrap_or_default();
            let block = BLOCKS.iter().find(|(open, _)| *open == head);
            let end = block.and_then(|(open, close)| block_end(lines, at, open, close));
            let result = match (block, end) {
                (Some((open, close)), None) => {
                    self.fault(Fault::new("E0116", span, format!("this `{open}` has no `{close}`")));
                    return;
                }
                (_, Some(end)) => {
                    let body = &lines[at + 1..end];
                    let opening = at;
                    at = end;
                    match head {
                        ".macro" => self.define_macro(&lines[opening], body),
                        ".rept" => self.repeat(&lines[opening], body, depth),
                        ".test" => self.test_block(&lines[opening], body),
                        _ => self.condition(&lines[opening], body, depth),
                    }
                }
                (None, None) => self.statement(&lines[at], depth),
            };
            result.unwrap_or_else(|fault| self.fault(fault));
            at += 1;
        }
    }

    /// Labels, then a directive, a macro use or an instruction.
    fn statement(&mut self, line: &[Token], depth: usize) -> Result<(), Fault> {
        let mut rest = line;
        while let [name, colon, tail @ ..] = rest
            && colon.is(":")
        {
            match &name.kind {
                Kind::Word(word) => self.define_label(word, name.span)?,
                Kind::Int(number) => self.locals.entry(*number).or_default().push(self.insts.len() as u32),
                _ => return Err(Fault::new("E0104", name.span, format!("{} cannot be a label", name.show()))),
            }
            rest = tail;
        }
        let Some(first) = rest.first() else { return Ok(()) };
        let Some(word) = first.word() else {
            let fault = Fault::new("E0102", first.span, format!("a statement cannot start with {}", first.show()));
            return Err(fault.help("expected a label, a directive, a macro or an instruction"));
        };
        if let Some(called) = self.macros.get(&word.to_lowercase()).or_else(|| self.macros.get(word)) {
            return self.call(called.clone(), first.span, &rest[1..], depth);
        }
        if word.starts_with('.') {
            if BLOCKS.iter().any(|(open, _)| *open == word) {
                return Err(Fault::new(
                    "E0116",
                    first.span,
                    format!("`{word}` cannot follow a label on the same line"),
                ));
            }
            return self.directive(word, first.span, Cursor::after_head(rest), depth);
        }
        self.instruction(word, first, Cursor::after_head(rest))
    }

    /// `.macro name a, b`.
    fn define_macro(&mut self, line: &[Token], body: &[Line]) -> Result<(), Fault> {
        let Some(name) = line.get(1).and_then(Token::word) else {
            return Err(Fault::new("E0112", line[0].span, "a macro needs a name").help("`.macro name first, second`"));
        };
        let span = line[1].span;
        let known =
            crate::isa::table::mnemonics().contains_key(&name.to_lowercase()) || name == "li" || name.starts_with('.');
        if known {
            return Err(Fault::new("E0108", span, format!("`{name}` is an instruction or a directive already")));
        }
        if let Some(first) = self.macros.get(name) {
            return Err(self.duplicate(name, span, first.span));
        }
        let mut params = Vec::new();
        for token in line[2..].iter().filter(|token| !token.is(",")) {
            let param = token.word().filter(|word| !word.contains('.') && !params.iter().any(|known| known == word));
            let Some(param) = param else {
                return Err(Fault::new(
                    "E0112",
                    token.span,
                    format!("{} cannot be a macro parameter here", token.show()),
                ));
            };
            params.push(param.to_string());
        }
        let made = Macro { name: name.to_string(), span, params, body: body.to_vec() };
        self.macros.insert(name.to_string(), Rc::new(made));
        Ok(())
    }

    /// `.rept n`.
    fn repeat(&mut self, line: &[Token], body: &[Line], depth: usize) -> Result<(), Fault> {
        let count = self.number(&line[1..], line[0].span)?;
        if !(0..=MAX_REPEAT).contains(&count) {
            let range = format!("`.rept` repeats 0..={MAX_REPEAT} times, not {count}");
            return Err(Fault::new("E0114", line[0].span, range));
        }
        for _ in 0..count {
            if !self.spend(line[0].span) {
                break;
            }
            self.walk(body, depth + 1);
        }
        Ok(())
    }

    /// `.if expr` .. `.else` .. `.endif`.
    fn condition(&mut self, line: &[Token], body: &[Line], depth: usize) -> Result<(), Fault> {
        let taken = self.number(&line[1..], line[0].span)? != 0;
        let mut open = 0i64;
        let middle = body.iter().position(|line| match head(line) {
            Some(".if") => {
                open += 1;
                false
            }
            Some(".endif") => {
                open -= 1;
                false
            }
            word => open == 0 && word == Some(".else"),
        });
        let (yes, no) = middle.map_or((body, &body[..0]), |at| (&body[..at], &body[at + 1..]));
        self.walk(if taken { yes } else { no }, depth + 1);
        Ok(())
    }

    /// `.test "name"`: kept for the end, when all names are known.
    fn test_block(&mut self, line: &[Token], body: &[Line]) -> Result<(), Fault> {
        if !self.calls.is_empty() {
            return Err(Fault::new("E0119", line[0].span, "a test cannot stand in a macro"));
        }
        let block = Block::new(line, body)?;
        if let Some(first) = self.blocks.iter().find(|known| known.name == block.name && known.span != block.span) {
            return Err(self.duplicate(&block.name, block.span, first.span));
        }
        self.blocks.push(block);
        Ok(())
    }

    /// A whole expression.
    pub(super) fn number(&self, tokens: &[Token], span: Span) -> Result<i128, Fault> {
        if tokens.is_empty() {
            return Err(Fault::new("E0104", span, "a number is missing here"));
        }
        let mut cursor = Cursor::new(tokens);
        let value = evaluate(&mut cursor, self)?;
        cursor.finish()?;
        Ok(value)
    }

    /// One use of a macro.
    fn call(&mut self, called: Rc<Macro>, span: Span, tokens: &[Token], depth: usize) -> Result<(), Fault> {
        let args = arguments(tokens);
        if args.len() != called.params.len() {
            let list = called.params.join(", ");
            let count = called.params.len();
            let fault = Fault::new(
                "E0112",
                span,
                format!(
                    "`{}` takes {count} operand{}, not {}",
                    called.name,
                    if count == 1 { "" } else { "s" },
                    args.len()
                ),
            );
            return Err(fault.help(format!("`{} {list}`", called.name)));
        }
        self.expansions += 1;
        let unique = self.expansions;
        self.calls.push((called.clone(), span));
        let mut body = Vec::with_capacity(called.body.len());
        for line in &called.body {
            match substitute(line, &called.params, &args, unique) {
                Ok(line) if line.is_empty() => {}
                Ok(line) => body.push(line),
                Err(fault) => self.fault(fault),
            }
        }
        self.walk(&body, depth + 1);
        self.calls.pop();
        Ok(())
    }
}

/// The blocks of tests in a text, wherever they stand; one that is not well-formed is left out (assembling reports it).
pub fn test_blocks(lines: &[Line]) -> Vec<Block> {
    let opens = |at: &usize| head(&lines[*at]) == Some(".test");
    let block = |at: usize| {
        let end = block_end(lines, at, ".test", ".endt")?;
        Block::new(&lines[at], &lines[at + 1..end]).ok()
    };
    (0..lines.len()).filter(opens).filter_map(block).collect()
}

/// The word that heads a statement.
fn head(line: &[Token]) -> Option<&str> {
    line.first().and_then(Token::word)
}

/// Index of the statement that closes the block opened at `at`.
fn block_end(lines: &[Line], at: usize, open: &str, close: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (index, line) in lines.iter().enumerate().skip(at) {
        match head(line) {
            Some(word) if word == open => depth += 1,
            Some(word) if word == close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

/// Splits the operands of a macro use at the commas outside of brackets.
fn arguments(tokens: &[Token]) -> Vec<&[Token]> {
    if tokens.is_empty() {
        return Vec::new();
    }
    let mut depth = 0i32;
    tokens
        .split(|token| {
            depth += i32::from(token.is("(") || token.is("[")) - i32::from(token.is(")") || token.is("]"));
            depth <= 0 && token.is(",")
        })
        .collect()
}

/// A body statement with its parameters replaced; words that touch a replaced parameter are pasted to it.
fn substitute(line: &[Token], params: &[String], args: &[&[Token]], unique: u64) -> Result<Line, Fault> {
    let mut made = Line::new();
    let mut after_param = false;
    for token in line {
        let (new, is_param) = match &token.kind {
            Kind::Param(name) if &**name == "@" => (vec![Token { kind: Kind::Int(unique), ..token.clone() }], true),
            Kind::Param(name) => match params.iter().position(|param| *param == **name) {
                Some(at) => (args[at].to_vec(), true),
                None => {
                    let fault = Fault::new("E0112", token.span, format!("this macro has no parameter `{name}`"));
                    return Err(fault.help(format!("its parameters: {}", params.join(", "))));
                }
            },
            _ => (vec![token.clone()], false),
        };
        for (index, mut piece) in new.into_iter().enumerate() {
            piece.glued = if index == 0 { token.glued } else { piece.glued };
            let paste = index == 0 && token.glued && (is_param || after_param);
            match made.last_mut().filter(|_| paste).and_then(|last| pasted(last, &piece).map(|kind| (last, kind))) {
                Some((last, kind)) => last.kind = kind,
                None => made.push(piece),
            }
        }
        after_param = is_param;
        if made.len() > MAX_TOKENS {
            return Err(Fault::new("E0114", token.span, format!("a statement has at most {MAX_TOKENS} tokens")));
        }
    }
    Ok(made)
}

/// The kind of two words or numbers written as one.
fn pasted(left: &Token, right: &Token) -> Option<Kind> {
    let text = |token: &Token| match &token.kind {
        Kind::Word(word) => Some(word.to_string()),
        Kind::Int(value) => Some(value.to_string()),
        _ => None,
    };
    let (left, right) = (text(left)?, text(right)?);
    (left.len() + right.len() <= MAX_TOKENS).then(|| relex(&(left + &right))).flatten()
}
