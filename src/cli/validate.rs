//! `preon validate`: published machines, predicted.

use super::{args, out};
use crate::diag::{Error, Result};
use crate::report;
use crate::vpu::validate;

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Machines with published cases, comma separated [default: all]
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',')]
    machine: Vec<String>,
    /// What to print: json is schema preon.validate/1, csv one line a case
    #[arg(short, long, value_name = "FORMAT", default_value = "table", hide_possible_values = true)]
    format: args::Format,
}

/// Predicts, prints, and fails if a prediction misses its bar.
pub fn run(args: &Args) -> Result<()> {
    let validation = validate::run(&args.machine)?;
    let text = match args.format {
        args::Format::Table => report::validate::terminal(&validation),
        args::Format::Csv => report::validate::csv(&validation),
        args::Format::Json => {
            let json = validation.to_json();
            let text = serde_json::to_string_pretty(&json);
            text.map_err(|error| Error::internal(format!("validation to JSON: {error}")))? + "\n"
        }
    };
    out::data(&text)?;
    validation.verdict()
}
