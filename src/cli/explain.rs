//! `preon explain`: what an exit code, or the code of an error, means.

use super::out;
use crate::check::cases;
use crate::compile;
use crate::diag::{Error, Result};
use crate::isa::asm;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An exit code (3) or the code of an error (E0105); all exit codes without it
    code: Option<String>,
}

/// Exit code, what it means, what to do.
const CODES: [(u8, &str, &str); 7] = [
    (0, "everything asked for was done", "nothing"),
    (
        1,
        "a comparison or threshold failed",
        "`preon check MODEL -p POLICY` names the node and the first differing element",
    ),
    (2, "the command line is wrong", "`preon help VERB` lists the arguments of a verb"),
    (
        3,
        "an input file is damaged or says something impossible",
        "the message names the file, and the line where there is one",
    ),
    (
        4,
        "a valid request for an op, format or feature that is not served",
        "the message names it and what is served instead",
    ),
    (5, "the simulated program faulted", "the message names the instruction's source line"),
    (70, "a bug in preon", "please report it with the command line and the input"),
];

/// Codes of errors, by room.
fn error_codes() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    asm::CODES.iter().chain(cases::CODES).chain(compile::CODES)
}

/// Prints one code, or all.
pub fn run(args: &Args) -> Result<()> {
    let Some(code) = &args.code else {
        let exits = CODES.iter().map(|(code, text, _)| format!("{code:>5}  {text}\n"));
        let errors = error_codes().map(|(code, text)| format!("{code:>5}  {text}\n"));
        return out::data(&exits.chain(errors).collect::<String>());
    };
    match CODES.iter().find(|(known, ..)| known.to_string() == *code) {
        Some((code, text, help)) => out::data(&format!("exit code {code}: {text}\n{help}\n")),
        None => match error_codes().find(|(known, _)| known.eq_ignore_ascii_case(code)) {
            Some((code, text)) => out::data(&format!("{code}: {text}\n")),
            None => Err(Error::usage(format!("`{code}` is no exit code and no code of an error"))
                .help("`preon explain` lists all codes")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Kind;

    #[test]
    fn every_kind_of_error_is_explained() {
        let kinds = [Kind::CheckFailed, Kind::Usage, Kind::BadInput, Kind::Unsupported, Kind::Fault, Kind::Internal];
        for kind in kinds {
            assert!(CODES.iter().any(|(code, ..)| *code == kind.exit_code()), "{kind:?}");
        }
        assert_eq!(run(&Args { code: Some("99".into()) }).unwrap_err().kind(), Kind::Usage);
    }
}
