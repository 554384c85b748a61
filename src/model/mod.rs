//! Readers of real models: from a folder or a built-in name to a graph for a given input.
//!
//! [`load`] reads the weights once; [`Model::prepare`] then builds the graph for one input's token count and shares
//! the weights. A kind of model is one file that implements `Network`.

mod bert;
mod builtin;
mod config;
mod csr;
mod gemm;
mod overlay;
pub mod stored;
mod tensors;
mod tokenizer;
mod weights;

pub use gemm::{gemm, hollow_gemm};
pub use overlay::configuration;
pub use tensors::{TensorInfo, Tensors};

use crate::diag::{Error, Result, did_you_mean};
use crate::graph::{Graph, InputData};
use crate::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a model is fed with.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Input {
    /// The model's own sample.
    #[default]
    Default,
    /// The model's own sample, repeated or cut to this many tokens (rows for a model without tokens).
    Length(usize),
    /// A text.
    Text(String),
    /// A file: UTF-8 text, or for a model without tokens one row of numbers a line.
    File(PathBuf),
    /// Token ids as they are, nothing added.
    Tokens(Vec<u32>),
    /// Numbers `[rows, features]`, for a model without tokens.
    Dense(Arc<Tensor>),
}

/// A graph for one input, and that input.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The graph in fp32, with concrete shapes; it shares the model's weights.
    pub graph: Graph,
    /// One entry for each of `graph.inputs`, in that order.
    pub inputs: Vec<InputData>,
    /// Tokens (rows) that are computed.
    pub tokens: usize,
    /// How many of them are padding. Preon never pads, so this is 0 and reports say so.
    pub padding: usize,
    /// The text behind the tokens, if there is one.
    pub text: Option<String>,
}

/// What the result of a model is; decides which measure of quality fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text encoder: one vector a text.
    Encoder,
    /// A causal language model: logits a token.
    Decoder,
    /// Scores of classes a row.
    Classifier,
}

/// A kind of model: the weights, and how a graph is built from them.
trait Network: Send + Sync {
    fn kind(&self) -> Kind;
    fn prepare(&self, input: &Input) -> Result<Prepared>;
}

/// A loaded model. Cloning shares the weights.
#[derive(Clone)]
pub struct Model {
    /// The folder's name (of the one above, if it is only called `model`), or the built-in's without `builtin:`.
    pub name: String,
    /// What it computes.
    pub kind: Kind,
    network: Arc<dyn Network>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Model {
    fn new(name: impl Into<String>, network: Arc<dyn Network>) -> Self {
        Model { name: name.into(), kind: network.kind(), network }
    }

    /// The graph for `input` and the input's data.
    ///
    /// # Errors
    /// BadInput or Usage if the model cannot take this input: an unknown token id, more tokens than it has positions,
    /// text where numbers are wanted, a file that cannot be read.
    pub fn prepare(&self, input: &Input) -> Result<Prepared> {
        let mut prepared = self.network.prepare(input)?;
        prepared.graph.name.clone_from(&self.name);
        Ok(prepared)
    }
}

/// Names that [`load`] takes after `builtin:`, each with one sentence about it.
pub fn builtins() -> Vec<(&'static str, &'static str)> {
    builtin::TABLE.iter().map(|row| (row.name, row.doc)).collect()
}

/// Loads `builtin:NAME` or the folder at a path.
///
/// # Errors
/// Usage for an unknown built-in, BadInput for a damaged or missing file, Unsupported for a model of another type.
pub fn load(spec: &str) -> Result<Model> {
    let Some(name) = spec.strip_prefix("builtin:") else {
        return load_folder(spec);
    };
    let (name, network) = built_in(name)?;
    Ok(Model::new(name, network))
}

/// The built-in network of this name.
fn built_in(name: &str) -> Result<(&'static str, Arc<dyn Network>)> {
    match builtin::TABLE.iter().find(|row| row.name == name) {
        Some(row) => Ok((row.name, (row.build)()?)),
        None => {
            let names: Vec<&str> = builtin::TABLE.iter().map(|row| row.name).collect();
            let help = match did_you_mean(name, names.iter().copied()) {
                Some(near) => format!("did you mean `builtin:{near}`?"),
                None => format!("the built-in models are {}", names.join(", ")),
            };
            Err(Error::usage(format!("there is no built-in model `{name}`")).help(help))
        }
    }
}

/// A Hugging Face folder: `config.json` says which kind of network it holds.
fn load_folder(spec: &str) -> Result<Model> {
    let folder = Path::new(spec);
    if !folder.exists() {
        return Err(Error::bad_input("there is no such folder")
            .in_file(spec)
            .help("give the path of a Hugging Face folder, or builtin:NAME"));
    }
    if !folder.is_dir() {
        return Err(Error::bad_input("is a file, but a model is a folder with config.json and model.safetensors")
            .in_file(spec)
            .help("give the folder that holds the file"));
    }
    let name = folder_name(folder).unwrap_or_else(|| spec.to_string());
    let config = config::Config::read(&folder.join("config.json"))?;
    match config.text("model_type")? {
        "bert" => Ok(Model::new(name, Arc::new(bert::Bert::load(folder, &config)?))),
        overlay::MODEL_TYPE => Ok(Model::new(name, Arc::new(overlay::Overlay::load(folder, &config)?))),
        other => Err(Error::unsupported(format!("models of type `{other}` are not served"))
            .in_file(config.path())
            .help("this version reads `bert`")),
    }
}

/// The folder's own name; that of the folder above if it is only called `model`.
fn folder_name(folder: &Path) -> Option<String> {
    let path = folder.canonicalize().ok()?;
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    match name(&path)? {
        own if own == "model" => path.parent().and_then(name).or(Some(own)),
        own => Some(own),
    }
}

/// A whole file.
fn read_file(path: &Path) -> Result<Vec<u8>> {
    check_file(path)?;
    std::fs::read(path)
        .map_err(|e| Error::bad_input(format!("cannot be read: {e}")).in_file(path.display().to_string()))
}

/// Refuses what is not a non-empty file; its length in bytes.
fn check_file(path: &Path) -> Result<u64> {
    let refuse = |what: String| Err(Error::bad_input(what).in_file(path.display().to_string()));
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => refuse("the file does not exist".into()),
        Err(e) => refuse(format!("cannot be read: {e}")),
        Ok(meta) if meta.is_dir() => refuse("is a directory, not a file".into()),
        Ok(meta) if meta.len() == 0 => refuse("is empty (0 bytes)".into()),
        Ok(meta) => Ok(meta.len()),
    }
}

/// A whole file of UTF-8 text.
fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_file(path)?)
        .map_err(|e| Error::bad_input(format!("is not UTF-8 text: {e}")).in_file(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag;

    #[test]
    fn a_wrong_name_is_one_sentence() {
        let error = load("builtin:mlpp").unwrap_err();
        assert_eq!(error.kind(), diag::Kind::Usage);
        assert!(error.to_string().contains("did you mean `builtin:mlp`?"), "{error}");
        let error = load("no/such/folder").unwrap_err();
        assert_eq!(error.kind(), diag::Kind::BadInput);
    }

    #[test]
    fn every_builtin_prepares_its_sample() {
        for (name, doc) in builtins() {
            assert!(!doc.is_empty());
            let model = load(&format!("builtin:{name}")).unwrap();
            let prepared = model.prepare(&Input::Default).unwrap();
            crate::graph::verify::verify(&prepared.graph).unwrap();
            assert_eq!(prepared.tokens, 16, "{name}");
            assert_eq!(prepared.inputs.len(), prepared.graph.inputs.len());
            let longer = model.prepare(&Input::Length(33)).unwrap();
            assert_eq!(longer.tokens, 33);
        }
    }
}
