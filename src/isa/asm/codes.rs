//! The assembler's error codes: what each means, a text that provokes it, and the text as it should be. A test
//! assembles both.

use crate::diag::Explanation;

const fn entry(
    code: &'static str,
    what: &'static str,
    more: &'static str,
    wrong: &'static str,
    right: &'static str,
) -> Explanation {
    Explanation { code, what, more, wrong, right }
}

/// Every error code of the assembler.
pub const CODES: &[Explanation] = &[
    entry(
        "E0101",
        "A character, number, comment or quoted text that the assembler cannot read.",
        "Numbers are 10, 0x1f, 0o7, 0b101, 1_000, 'a' and, in data, 1.5 or 2e-3. Quoted texts and /* comments */ must be closed.",
        "li x5, 0x12g4",
        "li x5, 0x1234",
    ),
    entry(
        "E0102",
        "A statement starts with a word that is no instruction, pseudo-instruction or macro.",
        "Mnemonics may be written in any case. A macro must be defined before its first use. `preon isa list` shows all instructions.",
        "addd x6, x5, 1",
        "add x6, x5, 1",
    ),
    entry(
        "E0103",
        "A directive (a word that starts with a dot) that does not exist.",
        "The directives stand in docs/isa.md; besides, every number format is one that writes its numbers: `.int4 1, -2`.",
        ".control\n.wrod 7",
        ".control\n.word 7",
    ),
    entry(
        "E0104",
        "An operand is missing, or of another kind than the instruction or directive takes.",
        "The help line shows the form of the instruction; [brackets] mark what may be left out. The destination comes first.",
        "add x6, v5, 1",
        "add x6, x5, 1",
    ),
    entry(
        "E0105",
        "A register of the right class, but with a number that does not exist.",
        "x0..x31 scalars, v0..v31 vectors, p0..p7 masks, c0..c7 tiles, q0..q15 scales, f0..f15 formats, t0..t15 tags, d0..d3 shapes, e0..e3 decoders.",
        "add x32, x5, 1",
        "add x31, x5, 1",
    ),
    entry(
        "E0106",
        "A number that does not fit the field or the data word that it is for.",
        "Memory operands of vector instructions hold offsets of -2048..=2047, scalar immediates 32 bits. Data of integer and \
         codebook formats must be values of the format; floats round, but not beyond the largest value.",
        ".control\n.int4 8",
        ".control\n.int4 7",
    ),
    entry(
        "E0107",
        "A name that is not defined, or a code label where a number is needed.",
        "Symbols (.equ, .param, labels of data) are defined before their use. Code labels are targets only, because code \
         moves when it is linked.",
        "li x5, COUNT\n.equ COUNT, 4",
        ".equ COUNT, 4\nli x5, COUNT",
    ),
    entry(
        "E0108",
        "A name that is defined twice, or that is taken by a register, an instruction or a directive.",
        "Numeric labels (`1:`, used as 1b and 1f) may be defined again and again; labels of a macro take \\@ in their name.",
        "again: nop\nagain: nop",
        "again: nop\nonce_more: nop",
    ),
    entry(
        "E0109",
        "A label that is defined nowhere in the program.",
        "Labels may follow their use. `1f` names the next `1:`, `1b` the last one. Kernels that linking supplies are declared with .extern.",
        "start: j strat",
        "start: j start",
    ),
    entry(
        "E0110",
        "A format that is not in the format table, or a format parameter that is not bound.",
        "`preon formats list` shows the table, `--formats FILE` adds rows to it. `.format W = int8` gives a parameter a default.",
        ".fmt f1=int9",
        ".fmt f1=int8",
    ),
    entry(
        "E0111",
        "An alias such as mac.tern is used while its slots hold formats that it is not for.",
        "An alias is an instruction with a check; where the code shows what the slots hold, the assembler makes it.",
        ".fmt f1=int4, f2=int8\nmac.tern c0, v1, v2, f1, f2",
        ".fmt f1=ternary, f2=int8\nmac.tern c0, v1, v2, f1, f2",
    ),
    entry(
        "E0112",
        "A macro is defined or used wrongly.",
        "Operands are given in order or by name (`b=3`); parameters with a default may be left out; the body uses \\name.",
        ".macro twice r, by=2\nmul \\r, \\r, \\by\n.endm\ntwice",
        ".macro twice r, by=2\nmul \\r, \\r, \\by\n.endm\ntwice x5\ntwice x5, by=4",
    ),
    entry(
        "E0113",
        "An expression divides by zero, overflows 64 bits or nests too deep.",
        "Expressions have the operators and the precedence of C, and 64 bits.",
        ".equ ROWS, 0\nli x5, 16 / ROWS",
        ".equ ROWS, 4\nli x5, 16 / ROWS",
    ),
    entry(
        "E0114",
        "The program is too large, or an expansion does not end.",
        "A macro that uses itself needs an .if that ends it; .rept repeats at most 65536 times; nesting is at most 64 deep.",
        ".rept 70000\nnop\n.endr",
        ".rept 7\nnop\n.endr",
    ),
    entry(
        "E0115",
        "A file named by .include or .incbin is not among the sources.",
        "Files are looked for beside the text. `.incbin` takes bare names only, so that a text reaches nothing else.",
        ".control\n.incbin \"../weights.bin\"",
        ".control\n.int8 1, 2, 3",
    ),
    entry(
        "E0116",
        "A block directive is not closed, or closes nothing.",
        ".macro .. .endm, .rept .. .endr, .if .. [.elif ..] [.else ..] .endif and .test .. .endt come in pairs, each on its own line.",
        ".rept 3\nnop",
        ".rept 3\nnop\n.endr",
    ),
    entry(
        "E0117",
        "The label of a loop does not stand at its endl.",
        "`loop xN, end` repeats what follows, up to and including the `endl` at `end`.",
        "loop x5, end\nnop\nend: nop\nendl",
        "loop x5, end\nnop\nend: endl",
    ),
    entry(
        "E0118",
        "An instruction in a data section, or data in the code.",
        "`.control`, `.dram` and `.sram` begin initial contents of memory, `.code` goes back to instructions.",
        ".byte 1, 2",
        ".control\n.byte 1, 2\n.code",
    ),
    entry(
        "E0119",
        "A `.test` block says something impossible, or nothing that can fail.",
        "The statements of a test stand in docs/assembler.md. `preon test FILE` runs them.",
        "halt\n.test \"empty\"\n.expcet x5 = 1\n.endt",
        "halt\n.test \"empty\"\n.expect x5 = 0\n.endt",
    ),
    entry(
        "E0120",
        "An instruction in the spelling of a textbook (`LD.BP address, r1`) where that is switched off.",
        "The message shows the line as it should be: destination first, registers by class (v1, c1, x1), the memory operand \
         with its base, the format slots named. `.textbook on` takes the textbook's spelling.",
        "MAC.TRIPLET r1, r2, r3",
        ".textbook on\nMAC.TRIPLET r1, r2, r3",
    ),
];
