//! Globs over names: `*` any run of characters (dots too), `?` one character, `[abc]` `[a-z]` `[!a]` one of a set,
//! `{a,b}` one of some patterns. Everything else stands for itself.

use crate::diag::{Error, Result};

/// More alternatives than a person writes; keeps nested braces from multiplying without bound.
const MOST_ALTERNATIVES: usize = 256;
/// Bounds the depth of nested braces.
const LONGEST_PATTERN: usize = 1000;

/// A parsed pattern: a name matches if one of the alternatives does.
#[derive(Debug, Clone, PartialEq)]
pub struct Glob {
    alternatives: Vec<Vec<Token>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Char(char),
    Any,
    Run,
    Set { ranges: Vec<(char, char)>, negated: bool },
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// BadInput if a bracket or brace is not closed, a set is empty, or braces give more than 256 alternatives.
    pub fn parse(pattern: &str) -> Result<Glob> {
        if pattern.is_empty() {
            return Err(Error::bad_input("an empty pattern matches nothing").help("write `*` for everything"));
        }
        let chars: Vec<char> = pattern.chars().collect();
        if chars.len() > LONGEST_PATTERN {
            return Err(Error::bad_input(format!("a pattern has at most {LONGEST_PATTERN} characters")));
        }
        let expanded = expand(&chars)?;
        Ok(Glob { alternatives: expanded.iter().map(|p| tokens(p)).collect::<Result<_>>()? })
    }

    /// Whether the whole `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        self.alternatives.iter().any(|tokens| matches(tokens, &name))
    }
}

/// Position of the brace that closes the one at `open`.
fn closing(chars: &[char], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in chars.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Patterns without braces.
fn expand(chars: &[char]) -> Result<Vec<Vec<char>>> {
    let Some(open) = chars.iter().position(|c| *c == '{') else {
        if chars.contains(&'}') {
            return Err(Error::bad_input("`}` without `{`"));
        }
        return Ok(vec![chars.to_vec()]);
    };
    let close = closing(chars, open).ok_or_else(|| Error::bad_input("`{` without `}`"))?;
    let tails = expand(&chars[close + 1..])?;
    let (mut depth, mut start, mut out) = (0, open + 1, Vec::new());
    for at in open + 1..=close {
        match chars[at] {
            '{' => depth += 1,
            '}' if at < close => depth -= 1,
            ',' | '}' if depth == 0 => {
                for middle in expand(&chars[start..at])? {
                    for tail in &tails {
                        out.push([&chars[..open], &middle[..], &tail[..]].concat());
                    }
                    if out.len() > MOST_ALTERNATIVES {
                        return Err(Error::bad_input(format!("more than {MOST_ALTERNATIVES} alternatives in braces")));
                    }
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    Ok(out)
}

fn tokens(chars: &[char]) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        at += 1;
        tokens.push(match chars[at - 1] {
            '*' if tokens.last() == Some(&Token::Run) => continue,
            '*' => Token::Run,
            '?' => Token::Any,
            '[' => {
                let length =
                    chars[at..].iter().position(|c| *c == ']').ok_or_else(|| Error::bad_input("`[` without `]`"))?;
                let set = set(&chars[at..at + length])?;
                at += length + 1;
                set
            }
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn set(chars: &[char]) -> Result<Token> {
    let (negated, mut rest) = match chars.split_first() {
        Some(('!', rest)) => (true, rest),
        _ => (false, chars),
    };
    let mut ranges = Vec::new();
    while let [first, ..] = rest {
        if let [first, '-', last, ..] = rest {
            ranges.push((*first, *last));
            rest = &rest[3..];
        } else {
            ranges.push((*first, *first));
            rest = &rest[1..];
        }
    }
    if ranges.is_empty() {
        return Err(Error::bad_input("`[]` matches no character"));
    }
    Ok(Token::Set { ranges, negated })
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Char(own) => *own == c,
            Token::Any => true,
            Token::Run => false,
            Token::Set { ranges, negated } => ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != *negated,
        }
    }
}

/// Goes back to the last `*` only, which is enough: an earlier one need never take more.
fn matches(tokens: &[Token], name: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            None if at == name.len() => return true,
            Some(Token::Run) => {
                retry = Some((token, at));
                token += 1;
                continue;
            }
            Some(t) if at < name.len() && t.takes(name[at]) => {
                token += 1;
                at += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((run, from)) if from < name.len() => {
                retry = Some((run, from + 1));
                token = run + 1;
                at = from + 1;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(pattern: &str, name: &str) -> bool {
        Glob::parse(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).matches(name)
    }

    #[test]
    fn patterns_match_whole_names() {
        let yes = [
            ("*", ""),
            ("*", "a.b"),
            ("a*c", "abbbc"),
            ("*.{query,key}.weight", "encoder.layer.0.attention.self.key.weight"),
            ("blocks.[0-2].?", "blocks.1.q"),
            ("{embed*,head}", "embeddings.word"),
            ("{embed*,head}", "head"),
            ("[!a]b", "cb"),
            ("a{b,c{d,e}}f", "acef"),
            ("*a*b*", "xxaxxbxx"),
            ("{,x}y", "y"),
            ("[a-]", "-"),
        ];
        let no = [
            ("a", "ab"),
            ("a*c", "abbbd"),
            ("blocks.[0-2].?", "blocks.3.q"),
            ("blocks.[0-2].?", "blocks.1.up"),
            ("[!a]b", "ab"),
            ("{embed*,head}", "heads"),
            ("*a*b*", "xxbxxaxx"),
        ];
        for (pattern, name) in yes {
            assert!(hits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in no {
            assert!(!hits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_little_time() {
        assert!(!hits(&"*a".repeat(60), &"a".repeat(59)));
    }

    #[test]
    fn unclosed_patterns_are_refused() {
        for pattern in ["", "a[bc", "a{b", "a}b", "[]", &"{a,b}".repeat(9)] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }
}
