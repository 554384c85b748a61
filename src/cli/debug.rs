//! `preon debug`: a program step by step. The debugger itself is [`crate::debug`]; here lines are read and answers printed.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use super::{args, asm, out};
use crate::debug::Debugger;
use crate::diag::{Error, Kind, Result};
use crate::isa::Object;
use crate::machine;

/// Arguments of `debug`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A program, or assembly text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    bind: asm::Bindings,
    /// The machine, by name or TOML file
    #[arg(short, long, value_name = "NAME|FILE", default_value = "edge")]
    machine: String,
    /// Change one figure of the machine
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = args::key_value)]
    sets: Vec<(String, String)>,
    /// Do the commands of a file first
    #[arg(short = 'x', long = "commands", value_name = "FILE")]
    commands: Option<PathBuf>,
    /// Print a transcript and end after the commands of -x, or of standard input
    #[arg(long)]
    batch: bool,
    /// Stop with a fault after about this many instructions
    #[arg(long, value_name = "N", default_value_t = 1_000_000_000)]
    fuel: u64,
}

/// What stands in front of every command.
const PROMPT: &str = "(preon) ";

/// Runs the session.
pub fn run(args: &Args) -> Result<()> {
    let object = asm::load(&args.file, &args.bind)?;
    let machine = machine::load_with(&args.machine, &args.sets)?;
    let sources = sources(&args.file, &object);
    let mut debugger = Debugger::new(object, &sources, &machine, Some(args.fuel))?;
    out::data(&debugger.place())?;
    if let Some(path) = &args.commands {
        let name = path.display().to_string();
        let text = asm::read_text(path)?;
        if script(&mut debugger, text.lines().map(|line| Ok(line.to_string())), &name)? || args.batch {
            return verdict(&debugger);
        }
    }
    let stdin = std::io::stdin();
    if args.batch {
        script(&mut debugger, stdin.lock().lines(), "standard input")?;
        return verdict(&debugger);
    }
    talk(&mut debugger, stdin.lock(), stdin.is_terminal())
}

/// The texts that the program was made of, as far as they can be read.
fn sources(file: &Path, object: &Object) -> BTreeMap<String, String> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let find = |name: &String| {
        let text = std::fs::read_to_string(name).or_else(|_| std::fs::read_to_string(folder.join(name))).ok()?;
        Some((name.clone(), text))
    };
    object.files.iter().filter_map(find).collect()
}

/// Does the lines of a script, each printed in front of its answer; true after `quit`.
///
/// # Errors
/// Usage for the first line that is no command, by its number.
fn script(debugger: &mut Debugger, lines: impl Iterator<Item = std::io::Result<String>>, name: &str) -> Result<bool> {
    for (number, line) in (1..).zip(lines) {
        let line = line.map_err(|error| Error::bad_input(format!("cannot be read: {error}")).in_file(name))?;
        if line.trim().is_empty() {
            continue;
        }
        out::data(&format!("{PROMPT}{}\n", line.trim()))?;
        let reply = debugger.command(&line).map_err(|error| error.in_file(format!("{name}:{number}")))?;
        out::data(&reply.text)?;
        if reply.ended {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Exit code 5 if the program came to a trap; the transcript has said which.
fn verdict(debugger: &Debugger) -> Result<()> {
    match debugger.faulted() {
        false => Ok(()),
        true => Err(Error::new(Kind::Fault, "the program came to a trap; the transcript says where")),
    }
}

/// A session with a person: an empty line does the last command again, a mistake is explained and forgotten.
fn talk(debugger: &mut Debugger, input: impl BufRead, terminal: bool) -> Result<()> {
    let mut last = String::new();
    let mut lines = input.lines();
    loop {
        if terminal {
            out::data(PROMPT)?;
        }
        let Some(line) = lines.next() else { return Ok(()) };
        let line =
            line.map_err(|error| Error::bad_input(format!("cannot be read: {error}")).in_file("standard input"))?;
        if !line.trim().is_empty() {
            last = line;
        }
        match debugger.command(&last) {
            Ok(reply) => {
                out::data(&reply.text)?;
                if reply.ended {
                    return Ok(());
                }
            }
            Err(error) => out::error(&error),
        }
    }
}
