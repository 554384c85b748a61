//! `preon test`: the `.test` blocks of assembly texts.

use std::path::PathBuf;

use super::{args, asm, out};
use crate::check::cases::{self, Outcome};
use crate::diag::{Error, Kind, Place, Result};
use crate::{isa, machine};

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Assembly texts; files beside them may be included
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    bind: asm::Bindings,
    /// Run on this machine alone, by name or TOML file, and show the cycles there
    #[arg(short, long, value_name = "NAME|FILE")]
    machine: Option<String>,
    /// Run only the tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write the measured cycles into the `.cycles` lines that differ
    #[arg(long)]
    bless: bool,
    /// What to print
    #[arg(short = 'f', value_name = "FORMAT", default_value = "table")]
    print: args::Format,
}

/// Runs the tests of every file; a failure is exit code 1.
pub fn run(args: &Args) -> Result<()> {
    if args.print == args::Format::Csv {
        return Err(Error::usage("tests are printed as a table or as json, not as csv"));
    }
    let machine = args.machine.as_deref().map(machine::load).transpose()?;
    let mut all: Vec<(String, Vec<Outcome>)> = Vec::new();
    for path in &args.files {
        let sources = asm::texts(path)?;
        let mut tests = isa::asm::tests(&sources, &args.bind.options()).map_err(asm::first)?;
        if tests.is_empty() {
            // A test that is not closed or has no name is no test: the assembler says so with its place.
            isa::asm::assemble(&sources, &args.bind.options()).map_err(asm::first)?;
            let name = path.display().to_string();
            return Err(Error::bad_input("has no test")
                .in_file(name)
                .help("`.test \"name\"` .. `.endt`; `preon isa .test` shows what stands between them"));
        }
        tests.retain(|case| args.only.as_ref().is_none_or(|text| case.name.contains(text)));
        let outcomes = tests.iter().map(|case| cases::run(case, machine.as_ref())).collect::<Result<Vec<_>>>()?;
        all.push((path.display().to_string(), outcomes));
    }
    if args.bless {
        all.iter_mut().try_for_each(|(path, outcomes)| bless(path, outcomes))?;
    }
    let count: usize = all.iter().map(|(_, outcomes)| outcomes.len()).sum();
    if count == 0 {
        return Err(Error::usage("no test has such a name"));
    }
    match args.print {
        args::Format::Json => out::data(&json(&all))?,
        _ => out::data(&table(&all))?,
    }
    let failed = all.iter().flat_map(|(_, outcomes)| outcomes).filter(|outcome| !outcome.failures.is_empty());
    failed.clone().flat_map(|outcome| &outcome.failures).for_each(out::error);
    match failed.count() {
        0 => Ok(()),
        failed => Err(Error::new(Kind::CheckFailed, format!("{failed} of {count} tests failed"))),
    }
}

/// Writes the measured cycles into the file; what differed in cycles alone has then passed.
fn bless(path: &str, outcomes: &mut [Outcome]) -> Result<()> {
    let wrong = |e: std::io::Error| Error::usage(format!("cannot be blessed: {e}")).in_file(path);
    let text = std::fs::read_to_string(path).map_err(wrong)?;
    let blessed = cases::bless(path, &text, outcomes);
    if blessed == text {
        return Ok(());
    }
    // The file itself, where `path` is a link to it, with the rights that it has.
    let real = std::fs::canonicalize(path).map_err(wrong)?;
    let rights = std::fs::metadata(&real).map_err(wrong)?.permissions();
    if rights.readonly() {
        return Err(Error::usage("cannot be blessed: the file is read-only").in_file(path));
    }
    let scratch = real.with_extension(format!("partial-{}", std::process::id()));
    std::fs::write(&scratch, blessed)
        .and_then(|()| std::fs::set_permissions(&scratch, rights))
        .and_then(|()| std::fs::rename(&scratch, &real))
        .map_err(|e| {
            let _ = std::fs::remove_file(&scratch);
            wrong(e)
        })?;
    let stands_alone = |place: &Place| match place {
        Place::Source { span, .. } => cases::is_figure(&text, span),
        _ => false,
    };
    for outcome in outcomes {
        let measured = outcome.measured.iter().map(|(place, _)| place.clone());
        let figures: Vec<Place> = measured.filter(stands_alone).collect();
        outcome.failures.retain(|failure| !figures.contains(failure.place()));
    }
    Ok(())
}

fn table(all: &[(String, Vec<Outcome>)]) -> String {
    let mut text = String::new();
    for (path, outcomes) in all {
        text += &format!("{path}\n");
        let width = outcomes.iter().map(|outcome| outcome.name.chars().count()).max().unwrap_or(0).min(60);
        for outcome in outcomes {
            let verdict = if outcome.failures.is_empty() { "ok  " } else { "FAIL" };
            text += &format!("  {verdict}  {:<width$}  {}\n", outcome.name, summary(outcome));
        }
    }
    let outcomes = all.iter().flat_map(|(_, outcomes)| outcomes);
    let failed = outcomes.clone().filter(|outcome| !outcome.failures.is_empty()).count();
    let count = outcomes.count();
    text + &format!("{count} test{}, {failed} failed\n", if count == 1 { "" } else { "s" })
}

/// `VLEN 32 512; on edge 123 cycles`.
fn summary(outcome: &Outcome) -> String {
    let lengths: Vec<&str> = outcome.runs.iter().filter_map(|run| run.on.strip_prefix("VLEN ")).collect();
    let mut parts = Vec::new();
    if !lengths.is_empty() {
        parts.push(format!("VLEN {}", lengths.join(" ")));
    }
    for run in outcome.runs.iter().filter(|run| !run.on.starts_with("VLEN ")) {
        parts.push(run.cycles.map_or(run.on.clone(), |cycles| format!("{} {cycles} cycles", run.on)));
    }
    parts.join("; ")
}

fn json(all: &[(String, Vec<Outcome>)]) -> String {
    let outcome = |outcome: &Outcome| {
        let runs = outcome.runs.iter().map(|run| serde_json::json!({ "on": run.on, "cycles": run.cycles }));
        serde_json::json!({
            "name": outcome.name,
            "ok": outcome.failures.is_empty(),
            "runs": runs.collect::<Vec<_>>(),
            "failures": outcome.failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    };
    let file = |(path, outcomes): &(String, Vec<Outcome>)| serde_json::json!({ "file": path, "tests": outcomes.iter().map(outcome).collect::<Vec<_>>() });
    let files: Vec<_> = all.iter().map(file).collect();
    format!("{:#}\n", serde_json::json!({ "schema": "preon.test/1", "files": files }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "li x5, 2\nhalt\n.test \"two\"\n.expect x5 = 2\n.cycles edge, 1234\n.endt\n";

    fn args(path: &std::path::Path, bless: bool) -> Args {
        let print = args::Format::Json;
        Args { files: vec![path.into()], bind: asm::Bindings::default(), machine: None, only: None, bless, print }
    }

    #[test]
    fn blessing_changes_the_figure_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("two.vasm");
        std::fs::write(&path, TEXT).unwrap();
        assert_eq!(run(&args(&path, false)).unwrap_err().kind(), Kind::CheckFailed);
        run(&args(&path, true)).unwrap();
        run(&args(&path, false)).unwrap();
        let now = std::fs::read_to_string(&path).unwrap();
        let figure: String = now.split("edge, ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(now, TEXT.replace("1234", &figure));
        std::fs::write(&path, now.replace("x5 = 2", "x5 = 3")).unwrap();
        assert_eq!(run(&args(&path, true)).unwrap_err().kind(), Kind::CheckFailed, "values are never blessed");
    }

    #[test]
    fn a_text_without_tests_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.vasm");
        std::fs::write(&path, "halt\n").unwrap();
        assert_eq!(run(&args(&path, false)).unwrap_err().kind(), Kind::BadInput);
        let csv = Args { print: args::Format::Csv, ..args(&path, false) };
        assert_eq!(run(&csv).unwrap_err().kind(), Kind::Usage);
    }
}
