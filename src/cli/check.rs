//! `preon check`: virtual against native, node by node.

use super::{args, out};
use crate::check::CheckReport;
use crate::diag::{Error, Kind, Result};
use crate::model;
use crate::vpu::{RunOptions, Vpu};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: builtin:NAME or a Hugging Face folder
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    machines: args::Machines,
    #[command(flatten)]
    policies: args::Policies,
    #[command(flatten)]
    inputs: args::Inputs,
    #[command(flatten)]
    kernels: args::OwnKernels,
    /// Check the program without fused steps, so that every node is compared
    #[arg(long)]
    no_fuse: bool,
}

/// Mismatches that are printed; what follows from them is longer than a screen.
const SHOWN: usize = 8;

/// The first mismatches, in program order.
fn list(report: &CheckReport) -> Result<()> {
    let shown = report.mismatches.iter().take(SHOWN);
    shown.clone().try_for_each(|mismatch| out::data(&format!("  {mismatch}\n")))?;
    match report.mismatches.len() - shown.len() {
        0 => Ok(()),
        more => out::data(&format!("  and {more} more, which may follow from the first\n")),
    }
}

/// One line a (machine, policy), then every node that differs.
pub fn run(args: &Args) -> Result<()> {
    let (machines, policies) = (args.machines.load()?, args.policies.load_for(&args.model)?);
    let prepared = model::load(&args.model)?.prepare(&args.inputs.get()?)?;
    let kernels = args.kernels.load()?;
    let bar = out::bar(machines.len() * policies.len());
    let mut wrong = 0;
    for machine in &machines {
        for policy in &policies {
            bar.set_message(format!("{} {}", machine.name, policy.name));
            let mut vpu = Vpu::new(machine.clone());
            vpu.set_precision(policy.clone());
            vpu.options = RunOptions { fuse: !args.no_fuse, kernels: kernels.clone(), ..RunOptions::default() };
            let report = vpu.check(&prepared)?;
            let exact = report.is_bit_exact();
            let word = if exact { "bit-exact" } else { "DIFFERENT" };
            bar.suspend(|| {
                let (same, nodes) = (report.bit_exact, report.nodes);
                out::data(&format!("{:<8} {:<10} {word}  {same}/{nodes} nodes\n", machine.name, policy.name))?;
                list(&report)
            })?;
            wrong += usize::from(!exact);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if wrong > 0 {
        return Err(Error::new(
            Kind::CheckFailed,
            format!("{wrong} of {} runs differ", machines.len() * policies.len()),
        ));
    }
    Ok(())
}
