//! ONNX models, of which only shapes are read: no weight ever comes into memory.
//!
//! Extents follow from the inputs and the constants, node by node. What a kernel does in its epilogue is put there: an
//! activation, a residual or a folded batch normalisation behind a product that nobody else reads. Ops that only rename
//! (reshapes, dropout) make no layer. Any other op is an error that names the node and the op: nothing is free.

#[cfg(test)]
mod tests;
mod wire;

use super::builtin::Options;
use super::{Act, Conv, Epilogue, Gemm, Kind, Layer, MOST, Pass, Pool, Workload};
use crate::diag::{Error, Place, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wire::{Dim, Node};

/// Most axes of an operand.
const MOST_AXES: usize = 8;

/// Reads the model; `stem` is its name.
///
/// # Errors
/// BadInput for a file that is no ONNX model or whose shapes do not fit; Unsupported, naming node and op.
pub fn read(path: &Path, stem: &str, options: &Options) -> Result<Workload> {
    let graph = wire::read(path)?;
    let shown = path.display().to_string();
    let mut builder = Builder {
        layers: Vec::new(),
        shapes: BTreeMap::new(),
        values: BTreeMap::new(),
        made: BTreeMap::new(),
        uses: BTreeMap::new(),
        fixed: graph.constants.keys().cloned().collect(),
        opset: graph.opset,
    };
    let ends = graph.outputs.iter().map(|(name, _)| name);
    for name in graph.nodes.iter().flat_map(|node| &node.inputs).chain(ends) {
        *builder.uses.entry(name.clone()).or_default() += 1;
    }
    for (name, (shape, values)) in &graph.constants {
        builder.shapes.insert(name.clone(), shape.clone());
        if let Some(values) = values {
            builder.values.insert(name.clone(), values.clone());
        }
    }
    let fed = graph.inputs.iter().filter(|(name, _)| !graph.constants.contains_key(name));
    refuse_unused(&shown, &fed.filter_map(|(_, dims)| dims.as_ref()).collect::<Vec<_>>(), options)?;
    for (name, dims) in &graph.inputs {
        if let Some((shape, _)) = graph.constants.get(name) {
            agree(name, shape, dims.as_ref()).map_err(|error| error.in_file(shown.clone()))?;
        } else {
            let Some(dims) = dims else {
                return Err(Error::bad_input(format!("the input `{name}` has no shape")).in_file(shown));
            };
            let shape = dims.iter().enumerate().map(|(axis, dim)| extent(name, axis, dim, options));
            let shape = shape.collect::<Result<Vec<u64>>>().map_err(|error| error.in_file(shown.clone()))?;
            if builder.shapes.insert(name.clone(), shape).is_some() {
                return Err(Error::bad_input(format!("two inputs are called `{name}`")).in_file(shown));
            }
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let name = if node.name.is_empty() { format!("{}.{index}", node.op) } else { node.name.clone() };
        let done = builder.node(&name, node);
        done.map_err(|error| error.at(Place::Node(name)).note(format!("op {} in {shown}", node.op)))?;
    }
    for (name, dims) in &graph.outputs {
        let made =
            builder.shapes.get(name).ok_or_else(|| Error::bad_input(format!("no node makes the output `{name}`")));
        made.and_then(|made| agree(name, made, dims.as_ref())).map_err(|error| error.in_file(shown.clone()))?;
    }
    let mut workload = Workload::new(stem, builder.layers);
    workload.notes.push("shapes of an ONNX model: batch normalisation behind a convolution is folded, activations and residuals are part of the product before them".into());
    Ok(workload)
}

/// Refuses a shape that is not what is said of it elsewhere, as far as that is said: some say no axes of what is open.
fn agree(name: &str, shape: &[u64], said: Option<&Vec<Dim>>) -> Result<()> {
    let same = |(extent, dim): (&u64, &Dim)| matches!(dim, Dim::Open(_)) || *dim == Dim::Known(*extent);
    match said {
        Some(dims) if !dims.is_empty() && (dims.len() != shape.len() || !shape.iter().zip(dims).all(same)) => {
            let shown = |dim: &Dim| match dim {
                Dim::Known(extent) => extent.to_string(),
                Dim::Open(name) => format!("`{name}`"),
            };
            let dims: Vec<String> = dims.iter().take(MOST_AXES).map(shown).collect();
            bad(format!("`{name}` is said to be [{}], but is {shape:?}", dims.join(", ")))
        }
        _ => Ok(()),
    }
}

fn extent(name: &str, axis: usize, dim: &Dim, options: &Options) -> Result<u64> {
    match dim {
        Dim::Known(extent) => Ok(*extent),
        Dim::Open(_) if axis == 0 => Ok(options.batch.unwrap_or(1)),
        Dim::Open(open) => options.seq.ok_or_else(|| {
            Error::bad_input(format!("axis {axis} of input `{name}` is left open (`{open}`)"))
                .help("--seq says it; --batch says the first axis")
        }),
    }
}

/// Refuses `--batch` and `--seq` where no input leaves such an axis open.
fn refuse_unused(shown: &str, inputs: &[&Vec<Dim>], options: &Options) -> Result<()> {
    let open = |first: bool| {
        let fits = |(axis, dim): (usize, &Dim)| matches!(dim, Dim::Open(_)) && (axis == 0) == first;
        inputs.iter().any(|dims| dims.iter().enumerate().any(fits))
    };
    for (option, given, first) in [("batch", options.batch, true), ("seq", options.seq, false)] {
        if given.is_some() && !open(first) {
            let axes = if first { "its first axis" } else { "an axis behind the first" };
            return Err(Error::usage(format!("`{shown}` has no use for --{option}: no input leaves {axes} open")));
        }
    }
    Ok(())
}

struct Builder {
    layers: Vec<Layer>,
    shapes: BTreeMap<String, Vec<u64>>,
    /// Values of small constants.
    values: BTreeMap<String, Vec<i64>>,
    /// The layer that makes a value, where something may still follow its product.
    made: BTreeMap<String, usize>,
    uses: BTreeMap<String, usize>,
    /// Values that no input changes.
    fixed: BTreeSet<String>,
    opset: Option<u64>,
}

fn product(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |product: u64, extent| product.saturating_mul(*extent))
}

fn bad<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::bad_input(why))
}

fn unserved<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::unsupported(why))
}

impl Builder {
    fn shape(&self, node: &Node, at: usize) -> Result<Vec<u64>> {
        match node.inputs.get(at).and_then(|name| self.shapes.get(name)) {
            Some(shape) if shape.len() > MOST_AXES => {
                bad(format!("input {at} has {} axes; at most {MOST_AXES} are served", shape.len()))
            }
            Some(shape) if product(shape) <= MOST * MOST => Ok(shape.clone()),
            Some(shape) => bad(format!("a shape of {shape:?} is not served")),
            None => bad(format!("input {at} has no known shape")),
        }
    }
    fn push(&mut self, name: &str, kind: Kind, count: u64) -> Result<usize> {
        kind.check()?;
        self.layers.push(Layer::new(name, kind).times(count));
        Ok(self.layers.len() - 1)
    }
    fn output(&mut self, node: &Node, shape: Vec<u64>) -> Result<String> {
        let Some(name) = node.outputs.first() else { return bad("the node has no output") };
        self.makes(name, shape)?;
        Ok(name.clone())
    }
    /// A second output of the same shape: which elements a pool or a dropout took.
    fn beside(&mut self, node: &Node, shape: &[u64]) -> Result<()> {
        let name = node.outputs.get(1).filter(|name| !name.is_empty());
        name.map_or(Ok(()), |name| self.makes(name, shape.to_vec()))
    }
    fn makes(&mut self, name: &str, shape: Vec<u64>) -> Result<()> {
        if self.shapes.insert(name.to_owned(), shape).is_some() {
            return bad(format!("its output `{name}` is an input, a constant or made by another node too"));
        }
        Ok(())
    }
    /// True if no input changes what the node reads at `at`.
    fn is_fixed(&self, node: &Node, at: usize) -> bool {
        node.inputs.get(at).is_some_and(|name| self.fixed.contains(name))
    }
    /// True if the node has an input `at`: those left out are missing at the end or have no name.
    fn has(&self, node: &Node, at: usize) -> bool {
        node.inputs.get(at).is_some_and(|name| !name.is_empty())
    }
    /// Refuses inputs `from` .. of a node that are not `len` numbers, one for each `what`.
    fn each(&self, node: &Node, from: usize, len: u64, what: &str) -> Result<()> {
        for at in (from..node.inputs.len()).filter(|at| self.has(node, *at)) {
            let shape = self.shape(node, at)?;
            if shape != [len] {
                return bad(format!("input {at} is {shape:?}: it has one number for each of {len} {what}"));
            }
        }
        Ok(())
    }
    /// The layer whose product `name` is, if nobody else reads it.
    fn alone(&self, name: Option<&String>) -> Option<usize> {
        let name = name?;
        self.made.get(name).copied().filter(|_| self.uses.get(name) == Some(&1))
    }
    fn then(&mut self, layer: usize) -> Option<(&mut Epilogue, bool)> {
        match &mut self.layers[layer].kind {
            Kind::Gemm(gemm) => Some((&mut gemm.then, false)),
            Kind::Conv(conv) => Some((&mut conv.then, true)),
            _ => None,
        }
    }

    fn node(&mut self, name: &str, node: &Node) -> Result<()> {
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return unserved(format!("ops of the domain `{}` are not served", node.domain));
        }
        match node.op.as_str() {
            "Conv" => self.conv(name, node),
            "Gemm" => self.gemm(name, node),
            "MatMul" => self.matmul(name, node),
            "Relu" | "Clip" => self.activation(name, node, Act::Relu),
            "Gelu" => self.activation(name, node, Act::Gelu),
            "Add" | "Mul" | "Sub" | "Div" => self.binary(name, node),
            "BatchNormalization" => self.batch_norm(name, node),
            "MaxPool" => self.pool(name, node, false),
            "AveragePool" => self.pool(name, node, true),
            "GlobalAveragePool" => self.global_pool(name, node),
            "Softmax" => self.rows(name, node, Pass::Softmax),
            "LayerNormalization" => self.rows(name, node, Pass::LayerNorm),
            "Gather" => self.gather(name, node),
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" | "Identity" | "Dropout" => self.view(node),
            "Constant" => self.constant(node),
            op => unserved(format!("the op {op} is not served in workloads"))
                .map_err(|error: Error| error.help("docs/workloads.md lists the ops; none is taken as free")),
        }
    }

    /// The window of a convolution or pool over `[N, C, H, W]`.
    fn window(&self, node: &Node, shape: &[u64], size: &[u64], k: u64) -> Result<Conv> {
        let (&[batch, c, h, w], &[r, s]) = (shape, size) else {
            return unserved(format!("windows of {size:?} over {shape:?}: images are [N, C, H, W]"));
        };
        let ints = |name: &str, default: [i64; 2]| -> Result<[u64; 2]> {
            let found = node.ints.get(name).map_or(&default[..], Vec::as_slice);
            match found {
                &[a, b] if a >= 0 && b >= 0 => Ok([a as u64, b as u64]),
                other => bad(format!("{name} are {other:?}")),
            }
        };
        let (stride, dilation) = (ints("strides", [1, 1])?, ints("dilations", [1, 1])?);
        if stride[0] != stride[1] || dilation[0] != dilation[1] {
            return unserved(format!("strides {stride:?} and dilations {dilation:?} are equal on both axes here"));
        }
        if node.ints.get("ceil_mode").is_some_and(|mode| mode != &[0]) {
            return unserved("ceil_mode is not served");
        }
        let none = vec![0; 4];
        let pads = node.ints.get("pads").unwrap_or(&none);
        let pad = match node.texts.get("auto_pad").map(String::as_str) {
            None | Some("NOTSET") => match pads.as_slice() {
                &[a, b, c, d] if a == b && b == c && c == d && a >= 0 => a as u64,
                other => {
                    return unserved(format!("pads {other:?}: they are equal on all sides here, and none is negative"));
                }
            },
            Some("VALID") => 0,
            Some(other) => return unserved(format!("auto_pad {other} is not served")),
        };
        let groups = match node.ints.get("group").map(Vec::as_slice) {
            None => 1,
            Some(&[groups]) if groups > 0 => groups as u64,
            Some(other) => return bad(format!("group is {other:?}")),
        };
        let then = Epilogue::default();
        Ok(Conv { batch, h, w, c, k, r, s, stride: stride[0], pad, dilation: dilation[0], groups, then })
    }

    fn conv(&mut self, name: &str, node: &Node) -> Result<()> {
        let (x, w) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let &[k, c, r, s] = w.as_slice() else { return unserved(format!("weights of {w:?}: convolutions are 2-D")) };
        let mut conv = self.window(node, &x, &[r, s], k)?;
        if c.checked_mul(conv.groups) != Some(conv.c) {
            return bad(format!("weights of {w:?} do not fit an image of {x:?}"));
        }
        if node.ints.get("kernel_shape").is_some_and(|size| *size != [r as i64, s as i64]) {
            return bad(format!("kernel_shape is {:?}, but the weights are {w:?}", node.ints["kernel_shape"]));
        }
        conv.then.bias = self.has(node, 2);
        self.each(node, 2, k, "channels")?;
        let at = self.push(name, Kind::Conv(conv), 1)?;
        let (oh, ow) = conv.out();
        let y = self.output(node, vec![conv.batch, k, oh, ow])?;
        self.made.insert(y, at);
        Ok(())
    }

    fn pool(&mut self, name: &str, node: &Node, mean: bool) -> Result<()> {
        let x = self.shape(node, 0)?;
        let size = node.ints.get("kernel_shape").cloned().unwrap_or_default();
        let size: Vec<u64> = size.iter().map(|extent| u64::try_from(*extent).unwrap_or(0)).collect();
        let window = self.window(node, &x, &size, x.get(1).copied().unwrap_or(0))?;
        self.push(name, Kind::Pool(Pool { window, mean }), 1)?;
        let (oh, ow) = window.out();
        let y = vec![window.batch, window.c, oh, ow];
        self.beside(node, &y)?;
        self.output(node, y).map(|_| ())
    }

    fn global_pool(&mut self, name: &str, node: &Node) -> Result<()> {
        let x = self.shape(node, 0)?;
        let &[batch, c, h, w] = x.as_slice() else { return unserved(format!("images of {x:?}")) };
        let mut window = self.window(&Node::default(), &x, &[h, w], c)?;
        window.batch = batch;
        self.push(name, Kind::Pool(Pool { window, mean: true }), 1)?;
        self.output(node, vec![batch, c, 1, 1]).map(|_| ())
    }

    fn gemm(&mut self, name: &str, node: &Node) -> Result<()> {
        let flag = |name: &str| node.ints.get(name).is_some_and(|value| value.first().is_some_and(|v| *v != 0));
        let turned = |mut shape: Vec<u64>, turn: bool| {
            if turn {
                shape.reverse();
            }
            shape
        };
        let (a, b) = (turned(self.shape(node, 0)?, flag("transA")), turned(self.shape(node, 1)?, flag("transB")));
        let (&[m, k], &[other, n]) = (a.as_slice(), b.as_slice()) else { return bad(format!("{a:?} times {b:?}")) };
        if k != other {
            return bad(format!("{a:?} times {b:?}: depths differ"));
        }
        let mut then = Epilogue::default();
        if self.has(node, 2) {
            let c = self.shape(node, 2)?;
            if broadcast(&c, &[m, n]).as_deref() != Some(&[m, n]) {
                return bad(format!("a bias of {c:?} for a product of {:?}", [m, n]));
            }
            // A row for all, or an addend for each.
            (then.bias, then.residual) = if c == [m, n] && m > 1 { (false, true) } else { (true, false) };
        }
        let at = self.push(name, Kind::Gemm(Gemm { m, n, k, then }), 1)?;
        let y = self.output(node, vec![m, n])?;
        self.made.insert(y, at);
        Ok(())
    }

    /// One product if the second operand is a matrix, else one for each matrix of the stack.
    fn matmul(&mut self, name: &str, node: &Node) -> Result<()> {
        let (a, b) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let (Some((&k, rows)), [stack @ .., depth, n]) = (a.split_last(), b.as_slice()) else {
            return unserved(format!("{a:?} times {b:?}: the second operand is a matrix, or a stack of them"));
        };
        if k != *depth {
            return bad(format!("{a:?} times {b:?}: depths differ"));
        }
        if rows.is_empty() && !stack.is_empty() {
            return unserved(format!("{a:?} times {b:?}: a vector times a stack"));
        }
        let count = product(stack);
        let m = match rows.split_last() {
            Some((m, outer)) if !stack.is_empty() => {
                if outer != stack {
                    return unserved(format!("{a:?} times {b:?}: stacks are equal here"));
                }
                *m
            }
            _ => product(rows),
        };
        let at = self.push(name, Kind::Gemm(Gemm { m, n: *n, k, then: Epilogue::default() }), count)?;
        let y = self.output(node, rows.iter().copied().chain([*n]).collect())?;
        self.made.insert(y, at);
        Ok(())
    }

    fn pass(&mut self, name: &str, node: &Node, shape: &[u64], pass: Pass) -> Result<()> {
        let (rows, cols) = rows_of(shape);
        self.push(name, Kind::Pass { pass, rows, cols }, 1)?;
        self.output(node, shape.to_vec()).map(|_| ())
    }

    fn rows(&mut self, name: &str, node: &Node, pass: Pass) -> Result<()> {
        let x = self.shape(node, 0)?;
        let last = x.len() as i64 - 1;
        // Softmax of the first versions takes all axes from one on as a row, the second unless it is said.
        let first = pass == Pass::Softmax && self.opset.is_some_and(|opset| opset < 13);
        let default = if first { 1 } else { -1 };
        let axis = node.ints.get("axis").and_then(|axis| axis.first()).copied().unwrap_or(default);
        if first && (0..=last).contains(&axis) {
            let (outer, row) = x.split_at(axis as usize);
            self.push(name, Kind::Pass { pass, rows: product(outer), cols: product(row) }, 1)?;
            return self.output(node, x.clone()).map(|_| ());
        }
        if axis != -1 && axis != last {
            return unserved(format!("axis {axis} of {x:?}: rows are the last axis here"));
        }
        let (&cols, outer) = x.split_last().ok_or_else(|| Error::bad_input("a scalar has no rows"))?;
        if pass == Pass::LayerNorm && !self.has(node, 1) {
            return bad("the scale is missing");
        }
        self.each(node, 1, cols, "columns")?;
        self.push(name, Kind::Pass { pass, rows: product(outer), cols }, 1)?;
        self.output(node, x.clone()).map(|_| ())
    }

    fn activation(&mut self, name: &str, node: &Node, act: Act) -> Result<()> {
        let x = self.shape(node, 0)?;
        if let Some(layer) = self.alone(node.inputs.first())
            && let Some((then, conv)) = self.then(layer)
            && then.act.is_none()
            && (conv || !then.residual)
        {
            then.act = Some(act);
            let y = self.output(node, x)?;
            self.made.insert(y, layer);
            return Ok(());
        }
        self.pass(name, node, &x, Pass::Act(act))
    }

    fn binary(&mut self, name: &str, node: &Node) -> Result<()> {
        let (a, b) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let y = broadcast(&a, &b).ok_or_else(|| Error::bad_input(format!("{a:?} and {b:?} do not fit together")))?;
        let sum = node.op == "Add" || node.op == "Sub";
        for (at, other) in [(0, 1), (1, 0)] {
            let same = self.shape(node, at)? == y;
            let layer = self.alone(node.inputs.get(at)).filter(|_| same && sum);
            let Some(layer) = layer else { continue };
            let others = self.shape(node, other)?;
            let fixed = self.is_fixed(node, other);
            let Some((then, conv)) = self.then(layer) else { continue };
            let bias = fixed && product(&others) <= product(&y) / y.first().copied().unwrap_or(1).max(1);
            let fused = match bias {
                true if !then.bias && then.act.is_none() && !then.residual => {
                    then.bias = true;
                    true
                }
                false if others == y && !then.residual && (!conv || then.act.is_none()) => {
                    then.residual = true;
                    true
                }
                _ => false,
            };
            if fused {
                let y = self.output(node, y)?;
                self.made.insert(y, layer);
                return Ok(());
            }
        }
        self.pass(name, node, &y, if sum { Pass::Add } else { Pass::Mul })
    }

    /// Folded into a convolution that nobody else reads, else a product and a sum.
    fn batch_norm(&mut self, name: &str, node: &Node) -> Result<()> {
        let x = self.shape(node, 0)?;
        let Some(&channels) = x.get(1) else { return bad(format!("{x:?} has no channels")) };
        if node.inputs.len() < 5 {
            return bad(format!("{} inputs: image, scale, bias, mean and variance are five", node.inputs.len()));
        }
        self.each(node, 1, channels, "channels")?;
        if let Some(layer) = self.alone(node.inputs.first())
            && let Some((then, true)) = self.then(layer)
            && then.act.is_none()
            && !then.residual
        {
            then.bias = true;
            let y = self.output(node, x)?;
            self.made.insert(y, layer);
            return Ok(());
        }
        let (rows, cols) = rows_of(&x);
        self.push(&format!("{name}.scale"), Kind::Pass { pass: Pass::Mul, rows, cols }, 1)?;
        self.pass(name, node, &x, Pass::Add)
    }

    fn gather(&mut self, name: &str, node: &Node) -> Result<()> {
        let (table, ids) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let axis = node.ints.get("axis").and_then(|axis| axis.first()).copied().unwrap_or(0);
        let (&[rows, cols], 0 | -2, true) = (table.as_slice(), axis, self.is_fixed(node, 0)) else {
            return unserved(format!("a gather along axis {axis} of {table:?}: rows of a constant table are served"));
        };
        self.push(name, Kind::Embedding { rows, cols, tokens: product(&ids) }, 1)?;
        self.output(node, ids.iter().copied().chain([cols]).collect()).map(|_| ())
    }

    fn constant(&mut self, node: &Node) -> Result<()> {
        let Some((shape, values)) = &node.tensor else {
            return unserved("constants are numbers or tensors of them here");
        };
        let name = self.output(node, shape.clone())?;
        self.fixed.insert(name.clone());
        if let Some(values) = values {
            self.values.insert(name, values.clone());
        }
        Ok(())
    }

    /// Ops that only rename: the bytes stay where they are.
    fn view(&mut self, node: &Node) -> Result<()> {
        let x = self.shape(node, 0)?;
        let axes = || node.inputs.get(1).and_then(|name| self.values.get(name)).or_else(|| node.ints.get("axes"));
        let place = |axis: i64, rank: usize| usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok();
        // In order, each once.
        let places = |axes: &[i64], rank: usize| {
            let mut places: Vec<usize> = axes.iter().filter_map(|axis| place(*axis, rank)).collect();
            places.sort_unstable();
            places.dedup();
            let all = places.len() == axes.len() && places.last().is_none_or(|last| *last < rank);
            if all { Ok(places) } else { bad(format!("axes {axes:?} of {x:?}")) }
        };
        let y = match node.op.as_str() {
            "Flatten" => {
                let axis = node.ints.get("axis").and_then(|axis| axis.first()).copied().unwrap_or(1);
                let at = place(axis, x.len()).filter(|at| *at <= x.len());
                let Some(at) = at else { return bad(format!("axis {axis} of {x:?}")) };
                vec![product(&x[..at]), product(&x[at..])]
            }
            "Reshape" => {
                // An attribute in the first version.
                let wanted =
                    node.inputs.get(1).and_then(|name| self.values.get(name)).or_else(|| node.ints.get("shape"));
                let Some(wanted) = wanted else { return unserved("the new shape is no constant") };
                reshaped(&x, wanted)?
            }
            "Squeeze" => match axes() {
                None => x.iter().copied().filter(|extent| *extent != 1).collect(),
                Some(axes) => {
                    let gone = places(axes, x.len())?;
                    x.iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, extent)| *extent).collect()
                }
            },
            "Unsqueeze" => {
                let Some(axes) = axes() else { return bad("`axes` are missing") };
                let mut shape = x.clone();
                places(axes, x.len() + axes.len())?.into_iter().for_each(|at| shape.insert(at, 1));
                shape
            }
            _ => x.clone(),
        };
        if product(&y) != product(&x) {
            return bad(format!("{x:?} has not the elements of {y:?}"));
        }
        let (fixed, values) =
            (self.is_fixed(node, 0), node.inputs.first().and_then(|name| self.values.get(name)).cloned());
        if node.op == "Dropout" {
            self.beside(node, &y)?;
        }
        let name = self.output(node, y)?;
        if fixed {
            self.fixed.insert(name.clone());
        }
        if let Some(values) = values {
            self.values.insert(name, values);
        }
        Ok(())
    }
}

/// Rows of a pass: channels of an image lie side by side.
fn rows_of(shape: &[u64]) -> (u64, u64) {
    match shape {
        [batch, channels, h, w] => (batch * h * w, *channels),
        [outer @ .., cols] => (product(outer), *cols),
        [] => (1, 1),
    }
}

fn broadcast(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[u64], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        })
        .collect()
}

/// 0 keeps an extent, -1 takes what is left.
fn reshaped(x: &[u64], wanted: &[i64]) -> Result<Vec<u64>> {
    let mut shape = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (at, extent) in wanted.iter().enumerate() {
        shape.push(match *extent {
            0 => *x.get(at).ok_or_else(|| Error::bad_input(format!("{wanted:?} keeps an axis that {x:?} has not")))?,
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            extent if extent > 0 => extent as u64,
            _ => return bad(format!("a new shape of {wanted:?}")),
        });
    }
    if let Some(at) = open {
        shape[at] = product(x) / product(&shape).max(1);
    }
    Ok(shape)
}
