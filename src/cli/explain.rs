//! `preon explain`: what an exit code, or the code of an error, means.

use super::out;
use crate::check::cases;
use crate::compile;
use crate::diag::{Error, Explanation, Result};
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
fn error_codes() -> impl Iterator<Item = &'static Explanation> {
    asm::CODES.iter().chain(cases::CODES).chain(compile::CODES)
}

/// Prints one code, or all.
pub fn run(args: &Args) -> Result<()> {
    let Some(code) = &args.code else {
        let exits = CODES.iter().map(|(code, text, _)| format!("{code:>5}  {text}\n"));
        let errors = error_codes().map(|known| format!("{:>5}  {}\n", known.code, known.what));
        return out::data(&exits.chain(errors).collect::<String>());
    };
    match CODES.iter().find(|(known, ..)| known.to_string() == *code) {
        Some((code, text, help)) => out::data(&format!("exit code {code}: {text}\n{help}\n")),
        None => match error_codes().find(|known| known.code.eq_ignore_ascii_case(code)) {
            Some(known) => out::data(&text(known)),
            None => Err(Error::usage(format!("`{code}` is no exit code and no code of an error"))
                .help("`preon explain` lists all codes")),
        },
    }
}

/// The whole explanation of one code.
fn text(known: &Explanation) -> String {
    let block = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let Explanation { code, what, more, wrong, right } = known;
    format!("{code}: {what}\n\n{more}\n\nnot\n{}but\n{}", block(wrong), block(right))
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

    /// Codes in the quoted texts of the library's source.
    fn emitted(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                emitted(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let quoted = text.split('"').filter(|part| part.len() == 5 && part.starts_with('E'));
                found.extend(quoted.filter(|part| part[1..].bytes().all(|b| b.is_ascii_digit())).map(String::from));
            }
        }
    }

    #[test]
    fn every_code_in_the_source_is_explained_with_an_example() {
        let mut found = std::collections::BTreeSet::new();
        emitted(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.len() >= 28, "{found:?}");
        for code in &found {
            let known = error_codes().find(|known| known.code == code);
            let known = known.unwrap_or_else(|| panic!("{code} has no explanation"));
            assert!(!known.more.is_empty() && !known.wrong.is_empty() && known.wrong != known.right, "{code}");
        }
        assert!(error_codes().all(|known| found.contains(known.code)), "an explanation of nothing");
        let mut codes: Vec<&str> = error_codes().map(|known| known.code).collect();
        codes.dedup();
        assert_eq!(codes.len(), error_codes().count(), "one explanation each, in order");
    }
}
