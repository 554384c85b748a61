//! Our own lists of layers: TOML, schema `preon.workload/1` (docs/workloads.md).

use super::{Act, Attention, Conv, Epilogue, Formats, Gemm, Kind, Layer, Pass, Phase, Pool, Workload};
use crate::diag::{Error, Place, Result, did_you_mean};
use crate::tensor::TensorType;
use serde::Deserialize;
use std::collections::BTreeMap;

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
    phase: Vec<PhaseRow>,
    #[serde(default)]
    layer: Vec<Row>,
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
    extents: BTreeMap<String, toml::Value>,
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
    let phases: Vec<Phase> = file.phase.into_iter().map(|row| Phase { name: row.name, tokens: row.tokens }).collect();
    let mut layers = Vec::with_capacity(file.layer.len());
    for (index, row) in file.layer.into_iter().enumerate() {
        let name = row.name.clone().unwrap_or_else(|| format!("{}.{index}", row.kind));
        let layer = layer(name.clone(), row, &phases);
        layers.push(layer.map_err(|error| error.at(Place::Node(name)).note(format!("in {path}")))?);
    }
    let mut workload = Workload::new(file.name.unwrap_or_else(|| stem.to_owned()), layers);
    workload.phases = phases;
    Ok(workload)
}

/// The extents of a row, taken one by one.
struct Extents(BTreeMap<String, toml::Value>);

impl Extents {
    fn optional(&mut self, name: &str) -> Result<Option<u64>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(value) => match value.as_integer().and_then(|value| u64::try_from(value).ok()) {
                Some(value) => Ok(Some(value)),
                None => Err(Error::bad_input(format!("{name} is {value}; an extent is a whole number"))),
            },
        }
    }
    fn or(&mut self, name: &str, default: u64) -> Result<u64> {
        Ok(self.optional(name)?.unwrap_or(default))
    }
    fn get(&mut self, name: &str) -> Result<u64> {
        self.optional(name)?.ok_or_else(|| Error::bad_input(format!("`{name}` is missing")))
    }
}

fn layer(name: String, row: Row, phases: &[Phase]) -> Result<Layer> {
    let mut extents = Extents(row.extents);
    let then = epilogue(row.bias, row.act.as_deref(), row.residual)?;
    let kind = kind(&row.kind, &mut extents, then)?;
    if let Some(unknown) = extents.0.keys().next() {
        return Err(Error::bad_input(format!("a layer of kind {} has no `{unknown}`", row.kind)));
    }
    if then != Epilogue::default() && !matches!(kind, Kind::Gemm(_) | Kind::Conv(_)) {
        return Err(Error::bad_input("bias, act and residual follow products and convolutions only"));
    }
    let ty = |text: Option<String>| text.map(|text| TensorType::parse(&text)).transpose();
    let phase = match row.phase {
        None => 0,
        Some(name) => phases
            .iter()
            .position(|phase| phase.name == name)
            .ok_or_else(|| Error::bad_input(format!("there is no phase `{name}`")).help("add it as [[phase]]"))?,
    };
    let formats = Formats { weights: ty(row.weights)?, inputs: ty(row.inputs)?, outputs: ty(row.outputs)? };
    Ok(Layer { name, count: row.count.unwrap_or(1), phase, kind, formats })
}

fn epilogue(bias: bool, act: Option<&str>, residual: bool) -> Result<Epilogue> {
    let named = |name: &str| {
        let names = Act::ALL.map(|(name, _)| name).join(", ");
        let found = Act::ALL.iter().find(|(known, _)| *known == name).map(|(_, act)| *act);
        found.ok_or_else(|| Error::bad_input(format!("there is no activation `{name}`")).help(names))
    };
    Ok(Epilogue { bias, act: act.map(named).transpose()?, residual })
}

fn window(extents: &mut Extents, then: Epilogue, pool: bool) -> Result<Conv> {
    let c = extents.get("c")?;
    let (r, s) = match (extents.optional("r")?, extents.optional("s")?) {
        (Some(r), s) => (r, s.unwrap_or(r)),
        (None, Some(s)) => (s, s),
        (None, None) => return Err(Error::bad_input("`r` is missing: rows of the window")),
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

fn kind(name: &str, extents: &mut Extents, then: Epilogue) -> Result<Kind> {
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
                return Err(
                    Error::bad_input(format!("there is no layer of kind `{name}`")).help(format!("{near}{list}"))
                );
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "schema = \"preon.workload/1\"\n[[phase]]\nname = \"decode\"\ntokens = 4\n\
        [[layer]]\nname = \"fc\"\nkind = \"gemm\"\nm = 4\nn = 8\nk = 16\nact = \"relu\"\ncount = 3\nphase = \"decode\"\n\
        [[layer]]\nkind = \"conv\"\nh = 8\nc = 3\nk = 4\nr = 3\npad = 1\nweights = \"int4/row\"\n";

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
        assert!(error("k = 16\n", "").contains("`k` is missing"));
        assert!(error("k = 16\n", "k = -1\n").contains("whole number"));
        assert!(error("kind = \"conv\"", "kind = \"convs\"").contains("did you mean `conv`"));
        assert!(error("pad = 1", "keys = 1").contains("has no `keys`"));
        assert!(error("\"relu\"", "\"relo\"").contains("no activation `relo`"));
        assert!(error("phase = \"decode\"", "phase = \"encode\"").contains("no phase `encode`"));
        assert!(error("workload/1", "workload/9").contains("preon.workload/9"));
        assert!(error("m = 4", "m = = 4").contains("a.toml:8"));
    }
}
