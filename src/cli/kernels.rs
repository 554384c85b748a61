//! `preon kernels`: the library, to read and to copy.

use super::out;
use crate::compile::kernels::Kernels;
use crate::diag::{Error, Result, did_you_mean};
use crate::report::table;

/// Arguments of `kernels`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the text of this file; without it, what every file is
    #[arg(value_name = "FILE")]
    file: Option<String>,
}

/// Lists the files, or prints one.
pub fn run(args: &Args) -> Result<()> {
    let kernels = Kernels::builtin();
    let Some(name) = &args.file else { return out::data(&list(&kernels)) };
    let file = if name.contains('.') { name.clone() } else { format!("{name}.vasm") };
    match kernels.source(&file) {
        Some(text) => out::data(text),
        None => {
            let error = Error::usage(format!("the library has no kernel `{name}`"));
            Err(match did_you_mean(&file, kernels.iter().map(|(name, _)| name)) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("`preon kernels` lists them"),
            })
        }
    }
}

/// A line a file: its name, and the first sentence of its head.
fn list(kernels: &Kernels) -> String {
    let rows: Vec<Vec<String>> =
        kernels.iter().map(|(name, text)| vec![name.to_owned(), first_sentence(text)]).collect();
    table::render(&["file", "what"], &rows, &[])
}

/// The first sentence of the comment that a text begins with, as far as its first line goes.
fn first_sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']);
    let end = [". ", ": "].iter().filter_map(|stop| line.find(stop)).min().unwrap_or(line.len());
    line[..end].trim_end_matches(['.', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_line_that_says_what_it_is() {
        let kernels = Kernels::builtin();
        let text = list(&kernels);
        assert_eq!(text.lines().count(), 1 + kernels.iter().count());
        assert!(kernels.iter().all(|(_, text)| first_sentence(text).len() > 20), "{text}");
    }

    #[test]
    fn an_unknown_kernel_is_a_usage_error_with_a_hint() {
        let error = run(&Args { file: Some("sofmax".into()) }).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        assert_eq!(error.help_text(), Some("did you mean `softmax.vasm`?"));
    }
}
