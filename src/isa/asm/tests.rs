//! Tests of the assembler: what it accepts, and what its messages say.

use super::*;
use crate::isa::{Inst, decode};

fn asm(text: &str) -> Object {
    let options = Options::default();
    assemble(&Sources::single("t.vasm", text), &options).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

fn insts(text: &str) -> Vec<Inst> {
    asm(text).words.iter().map(|word| decode(*word).expect("assembled words decode")).collect()
}

/// Codes and first lines of the faults of a text.
fn faults(text: &str) -> Vec<String> {
    let errors = assemble(&Sources::single("t.vasm", text), &Options::default()).err().unwrap_or_default();
    errors.iter().map(|error| error.render(false)).collect()
}

#[test]
fn operands_reach_their_fields() {
    let made = insts(
        "add x1, x2, x3\n add x1, x2, -5\n lw.d x4, 8(x10)\n ld.bp v1, -4(x7)+x21 rows x3, f2\n fold c1, c0, q2, q3 .new\n\
         mac c0[x5], v1, v2, f1, f2, p3.z\n fmav v1, v2, v3, v4\n c.fill c2, -inf\n dma.ld t3, x1, x2, x4\n dma.ld t3, x1, x2, x4, d2",
    );
    assert_eq!((made[0].rd, made[0].rs1, made[0].rs2, made[0].sub), (1, 2, 3, 0));
    assert_eq!((made[1].imm, made[1].is_immediate()), (-5, true));
    assert_eq!((made[2].rd, made[2].rs1, made[2].imm, made[2].sub), (4, 10, 8, 3));
    assert_eq!((made[3].imm, made[3].rs1, made[3].rs2, made[3].rs3, made[3].mode, made[3].fd), (-4, 7, 21, 3, 6, 2));
    assert_eq!((made[4].rd, made[4].rs1, made[4].rs2, made[4].rs3, made[4].mode), (1, 0, 2, 3, 1));
    assert_eq!((made[5].rs3, made[5].fa, made[5].fb, made[5].pm, made[5].pz), (5, 1, 2, 3, true));
    assert_eq!((made[6].rs3, made[6].mode), (4, 6));
    assert_eq!((made[7].rd, made[7].mode), (2, 1));
    assert_eq!((made[8].aux, made[8].mode, made[9].mode), (3, 0, 2));
}

#[test]
fn labels_reach_both_ways() {
    let made = insts("1: j 1f\n j 1b\n1: j 1b\n a: beq x1, x2, a\n loop x3, e\n nop\ne: endl; jal x1, .-2");
    let jumps: Vec<i32> = made.iter().map(|inst| inst.imm).collect();
    assert_eq!(jumps, [2, -1, 0, 0, 2, 0, 0, -2]);
}

#[test]
fn li_takes_as_many_words_as_the_value_needs() {
    for (text, words) in [("li x1, -1", 1), ("li x1, 0x7fffffff", 1), ("li x1, 0x80000000", 2), ("li x1, 1 << 60", 2)] {
        assert_eq!(asm(text).words.len(), words, "{text}");
    }
    let made = insts("li x9, 0x123456789abcdef0");
    assert_eq!((made[0].imm as u32, made[1].imm as u32), (0x9abc_def0, 0x1234_5678));
}

#[test]
fn macros_paste_names_and_count_their_uses() {
    let made = insts(
        ".macro copy n, m\nl\\@: addv v\\n, v\\m, v\\m\n j l\\@\n.endm\n copy 1, 2\n copy 3, 4\n\
         .macro at m\n lw.d x1, \\m\n.endm\n at 8(x5)\n.rept 2\n nop\n.endr",
    );
    assert_eq!(made.len(), 7);
    assert_eq!((made[2].rd, made[2].rs1, made[3].imm, made[4].imm), (3, 4, -1, 8));
}

#[test]
fn conditions_symbols_and_parameters() {
    let object = asm(
        ".equ N, 4\n.param m, k\n.if N == 4\n lw.d x1, k(x10)\n.if 0\n halt\n.else\n nop\n.endif\n.else\n halt\n.endif\n",
    );
    assert_eq!(object.params, ["m", "k"]);
    assert_eq!(object.words.len(), 2);
    assert_eq!(decode(object.words[0]).map(|inst| inst.imm), Ok(8));
}

#[test]
fn control_memory_holds_data_and_labels() {
    let object =
        asm(".control\n.byte 1, -1\n.align 4\nt: .word 0x01020304\n.float 1.5, -inf\n.zero 2\n.code\nli x5, t\n");
    assert_eq!(object.control[..8], [1, 255, 0, 0, 4, 3, 2, 1]);
    assert_eq!(object.control.len(), 18);
    assert_eq!(decode(object.words[1]).map(|inst| inst.imm), Ok(0x3000_0000));
}

#[test]
fn formats_are_bound_and_listed_once() {
    let text = ".format W = int8\n.fmt f1=W, f2=fp32, f3=int8\n";
    assert_eq!(asm(text).formats, ["int8", "fp32"]);
    let options = Options { formats: BTreeMap::from([("W".into(), "ternary".into())]), ..Options::default() };
    let object = assemble(&Sources::single("k.vasm", text), &options).expect("binds");
    assert_eq!(object.formats, ["ternary", "fp32", "int8"]);
}

#[test]
fn aliases_are_checked_where_slots_are_known() {
    let text = |format: &str| format!(".fmt f1={format}, f2=int8\n1: mac.tern c0, v1, v2, f1, f2\n j 1b");
    assert_eq!(asm(&text("ternary")).words.len(), 4);
    assert!(faults(&text("binary"))[0].contains("E0111"));
    assert_eq!(asm("mac.tern c0, v1, v2, f1, f2").words.len(), 1, "unknown slots are not refused");
}

#[test]
fn every_fault_is_reported_with_place_code_and_help() {
    let text = "  addd x1, x2, x3\n  add x1, x32, 1\n  ld.bp v1, 4096(x2), f1\n  mc.fill c0\n  beq x1, x2, strt\nstart:\n\
                lw.d v1, 0(x2)\n  add x1, x2, 0x80000000\n  .equ a 5\n  sfu v1, v2, expp\n  li x1, nothing\n";
    let shown = faults(text).join("\n");
    for needle in [
        "error[E0102]: there is no instruction or macro `addd`",
        "did you mean `add`?",
        "error[E0105]: scalar register `x32` does not exist",
        "x0..x31",
        "error[E0106]: 4096 is out of range: -2048..=2047 fits here",
        "did you mean `start`?",
        "expected a scalar register, found `v1`",
        "E0104",
        "t.vasm:8:15",
        "did you mean `exp`?",
        "the symbol `nothing` is not defined here",
    ] {
        assert!(shown.contains(needle), "{needle}\n{shown}");
    }
}

#[test]
fn blocks_loops_and_limits_are_faults_not_hangs() {
    for (text, code) in [
        (".macro m\n m\n.endm\n m", "E0114"),
        (".rept 65536\n.rept 65536\n.rept 65536\n.endr\n.endr\n.endr", "E0114"),
        (".rept 100000\n nop\n.endr", "E0114"),
        (".macro grow a\n grow \\a \\a\n.endm\n grow 1", "E0114"),
        (".if 1\n nop", "E0116"),
        (".endm", "E0116"),
        ("loop x1, a\na: nop\n", "E0117"),
        ("j nowhere", "E0109"),
        ("j 1f", "E0109"),
        (".include \"t.vasm\"", "E0114"),
        (".include \"u.vasm\"", "E0115"),
        (".control\n nop", "E0118"),
        (".byte 1", "E0118"),
        (".control\n.byte 256", "E0106"),
        (".control\n.int4 9", "E0106"),
        (".control\n.ternary 0.5", "E0106"),
        (".control\n.fp4e2m1 7", "E0106"),
        (".control\n.fp4e2m1 nan", "E0106"),
        (".control\n.int8 99999999 of 1", "E0114"),
        (".control\n.int8 5 to 1", "E0114"),
        (".control\n.ascii \"a\\q\"", "E0101"),
        (".control\n.incbin \"../etc/passwd\"", "E0115"),
        (".if 0\n.else\n.elif 1\n.endif", "E0116"),
        (".elif 1", "E0116"),
        (".macro m a, a\n.endm", "E0112"),
        (".macro m a\n nop\n.endm\n m 1, a=2", "E0112"),
        (".textbook yes", "E0104"),
        (".control\n.zero 1 << 40", "E0114"),
        (".fmt f1=int99", "E0110"),
        (".format W", "E0110"),
        (".equ x5, 1", "E0108"),
        ("a:\na:", "E0108"),
        (".macro m a\n mv x1, \\b\n.endm\n m 1", "E0112"),
        ("mv x1", "E0112"),
        (".frobnicate", "E0103"),
        ("\"abc", "E0101"),
        ("/* abc", "E0101"),
        (".equ a, 1/0", "E0113"),
    ] {
        let shown = faults(text);
        assert!(shown.iter().any(|fault| fault.contains(code)), "{text:?} should give {code}: {shown:?}");
        assert!(CODES.iter().any(|known| known.code == code));
    }
}

#[test]
fn a_fault_in_a_macro_points_at_the_operand_and_names_the_use() {
    let shown = faults(".macro twice r\n add \\r, \\r, \\r\n.endm\n nop\n twice v1\n").join("\n");
    assert!(shown.contains("t.vasm:5:8") && shown.contains("in the use of macro `twice` at t.vasm:5"), "{shown}");
    let shown = faults(" mv x1, v3\n").join("\n");
    assert!(shown.contains("t.vasm:1:9") && !shown.contains("use of macro"), "{shown}");
}

#[test]
fn lines_name_the_innermost_text_but_no_pseudo_instruction() {
    let mut sources = Sources::new("a.vasm");
    sources.add("a.vasm", "nop\n.include \"b.vasm\"\n nop\n twice");
    sources.add("b.vasm", "\n ret\n.macro twice\n li x1, 1\n add x1, x1, x1\n.endm\n");
    let object = assemble(&sources, &Options::default()).expect("assembles");
    assert_eq!(object.line(0), Some(("a.vasm", 1)));
    assert_eq!(object.line(1), Some(("b.vasm", 2)));
    assert_eq!(object.line(2), Some(("a.vasm", 3)));
    assert_eq!([object.line(3), object.line(4)], [Some(("b.vasm", 4)), Some(("b.vasm", 5))]);
}

#[test]
fn a_number_that_is_too_large_is_one_fault() {
    for text in [".rept 99999999999999999999\n.endr\n", "li x1, 99999999999999999999\n"] {
        let shown = faults(text);
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].contains("`99999999999999999999` is not a number of 64 bits"), "{shown:?}");
    }
}

/// Control memory of a text of data.
fn data(text: &str) -> Vec<u8> {
    asm(&format!(".control\n{text}\n")).control
}

#[test]
fn data_can_be_written_in_any_format() {
    assert_eq!(data(".fp4e2m1 0.5, -6, 1.4, 0"), [0xf1, 0x03]);
    assert_eq!(data(".ternary 1, 0, -1, 1, 1"), [0b0110_0001, 0b01]);
    assert_eq!(data(".binary 1, -1, 6 of -1"), [0b1111_1110]);
    assert_eq!(data(".int4 1 to 3, -8"), [0x21, 0x83]);
    assert_eq!(data(".bf16 1, -0, inf"), [0x80, 0x3f, 0x00, 0x80, 0x80, 0x7f]);
    assert_eq!(data(".fp32 -0, nan, 1e-3, 2+3"), data(".word 0x80000000, 0x7fc00000, 0x3a83126f, 0x40a00000"));
    assert_eq!(data(".float 1.5, -inf"), data(".word 0x3fc00000, 0xff800000"));
    assert_eq!(data(".fp8e4m3 448, 0.3"), [0x7e, 0x2a]);
    assert_eq!(data(".half -1\n.dword 0x123456789abcdef0"), [255, 255, 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12]);
}

#[test]
fn sections_of_data_have_their_own_addresses() {
    let object = asm(
        ".dram\n.byte 1\nd: .byte 2\n.sram\n.align 4\ns: .half 3\n.dram\n.align 4\ne: .word 4\n.code\nli x1, d\nli x2, s\nli x3, e",
    );
    assert_eq!((object.dram, object.sram), (vec![1, 2, 0, 0, 4, 0, 0, 0], vec![3, 0]));
    let values: Vec<i32> = object.words.iter().map(|word| decode(*word).expect("valid").imm).collect();
    assert_eq!(values, [1, 0, 1 << 28, 4], "d, then s in two words, then e");
}

#[test]
fn texts_and_files_are_data_too() {
    assert_eq!(data(".ascii \"a\\n\\x7f\\\"\", \"b;#\"\n.string \"c\""), b"a\n\x7f\"b;#c\0");
    let mut sources = Sources::single("t.vasm", ".control\n.incbin \"w.bin\"\n.incbin \"w.bin\", 1, 2\n");
    assert_eq!(sources.wanted_bytes(), ["w.bin", "w.bin"]);
    sources.add_bytes("w.bin", vec![1u8, 2, 3, 4]);
    assert_eq!(assemble(&sources, &Options::default()).expect("assembles").control, [1, 2, 3, 4, 2, 3]);
    let mut sources = Sources::single("t.vasm", ".control\n.incbin \"w.bin\", 3, 2\n");
    sources.add_bytes("w.bin", vec![1u8, 2, 3, 4]);
    assert!(assemble(&sources, &Options::default()).is_err());
    assert!(Sources::single("t.vasm", ".incbin \"../a\"; .incbin \"/b\"; .incbin \".c\"").wanted_bytes().is_empty());
}

#[test]
fn macros_take_named_operands_and_defaults() {
    let text =
        ".macro put r, by=7, to=x9\n add \\to, \\r, \\by\n.endm\n put x1\n put x1, 8\n put x1, to=x3\n put by=2, r=x4";
    let made: Vec<_> = insts(text).iter().map(|inst| (inst.rd, inst.rs1, inst.imm)).collect();
    assert_eq!(made, [(9, 1, 7), (9, 1, 8), (3, 1, 7), (9, 4, 2)]);
}

#[test]
fn repetitions_count_and_nest() {
    let text = ".macro row n\n.rept 2, j\n add x\\j, x\\n, \\n * 10 + \\j\n.endr\n.endm\n\
                .rept 2, i\n.rept 2, k\n add x1, x\\i, \\i * 10 + \\k\n.endr\n.endr\n row 3";
    let made: Vec<_> = insts(text).iter().map(|inst| (inst.rd, inst.rs1, inst.imm)).collect();
    assert_eq!(made, [(1, 0, 0), (1, 0, 1), (1, 1, 10), (1, 1, 11), (0, 3, 30), (1, 3, 31)]);
}

#[test]
fn the_first_true_branch_is_taken() {
    let text = |n: i64| {
        format!(
            ".equ N, {n}\n.if N == 1\n li x1, 1\n.elif N == 2\n li x1, 2\n.elif N / (N - 3)\n li x1, 4\n.else\n li x1, 9\n.endif"
        )
    };
    let taken: Vec<i32> = [1, 2, 4, -1].iter().map(|n| insts(&text(*n))[0].imm).collect();
    assert_eq!(taken, [1, 2, 4, 9]);
}

#[test]
fn every_explanation_is_true() {
    for known in CODES {
        let shown = faults(known.wrong).join("\n");
        assert!(shown.contains(known.code), "{}: {shown}", known.code);
        assert!(faults(known.right).is_empty(), "{}: {:?}", known.code, faults(known.right));
    }
}

#[test]
fn the_founding_lines_assemble_in_the_textbooks_spelling() {
    let textbook = ".textbook on\n.fmt f0=binary, f1=triplet, f2=int8\nLD.BP 0x100, r1\nMAC.TRIPLET r1, r2, r3\nJMP.MASK 0x200, skip\nskip: HALT";
    let plain = ".fmt f0=binary, f1=triplet, f2=int8\nld.bp v1, 0x100(x0), f0\nmac.triplet c1, v2, v3, f1, f2\n\
                 ld.m p7, 0x200(x0), x31\njmp.mask p7, skip\nskip: halt";
    assert_eq!(asm(textbook).words, asm(plain).words);
    let far = ".textbook on\nLD.BP 0x1000, r1\nJMP.MASK 0x2000, skip\nskip: halt";
    let plain =
        "li x30, 0x1000\nld.bp v1, 0(x30), f0\nli x30, 0x2000\nld.m p7, 0(x30), x31\njmp.mask p7, skip\nskip: halt";
    assert_eq!(asm(far).words, asm(plain).words);
    assert_eq!(asm(".textbook on\nADD r1, r2, r3\nADD r1, r2, 5\n").words, asm("add x1, x2, x3\nadd x1, x2, 5").words);
}

#[test]
fn the_textbooks_spelling_gets_the_line_as_it_should_be() {
    for (text, right) in [
        ("LD.BP 0x100, r1", "ld.bp v1, 0x100(x0), f0"),
        ("LD.BP 0x1000, r1", "li x30, 0x1000; ld.bp v1, 0(x30), f0"),
        ("MAC.TRIPLET r1, r2, r3", "mac.triplet c1, v2, v3, f1, f2"),
        ("s: JMP.MASK 0x20, s", "ld.m p7, 0x20(x0), x31; jmp.mask p7, s"),
    ] {
        let shown = faults(text).join("\n");
        assert!(shown.contains("E0120") && shown.contains(&format!("write `{right}`")), "{shown}");
    }
    assert!(faults("LD.BP V1, 0(X0), F0").is_empty() || faults("LD.BP v1, 0(x0), f0").is_empty());
    assert_eq!(asm(".equ r1, 5\nadd x1, x2, r1").words, asm("add x1, x2, 5").words, "a symbol may be called r1");
}

#[test]
fn what_is_not_shown_is_counted() {
    let errors = assemble(&Sources::single("t.vasm", "frob\n".repeat(150)), &Options::default()).unwrap_err();
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100].to_string(), "50 more errors are not shown");
    let errors = assemble(&Sources::single("t.vasm", ".rept 9999\nfrob\n.endr"), &Options::default()).unwrap_err();
    assert!(errors.last().is_some_and(|e| e.to_string().starts_with("at least 1000 more")), "{:?}", errors.last());
}

#[test]
fn the_grammar_of_tests_is_checked_when_assembling() {
    for (text, needle) in [
        (".test\n.endt", "a test needs a name"),
        (".test \"a\"\n.expcet x1 = 2\n.endt", "did you mean `.expect`?"),
        (".test \"a\"\n.expect x1 2\n.endt", "expected `=`"),
        (".test \"a\"\n.mem somewhere, int9: 2\n.endt", "did you mean `int8`?"),
        (".test \"a\"\n.expect x1 = 2\n.endt\n.test \"a\"\n.expect x1 = 2\n.endt", "defined twice"),
        (".test \"a\"\n.expect x1 = 2\n", "has no `.endt`"),
    ] {
        let shown = faults(text).join("\n");
        assert!(shown.contains(needle), "{needle}\n{shown}");
    }
    let ran = |text: &str| tests(&Sources::single("t.vasm", text), &Options::default());
    for (text, needle) in [
        ("halt\n.test \"a\"\n.endt", "expects nothing"),
        (".param rows\nret\n.test \"a\"\n.param row = 1\n.expect x1 = 0\n.endt", "did you mean `rows`?"),
        ("halt\n.test \"a\"\n.expect nowhere, byte: 1\n.endt", "`nowhere` is not defined"),
        ("halt\n.test \"a\"\n.vlen 48\n.expect x1 = 0\n.endt", "power of two"),
        (
            ".if N\n.test \"a\"\n.equ N, 0\n.expect x1 = 0\n.endt\n.endif\nhalt",
            "condition that its bindings make false",
        ),
        ("halt\n.test \"a\"\n.format W = int8\n.expect x1 = 0\n.endt", "no format parameter `W`"),
    ] {
        let shown = format!("{:?}", ran(text).err());
        assert!(shown.contains(needle), "{needle}\n{shown}");
    }
    assert_eq!(ran("halt").map(|cases| cases.len()).ok(), Some(0));
}
