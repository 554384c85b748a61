//! Every program of programs/examples computes what its `# expect:` lines say, for every vector length and tile width.
//!
//! `# expect: mem ADDRESS f32 VALUE ..` and `# expect: xN VALUE` are checked at halt, bit for bit.

use preon::exec::{Config, Mode, Vm};
use preon::isa::Object;
use preon::isa::asm::{Options, Sources, assemble};
use std::path::PathBuf;

fn examples() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("programs/examples");
    let entries = std::fs::read_dir(&folder).expect("the folder of examples");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "vasm"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("a readable example")))
        .collect()
}

fn assembled(path: &str, text: &str) -> Object {
    assemble(&Sources::single(path, text), &Options::default())
        .unwrap_or_else(|errors| panic!("{}", errors.iter().map(|e| e.render(false)).collect::<Vec<_>>().join("\n")))
}

fn config(vlen_bits: u32, acc_cols: u32) -> Config {
    Config {
        vlen_bits,
        acc_rows: 4,
        acc_cols,
        tile_k: 64,
        scale_entries: 16.max(acc_cols),
        sram_bytes: 1 << 16,
        shared_bytes: 0,
        control_bytes: 1 << 16,
        dram_bytes: 1 << 20,
        cores: 1,
        fuel: Some(100_000),
    }
}

/// Checks one `# expect:` line; the text after the colon.
fn check(line: &str, vm: &mut Vm, place: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["mem", address, "f32", ref values @ ..] => {
            let address = u64::from_str_radix(address.trim_start_matches("0x"), 16).expect("a hexadecimal address");
            let bytes = vm.read(address, 4 * values.len() as u64).expect("memory that can be read");
            let found: Vec<u32> = bytes.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let wanted: Vec<u32> = values.iter().map(|v| v.parse::<f32>().expect("a number").to_bits()).collect();
            assert!(!wanted.is_empty());
            assert_eq!(
                found,
                wanted,
                "{place}: {line}: found {:?}",
                found.iter().map(|b| f32::from_bits(*b)).collect::<Vec<_>>()
            );
        }
        [register, value] => {
            let number = register.strip_prefix('x').and_then(|n| n.parse().ok()).expect("an x register");
            assert_eq!(vm.x(number), Some(value.parse().expect("an integer")), "{place}: {line}");
        }
        _ => panic!("{place}: `{line}` is no expectation"),
    }
}

#[test]
fn examples_compute_what_they_expect() {
    let examples = examples();
    assert!(examples.len() >= 4);
    for (path, text) in examples {
        let object = assembled(&path, &text);
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{path} expects nothing");
        for (vlen, cols) in [(32, 1), (64, 4), (128, 3), (512, 8), (1024, 16), (4096, 16), (16384, 32)] {
            let place = format!("{path} at VLEN {vlen}, {cols} columns");
            let mut vm = Vm::new(object.clone(), config(vlen, cols), Mode::Functional).expect("a machine for it");
            vm.run().unwrap_or_else(|trap| panic!("{place}: {trap:?}"));
            expected.iter().for_each(|line| check(line, &mut vm, &place));
        }
    }
}

#[test]
fn examples_round_trip_through_text_and_container() {
    for (path, text) in examples() {
        let object = assembled(&path, &text);
        assert_eq!(Object::from_bytes(&object.to_bytes()).expect("its own container"), object, "{path}");
        let shown = preon::isa::disasm::disassemble(&object).expect("a valid program");
        let back = assembled("disassembly", &shown);
        assert_eq!((back.words, back.control, back.entry), (object.words, object.control, object.entry), "{path}");
    }
}
