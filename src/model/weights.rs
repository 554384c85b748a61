//! Tensors of a `.safetensors` file, read one by one into place.
//!
//! The format: 8 bytes little-endian header length, a JSON header with type, shape and byte range of each tensor,
//! then the data. Lengths are checked against the file's size before anything is allocated. Tensors that `preon
//! quantise` wrote (docs/quantised-files.md) are described by the header's metadata and read back as they were made.

use super::stored::{self, Part, Stored};
use super::{check_file, csr};
use crate::diag::{Error, Place, Result};
use crate::num::{decode, format};
use crate::tensor::{Tensor, TensorType};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// Longest header read: 100 MB, the limit of the format.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An open file of weights.
pub(super) struct Weights {
    path: String,
    file: File,
    header: Metadata,
    data_start: u64,
    prefix: String,
    quantised: BTreeMap<String, Stored>,
}

impl Weights {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let length = check_file(path)?;
        let path = path.display().to_string();
        let refuse = |what: String| Error::bad_input(what).in_file(&path);
        let unread = |e: std::io::Error| refuse(format!("cannot be read: {e}"));
        let mut file = File::open(&path).map_err(unread)?;
        let mut start = [0u8; 8];
        if length < 8 {
            return Err(refuse(format!("is {length} bytes long, too short for a safetensors file")));
        }
        file.read_exact(&mut start).map_err(unread)?;
        let header_length = u64::from_le_bytes(start);
        if header_length > length - 8 {
            return Err(refuse(format!(
                "states a header of {header_length} bytes, but only {} bytes follow: it is truncated or no safetensors file",
                length - 8
            )));
        }
        if header_length > MAX_HEADER_BYTES {
            return Err(refuse(format!("states a header of {header_length} bytes, more than the 100 MB allowed")));
        }
        let mut header = vec![0u8; header_length as usize];
        file.read_exact(&mut header).map_err(unread)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|e| refuse(format!("has a damaged header: {e}")))?;
        let (data_start, data) = (8 + header_length, header.data_len() as u64);
        if length - data_start != data {
            return Err(refuse(format!(
                "holds {} bytes of data where its header states {data}: it is truncated or damaged",
                length - data_start
            )));
        }
        let quantised = match header.metadata().as_ref().and_then(|pairs| pairs.get(stored::KEY)) {
            Some(text) => stored::parse(text).map_err(|e| e.in_file(&path))?,
            None => BTreeMap::new(),
        };
        if let Some(name) = quantised.keys().find(|name| header.info(name).is_none()) {
            return Err(refuse(format!("has metadata of a tensor `{name}` that it does not hold")));
        }
        Ok(Weights { path, file, header, data_start, prefix: String::new(), quantised })
    }

    /// Path of the file.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Names of all tensors, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.header.tensors().into_keys().collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// Element type and shape of a tensor as the file's header states them.
    pub(super) fn info(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.header.info(name).map(|info| (info.dtype, info.shape.as_slice()))
    }

    /// What the metadata says of a quantised tensor.
    pub(super) fn stored(&self, name: &str) -> Option<&Stored> {
        self.quantised.get(name)
    }

    fn place(&self, name: &str) -> Place {
        Place::Tensor { path: self.path.clone(), name: name.into() }
    }

    /// The bytes of a tensor as they stand in the file.
    ///
    /// # Errors
    /// BadInput if it is missing or cannot be read.
    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>> {
        let place = self.place(name);
        let refuse = |what: String| Error::bad_input(what).at(place.clone());
        let info = self.header.info(name).ok_or_else(|| refuse("is missing from the file".into()))?;
        read_range(&mut self.file, self.data_start, info).map_err(|e| refuse(format!("cannot be read: {e}")))
    }

    /// A tensor that `preon quantise` wrote, if `name` is one.
    ///
    /// # Errors
    /// BadInput if its parts do not fit its type.
    pub(super) fn quantised(&mut self, name: &str) -> Result<Option<Tensor>> {
        let Some(entry) = self.quantised.get(name).cloned() else { return Ok(None) };
        let place = self.place(name);
        let length = self.header.info(name).map_or(0, |info| info.data_offsets.1 - info.data_offsets.0);
        let ty = entry.checked_type(length).map_err(|e| e.at(place.clone()))?;
        let (codes, parts) = stored::parts(name, &ty, &entry.shape, entry.sparsity.is_some());
        self.check_part(name, Some(&codes), &ty).map_err(|e| e.at(place.clone()))?;
        let payload = self.bytes(name)?;
        let mut sides = [const { Vec::new() }; 4];
        for ((side, part), name) in sides.iter_mut().zip(&parts).zip(stored::side_names(name)) {
            self.check_part(&name, part.as_ref(), &ty).map_err(|e| e.at(place.clone()))?;
            if part.is_some() {
                *side = self.bytes(&name)?;
            }
        }
        entry.tensor(payload, sides).map(Some).map_err(|e| e.at(place))
    }

    /// That the file holds `part` as it should under `name`, or nothing if it should not.
    fn check_part(&self, name: &str, part: Option<&Part>, ty: &TensorType) -> Result<()> {
        let found = self.header.info(name).map(|info| (format!("{:?}", info.dtype), &info.shape));
        let what = match (part, found) {
            (None, None) => return Ok(()),
            (None, Some(_)) => format!("`{name}` stands in the file, but {} has none", ty.general()),
            (Some(_), None) => format!("`{name}` is missing, which {} has", ty.general()),
            (Some(part), Some((dtype, shape))) if dtype == part.dtype && *shape == part.shape => return Ok(()),
            (Some(part), Some((dtype, shape))) => {
                format!("`{name}` is {dtype} {shape:?}, but {} calls for {} {:?}", ty.general(), part.dtype, part.shape)
            }
        };
        Err(Error::bad_input(what).help("quantise the model again"))
    }

    /// The compressed sparse rows that stand in the file for the matrix `name`, if they do.
    ///
    /// # Errors
    /// BadInput, naming the tensor, if one of the three is missing or of another type, or if `name` is there as well.
    fn triple(&mut self, name: &str) -> Result<Option<csr::Triple>> {
        let names = csr::NAMES.map(|part| format!("{name}.{part}"));
        if names.iter().all(|part| self.header.info(part).is_none()) {
            return Ok(None);
        }
        let refuse = |name: &str, what: String| Err(Error::bad_input(what).at(self.place(name)));
        if self.header.info(name).is_some() {
            return refuse(name, format!("stands in the file both dense and as sparse rows (`{}`)", names[0]));
        }
        let mut dtypes = Vec::new();
        for (at, part) in names.iter().enumerate() {
            let Some(info) = self.header.info(part) else {
                return refuse(name, format!("has sparse rows without `{part}`"));
            };
            if info.shape.len() != 1 {
                return refuse(part, format!("has shape {:?}, but parts of sparse rows have one axis", info.shape));
            }
            let dtype = info.dtype;
            if at < 2 && !matches!(dtype, Dtype::I32 | Dtype::I64 | Dtype::U32 | Dtype::U64) {
                return refuse(part, format!("is of type {dtype:?}; places are I32, I64, U32 or U64"));
            }
            dtypes.push(dtype);
        }
        let mut bytes = Vec::new();
        for part in &names {
            bytes.push(self.bytes(part)?);
        }
        let [indptr, indices, values] = [0, 1, 2].map(|at| (std::mem::take(&mut bytes[at]), dtypes[at]));
        let places = |part: usize, (bytes, dtype): (Vec<u8>, Dtype)| {
            csr::places(&bytes, dtype).map_err(|e| e.at(self.place(&names[part])))
        };
        let values = finite_fp32(values.0, values.1).map_err(|e| e.at(self.place(&names[2])))?;
        Ok(Some(csr::Triple { indptr: places(0, indptr)?, indices: places(1, indices)?, values }))
    }

    /// Looks up every later name behind `prefix` if the file has `name` only there.
    pub(super) fn accept_prefix(&mut self, prefix: &str, name: &str) {
        if self.header.info(name).is_none() && self.header.info(&format!("{prefix}{name}")).is_some() {
            self.prefix = prefix.into();
        }
    }

    /// The tensor `name` of the given shape, as fp32.
    ///
    /// # Errors
    /// BadInput if it is missing, has another shape or type, or holds a NaN or an infinity.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Arc<Tensor>> {
        let name = format!("{}{name}", self.prefix);
        let place = self.place(&name);
        let refuse = |what: String| Error::bad_input(what).at(place.clone());
        if let Some(tensor) = self.quantised(&name)? {
            return match tensor.shape == shape {
                // Only matrices are read in another type than fp32.
                true if shape.len() == 1 => Tensor::from_f32(shape.to_vec(), &tensor.to_f32()).map(Arc::new),
                true => Ok(Arc::new(tensor)),
                false => Err(refuse(format!("has shape {:?}, but config.json calls for {shape:?}", tensor.shape))),
            };
        }
        if let Some(triple) = self.triple(&name)? {
            return triple.tensor(shape).map(Arc::new).map_err(|e| e.at(place));
        }
        let info = self.header.info(&name).ok_or_else(|| refuse("is missing from the file".into()))?;
        if info.shape != shape {
            return Err(refuse(format!("has shape {:?}, but config.json calls for {shape:?}", info.shape)));
        }
        let bytes =
            read_range(&mut self.file, self.data_start, info).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        let payload = finite_fp32(bytes, info.dtype).map_err(|e| e.at(place))?;
        Tensor::new(shape.to_vec(), TensorType::plain(format::find("fp32")?), payload, Vec::new()).map(Arc::new)
    }
}

/// The bytes of one tensor; the header has been checked against the file's length.
fn read_range(file: &mut File, data_start: u64, info: &TensorInfo) -> std::io::Result<Vec<u8>> {
    let (from, to) = info.data_offsets;
    let mut bytes = Vec::with_capacity(to - from);
    file.seek(SeekFrom::Start(data_start + from as u64))?;
    file.take((to - from) as u64).read_to_end(&mut bytes)?;
    if bytes.len() != to - from {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Floats of a file as fp32.
///
/// # Errors
/// BadInput for another type, and for NaN or an infinity.
fn finite_fp32(bytes: Vec<u8>, dtype: Dtype) -> Result<Vec<u8>> {
    let payload = match dtype {
        Dtype::F32 => bytes,
        Dtype::F16 => widen(&bytes, "fp16")?,
        Dtype::BF16 => widen(&bytes, "bf16")?,
        other => return Err(Error::bad_input(format!("is of type {other:?}; F32, F16 and BF16 are read"))),
    };
    let finite = |word: &[u8; 4]| u32::from_le_bytes(*word) & 0x7f80_0000 != 0x7f80_0000;
    match payload.as_chunks::<4>().0.iter().position(|word| !finite(word)) {
        Some(at) => Err(Error::bad_input(format!("element {at} is NaN or infinite"))),
        None => Ok(payload),
    }
}

/// 16-bit floats to fp32, exactly.
fn widen(bytes: &[u8], from: &str) -> Result<Vec<u8>> {
    let from = format::find(from)?;
    let words = bytes.chunks_exact(2).map(|b| decode(from, u32::from(u16::from_le_bytes([b[0], b[1]]))));
    Ok(words.flat_map(u32::to_le_bytes).collect())
}
