//! `preon demo`: the first command somebody types.

use super::{args, batch::Batch, out, tracing::Tracing};
use crate::diag::Result;
use crate::report;
use crate::vpu::RunOptions;
use crate::{machine, model, policy};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model to show: builtin:NAME or a Hugging Face folder
    #[arg(long, value_name = "MODEL", default_value = "builtin:bitnet-tiny")]
    model: String,
    #[command(flatten)]
    output: args::Output,
}

/// Every built-in policy on an edge machine and a server machine.
pub fn run(args: &Args) -> Result<()> {
    let machines = machine::general().into_iter().map(machine::load).collect::<Result<Vec<_>>>()?;
    let policies = policy::built_ins();
    let model = model::load(&args.model)?;
    let prepared = model.prepare(&model::Input::Default)?;
    let (many, machine_names) =
        (policies.len(), machines.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(" and "));
    out::note(&format!("{}: {} tokens, {many} policies on {machine_names}", args.model, prepared.tokens));
    let history = args.output.folder(Some("")).is_some();
    let (options, tracing) = (RunOptions { history, ..RunOptions::default() }, Tracing::default());
    let batch =
        Batch { prepared: &prepared, machines: &machines, policies: &policies, options: &options, tracing: &tracing };
    args.output.refuse(Some("preon-demo"))?;
    let done = batch.run()?;
    batch.finish(&done, &args.output, Some("preon-demo"), &[])?;
    if args.output.format == args::Format::Table {
        out::data(&format!("\n{}\n", report::headline(&done.summaries())))?;
    }
    Ok(())
}
