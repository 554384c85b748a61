//! Untrusted inputs, damaged: files of every kind that Preon reads, and programs nobody wrote. Whatever they hold, a
//! reader answers with a result or with one clear sentence and its place; nothing panics, hangs, or takes memory that
//! the input does not have.
//!
//! Every case is a pure function of its number, which a failure prints. `PREON_CASES=N` runs N cases of every kind.

mod common;

use preon::diag::{Error, Kind, Place, Result};
use preon::exec::{Config, Mode, Vm};
use preon::graph::{eval, random, text};
use preon::isa::asm::{Options, Sources, assemble};
use preon::isa::{Inst, Object, decode, disasm, table};
use preon::model::{self, Input};
use preon::num::format;
use preon::{Vpu, compile, machine, policy};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest that one case may take, on a slow and busy machine.
const LONGEST: Duration = Duration::from_secs(20);
/// Most memory that this test program may ever hold.
const MOST_BYTES: u64 = 2 << 30;

/// Random choices of one case.
struct Dice(ChaCha8Rng);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }
    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
    fn number(&mut self) -> u64 {
        let edge = [0, 1, 2, 7, 8, 127, 255, 4096, 65_535, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, u64::MAX];
        match self.below(3) {
            0 => self.0.next_u64(),
            _ => edge[self.below(edge.len())],
        }
    }

    /// A few changes to bytes: bits, bytes, words, cuts, copies.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let length = bytes.len();
            let (at, run) = (self.below(length), 1 + self.below(16));
            let end = (at + run).min(length);
            match self.below(7) {
                _ if length == 0 => bytes.push(self.below(256) as u8),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.below(256) as u8,
                2 => drop(bytes.drain(at..end)),
                3 => bytes.truncate(at),
                4 => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                5 => {
                    let word = self.number().to_le_bytes();
                    bytes[at..end.min(at + 8)].copy_from_slice(&word[..(end - at).min(8)]);
                }
                _ => bytes.insert(at, self.below(256) as u8),
            }
        }
    }

    /// A few changes to the tokens of a text; at times to its bytes.
    fn edit(&mut self, text: &str) -> String {
        if self.below(6) == 0 {
            let mut bytes = text.as_bytes().to_vec();
            self.damage(&mut bytes);
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        let mut tokens: Vec<String> = tokens(text).into_iter().map(str::to_owned).collect();
        for _ in 0..=self.below(3) {
            let (at, from) = (self.below(tokens.len()), self.below(tokens.len()));
            match self.below(8) {
                _ if tokens.is_empty() => tokens.push(self.intruder()),
                0 => drop(tokens.remove(at)),
                1 => tokens[at] = tokens[from].clone(),
                2 => tokens.insert(at, tokens[from].clone()),
                3 => tokens.swap(at, from),
                // Numbers decide sizes: look for one from here on.
                4..=6 => match tokens[at..].iter().position(|t| t.starts_with(|c: char| c.is_ascii_digit())) {
                    Some(next) => tokens[at + next] = self.number().to_string(),
                    None => tokens[at] = self.intruder(),
                },
                _ => tokens[at] = self.intruder(),
            }
        }
        tokens.concat()
    }

    fn intruder(&mut self) -> String {
        let odd = [
            "",
            " ",
            "\n",
            "\"",
            "'",
            "#",
            "=",
            ".",
            ",",
            "-",
            "[",
            "]",
            "{",
            "}",
            "(",
            ")",
            "/*",
            "\\",
            "\0",
            "é",
            "\u{2028}",
            "nan",
            "inf",
            "-inf",
            "1e999",
            "-1",
            "1e-320",
            "0x",
            "0",
            "true",
            "null",
            "[[",
            "fp32",
            "int8",
            "ternary",
            "..",
            "../../etc",
            "\r\n",
            "%",
            "<<",
            "1/0",
            "block0",
            "block99999999999",
            "tensor",
        ];
        match self.below(8) {
            0 => self.number().to_string(),
            1 => ["[", "(", "{", "-", "~("][self.below(5)].repeat(1 + self.below(5000)),
            2 => "9".repeat(1 + self.below(400)),
            _ => odd[self.below(odd.len())].to_owned(),
        }
    }
}

/// Words, numbers, blanks, and single other characters.
fn tokens(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 0,
        ' ' => 1,
        _ => 2,
    };
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut last = 3;
    for (at, c) in text.char_indices() {
        if at > start && (class(c) != last || last == 2) {
            tokens.push(&text[start..at]);
            start = at;
        }
        last = class(c);
    }
    tokens.push(&text[start..]);
    tokens
}

/// Runs the cases of one kind; `default` of them unless `PREON_CASES` says otherwise.
fn each_case(kind: &str, default: u64, case: impl Fn(&mut Dice)) {
    let cases = std::env::var("PREON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    for number in 0..cases {
        let started = Instant::now();
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(number));
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&mut dice)));
        assert!(run.is_ok(), "{kind}: case {number} panicked (its message stands above)");
        assert!(started.elapsed() < LONGEST, "{kind}: case {number} took {:?}", started.elapsed());
        assert!(peak_bytes() < MOST_BYTES, "{kind}: case {number} took the memory to {} bytes", peak_bytes());
    }
}

/// Most memory that this process has held, where the system tells.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The answer to a damaged input: an error is the input's fault, says so in a sentence, and `placed` ones say where.
fn judge<T>(answer: Result<T>, placed: bool) -> Option<T> {
    let error = match answer {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    judge_error(&error, placed);
    None
}

fn judge_error(error: &Error, placed: bool) {
    let kind = error.kind();
    assert!(matches!(kind, Kind::BadInput | Kind::Unsupported | Kind::Usage | Kind::Fault), "{kind:?}: {error}");
    assert!(!error.message().trim().is_empty(), "{kind:?} without a word");
    if placed {
        assert_ne!(*error.place(), Place::Nowhere, "no place: {error}");
    }
    if let Place::Source { text, span, .. } = error.place() {
        assert!(text.get(span.clone()).is_some(), "{span:?} is no part of the text: {error}");
    }
    assert!(!error.render(false).is_empty());
}

fn texts(folder: &str, extension: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = fs::read_dir(folder).expect("a folder of the repository").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    let read = |path: &Path| fs::read_to_string(path).expect("a text of the repository");
    let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), read(path))).collect()
}

/// A small machine with a fuel limit.
fn config(dice: &mut Dice) -> Config {
    Config {
        vlen_bits: 32 << dice.below(6),
        acc_rows: 4,
        acc_cols: 1 + dice.below(16) as u32,
        skip_granule: [1, 1],
        array_block: [32, 32],
        tile_k: 1 << 16,
        scale_entries: 16,
        sram_bytes: 1 << 16,
        shared_bytes: 1 << 12,
        control_bytes: 1 << 16,
        dram_bytes: 1 << 20,
        cores: 1,
        fuel: Some(5_000),
    }
}

/// Runs a program in both modes.
fn execute(object: &Object, dice: &mut Dice) {
    let config = config(dice);
    for mode in [Mode::Functional, Mode::TimingOnly] {
        if let Some(mut vm) = judge(Vm::new(object.clone(), config.clone(), mode), false) {
            judge(vm.run().map_err(Error::from), false);
        }
    }
}

fn kernel_sources(main: &str, text: &str) -> Sources {
    let mut sources = Sources::single(main, text);
    texts("programs/kernels", "inc").into_iter().for_each(|(name, text)| sources.add(name, text));
    sources
}

#[test]
fn assembly_texts() {
    let all = [texts("programs/examples", "vasm"), texts("programs/kernels", "vasm")].concat();
    let formats = ["W", "X", "Y", "F", "T", "WEIGHTS", "INPUTS"].map(|name| (name.to_owned(), "int8".to_owned()));
    let options = Options { formats: formats.into(), ..Options::default() };
    each_case("vasm", 250, |dice| {
        let (name, text) = &all[dice.below(all.len())];
        match assemble(&kernel_sources(name, &dice.edit(text)), &options) {
            Ok(object) => execute(&object, dice),
            Err(errors) => {
                assert!(!errors.is_empty());
                errors.iter().for_each(|error| judge_error(error, true));
            }
        }
    });
}

/// The CRC-32 at the end of a container, made right again.
fn seal(bytes: &mut [u8]) {
    let Some(end) = bytes.len().checked_sub(4) else { return };
    let crc = !bytes[..end].iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn containers() {
    let options = Options::default();
    let examples = texts("programs/examples", "vasm");
    let objects: Vec<Vec<u8>> = examples
        .iter()
        .map(|(name, text)| assemble(&Sources::single(name, text.as_str()), &options).expect("an example").to_bytes())
        .collect();
    each_case("container", 600, |dice| {
        let mut bytes = objects[dice.below(objects.len())].clone();
        dice.damage(&mut bytes);
        if dice.below(4) > 0 {
            seal(&mut bytes);
        }
        if let Some(object) = judge(Object::from_bytes(&bytes), false) {
            judge(disasm::disassemble(&object), false);
            execute(&object, dice);
        }
    });
}

/// A word that decodes, some random steps away from the plain word of a row; jumps stay near.
fn word(dice: &mut Dice) -> u64 {
    let row = &table::ROWS[dice.below(table::ROWS.len())];
    let mut word = Inst::new(row.op).encode();
    for _ in 0..dice.below(60) {
        let next = word ^ 1 << dice.below(64);
        word = if decode(next).is_ok() { next } else { word };
    }
    let Ok(mut inst) = decode(word) else { return word };
    if row.name.starts_with('j') || row.name.starts_with('b') || row.name.starts_with("loop") {
        inst.imm %= 16;
    }
    if inst.check().is_ok() { inst.encode() } else { word }
}

#[test]
fn random_programs() {
    // Registers that point into every space, sizes that fit, formats in all slots: so that words do real work.
    let prologue = "
        li x1, 0\n li x2, 0x1000000000000000\n li x3, 0x1000000000000100\n li x4, 4\n li x5, 3\n li x6, 1
        li x7, 0x2000000000000040\n li x8, 0x3000000000000080\n li x9, 16\n li x10, 0x3000000000000000
        li x11, 64\n li x12, 0x3f800000\n li x13, 7\n li x14, 0x0000000000000200\n li x15, 0xfffffffffffffff0
        .fmt f0=fp32, f1=int8, f2=ternary, f3=fp32, f4=binary, f5=fp8e4m3, f6=bf16, f7=triplet, f8=fp4e2m1, f9=fp16
        setvl x16, x4, f3, f3\n setmac x18, x5, x4, f1, f1\n settile.m x20, x5\n settile.n x21, x4\n settile.k x22, x4
        halt";
    let start = assemble(&Sources::single("prologue", prologue), &Options::default())
        .unwrap_or_else(|errors| panic!("{}", errors[0]));
    each_case("program", 1500, |dice| {
        let mut object = start.clone();
        let halt = object.words.pop().expect("a halt");
        let length = 1 + dice.below(40);
        object.words.extend((0..length).map(|_| word(dice)));
        object.words.push(halt);
        object.control = (0..dice.below(300)).map(|_| dice.below(256) as u8).collect();
        execute(&object, dice);
    });
}

#[test]
fn machine_files() {
    let files = texts("machines", "toml");
    let prepared = model::load("builtin:mlp").and_then(|mlp| mlp.prepare(&Input::Default)).expect("a built-in model");
    each_case("machine", 60, |dice| {
        let (name, text) = &files[dice.below(files.len())];
        if let Some(machine) = judge(machine::parse(name, &dice.edit(text)), true) {
            let mut vpu = Vpu::new(machine);
            vpu.set_precision(policy::load("int8").expect("a built-in policy"));
            vpu.options.timing_only = true;
            judge(vpu.run(&prepared), false);
        }
    });
}

#[test]
fn policy_files() {
    let files = texts("policies", "toml");
    let prepared = model::load("builtin:mlp").and_then(|mlp| mlp.prepare(&Input::Default)).expect("a built-in model");
    each_case("policy", 150, |dice| {
        let (name, text) = &files[dice.below(files.len())];
        if let Some(policy) = judge(policy::Policy::parse(name, &dice.edit(text)), true) {
            policy::Policy::parse("again", &policy.resolved()).expect("a resolved policy is a policy");
            judge(policy::apply(&prepared.graph, &policy), false);
        }
    });
}

#[test]
fn format_tables() {
    let files: Vec<_> = texts("isa", "toml").into_iter().filter(|(name, _)| name.starts_with("formats")).collect();
    each_case("formats", 150, |dice| {
        let (name, text) = &files[dice.below(files.len())];
        for format in judge(format::parse_table(name, &dice.edit(text)), true).unwrap_or_default() {
            for x in [0.0, -1.5, f32::MAX, f32::NAN, f32::NEG_INFINITY, f32::from_bits(1)] {
                assert!(preon::num::cast(&format, x) <= format.mask(), "{}", format.name);
            }
        }
    });
}

#[test]
fn graph_texts() {
    each_case("graph", 200, |dice| {
        let (graph, inputs) = random::graph(dice.below(40) as u64).expect("a random graph");
        let edited = dice.edit(&text::write(&graph, 1 << 20));
        if let Some(graph) = judge(text::parse("a.graph", &edited, &|_| None), true) {
            let written = text::write(&graph, 1 << 20);
            assert_eq!(
                text::write(&text::parse("again", &written, &|_| None).expect("its own text"), 1 << 20),
                written
            );
            judge(eval::check_inputs(&graph, &inputs), false);
            let edge = machine::load("edge").expect("a built-in machine");
            judge(compile::compile(&graph, &edge, &compile::Options::default()), false);
        }
    });
}

#[test]
fn model_folders() {
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    common::tiny_bert(dir.path());
    let files = ["config.json", "tokenizer.json", "model.safetensors"];
    let whole = files.map(|file| fs::read(dir.path().join(file)).expect("a file of the folder"));
    each_case("model", 300, |dice| {
        let at = dice.below(files.len());
        let mut bytes = whole[at].clone();
        match std::str::from_utf8(&bytes) {
            Ok(text) => bytes = dice.edit(text).into_bytes(),
            Err(_) if dice.below(2) == 0 => {
                // The header is where sizes stand; its stated length follows the edit.
                let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
                let header = dice.edit(std::str::from_utf8(&bytes[8..8 + length]).expect("a JSON header"));
                let mut edited = (header.len() as u64).to_le_bytes().to_vec();
                edited.extend_from_slice(header.as_bytes());
                edited.extend_from_slice(&bytes[8 + length..]);
                bytes = edited;
            }
            Err(_) => dice.damage(&mut bytes),
        }
        fs::write(dir.path().join(files[at]), bytes).expect("the folder can be written");
        if let Some(model) = judge(model::load(dir.path().to_str().expect("a path")), true) {
            let text = dice.of(&["the quick fox", "", "zebra !", "é\u{0}\u{202e}the"]);
            judge(model.prepare(&Input::Text(text.to_owned())), false);
        }
        fs::write(dir.path().join(files[at]), &whole[at]).expect("the folder can be written");
    });
}
