//! `preon workload`: layers without weights.

use std::path::Path;

use super::tracing::{self, Tracing};
use super::{args, out};
use crate::diag::{Error, Place, Result};
use crate::report;
use crate::sim::observe::Unobserved;
use crate::vpu::workload::{self as vpu, Epochs, WorkloadReport};
use crate::workload::{self, builtin};

/// Arguments of `workload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The layers: resnet50, alexnet, bert-base, bert-large, bitnet-2b, gemm-a, gemm-b, bert-l-layer; or a list as .toml,
    /// .csv (SCALE-Sim) or .onnx (shapes only)
    #[arg(value_name = "NAME|FILE", required_unless_present = "list")]
    workload: Option<String>,
    #[command(flatten)]
    machines: args::Machines,
    #[command(flatten)]
    policies: args::Policies,
    #[command(flatten)]
    kernels: args::OwnKernels,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    seq: Option<u64>,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=4096))]
    prefill: Option<u64>,
    /// Tokens generated behind it, one by one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=4096))]
    decode: Option<u64>,
    /// Images or sequences at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    batch: Option<u64>,
    /// Simulate every instance of every layer, not each program once
    #[arg(long, conflicts_with = "estimate")]
    step: bool,
    /// What separates layers; `none` runs them as one program and tells what the drains cost
    #[arg(long, value_name = "WHICH", default_value = "layers", conflicts_with = "estimate")]
    epochs: Which,
    /// Keep inputs and results of layers on the chip: it is an error where they do not fit
    #[arg(long, conflicts_with = "estimate")]
    resident: bool,
    /// Do not simulate: estimate, in microseconds
    #[arg(long)]
    estimate: bool,
    /// List the built-in workloads
    #[arg(long, conflicts_with = "workload")]
    list: bool,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: args::Format,
    /// Also write workload.json and workload.csv into this folder; `-` for none
    #[arg(short, long, value_name = "DIR")]
    out: Option<String>,
    #[command(flatten)]
    tracing: Tracing,
}

/// What stands between layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// An epoch: everything drains
    Layers,
    /// Nothing
    None,
}

/// Prices the workload under every policy on every machine.
pub fn run(args: &Args) -> Result<()> {
    if args.list {
        let line = |(name, doc): &(&str, &str)| format!("{name:<14}{doc}\n");
        return out::data(&builtin::NAMES.iter().map(line).collect::<String>());
    }
    let options = builtin::Options { seq: args.seq, prefill: args.prefill, decode: args.decode, batch: args.batch };
    let from = args.workload.as_deref().unwrap_or_default();
    let layers = workload::load(from, &options)?;
    // A layer's name alone does not say whose it is.
    let named = |error: Error| match error.place() {
        Place::Node(_) if Path::new(from).is_file() => error.note(format!("in {from}")),
        _ => error,
    };
    let (machines, policies, kernels) = (args.machines.load()?, args.policies.load()?, args.kernels.load()?);
    let epochs = if args.epochs == Which::None { Epochs::None } else { Epochs::Layers };
    let how = vpu::Run { step: args.step, epochs, estimate: args.estimate, resident: args.resident };
    args.tracing.refuse_several(machines.len() * policies.len())?;
    let folder = args.out.as_deref().filter(|folder| *folder != "-").map(Path::new);
    folder.map_or(Ok(()), report::workload::refuse)?;
    let (mut runs, mut costs) = (Vec::new(), String::new());
    let bar = out::bar(machines.len() * policies.len() * layers.layers.len());
    for machine in &machines {
        for policy in &policies {
            let seen = &mut |layer: &str| {
                bar.set_message(format!("{} {} {layer}", machine.name, policy.name));
                bar.inc(1);
            };
            let run = match args.tracing.begin(machine)? {
                None => {
                    let alone = &mut Unobserved;
                    vpu::run_observed(&layers, machine, policy, &kernels, &how, seen, alone).map_err(named)?
                }
                Some(mut trace) => {
                    let traced = vpu::run_observed(&layers, machine, policy, &kernels, &how, seen, &mut trace);
                    let run = traced.map_err(named)?;
                    trace.finish(tracing::about_layers(&run))?;
                    run
                }
            };
            if epochs == Epochs::None {
                let apart = vpu::Run { epochs: Epochs::Layers, ..how.clone() };
                let drained = vpu::run(&layers, machine, policy, &kernels, &apart).map_err(named)?;
                costs += &epochs_cost(&run, &drained);
            }
            runs.push(run);
        }
    }
    bar.finish_and_clear();
    let json = || match runs.as_slice() {
        [one] => serde_json::to_string_pretty(one),
        all => serde_json::to_string_pretty(all),
    };
    let json = || json().map_err(|error| Error::internal(format!("a report that is no JSON: {error}")));
    if let Some(folder) = folder {
        report::workload::write(&runs, &(json()? + "\n"), folder)?;
    }
    out::data(&match (args.format, runs.as_slice()) {
        (args::Format::Json, _) => json()? + "\n",
        (args::Format::Csv, _) => report::workload::rows(&runs),
        (args::Format::Table, [one]) => report::workload::run(one) + &costs,
        (args::Format::Table, _) => report::workload::runs(&runs) + &costs,
    })
}

/// What the drains between layers cost.
fn epochs_cost(joined: &WorkloadReport, drained: &WorkloadReport) -> String {
    let more = drained.cycles as f64 / joined.cycles.max(1) as f64 - 1.0;
    format!(
        "epochs   {} {}: {} cycles with a drain after each layer, {} without: {:+.1} %\n",
        joined.machine,
        joined.policy,
        report::units::count(drained.cycles),
        report::units::count(joined.cycles),
        100.0 * more
    )
}
