//! `preon asm` and `preon disasm`: text to program and back.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::out;
use crate::check::listing;
use crate::compile::kernels::Kernels;
use crate::diag::{Error, Result};
use crate::isa::asm::{self, Options, Sources};
use crate::isa::{Object, disasm};
use crate::machine;

/// Arguments of `asm`.
#[derive(Debug, clap::Args)]
pub struct AsmArgs {
    /// Assembly text; files beside it may be included
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    bind: Bindings,
    #[command(flatten)]
    listing: Listing,
    /// Write the program here; without it the listing goes to standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `disasm`.
#[derive(Debug, clap::Args)]
pub struct DisasmArgs {
    /// A program, or assembly text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    listing: Listing,
    #[command(flatten)]
    bind: Bindings,
}

/// Whether a listing is wanted, and for which machine.
#[derive(Debug, Default, clap::Args)]
pub struct Listing {
    /// Address, word, unit and source line beside the text
    #[arg(long)]
    listing: bool,
    /// The same with the static cycles of every instruction on this machine, by name or TOML file, and their sums by label
    #[arg(short, long, value_name = "NAME|FILE")]
    machine: Option<String>,
}

impl Listing {
    /// The listing, if one is wanted or `always`.
    fn text(&self, object: &Object, always: bool) -> Result<Option<String>> {
        if !always && !self.listing && self.machine.is_none() {
            return Ok(None);
        }
        let machine = self.machine.as_deref().map(machine::load).transpose()?;
        listing::listing(object, machine.as_ref()).map(Some)
    }
}

/// What `.format` parameters and constants stand for.
#[derive(Debug, Default, clap::Args)]
pub struct Bindings {
    /// A `.format` parameter, for example fw=ternary
    #[arg(id = "bound_formats", long = "format", value_name = "NAME=FORMAT", value_parser = pair)]
    formats: Vec<(String, String)>,
    /// A constant, as by .equ
    #[arg(short = 'D', long = "define", value_name = "NAME=INTEGER", value_parser = constant)]
    constants: Vec<(String, i64)>,
}

impl Bindings {
    /// As the assembler takes them.
    pub fn options(&self) -> Options {
        Options {
            formats: self.formats.iter().cloned().collect::<BTreeMap<_, _>>(),
            equs: self.constants.iter().cloned().collect::<BTreeMap<_, _>>(),
        }
    }

    /// A program that is assembled already has nothing left to bind.
    fn refuse(&self) -> Result<()> {
        let given = match (self.constants.is_empty(), self.formats.is_empty()) {
            (true, true) => return Ok(()),
            (false, _) => "-D",
            (true, false) => "--format",
        };
        Err(Error::usage(format!("{given} means nothing here: this program is assembled already, its names are bound"))
            .help(format!("give {given} to `preon asm`, or name the assembly text here")))
    }
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

fn constant(text: &str) -> std::result::Result<(String, i64), String> {
    let (name, value) = pair(text)?;
    let parsed = match value.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => value.parse(),
    };
    Ok((name, parsed.map_err(|e| format!("{value}: {e}"))?))
}

/// Longest program or text that is read.
const LIMIT: u64 = 256 << 20;
/// Longest text beside the main one that `.include` may name.
const LONGEST_TEXT: u64 = 4 << 20;

/// A text.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let unreadable = |e| Error::bad_input(format!("is not UTF-8 text: {e}")).in_file(path.display().to_string());
    String::from_utf8(read(path)?).map_err(unreadable)
}

/// Bytes of a program or a text.
fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display().to_string();
    let wrong = |text: String| Error::bad_input(text).in_file(name.clone());
    let meta = std::fs::metadata(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if meta.is_dir() {
        return Err(wrong("is a folder, not a program".into()));
    }
    if meta.len() > LIMIT {
        return Err(wrong(format!("is larger than {LIMIT} bytes")));
    }
    // What says that it is short may be a device without an end.
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes));
    match read {
        Err(e) => Err(wrong(format!("cannot be read: {e}"))),
        Ok(_) if bytes.len() as u64 > LIMIT => Err(wrong(format!("is larger than {LIMIT} bytes"))),
        Ok(_) => Ok(bytes),
    }
}

/// True if a file begins as a program does.
fn is_program(path: &Path) -> Result<bool> {
    let unreadable = |e| Error::bad_input(format!("cannot be read: {e}")).in_file(path.display().to_string());
    let mut first = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(5).read_to_end(&mut first)).map_err(unreadable)?;
    Ok(first == b"PREON")
}

/// The program in a file: a container, or assembly text with the texts beside it for `.include`.
pub fn load(path: &Path, bind: &Bindings) -> Result<Object> {
    let bytes = read(path)?;
    let name = path.display().to_string();
    if bytes.starts_with(b"PREON") {
        bind.refuse().map_err(|e| e.in_file(name.clone()))?;
        return Object::from_bytes(&bytes).map_err(|e| e.in_file(name));
    }
    asm::assemble(&sources(path, bytes)?, &bind.options()).map_err(first)
}

/// An assembly text with the texts that it may include: those beside it, and the library's `.inc` files.
pub fn texts(path: &Path) -> Result<Sources> {
    sources(path, read(path)?)
}

fn sources(path: &Path, bytes: Vec<u8>) -> Result<Sources> {
    let name = path.display().to_string();
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::bad_input("is neither a program nor UTF-8 text").in_file(name.clone()))?;
    let mut sources = Sources::new(name.clone());
    sources.add(name, text);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    beside.sort();
    for other in
        beside.iter().filter(|other| *other != path && other.extension().is_some_and(|e| e == "vasm" || e == "inc"))
    {
        // Pipes and devices may never end, and a text is short.
        let short = std::fs::metadata(other).is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST_TEXT);
        if short && let Ok(text) = std::fs::read_to_string(other) {
            let name = other.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            sources.add(name, text);
        }
    }
    for name in sources.wanted_bytes() {
        let file = folder.join(&name);
        if file.is_file() {
            let bytes = read(&file)?;
            sources.add_bytes(name, bytes);
        }
    }
    // The library's own texts stand behind those of the folder.
    for (name, text) in Kernels::builtin().iter().filter(|(name, _)| name.ends_with(".inc")) {
        sources.add_as(name, format!("programs/kernels/{name}"), text.clone());
    }
    Ok(sources)
}

/// The last error is returned to the caller, who prints it; the others are printed here, in order.
pub fn first(mut errors: Vec<Error>) -> Error {
    let last = errors.pop().unwrap_or_else(|| Error::internal("the assembler failed without saying why"));
    errors.iter().for_each(out::error);
    last
}

/// `preon asm`.
pub fn assemble(args: &AsmArgs) -> Result<()> {
    let object = load(&args.file, &args.bind)?;
    match &args.out {
        None => out::data(&args.listing.text(&object, true)?.unwrap_or_default()),
        Some(path) => {
            if let Some(text) = args.listing.text(&object, false)? {
                out::data(&text)?;
            }
            let name = path.display().to_string();
            let wrong = |why: String| Error::usage(format!("cannot be written: {why}")).in_file(name.clone());
            if name == "-" {
                return Err(
                    wrong("a program is no text".into()).help("name a file, or leave `-o` out to see the listing")
                );
            }
            if path.exists() && !path.is_file() {
                return Err(wrong("it is there and no regular file".into()));
            }
            if path.is_file() && !is_program(path)? {
                return Err(wrong("it is there and no program".into()).help("name another file, or delete this one"));
            }
            let scratch = path.with_extension(format!("partial-{}", std::process::id()));
            std::fs::write(&scratch, object.to_bytes()).and_then(|()| std::fs::rename(&scratch, path)).map_err(|e| {
                let _ = std::fs::remove_file(&scratch);
                wrong(e.to_string())
            })
        }
    }
}

/// `preon disasm`.
pub fn disassemble(args: &DisasmArgs) -> Result<()> {
    let object = load(&args.file, &args.bind)?;
    match args.listing.text(&object, false)? {
        Some(text) => out::data(&text),
        None => out::data(&disasm::disassemble(&object)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_decimal_or_hexadecimal() {
        assert_eq!(constant("n=0x10"), Ok(("n".into(), 16)));
        assert_eq!(constant("n=-3"), Ok(("n".into(), -3)));
        assert!(constant("n=ten").is_err() && constant("=1").is_err());
    }

    #[test]
    fn a_written_program_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let (text, program) = (folder.path().join("a.vasm"), folder.path().join("a.vpx"));
        std::fs::write(&text, "again: li x5, 7\n j again\n").unwrap();
        let bind = Bindings::default;
        assemble(&AsmArgs {
            file: text.clone(),
            bind: bind(),
            listing: Listing::default(),
            out: Some(program.clone()),
        })
        .unwrap();
        let out = |out: &Path| {
            let listing = Listing::default();
            assemble(&AsmArgs { file: text.clone(), bind: bind(), listing, out: Some(out.to_owned()) })
        };
        assert!(out(&program).is_ok() && out(Path::new("-")).is_err());
        assert!(out(&text).unwrap_err().to_string().contains("no program"), "a text is not replaced");
        assert_eq!(load(&program, &bind()).unwrap().words, load(&text, &bind()).unwrap().words);
        assert_eq!(load(folder.path(), &bind()).unwrap_err().kind(), crate::diag::Kind::BadInput);
    }
}
