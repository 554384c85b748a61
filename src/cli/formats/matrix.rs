//! `preon formats matrix`: which weight formats go with which activation formats, every pair run and checked.

use super::super::{args, out};
use crate::diag::{Error, Kind, Result};
use crate::machine;
use crate::report::{csv, table};
use crate::vpu::{Matrix, MatrixPair as Pair, matrix};
use std::collections::BTreeMap;

/// Arguments of `formats matrix`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Machine, by name or TOML file
    #[arg(short, long, value_name = "NAME|FILE", default_value = "edge")]
    machine: String,
    /// Threads; the result does not depend on them [default: all cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: args::Format,
}

/// Runs every pair and prints what came of it.
pub fn run(args: &Args) -> Result<()> {
    let machine = machine::load_with(&args.machine, &[])?;
    let threads = args.jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let bar = out::bar(0);
    let found = matrix(&machine, threads, &|pair, count| {
        bar.set_length(count as u64);
        bar.set_message(pair.to_string());
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    out::data(&match args.format {
        args::Format::Json => serde_json::to_string_pretty(&found).map_err(|e| Error::internal(e.to_string()))? + "\n",
        args::Format::Csv => lines(&found),
        args::Format::Table => people(&found),
    })?;
    match found.totals.mismatched {
        0 => Ok(()),
        wrong => Err(Error::new(Kind::CheckFailed, format!("{wrong} of {} pairs differ", found.totals.pairs))),
    }
}

/// What a cell says in a few letters.
fn word(pair: &Pair) -> String {
    match (&pair.mismatch, &pair.refused, &pair.class) {
        (Some(_), ..) => "WRONG",
        (_, Some(_), _) => "–",
        (.., Some(class)) => class.strip_prefix("pair.").unwrap_or(class),
        _ => "==",
    }
    .to_string()
}

/// The table for people, the totals, and every reason once.
fn people(found: &Matrix) -> String {
    let columns = found.activations.len().max(1);
    let header: Vec<&str> = std::iter::once("weights").chain(found.activations.iter().map(String::as_str)).collect();
    let row = |(name, pairs): (&String, &[Pair])| {
        std::iter::once(name.clone()).chain(pairs.iter().map(word)).collect::<Vec<String>>()
    };
    let rows: Vec<Vec<String>> = found.weights.iter().zip(found.pairs.chunks(columns)).map(row).collect();
    let mut text = table::render(&header, &rows, &[]);
    let (totals, (m, n, k)) = (found.totals, found.shape);
    text += &format!(
        "\nclass of the dot products, where both backends gave equal bytes within the bounds of the f64 reference:\n\
         exact integer sums, pairs of products in bf16 or fp16 order, an f32 chain; – refused\n\
         {} pairs on {}, [{m},{k}] x [{n},{k}]: {} equal, {} refused ({:.1} %), {} wrong\n",
        totals.pairs,
        found.machine,
        totals.equal,
        totals.refused,
        100.0 * totals.refused as f64 / totals.pairs.max(1) as f64,
        totals.mismatched
    );
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pair in &found.pairs {
        if let Some(why) = &pair.refused {
            reasons.entry(why).or_default().push(format!("{} x {}", pair.weights, pair.activations));
        }
    }
    for (why, pairs) in reasons {
        let which = match pairs.len() {
            1 => pairs[0].clone(),
            n => format!("{} and {} more", pairs[0], n - 1),
        };
        text += &format!("refused: {which}: {why}\n");
    }
    for pair in &found.pairs {
        if let Some(what) = &pair.mismatch {
            text += &format!("WRONG: {} x {}: {what}\n", pair.weights, pair.activations);
        }
    }
    for left in &found.left_out {
        text += &format!("no row: {}: {}\n", left.format, left.why);
    }
    text
}

/// One line a pair.
fn lines(found: &Matrix) -> String {
    let mut text = String::from("weights,activations,class,worst,refused,mismatch\n");
    for pair in &found.pairs {
        let field = |v: &Option<String>| csv::field(v.as_deref().unwrap_or_default()).to_string();
        let worst = pair.worst.map_or(String::new(), |w| w.to_string());
        text += &format!(
            "{},{},{},{worst},{},{}\n",
            pair.weights,
            pair.activations,
            field(&pair.class),
            field(&pair.refused),
            field(&pair.mismatch)
        );
    }
    text
}
