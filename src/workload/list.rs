//! Our own lists of layers: TOML, schema `preon.workload/1` (docs/workloads.md).

use super::{Act, Attention, Conv, Epilogue, Formats, Gemm, Kind, Layer, Pass, Phase, Pool, Workload};
use super::{MOST, plain};
use crate::diag::{Error, Result, did_you_mean};
use crate::tensor::TensorType;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use toml::Spanned;

/// Schema of the lists that this version reads.
pub const SCHEMA: &str = "preon.workload/1";
/// Kinds that are not passes.
const KINDS: [&str; 6] = ["gemm", "conv", "attention", "maxpool", "avgpool", "embedding"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    name: Option<String>,
    #[serde(default)]
    phase: Vec<Spanned<PhaseRow>>,
    #[serde(default)]
    layer: Vec<Spanned<Row>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseRow {
    name: String,
    tokens: u64,
}

/// A layer: what every kind has, and its extents by name.
#[derive(Deserialize)]
struct Row {
    name: Option<String>,
    kind: String,
    count: Option<u64>,
    phase: Option<String>,
    weights: Option<String>,
    inputs: Option<String>,
    outputs: Option<String>,
    #[serde(default)]
    bias: bool,
    act: Option<String>,
    #[serde(default)]
    residual: bool,
    #[serde(flatten)]
    extents: BTreeMap<String, Value>,
}

/// Reads a list; `path` stands in errors, `stem` is its name unless it says another.
///
/// # Errors
/// BadInput with the place, or naming the layer.
pub fn parse(path: &str, stem: &str, text: &str) -> Result<Workload> {
    let file: File = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        Error::bad_input(error.message().trim().replace('\n', ", ")).in_text(path, text, span)
    })?;
    if file.schema != SCHEMA {
        return Err(
            Error::bad_input(format!("the schema is `{}`; this version reads `{SCHEMA}`", file.schema)).in_file(path)
        );
    }
    let (mut phases, mut names) = (Vec::with_capacity(file.phase.len()), HashSet::new());
    for row in file.phase {
        let start = row.span().start;
        let row = row.into_inner();
        let wrong = |key: &str, why: String| Error::bad_input(why).in_text(path, text, span_of(text, start, key));
        plain(&row.name).map_err(|error| wrong("name", error.message().to_owned()))?;
        if !names.insert(row.name.clone()) {
            return Err(wrong("name", format!("two phases are called `{}`", row.name)));
        }
        if !(1..=MOST).contains(&row.tokens) {
            return Err(wrong("tokens", format!("tokens is {}; it is 1 to {MOST}", row.tokens)));
        }
        phases.push(Phase { name: row.name, tokens: row.tokens });
    }
    let mut layers = Vec::with_capacity(file.layer.len());
    for (index, row) in file.layer.into_iter().enumerate() {
        let start = row.span().start;
        let row = row.into_inner();
        let name = row.name.clone().unwrap_or_else(|| format!("{}.{index}", row.kind));
        let done = plain(&name).map_err(|error| wrong("name", error));
        let done = done.and_then(|()| layer(name.clone(), row, &phases));
        layers.push(done.map_err(|Wrong { key, error }| {
            let shown = name.escape_debug();
            let named = Error::new(error.kind(), format!("layer `{shown}`: {}", error.message()));
            let named = named.in_text(path, text, span_of(text, start, &key));
            error.help_text().map_or(named.clone(), |help| named.help(help))
        })?);
    }
    let mut workload = Workload::new(file.name.unwrap_or_else(|| stem.to_owned()), layers);
    workload.phases = phases;
    Ok(workload)
}

/// An error, and the key of the layer that it is about; none if it is about the layer.
struct Wrong {
    key: String,
    error: Error,
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Wrong { key: String::new(), error }
    }
}

fn wrong(key: &str, error: Error) -> Wrong {
    Wrong { key: key.to_owned(), error }
}

/// Where `key` stands in the table that begins at `start`; the table's first line if it does not.
fn span_of(text: &str, start: usize, key: &str) -> Range<usize> {
    let mut at = start;
    let mut first = start..start;
    for (number, line) in text[start..].split_inclusive('\n').enumerate() {
        let trimmed = line.trim();
        let begin = at + (line.len() - line.trim_start().len());
        let range = begin..begin + trimmed.len();
        at += line.len();
        if number == 0 {
            first = range;
        } else if trimmed.starts_with('[') {
            break;
        } else if !key.is_empty() && trimmed.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')) {
            return range;
        }
    }
    first
}

/// The extents of a row, taken one by one.
struct Extents(BTreeMap<String, Value>);

impl Extents {
    fn optional(&mut self, name: &str) -> std::result::Result<Option<u64>, Wrong> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(value) => Ok(Some(value)),
                None => {
                    let said = match value {
                        Value::Null => "no finite number".to_owned(),
                        Value::Object(_) => "a date or a table".to_owned(),
                        Value::Array(_) => "a list".to_owned(),
                        plain => plain.to_string(),
                    };
                    Err(wrong(name, Error::bad_input(format!("{name} is {said}; an extent is a whole number"))))
                }
            },
        }
    }
    fn or(&mut self, name: &str, default: u64) -> std::result::Result<u64, Wrong> {
        Ok(self.optional(name)?.unwrap_or(default))
    }
    fn get(&mut self, name: &str) -> std::result::Result<u64, Wrong> {
        self.optional(name)?.ok_or_else(|| Error::bad_input(format!("`{name}` is missing")).into())
    }
}

fn layer(name: String, row: Row, phases: &[Phase]) -> std::result::Result<Layer, Wrong> {
    let mut extents = Extents(row.extents);
    let then = epilogue(row.bias, row.act.as_deref(), row.residual).map_err(|error| wrong("act", error))?;
    let kind = kind(&row.kind, &mut extents, then)?;
    if let Some(unknown) = extents.0.keys().next() {
        return Err(wrong(unknown, Error::bad_input(format!("a layer of kind {} has no `{unknown}`", row.kind))));
    }
    kind.check().map_err(|error| wrong(kind.wrong_extent().map_or("", |(key, _)| key), error))?;
    let count = row.count.unwrap_or(1);
    if !(1..=MOST).contains(&count) {
        return Err(wrong("count", Error::bad_input(format!("count is {count}; it is 1 to {MOST}"))));
    }
    if then != Epilogue::default() && !matches!(kind, Kind::Gemm(_) | Kind::Conv(_)) {
        return Err(Error::bad_input("bias, act and residual follow products and convolutions only").into());
    }
    let ty = |key: &str, text: Option<String>| {
        text.map(|text| TensorType::parse(&text)).transpose().map_err(|error| wrong(key, error))
    };
    let phase = match row.phase {
        None if phases.is_empty() => 0,
        None => {
            let error = Error::bad_input("the list has phases, so that every layer names its own, as `phase`");
            return Err(error.into());
        }
        Some(name) => phases.iter().position(|phase| phase.name == name).ok_or_else(|| {
            wrong("phase", Error::bad_input(format!("there is no phase `{name}`")).help("add it as [[phase]]"))
        })?,
    };
    let formats = Formats {
        weights: ty("weights", row.weights)?,
        inputs: ty("inputs", row.inputs)?,
        outputs: ty("outputs", row.outputs)?,
    };
    Ok(Layer { name, count, phase, kind, formats })
}

fn epilogue(bias: bool, act: Option<&str>, residual: bool) -> Result<Epilogue> {
    let named = |name: &str| {
        let names = Act::ALL.map(|(name, _)| name).join(", ");
        let found = Act::ALL.iter().find(|(known, _)| *known == name).map(|(_, act)| *act);
        found.ok_or_else(|| Error::bad_input(format!("there is no activation `{name}`")).help(names))
    };
    Ok(Epilogue { bias, act: act.map(named).transpose()?, residual })
}

fn window(extents: &mut Extents, then: Epilogue, pool: bool) -> std::result::Result<Conv, Wrong> {
    let c = extents.get("c")?;
    let (r, s) = match (extents.optional("r")?, extents.optional("s")?) {
        (Some(r), s) => (r, s.unwrap_or(r)),
        (None, Some(s)) => (s, s),
        (None, None) => return Err(Error::bad_input("`r` is missing: rows of the window").into()),
    };
    let h = extents.get("h")?;
    Ok(Conv {
        batch: extents.or("batch", 1)?,
        h,
        w: extents.or("w", h)?,
        c,
        k: if pool { c } else { extents.get("k")? },
        r,
        s,
        stride: extents.or("stride", 1)?,
        pad: extents.or("pad", 0)?,
        dilation: if pool { 1 } else { extents.or("dilation", 1)? },
        groups: if pool { 1 } else { extents.or("groups", 1)? },
        then,
    })
}

fn kind(name: &str, extents: &mut Extents, then: Epilogue) -> std::result::Result<Kind, Wrong> {
    Ok(match name {
        "gemm" => Kind::Gemm(Gemm { m: extents.get("m")?, n: extents.get("n")?, k: extents.get("k")?, then }),
        "conv" => Kind::Conv(window(extents, then, false)?),
        "maxpool" | "avgpool" => {
            Kind::Pool(Pool { window: window(extents, Epilogue::default(), true)?, mean: name == "avgpool" })
        }
        "attention" => {
            let (queries, heads) = (extents.get("queries")?, extents.get("heads")?);
            Kind::Attention(Attention {
                batch: extents.or("batch", 1)?,
                queries,
                keys: extents.or("keys", queries)?,
                heads,
                kv_heads: extents.or("kv_heads", heads)?,
                width: extents.get("width")?,
            })
        }
        "embedding" => {
            Kind::Embedding { rows: extents.get("rows")?, cols: extents.get("cols")?, tokens: extents.get("tokens")? }
        }
        pass => match Pass::ALL.iter().find(|(known, _)| *known == pass) {
            Some((_, pass)) => Kind::Pass { pass: *pass, rows: extents.get("rows")?, cols: extents.get("cols")? },
            None => {
                let names = || KINDS.into_iter().chain(Pass::ALL.map(|(name, _)| name));
                let near = did_you_mean(name, names()).map_or(String::new(), |near| format!("did you mean `{near}`? "));
                let list = names().collect::<Vec<_>>().join(", ");
                let error = Error::bad_input(format!("there is no layer of kind `{name}`"));
                return Err(wrong("kind", error.help(format!("{near}{list}"))));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "schema = \"preon.workload/1\"\n[[phase]]\nname = \"decode\"\ntokens = 4\n\
        [[layer]]\nname = \"fc\"\nkind = \"gemm\"\nm = 4\nn = 8\nk = 16\nact = \"relu\"\ncount = 3\nphase = \"decode\"\n\
        [[layer]]\nkind = \"conv\"\nh = 8\nc = 3\nk = 4\nr = 3\npad = 1\nphase = \"decode\"\nweights = \"int4/row\"\n";

    #[test]
    fn a_list_is_read() {
        let workload = parse("a.toml", "a", LIST).unwrap();
        assert_eq!((workload.name.as_str(), workload.layers.len()), ("a", 2));
        assert_eq!((workload.layers[0].count, workload.layers[1].name.as_str()), (3, "conv.1"));
        assert_eq!(workload.macs(), 3 * 4 * 8 * 16 + 64 * 4 * 27);
        assert_eq!(workload.layers[1].formats.weights.unwrap().to_string(), "int4/row");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |from: &str, to: &str| parse("a.toml", "a", &LIST.replace(from, to)).unwrap_err().render(false);
        let missing = error("k = 16\n", "");
        assert!(missing.contains("layer `fc`: `k` is missing") && missing.contains("a.toml:5"), "{missing}");
        let negative = error("k = 16\n", "k = -1\n");
        assert!(negative.contains("whole number") && negative.contains("a.toml:10"), "{negative}");
        let zero = error("m = 4", "m = 0");
        assert!(zero.contains("layer `fc`: m is 0") && zero.contains("a.toml:8"), "{zero}");
        assert!(error("count = 3", "count = 0").contains("a.toml:12"));
        assert!(error("\"fc\"", "\"f\\u001bc\"").contains("control character"));
        assert!(error("kind = \"gemm\"", "kind = \"germ\"").contains("a.toml:7"));
        assert!(error("kind = \"conv\"", "kind = \"convs\"").contains("did you mean `conv`"));
        assert!(error("pad = 1", "keys = 1").contains("has no `keys`"));
        assert!(error("\"relu\"", "\"relo\"").contains("no activation `relo`"));
        assert!(error("phase = \"decode\"", "phase = \"encode\"").contains("no phase `encode`"));
        assert!(error("workload/1", "workload/9").contains("preon.workload/9"));
        assert!(error("m = 4", "m = = 4").contains("a.toml:8"));
    }

    #[test]
    fn phases_are_distinct_bounded_and_named_by_every_layer() {
        let error = |from: &str, to: &str| parse("a.toml", "a", &LIST.replace(from, to)).unwrap_err().to_string();
        let phase = "[[phase]]\nname = \"decode\"\ntokens = 4\n";
        let twice = error(phase, &phase.repeat(2));
        assert!(twice.starts_with("a.toml:6:1: two phases are called `decode`"), "{twice}");
        for tokens in ["0", "9223372036854775807"] {
            let text = error("tokens = 4", &format!("tokens = {tokens}"));
            assert!(text.starts_with(&format!("a.toml:4:1: tokens is {tokens}; it is 1 to ")), "{text}");
        }
        let none = error("pad = 1\nphase = \"decode\"\n", "pad = 1\n");
        assert!(none.starts_with("a.toml:14:1: layer `conv.1`: the list has phases"), "{none}");
    }
}
