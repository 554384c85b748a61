//! The `preon` command: a thin client of the library, one file a verb. The only place that prints or exits.
//!
//! Data goes to stdout, everything else to stderr; a closed pipe is a quiet end; the exit code is the error's kind
//! ([`crate::diag::Kind::exit_code`]), 2 for a wrong command line, 70 for a bug.

mod args;
mod asm;
mod batch;
mod check;
mod debug;
mod demo;
mod dram;
mod energy;
mod exec;
mod explain;
mod formats;
mod gemm;
mod inspect;
mod isa;
mod kernels;
mod machine;
mod out;
mod pictures;
mod policy;
mod quantise;
mod run;
mod sensitivity;
mod test;
mod tracing;
mod validate;
mod workload;

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::diag::{Kind, Result};
use crate::report;

/// A virtual accelerator for low-bit AI: real outputs, cycles and joules from one compiled program.
#[derive(Debug, Parser)]
#[command(name = "preon", version, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Colours: auto, always or never
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    color: args::Colour,
    /// A table of your own number formats, known to every verb by their names
    #[arg(long, global = true, value_name = "FILE")]
    formats: Vec<std::path::PathBuf>,
}

/// One line a verb; its file holds its arguments and its work.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Everything on a built-in model: every policy on every machine, a table and a report, in seconds
    Demo(demo::Args),
    /// Run a model on a machine under one or more policies: outputs, cycles, joules, cross-check
    Run(run::Args),
    /// Compare every node of a model, virtual against native, byte by byte
    Check(check::Args),
    /// One matrix product: cycles and joules of X[m,k] · W[n,k]
    Gemm(gemm::Args),
    /// Requests straight to a machine's DRAM, without a core: cycles, row hits, joules by command
    Dram(dram::Args),
    /// Cycles and joules of a network of which only the layers' shapes are known
    Workload(workload::Args),
    /// What is in the tensors of a model: range, spread, outliers, zeros, entropy
    Inspect(inspect::Args),
    /// Write a model's weights in the formats of a policy: codes, scales and a report
    Quantise(quantise::Args),
    /// What each number format does to each layer of a model, and to its result
    Sensitivity(sensitivity::Args),
    /// Machine descriptions
    #[command(subcommand)]
    Machine(machine::Verb),
    /// What the laws of energy give for operations and memories, and a published column by its law
    #[command(subcommand)]
    Energy(energy::Verb),
    /// Precision policies
    #[command(subcommand)]
    Policy(policy::Verb),
    /// Published machines, predicted: every measured case beside our figure, with its error
    Validate(validate::Args),
    /// Number formats
    #[command(subcommand)]
    Formats(formats::Verb),
    /// The instruction set: a list, or the reference card of one instruction
    Isa(isa::Args),
    /// The kernel library: what its files are, and their texts
    Kernels(kernels::Args),
    /// Assemble a program
    Asm(asm::AsmArgs),
    /// Disassemble a program
    Disasm(asm::DisasmArgs),
    /// Run the tests that stand in assembly texts
    Test(test::Args),
    /// Execute a program and show what it left behind
    Exec(exec::Args),
    /// Run a program step by step, forwards and backwards
    Debug(debug::Args),
    /// Say more about an exit code or the code of an error
    Explain(explain::Args),
}

impl Verb {
    fn run(&self) -> Result<()> {
        match self {
            Verb::Demo(args) => demo::run(args),
            Verb::Run(args) => run::run(args),
            Verb::Check(args) => check::run(args),
            Verb::Gemm(args) => gemm::run(args),
            Verb::Dram(args) => dram::run(args),
            Verb::Workload(args) => workload::run(args),
            Verb::Inspect(args) => inspect::run(args),
            Verb::Quantise(args) => quantise::run(args),
            Verb::Sensitivity(args) => sensitivity::run(args),
            Verb::Machine(verb) => machine::run(verb),
            Verb::Energy(verb) => energy::run(verb),
            Verb::Policy(verb) => policy::run(verb),
            Verb::Validate(args) => validate::run(args),
            Verb::Formats(verb) => formats::run(verb),
            Verb::Isa(args) => isa::run(args),
            Verb::Kernels(args) => kernels::run(args),
            Verb::Asm(args) => asm::assemble(args),
            Verb::Disasm(args) => asm::disassemble(args),
            Verb::Test(args) => test::run(args),
            Verb::Exec(args) => exec::run(args),
            Verb::Debug(args) => debug::run(args),
            Verb::Explain(args) => explain::run(args),
        }
    }
}

/// Exit code of a program that was interrupted: that of a shell.
const INTERRUPTED: i32 = 130;

/// Parses the command line, does one verb, and gives the exit code.
pub fn main() -> ExitCode {
    set_hook(Box::new(report_bug));
    // Nothing half-written stays behind. Who started us with signals ignored, as nohup does, keeps that.
    let _ = ctrlc::try_set_handler(|| {
        let _held = report::give_up();
        std::process::exit(INTERRUPTED);
    });
    ExitCode::from(guarded(|| {
        let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
        let colour = args::Colour::asked(&words);
        let mut command = Cli::command().color(colour.of_clap());
        let parsed = command.try_get_matches_from_mut(words).and_then(|found| Cli::from_arg_matches(&found));
        let cli = match parsed.map_err(|error| error.format(&mut command)) {
            Ok(cli) => cli,
            Err(error) => {
                // Help and version go to stdout with 0, mistakes to stderr with 2; a closed pipe is nobody's loss.
                let _ = error.print();
                return if error.use_stderr() { Kind::Usage.exit_code() } else { 0 };
            }
        };
        cli.color.apply();
        match args::register_formats(&cli.formats).and_then(|()| cli.verb.run()) {
            Ok(()) => 0,
            Err(error) => {
                out::error(&error);
                error.kind().exit_code()
            }
        }
    }))
}

/// Runs `work`; a panic becomes the exit code of an internal error (the hook has already said what happened).
fn guarded(work: impl FnOnce() -> u8) -> u8 {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Kind::Internal.exit_code())
}

fn report_bug(info: &PanicHookInfo<'_>) {
    let text = info.payload().downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_default();
    let place = info.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
    out::note(&format!(
        "error: this is a bug in preon {}{place}: {text}\n\
         please report it with the command line and, if it is not secret, the input",
        env!("CARGO_PKG_VERSION"),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_panic_is_exit_code_70() {
        assert_eq!(guarded(|| panic!("on purpose")), 70);
        assert_eq!(guarded(|| 3), 3);
    }

    #[test]
    fn every_verb_explains_itself() {
        for verb in Cli::command().get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
        }
    }
}
