//! How much each layer minds each format: one linear layer at a time is held in one format, all else in fp32, and the
//! model's result is compared with that of the fp32 run.
//!
//! Only what depends on the changed layer is computed again: every other value is the fp32 run's, which is the same bits.

use super::ideal::{gauss_sqnr_db, row_error};
use super::measure::{cosine, relative_l2, sqnr_db};
use crate::diag::{Error, Kind, Place, Result};
use crate::graph::{Def, Graph, InputData, NodeId, Op, ValueId};
use crate::model::Prepared;
use crate::native;
use crate::num::format;
use crate::tensor::{Scaling, Tensor, TensorType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Schema of [`Sensitivity`].
pub const SENSITIVITY_SCHEMA: &str = "preon.sensitivity/1";

/// What to try.
#[derive(Debug, Clone)]
pub struct Options {
    /// Types of the weights, in the order of the columns.
    pub types: Vec<TensorType>,
    /// Type of the activations that a changed layer reads; fp32 without one.
    pub activations: Option<TensorType>,
    /// Threads; the result does not depend on them.
    pub threads: usize,
}

/// Layers by formats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// [`SENSITIVITY_SCHEMA`].
    pub schema: String,
    /// Name of the model.
    pub model: String,
    /// Tokens of the input.
    pub tokens: usize,
    /// Type of the activations of changed layers; `null` for fp32.
    pub activations: Option<String>,
    /// Columns.
    pub formats: Vec<FormatRow>,
    /// Rows.
    pub layers: Vec<LayerRow>,
    /// One cell a (layer, format), layer by layer.
    pub cells: Vec<Cell>,
}

/// A format over the whole model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FormatRow {
    /// The type, as policies write it.
    #[serde(rename = "type")]
    pub ty: String,
    /// Bits of a code.
    pub code_bits: u32,
    /// Stored bits a weight, scales and padding included.
    pub bits_per_weight: f64,
    /// SQNR of all linear weights together, as the quantiser scales them, dB.
    pub sqnr_db: Option<f64>,
    /// The same with the best possible scale for each row, dB; formats of 8 bits or fewer.
    pub best_scale_sqnr_db: Option<f64>,
    /// SQNR of a Gaussian under its best scale, dB; formats of 8 bits or fewer.
    pub gauss_sqnr_db: Option<f64>,
    /// Result of the model with every linear layer in this format.
    pub all_layers: Option<Distance>,
    /// Why the model does not run with it, if it does not.
    pub refused: Option<String>,
}

/// A linear layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRow {
    /// Name of the node.
    pub name: String,
    /// Outputs.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
}

/// One layer in one format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Name of the layer.
    pub layer: String,
    /// The type.
    #[serde(rename = "type")]
    pub ty: String,
    /// SQNR of the weight, dB; `null` where nothing is lost.
    pub sqnr_db: Option<f64>,
    /// What it does to the model's result; `null` if the pair is refused.
    pub result: Option<Distance>,
}

/// Distance of a model's first result from that of the fp32 run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// Cosine.
    pub cosine: f64,
    /// Length of the difference over the length of the fp32 result.
    pub relative_l2: Option<f64>,
}

/// Every type that a policy can name for weights by a format's name alone: fp32 itself and formats without negative values
/// left out.
pub fn weight_types() -> Vec<TensorType> {
    let rows = format::formats().into_iter().map(|f| f.name.clone());
    let names = rows.chain(TensorType::composite_names().map(String::from));
    let signed = |ty: &TensorType| {
        let lowest = ty.format.sorted.first();
        lowest.is_none_or(|code| crate::num::value(ty.format, *code) < 0.0)
    };
    let types = names.filter_map(|name| TensorType::parse(&name).ok());
    types.filter(|ty| signed(ty) && ty.to_string() != "fp32").collect()
}

/// Tries every layer in every type; `progress` hears of each finished cell.
///
/// # Errors
/// BadInput for weights with NaN or infinity; Unsupported for a model without linear layers; as [`native::run`] for
/// the fp32 run. A pair of formats that is not served is no error but stands in the result.
pub fn sensitivity(prepared: &Prepared, options: &Options, progress: &(dyn Fn(&str) + Sync)) -> Result<Sensitivity> {
    let study = Study::new(prepared, options)?;
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Result<Column>>>> = options.types.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(ty), Some(slot)) = (options.types.get(at), slots.get(at)) else { break };
            let column = study.column(*ty, progress);
            if let Ok(mut slot) = slot.lock() {
                *slot = Some(column);
            }
        }
    };
    let threads = options.threads.clamp(1, options.types.len().max(1));
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut columns = Vec::new();
    for slot in slots {
        let column = slot.into_inner().ok().flatten();
        columns.push(column.unwrap_or_else(|| Err(Error::internal("a format was lost")))?);
    }
    let layers: Vec<LayerRow> = study.layers.iter().map(|layer| layer.row.clone()).collect();
    let cells = (0..layers.len()).flat_map(|at| columns.iter().map(move |column| column.cells[at].clone())).collect();
    Ok(Sensitivity {
        schema: SENSITIVITY_SCHEMA.into(),
        model: prepared.graph.name.clone(),
        tokens: prepared.tokens,
        activations: options.activations.map(|ty| ty.to_string()),
        formats: columns.into_iter().map(|column| column.row).collect(),
        layers,
        cells,
    })
}

/// One format, layer by layer.
struct Column {
    row: FormatRow,
    cells: Vec<Cell>,
}

/// A linear layer with its weight in fp32.
struct LinearLayer {
    row: LayerRow,
    node: NodeId,
    weight: Arc<Tensor>,
    values: Vec<f32>,
}

/// The fp32 run, and what is changed in it.
struct Study<'a> {
    graph: &'a Graph,
    inputs: &'a [InputData],
    options: &'a Options,
    native: native::Options,
    layers: Vec<LinearLayer>,
    /// Result of every node in fp32.
    nodes: Vec<Arc<Tensor>>,
    /// The first output in fp32.
    output: Vec<f32>,
}

impl<'a> Study<'a> {
    fn new(prepared: &'a Prepared, options: &'a Options) -> Result<Self> {
        let Prepared { graph, inputs, .. } = prepared;
        let native = native::Options::from_env()?;
        let run = native::run(graph, inputs, &native)?;
        let first = graph.outputs.first().ok_or_else(|| Error::internal("a model without an output"))?;
        let output = run.named(graph, &first.0).ok_or_else(|| Error::internal("an output without a value"))?.to_f32();
        let nodes = run.nodes().iter().map(|output| Arc::new(output.tensor.clone())).collect();
        let mut layers = Vec::new();
        for (at, node) in graph.nodes.iter().enumerate() {
            let Some(weight) = node.inputs.get(1).and_then(|id| graph.constant(*id)) else { continue };
            if matches!(node.op, Op::Linear) {
                let (outputs, inputs) = weight.rows_cols();
                let row = LayerRow { name: node.name.clone(), outputs, inputs };
                let (weight, values) = (weight.clone(), weight.to_f32());
                layers.push(LinearLayer { row, node: NodeId(at as u32), weight, values });
            }
        }
        match layers.is_empty() {
            true => Err(Error::unsupported("the model has no linear layers to change")),
            false => Ok(Study { graph, inputs, options, native, layers, nodes, output }),
        }
    }

    fn column(&self, ty: TensorType, progress: &(dyn Fn(&str) + Sync)) -> Result<Column> {
        let name = ty.to_string();
        let (mut cells, mut quantised, mut refused) = (Vec::new(), BTreeMap::new(), None);
        let (mut signal, mut noise, mut best, mut bytes, mut count) = (0.0, 0.0, Some(0.0), 0usize, 0usize);
        for layer in &self.layers {
            let place = || Place::Tensor { path: self.graph.name.clone(), name: layer.row.name.clone() };
            let tensor = Tensor::quantise(layer.weight.shape.clone(), &layer.values, ty).map_err(|e| e.at(place()))?;
            let got = tensor.to_f32();
            for (x, y) in layer.values.iter().zip(&got) {
                signal += f64::from(*x) * f64::from(*x);
                noise += (f64::from(*x) - f64::from(*y)).powi(2);
            }
            if ty.scaling != Scaling::None {
                let rows = layer.values.chunks(layer.row.inputs.max(1));
                best = rows.fold(best, |sum, row| Some(sum? + row_error(&ty, row)?));
            }
            (bytes, count) = (bytes + tensor.bytes(), count + layer.values.len());
            let tensor = Arc::new(tensor);
            let result = match &refused {
                None => match self.variant(&BTreeMap::from([(layer.node, tensor.clone())])) {
                    Ok(output) => Some(self.distance(&output)),
                    Err(error) if error.kind() == Kind::Unsupported => {
                        refused = Some(error.to_string());
                        None
                    }
                    Err(error) => return Err(error),
                },
                Some(_) => None,
            };
            let sqnr_db = sqnr_db(&layer.values, &got);
            cells.push(Cell { layer: layer.row.name.clone(), ty: name.clone(), sqnr_db, result });
            quantised.insert(layer.node, tensor);
            progress(&format!("{name} {}", layer.row.name));
        }
        let all_layers = match &refused {
            None => Some(self.distance(&self.variant(&quantised)?)),
            Some(_) => None,
        };
        let db = |noise: f64| Some(10.0 * (signal / noise).log10()).filter(|db: &f64| db.is_finite());
        let scaled = ty.scaling != Scaling::None;
        let row = FormatRow {
            ty: name,
            code_bits: ty.format.bits * ty.planes,
            bits_per_weight: 8.0 * bytes as f64 / count.max(1) as f64,
            sqnr_db: db(noise),
            best_scale_sqnr_db: best.filter(|_| scaled).and_then(db),
            gauss_sqnr_db: gauss_sqnr_db(&ty).filter(|_| scaled),
            all_layers,
            refused,
        };
        Ok(Column { row, cells })
    }

    fn distance(&self, output: &[f32]) -> Distance {
        Distance { cosine: cosine(&self.output, output), relative_l2: relative_l2(&self.output, output) }
    }

    /// The first output with the weights of some nodes replaced (and their activations quantised, if asked for).
    fn variant(&self, replaced: &BTreeMap<NodeId, Arc<Tensor>>) -> Result<Vec<f32>> {
        let mut part = Part { study: self, graph: Graph::default(), map: BTreeMap::new() };
        let mut changed = vec![false; self.graph.values.len()];
        for (at, node) in self.graph.nodes.iter().enumerate() {
            let id = NodeId(at as u32);
            let weight = replaced.get(&id);
            if weight.is_none() && !node.inputs.iter().any(|input| changed[input.0 as usize]) {
                continue;
            }
            changed[node.output.0 as usize] = true;
            let mut inputs = node.inputs.iter().map(|id| part.value(*id)).collect::<Result<Vec<ValueId>>>()?;
            if let Some(weight) = weight {
                if let Some(to) = self.options.activations {
                    inputs[0] = part.graph.add_node(&format!("{}.x", node.name), Op::Quantise { to }, &inputs[..1])?;
                }
                inputs[1] = part.graph.add_const(&format!("{}.w", node.name), weight.clone());
            }
            let output = part.graph.add_node(&node.name, node.op.clone(), &inputs)?;
            if let Some(last) = part.graph.nodes.last_mut() {
                last.accumulator = node.accumulator;
            }
            part.map.insert(node.output, output);
        }
        let (name, first) = &self.graph.outputs[0];
        let Some(output) = part.map.get(first).copied() else { return Ok(self.output.clone()) };
        part.graph.outputs.push((name.clone(), output));
        let run = native::run(&part.graph, &[], &self.native)?;
        let output = run.named(&part.graph, name).ok_or_else(|| Error::internal("an output without a value"))?;
        Ok(output.to_f32())
    }
}

/// The part of a graph that is computed again.
struct Part<'a> {
    study: &'a Study<'a>,
    graph: Graph,
    map: BTreeMap<ValueId, ValueId>,
}

impl Part<'_> {
    /// The new id of an old value; what is not computed again becomes a constant.
    fn value(&mut self, id: ValueId) -> Result<ValueId> {
        if let Some(known) = self.map.get(&id) {
            return Ok(*known);
        }
        let value = self.study.graph.value(id);
        let tensor = match &value.def {
            Def::Const(tensor) => tensor.clone(),
            Def::Node(node) => self.study.nodes[node.0 as usize].clone(),
            Def::Input | Def::Indices => {
                let at = self.study.graph.inputs.iter().position(|input| *input == id);
                match at.and_then(|at| self.study.inputs.get(at)) {
                    Some(InputData::Dense(tensor)) => tensor.clone(),
                    _ => return Err(Error::unsupported(format!("`{}` are no numbers for a layer", value.name))),
                }
            }
        };
        let new = self.graph.add_const(&value.name, tensor);
        self.map.insert(id, new);
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{self, Input};
    use crate::policy::{self, Policy};

    fn options(types: &[&str], activations: Option<&str>, threads: usize) -> Options {
        let parse = |ty: &str| TensorType::parse(ty).unwrap();
        let types = types.iter().map(|ty| parse(ty)).collect();
        Options { types, activations: activations.map(parse), threads }
    }

    #[test]
    fn a_cell_is_what_a_policy_on_that_layer_gives() {
        let prepared = model::load("builtin:bitnet-tiny").unwrap().prepare(&Input::Default).unwrap();
        let found = sensitivity(&prepared, &options(&["int4", "ternary"], Some("int8"), 1), &|_| {}).unwrap();
        let native = native::Options::default();
        let (name, _) = &prepared.graph.outputs[0];
        let base = native::run(&prepared.graph, &prepared.inputs, &native).unwrap();
        let base = base.named(&prepared.graph, name).unwrap().to_f32();
        for at in [0, found.layers.len() / 2, found.layers.len() - 1] {
            let layer = &found.layers[at].name;
            let text = format!(
                "schema = \"preon.policy/1\"\nname = \"p\"\ndoc = \"d\"\n[[rule]]\nmatch = \"{layer}\"\n\
                 weights = \"ternary\"\nactivations = \"int8\"\n"
            );
            let policy = Policy::parse("p.toml", &text).unwrap();
            let graph = policy::apply(&prepared.graph, &policy).unwrap();
            let run = native::run(&graph, &prepared.inputs, &native).unwrap();
            let output = run.named(&graph, name).unwrap().to_f32();
            let cell = &found.cells[at * 2 + 1];
            assert_eq!((&cell.layer, cell.ty.as_str()), (layer, "ternary/tensor"));
            assert_eq!(cell.result.unwrap().cosine, cosine(&base, &output), "{layer}");
        }
    }

    #[test]
    fn threads_change_nothing_and_better_formats_are_nearer() {
        let prepared = model::load("builtin:mlp").unwrap().prepare(&Input::Default).unwrap();
        // By absmax a row, 2 bits lose to the sign alone: the largest of many Gaussians is far from the rest.
        let types = ["fp8e4m3", "int4", "int3", "binary"];
        let one = sensitivity(&prepared, &options(&types, None, 1), &|_| {}).unwrap();
        let many = sensitivity(&prepared, &options(&types, None, 3), &|_| {}).unwrap();
        assert_eq!(one, many);
        let cosines: Vec<f64> = one.formats.iter().map(|f| f.all_layers.unwrap().cosine).collect();
        assert!(cosines.windows(2).all(|pair| pair[0] > pair[1]), "{cosines:?}");
        // Weights of the built-in are Gaussian. The prediction is for one scale; short rows with their own do better.
        for row in &one.formats[1..] {
            let (real, ideal) = (row.best_scale_sqnr_db.unwrap(), row.gauss_sqnr_db.unwrap());
            assert!(real > ideal - 0.2 && real < ideal + 1.5, "{row:?}");
            assert!(real >= row.sqnr_db.unwrap());
        }
    }

    #[test]
    fn every_type_has_a_sign_and_no_type_is_fp32() {
        let names: Vec<String> = weight_types().iter().map(ToString::to_string).collect();
        assert!(names.contains(&"triplet/tensor".into()) || names.contains(&"triplet/row".into()), "{names:?}");
        assert!(!names.iter().any(|name| name == "fp32" || name.starts_with("e8m0")), "{names:?}");
    }
}
