//! `preon gemm`: one matrix product.

use super::{args, batch::Batch, tracing::Tracing};
use crate::diag::Result;
use crate::vpu::{RunOptions, gemm_operands};

/// Arguments of `gemm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rows of the inputs
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    m: u32,
    /// Outputs
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    n: u32,
    /// Depth
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    k: u32,
    #[command(flatten)]
    machines: args::Machines,
    #[command(flatten)]
    policies: args::Policies,
    #[command(flatten)]
    kernels: args::OwnKernels,
    /// Count cycles and joules only; compute no values
    #[arg(long)]
    timing_only: bool,
    /// Also print the loop nest, tiles and counts
    #[arg(long)]
    explain: bool,
    /// Seed of the operands
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    output: args::Output,
    #[command(flatten)]
    tracing: Tracing,
}

/// Prices the product under every policy on every machine.
pub fn run(args: &Args) -> Result<()> {
    let (machines, policies) = (args.machines.load()?, args.policies.load()?);
    let shape = [args.m, args.n, args.k].map(|extent| extent as usize);
    let prepared = gemm_operands(shape, args.seed, args.timing_only, &policies)?;
    let options = RunOptions {
        timing_only: args.timing_only,
        check: !args.timing_only,
        explain: args.explain.then(|| "gemm".to_string()),
        seed: args.seed,
        kernels: args.kernels.load()?,
        history: args.output.folder(None).is_some(),
        ..RunOptions::default()
    };
    let (prepared, tracing) = (&prepared, &args.tracing);
    let batch = Batch { prepared, machines: &machines, policies: &policies, options: &options, tracing };
    args.output.refuse(None)?;
    let done = batch.run()?;
    batch.finish(&done, &args.output, None, &[])
}
