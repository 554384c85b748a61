//! Inputs that fuzzing found worth keeping (`fuzz/run`), replayed, and seeded changes of them: about one in a hundred of the
//! inputs that a nightly run of ten minutes tries.

#[path = "../fuzz/src/targets.rs"]
mod targets;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::Path;

/// Runs a target on every input kept, then on `changed` inputs that one to four random edits make of them.
fn replay(target: &str, changed: u64, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "the corpus of {target} has only {} inputs", paths.len());
    let inputs: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("an input")).collect();
    for (path, data) in paths.iter().zip(&inputs) {
        let result = std::panic::catch_unwind(|| run(data));
        assert!(result.is_ok(), "{} fails as printed above", path.display());
    }
    for seed in 0..changed {
        let data = edited(&inputs, seed);
        let result = std::panic::catch_unwind(|| run(&data));
        assert!(result.is_ok(), "{target}: the input of seed {seed} fails as printed above: {data:?}");
    }
}

/// Bits, bytes, cuts, copies and a piece of another input.
fn edited(inputs: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut below = |n: usize| (rng.next_u64() % n.max(1) as u64) as usize;
    let mut data = inputs[below(inputs.len())].clone();
    for _ in 0..=below(4) {
        let (at, run) = (below(data.len()), 1 + below(24));
        let end = (at + run).min(data.len());
        match below(5) {
            _ if data.is_empty() => data.push(below(256) as u8),
            0 => data[at] ^= 1 << below(8),
            1 => data[at] = below(256) as u8,
            2 => drop(data.drain(at..end)),
            3 => {
                let copy = data[at..end].to_vec();
                data.splice(at..at, copy);
            }
            _ => {
                let other = &inputs[below(inputs.len())];
                let from = below(other.len());
                data.splice(at..end, other[from..(from + run).min(other.len())].iter().copied());
            }
        }
    }
    data
}

#[test]
fn assembly_texts() {
    replay("asm", 600, targets::asm);
}

#[test]
fn containers() {
    replay("object", 2000, targets::object);
}

#[test]
fn programs() {
    replay("exec", 300, targets::exec);
}
