//! Properties of the whole text and binary forms: what is encoded decodes, what is disassembled assembles, and no
//! input makes a reader panic.

use super::arbitrary::{cases, one_of_each, program};
use super::asm::{Options, Sources, assemble};
use super::disasm::disassemble;
use super::{Inst, Object, decode};
use proptest::prelude::*;

/// A text that uses most of the language, for mutation.
const SEED_TEXT: &str = "\
.param m, n, k
.format W = ternary
.equ STEP, (1 << 4) - 1
.macro twice r, s
again\\@: addv v\\r, v\\s, v\\s ; bne x\\r, x\\s, again\\@
.endm
.control
data: .word 1, -2, 0x30
.float 1.5, -inf, 2e-3
.align 8
.code
start: .fmt f1=W, f2=int8
    li x5, data
    li x6, 0x123456789
.rept 3
    twice 1, 2
.endr
.if STEP == 15
    ld.bp v1, -4(x5)+x6 rows x7, f1   # comment
.else
    halt
.endif
    mac.tern c0[x3], v1, v2, f1, f2, p1.z /* block */
    loop x5, end
1:  fold c1, c0, q0, q1 .new
    beqz x5, 1b
    j 2f
end: endl
2:  ret
";

fn assembled(text: &str) -> Object {
    assemble(&Sources::single("t.vasm", text), &Options::default())
        .unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn assembling_a_disassembly_gives_the_program(seed: u64) {
        let object = program(seed);
        let text = disassemble(&object).expect("valid program");
        let back = assembled(&text);
        prop_assert_eq!(&back.words, &object.words, "{}", text);
        prop_assert_eq!((back.entry, back.formats, back.control, back.dram, back.sram, back.params),
            (object.entry, object.formats, object.control, object.dram, object.sram, object.params));
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn decode_inverts_encode_for_every_row(seed: u64) {
        for inst in one_of_each(seed) {
            prop_assert_eq!(inst.check(), Ok(()));
            prop_assert_eq!(decode(inst.encode()), Ok(inst));
        }
    }

    #[test]
    fn decoded_words_encode_to_themselves(word: u64) {
        if let Ok(inst) = decode(word) {
            prop_assert_eq!(inst.encode(), word);
        }
    }

    #[test]
    fn containers_round_trip(seed: u64) {
        let mut object = program(seed);
        object.symbols = vec![("a.b".into(), 0), ("é".into(), object.words.len() as u32)];
        object.files = vec!["a.vasm".into()];
        object.lines = vec![(0, 0, 7)];
        object.externs = vec![(0, "k".into())];
        prop_assert_eq!(Object::from_bytes(&object.to_bytes()).expect("reads"), object);
    }

    #[test]
    fn damaged_containers_are_refused(seed: u64, at: prop::sample::Index, flip in 1u8..=255, cut: prop::sample::Index) {
        let bytes = program(seed).to_bytes();
        let mut damaged = bytes.clone();
        damaged[at.index(bytes.len())] ^= flip;
        prop_assert!(Object::from_bytes(&damaged).is_err());
        prop_assert!(Object::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn damage_under_a_right_checksum_is_refused_or_harmless(
        seed: u64,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut object = program(seed);
        object.symbols = vec![("a.b".into(), 0)];
        object.externs = vec![(0, "k".into())];
        let mut bytes = object.to_bytes();
        let body = bytes.len() - 4;
        for (at, value) in edits {
            bytes[at.index(body)] = value;
        }
        let sum = crate::num::crc32::crc32(&bytes[..body]);
        bytes[body..].copy_from_slice(&sum.to_le_bytes());
        if let Ok(object) = Object::from_bytes(&bytes) {
            let text = disassemble(&object).expect("what is read can be shown");
            prop_assert_eq!(&assembled(&text).words, &object.words, "{}", text);
        }
    }

    #[test]
    fn mutated_text_never_panics(edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..6, ".{0,3}"), 1..12)) {
        let mut chars: Vec<char> = SEED_TEXT.chars().collect();
        for (at, kind, new) in edits {
            let at = at.index(chars.len());
            match kind {
                0 => drop(chars.remove(at)),
                1 => drop(chars.splice(at..at, new.chars())),
                2 => chars.truncate(at.max(chars.len() / 2)),
                3 => chars[at] = *['\\', '"', '(', ':', '.', '@', '-', '9', ';', '\n'].get(at % 10).unwrap_or(&'0'),
                4 => chars.swap(at, 0),
                _ => { let piece: Vec<char> = chars[at..].iter().take(9).copied().collect(); chars.extend(piece); }
            }
            if chars.is_empty() { chars.push('a'); }
        }
        let text: String = chars.into_iter().collect();
        match assemble(&Sources::single("t.vasm", &*text), &Options::default()) {
            Ok(object) => prop_assert!(object.verify().is_ok(), "{}", text),
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors { prop_assert!(!error.render(false).is_empty()); }
            }
        }
    }
}

#[test]
fn random_bytes_are_no_program() {
    let mut lies = Object { words: vec![Inst::new(super::Op::Halt).encode()], ..Object::default() }.to_bytes();
    assert!(Object::from_bytes(&lies).is_ok());
    for length in [u64::MAX, 1 << 40, 9] {
        lies[20..28].copy_from_slice(&length.to_le_bytes());
        let body = lies.len() - 4;
        let sum = crate::num::crc32::crc32(&lies[..body]).to_le_bytes();
        lies[body..].copy_from_slice(&sum);
        assert_eq!(Object::from_bytes(&lies).err().map(|e| e.kind()), Some(crate::diag::Kind::BadInput), "{length}");
    }
    for bytes in [&b""[..], b"PREONVPX", b"PREONVPX\x01\0\0\0", &[0xff; 4096]] {
        assert!(Object::from_bytes(bytes).is_err());
    }
}

#[test]
fn the_language_sample_round_trips_with_its_alias() {
    let object = assembled(SEED_TEXT);
    let text = disassemble(&object).expect("valid");
    assert!(text.contains("mac.tern c0[x3], v1, v2, f1, f2, p1.z"), "{text}");
    assert!(text.contains("fmt.set f1, ternary"), "{text}");
    assert_eq!(assembled(&text).words, object.words);
}

#[test]
fn truth_tables_are_shown_by_the_names_they_have() {
    let text = "sc.and v1, v2, v3; sc.not v1, v2; sc.mux v1, v2, v3, v4; maj3 v1, v2, v3, v0; hd.bind v31, v1, v1\n\
                bit v1, v2, v3, v4, 0xc0; bit v1, v2, v3, v0, 0xc3; bit v0, v0, v0, v0, 7\n";
    let object = assembled(text);
    let tables: Vec<i32> = object.words.iter().map(|word| decode(*word).expect("valid").imm).collect();
    assert_eq!(tables, [0xc0, 0x0f, 0xe4, 0xe8, 0x3c, 0xc0, 0xc3, 7]);
    let shown = disassemble(&object).expect("valid");
    let lines: Vec<String> =
        shown.lines().skip(1).map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let want = [
        "sc.and v1, v2, v3",
        "sc.not v1, v2",
        "sc.mux v1, v2, v3, v4",
        "maj3 v1, v2, v3, v0",
        "hd.bind v31, v1, v1",
        "bit v1, v2, v3, v4, 192",
        "sc.xnor v1, v2, v3",
        "bit v0, v0, v0, v0, 7",
    ];
    assert_eq!(lines, want);
    assert_eq!(assembled(&shown).words, object.words);
    for wrong in ["sc.and v1, v2, v3, v4", "sc.and v1, v2", "sc.mux v1, v2, v3", "bit v1, v2, v3, v4, 256"] {
        assert!(assemble(&Sources::single("t.vasm", wrong), &Options::default()).is_err(), "{wrong}");
    }
}

#[test]
fn linking_moves_formats_lines_and_calls() {
    let driver = assembled(".extern scale, other\n.fmt f1=int8\n call other\n call scale\n halt\n");
    let scale = assembled(".fmt f2=fp32, f1=int8\nagain: bne x1, x0, again\n ret\n");
    let other = assembled("nop\n.entry start\nstart: ret\n");
    let linked = super::link(&driver, &[("scale", &scale), ("other", &other)]).expect("links");
    assert_eq!(linked.bases, [4, 8]);
    let object = &linked.object;
    assert_eq!(object.verify().err().map(|e| e.to_string()), None);
    assert_eq!(object.formats, ["int8", "fp32"]);
    assert_eq!(
        (object.symbol("scale"), object.symbol("scale.again"), object.symbol("other")),
        (Some(4), Some(6), Some(9))
    );
    let imm = |word: usize| decode(object.words[word]).map(|inst| inst.imm);
    assert_eq!((imm(1), imm(2), imm(4), imm(5), imm(6)), (Ok(8), Ok(2), Ok(1), Ok(0), Ok(0)));
    assert_eq!(object.line(9), Some(("t.vasm", 3)));
    assert!(super::link(&driver, &[("scale", &scale)]).is_err(), "`other` is missing");
}

#[test]
fn the_example_programs_show_what_they_are_named_for() {
    for (text, word) in [
        (include_str!("../../programs/examples/dot-ternary.vasm"), "mac.tern"),
        (include_str!("../../programs/examples/triplet.vasm"), "mac.triplet"),
        (include_str!("../../programs/examples/xnor.vasm"), "xnor.popc"),
        (include_str!("../../programs/examples/skip.vasm"), "next.mask"),
    ] {
        let object = assembled(text);
        let shown = disassemble(&object).expect("valid");
        assert!(shown.contains(word) && text.contains(".test \""), "{word}");
        assert_eq!(assembled(&shown).words, object.words);
    }
}

/// A small object with something in every section.
fn small() -> Object {
    let text = ".param m\n.extern other\n.control\n.byte 1, 2, 3\n.sram\n.byte 4\n.dram\n.byte 5, 6\n.code\nnop\n.entry start\nstart: .fmt f1=int8\n call other\n halt\n";
    assembled(text)
}

#[test]
fn every_truncation_of_an_object_is_refused() {
    let bytes = small().to_bytes();
    assert_eq!(Object::from_bytes(&bytes).expect("whole"), small());
    for length in 0..bytes.len() {
        let error = Object::from_bytes(&bytes[..length]).expect_err("cut off");
        assert_eq!(error.kind(), crate::diag::Kind::BadInput, "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Object::from_bytes(&longer).is_err());
}

#[test]
fn every_changed_byte_of_an_object_is_refused() {
    let bytes = small().to_bytes();
    for at in 0..bytes.len() {
        for flip in 1..=255u8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert!(Object::from_bytes(&damaged).is_err(), "byte {at} ^ {flip:#x}");
        }
    }
}

#[test]
fn every_changed_byte_under_a_right_checksum_is_refused_or_read_as_it_stands() {
    let bytes = small().to_bytes();
    let body = bytes.len() - 4;
    for at in 0..body {
        for flip in (0..8).map(|bit| 1u8 << bit).chain([0xff]) {
            let mut damaged = bytes[..body].to_vec();
            damaged[at] ^= flip;
            let sum = crate::num::crc32::crc32(&damaged).to_le_bytes();
            damaged.extend(sum);
            if let Ok(object) = Object::from_bytes(&damaged) {
                assert_eq!(object.to_bytes(), damaged, "byte {at} ^ {flip:#x}: another reading of the same bytes");
            }
        }
    }
}

#[test]
fn another_version_and_another_order_say_what_to_do() {
    let seal = |mut bytes: Vec<u8>| {
        let body = bytes.len() - 4;
        let sum = crate::num::crc32::crc32(&bytes[..body]).to_le_bytes();
        bytes[body..].copy_from_slice(&sum);
        Object::from_bytes(&bytes).expect_err("refused").to_string()
    };
    let mut newer = small().to_bytes();
    newer[8] = 99;
    let shown = seal(newer);
    assert!(shown.contains("container version 99") && shown.contains("assemble it again"), "{shown}");
    let mut renamed = small().to_bytes();
    renamed[16..20].copy_from_slice(b"SYMB");
    assert!(seal(renamed).contains("a section is missing"));
    for wrong in [1, 8, 12, 255] {
        let mut count = small().to_bytes();
        count[12] = wrong;
        assert!(seal(count).contains("number of sections"));
    }
    let mut twice = small().to_bytes();
    let at = twice.windows(4).position(|name| name == b"SRAM").expect("a section");
    twice[at..at + 4].copy_from_slice(b"DRAM");
    assert!(seal(twice).contains("does not belong there"));
}
