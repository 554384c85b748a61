//! `config.json` of a Hugging Face folder: every key is asked for by name, and a missing or odd one is named.

use super::read_text;
use crate::diag::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// Largest extent a config may state: beyond any real model, small enough that products of three fit 64 bits.
const MAX_EXTENT: u64 = 1 << 20;

/// A parsed `config.json`.
pub(super) struct Config {
    path: String,
    keys: Map<String, Value>,
}

impl Config {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        let path = path.display().to_string();
        match serde_json::from_str(&text) {
            Ok(Value::Object(keys)) => Ok(Config { path, keys }),
            Ok(_) => Err(Error::bad_input("is not a JSON object").in_file(path)),
            Err(e) => Err(Error::bad_input(format!("is not valid JSON: {e}")).in_file(path)),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn get(&self, key: &str) -> Result<&Value> {
        self.keys.get(key).ok_or_else(|| Error::bad_input(format!("key `{key}` is missing")).in_file(&self.path))
    }

    fn odd(&self, key: &str, wanted: &str, value: &Value) -> Error {
        let value = value.to_string();
        // A long value is quoted, so that it is cut.
        let value = if value.len() > 100 { format!("`{value}`") } else { value };
        Error::bad_input(format!("key `{key}` must be {wanted}, not {value}")).in_file(&self.path)
    }

    pub(super) fn text(&self, key: &str) -> Result<&str> {
        let value = self.get(key)?;
        value.as_str().ok_or_else(|| self.odd(key, "a text", value))
    }

    /// The text at `key`, or `default` if the key is absent.
    pub(super) fn text_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str> {
        if self.keys.contains_key(key) { self.text(key) } else { Ok(default) }
    }

    /// The truth at `key`, or `default` if the key is absent.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.keys.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.odd(key, "true or false", value)),
        }
    }

    /// An extent: 1 to 2^20.
    pub(super) fn extent(&self, key: &str) -> Result<usize> {
        let value = self.get(key)?;
        match value.as_u64() {
            Some(n @ 1..=MAX_EXTENT) => Ok(n as usize),
            _ => Err(self.odd(key, "a whole number from 1 to 1048576", value)),
        }
    }

    /// A finite number of at least 0, rounded once to f32.
    pub(super) fn number(&self, key: &str) -> Result<f32> {
        let value = self.get(key)?;
        match value.as_f64() {
            Some(x) if x >= 0.0 && (x as f32).is_finite() => Ok(x as f32),
            _ => Err(self.odd(key, "a finite number of at least 0", value)),
        }
    }
}
