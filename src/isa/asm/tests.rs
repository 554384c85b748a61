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
        assert!(CODES.iter().any(|(known, _)| *known == code));
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
fn lines_name_the_outermost_use() {
    let mut sources = Sources::new("a.vasm");
    sources.add("a.vasm", "nop\n.include \"b.vasm\"\n nop");
    sources.add("b.vasm", "\n ret\n");
    let object = assemble(&sources, &Options::default()).expect("assembles");
    assert_eq!(object.line(0), Some(("a.vasm", 1)));
    assert_eq!(object.line(1), Some(("b.vasm", 2)));
    assert_eq!(object.line(2), Some(("a.vasm", 3)));
}

#[test]
fn a_number_that_is_too_large_is_one_fault() {
    for text in [".rept 99999999999999999999\n.endr\n", "li x1, 99999999999999999999\n"] {
        let shown = faults(text);
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert!(shown[0].contains("`99999999999999999999` is not a number of 64 bits"), "{shown:?}");
    }
}
