//! The fields of ONNX's protobuf messages that say shapes, read straight from the file: what carries weights is passed
//! over without being read, and no length is believed before the file is that long.

use crate::diag::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Longest name, and most elements of a constant that is kept because shapes may depend on it.
const LONGEST_NAME: u64 = 1 << 16;
const MOST_ELEMENTS: u64 = 64;
/// Most nodes and tensors of a model.
const MOST_PARTS: usize = 1 << 18;

/// A graph's shapes.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    /// Initializers and constants: extents, and values where they are few integers.
    pub constants: BTreeMap<String, (Vec<u64>, Option<Vec<i64>>)>,
    /// Inputs of the graph, constants among them in old files; `None` where no shape is said.
    pub inputs: Vec<(String, Option<Vec<Dim>>)>,
    pub outputs: Vec<(String, Option<Vec<Dim>>)>,
    /// Version of the default set of operators.
    pub opset: Option<u64>,
}

/// An extent of an input.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Dim {
    Known(u64),
    /// Left open, under this name.
    Open(String),
}

#[derive(Debug, Default)]
pub(super) struct Node {
    pub name: String,
    pub op: String,
    pub domain: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    /// Attributes that are integers or lists of them.
    pub ints: BTreeMap<String, Vec<i64>>,
    /// Attributes that are texts.
    pub texts: BTreeMap<String, String>,
    /// The tensor of a constant.
    pub tensor: Option<(Vec<u64>, Option<Vec<i64>>)>,
}

/// Reads the graph of a model.
///
/// # Errors
/// BadInput for a file that is no ONNX model, or ends early.
pub(super) fn read(path: &Path) -> Result<Graph> {
    let shown = path.display().to_string();
    let wrong = |e: std::io::Error| Error::bad_input(format!("the model cannot be read: {e}")).in_file(shown.clone());
    // A pipe would wait for ever to be opened.
    if !std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Err(Error::bad_input("a model is a file").in_file(shown));
    }
    let file = File::open(path).map_err(wrong)?;
    let meta = file.metadata().map_err(wrong)?;
    let mut wire = Wire { file: BufReader::new(file), at: 0 };
    model(&mut wire, meta.len()).map_err(|error| error.in_file(shown))
}

/// A position in the file.
struct Wire {
    file: BufReader<File>,
    at: u64,
}

/// A field: its number, and what follows.
enum Field {
    Number(u64),
    /// A length-delimited piece up to this byte.
    Piece(u64),
    /// Four or eight bytes, passed over.
    Fixed,
}

impl Wire {
    fn bad<T>(&self, what: &str) -> Result<T> {
        Err(Error::bad_input(format!("this is no ONNX model: {what} at byte {}", self.at)))
    }
    fn byte(&mut self, end: u64) -> Result<u8> {
        let mut byte = [0];
        if self.at >= end || self.file.read_exact(&mut byte).is_err() {
            return self.bad("it ends early");
        }
        self.at += 1;
        Ok(byte[0])
    }
    fn varint(&mut self, end: u64) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(end)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        self.bad("a number of more than 64 bits")
    }
    fn skip_to(&mut self, to: u64) -> Result<()> {
        let by = i64::try_from(to - self.at).unwrap_or(i64::MAX);
        if self.file.seek_relative(by).is_err() {
            return self.bad("it ends early");
        }
        self.at = to;
        Ok(())
    }
    /// The next field of the message that ends at `end`.
    fn field(&mut self, end: u64) -> Result<Option<(u64, Field)>> {
        if self.at >= end {
            return Ok(None);
        }
        let key = self.varint(end)?;
        let field = match key & 7 {
            0 => Field::Number(self.varint(end)?),
            2 => {
                let bytes = self.varint(end)?;
                match self.at.checked_add(bytes).filter(|piece| *piece <= end) {
                    Some(piece) => Field::Piece(piece),
                    None => return self.bad("a piece that is longer than what holds it"),
                }
            }
            width @ (1 | 5) => {
                let to = self.at + if width == 1 { 8 } else { 4 };
                if to > end {
                    return self.bad("it ends early");
                }
                self.skip_to(to)?;
                Field::Fixed
            }
            _ => return self.bad("a kind of field that there is not"),
        };
        Ok(Some((key >> 3, field)))
    }
    /// Calls `take` for the fields of a message; a piece that it does not read to its end is passed over.
    fn message(&mut self, end: u64, mut take: impl FnMut(&mut Wire, u64, &Field) -> Result<()>) -> Result<()> {
        while let Some((number, field)) = self.field(end)? {
            take(self, number, &field)?;
            if let Field::Piece(to) = field {
                self.skip_to(to)?;
            }
        }
        Ok(())
    }
    fn text(&mut self, field: &Field) -> Result<String> {
        let Field::Piece(to) = *field else { return self.bad("a number where a text should be") };
        let bytes = to - self.at;
        if bytes > LONGEST_NAME {
            return self.bad("a name that is too long");
        }
        let mut text = vec![0; bytes as usize];
        if self.file.read_exact(&mut text).is_err() {
            return self.bad("it ends early");
        }
        self.at = to;
        match String::from_utf8(text) {
            Ok(text) if text.chars().any(char::is_control) => self.bad("a name with a control character"),
            Ok(text) => Ok(text),
            Err(_) => self.bad("a name that is not UTF-8"),
        }
    }
    /// Adds the integers of a repeated field, packed or not.
    fn integers(&mut self, field: &Field, to: &mut Vec<i64>) -> Result<()> {
        match *field {
            Field::Number(value) => to.push(value as i64),
            Field::Piece(end) => {
                while self.at < end {
                    let value = self.varint(end)? as i64;
                    if to.len() as u64 >= LONGEST_NAME {
                        return self.bad("a list that is too long");
                    }
                    to.push(value);
                }
            }
            Field::Fixed => return self.bad("a fraction where an integer should be"),
        }
        Ok(())
    }
}

fn model(wire: &mut Wire, end: u64) -> Result<Graph> {
    let (mut graph, mut opset) = (None, None);
    wire.message(end, |wire, number, field| {
        match (number, field) {
            (7, Field::Piece(to)) => graph = Some(self::graph(wire, *to)?),
            (8, Field::Piece(to)) => {
                let (mut domain, mut version) = (String::new(), None);
                wire.message(*to, |wire, number, field| {
                    match (number, field) {
                        (1, _) => domain = wire.text(field)?,
                        (2, Field::Number(number)) => version = Some(*number),
                        _ => {}
                    }
                    Ok(())
                })?;
                if domain.is_empty() || domain == "ai.onnx" {
                    opset = version;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    match graph {
        Some(graph) => Ok(Graph { opset, ..graph }),
        None => wire.bad("it has no graph"),
    }
}

fn graph(wire: &mut Wire, end: u64) -> Result<Graph> {
    let mut graph = Graph::default();
    wire.message(end, |wire, number, field| {
        let Field::Piece(to) = *field else { return Ok(()) };
        match number {
            1 => graph.nodes.push(node(wire, to)?),
            5 => {
                let (name, tensor) = tensor(wire, to)?;
                match graph.constants.get(&name) {
                    Some(other) if *other != tensor => return wire.bad(&format!("two constants are called `{name}`")),
                    _ => graph.constants.insert(name, tensor),
                };
            }
            11 => graph.inputs.push(value_info(wire, to)?),
            12 => graph.outputs.push(value_info(wire, to)?),
            _ => {}
        }
        if graph.nodes.len().max(graph.constants.len()) > MOST_PARTS {
            return wire.bad("more nodes or tensors than a model has");
        }
        Ok(())
    })?;
    Ok(graph)
}

fn node(wire: &mut Wire, end: u64) -> Result<Node> {
    let mut node = Node::default();
    wire.message(end, |wire, number, field| {
        match (number, field) {
            (1, _) => node.inputs.push(wire.text(field)?),
            (2, _) => node.outputs.push(wire.text(field)?),
            (3, _) => node.name = wire.text(field)?,
            (4, _) => node.op = wire.text(field)?,
            (5, Field::Piece(to)) => attribute(wire, *to, &mut node)?,
            (7, _) => node.domain = wire.text(field)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(node)
}

fn attribute(wire: &mut Wire, end: u64, node: &mut Node) -> Result<()> {
    let (mut name, mut ints, mut text, mut held, mut floats) = (String::new(), Vec::new(), None, None, None);
    wire.message(end, |wire, number, field| {
        match (number, field) {
            (1, _) => name = wire.text(field)?,
            (2, Field::Fixed) => floats = Some(Vec::new()),
            (7, Field::Fixed) => floats.get_or_insert_with(|| vec![0])[0] += 1,
            (7, Field::Piece(to)) => floats = Some(vec![(to - wire.at) / 4]),
            (3 | 8, _) => wire.integers(field, &mut ints)?,
            (4, Field::Piece(to)) if to - wire.at <= 64 => text = Some(wire.text(field)?),
            (5, Field::Piece(to)) => held = Some(tensor(wire, *to)?.1),
            _ => {}
        }
        Ok(())
    })?;
    // What a Constant may hold in other ways than as a tensor.
    let said = match name.as_str() {
        "value_int" => ints.first().map(|value| (Vec::new(), Some(vec![*value]))),
        "value_ints" => Some((vec![ints.len() as u64], Some(ints.clone()))),
        "value_float" | "value_floats" => floats.map(|shape| (shape, None)),
        _ => None,
    };
    node.tensor = held.or(said).or(node.tensor.take());
    if let Some(text) = text {
        node.texts.insert(name.clone(), text);
    }
    if !ints.is_empty() {
        node.ints.insert(name, ints);
    }
    Ok(())
}

/// Extents and, of few integers of 64 bits, the values.
type Held = (Vec<u64>, Option<Vec<i64>>);

/// Name and what is held.
fn tensor(wire: &mut Wire, end: u64) -> Result<(String, Held)> {
    const INT64: u64 = 7;
    let (mut name, mut dims, mut values, mut raw, mut kind) = (String::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    wire.message(end, |wire, number, field| {
        match (number, field) {
            (1, _) => wire.integers(field, &mut dims)?,
            (2, Field::Number(known)) => kind = *known,
            (7, Field::Piece(to)) if to - wire.at > 10 * MOST_ELEMENTS => {}
            (7, _) => wire.integers(field, &mut values)?,
            (8, _) => name = wire.text(field)?,
            (9, Field::Piece(to)) if to - wire.at <= 8 * MOST_ELEMENTS => {
                while wire.at < *to {
                    raw.push(wire.byte(*to)?);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    let extents = dims.iter().map(|dim| u64::try_from(*dim).unwrap_or(0)).collect::<Vec<_>>();
    values.extend(raw.chunks_exact(8).map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])));
    let elements = extents.iter().fold(1, |product: u64, extent| product.saturating_mul(*extent));
    let whole = kind == INT64 && values.len() as u64 == elements;
    Ok((name, (extents, whole.then_some(values))))
}

/// Name and extents of an input or output.
fn value_info(wire: &mut Wire, end: u64) -> Result<(String, Option<Vec<Dim>>)> {
    let (mut name, mut shape) = (String::new(), None);
    wire.message(end, |wire, number, field| match (number, field) {
        (1, _) => {
            name = wire.text(field)?;
            Ok(())
        }
        // TypeProto > tensor_type > shape > dim
        (2, Field::Piece(to)) => wire.message(*to, |wire, number, field| match (number, field) {
            (1, Field::Piece(to)) => wire.message(*to, |wire, number, field| match (number, field) {
                (2, Field::Piece(to)) => {
                    let dims: &mut Vec<Dim> = shape.insert(Vec::new());
                    wire.message(*to, |wire, number, field| match (number, field) {
                        (1, Field::Piece(to)) => {
                            let mut dim = Dim::Open(String::new());
                            wire.message(*to, |wire, number, field| {
                                match (number, field) {
                                    // Some exporters write -1 or 0 for what is open.
                                    (1, Field::Number(value)) => {
                                        dim = match *value as i64 {
                                            open @ ..=0 => Dim::Open(open.to_string()),
                                            _ => Dim::Known(*value),
                                        };
                                    }
                                    (2, _) => dim = Dim::Open(wire.text(field)?),
                                    _ => {}
                                }
                                Ok(())
                            })?;
                            dims.push(dim);
                            Ok(())
                        }
                        _ => Ok(()),
                    })
                }
                _ => Ok(()),
            }),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })?;
    Ok((name, shape))
}
