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
            let block = if head.starts_with('.') { BLOCKS.iter().find(|(open, _)| *open == head) } else { None };
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
        let capital = word.bytes().any(|byte| byte.is_ascii_uppercase());
        let lower = capital.then(|| self.macros.get(&word.to_lowercase())).flatten();
        if let Some(called) = lower.or_else(|| self.macros.get(word)) {
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
        let mut params: Vec<(String, Option<Vec<Token>>)> = Vec::new();
        for piece in arguments(&line[2..]) {
            let (head, default) = match piece {
                [head, equals, default @ ..] if equals.is("=") => (Some(head), Some(default.to_vec())),
                [head] => (Some(head), None),
                _ => (None, None),
            };
            let name = head.and_then(Token::word).filter(|word| !word.contains('.'));
            let Some(name) = name.filter(|word| !params.iter().any(|(known, _)| known == word)) else {
                let place = piece.first().map_or(span, |token| token.span);
                let fault = Fault::new("E0112", place, "this cannot be a macro parameter");
                return Err(fault.help("`.macro name first, second=default`: every name once, without dots"));
            };
            params.push((name.to_string(), default));
        }
        let made = Macro { name: name.to_string(), span, params, body: body.to_vec() };
        self.macros.insert(name.to_string(), Rc::new(made));
        Ok(())
    }

    /// `.rept n`, or `.rept n, i` with `\i` counting from 0.
    fn repeat(&mut self, line: &[Token], body: &[Line], depth: usize) -> Result<(), Fault> {
        let (count, index) = match line {
            [count @ .., comma, index] if comma.is(",") => (count, Some(index)),
            _ => (line, None),
        };
        let count = self.number(&count[1..], line[0].span)?;
        if !(0..=MAX_REPEAT).contains(&count) {
            let range = format!("`.rept` repeats 0..={MAX_REPEAT} times, not {count}");
            return Err(Fault::new("E0114", line[0].span, range));
        }
        let name = match index.map(|token| (token, token.word())) {
            None => None,
            Some((_, Some(word))) if !word.contains('.') => Some(word.to_string()),
            Some((token, _)) => {
                return Err(Fault::new("E0112", token.span, format!("{} cannot name the index", token.show())));
            }
        };
        for turn in 0..count as u64 {
            if !self.spend(line[0].span) {
                break;
            }
            match &name {
                None => self.walk(body, depth + 1),
                Some(name) => {
                    let value = [Token { kind: Kind::Int(turn), span: line[0].span, glued: false }];
                    let turned = body.iter().map(|line| substitute(line, &[name], &[&value], None, &[]));
                    let turned: Vec<Line> = turned.collect::<Result<_, _>>()?;
                    self.walk(&turned, depth + 1);
                }
            }
        }
        Ok(())
    }

    /// `.if expr` .. `.elif expr` .. `.else` .. `.endif`.
    fn condition(&mut self, line: &[Token], body: &[Line], depth: usize) -> Result<(), Fault> {
        let mut open = 0i64;
        let borders: Vec<usize> = (0..body.len())
            .filter(|at| match head(&body[*at]) {
                Some(".if") => {
                    open += 1;
                    false
                }
                Some(".endif") => {
                    open -= 1;
                    false
                }
                word => open == 0 && matches!(word, Some(".else" | ".elif")),
            })
            .collect();
        let last = borders.iter().rev().skip(1).find(|at| head(&body[**at]) == Some(".else"));
        if let Some(at) = last {
            return Err(Fault::new("E0116", body[*at][0].span, "`.else` comes last in its `.if`"));
        }
        let ends = borders.iter().copied().chain([body.len()]);
        let mut start = 0;
        let mut opening = line;
        for end in ends {
            let taken = head(opening) == Some(".else") || self.number(&opening[1..], opening[0].span)? != 0;
            if taken {
                self.walk(&body[start..end], depth + 1);
                return Ok(());
            }
            if let Some(next) = body.get(end) {
                opening = next;
            }
            start = end + 1;
        }
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
        let args = bound(&called, tokens, span)?;
        let args: Vec<&[Token]> = args.iter().map(Vec::as_slice).collect();
        let names: Vec<&str> = called.params.iter().map(|(name, _)| name.as_str()).collect();
        let indices: Vec<&str> = called.body.iter().filter_map(|line| index_name(line)).collect();
        self.expansions += 1;
        let unique = self.expansions;
        self.calls.push((called.clone(), span));
        let mut body = Vec::with_capacity(called.body.len());
        for line in &called.body {
            match substitute(line, &names, &args, Some(unique), &indices) {
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
            Some(word) if !word.starts_with('.') => {}
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

/// The index of a `.rept` statement.
fn index_name(line: &[Token]) -> Option<&str> {
    match line {
        [rept, .., comma, index] if rept.word() == Some(".rept") && comma.is(",") => index.word(),
        _ => None,
    }
}

/// What each parameter of a macro stands for in one use: operands in order, then `name=value`, then defaults.
fn bound(called: &Macro, tokens: &[Token], span: Span) -> Result<Vec<Vec<Token>>, Fault> {
    let params = &called.params;
    let form = || {
        let list: Vec<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
        format!("`{} {}`", called.name, list.join(", "))
    };
    let mut given: Vec<Option<Vec<Token>>> = vec![None; params.len()];
    let args = arguments(tokens);
    for (at, arg) in args.iter().enumerate() {
        let named = match arg {
            [name, equals, value @ ..] if equals.is("=") => {
                params.iter().position(|(param, _)| name.word() == Some(param)).map(|at| (at, value))
            }
            _ => None,
        };
        let (place, value) = named.unwrap_or((at, arg));
        match given.get_mut(place) {
            Some(slot @ None) => *slot = Some(value.to_vec()),
            Some(_) => {
                let message = format!("the parameter `{}` is given twice", params[place].0);
                return Err(Fault::new("E0112", arg.first().map_or(span, |token| token.span), message).help(form()));
            }
            None => {
                let (count, plural) = (params.len(), if params.len() == 1 { "" } else { "s" });
                let message = format!("`{}` takes {count} operand{plural}, not {}", called.name, args.len());
                return Err(Fault::new("E0112", span, message).help(form()));
            }
        }
    }
    let missing = || {
        let needed = params.iter().filter(|(_, default)| default.is_none()).count();
        let plural = if needed == 1 { "" } else { "s" };
        let message = format!("`{}` takes {needed} operand{plural}, not {}", called.name, args.len());
        Fault::new("E0112", span, message).help(form())
    };
    given.into_iter().zip(params).map(|(value, (_, default))| value.or(default.clone()).ok_or_else(missing)).collect()
}

/// A body statement with its parameters replaced; words that touch a replaced parameter are pasted to it. Without
/// `unique` (a `.rept`), and for the names in `later`, parameters that are not among `params` stay for an outer or
/// inner expansion.
fn substitute(
    line: &[Token],
    params: &[&str],
    args: &[&[Token]],
    unique: Option<u64>,
    later: &[&str],
) -> Result<Line, Fault> {
    let mut made = Line::with_capacity(line.len());
    let mut after_param = false;
    let mut number = Token { kind: Kind::Int(unique.unwrap_or(0)), ..line[0].clone() };
    for token in line {
        let param = match &token.kind {
            Kind::Param(name) => match (params.iter().position(|param| **param == **name), unique) {
                (Some(at), _) => Some(args[at]),
                (None, Some(_)) if &**name == "@" => {
                    number.span = token.span;
                    Some(std::slice::from_ref(&number))
                }
                (None, None) => None,
                (None, Some(_)) if later.contains(&&**name) => None,
                (None, Some(_)) => {
                    let fault = Fault::new("E0112", token.span, format!("this macro has no parameter `{name}`"));
                    return Err(fault.help(format!("its parameters: {}", params.join(", "))));
                }
            },
            _ => None,
        };
        for (index, piece) in param.unwrap_or(std::slice::from_ref(token)).iter().enumerate() {
            let paste = index == 0 && token.glued && (param.is_some() || after_param);
            match made.last_mut().filter(|_| paste).and_then(|last| pasted(last, piece).map(|kind| (last, kind))) {
                Some((last, kind)) => last.kind = kind,
                None => made.push(Token { glued: if index == 0 { token.glued } else { piece.glued }, ..piece.clone() }),
            }
        }
        after_param = param.is_some();
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
