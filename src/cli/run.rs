//! `preon run`: a model through the whole house.

use std::path::Path;

use super::{args, batch::Batch, tracing::Tracing};
use crate::diag::Result;
use crate::model;
use crate::vpu::RunOptions;

/// Arguments of `run`.
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
    #[command(flatten)]
    output: args::Output,
    #[command(flatten)]
    tracing: Tracing,
    /// Keep element-wise steps apart, to see what fusing them saves
    #[arg(long)]
    no_fuse: bool,
    /// Do not compare with the native backend
    #[arg(long)]
    no_check: bool,
    /// Count cycles and joules only; compute no values
    #[arg(long)]
    timing_only: bool,
    /// Explain one step: loop nest, tiles, counts by level
    #[arg(long, value_name = "LAYER")]
    explain: Option<String>,
    /// Also write the output of this node, or of all nodes that a pattern such as `fc*` matches (repeatable); needs -o
    #[arg(long, value_name = "NODE", requires = "out")]
    dump: Vec<String>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Files of a model folder whose contents decide a result.
const MODEL_FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

/// Runs the model under every policy on every machine.
pub fn run(args: &Args) -> Result<()> {
    let machines = args.machines.load()?;
    let policies = args.policies.load_for(&args.model)?;
    let model = model::load(&args.model)?;
    let prepared = model.prepare(&args.inputs.get()?)?;
    let options = RunOptions {
        fuse: !args.no_fuse,
        timing_only: args.timing_only,
        check: !args.no_check && !args.timing_only,
        explain: args.explain.clone(),
        dump: args.dump.clone(),
        seed: args.seed,
        kernels: args.kernels.load()?,
        history: args.output.folder(None).is_some(),
    };
    let (prepared, tracing) = (&prepared, &args.tracing);
    let batch = Batch { prepared, machines: &machines, policies: &policies, options: &options, tracing };
    args.output.refuse(None)?;
    let done = batch.run()?;
    let files = MODEL_FILES.map(|file| Path::new(&args.model).join(file));
    let own = options.kernels.user_files();
    let inputs: Vec<&Path> = files.iter().map(AsRef::as_ref).chain(own.into_iter().map(Path::new)).collect();
    batch.finish(&done, &args.output, None, &inputs)
}
