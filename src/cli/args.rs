//! Arguments that several verbs share.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::compile::kernels::Kernels;
use crate::diag::{Error, Result};
use crate::machine::{self, Machine};
use crate::model::Input;
use crate::policy::{self, Policy};
use crate::report;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Colour {
    /// What a command line asks for, also one that is wrong elsewhere: what is said about that has colours too.
    pub fn asked(words: &[OsString]) -> Self {
        let words: Vec<&str> = words.iter().map_while(|word| word.to_str().filter(|word| *word != "--")).collect();
        let values = words.iter().enumerate().filter_map(|(at, word)| match word.strip_prefix("--color=") {
            Some(value) => Some(value),
            None if *word == "--color" => words.get(at + 1).copied(),
            None => None,
        });
        values.filter_map(|value| Colour::from_str(value, false).ok()).next_back().unwrap_or(Colour::Auto)
    }
    /// The same choice for the parser of command lines.
    pub fn of_clap(self) -> clap::ColorChoice {
        match self {
            Colour::Auto => clap::ColorChoice::Auto,
            Colour::Always => clap::ColorChoice::Always,
            Colour::Never => clap::ColorChoice::Never,
        }
    }
    /// Sets the choice for everything printed from now on.
    pub fn apply(self) {
        match self {
            Colour::Auto => anstream::ColorChoice::Auto,
            Colour::Always => anstream::ColorChoice::Always,
            Colour::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// Shape of the data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// schema preon.run/1, of `workload` preon.workload/1; an array if there are several runs
    Json,
    /// One line a run, of `workload` one line a layer
    Csv,
}

/// Text or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Which machine.
#[derive(Debug, Clone, clap::Args)]
pub struct Machines {
    /// Machines, by name or TOML file, separated by commas
    #[arg(short, long = "machine", value_name = "NAME|FILE", default_value = "edge", value_delimiter = ',')]
    machine: Vec<String>,
    /// Change one figure of every machine, for example dram.timing.cl=40
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    sets: Vec<(String, String)>,
    /// Supply of every machine, one of its points of voltage and frequency or between: --set machine.vdd
    #[arg(long, value_name = "VOLTS")]
    vf: Option<f64>,
}

impl Machines {
    /// Loads all of them.
    pub fn load(&self) -> Result<Vec<Machine>> {
        let mut sets = self.sets.clone();
        sets.extend(self.vf.map(|volts| ("machine.vdd".to_owned(), volts.to_string())));
        let machines: Vec<Machine> =
            self.machine.iter().map(|name| machine::load_with(name, &sets)).collect::<Result<_>>()?;
        distinct("machines", machines.iter().map(|machine| machine.name.as_str()))?;
        Ok(machines)
    }
}

/// Refuses two of one name: results and files go by names.
fn distinct<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut known = BTreeSet::new();
    match names.into_iter().find(|name| !known.insert(*name)) {
        None => Ok(()),
        Some(name) => Err(Error::usage(format!("two {what} are called `{name}`"))
            .help("leave one out, or give its file another `name`")),
    }
}

/// Adds tables of formats (`--formats`) to the built-in one.
pub fn register_formats(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let path = file.display().to_string();
        let text = super::asm::read_text(file)?;
        crate::num::format::register(&path, &text)?;
    }
    Ok(())
}

/// `KEY=VALUE`, both trimmed.
pub fn key_value(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().into(), value.trim().into())),
        _ => Err("write KEY=VALUE".into()),
    }
}

/// Which policies.
#[derive(Debug, Clone, clap::Args)]
pub struct Policies {
    /// Policies, by name or TOML file, separated by commas; `all` for every built-in one
    /// [default: int8; for a folder of `preon quantise`, its own]
    #[arg(short, long = "policy", value_name = "NAME|FILE", value_delimiter = ',')]
    policy: Vec<String>,
}

impl Policies {
    /// Loads all of them.
    pub fn load(&self) -> Result<Vec<Policy>> {
        match self.policy.as_slice() {
            [] => Ok(vec![policy::load("int8")?]),
            [all] if all == "all" => Ok(policy::built_ins()),
            names => {
                let policies: Vec<Policy> = names.iter().map(|name| policy::load(name)).collect::<Result<_>>()?;
                distinct("policies", policies.iter().map(|policy| policy.name.as_str()))?;
                Ok(policies)
            }
        }
    }

    /// Loads all of them; without any, the policy that stands in the model's folder if `preon quantise` wrote it.
    pub fn load_for(&self, model: &str) -> Result<Vec<Policy>> {
        let own = Path::new(model).join("policy.toml");
        match self.policy.is_empty() && own.is_file() {
            true => Ok(vec![policy::load(&own.display().to_string())?]),
            false => self.load(),
        }
    }
}

/// What the model is fed with.
#[derive(Debug, Clone, clap::Args)]
pub struct Inputs {
    /// A text, or the path of a file that holds it; without it the model's own sample
    #[arg(long, value_name = "TEXT|FILE")]
    input: Option<String>,
    /// The model's own sample, cut or repeated to this many tokens
    #[arg(long, value_name = "N", conflicts_with = "input", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    seq: Option<u32>,
}

impl Inputs {
    /// The input; a text that names an existing file is that file.
    ///
    /// # Errors
    /// BadInput for a folder, and for one word that can only be the path of a file that is not there.
    pub fn get(&self) -> Result<Input> {
        let Some(text) = &self.input else {
            return Ok(self.seq.map_or(Input::Default, |tokens| Input::Length(tokens as usize)));
        };
        let path = Path::new(text);
        if path.is_file() {
            return Ok(Input::File(PathBuf::from(text)));
        }
        if path.is_dir() {
            return Err(Error::bad_input("is a folder, but an input is a text or a file").in_file(text));
        }
        let word = !text.contains(char::is_whitespace);
        if word && (text.contains(['/', '\\']) || text.ends_with(".txt") || text.ends_with(".csv")) {
            let what = if path.exists() { "is no regular file" } else { "there is no such file" };
            return Err(Error::bad_input(what).in_file(text).help("a text that looks like a path needs a space in it"));
        }
        Ok(Input::Text(text.clone()))
    }
}

/// Whose kernels.
#[derive(Debug, Clone, clap::Args)]
pub struct OwnKernels {
    /// Replace kernels of the library by the files of the same name in this folder
    #[arg(long = "kernels", value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl OwnKernels {
    /// The library with the user's files in place of its own.
    pub fn load(&self) -> Result<Kernels> {
        self.folder.as_deref().map_or_else(|| Ok(Kernels::builtin()), Kernels::with_folder)
    }
}

/// Where and in which shape results go.
#[derive(Debug, Clone, clap::Args)]
pub struct Output {
    /// Write the report folder here; `-` for none
    #[arg(short, long, value_name = "DIR")]
    out: Option<String>,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

impl Output {
    /// The folder of the report, if one is wanted.
    pub fn folder(&self, default: Option<&str>) -> Option<PathBuf> {
        self.out.as_deref().or(default).filter(|path| *path != "-").map(PathBuf::from)
    }
    /// Says before the work whether the report may be written.
    ///
    /// # Errors
    /// Usage if it may not.
    pub fn refuse(&self, default: Option<&str>) -> Result<()> {
        self.folder(default).map_or(Ok(()), |folder| report::refuse(&folder))
    }
}

/// The command line as it can be typed again, without `-o`: where a report goes must not change what it says.
pub fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c));
    let mut words = vec!["preon".to_string()];
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "-o" || argument == "--out" {
            arguments.next();
        } else if argument.starts_with("--out=") || (argument.starts_with("-o") && !argument.starts_with("--")) {
        } else if plain(&argument) && !argument.is_empty() {
            words.push(argument);
        } else {
            words.push(format!("'{}'", argument.replace('\'', "'\\''")));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let words =
            ["/usr/bin/preon", "run", "m", "-o", "here", "--input", "the fox's den", "-p", "fp32,int8", "--out=x"];
        let text = command_line(words.iter().map(ToString::to_string));
        assert_eq!(text, "preon run m --input 'the fox'\\''s den' -p fp32,int8");
    }

    #[test]
    fn a_wrong_command_line_still_says_which_colours_it_wants() {
        let asked = |words: &str| Colour::asked(&words.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(asked("preon rnu --color always"), Colour::Always);
        assert_eq!(asked("preon --color=never run --what"), Colour::Never);
        assert_eq!(asked("preon --color always --color never"), Colour::Never);
        for auto in ["preon", "preon --color", "preon --color sometimes", "preon run -- --color always"] {
            assert_eq!(asked(auto), Colour::Auto, "{auto}");
        }
    }

    #[test]
    fn names_are_distinct() {
        assert!(distinct("machines", ["edge", "hbm"].into_iter()).is_ok());
        let error = distinct("machines", ["edge", "hbm", "edge"].into_iter()).unwrap_err();
        assert_eq!((error.kind().exit_code(), error.message()), (2, "two machines are called `edge`"));
        let machines = Machines { machine: vec!["edge".into(), "edge".into()], sets: Vec::new(), vf: None };
        assert!(machines.load().is_err());
        assert!(Policies { policy: vec!["int8".into(), "fp8".into(), "int8".into()] }.load().is_err());
    }

    #[test]
    fn settings_need_a_key() {
        assert_eq!(key_value("dram.bytes = 4"), Ok(("dram.bytes".into(), "4".into())));
        assert!(key_value("=4").is_err() && key_value("x").is_err());
    }

    #[test]
    fn a_dash_means_no_report() {
        let output = |out: Option<&str>| Output { out: out.map(String::from), format: Format::Table };
        assert_eq!(output(Some("-")).folder(Some("d")), None);
        assert_eq!(output(None).folder(Some("d")), Some("d".into()));
        assert_eq!(output(None).folder(None), None);
    }
}
