//! `preon exec`: one program on the bare processor.

use std::path::PathBuf;

use super::asm;
use crate::diag::{Error, Result};

/// Arguments of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A program, or assembly text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    bind: asm::Bindings,
}

/// Executes it.
pub fn run(args: &Args) -> Result<()> {
    let object = asm::load(&args.file, &args.bind)?;
    Err(Error::unsupported(format!("executing {} words is not connected yet", object.words.len())))
}
