//! Precision policies: ordered rules that say which tensor of a network is held in which format.
//!
//! A policy is a TOML file (`preon.policy/1`). [`load`] reads one, [`plan`] works out what it means for a graph, and
//! [`apply`] rewrites the graph accordingly. The ten policies in `policies/` are built in.
//!
//! ```
//! let policy = preon::policy::load("w1.58a8")?;
//! assert_eq!(policy.rules.len(), 2);
//! assert_eq!(policy.rules[0].weights.unwrap().to_string(), "ternary/tensor");
//! # Ok::<(), preon::Error>(())
//! ```

mod apply;
mod file;
mod glob;
mod rewrite;

pub use apply::{Assignment, Role, Setting, apply, naming_rules, notes, plan};
pub use glob::Glob;

use crate::diag::{Error, Place, Result, did_you_mean};
use crate::num::Accumulator;
use crate::num::format::CODEBOOK;
use crate::tensor::{Recipe, Store, TensorType};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Schema of the policy files that this version reads.
pub const SCHEMA: &str = "preon.policy/1";
/// Largest policy file read.
const MOST_BYTES: u64 = 1 << 20;

/// The policies that come with Preon, most precise first: name and text.
const BUILT_IN: [(&str, &str); 10] = [
    ("fp32", include_str!("../../policies/fp32.toml")),
    ("bf16", include_str!("../../policies/bf16.toml")),
    ("fp16", include_str!("../../policies/fp16.toml")),
    ("fp8", include_str!("../../policies/fp8.toml")),
    ("int8", include_str!("../../policies/int8.toml")),
    ("fp4", include_str!("../../policies/fp4.toml")),
    ("int4", include_str!("../../policies/int4.toml")),
    ("w1.58a8", include_str!("../../policies/w1.58a8.toml")),
    ("w1a8", include_str!("../../policies/w1a8.toml")),
    ("w1a1", include_str!("../../policies/w1a1.toml")),
];

/// A precision policy.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Name in tables and reports.
    pub name: String,
    /// One sentence for people.
    pub doc: String,
    /// Rules in the order of the file: later ones win, key by key.
    pub rules: Vec<Rule>,
    /// Path of the file, for errors.
    pub path: String,
    /// Text of the file, for errors.
    pub text: Arc<str>,
}

/// One `[[rule]]`. It applies to every linear, matmul and embedding node whose name, or the name of whose weight
/// tensor, matches.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The pattern as written.
    pub pattern: String,
    /// The same, parsed.
    pub glob: Glob,
    /// True if the rule may match nothing (built-in policies serve models of several families).
    pub optional: bool,
    /// Type of the weights of linear nodes and of embedding tables.
    pub weights: Option<TensorType>,
    /// Type of the activations that linear nodes read, and of the left operand of matmul without `attention`.
    pub activations: Option<TensorType>,
    /// Type of the right operand of matmul: keys and values.
    pub kv: Option<TensorType>,
    /// Type of the left operand of matmul: queries and attention probabilities.
    pub attention: Option<TensorType>,
    /// Accumulator of the dot products.
    pub accumulator: Option<Accumulator>,
    /// Layout in which quantised weights are stored.
    pub store: Option<Store>,
    /// How weights become codes: `calibration`, `rounding` with `seed`, `sparsity`, `double_quant`.
    pub recipe: Recipe,
    /// Where `match = ".."` stands in the text.
    pub span: Range<usize>,
}

impl Policy {
    /// Reads a policy from the text of a file; `path` stands in its errors.
    ///
    /// # Errors
    /// BadInput with the place for a text that is not a policy; Unsupported for a key that is known but not served.
    pub fn parse(path: &str, text: &str) -> Result<Policy> {
        file::parse(path, text)
    }

    /// Whether the sizes of a quantised model depend on its values: entropy-coded or sparse weights, pruning, tables and
    /// scales that are learned. Where they do not, shapes alone are enough to count cycles and joules.
    pub fn looks_at_values(&self) -> bool {
        let fixed = |store: Store| store == Store::default();
        let learned = |ty: TensorType| ty.format.name.starts_with(CODEBOOK) || ty.format.name == "nf4";
        self.rules.iter().any(|rule| {
            rule.recipe != Recipe::default()
                || rule.store.is_some_and(|store| !fixed(store))
                || rule.weights.is_some_and(learned)
        })
    }

    /// Line of a rule in its file, from 1.
    pub fn line(&self, rule: usize) -> usize {
        let start = self.rules.get(rule).map_or(0, |r| r.span.start);
        self.text[..start.min(self.text.len())].matches('\n').count() + 1
    }

    /// The policy as a file with every key written out; parsing it gives the same policy.
    pub fn resolved(&self) -> String {
        let quote = |s: &str| toml::Value::String(s.to_owned()).to_string();
        let mut out = format!("schema = \"{SCHEMA}\"\nname = {}\ndoc = {}\n", quote(&self.name), quote(&self.doc));
        for rule in &self.rules {
            let _ = write!(out, "\n[[rule]]\nmatch = {}\n", quote(&rule.pattern));
            if rule.optional {
                out.push_str("optional = true\n");
            }
            let types = [
                ("weights", rule.weights),
                ("activations", rule.activations),
                ("attention", rule.attention),
                ("kv", rule.kv),
            ];
            for (key, ty) in types {
                if let Some(ty) = ty {
                    let _ = writeln!(out, "{key} = \"{ty}\"");
                }
            }
            if let Some(accumulator) = rule.accumulator {
                let _ = writeln!(out, "accumulator = \"{}\"", accumulator.name());
            }
            if let Some(store) = rule.store {
                let _ = writeln!(out, "store = \"{}\"", store.name());
            }
            for (key, word) in rule.recipe.keys() {
                let quoted = if matches!(key, "seed" | "double_quant") { word } else { quote(&word) };
                let _ = writeln!(out, "{key} = {quoted}");
            }
        }
        out
    }

    /// The place of a rule.
    fn place(&self, rule: usize) -> Place {
        let span = self.rules.get(rule).map_or(0..0, |r| r.span.clone());
        Place::Source { path: self.path.clone(), text: self.text.clone(), span }
    }
}

/// The built-in policies with their one-sentence descriptions, most precise first.
pub fn built_ins() -> Vec<Policy> {
    BUILT_IN.iter().map(|(name, text)| built_in(name, text)).collect()
}

/// Names of the built-in policies, most precise first.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

fn built_in(name: &str, text: &str) -> Policy {
    Policy::parse(&format!("policies/{name}.toml"), text).expect("built-in policies are valid (a test parses them)")
}

/// The built-in policy of that name, or the policy in the file at that path (anything with a `/` or ending in
/// `.toml`).
///
/// # Errors
/// BadInput for an unknown name, an unreadable file or a text that is not a policy; Unsupported for a key that is known
/// but not served.
pub fn load(name_or_path: &str) -> Result<Policy> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
        return Ok(built_in(name, text));
    }
    let path = Path::new(name_or_path);
    if !name_or_path.contains(['/', '\\']) && !name_or_path.ends_with(".toml") {
        let near = did_you_mean(name_or_path, names()).map_or(String::new(), |n| format!("did you mean `{n}`? "));
        let list = names().collect::<Vec<_>>().join(", ");
        return Err(Error::bad_input(format!("there is no policy `{name_or_path}`"))
            .help(format!("{near}built in: {list}; or the path of a policy file")));
    }
    let fail = |what: String| Error::bad_input(what).in_file(name_or_path);
    let meta = std::fs::metadata(path).map_err(|e| fail(reason(&e)))?;
    if !meta.is_file() {
        return Err(fail("this is not a file; a policy is one TOML file".into()));
    }
    if meta.len() > MOST_BYTES {
        return Err(fail("this is too large to be a policy file (limit 1 MiB)".into()));
    }
    Policy::parse(name_or_path, &std::fs::read_to_string(path).map_err(|e| fail(reason(&e)))?)
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied => "this file may not be read".into(),
        std::io::ErrorKind::InvalidData => "this is not a text file in UTF-8".into(),
        _ => format!("this file cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests;
