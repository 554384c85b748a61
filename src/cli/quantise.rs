//! `preon quantise`: a model's weights in the formats of a policy, as a folder that describes itself.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{args, out};
use crate::diag::{Error, Kind, Result};
use crate::look::{self, Quantised};
use crate::model::{self, Tensors};
use crate::policy::{self, Policy};
use crate::report::{Scratch, csv, table, units};
use crate::tensor::TensorType;

/// Arguments of `quantise`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: a folder, a .safetensors file, or builtin:NAME
    #[arg(value_name = "MODEL")]
    model: String,
    /// The policy whose weight types are used, by name or TOML file; or one type for all weights (int4/block32)
    #[arg(short, long, value_name = "NAME|FILE|TYPE")]
    policy: String,
    /// The folder to write
    #[arg(short, long = "out", value_name = "DIR")]
    out: PathBuf,
    /// Write the values of the quantised weights as plain f32 instead of codes and scales
    #[arg(long)]
    dequantise: bool,
    /// Replace the folder if an earlier `preon quantise` wrote it
    #[arg(long)]
    force: bool,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: args::Format,
}

/// The weights; a folder with this file is one of ours if [`SUMMARY`] is there too.
const WEIGHTS: &str = "model.safetensors";
/// The summary, and the mark of a folder that `quantise` wrote.
const SUMMARY: &str = "quantised.json";

/// Largest configuration or tokenizer file copied.
const MOST_BYTES: u64 = 1 << 28;

/// Quantises into a neighbour of the folder and moves it there when complete.
pub fn run(args: &Args) -> Result<()> {
    let folder = &args.out;
    refuse(args)?;
    let policy = load_policy(&args.policy)?;
    let mut tensors = Tensors::open(&args.model)?;
    let plan = look::plan(&tensors, &policy)?;
    if plan.steps.iter().all(Option::is_none) {
        return Err(Error::unsupported(format!("the policy `{}` quantises no tensor of this model", policy.name))
            .in_file(args.model.as_str())
            .help("`preon inspect MODEL` lists the tensors; matrices of floating-point numbers are quantised"));
    }
    let bar = out::bar(plan.steps.len());
    let scratch = Scratch::beside(folder);
    let written = std::fs::create_dir_all(scratch.path()).map_err(|e| failed(folder, &e)).and_then(|()| {
        let path = scratch.path().join(WEIGHTS);
        let found = look::write(&mut tensors, &plan, &policy.name, &path, args.dequantise, &mut |name| {
            bar.set_message(name.to_string());
            bar.inc(1);
        })?;
        beside(args, &policy, &found, scratch.path())?;
        Ok(found)
    });
    bar.finish_and_clear();
    let found = written?;
    scratch.replace(folder).map_err(|error| failed(folder, &error))?;
    out::data(&match args.format {
        args::Format::Json => json(&found)?,
        args::Format::Csv => rows(&found),
        args::Format::Table => people(&found),
    })?;
    out::note(&format!("written: {}", folder.display()));
    Ok(())
}

/// A policy by name or file, or made of one type for all weights.
fn load_policy(text: &str) -> Result<Policy> {
    match TensorType::parse(text) {
        Ok(ty) if policy::names().all(|name| name != text) => Policy::parse(
            text,
            &format!(
                "schema = \"{}\"\nname = \"{ty}\"\ndoc = \"weights in {ty}\"\n[[rule]]\nmatch = \"*\"\nweights = \"{ty}\"\n",
                policy::SCHEMA
            ),
        ),
        // A known format in a wrong scaling is a better sentence than an unknown policy.
        Err(error) if text.contains('/') && !Path::new(text).exists() && !text.ends_with(".toml") => Err(error),
        // So is one on a name of the contract that weights cannot have.
        Err(error) if error.kind() == Kind::Unsupported && !Path::new(text).exists() => {
            Err(error.help("weights are written in element formats and block formats; `preon formats list` names them"))
        }
        _ => policy::load(text),
    }
}

/// Refuses a folder that exists, unless it is ours and may be replaced.
fn refuse(args: &Args) -> Result<()> {
    let folder = &args.out;
    let shown = folder.display().to_string();
    if shown.is_empty() || shown == "-" {
        return Err(Error::usage("-o names no folder").help("weights are written into a folder of their own"));
    }
    if !folder.exists() {
        return Ok(());
    }
    let same =
        |a: &Path, b: &Path| a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| b.starts_with(a));
    if same(folder, Path::new(&args.model)) {
        return Err(Error::usage("this folder holds the model itself").in_file(shown).help("choose another with -o"));
    }
    let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    match folder.join(SUMMARY).is_file() && folder.join(WEIGHTS).is_file() {
        _ if empty => Ok(()),
        false => Err(Error::usage("this was not written by `preon quantise`, so it is not overwritten")
            .in_file(shown)
            .help("choose another folder with -o")),
        true if args.force => Ok(()),
        true => Err(Error::usage("this folder exists already").in_file(shown).help("--force replaces it")),
    }
}

/// Everything beside the weights: the policy, the figures, the model's own configuration, and the manifest.
fn beside(args: &Args, policy: &Policy, found: &Quantised, scratch: &Path) -> Result<()> {
    let put = |name: &str, text: &str| std::fs::write(scratch.join(name), text).map_err(|e| failed(&args.out, &e));
    let source = Path::new(&args.model);
    if source.is_dir() {
        copy_configuration(source, scratch, true)?;
    }
    if let Some(name) = args.model.strip_prefix("builtin:") {
        put("config.json", &model::configuration(name))?;
    }
    put("policy.toml", &policy.resolved())?;
    put(SUMMARY, &json(found)?)?;
    put("quantised.csv", &rows(found))?;
    put("quantised.txt", &people(found))?;
    let mut hashes = serde_json::Map::new();
    let mut files = Vec::new();
    list(scratch, scratch, &mut files)?;
    files.sort();
    for name in files {
        hashes.insert(name.clone(), sha256(&scratch.join(&name))?.into());
    }
    let mut inputs = serde_json::Map::new();
    if source.is_file() {
        inputs.insert(args.model.clone(), sha256(source)?.into());
    }
    let manifest = serde_json::json!({
        "schema": "preon.manifest/1",
        "preon": env!("CARGO_PKG_VERSION"),
        "argv": std::env::args().collect::<Vec<_>>(),
        "inputs": inputs,
        "sha256": hashes,
    });
    put("manifest.json", &format!("{manifest:#}\n"))
}

/// Copies what describes a model (JSON, text, tokenizer models) and not its weights; one level of folders.
fn copy_configuration(from: &Path, to: &Path, deeper: bool) -> Result<()> {
    let unread =
        |e: std::io::Error| Error::bad_input(format!("cannot be copied: {e}")).in_file(from.display().to_string());
    for entry in std::fs::read_dir(from).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if deeper && !name.starts_with('.') && path.join("config.json").is_file() {
                std::fs::create_dir_all(to.join(&name)).map_err(unread)?;
                copy_configuration(&path, &to.join(&name), false)?;
            }
            continue;
        }
        let kind =
            path.extension().is_some_and(|end| ["json", "txt", "model", "jinja"].iter().any(|known| end == *known));
        let small = path.metadata().map_err(unread)?.len() <= MOST_BYTES;
        if kind && small && !name.ends_with(".index.json") {
            std::fs::copy(&path, to.join(&name)).map_err(unread)?;
        }
    }
    Ok(())
}

/// Paths of all files below `folder`, relative to `root`.
fn list(root: &Path, folder: &Path, out: &mut Vec<String>) -> Result<()> {
    let unread = |e: std::io::Error| Error::internal(format!("the scratch folder cannot be read: {e}"));
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        match path.is_dir() {
            true => list(root, &path, out)?,
            false => out.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/")),
        }
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let unread =
        |e: std::io::Error| Error::bad_input(format!("cannot be read: {e}")).in_file(path.display().to_string());
    let mut file = BufReader::new(File::open(path).map_err(unread)?);
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut chunk).map_err(unread)? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Usage, format!("cannot be written: {error}")).in_file(path.display().to_string())
}

fn json(found: &Quantised) -> Result<String> {
    serde_json::to_string_pretty(found).map(|text| text + "\n").map_err(|e| Error::internal(e.to_string()))
}

fn rows(found: &Quantised) -> String {
    let header = "tensor,shape,dtype,type,elements,bits_per_weight,entropy_bits,sqnr_db,bytes_before,bytes_after";
    let row = |t: &look::QuantisedRow| {
        vec![
            t.name.clone(),
            csv::shape(&t.shape),
            t.dtype.clone(),
            t.ty.clone().unwrap_or_default(),
            t.elements.to_string(),
            t.bits_per_weight.to_string(),
            csv::number(t.entropy_bits),
            csv::number(t.sqnr_db),
            t.bytes_before.to_string(),
            t.bytes_after.to_string(),
        ]
    };
    csv::table(header, found.tensors.iter().map(row))
}

fn people(found: &Quantised) -> String {
    let number = |v: Option<f64>| v.map_or("–".to_string(), |v| format!("{v:.2}"));
    let row = |t: &look::QuantisedRow| {
        let shape: Vec<String> = t.shape.iter().map(ToString::to_string).collect();
        vec![
            t.name.clone(),
            shape.join("×"),
            t.dtype.clone(),
            t.ty.clone().unwrap_or_else(|| "as it was".into()),
            format!("{:.3}", t.bits_per_weight),
            number(t.entropy_bits),
            number(t.sqnr_db),
            units::bytes(t.bytes_before),
            units::bytes(t.bytes_after),
        ]
    };
    let table_rows: Vec<Vec<String>> = found.tensors.iter().map(row).collect();
    let header = ["tensor", "shape", "from", "to", "bits", "entropy", "SQNR dB", "before", "after"];
    let mut text = table::render(&header, &table_rows, &[4, 5, 6, 7, 8]);
    let bits = found
        .bits_per_weight
        .map_or(String::new(), |bits| format!(", quantised weights at {bits:.3} bits with scales"));
    let ratio = found.bytes_before as f64 / found.bytes_after.max(1) as f64;
    text += &format!(
        "{} under {}: {} → {} ({} smaller){bits}\n",
        found.model,
        found.policy,
        units::bytes(found.bytes_before),
        units::bytes(found.bytes_after),
        units::times(ratio)
    );
    text + &found.notes.iter().map(|note| format!("note: {note}\n")).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_policies_are_told_apart() {
        assert_eq!(load_policy("codebook8").unwrap().rules[0].weights.unwrap().to_string(), "codebook8");
        assert_eq!(load_policy("int8").unwrap().name, "int8");
        let error = load_policy("fp64").unwrap_err();
        assert!(error.kind() == Kind::Unsupported && error.message().contains("reference's own arithmetic"), "{error}");
        assert!(load_policy("int9/row").unwrap_err().message().contains("unknown format `int9`"));
        assert!(load_policy("nope").unwrap_err().message().contains("no policy `nope`"));
    }
}
