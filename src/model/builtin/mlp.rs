//! `builtin:mlp`: `fc1` 64 to 256, relu, `fc2` 256 to 256, relu, `fc3` 256 to 10.

use super::super::{Input, Kind, Network, Prepared, read_text};
use super::Seeded;
use crate::diag::{Error, Result};
use crate::graph::{Graph, InputData, Op};
use crate::tensor::Tensor;
use std::path::Path;
use std::sync::Arc;

const FEATURES: usize = 64;
const WIDTHS: [usize; 4] = [FEATURES, 256, 256, 10];
const DEFAULT_ROWS: usize = 16;
/// Most rows of one input.
const MAX_ROWS: usize = 4096;

struct Mlp {
    layers: Vec<(Arc<Tensor>, Arc<Tensor>)>,
}

pub(super) fn build() -> Result<Arc<dyn Network>> {
    let mut seeded = Seeded::new(1);
    let mut layers = Vec::new();
    for pair in WIDTHS.windows(2) {
        layers.push((seeded.matrix(pair[1], pair[0])?, seeded.tensor(&[pair[1]], 0.0, 0.1)?));
    }
    Ok(Arc::new(Mlp { layers }))
}

impl Network for Mlp {
    fn kind(&self) -> Kind {
        Kind::Classifier
    }

    fn prepare(&self, input: &Input) -> Result<Prepared> {
        let rows = rows_of(input)?;
        let count = rows.shape[0];
        let mut graph = Graph::default();
        let mut x = graph.add_input("x", rows.shape.clone(), rows.ty);
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            let name = format!("fc{}", index + 1);
            let weight = graph.add_const(&format!("{name}.weight"), weight.clone());
            let bias = graph.add_const(&format!("{name}.bias"), bias.clone());
            x = graph.add_node(&name, Op::Linear, &[x, weight, bias])?;
            if index + 1 < self.layers.len() {
                x = graph.add_node(&format!("relu{}", index + 1), Op::Relu, &[x])?;
            }
        }
        graph.outputs.push(("logits".into(), x));
        Ok(Prepared { graph, inputs: vec![InputData::Dense(rows)], tokens: count, padding: 0, text: None })
    }
}

/// The input as `[rows, 64]` in fp32.
fn rows_of(input: &Input) -> Result<Arc<Tensor>> {
    let sample = |rows: usize| {
        if !(1..=MAX_ROWS).contains(&rows) {
            return Err(Error::bad_input(format!("builtin:mlp takes 1 to {MAX_ROWS} rows, not {rows}")));
        }
        Seeded::new(2).tensor(&[rows, FEATURES], 0.0, 1.0)
    };
    match input {
        Input::Default => sample(DEFAULT_ROWS),
        Input::Length(rows) => sample(*rows),
        Input::Dense(rows) => {
            let plain = rows.ty.format.name == "fp32" && rows.ty.scaling == crate::tensor::Scaling::None;
            match rows.shape.as_slice() {
                [1..=MAX_ROWS, FEATURES] if plain => Ok(rows.clone()),
                other => Err(Error::bad_input(format!(
                    "builtin:mlp takes fp32 numbers of shape [rows, {FEATURES}], not {} {other:?}",
                    rows.ty.format.name
                ))),
            }
        }
        Input::File(path) => read_rows(path),
        Input::Text(_) | Input::Tokens(_) => Err(Error::usage("builtin:mlp takes numbers, not text or tokens")
            .help(format!("give a file with {FEATURES} numbers a line"))),
    }
}

/// One row a line, numbers apart by commas or blanks.
fn read_rows(path: &Path) -> Result<Arc<Tensor>> {
    let text = read_text(path)?;
    let mut values = Vec::new();
    let mut rows = 0;
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let refuse =
            |what: String| Error::bad_input(format!("line {}: {what}", index + 1)).in_file(path.display().to_string());
        let before = values.len();
        for word in line.split([',', ' ', '\t', ';']).filter(|word| !word.is_empty()) {
            match word.parse::<f32>() {
                Ok(value) if value.is_finite() => values.push(value),
                _ => return Err(refuse(format!("`{word}` is not a finite number"))),
            }
        }
        if values.len() - before != FEATURES {
            return Err(refuse(format!("has {} numbers, not {FEATURES}", values.len() - before)));
        }
        rows += 1;
    }
    if !(1..=MAX_ROWS).contains(&rows) {
        let what = format!("holds {rows} rows, but builtin:mlp takes 1 to {MAX_ROWS}");
        return Err(Error::bad_input(what).in_file(path.display().to_string()));
    }
    Tensor::from_f32(vec![rows, FEATURES], &values).map(Arc::new)
}
