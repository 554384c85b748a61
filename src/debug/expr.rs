//! Expressions over registers, memory and labels with the operators of C, on signed 64-bit integers.

use crate::diag::{Error, Result};
use crate::isa::asm::LEVELS;

/// What names and memory stand for.
pub trait Scope {
    /// The value of a register, a label or a word of the machine's state; an error in words if there is none.
    ///
    /// # Errors
    /// What is wrong with the name.
    fn name(&self, name: &str) -> Result<i64>;
    /// `bytes` bytes of memory at `addr` as an unsigned integer.
    ///
    /// # Errors
    /// What is wrong with the address.
    fn memory(&self, addr: u64, bytes: u64) -> Result<i64>;
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A number.
    Number(i64),
    /// A register, a label, `pc`, ...
    Name(String),
    /// `b[..]`, `h[..]`, `w[..]`, `d[..]`: 1, 2, 4 or 8 bytes of memory.
    Memory(u64, Box<Expr>),
    /// A sign or negation.
    Unary(char, Box<Expr>),
    /// Two sides.
    Binary(&'static str, Box<Expr>, Box<Expr>),
}

/// Deepest nesting that is read.
const DEEPEST: usize = 64;

/// Reads an expression.
///
/// # Errors
/// Usage that quotes what is wrong.
pub fn parse(text: &str) -> Result<Expr> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let expr = parser.level(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(expr),
        Some(token) => {
            Err(Error::usage(format!("`{token}` does not belong after `{}`", tokens[..parser.at].join(" "))))
        }
    }
}

/// A number: decimal or `0x` hexadecimal, `_` between digits.
pub fn number(text: &str) -> Option<i64> {
    let plain = text.replace('_', "");
    match plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|bits| bits as i64),
        None => plain.parse().ok(),
    }
}

fn tokens(text: &str) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let length = if word(first) {
            rest.find(|c| !word(c)).unwrap_or(rest.len())
        } else {
            let two = ["||", "&&", "==", "!=", "<=", ">=", "<<", ">>"].iter().any(|op| rest.starts_with(op));
            if !two && !"|&^<>+-*/%~!()[]".contains(first) {
                return Err(Error::usage(format!("`{first}` has no meaning in an expression"))
                    .help("registers, labels, numbers, b[..] h[..] w[..] d[..] of memory, and the operators of C"));
            }
            1 + usize::from(two)
        };
        out.push(rest[..length].to_string());
        rest = rest[length..].trim_start();
    }
    Ok(out)
}

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self, wanted: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token == wanted);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<()> {
        if self.take(wanted) { Ok(()) } else { Err(Error::usage(format!("`{wanted}` is missing"))) }
    }

    fn level(&mut self, level: usize) -> Result<Expr> {
        let Some(ops) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.level(level + 1)?;
        while let Some(op) = ops.iter().find(|op| self.tokens.get(self.at).is_some_and(|token| token == *op)) {
            self.at += 1;
            left = Expr::Binary(op, Box::new(left), Box::new(self.level(level + 1)?));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Error::usage("the expression is nested too deep"));
        }
        let expr = self.atom();
        self.depth -= 1;
        expr
    }

    fn atom(&mut self) -> Result<Expr> {
        for op in ['-', '~', '!'] {
            if self.take(&op.to_string()) {
                return Ok(Expr::Unary(op, Box::new(self.unary()?)));
            }
        }
        if self.take("(") {
            let inner = self.level(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let Some(token) = self.tokens.get(self.at) else {
            return Err(Error::usage("the expression ends too early"));
        };
        self.at += 1;
        if token.starts_with(|first: char| first.is_ascii_digit()) {
            let value = number(token).ok_or_else(|| Error::usage(format!("`{token}` is no number of 64 bits")))?;
            return Ok(Expr::Number(value));
        }
        if !token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_' || first == '.') {
            return Err(Error::usage(format!("a value is missing before `{token}`")));
        }
        let width = [("b", 1), ("h", 2), ("w", 4), ("d", 8)].into_iter().find(|(name, _)| name == token);
        if let Some((_, bytes)) = width.filter(|_| self.take("[")) {
            let addr = self.level(0)?;
            self.expect("]")?;
            return Ok(Expr::Memory(bytes, Box::new(addr)));
        }
        Ok(Expr::Name(token.clone()))
    }
}

impl Expr {
    /// Every name in it.
    pub fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Expr::Number(_) => Box::new(std::iter::empty()),
            Expr::Name(name) => Box::new(std::iter::once(name.as_str())),
            Expr::Memory(_, of) | Expr::Unary(_, of) => of.names(),
            Expr::Binary(_, a, b) => Box::new(a.names().chain(b.names())),
        }
    }

    /// Its value.
    ///
    /// # Errors
    /// Those of `scope`; Usage for a division by zero.
    pub fn value(&self, scope: &dyn Scope) -> Result<i64> {
        Ok(match self {
            Expr::Number(value) => *value,
            Expr::Name(name) => scope.name(name)?,
            Expr::Memory(bytes, addr) => scope.memory(addr.value(scope)? as u64, *bytes)?,
            Expr::Unary(op, of) => {
                let value = of.value(scope)?;
                match op {
                    '-' => value.wrapping_neg(),
                    '~' => !value,
                    _ => i64::from(value == 0),
                }
            }
            Expr::Binary("||", a, b) => i64::from(a.value(scope)? != 0 || b.value(scope)? != 0),
            Expr::Binary("&&", a, b) => i64::from(a.value(scope)? != 0 && b.value(scope)? != 0),
            Expr::Binary(op, a, b) => binary(op, a.value(scope)?, b.value(scope)?)?,
        })
    }
}

fn binary(op: &str, a: i64, b: i64) -> Result<i64> {
    let zero = || Error::usage("division by zero");
    Ok(match op {
        "|" => a | b,
        "^" => a ^ b,
        "&" => a & b,
        "==" => i64::from(a == b),
        "!=" => i64::from(a != b),
        "<=" => i64::from(a <= b),
        ">=" => i64::from(a >= b),
        "<" => i64::from(a < b),
        ">" => i64::from(a > b),
        "<<" => a.wrapping_shl(b as u32),
        ">>" => a.wrapping_shr(b as u32),
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "*" => a.wrapping_mul(b),
        "/" => if b == 0 { None } else { Some(a.wrapping_div(b)) }.ok_or_else(zero)?,
        _ => if b == 0 { None } else { Some(a.wrapping_rem(b)) }.ok_or_else(zero)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;
    impl Scope for Fixed {
        fn name(&self, name: &str) -> Result<i64> {
            if name == "x5" { Ok(7) } else { Err(Error::usage(format!("no `{name}`"))) }
        }
        fn memory(&self, addr: u64, bytes: u64) -> Result<i64> {
            if addr == 0 { Err(Error::usage("null")) } else { Ok(addr as i64 * 10 + bytes as i64) }
        }
    }

    fn value(text: &str) -> Result<i64> {
        parse(text)?.value(&Fixed)
    }

    #[test]
    fn operators_bind_as_in_c() {
        let cases = [
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("1 << 2 + 1", 8),
            ("x5 & 3 == 3", 7 & 1),
            ("x5 > 3 && x5 < 8", 1),
            ("-x5 % 4", -3),
            ("~0 == -1", 1),
            ("!x5 || 0x1_0 == 16", 1),
            ("10 - 2 - 3", 5),
            ("w[4]", 44),
            ("d[x5 + 1] - b[1]", 77),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn the_right_side_is_left_alone_where_the_left_decides() {
        assert_eq!(value("0 && d[0]").unwrap(), 0);
        assert_eq!(value("1 || d[0]").unwrap(), 1);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("1 +", "ends too early"),
            ("1 2", "`2` does not belong after `1`"),
            ("(1", "`)` is missing"),
            ("x5 = 3", "`=` has no meaning"),
            ("5 / 0", "division by zero"),
            ("99999999999999999999", "no number of 64 bits"),
            ("nope", "no `nope`"),
            ("* 3", "a value is missing before `*`"),
        ] {
            let error = value(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(value(&"(".repeat(100_000)).is_err());
        assert!(value(&"-".repeat(100_000)).is_err());
    }
}
