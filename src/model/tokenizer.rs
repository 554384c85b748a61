//! Text to token ids: a Hugging Face `tokenizer.json`, or one token a byte.

use super::{Input, read_file, read_text};
use crate::diag::{Error, Result};
use std::path::Path;

/// How a model cuts text into tokens.
pub(super) enum Tokenizer {
    /// One token a byte.
    Bytes,
    /// As `tokenizer.json` says.
    File(Box<tokenizers::Tokenizer>),
}

/// Runs the library, which panics where the parts of a file contradict each other.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    let damaged = |_| Err("the parts of tokenizer.json do not fit together".into());
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(damaged)
}

/// The tokens of one input.
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    pub(super) text: Option<String>,
}

/// What limits the tokens of a model.
pub(super) struct Limits {
    /// Rows of the embedding table.
    pub(super) vocab: usize,
    /// Most tokens of one input.
    pub(super) positions: usize,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. Its padding and truncation are switched off: they would make every input as long as
    /// the longest one foreseen (128 tokens for MiniLM) or cut it silently.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = read_file(path)?;
        let refuse = |e: tokenizers::Error| {
            Error::bad_input(format!("is not a tokenizer: {e}")).in_file(path.display().to_string())
        };
        // The library takes it for granted that all of the text is JSON.
        serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).map_err(|e| refuse(e.into()))?;
        let mut tokenizer = guarded(|| tokenizers::Tokenizer::from_bytes(&bytes)).map_err(refuse)?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(refuse)?;
        Ok(Tokenizer::File(Box::new(tokenizer)))
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Tokenizer::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Tokenizer::File(tokenizer) => match guarded(|| tokenizer.encode(text, true)) {
                Ok(encoding) => Ok(encoding.get_ids().to_vec()),
                Err(e) => Err(Error::bad_input(format!("the text cannot be tokenised: {e}"))),
            },
        }
    }

    /// The tokens of an input; `sample` is the model's own text.
    ///
    /// # Errors
    /// BadInput if there are none or too many, or an id is not in the vocabulary; Usage for numbers.
    pub(super) fn tokens(&self, input: &Input, sample: &str, limits: &Limits) -> Result<Tokens> {
        let (ids, text) = match input {
            Input::Default => (self.encode(sample)?, Some(sample.to_string())),
            Input::Length(count) => (repeat(self, sample, (*count).min(limits.positions + 1))?, None),
            Input::Text(text) => (self.encode(text)?, Some(text.clone())),
            Input::File(path) => {
                let text = read_text(path)?;
                let text = text.trim_end_matches(['\r', '\n']).to_string();
                (self.encode(&text)?, Some(text))
            }
            Input::Tokens(ids) => (ids.clone(), None),
            Input::Dense(_) => return Err(Error::usage("this model takes text or token ids, not numbers")),
        };
        if ids.is_empty() {
            return Err(Error::bad_input("the input has no tokens"));
        }
        if ids.len() > limits.positions {
            let count = if let Input::Length(count) = input { *count } else { ids.len() };
            return Err(Error::bad_input(format!(
                "the input has {count} tokens, but the model takes at most {}",
                limits.positions
            ))
            .help("shorten the input"));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= limits.vocab) {
            return Err(Error::bad_input(format!("token id {id} is not in the vocabulary of {} tokens", limits.vocab)));
        }
        Ok(Tokens { ids, text })
    }
}

/// The sample's tokens, its inner part repeated or cut so that there are `count`; first and last stay (they frame
/// the text in a BERT).
fn repeat(tokenizer: &Tokenizer, sample: &str, count: usize) -> Result<Vec<u32>> {
    let ids = tokenizer.encode(sample)?;
    let (first, last, inner) = match (tokenizer, ids.as_slice()) {
        (Tokenizer::File(_), [first, inner @ .., last]) if !inner.is_empty() => (Some(first), Some(last), inner),
        _ => (None, None, ids.as_slice()),
    };
    let frame = usize::from(first.is_some()) + usize::from(last.is_some());
    let middle = inner.iter().cycle().take(count.saturating_sub(frame));
    Ok(first.into_iter().chain(middle).chain(last).take(count).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_tokens_and_limits_hold() {
        let limits = Limits { vocab: 256, positions: 8 };
        let tokens = |input| Tokenizer::Bytes.tokens(&input, "abc", &limits);
        assert_eq!(tokens(Input::Default).unwrap().ids, [97, 98, 99]);
        assert_eq!(tokens(Input::Length(5)).unwrap().ids, [97, 98, 99, 97, 98]);
        assert_eq!(tokens(Input::Text("é".into())).unwrap().ids, [0xc3, 0xa9]);
        let message = |input| tokens(input).err().unwrap().to_string();
        assert!(message(Input::Length(usize::MAX)).contains(&format!("{} tokens", usize::MAX)));
        assert!(message(Input::Tokens(vec![1, 256])).contains("token id 256"));
        assert!(message(Input::Tokens(Vec::new())).contains("no tokens"));
        assert!(message(Input::Text("123456789".into())).contains("at most 8"));
    }
}
