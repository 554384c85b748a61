//! `preon sensitivity`: what each number format does to each layer.

use std::collections::BTreeMap;

use super::{args, out, pictures};
use crate::diag::{Error, Result};
use crate::look::{self, FormatRow, Sensitivity};
use crate::model;
use crate::report::{Artifact, charts, table, units};
use crate::tensor::TensorType;

/// Arguments of `sensitivity`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: builtin:NAME or a Hugging Face folder
    #[arg(value_name = "MODEL")]
    model: String,
    /// Types of the weights, separated by commas: FORMAT, FORMAT/tensor, FORMAT/row or FORMAT/blockN; `all` for every
    /// format that a policy can name
    #[arg(short = 'p', long = "types", value_name = "TYPE", default_value = "all", value_delimiter = ',')]
    types: Vec<String>,
    /// Also hold the activations of the changed layer in this type
    #[arg(long, value_name = "TYPE")]
    activations: Option<String>,
    #[command(flatten)]
    inputs: args::Inputs,
    /// Threads; the result does not depend on them [default: all cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    #[command(flatten)]
    pictures: pictures::Pictures,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: args::Format,
}

/// Tries, prints, draws.
pub fn run(args: &Args) -> Result<()> {
    let types = match args.types.as_slice() {
        [all] if all == "all" => look::weight_types(),
        names => names.iter().map(|name| TensorType::parse(name)).collect::<Result<_>>()?,
    };
    let activations = args.activations.as_deref().map(TensorType::parse).transpose()?;
    let threads = args.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let prepared = model::load(&args.model)?.prepare(&args.inputs.get()?)?;
    let layers = prepared.graph.nodes.iter().filter(|node| matches!(node.op, crate::graph::Op::Linear)).count();
    let bar = out::bar(types.len() * layers);
    let options = look::Options { types, activations, threads };
    let found = look::sensitivity(&prepared, &options, &|what| {
        bar.set_message(what.to_string());
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let json = serde_json::to_string_pretty(&found).map_err(|e| Error::internal(e.to_string()))? + "\n";
    let files = [
        Artifact::text("sensitivity.json", json.as_str()),
        Artifact::text("sensitivity.csv", charts::heat::csv(&found)),
    ];
    args.pictures.save(&charts::heat::charts(&found), &files)?;
    out::data(&match args.format {
        args::Format::Json => json,
        args::Format::Csv => charts::heat::csv(&found),
        args::Format::Table => people(&found),
    })
}

fn number(v: Option<f64>) -> String {
    v.map_or("–".to_string(), |v| format!("{v:.2}"))
}

/// The tables for people.
fn people(found: &Sensitivity) -> String {
    let header =
        ["format", "bits", "SQNR dB", "best scale", "Gauss", "cosine", "error", "most sensitive layer", "alone"];
    let row = |(at, format): (usize, &FormatRow)| {
        let column = found.cells.iter().skip(at).step_by(found.formats.len().max(1));
        let moved = column.filter_map(|cell| Some((cell.result?.relative_l2?, cell.layer.as_str())));
        let worst = moved.max_by(|a, b| a.0.total_cmp(&b.0));
        let whole = format.all_layers;
        vec![
            format.ty.clone(),
            format!("{:.2}", format.bits_per_weight),
            number(format.sqnr_db),
            number(format.best_scale_sqnr_db),
            number(format.gauss_sqnr_db),
            whole.map_or("refused".to_string(), |d| units::quality(d.cosine)),
            whole.and_then(|d| d.relative_l2).map_or("–".to_string(), units::percent),
            worst.map_or(String::new(), |(_, layer)| layer.to_string()),
            worst.map_or(String::new(), |(l2, _)| units::percent(l2)),
        ]
    };
    let rows: Vec<Vec<String>> = found.formats.iter().enumerate().map(row).collect();
    let mut text = table::render(&header, &rows, &[1, 2, 3, 4, 5, 6, 8]);
    let acts = found.activations.as_ref().map_or(String::new(), |ty| format!(", activations in {ty}"));
    text += &format!(
        "{}, {} tokens, {} linear layers{acts}; cosine and error (relative L2) of the result with all layers in the format\n\
         best scale: the best for each row; Gauss: a Gaussian under its best scale\n",
        found.model,
        found.tokens,
        found.layers.len()
    );
    for format in &found.formats {
        if let Some(why) = &format.refused {
            text += &format!("{}: {why}\n", format.ty);
        }
    }
    text + &equal_bits(found)
}

/// Formats of equal bits a code in the order of what they keep under the best scale, beside the Gaussian prediction.
fn equal_bits(found: &Sensitivity) -> String {
    let mut groups: BTreeMap<u32, Vec<(f64, &FormatRow)>> = BTreeMap::new();
    for format in found.formats.iter().filter(|format| format.code_bits <= 4) {
        if let Some(db) = format.best_scale_sqnr_db {
            groups.entry(format.code_bits).or_default().push((db, format));
        }
    }
    let mut rows = Vec::new();
    for (bits, mut group) in groups {
        if group.len() < 2 {
            continue;
        }
        group.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (best, first) = group[0];
        for (db, format) in group {
            let gap = |v: Option<f64>, from: Option<f64>| Some(v? - from?);
            rows.push(vec![
                bits.to_string(),
                format.ty.clone(),
                format!("{db:.2}"),
                format!("{:.2}", db - best),
                number(format.gauss_sqnr_db),
                number(gap(format.gauss_sqnr_db, first.gauss_sqnr_db)),
                number(format.sqnr_db),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = ["bits", "format", "best scale dB", "gap", "Gauss dB", "gap", "as scaled dB"];
    format!("\nat equal bits a code, best first\n{}", table::render(&header, &rows, &[0, 2, 3, 4, 5, 6]))
}
