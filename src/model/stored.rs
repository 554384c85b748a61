//! How a quantised tensor stands in a `.safetensors` file (docs/quantised-files.md): packed codes under the tensor's own
//! name, scales beside them, and one JSON text in the file's metadata that says what each is.

use crate::diag::{Error, Result};
use crate::num::format;
use crate::tensor::{Mask, Sparsity, Tensor, TensorType, rows_cols};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Schema of the metadata text.
pub const SCHEMA: &str = "preon.weights/1";
/// Key of the metadata text in the header's `__metadata__`.
pub const KEY: &str = "preon.weights";

/// Names of the tensors that may stand beside the codes of `name`: scales, offsets, the scale of the whole tensor,
/// the mask.
pub fn side_names(name: &str) -> [String; 4] {
    ["scales", "offsets", "global", "mask"].map(|side| format!("{name}.{side}"))
}

/// One of the tensors of a file that make a quantised one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Element type in the file.
    pub dtype: &'static str,
    /// Extent of each axis in the file.
    pub shape: Vec<usize>,
}

/// What stands in a file for the tensor `name` of type `ty` and shape `shape`: its codes, then one entry for each of
/// [`side_names`], `None` if it has none.
pub fn parts(name: &str, ty: &TensorType, shape: &[usize], masked: bool) -> (Part, [Option<Part>; 4]) {
    let (rows, cols) = rows_cols(shape);
    let part = |name: &str, dtype, shape| Part { name: name.into(), dtype, shape };
    let (count, each) = (ty.scale_count(rows, cols), ty.scales_per_row(cols));
    let grid = if each == 1 { vec![count] } else { vec![count / each.max(1), each] };
    let dtype = match ty.scale.format.name.as_str() {
        "fp32" => "F32",
        "bf16" => "BF16",
        "fp16" => "F16",
        _ => "U8",
    };
    let [scales, offsets, global, mask] = side_names(name);
    let sides = [
        (count > 0).then(|| part(&scales, dtype, grid.clone())),
        ty.offset.then(|| part(&offsets, "F32", grid)),
        ty.scale.global.then(|| part(&global, "F32", vec![1])),
        masked.then(|| part(&mask, "U8", vec![rows, cols.div_ceil(8)])),
    ];
    (part(name, "U8", vec![rows, ty.row_bytes(cols)]), sides)
}

/// Type and shape of one quantised tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// The type as policies write it, for example `ternary/tensor`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Extent of each axis of the tensor; the file states that of the packed rows.
    pub shape: Vec<usize>,
    /// The pattern of its mask, if it has one, for example `2:4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<String>,
}

/// The metadata text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: String,
    tensors: BTreeMap<String, Stored>,
    /// Value of every code of each element format used (formats of up to 8 bits), for readers that do not know Preon.
    #[serde(default)]
    codes: BTreeMap<String, Vec<Option<f32>>>,
}

/// The metadata text for these tensors.
///
/// # Errors
/// As [`TensorType::parse`]; Internal if it cannot be written.
pub fn text(tensors: BTreeMap<String, Stored>) -> Result<String> {
    let mut codes = BTreeMap::new();
    for stored in tensors.values() {
        let format = TensorType::parse(&stored.ty)?.format;
        let values = format.values.iter().map(|bits| Some(f32::from_bits(*bits)).filter(|v| v.is_finite()));
        if !format.values.is_empty() {
            codes.insert(format.name.clone(), values.collect());
        }
    }
    serde_json::to_string(&Text { schema: SCHEMA.into(), tensors, codes }).map_err(|e| Error::internal(e.to_string()))
}

/// Reads the metadata text.
///
/// # Errors
/// BadInput if it is damaged or of another schema.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Stored>> {
    let damaged = |e: serde_json::Error| Error::bad_input(format!("the metadata `{KEY}` is damaged: {e}"));
    let text: Text = serde_json::from_str(text).map_err(damaged)?;
    for (name, stated) in &text.codes {
        check_codes(name, stated)?;
    }
    match text.schema.as_str() {
        SCHEMA => Ok(text.tensors),
        other => Err(Error::unsupported(format!("quantised tensors of schema `{other}` are not served"))
            .help(format!("this version reads {SCHEMA}"))),
    }
}

/// That a format has the values that the metadata states.
fn check_codes(name: &str, stated: &[Option<f32>]) -> Result<()> {
    let format = format::find(name)?;
    let same = |(known, stated): (&u32, &Option<f32>)| {
        let known = f32::from_bits(*known);
        if known.is_finite() { *stated == Some(known) } else { stated.is_none() }
    };
    let all = format.values.len() == stated.len() && format.values.iter().zip(stated).all(same);
    let wrong =
        || Error::bad_input(format!("the metadata `{KEY}` states other values of `{name}` than that format has"));
    if all { Ok(()) } else { Err(wrong().help("`--formats` may hold another format of that name")) }
}

impl Stored {
    /// The type, once the shape is one that `bytes` of codes can have.
    ///
    /// # Errors
    /// BadInput for a type that is none or a shape beyond all bytes.
    pub(super) fn checked_type(&self, bytes: usize) -> Result<TensorType> {
        let ty = TensorType::parse(&self.ty)?;
        let elements = self.shape.iter().try_fold(1usize, |n, extent| n.checked_mul(*extent));
        // No more than 64 elements stand in a byte of payload, so that a false shape costs no memory.
        match elements {
            Some(elements) if elements / 64 <= bytes => Ok(ty),
            _ => Err(Error::bad_input(format!("{bytes} bytes of codes do not fit {ty} of shape {:?}", self.shape))),
        }
    }

    /// The tensor of these packed codes and what stands beside them, in the order of [`side_names`], each empty if absent.
    ///
    /// # Errors
    /// BadInput if the lengths do not fit the type and shape.
    pub(super) fn tensor(&self, payload: Vec<u8>, sides: [Vec<u8>; 4]) -> Result<Tensor> {
        let ty = self.checked_type(payload.len())?;
        let damaged = || Error::bad_input(format!("its codes and scales do not fit {ty} of shape {:?}", self.shape));
        let (rows, cols) = rows_cols(&self.shape);
        let [mut side, offsets, global, mask] = sides;
        let lengths = (payload.len(), side.len(), offsets.len(), global.len());
        let count = ty.scale_count(rows, cols);
        let offset_bytes = if ty.offset { 4 * count } else { 0 };
        let wanted =
            (rows * ty.row_bytes(cols), ty.scale_bytes(rows, cols), offset_bytes, 4 * usize::from(ty.scale.global));
        if lengths != wanted {
            return Err(damaged());
        }
        side.resize(ty.offsets_at(rows, cols), 0);
        side.extend(offsets);
        side.extend(global);
        let tensor = Tensor::from_bytes(self.shape.clone(), ty, payload, &side)?;
        match &self.sparsity {
            None => Ok(tensor),
            Some(sparsity) => tensor.with_mask(Mask::new(Sparsity::parse(sparsity)?, (rows, cols), mask)?),
        }
    }
}
