//! Integer expressions: C's operators and precedence, on 64-bit values held in 128 bits so that overflow is seen.

use super::lexer::{Kind, Token};
use super::source::{Fault, Span};

/// Deepest nesting of parentheses and unary operators.
const DEPTH: u32 = 64;

/// Binary operators by rising precedence, in the assembler and in what a debugger is asked.
pub const LEVELS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", "<=", ">", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

/// A position in the tokens of one statement.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The token before the first.
    head: Option<&'a Token>,
}

impl<'a> Cursor<'a> {
    /// At the first of `tokens`.
    pub fn new(tokens: &'a [Token]) -> Self {
        Cursor { tokens, at: 0, head: None }
    }
    /// After the first of `tokens`, which is not empty.
    pub fn after_head(tokens: &'a [Token]) -> Self {
        Cursor { tokens: &tokens[1..], at: 0, head: tokens.first() }
    }
    /// The token here.
    pub fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }
    /// The token after the one here.
    pub fn peek_second(&self) -> Option<&'a Token> {
        self.tokens.get(self.at + 1)
    }
    /// The rest of the statement.
    pub fn rest(&self) -> &'a [Token] {
        &self.tokens[self.at.min(self.tokens.len())..]
    }
    /// Takes the token here.
    pub fn bump(&mut self) -> Option<&'a Token> {
        let token = self.peek();
        self.at += usize::from(token.is_some());
        token
    }
    /// Takes this operator or separator, if it is here.
    pub fn eat(&mut self, punct: &str) -> bool {
        let here = self.peek().is_some_and(|token| token.is(punct));
        self.at += usize::from(here);
        here
    }
    /// Place of the token here, or just after the last one.
    pub fn span(&self) -> Span {
        match (self.peek(), self.tokens.last().or(self.head)) {
            (Some(token), _) => token.span,
            (None, Some(last)) => Span { start: last.span.end, ..last.span },
            (None, None) => Span::default(),
        }
    }
    /// How a message shows what is here.
    pub fn found(&self) -> String {
        self.peek().map_or("the end of the statement".to_string(), Token::show)
    }
    /// A fault: `wanted` should stand here.
    pub fn unexpected(&self, wanted: &str) -> Fault {
        Fault::new("E0104", self.span(), format!("expected {wanted}, found {}", self.found()))
    }
    /// Requires this operator or separator.
    pub fn expect(&mut self, punct: &str) -> Result<(), Fault> {
        if self.eat(punct) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{punct}`")))
    }
    /// Requires the end of the statement.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(token) => Err(Fault::new("E0104", token.span, format!("{} is one operand too many", token.show()))),
        }
    }
}

/// Values of names; the error says why a name has none.
pub trait Symbols {
    /// Value of `name`, used at `span`.
    fn value(&self, name: &str, span: Span) -> Result<i64, Fault>;
}

/// Evaluates the expression at `cursor`; the result lies in -2^63 ..= 2^64-1.
pub fn evaluate(cursor: &mut Cursor, symbols: &dyn Symbols) -> Result<i128, Fault> {
    let start = cursor.span();
    let value = binary(cursor, symbols, 0, 0)?;
    if value < i128::from(i64::MIN) || value > i128::from(u64::MAX) {
        return Err(Fault::new("E0113", start, "this expression does not fit in 64 bits"));
    }
    Ok(value)
}

/// Precedence and text of the binary operator that a token is.
fn operator(token: &Token) -> Option<(usize, &'static str)> {
    let Kind::Punct(punct) = &token.kind else { return None };
    let of = |(level, operators): (usize, &&'static [&'static str])| {
        Some((level, *operators.iter().find(|operator| *operator == punct)?))
    };
    LEVELS.iter().enumerate().find_map(of)
}

/// Operators of precedence `least` and above, to the left first.
fn binary(cursor: &mut Cursor, symbols: &dyn Symbols, least: usize, depth: u32) -> Result<i128, Fault> {
    let mut left = unary(cursor, symbols, depth)?;
    while let Some(token) = cursor.peek() {
        let Some((level, operator)) = operator(token).filter(|(level, _)| *level >= least) else { break };
        cursor.bump();
        let right = binary(cursor, symbols, level + 1, depth)?;
        left = apply(operator, left, right, token.span)?;
    }
    Ok(left)
}

fn unary(cursor: &mut Cursor, symbols: &dyn Symbols, depth: u32) -> Result<i128, Fault> {
    let span = cursor.span();
    if depth > DEPTH {
        return Err(Fault::new("E0113", span, format!("expressions nest at most {DEPTH} deep")));
    }
    let Some(token) = cursor.peek() else {
        return Err(Fault::new("E0104", span, "expected a number, found the end of the statement"));
    };
    cursor.bump();
    match &token.kind {
        Kind::Int(value) => Ok(i128::from(*value)),
        Kind::Word(name) => symbols.value(name, span).map(i128::from),
        Kind::Punct("(") => {
            let value = binary(cursor, symbols, 0, depth + 1)?;
            cursor.expect(")")?;
            Ok(value)
        }
        Kind::Punct("-") => apply("-", 0, unary(cursor, symbols, depth + 1)?, span),
        Kind::Punct("+") => unary(cursor, symbols, depth + 1),
        Kind::Punct("~") => Ok(!unary(cursor, symbols, depth + 1)?),
        Kind::Punct("!") => Ok(i128::from(unary(cursor, symbols, depth + 1)? == 0)),
        Kind::Float(value) => {
            let bits = (*value as f32).to_bits();
            Err(Fault::new("E0104", span, format!("expected an integer, found {}", token.show()))
                .help(format!("as f32 this number is {bits:#010x}")))
        }
        _ => Err(Fault::new("E0104", span, format!("expected a number, found {}", token.show()))),
    }
}

fn apply(operator: &str, a: i128, b: i128, span: Span) -> Result<i128, Fault> {
    let shift = || u32::try_from(b).ok().filter(|bits| *bits < 64);
    let value = match operator {
        "+" => a.checked_add(b),
        "-" => a.checked_sub(b),
        "*" => a.checked_mul(b),
        "/" => a.checked_div(b),
        "%" => a.checked_rem(b),
        "<<" => shift().and_then(|bits| a.checked_mul(1 << bits)),
        ">>" => shift().map(|bits| a >> bits),
        "&" => Some(a & b),
        "|" => Some(a | b),
        "^" => Some(a ^ b),
        "==" => Some(i128::from(a == b)),
        "!=" => Some(i128::from(a != b)),
        "<" => Some(i128::from(a < b)),
        "<=" => Some(i128::from(a <= b)),
        ">" => Some(i128::from(a > b)),
        ">=" => Some(i128::from(a >= b)),
        "&&" => Some(i128::from(a != 0 && b != 0)),
        _ => Some(i128::from(a != 0 || b != 0)),
    };
    value.ok_or_else(|| {
        let why = match operator {
            "/" | "%" => "this divides by zero",
            "<<" | ">>" => "shift amounts are 0..=63",
            _ => "this expression does not fit in 64 bits",
        };
        Fault::new("E0113", span, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::asm::lexer::lex;

    struct One;
    impl Symbols for One {
        fn value(&self, name: &str, span: Span) -> Result<i64, Fault> {
            if name == "one" { Ok(1) } else { Err(Fault::new("E0107", span, "unknown")) }
        }
    }

    fn eval(text: &str) -> Result<i128, Fault> {
        let mut faults = Vec::new();
        let lines = lex(0, text, &mut faults);
        assert!(faults.is_empty());
        let mut cursor = Cursor::new(&lines[0]);
        let value = evaluate(&mut cursor, &One)?;
        cursor.finish()?;
        Ok(value)
    }

    #[test]
    fn precedence_is_that_of_c() {
        for (text, value) in [
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("1 << 4 | one", 17),
            ("-7 / 2", -3),
            ("7 & 3 == 3", 1),
            ("~0", -1),
            ("0x10 - 0b11 - 0o7", 6),
            ("1_000 % 7", 6),
            ("!0 + (3 > 2)", 2),
            ("'a'", 97),
        ] {
            assert_eq!(eval(text).ok(), Some(value), "{text}");
        }
    }

    #[test]
    fn overflow_division_and_depth_are_faults() {
        let deep = format!("{}1{}", "(".repeat(1000), ")".repeat(1000));
        for text in ["1 / 0", "0xffffffffffffffff + 1", "1 << 64", "two", "1 +", &deep, &"-".repeat(100_000)] {
            assert!(eval(text).is_err(), "{text:.40}");
        }
    }
}
