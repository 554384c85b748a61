//! Every layout against its definition, element by element; round trips; bytes that nothing writes.

use super::*;
use crate::diag::Kind;
use crate::num::format::{find, formats};
use crate::num::value;
use crate::tensor::pack::{get, pack_row, unpack_row};
use proptest::prelude::*;

fn matrix(name: &str, rows: usize, cols: usize) -> Matrix {
    Matrix { format: find(name).expect("a row of the table"), rows, cols }
}

/// Codes that the layout stores.
fn written(format: FormatRef) -> Vec<u32> {
    match patterns(format) {
        Ok(patterns) => (0..).zip(&patterns.of_code).filter(|(_, p)| p.is_some()).map(|(code, _)| code).collect(),
        Err(_) => (0..1 << format.bits.min(16)).collect(),
    }
}

/// Dense rows with codes drawn from those that are written.
fn dense(matrix: &Matrix, seed: u64) -> Vec<u8> {
    let codes = written(matrix.format);
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        codes[(state >> 33) as usize % codes.len()]
    };
    (0..matrix.rows)
        .flat_map(|_| pack_row(matrix.format, &(0..matrix.cols).map(|_| next()).collect::<Vec<_>>()))
        .collect()
}

proptest! {
    #[test]
    fn every_layout_is_undone(rows in 0usize..4, cols in 0usize..300, seed in any::<u64>()) {
        for format in formats() {
            let matrix = Matrix { format, rows, cols };
            let dense = dense(&matrix, seed);
            for layout in Layout::ALL {
                let Ok(bytes) = layout.bytes(&matrix) else { continue };
                let stored = layout.pack(&matrix, &dense).expect("written codes");
                prop_assert_eq!(stored.len(), bytes);
                prop_assert!(layout.unpack(&matrix, &stored).expect("own bytes") == dense, "{} {}", layout.name(), format.name);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_those_that_pack_writes(cols in 0usize..90, bytes in prop::collection::vec(any::<u8>(), 0..90)) {
        for format in formats() {
            for layout in Layout::ALL {
                let matrix = Matrix { format, rows: 1, cols };
                let Ok(length) = layout.bytes(&matrix) else { continue };
                let stored: Vec<u8> = bytes.iter().copied().cycle().take(length).collect();
                if stored.len() == length && let Ok(dense) = layout.unpack(&matrix, &stored) {
                    prop_assert!(layout.pack(&matrix, &dense).expect("codes from a layout") == stored, "{}", format.name);
                }
            }
        }
    }
}

#[test]
fn planes_mean_what_the_page_says() {
    for (name, planes, value_of) in [
        ("ternary", 2, (|b: &[i32]| b[0] * (1 - 2 * b[1])) as fn(&[i32]) -> i32),
        ("fp1mask", 2, |b| b[0] * (1 - 2 * b[1])),
        ("fp2sparse", 3, |b| b[0] * (1 - 2 * b[1]) * (1 + b[2])),
        ("triplet", 3, |b| 3 - 2 * (b[0] + b[1] + b[2])),
        ("binary", 1, |b| 1 - 2 * b[0]),
        ("fp2", 2, |b| (1 + b[0]) * (1 - 2 * b[1])),
        ("int2", 2, |b| b[0] - 2 * b[1]),
    ] {
        let matrix = matrix(name, 2, 37);
        let dense = dense(&matrix, 7);
        let stored = Layout::Planes.pack(&matrix, &dense).expect("written codes");
        assert_eq!(stored.len(), 2 * planes * 5, "{name}");
        for (row, dense) in dense.chunks_exact(dense.len() / 2).enumerate() {
            for col in 0..37 {
                let bit = |plane: usize| i32::from(stored[(row * planes + plane) * 5 + col / 8] >> (col % 8) & 1);
                let element = value(matrix.format, get(matrix.format, dense, col));
                assert_eq!(element, value_of(&(0..planes).map(bit).collect::<Vec<_>>()) as f32, "{name} {row} {col}");
            }
        }
    }
}

#[test]
fn groups_of_digits_are_those_of_the_page() {
    let (ternary, sparse) = (matrix("ternary", 1, 7), matrix("fp2sparse", 1, 4));
    let trits = pack_row(ternary.format, &[1, 2, 0, 0, 2, 2, 1]);
    assert_eq!(Layout::Trits5.pack(&ternary, &trits).unwrap(), [1 + 2 * 3 + 2 * 81, 2 + 3]);
    let quints = pack_row(sparse.format, &[4, 3, 2, 1]);
    let (first, second) = (4 + 3 * 5 + 2 * 25u16, 1u16);
    assert_eq!(Layout::Quints3.pack(&sparse, &quints).unwrap(), (first | second << 7).to_le_bytes());
    let bytes = |layout: Layout, name, cols| layout.bytes(&matrix(name, 3, cols)).unwrap();
    assert_eq!([bytes(Layout::Trits5, "ternary", 1000), bytes(Layout::Quints3, "fp2sparse", 1000)], [600, 3 * 293]);
}

#[test]
fn what_a_layout_cannot_hold_is_named() {
    let said = |error: Error, kind: Kind, words: &[&str]| {
        assert_eq!(error.kind(), kind, "{error}");
        words.iter().for_each(|word| assert!(error.to_string().contains(word), "{error}"));
    };
    let refused = |layout: Layout, name| layout.bytes(&matrix(name, 1, 8)).expect_err(name);
    said(refused(Layout::Trits5, "int2"), Kind::Unsupported, &["trits5", "int2"]);
    said(refused(Layout::Quints3, "ternary"), Kind::Unsupported, &["quints3", "ternary"]);
    said(refused(Layout::Planes, "bf16"), Kind::Unsupported, &["planes", "bf16"]);
    let ternary = matrix("ternary", 1, 3);
    let unpack = |layout: Layout, bytes: &[u8]| layout.unpack(&ternary, bytes).expect_err("hostile bytes");
    said(unpack(Layout::Trits5, &[243]), Kind::BadInput, &["243", "row 0"]);
    said(unpack(Layout::Trits5, &[27]), Kind::BadInput, &["padding"]);
    said(unpack(Layout::Trits5, &[0, 0]), Kind::BadInput, &["2"]);
    said(unpack(Layout::Planes, &[0, 1]), Kind::BadInput, &["no code"]);
    said(unpack(Layout::Planes, &[8, 0]), Kind::BadInput, &["padding"]);
    said(unpack(Layout::Dense, &[0x40]), Kind::BadInput, &["padding"]);
    said(Layout::Planes.pack(&ternary, &[3]).expect_err("reserved"), Kind::BadInput, &["reserved"]);
    said(Layout::Trits5.pack(&ternary, &[3]).expect_err("reserved"), Kind::BadInput, &["reserved", "3"]);
    said(Layout::by_name("plane").expect_err("unknown"), Kind::BadInput, &["plane"]);
    for layout in Layout::ALL {
        let huge = Matrix { rows: usize::MAX, cols: usize::MAX, ..ternary };
        assert!(layout.unpack(&huge, &[]).is_err());
        assert_eq!(Layout::by_name(layout.name()).expect("its own name"), layout);
    }
    assert_eq!(unpack_row(ternary.format, &Layout::Trits5.unpack(&ternary, &[26]).unwrap(), 3), [2, 2, 2]);
}
