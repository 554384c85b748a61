//! The `preon` command: parse, run one verb, map the outcome to an exit code.

fn main() -> std::process::ExitCode {
    preon::cli::main()
}
