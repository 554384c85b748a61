//! A model written out in a policy's formats: which tensor is held as what, and the `.safetensors` file of codes and scales
//! (docs/quantised-files.md). Tensors pass one at a time; the file is put together from four streams, one for each alignment,
//! so that nothing has to be known before it is quantised.

use super::measure::{code_counts, entropy_bits, sqnr_db};
use crate::diag::{Error, Kind, Place, Result};
use crate::model::stored::{self, Stored};
use crate::model::{self, Input, TensorInfo, Tensors};
use crate::policy::{self, Policy, Role, Setting};
use crate::tensor::{Recipe, Scaling, Tensor, TensorType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Schema of [`Quantised`].
pub const QUANTISED_SCHEMA: &str = "preon.quantised/1";

/// What became of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantised {
    /// [`QUANTISED_SCHEMA`].
    pub schema: String,
    /// The model as it was named.
    pub model: String,
    /// Name of the policy.
    pub policy: String,
    /// True if the file holds plain f32 values of the quantised weights instead of codes.
    pub dequantised: bool,
    /// One row a tensor, in the order of the model.
    pub tensors: Vec<QuantisedRow>,
    /// Elements of all tensors.
    pub elements: u64,
    /// Bytes of all tensors before.
    pub bytes_before: u64,
    /// Bytes of all tensors in the file.
    pub bytes_after: u64,
    /// Bits a weight of the quantised tensors alone, scales included; `null` if there is none.
    pub bits_per_weight: Option<f64>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuantisedRow {
    /// Name.
    pub name: String,
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Element type before.
    pub dtype: String,
    /// Type after, as policies write it; `null` for a tensor left as it was.
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// Number of elements.
    pub elements: u64,
    /// Stored bits a weight in that type, scales and padding included.
    pub bits_per_weight: f64,
    /// Entropy of the codes, bits a weight.
    pub entropy_bits: Option<f64>,
    /// Signal to quantisation noise in dB; `null` where there is no noise.
    pub sqnr_db: Option<f64>,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes in the file.
    pub bytes_after: u64,
}

/// What a tensor becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its type.
    pub ty: TensorType,
    /// How its codes are made.
    pub recipe: Recipe,
    /// Its name in the graph of a run, by which random numbers are drawn.
    pub name: String,
}

/// What each tensor of the list becomes, and remarks on how that was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// One entry for each of [`Tensors::list`]; `None` leaves the tensor as it is.
    pub steps: Vec<Option<Step>>,
    /// Sentences for the reader.
    pub notes: Vec<String>,
}

/// What `policy` means for these tensors. A model that Preon can build is decided by its graph, as a run would; any other
/// file by its tensors' names: every matrix of floating-point numbers that a rule with `weights` matches.
///
/// # Errors
/// As [`policy::plan`]; Unsupported if two nodes want the same tensor in two ways, and for scales that are quantised
/// themselves.
pub fn plan(tensors: &Tensors, policy: &Policy) -> Result<Plan> {
    if policy.rules.iter().any(|rule| rule.recipe.double_quant == Some(true)) {
        let text = "double_quant serves runs only: files hold every scale in its format";
        return Err(Error::unsupported(text).help("remove the key from the policy"));
    }
    if policy.rules.iter().any(|rule| rule.recipe.rotate || rule.recipe.outliers.is_some()) {
        let text = "rotate and outliers serve runs only: they change the model's graph, which no file of weights holds";
        return Err(Error::unsupported(text).help("remove the key from the policy"));
    }
    let spec = tensors.spec();
    let is_model = spec.starts_with("builtin:") || Path::new(spec).join("config.json").is_file();
    if !is_model {
        return Ok(Plan { steps: by_name(tensors.list(), policy), notes: Vec::new() });
    }
    let prepared = match model::load(spec).and_then(|model| model.prepare(&Input::Default)) {
        Ok(prepared) => prepared,
        Err(error) if error.kind() == Kind::Unsupported => {
            let note = format!("{error}: the policy is applied to every matrix by its name");
            return Ok(Plan { steps: by_name(tensors.list(), policy), notes: vec![note] });
        }
        Err(error) => return Err(error),
    };
    let assignments = policy::plan(&prepared.graph, policy)?;
    let mut steps: Vec<Option<Step>> = vec![None; tensors.list().len()];
    for decided in assignments.iter().filter(|a| a.role == Role::Weights) {
        let Setting::Type(ty) = decided.setting else { continue };
        let named = |info: &TensorInfo| {
            info.name == decided.value || info.name.strip_suffix(&decided.value).is_some_and(|head| head.ends_with('.'))
        };
        let Some(at) = tensors.list().iter().position(named) else { continue };
        let recipes = assignments.iter().filter(|a| a.role == Role::Recipe && a.node == decided.node);
        let recipe = recipes.fold(Recipe::default(), |recipe, a| match a.setting {
            Setting::Recipe(more) => recipe.then(more),
            _ => recipe,
        });
        let step = Step { ty, recipe, name: decided.value.clone() };
        if let Some(other) = steps[at].as_ref().filter(|other| **other != step) {
            let (one, two) = (described(other), described(&step));
            return Err(Error::unsupported(format!("is wanted as {one} and, by `{}`, as {two}", decided.node))
                .at(tensors.place(at))
                .help("give both the same settings by a later rule"));
        }
        steps[at] = Some(step);
    }
    Ok(Plan { steps, notes: policy::notes(&assignments) })
}

/// A step in a few words.
fn described(step: &Step) -> String {
    step.recipe.keys().into_iter().fold(step.ty.to_string(), |text, (key, word)| format!("{text}, {key} {word}"))
}

fn by_name(list: &[TensorInfo], policy: &Policy) -> Vec<Option<Step>> {
    let decide = |info: &TensorInfo| {
        let node = info.name.strip_suffix(".weight").unwrap_or(&info.name);
        let matching = policy.rules.iter().filter(|rule| rule.glob.matches(&info.name) || rule.glob.matches(node));
        let recipe = matching.clone().fold(Recipe::default(), |recipe, rule| recipe.then(rule.recipe));
        let ty = matching.filter_map(|rule| rule.weights).next_back();
        let ty = ty.filter(|_| info.floating && info.shape.len() == 2)?;
        Some(Step { ty, recipe, name: info.name.clone() })
    };
    list.iter().map(decide).collect()
}

/// Writes the quantised tensors and those left as they were into the file at `path` (which must not exist; scratch files
/// stand beside it meanwhile). `progress` hears of each tensor.
///
/// # Errors
/// BadInput naming a tensor with NaN or infinite weights, or one that is quantised already; Usage if nothing can be
/// written there.
pub fn write(
    tensors: &mut Tensors,
    plan: &Plan,
    policy: &str,
    path: &Path,
    dequantise: bool,
    progress: &mut dyn FnMut(&str),
) -> Result<Quantised> {
    let mut file = Writer::new(path)?;
    let mut out = Quantised {
        schema: QUANTISED_SCHEMA.into(),
        model: tensors.spec().into(),
        policy: policy.into(),
        dequantised: dequantise,
        tensors: Vec::new(),
        elements: 0,
        bytes_before: 0,
        bytes_after: 0,
        bits_per_weight: None,
        notes: plan.notes.clone(),
    };
    let (mut weights, mut weight_bits) = (0u64, 0f64);
    let infos = tensors.list().to_vec();
    for (at, (info, step)) in infos.iter().zip(&plan.steps).enumerate() {
        progress(&info.name);
        let place = tensors.place(at);
        if info.dtype.contains(|c: char| c.is_lowercase()) {
            return Err(Error::bad_input(format!("is already quantised, as {}", info.dtype))
                .at(place)
                .help("start from the model in full precision"));
        }
        let row = match step.as_ref().filter(|step| step.ty.to_string() != "fp32") {
            None => kept(&mut file, info, &tensors.bytes(at)?)?,
            Some(Step { ty, recipe, name }) => {
                let values = tensors.values(at)?;
                let tensor = Tensor::quantise_with(info.shape.clone(), &values, *ty, recipe, name)
                    .map_err(|e| e.at(place.clone()))?;
                let tensor = maskless(tensor, dequantise).map_err(|e| e.at(place.clone()))?;
                let row = quantised(&mut file, info, &values, &tensor, dequantise)?;
                weights += row.elements;
                weight_bits += row.bits_per_weight * row.elements as f64;
                row
            }
        };
        out.elements += row.elements;
        out.bytes_before += row.bytes_before;
        out.bytes_after += row.bytes_after;
        out.tensors.push(row);
    }
    file.finish()?;
    out.bits_per_weight = (weights > 0).then(|| weight_bits / weights as f64);
    Ok(out)
}

/// The tensor as files hold it: dropped elements are the codes of zero, and no mask stands beside them.
fn maskless(tensor: Tensor, dequantise: bool) -> Result<Tensor> {
    if dequantise || tensor.mask.is_none() {
        return Ok(tensor);
    }
    let masked = tensor.to_f32();
    let tensor = Tensor { mask: None, ..tensor };
    if tensor.to_f32() == masked {
        return Ok(tensor);
    }
    Err(Error::unsupported(format!(
        "{} has no code of zero for what sparsity drops, and files hold no masks",
        tensor.ty
    ))
    .help("write plain numbers with --dequantise, or run the policy"))
}

fn kept(file: &mut Writer, info: &TensorInfo, bytes: &[u8]) -> Result<QuantisedRow> {
    file.put(&info.name, &info.dtype, &info.shape, bytes)?;
    let bits = if info.elements() > 0 { 8.0 * info.bytes as f64 / info.elements() as f64 } else { 0.0 };
    Ok(QuantisedRow {
        name: info.name.clone(),
        shape: info.shape.clone(),
        dtype: info.dtype.clone(),
        ty: None,
        elements: info.elements(),
        bits_per_weight: bits,
        entropy_bits: None,
        sqnr_db: None,
        bytes_before: info.bytes,
        bytes_after: bytes.len() as u64,
    })
}

/// Puts one quantised tensor into the file: plain numbers if asked for or where the format is one of the file's own, else
/// codes and scales.
fn quantised(
    file: &mut Writer,
    info: &TensorInfo,
    values: &[f32],
    tensor: &Tensor,
    dequantise: bool,
) -> Result<QuantisedRow> {
    let (name, shape, ty) = (&info.name, &info.shape, tensor.ty);
    let got = tensor.to_f32();
    let before = file.bytes;
    let own = match (ty.scaling, ty.format.name.as_str()) {
        (Scaling::None, "fp16") => Some("F16"),
        (Scaling::None, "bf16") => Some("BF16"),
        _ => None,
    };
    if dequantise {
        file.put(name, "F32", shape, &got.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())?;
    } else if let Some(dtype) = own {
        file.put(name, dtype, shape, &tensor.payload)?;
    } else {
        put_parts(file, name, tensor)?;
        let sparsity = tensor.mask.as_ref().map(|mask| mask.sparsity.to_string());
        file.stored.insert(name.clone(), Stored { ty: ty.to_string(), shape: shape.clone(), sparsity });
    }
    let elements = info.elements();
    Ok(QuantisedRow {
        name: name.clone(),
        shape: shape.clone(),
        dtype: info.dtype.clone(),
        ty: Some(ty.general().to_string()),
        elements,
        bits_per_weight: if elements > 0 { 8.0 * tensor.bytes() as f64 / elements as f64 } else { 0.0 },
        entropy_bits: Some(entropy_bits(code_counts(tensor).into_values().collect::<Vec<_>>())),
        sqnr_db: sqnr_db(values, &got),
        bytes_before: info.bytes,
        bytes_after: file.bytes - before,
    })
}

/// Codes, scales, offsets, the global scale and the mask, each under a name of its own.
fn put_parts(file: &mut Writer, name: &str, tensor: &Tensor) -> Result<()> {
    let (ty, (rows, cols)) = (tensor.ty, tensor.rows_cols());
    let (codes, sides) = stored::parts(name, &ty, &tensor.shape, tensor.mask.is_some());
    file.put(&codes.name, codes.dtype, &codes.shape, &tensor.payload)?;
    let side = tensor.side_data();
    let (scales, offsets, global) = (ty.scale_bytes(rows, cols), ty.offsets_at(rows, cols), ty.global_at(rows, cols));
    let mask = tensor.mask.as_ref().map_or(&[][..], |mask| mask.bits());
    let bytes = [&side[..scales], &side[offsets..global], &side[global..], mask];
    for (part, bytes) in sides.iter().zip(bytes) {
        if let Some(part) = part {
            file.put(&part.name, part.dtype, &part.shape, bytes)?;
        }
    }
    Ok(())
}

/// A tensor's place in one of the streams.
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    stream: usize,
    range: (u64, u64),
}

/// A `.safetensors` file in the making: a stream for each width of element, widest first, so that every tensor is aligned.
struct Writer {
    path: PathBuf,
    streams: Vec<(PathBuf, BufWriter<File>, u64)>,
    entries: BTreeMap<String, Entry>,
    stored: BTreeMap<String, Stored>,
    bytes: u64,
}

/// Widths of elements that get a stream of their own.
const WIDTHS: [usize; 4] = [8, 4, 2, 1];

/// Bytes of an element of a type of the file format.
fn width(dtype: &str) -> usize {
    match dtype {
        "F64" | "I64" | "U64" | "C64" => 8,
        "F32" | "I32" | "U32" => 4,
        "F16" | "BF16" | "I16" | "U16" => 2,
        _ => 1,
    }
}

impl Writer {
    fn new(path: &Path) -> Result<Self> {
        let mut streams = Vec::new();
        for width in WIDTHS {
            let scratch = path.with_extension(format!("part{width}"));
            let file = File::create(&scratch).map_err(|e| unwritten(&scratch, &e))?;
            streams.push((scratch, BufWriter::new(file), 0));
        }
        let (entries, stored) = (BTreeMap::new(), BTreeMap::new());
        Ok(Writer { path: path.into(), streams, entries, stored, bytes: 0 })
    }

    fn put(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) -> Result<()> {
        let stream = WIDTHS.iter().position(|w| *w == width(dtype)).unwrap_or(WIDTHS.len() - 1);
        let (path, file, length) = &mut self.streams[stream];
        file.write_all(bytes).map_err(|e| unwritten(path, &e))?;
        let range = (*length, *length + bytes.len() as u64);
        *length = range.1;
        self.bytes += bytes.len() as u64;
        let entry = Entry { dtype: dtype.into(), shape: shape.to_vec(), stream, range };
        match self.entries.insert(name.into(), entry) {
            None => Ok(()),
            Some(_) => Err(Error::bad_input(format!("the name is needed twice in {}", self.path.display()))
                .at(Place::Tensor { path: self.path.display().to_string(), name: name.into() })),
        }
    }

    /// Header and streams, in one file; the scratch files go.
    fn finish(mut self) -> Result<()> {
        let mut starts = Vec::new();
        let mut end = 0;
        for (_, _, length) in &self.streams {
            starts.push(end);
            end += length;
        }
        let mut header = serde_json::Map::new();
        let mut metadata = serde_json::Map::from_iter([("format".to_string(), "pt".into())]);
        if !self.stored.is_empty() {
            metadata.insert(stored::KEY.into(), stored::text(std::mem::take(&mut self.stored))?.into());
        }
        header.insert("__metadata__".into(), metadata.into());
        for (name, entry) in &self.entries {
            let start = starts[entry.stream];
            header.insert(
                name.clone(),
                serde_json::json!({
                    "dtype": entry.dtype,
                    "shape": entry.shape,
                    "data_offsets": [start + entry.range.0, start + entry.range.1],
                }),
            );
        }
        let mut header = serde_json::Value::from(header).to_string();
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let path = self.path.clone();
        let file = File::create(&path).map_err(|e| unwritten(&path, &e))?;
        let mut file = BufWriter::new(file);
        let put = |file: &mut BufWriter<File>, bytes: &[u8]| file.write_all(bytes).map_err(|e| unwritten(&path, &e));
        put(&mut file, &(header.len() as u64).to_le_bytes())?;
        put(&mut file, header.as_bytes())?;
        for (scratch, stream, _) in self.streams.drain(..) {
            let failed = |e: std::io::Error| unwritten(&scratch, &e);
            drop(stream.into_inner().map_err(|e| failed(e.into_error()))?);
            let mut part = BufReader::new(File::open(&scratch).map_err(failed)?);
            std::io::copy(&mut part, &mut file).map_err(failed)?;
            std::fs::remove_file(&scratch).map_err(failed)?;
        }
        file.flush().map_err(|e| unwritten(&path, &e))
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Error {
    Error::usage(format!("cannot be written: {error}")).in_file(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(spec: &str, policy: &str, dequantise: bool) -> (tempfile::TempDir, Quantised) {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors = Tensors::open(spec).unwrap();
        let policy = policy::load(policy).unwrap();
        let plan = plan(&tensors, &policy).unwrap();
        let path = folder.path().join("model.safetensors");
        let out = write(&mut tensors, &plan, &policy.name, &path, dequantise, &mut |_| {}).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "scratch files are gone");
        (folder, out)
    }

    #[test]
    fn what_was_written_reads_back_as_it_was_made() {
        let (folder, out) = written("builtin:mlp", "w1.58a8", false);
        let mut source = Tensors::open("builtin:mlp").unwrap();
        let mut read = Tensors::open(folder.path().to_str().unwrap()).unwrap();
        assert_eq!(read.list().len(), source.list().len());
        for (at, row) in out.tensors.iter().enumerate() {
            let here = read.list().iter().position(|info| info.name == row.name).unwrap();
            let values = source.values(at).unwrap();
            let wanted = match &row.ty {
                None => values,
                Some(ty) => {
                    Tensor::quantise(row.shape.clone(), &values, TensorType::parse(ty).unwrap()).unwrap().to_f32()
                }
            };
            assert_eq!(read.values(here).unwrap(), wanted, "{}", row.name);
            assert_eq!(read.list()[here].bytes, row.bytes_after);
        }
        let fc1 = &out.tensors[0];
        assert_eq!((fc1.ty.as_deref(), fc1.bytes_after), (Some("ternary/tensor"), 256 * 16 + 4));
        assert!(out.bytes_after < out.bytes_before / 8, "{out:?}");
    }

    #[test]
    fn a_file_holds_the_bits_of_a_run_by_the_same_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("p.toml");
        let text = |keys: &str| {
            format!("schema = \"preon.policy/1\"\nname = \"p\"\ndoc = \"d\"\n[[rule]]\nmatch = \"*\"\n{keys}\n")
        };
        let keys = "weights = \"int4\"\ncalibration = \"mse\"\nrounding = \"sr\"\nseed = 7\nsparsity = \"2:4\"";
        std::fs::write(&policy, text(keys)).unwrap();
        let (file, out) = written("builtin:mlp", policy.to_str().unwrap(), false);
        let prepared = model::load("builtin:mlp").unwrap().prepare(&Input::Default).unwrap();
        let graph = policy::apply(&prepared.graph, &policy::load(policy.to_str().unwrap()).unwrap()).unwrap();
        let mut read = Tensors::open(file.path().to_str().unwrap()).unwrap();
        let mut compared = 0;
        for row in out.tensors.iter().filter(|row| row.ty.is_some()) {
            let value = graph.values.iter().position(|value| value.name == row.name).unwrap();
            let weight = graph.constant(crate::graph::ValueId(value as u32)).unwrap();
            let at = read.list().iter().position(|info| info.name == row.name).unwrap();
            assert_eq!(read.values(at).unwrap(), weight.to_f32(), "{}", row.name);
            compared += 1;
        }
        assert!(compared > 1);
        std::fs::write(&policy, text("weights = \"nf4\"\ndouble_quant = true")).unwrap();
        let policy = policy::load(policy.to_str().unwrap()).unwrap();
        let error = plan(&Tensors::open("builtin:mlp").unwrap(), &policy).unwrap_err();
        assert!(error.message().starts_with("double_quant serves runs only"), "{error}");
    }

    #[test]
    fn a_learned_table_travels_in_the_name_of_its_type() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("p.toml");
        let text = "schema = \"preon.policy/1\"\nname = \"p\"\n[[rule]]\nmatch = \"*\"\nweights = \"codebook8\"\n";
        std::fs::write(&policy, text).unwrap();
        let (file, out) = written("builtin:mlp", policy.to_str().unwrap(), false);
        assert_eq!((out.tensors[0].ty.as_deref(), out.tensors[0].bytes_after), (Some("codebook8"), 256 * 24));
        let bytes = std::fs::read(file.path().join("model.safetensors")).unwrap();
        let header =
            String::from_utf8_lossy(&bytes[8..8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize]);
        assert_eq!(header.matches(r#"\"type\":\"codebook8_"#).count(), 3, "{header}");
        let mut read = Tensors::open(file.path().to_str().unwrap()).unwrap();
        let at = read.list().iter().position(|info| info.name == "fc1.weight").unwrap();
        assert_eq!(read.list()[at].dtype, "codebook8");
        let values = Tensors::open("builtin:mlp").unwrap().values(0).unwrap();
        let made = Tensor::quantise(vec![256, 64], &values, TensorType::parse("codebook8").unwrap()).unwrap();
        assert_eq!(read.values(at).unwrap(), made.to_f32());
        let distinct = made.to_f32().into_iter().map(f32::to_bits).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct.len(), 8);
    }

    #[test]
    fn dequantised_files_hold_plain_numbers() {
        let (folder, out) = written("builtin:mlp", "int4", true);
        let (codes, _) = written("builtin:mlp", "int4", false);
        let mut plain = Tensors::open(folder.path().to_str().unwrap()).unwrap();
        let mut packed = Tensors::open(codes.path().to_str().unwrap()).unwrap();
        assert_eq!(out.bytes_before, out.bytes_after);
        for at in 0..plain.list().len() {
            assert_eq!(plain.list()[at].dtype, "F32");
            assert_eq!(plain.values(at).unwrap(), packed.values(at).unwrap());
        }
    }

    #[test]
    fn a_bare_file_is_decided_by_names() {
        let info = |name: &str, shape: &[usize], floating| TensorInfo {
            name: name.into(),
            dtype: "F32".into(),
            shape: shape.to_vec(),
            bytes: 0,
            floating,
        };
        let policy = policy::load("w1.58a8").unwrap();
        let list = [
            info("layer.w", &[4, 4], true),
            info("embed.weight", &[4, 4], true),
            info("layer.bias", &[4], true),
            info("ids", &[4, 4], false),
        ];
        let types: Vec<String> =
            by_name(&list, &policy).iter().map(|step| step.as_ref().map_or("-".into(), described)).collect();
        assert_eq!(types, ["ternary/tensor", "bf16", "-", "-"]);
    }
}
