//! Reads policy files. Every key has one line in a table here: served, or known and refused by name.

use super::{Glob, Policy, Rule, SCHEMA};
use crate::diag::{Error, Result, did_you_mean};
use crate::num::{Accumulator, format};
use crate::tensor::{Calibration, ROUNDINGS, Recipe, Scaling, Sparsity, Store, TensorType};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of a file and of a rule.
const FILE_KEYS: [&str; 4] = ["schema", "name", "doc", "rule"];
const RULE_KEYS: [&str; 15] = [
    "match",
    "optional",
    "weights",
    "activations",
    "kv",
    "attention",
    "accumulator",
    "store",
    "calibration",
    "rounding",
    "seed",
    "sparsity",
    "rotate",
    "outliers",
    "double_quant",
];
/// Keys that the schema knows, in a file or a rule, but this version does not serve, with what they ask for.
const LATER_KEYS: [(&str, &str); 4] = [
    ("gradients", "formats of gradients"),
    ("optimizer", "formats of optimiser state"),
    ("accumulation", "formats of gradient accumulation"),
    ("grad_estimator", "gradient estimators"),
];

struct Text<'a> {
    path: &'a str,
    text: Arc<str>,
}

type Value<'i> = Spanned<DeValue<'i>>;

impl Text<'_> {
    fn at(&self, span: Range<usize>, error: Error) -> Error {
        error.in_text(self.path, self.text.clone(), span)
    }
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> Error {
        self.at(span, Error::bad_input(message))
    }

    /// Refuses keys outside `known`: by name if the schema knows them, else with a suggestion.
    fn check_key(&self, key: &Spanned<Cow<'_, str>>, known: &[&str]) -> Result<()> {
        let name = key.get_ref().as_ref();
        if known.contains(&name) {
            return Ok(());
        }
        if let Some((_, what)) = LATER_KEYS.iter().find(|(later, _)| *later == name) {
            let error = Error::unsupported(format!("`{name}` ({what}) is not served by this version"));
            return Err(self.at(key.span(), error.help("remove the key")));
        }
        let near = did_you_mean(name, known.iter().copied()).map_or(String::new(), |n| format!("did you mean `{n}`? "));
        let help = format!("{near}keys here are {}", known.join(", "));
        Err(self.error(key.span(), format!("unknown key `{name}`")).help(help))
    }

    fn string<'v>(&self, key: &str, value: &'v Value<'_>) -> Result<&'v str> {
        match value.get_ref() {
            DeValue::String(s) => Ok(s.as_ref()),
            _ => Err(self.error(value.span(), format!("`{key}` must be a string"))),
        }
    }

    fn element(&self, key: &str, value: &Value<'_>) -> Result<TensorType> {
        let text = self.string(key, value)?;
        let mut ty = TensorType::parse(text).map_err(|e| self.at(value.span(), e))?;
        // At run time the default of every scaled format is one scale a row.
        if key != "weights" && ty.scaling == Scaling::Tensor && !text.contains('/') {
            ty.scaling = Scaling::Row;
        }
        if key != "weights" && ty.general().format.name == format::CODEBOOK {
            let error =
                Error::unsupported(format!("`{key}` cannot be {}: its table is learned from weights", ty.general()));
            return Err(self.at(value.span(), error.help("write nf4 or int3")));
        }
        let served = matches!(ty.scaling, Scaling::None | Scaling::Row | Scaling::Block(_));
        if key != "weights" && (!served || ty.planes > 1 || ty.offset) {
            let error = Error::unsupported(format!(
                "`{key}` cannot be {ty}: only weights have scales of a tensor or of tiles, planes and offsets"
            ));
            return Err(self.at(value.span(), error.help(format!("write {}/row", ty.format.name))));
        }
        Ok(ty)
    }

    /// One key of how weights become codes.
    fn recipe(&self, key: &str, value: &Value<'_>, recipe: &mut Recipe) -> Result<()> {
        let wrong = |help: String| self.error(value.span(), format!("this is no `{key}`")).help(help);
        if key == "seed" {
            let DeValue::Integer(number) = value.get_ref() else { return Err(wrong("a whole number".into())) };
            let seed = u64::from_str_radix(number.as_str(), number.radix());
            recipe.seed = Some(seed.map_err(|_| wrong("0 to 2^64 - 1".into()))?);
            return Ok(());
        }
        if key == "double_quant" {
            let DeValue::Boolean(double) = value.get_ref() else { return Err(wrong("true or false".into())) };
            recipe.double_quant = Some(*double);
            return Ok(());
        }
        let word = self.string(key, value)?;
        match key {
            "rotate" if word == "hadamard" => recipe.rotate = true,
            "rotate" => return Err(wrong("hadamard".into())),
            "outliers" => {
                let quantile = word.strip_prefix("occ:").and_then(|q| q.parse().ok());
                let quantile = quantile.filter(|q| (0.5..1.0).contains(q));
                recipe.outliers = Some(quantile.ok_or_else(|| wrong("occ:QUANTILE, for example occ:0.99".into()))?);
            }
            "calibration" => {
                let parsed = Calibration::parse(word);
                recipe.calibration = Some(parsed.ok_or_else(|| wrong(format!("one of {}", Calibration::SPELLINGS)))?);
            }
            "sparsity" => {
                let parsed = Sparsity::parse(word);
                recipe.sparsity = Some(parsed.map_err(|e| wrong(e.help_text().unwrap_or(e.message()).to_owned()))?);
            }
            _ => {
                let known = ROUNDINGS.into_iter().find(|known| *known == word);
                recipe.rounding = Some(known.ok_or_else(|| wrong(format!("one of {}", ROUNDINGS.join(", "))))?);
            }
        }
        Ok(())
    }

    fn accumulator(&self, value: &Value<'_>) -> Result<Accumulator> {
        let name = self.string("accumulator", value)?;
        Accumulator::parse(name).ok_or_else(|| {
            let help = format!("one of {}", Accumulator::SPELLINGS);
            self.error(value.span(), format!("unknown accumulator `{name}`")).help(help)
        })
    }
}

pub(super) fn parse(path: &str, text: &str) -> Result<Policy> {
    let at = Text { path, text: text.into() };
    let table = DeTable::parse(&at.text).map_err(|e| {
        let what = e.message().lines().next().unwrap_or("malformed").to_owned();
        at.error(e.span().unwrap_or(0..0), format!("this is not TOML: {what}"))
    })?;
    let table = table.get_ref();
    let schema = table.get("schema").ok_or_else(|| {
        at.error(0..0, "this is not a policy: it has no `schema`")
            .help(format!("the first line is schema = \"{SCHEMA}\""))
    })?;
    if at.string("schema", schema)? != SCHEMA {
        let found = at.string("schema", schema)?;
        return Err(at
            .error(schema.span(), format!("this is not a policy that can be read: schema \"{found}\""))
            .help(format!("this version reads \"{SCHEMA}\"")));
    }
    let (mut name, mut doc, mut rules) = (None, String::new(), Vec::new());
    for (key, value) in table.iter() {
        at.check_key(key, &FILE_KEYS)?;
        match key.get_ref().as_ref() {
            "name" => name = Some(at.string("name", value)?.to_owned()),
            "doc" => doc = at.string("doc", value)?.to_owned(),
            "rule" => rules = rule_list(&at, value)?,
            _ => {}
        }
    }
    let name = name.filter(|n| !n.trim().is_empty()).ok_or_else(|| at.error(0..0, "a policy needs a `name`"))?;
    Ok(Policy { name, doc, rules, path: path.to_owned(), text: at.text.clone() })
}

fn rule_list(at: &Text<'_>, value: &Value<'_>) -> Result<Vec<Rule>> {
    let wrong = |span| at.error(span, "rules are written as [[rule]] tables");
    let DeValue::Array(items) = value.get_ref() else { return Err(wrong(value.span())) };
    let mut rules = Vec::new();
    for item in items.iter() {
        let DeValue::Table(table) = item.get_ref() else { return Err(wrong(item.span())) };
        rules.push(rule(at, item.span(), table)?);
    }
    // A later rule may say what an earlier one's seed is for, and the other way round.
    let draws = |rule: &Rule| rule.recipe.rounding == Some("sr") || rule.recipe.rotate;
    if !rules.iter().any(draws) {
        let seeds = items.iter().filter_map(|item| item.get_ref().as_table()?.get("seed"));
        if let Some(seed) = seeds.into_iter().next() {
            return Err(at
                .error(seed.span(), "this `seed` draws nothing: no rule rounds by chance or rotates")
                .help("add rounding = \"sr\", or remove the key"));
        }
    }
    Ok(rules)
}

fn rule(at: &Text<'_>, span: Range<usize>, table: &DeTable<'_>) -> Result<Rule> {
    let pattern = table.get("match").ok_or_else(|| {
        at.error(span, "a rule needs a `match`: a pattern over names of nodes and weights")
            .help("match = \"*\" is everything")
    })?;
    let written = at.string("match", pattern)?;
    let mut rule = Rule {
        pattern: written.to_owned(),
        glob: Glob::parse(written).map_err(|e| at.at(pattern.span(), e))?,
        optional: false,
        weights: None,
        activations: None,
        kv: None,
        attention: None,
        accumulator: None,
        store: None,
        recipe: Recipe::default(),
        span: pattern.span(),
    };
    let mut settings = 0;
    for (key, value) in table.iter() {
        at.check_key(key, &RULE_KEYS)?;
        settings += 1;
        match key.get_ref().as_ref() {
            "optional" => match value.get_ref() {
                DeValue::Boolean(optional) => {
                    rule.optional = *optional;
                    settings -= 1;
                }
                _ => return Err(at.error(value.span(), "`optional` must be true or false")),
            },
            "weights" => rule.weights = Some(at.element("weights", value)?),
            "activations" => rule.activations = Some(at.element("activations", value)?),
            "kv" => rule.kv = Some(at.element("kv", value)?),
            "attention" => rule.attention = Some(at.element("attention", value)?),
            "accumulator" => rule.accumulator = Some(at.accumulator(value)?),
            "store" => {
                let store = Store::by_name(at.string("store", value)?);
                rule.store = Some(store.map_err(|e| at.at(value.span(), e))?);
            }
            word @ ("calibration" | "rounding" | "seed" | "sparsity" | "rotate" | "outliers" | "double_quant") => {
                at.recipe(word, value, &mut rule.recipe)?
            }
            _ => settings -= 1,
        }
    }
    if settings == 0 {
        let help = format!("add one of {}", RULE_KEYS[2..].join(", "));
        return Err(at.error(rule.span, "this rule sets nothing").help(help));
    }
    Ok(rule)
}
