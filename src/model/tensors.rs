//! The tensors of a model by name, one in memory at a time: what looks at weights and not at the network they belong to.
//! Any `.safetensors` file will do, also of a model that Preon cannot run.

use super::weights::Weights;
use super::{Input, load};
use crate::diag::{Error, Place, Result};
use crate::graph::Graph;
use crate::num::{decode, format};
use crate::tensor::TensorType;
use safetensors::Dtype;
use std::path::{Path, PathBuf};

/// One tensor of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the file, or of the graph's constant.
    pub name: String,
    /// Element type: `F32`, `BF16`, `I64`, ... as the file says, or the type of a quantised tensor (`ternary/tensor`).
    pub dtype: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Bytes as stored, scales included.
    pub bytes: u64,
    /// True for F64, F32, F16 and BF16.
    pub floating: bool,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|extent| *extent as u64).product()
    }
}

/// The open tensors of a model.
pub struct Tensors {
    /// The model as it was named.
    spec: String,
    list: Vec<TensorInfo>,
    /// Index of the file in [`Tensors::files`] that holds each tensor of the list.
    homes: Vec<usize>,
    files: Vec<Weights>,
    graph: Option<Graph>,
}

impl Tensors {
    /// Opens `builtin:NAME`, a folder with `.safetensors` files, or one such file. No tensor is read yet.
    ///
    /// # Errors
    /// BadInput for a missing or damaged file and for a folder without one; Usage for an unknown built-in.
    pub fn open(spec: &str) -> Result<Self> {
        let mut all =
            Tensors { spec: spec.into(), list: Vec::new(), homes: Vec::new(), files: Vec::new(), graph: None };
        if spec.starts_with("builtin:") {
            let graph = load(spec)?.prepare(&Input::Default)?.graph;
            let constants = graph.values.iter().filter_map(|value| match &value.def {
                crate::graph::Def::Const(tensor) => Some((value, tensor)),
                _ => None,
            });
            all.list.extend(constants.map(|(value, tensor)| TensorInfo {
                name: value.name.clone(),
                dtype: "F32".into(),
                shape: value.shape.clone(),
                bytes: tensor.bytes() as u64,
                floating: true,
            }));
            all.homes = vec![0; all.list.len()];
            all.graph = Some(graph);
            return Ok(all);
        }
        for path in files(spec)? {
            let file = Weights::open(&path)?;
            let listed = list(&file);
            all.homes.extend(listed.iter().map(|_| all.files.len()));
            all.list.extend(listed);
            all.files.push(file);
        }
        if all.list.is_empty() {
            return Err(Error::bad_input("holds no tensors").in_file(spec).help("export the model's weights again"));
        }
        let mut order: Vec<(TensorInfo, usize)> = all.list.into_iter().zip(all.homes).collect();
        order.sort_by_cached_key(|(info, _)| natural(&info.name));
        (all.list, all.homes) = order.into_iter().unzip();
        Ok(all)
    }

    /// The model as it was named.
    pub fn spec(&self) -> &str {
        &self.spec
    }

    /// All tensors: in the order of the graph, or by name with numbers in numeric order.
    pub fn list(&self) -> &[TensorInfo] {
        &self.list
    }

    /// Where a tensor is, for messages.
    pub fn place(&self, at: usize) -> Place {
        let path = self.files.get(self.homes[at]).map_or(self.spec.as_str(), Weights::path);
        Place::Tensor { path: path.into(), name: self.list[at].name.clone() }
    }

    /// The bytes of a tensor as they are stored (little-endian f32 for a built-in model).
    ///
    /// # Errors
    /// BadInput if the file cannot be read.
    pub fn bytes(&mut self, at: usize) -> Result<Vec<u8>> {
        let name = &self.list[at].name;
        match &self.graph {
            Some(graph) => constant(graph, name).map(|tensor| tensor.payload.clone()),
            None => self.files[self.homes[at]].bytes(name),
        }
    }

    /// The values of a tensor in row-major order, rounded to f32 where they are wider; NaN and infinities included.
    ///
    /// # Errors
    /// BadInput if the file cannot be read; Unsupported for element types that are no numbers of a kind known here.
    pub fn values(&mut self, at: usize) -> Result<Vec<f32>> {
        let name = &self.list[at].name;
        if let Some(graph) = &self.graph {
            return constant(graph, name).map(|tensor| tensor.to_f32());
        }
        let file = &mut self.files[self.homes[at]];
        if let Some(tensor) = file.quantised(name)? {
            return Ok(tensor.to_f32());
        }
        let dtype = file.info(name).map(|(dtype, _)| dtype);
        let bytes = file.bytes(name)?;
        dtype.map_or(Ok(None), |dtype| numbers(&bytes, dtype))?.ok_or_else(|| {
            Error::unsupported(format!("is of type {}, which is not read", self.list[at].dtype)).at(self.place(at))
        })
    }
}

/// The constant called `name`.
fn constant<'a>(graph: &'a Graph, name: &str) -> Result<&'a crate::tensor::Tensor> {
    let found = graph.values.iter().find(|value| value.name == name);
    match found.map(|value| &value.def) {
        Some(crate::graph::Def::Const(tensor)) => Ok(tensor),
        _ => Err(Error::internal(format!("`{name}` is no constant of the graph"))),
    }
}

/// The `.safetensors` files that `spec` names, in order.
fn files(spec: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(spec);
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let unread = |e: std::io::Error| Error::bad_input(format!("cannot be read: {e}")).in_file(spec);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            found.push(path);
        }
    }
    found.sort();
    match found.is_empty() {
        false => Ok(found),
        true => Err(Error::bad_input("holds no .safetensors file")
            .in_file(spec)
            .help("give a folder with model.safetensors, such a file, or builtin:NAME")),
    }
}

/// The tensors of one file; scales belong to the tensor that they scale.
fn list(file: &Weights) -> Vec<TensorInfo> {
    let names = file.names();
    let quantised = names.iter().filter(|name| file.stored(name).is_some());
    let sides: Vec<String> = quantised.flat_map(|name| super::stored::side_names(name)).collect();
    let of = |name: &String| {
        let (dtype, shape) = file.info(name)?;
        let bytes = |dtype: Dtype, shape: &[usize]| (shape.iter().product::<usize>() * dtype.bitsize()).div_ceil(8);
        let mut info = TensorInfo {
            name: name.clone(),
            dtype: format!("{dtype:?}"),
            shape: shape.to_vec(),
            bytes: bytes(dtype, shape) as u64,
            floating: matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16),
        };
        if let Some(stored) = file.stored(name) {
            for side in super::stored::side_names(name) {
                info.bytes += file.info(&side).map_or(0, |(dtype, shape)| bytes(dtype, shape)) as u64;
            }
            let ty = TensorType::parse(&stored.ty).map_or_else(|_| stored.ty.clone(), |ty| ty.general().to_string());
            (info.dtype, info.shape) = (ty, stored.shape.clone());
        }
        Some(info)
    };
    names.iter().filter(|name| !sides.contains(name)).filter_map(of).collect()
}

/// Numbers of a plain element type, `None` for a type that is not read.
fn numbers(bytes: &[u8], dtype: Dtype) -> Result<Option<Vec<f32>>> {
    /// Applies a conversion to every little-endian word.
    macro_rules! words {
        ($width:literal, $convert:expr) => {
            bytes.as_chunks::<$width>().0.iter().map($convert).collect()
        };
    }
    let narrow = |name: &str| -> Result<Vec<f32>> {
        let from = format::find(name)?;
        Ok(words!(2, |b| f32::from_bits(decode(from, u32::from(u16::from_le_bytes(*b))))))
    };
    Ok(Some(match dtype {
        Dtype::F32 => words!(4, |b| f32::from_le_bytes(*b)),
        Dtype::F64 => words!(8, |b| f64::from_le_bytes(*b) as f32),
        Dtype::F16 => narrow("fp16")?,
        Dtype::BF16 => narrow("bf16")?,
        Dtype::I64 => words!(8, |b| i64::from_le_bytes(*b) as f32),
        Dtype::U64 => words!(8, |b| u64::from_le_bytes(*b) as f32),
        Dtype::I32 => words!(4, |b| i32::from_le_bytes(*b) as f32),
        Dtype::U32 => words!(4, |b| u32::from_le_bytes(*b) as f32),
        Dtype::I16 => words!(2, |b| f32::from(i16::from_le_bytes(*b))),
        Dtype::U16 => words!(2, |b| f32::from(u16::from_le_bytes(*b))),
        Dtype::I8 => bytes.iter().map(|b| f32::from(*b as i8)).collect(),
        Dtype::U8 | Dtype::BOOL => bytes.iter().map(|b| f32::from(*b)).collect(),
        _ => return Ok(None),
    }))
}

/// A key by which `layer.2` stands before `layer.10`: runs of digits by length, then by digits.
fn natural(name: &str) -> Vec<(bool, usize, String)> {
    let mut parts: Vec<(bool, usize, String)> = Vec::new();
    for c in name.chars() {
        let digit = c.is_ascii_digit();
        match parts.last_mut() {
            Some((kind, length, text)) if *kind == digit => {
                *length += usize::from(digit);
                text.push(c);
            }
            _ => parts.push((digit, usize::from(digit), c.to_string())),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_in_numeric_order() {
        let mut names = ["layer.10.w", "layer.2.w", "layer.2.b", "head"];
        names.sort_by_cached_key(|name| natural(name));
        assert_eq!(names, ["head", "layer.2.b", "layer.2.w", "layer.10.w"]);
    }

    #[test]
    fn element_types_become_numbers() {
        assert_eq!(numbers(&[0x80, 0x3f], Dtype::BF16).unwrap().unwrap(), [1.0]);
        assert_eq!(numbers(&[0x00, 0xc0], Dtype::F16).unwrap().unwrap(), [-2.0]);
        assert_eq!(numbers(&[0xff, 2], Dtype::I8).unwrap().unwrap(), [-1.0, 2.0]);
        assert_eq!(numbers(&(-3i64).to_le_bytes(), Dtype::I64).unwrap().unwrap(), [-3.0]);
        assert!(numbers(&[0], Dtype::F8_E4M3).unwrap().is_none());
    }

    #[test]
    fn a_builtin_lists_its_constants() {
        let mut tensors = Tensors::open("builtin:mlp").unwrap();
        assert_eq!(tensors.list()[0].shape, [256, 64]);
        assert_eq!(tensors.values(0).unwrap().len(), 256 * 64);
        assert_eq!(tensors.bytes(0).unwrap().len(), 4 * 256 * 64);
    }
}
