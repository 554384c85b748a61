//! Inputs that fuzzing found worth keeping (`fuzz/run`), replayed: each reached code that no other did, or was a find.

#[path = "../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "the corpus of {target} has only {} inputs", paths.len());
    for path in paths {
        let data = fs::read(&path).expect("an input");
        let result = std::panic::catch_unwind(|| run(&data));
        assert!(result.is_ok(), "{} fails as printed above", path.display());
    }
}

#[test]
fn assembly_texts() {
    replay("asm", targets::asm);
}

#[test]
fn containers() {
    replay("object", targets::object);
}

#[test]
fn programs() {
    replay("exec", targets::exec);
}
