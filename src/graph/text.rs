//! The text form of a graph, for people and for small test cases; [`parse`] reads back what [`write()`] wrote.
//!
//! ```text
//! schema = "preon.graph/1"
//! graph mlp
//! input x fp32[16,64]
//! indices ids [16]
//! const fc1.weight int8/row[256,64]
//! const fc1.bias fp32[2] = 0000803f00000040
//! node fc1 = linear(x, fc1.weight, fc1.bias) acc=f32
//! node split = reshape(fc1) shape=[4,4,256]
//! output logits = fc1
//! ```
//!
//! A constant's bytes follow `=` in hexadecimal, payload first, then its side data (scales, offsets, global scale) after `:`. Without them the reader
//! is asked for the constant by name. Names other than letters, digits and `_ . - / + :` stand in quotes.

use super::{Def, Graph, Node, Op, ValueId, ops, verify};
use crate::diag::{Error, Result, did_you_mean};
use crate::num::Accumulator;
use crate::tensor::{Tensor, TensorType};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

/// Schema of the text form.
pub const SCHEMA: &str = "preon.graph/1";

/// Every op with its parameters at their plainest, by name.
fn plain_ops() -> [Op; 20] {
    let eps = 0.0;
    [
        Op::Linear,
        Op::MatMul { group: 1 },
        Op::Add,
        Op::Mul,
        Op::Scale { factor: 1.0 },
        Op::Mask,
        Op::Softmax,
        Op::LayerNorm { eps },
        Op::RmsNorm { eps },
        Op::Gelu,
        Op::Relu,
        Op::Relu2,
        Op::Silu,
        Op::Embedding,
        Op::MeanPool,
        Op::L2Norm,
        Op::Reshape { shape: Vec::new() },
        Op::Transpose { perm: Vec::new() },
        Op::Rope,
        Op::Quantise { to: ops::plain_fp32() },
    ]
}

/// The graph as text. Constants of at most `inline_bytes` stored bytes are written out, larger ones only named.
pub fn write(graph: &Graph, inline_bytes: usize) -> String {
    let mut text = format!("schema = \"{SCHEMA}\"\ngraph {}\n", quoted(&graph.name));
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    for value in &graph.values {
        let name = quoted(&value.name);
        let typed = format!("{}{}", value.ty, list(&value.shape));
        match &value.def {
            Def::Input => line(format!("input {name} {typed}")),
            Def::Indices => line(format!("indices {name} {}", list(&value.shape))),
            // A masked constant is only named.
            Def::Const(tensor) if tensor.mask.is_none() && tensor.bytes() <= inline_bytes => {
                line(format!("const {name} {typed} = {}", hex(tensor)))
            }
            Def::Const(_) => line(format!("const {name} {typed}")),
            Def::Node(node) => line(write_node(graph, graph.node(*node))),
        }
    }
    for (name, id) in &graph.outputs {
        line(format!("output {} = {}", quoted(name), quoted(&graph.value(*id).name)));
    }
    text
}

fn write_node(graph: &Graph, node: &Node) -> String {
    let operands: Vec<String> = node.inputs.iter().map(|id| quoted(&graph.value(*id).name)).collect();
    let mut text = format!("node {} = {}({})", quoted(&node.name), node.op.name(), operands.join(", "));
    let attribute = match &node.op {
        Op::MatMul { group } => format!(" group={group}"),
        Op::Scale { factor } => format!(" factor={factor:?}"),
        Op::LayerNorm { eps } | Op::RmsNorm { eps } => format!(" eps={eps:?}"),
        Op::Reshape { shape } => format!(" shape={}", list(shape)),
        Op::Transpose { perm } => format!(" perm={}", list(perm)),
        Op::Quantise { to } => format!(" to={}", to),
        _ => String::new(),
    };
    text.push_str(&attribute);
    if node.accumulator == Accumulator::F32 {
        text.push_str(" acc=f32");
    }
    text
}

fn list(numbers: &[usize]) -> String {
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("[{}]", numbers.join(","))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-/+:".contains(c)
}

fn quoted(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(is_word);
    if plain { name.to_string() } else { serde_json::Value::from(name).to_string() }
}

fn hex(tensor: &Tensor) -> String {
    let hex = |bytes: &[u8]| {
        let mut text = String::with_capacity(2 * bytes.len());
        bytes.iter().for_each(|b| write!(text, "{b:02x}").expect("writing to a string"));
        text
    };
    match &tensor.side_data()[..] {
        [] => hex(&tensor.payload),
        sides => format!("{}:{}", hex(&tensor.payload), hex(sides)),
    }
}

/// Reads a graph; `constant` is asked by name for constants whose bytes are not in the text.
///
/// # Errors
/// BadInput with the line and column, also for a graph that [`verify`] refuses.
pub fn parse(path: &str, text: &str, constant: &dyn Fn(&str) -> Option<Arc<Tensor>>) -> Result<Graph> {
    let mut reader = Reader { path, text: text.into(), graph: Graph::default(), ids: BTreeMap::new(), constant };
    let mut start = 0;
    let mut first = true;
    for line in text.split_inclusive('\n') {
        let words = reader.words(start, line)?;
        start += line.len();
        if words.is_empty() {
            continue;
        }
        let mut line = Line { reader: &mut reader, words, next: 0, end: start - 1 };
        if first {
            line.schema()?
        } else {
            line.statement()?
        }
        first = false;
    }
    verify::verify(&reader.graph).map_err(|e| e.in_file(path))?;
    Ok(reader.graph)
}

/// A word, sign or quoted name and where it stands.
type Word = (String, Range<usize>);

struct Reader<'a> {
    path: &'a str,
    text: Arc<str>,
    graph: Graph,
    ids: BTreeMap<String, ValueId>,
    constant: &'a dyn Fn(&str) -> Option<Arc<Tensor>>,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>, span: Range<usize>) -> Error {
        Error::bad_input(message).in_text(self.path, self.text.clone(), span)
    }

    /// Cuts a line into words; `#` begins a comment.
    fn words(&self, start: usize, line: &str) -> Result<Vec<Word>> {
        let mut words = Vec::new();
        let mut rest = line;
        while let Some(c) = rest.trim_start().chars().next() {
            rest = rest.trim_start();
            let at = line.len() - rest.len();
            let (word, length) = match c {
                '#' => break,
                '"' => self.quote(start + at, rest)?,
                _ if is_word(c) => {
                    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                    (rest[..length].to_string(), length)
                }
                _ => (c.to_string(), c.len_utf8()),
            };
            words.push((word, start + at..start + at + length));
            rest = &rest[length..];
        }
        Ok(words)
    }

    /// A quoted name at the head of `rest`, and its length with quotes. The escapes are those of a JSON string.
    fn quote(&self, start: usize, rest: &str) -> Result<(String, usize)> {
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    let json = &rest[..=at];
                    return match serde_json::from_str(json) {
                        Ok(name) => Ok((name, at + 1)),
                        Err(_) => Err(self.error("this is no quoted name", start..start + at + 1)),
                    };
                }
                _ => {}
            }
        }
        Err(self.error("this quotation mark is not closed", start..start + 1))
    }
}

/// The words of one line, taken one after another.
struct Line<'a, 'b> {
    reader: &'a mut Reader<'b>,
    words: Vec<Word>,
    next: usize,
    end: usize,
}

impl Line<'_, '_> {
    fn here(&self) -> Range<usize> {
        self.words.get(self.next).map_or(self.end..self.end, |(_, span)| span.clone())
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(self.reader.error(message, self.here()))
    }

    fn take(&mut self, what: &str) -> Result<String> {
        match self.words.get(self.next) {
            Some((word, _)) => {
                self.next += 1;
                Ok(word.clone())
            }
            None => self.error(format!("{what} is missing here")),
        }
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.accept(sign) { Ok(()) } else { self.error(format!("`{sign}` is wanted here")) }
    }

    fn accept(&mut self, sign: &str) -> bool {
        let found = self.words.get(self.next).is_some_and(|(word, _)| word == sign);
        self.next += usize::from(found);
        found
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let word = self.take(what)?;
        word.parse().or_else(|_| {
            self.next -= 1;
            self.error(format!("{what} is wanted here"))
        })
    }

    fn list(&mut self) -> Result<Vec<usize>> {
        self.expect("[")?;
        let mut numbers = Vec::new();
        while !self.accept("]") {
            if !numbers.is_empty() {
                self.expect(",")?;
            }
            numbers.push(self.number("a whole number")?);
        }
        Ok(numbers)
    }

    fn ty(&mut self) -> Result<TensorType> {
        let word = self.take("a type")?;
        self.next -= 1;
        let span = self.here();
        let ty = TensorType::parse(&word).map_err(|e| e.in_text(self.reader.path, self.reader.text.clone(), span))?;
        self.next += 1;
        Ok(ty)
    }

    fn value(&mut self) -> Result<ValueId> {
        let name = self.take("a value")?;
        if let Some(id) = self.reader.ids.get(&name) {
            return Ok(*id);
        }
        self.next -= 1;
        self.error(format!("no value `{name}` is defined above"))
    }

    fn schema(&mut self) -> Result<()> {
        if !(self.accept("schema") && self.accept("=")) {
            return self.error(format!("a graph begins with schema = \"{SCHEMA}\""));
        }
        let schema = self.take("the schema")?;
        self.next -= 1;
        if schema != SCHEMA {
            return self.error(format!("schema `{schema}` is not read by this version, only {SCHEMA}"));
        }
        Ok(())
    }

    fn statement(&mut self) -> Result<()> {
        match self.take("a statement")?.as_str() {
            "graph" => self.reader.graph.name = self.take("a name")?,
            "input" | "indices" | "const" | "node" => self.definition()?,
            "output" => {
                let name = self.take("a name")?;
                self.expect("=")?;
                let id = self.value()?;
                self.reader.graph.outputs.push((name, id));
            }
            other => {
                self.next -= 1;
                return self.error(format!("`{other}` is no statement: graph, input, indices, const, node, output"));
            }
        }
        if self.next < self.words.len() { self.error("the line should end here") } else { Ok(()) }
    }

    fn definition(&mut self) -> Result<()> {
        let keyword = self.words[self.next - 1].0.clone();
        let span = self.here();
        let name = self.take("a name")?;
        let id = match keyword.as_str() {
            "input" => {
                let (ty, shape) = (self.ty()?, self.list()?);
                self.reader.graph.add_input(&name, shape, ty)
            }
            "indices" => match self.list()?.as_slice() {
                [count] => self.reader.graph.add_indices(&name, *count),
                _ => return self.error("indices are a list of one axis"),
            },
            "const" => self.constant(&name)?,
            _ => self.node(&name, span.clone())?,
        };
        if self.reader.ids.insert(name.clone(), id).is_some() {
            return Err(self.reader.error(format!("`{name}` is defined twice"), span));
        }
        Ok(())
    }

    fn constant(&mut self, name: &str) -> Result<ValueId> {
        let (ty, shape) = (self.ty()?, self.list()?);
        let tensor = if self.accept("=") {
            let word = self.take("the bytes of the constant")?;
            self.next -= 1;
            let (payload, sides) = word.split_once(':').unwrap_or((&word, ""));
            let (Some(payload), Some(sides)) = (unhex(payload), unhex(sides)) else {
                return self.error("the bytes of a constant are pairs of hexadecimal digits");
            };
            let sized = shape.iter().try_fold(64usize, |n, d| n.checked_mul(*d)).is_some();
            match sized.then(|| Tensor::from_bytes(shape, ty, payload, &sides)) {
                Some(Ok(tensor)) => Arc::new(tensor),
                _ => return self.error("the bytes do not fit the shape and type of the constant"),
            }
        } else {
            match (self.reader.constant)(name) {
                Some(tensor) if tensor.shape == shape && tensor.ty == ty => tensor,
                Some(_) => return self.error(format!("constant `{name}` has another shape or type")),
                None => return self.error(format!("constant `{name}` is neither written here nor known")),
            }
        };
        self.next = self.words.len();
        Ok(self.reader.graph.add_const(name, tensor))
    }

    fn node(&mut self, name: &str, span: Range<usize>) -> Result<ValueId> {
        self.expect("=")?;
        let word = self.take("an op")?;
        let known = plain_ops();
        let Some(op) = known.iter().find(|op| op.name() == word) else {
            self.next -= 1;
            let near = did_you_mean(&word, known.iter().map(Op::name)).map(|near| format!("did you mean `{near}`?"));
            let error = self.error(format!("there is no op `{word}`"));
            return error.map_err(|e: Error| if let Some(near) = near { e.help(near) } else { e });
        };
        let mut op = op.clone();
        self.expect("(")?;
        let mut inputs = Vec::new();
        while !self.accept(")") {
            if !inputs.is_empty() {
                self.expect(",")?;
            }
            inputs.push(self.value()?);
        }
        match &mut op {
            Op::MatMul { group } => *group = self.attribute("group", |line| line.number("a whole number"))?,
            Op::Scale { factor } => *factor = self.attribute("factor", |line| line.number("a number"))?,
            Op::LayerNorm { eps } | Op::RmsNorm { eps } => {
                *eps = self.attribute("eps", |line| line.number("a number"))?
            }
            Op::Reshape { shape: list } | Op::Transpose { perm: list } => {
                let key = if word == "reshape" { "shape" } else { "perm" };
                *list = self.attribute(key, Self::list)?;
            }
            Op::Quantise { to } => *to = self.attribute("to", Self::ty)?,
            _ => {}
        }
        let wide = self.accept("acc");
        if wide {
            self.expect("=")?;
            self.expect("f32")?;
        }
        let source = self.reader.text.clone();
        let graph = &mut self.reader.graph;
        // A node's fault belongs to its line rather than to its name.
        let id = graph
            .add_node(name, op, &inputs)
            .map_err(|e| Error::new(e.kind(), e.message()).in_text(self.reader.path, source, span))?;
        if wide && let Some(node) = graph.nodes.last_mut() {
            node.accumulator = Accumulator::F32;
        }
        Ok(id)
    }

    fn attribute<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.expect(key)?;
        self.expect("=")?;
        read(self)
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
