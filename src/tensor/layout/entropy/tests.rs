//! Tests of the entropy-coded layout: sizes against the entropy, tiles alone, hostile bytes.

use super::*;
use crate::num::format::find;
use proptest::prelude::*;

/// `n` ternary codes with a fraction `p0` of zeros, from a fixed stream of numbers.
fn ternary(n: usize, p0: f64) -> Vec<u8> {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let z = (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..n).map(|_| if draw() < p0 { 0 } else { 1 + u8::from(draw() < 0.5) }).collect()
}

#[test]
fn files_of_ternary_lie_within_half_a_percent_of_the_entropy() {
    for (p0, sub_bit) in [(0.5, false), (0.76, false), (0.785, true), (0.8, true), (0.9, true), (0.95, true)] {
        let codes = ternary(1_000_000, p0);
        let coded = Coded::of_codes(2, &codes, TILE_SYMBOLS).unwrap();
        let entropy = entropy_bits(&histogram(2, &codes)) * codes.len() as f64 / 8.0;
        let stored = coded.to_bytes().len();
        assert_eq!(stored, coded.stored_bytes());
        let over = stored as f64 / entropy - 1.0;
        assert!(stored as f64 >= entropy && over < 0.005, "p0 = {p0}: {stored} bytes, {over:+.5} over the entropy");
        assert_eq!(stored * 8 < codes.len(), sub_bit, "p0 = {p0}");
    }
}

#[test]
fn every_tile_decodes_alone_and_all_of_them_are_the_tensor() {
    for name in ["ternary", "int8", "fp4e2m1", "fp8e4m3", "binary", "int3"] {
        let format = find(name).unwrap();
        let (rows, cols) = (37, 61);
        let codes: Vec<u32> = (0..rows * cols).map(|i| ((i * i * 7 + i / 5) as u32 >> 3) & format.mask()).collect();
        let dense: Vec<u8> = codes.chunks(cols).flat_map(|row| pack::pack_row(format, row)).collect();
        let coded = Coded::of_rows(format, rows, cols, &dense, 100).unwrap();
        assert_eq!((coded.tiles(), coded.symbols()), ((rows * cols).div_ceil(100), (rows * cols) as u64));
        for tile in (0..coded.tiles()).rev() {
            let expected: Vec<u8> = codes.chunks(100).nth(tile).unwrap().iter().map(|c| *c as u8).collect();
            assert_eq!(coded.tile(tile).unwrap(), expected, "{name}, tile {tile}");
        }
        let read = Coded::from_bytes(&coded.to_bytes(), format, coded.symbols()).unwrap();
        assert_eq!(read, coded);
        assert_eq!(read.to_rows(format, rows, cols).unwrap(), dense, "{name}");
    }
}

#[test]
fn one_code_alone_costs_almost_nothing_and_no_code_nothing() {
    let format = find("int4").unwrap();
    let same = Coded::of_rows(format, 4, 50_000, &[0x55; 100_000], TILE_SYMBOLS).unwrap();
    assert!(same.payload().len() < 2 * same.tiles(), "{} bytes", same.payload().len());
    assert!(same.to_rows(format, 4, 50_000).unwrap().iter().all(|byte| *byte == 0x55));
    let empty = Coded::of_rows(format, 0, 5, &[], TILE_SYMBOLS).unwrap();
    assert_eq!((empty.tiles(), empty.payload().len()), (0, 0));
    assert_eq!(Coded::from_bytes(&empty.to_bytes(), format, 0).unwrap(), empty);
    let wide = find("fp16").unwrap();
    assert!(Coded::of_rows(wide, 1, 1, &[0; 2], TILE_SYMBOLS).unwrap_err().to_string().contains("16 bits"));
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let codes = [0, 0, 1, 0, 0, 2, 0, 0, 0, 1];
    let coded = Coded::of_codes(2, &codes, 4).unwrap();
    // 0.7, 0.2 and 0.1 of 4096 are 2867.2, 819.2 and 409.6.
    let model = [2, 0, 0x33, 0x0b, 1, 0x33, 0x03, 2, 0x9a, 0x01];
    assert_eq!(coded.model.to_bytes(), model);
    // The state of 0 0 1 0, last code first: 0, 2867, 4096 + 0, 4096 + 4096 - 2867 = 0x14cd.
    assert_eq!(coded.payload()[..2], [0xcd, 0x14]);
    let lengths: Vec<u32> = (0..3).map(|tile| coded.restart(tile).unwrap().bytes).collect();
    let bytes = coded.to_bytes();
    assert_eq!(bytes[..8], *b"PREONEC1");
    assert_eq!(bytes[8..12], crc32(&bytes[12..]).to_le_bytes());
    assert_eq!(bytes[12..24], [10, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]);
    let shortest = *lengths.iter().min().unwrap();
    assert_eq!((lengths[0], shortest), (2, 2));
    assert_eq!(bytes[24..30], [2, 0, 0, 0, 0, 2]);
    assert_eq!(bytes[30..40], model);
    assert_eq!(bytes[40..], *coded.payload());
    let control = coded.control_bytes();
    assert_eq!(control[16..32], [2, 0, 0, 0, 0, 0, 0, 0, lengths[1] as u8, 0, 0, 0, 4, 0, 0, 0]);
    assert_eq!(control[48..], model);
}

/// The decoding rule of docs/storage.md, word for word.
fn by_the_page(model: &Model, tile: &[u8], symbols: u32) -> (Vec<u8>, bool) {
    let mut padded = tile.to_vec();
    padded.resize(tile.len().div_ceil(2) * 2, 0);
    let mut words: Vec<u32> = padded.chunks(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect();
    let mut state = 0u32;
    let mut refill = |state: &mut u32| {
        while *state < 1 << 16 {
            let Some(word) = words.pop() else { break };
            *state = *state << 16 | word;
        }
        words.is_empty()
    };
    let mut done = refill(&mut state);
    let mut codes = Vec::new();
    for _ in 0..symbols {
        let low = state & 0xfff;
        let (i, start, frequency) = model.find(low);
        codes.push(model.codes()[i]);
        state = (state >> 12) * frequency + (low - start);
        done = refill(&mut state);
    }
    (codes, done && state == 0)
}

proptest! {
    #[test]
    fn the_rule_of_the_page_decodes_what_the_crate_encodes(
        codes in prop::collection::vec(0u8..16, 1..400), skew in 0u8..5, tile in 1u32..120,
    ) {
        let codes: Vec<u8> = codes.iter().map(|c| c >> skew.min(*c)).collect();
        let coded = Coded::of_codes(4, &codes, tile).unwrap();
        for (i, expected) in codes.chunks(tile as usize).enumerate() {
            let restart = coded.restart(i).unwrap();
            let bytes = &coded.payload()[restart.offset as usize..][..restart.bytes as usize];
            prop_assert_eq!(by_the_page(coded.model(), bytes, restart.symbols), (expected.to_vec(), true));
        }
    }

    #[test]
    fn models_sum_to_the_total_and_come_close_to_the_entropy(counts in prop::collection::vec(0u64..100_000, 2..=256)) {
        let model = Model::of_counts(&counts).unwrap();
        let bits = (usize::BITS - (counts.len() - 1).leading_zeros()).max(1);
        let (read, used) = Model::read(&model.to_bytes(), bits).unwrap();
        prop_assert_eq!(&read, &model);
        prop_assert_eq!(used, model.to_bytes().len());
        let (coded, entropy) = (model.cross_entropy_bits(&counts), entropy_bits(&counts));
        prop_assert!(coded >= entropy - 1e-9 && coded < entropy + 0.01, "{} over {}", coded, entropy);
    }

    #[test]
    fn damaged_bytes_are_refused_or_decode_to_as_many_codes(
        codes in prop::collection::vec(0u8..3, 0..600),
        at in any::<prop::sample::Index>(), flip in 1u8..=255, cut in any::<prop::sample::Index>(), reseal in any::<bool>(),
    ) {
        let format = find("ternary").unwrap();
        let whole = Coded::of_codes(2, &codes, 64).unwrap().to_bytes();
        let mut damaged = whole.clone();
        damaged[at.index(whole.len())] ^= flip;
        if reseal {
            let sum = crc32(&damaged[12..]).to_le_bytes();
            damaged[8..12].copy_from_slice(&sum);
        }
        if let Ok(read) = Coded::from_bytes(&damaged, format, codes.len() as u64) {
            prop_assert!(reseal, "the checksum sees every change of one byte");
            for tile in 0..read.tiles() {
                let symbols = read.restart(tile).unwrap().symbols;
                if let Ok(decoded) = read.tile(tile) {
                    prop_assert_eq!(decoded.len(), symbols as usize);
                    prop_assert!(decoded.iter().all(|code| *code < 4));
                }
            }
        }
        prop_assert!(Coded::from_bytes(&whole[..cut.index(whole.len())], format, codes.len() as u64).is_err());
        prop_assert!(Coded::from_bytes(&whole, format, codes.len() as u64 + 1).is_err());
    }
}
