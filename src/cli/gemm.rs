//! `preon gemm`: one matrix product.

use super::{args, batch, out, tracing::Tracing};
use crate::diag::Result;
use crate::model;
use crate::report;
use crate::vpu::summary::{fill_saved, to_json};
use crate::vpu::{RunOptions, Vpu};

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
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: args::Format,
    #[command(flatten)]
    tracing: Tracing,
}

/// Prices the product under every policy on every machine.
pub fn run(args: &Args) -> Result<()> {
    let (machines, policies) = (args.machines.load()?, args.policies.load()?);
    let kernels = args.kernels.load()?;
    args.tracing.refuse_several(machines.len() * policies.len())?;
    let bar = out::bar(machines.len() * policies.len());
    let (mut runs, mut explained, mut wrong) = (Vec::new(), String::new(), None);
    for machine in &machines {
        for policy in &policies {
            bar.set_message(format!("{} {}", machine.name, policy.name));
            let mut vpu = Vpu::new(machine.clone());
            vpu.set_precision(policy.clone());
            let explain = args.explain.then(|| "gemm".to_string());
            let (timing_only, check) = (args.timing_only, !args.timing_only);
            let (seed, kernels) = (args.seed, kernels.clone());
            vpu.options = RunOptions { timing_only, check, explain, seed, kernels, ..RunOptions::default() };
            let (m, n, k) = (args.m as usize, args.n as usize, args.k as usize);
            let prepared = model::gemm(m, n, k, args.seed, args.timing_only)?;
            let result = batch::traced(&mut vpu, &args.tracing, &prepared)?;
            wrong = wrong.or_else(|| batch::verdict(&result));
            explained += &result.explain.map_or(String::new(), |text| format!("\n{}\n", text.trim_end()));
            runs.push(result.summary);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    fill_saved(&mut runs);
    out::data(&match (args.format, runs.as_slice()) {
        (args::Format::Json, _) => to_json(&runs)?,
        (args::Format::Csv, _) => report::csv::runs(&runs),
        (args::Format::Table, [one]) => report::table::run(one) + &explained,
        (args::Format::Table, _) => report::table::runs(&runs) + &explained,
    })?;
    wrong.map_or(Ok(()), Err)
}
