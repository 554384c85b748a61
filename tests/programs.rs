//! Every program of programs/examples passes its own `.test` blocks, at every vector length.

use preon::check::cases::run;
use preon::isa::Object;
use preon::isa::asm::{Options, Sources, assemble, tests};
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

#[test]
fn examples_pass_their_tests_at_every_vector_length() {
    let examples = examples();
    assert!(examples.len() >= 7);
    for (path, text) in examples {
        let cases = tests(&Sources::single(path.as_str(), text), &Options::default()).expect("readable tests");
        assert!(!cases.is_empty(), "{path} has no test");
        for mut case in cases {
            let stated = case.trap.is_some() || !case.expect.is_empty() && !case.cycles.is_empty();
            assert!(stated, "{path}: {} states no values or no cycles", case.name);
            // Some need a register that holds all of their data; from there on, every length.
            let least = case.vlens.iter().copied().min().expect("a vector length").ilog2();
            case.vlens = (least..=14).map(|log| 1 << log).collect();
            let outcome = run(&case, None).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(outcome.runs.len(), case.vlens.len() + case.cycles.len(), "{path}");
            let failures: Vec<String> = outcome.failures.iter().map(|error| error.render(false)).collect();
            assert!(failures.is_empty(), "{}", failures.join("\n"));
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

#[test]
fn the_blocks_of_the_assembler_page_assemble_and_pass() {
    let page =
        std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/assembler.md")).expect("the page");
    let blocks: Vec<&str> = page.split("```vasm\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty());
    let mut run_tests = 0;
    for text in blocks {
        assert!(!assembled("docs/assembler.md", text).words.is_empty());
        for case in tests(&Sources::single("docs/assembler.md", text), &Options::default()).expect("readable tests") {
            let outcome = run(&case, None).unwrap_or_else(|error| panic!("{error}"));
            let failures: Vec<String> = outcome.failures.iter().map(|error| error.render(false)).collect();
            assert!(failures.is_empty(), "{}", failures.join("\n"));
            run_tests += 1;
        }
    }
    assert!(run_tests >= 3);
}
