//! The instruction manual, generated from the table: usage lines, cards, and the whole of docs/isa.md.

use super::asm::{CODES, DIRECTIVES, PRELUDE};
use super::table::{Alias, Field, Mnemonic, Operand, ROWS, RegClass, Row, Unit, When, mnemonics};
use std::fmt::Write as _;

/// The form of an instruction: `mac cd[[xc]], va, vb, fa, fb[, pm[.z]]`.
pub fn usage(name: &str, mnemonic: &Mnemonic) -> String {
    let mut text = name.to_string();
    let mut gap = " ";
    for operand in mnemonic.op.row().operands {
        let shown = match operand {
            Operand::Reg { when: When::Sub(code), .. } if *code != mnemonic.sub => continue,
            _ if mnemonic.alias.is_some_and(|alias| alias.fixes(operand)) => continue,
            _ => show(operand),
        };
        match operand {
            Operand::Reg { when: When::Given, .. } | Operand::Mask | Operand::Choice { .. } | Operand::Segment => {
                text += &format!("[, {shown}]")
            }
            Operand::Flag { .. } => text += &format!(" [{shown}]"),
            _ => text += &format!("{gap}{shown}"),
        }
        gap = ", ";
    }
    text
}

/// Every mnemonic with its form, in alphabetical order.
pub fn list() -> Vec<(String, String)> {
    mnemonics().iter().map(|(name, mnemonic)| (name.clone(), usage(name, mnemonic))).collect()
}

/// The card of one instruction, pseudo-instruction or directive; `None` for an unknown name.
///
/// ```
/// let card = preon::isa::manual::reference("mac.tern").unwrap();
/// assert!(card.contains("multiply-accumulate") && card.contains("fa = ternary"));
/// ```
pub fn reference(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let row = mnemonics().get(&name).map(|mnemonic| mnemonic.op.row());
    if let Some(row) = row.or_else(|| ROWS.iter().find(|row| row.name == name)) {
        return Some(card(row));
    }
    if let Some((_, form, what)) = DIRECTIVES.iter().find(|(directive, ..)| *directive == name) {
        return Some(format!("`{form}`: {what}\n"));
    }
    let (form, words) = pseudo().into_iter().find(|(form, _)| form.split(' ').next() == Some(&name))?;
    Some(format!("`{form}` stands for `{words}`\n"))
}

/// The text of docs/isa.md.
pub fn manual() -> String {
    let mut out = String::from(INTRODUCTION);
    out += "\n## Registers\n\n| name | number | what |\n|---|---|---|\n";
    for class in RegClass::ALL {
        let (letter, last) = (class.letter(), class.count() - 1);
        let _ = writeln!(out, "| {letter}0..{letter}{last} | {} | {} |", class.count(), meaning(class));
    }
    out += TEXT;
    out += "\n### Directives\n\n| form | what it does |\n|---|---|\n";
    for (_, form, what) in DIRECTIVES {
        let _ = writeln!(out, "| `{form}` | {what} |");
    }
    out += "\n### Pseudo-instructions\n\n| written | stands for |\n|---|---|\n";
    for (form, words) in pseudo() {
        let _ = writeln!(out, "| `{form}` | `{words}` |");
    }
    out += ENCODING;
    for unit in [Unit::C, Unit::L, Unit::S, Unit::E, Unit::M, Unit::D] {
        let _ = writeln!(out, "\n## Unit {unit:?}: {}", unit.title());
        for row in ROWS.iter().filter(|row| row.unit == unit) {
            let _ = write!(out, "\n{}", card(row));
        }
    }
    out += "\n## Errors of the assembler\n\n| code | meaning |\n|---|---|\n";
    for (code, what) in CODES {
        let _ = writeln!(out, "| {code} | {what} |");
    }
    out
}

const INTRODUCTION: &str = "\
# Instruction set

Generated from `isa/vpu.toml` by `isa::manual`; `PREON_BLESS=1 cargo test --lib isa::` writes it anew.

One contraction `C[m,n] += sum_k X[m,k] * W[n,k]` is done by the vector unit on registers (`mac`) and by the array on
tiles in SRAM (`mm.w`, `mm.x`). Sums are made first and scaled once, by `fold`. Formats stand in slots (`fmt.set`), so that
opcodes do not grow with formats; names such as `mac.tern` are the same opcode with checked formats. Inside a core,
memory is as if sequential: hazards cost time and never change a value. A program cannot read time.

Addresses have 64 bits; bits 63:60 choose the space: 0 DRAM, 1 the core's own SRAM, 2 SRAM shared by the cores, 3 control
memory (parameters, masks, tables). Loads and stores reach spaces 1 to 3, DRAM is reached by DMA. Data is
little-endian, the first element stands in the low bits, every row starts on a byte.
";

const TEXT: &str = "
## Text

One statement a line, or several separated by `;`. Comments: `# ..`, `// ..`, `/* .. */`. Destination first. Labels are
`name:` or a number `1:`, which `1b` and `1f` name backward and forward; `.+n` is n words from here. Numbers: `10 0x1f 0o7
0b101 1_000 'a'`; expressions have C's operators and precedence. Symbols are defined before their use; only code labels may
follow. Memory operands: `imm(xB)`; `imm(xB)+` then adds the bytes moved to xB; `imm(xB)+xS` adds xS; `rows xR` names the
register with the distance of rows in bytes. `cN[xR]` is the row of tile cN whose number is in xR; `cN` is row 0.
A mask `pN` keeps terms out, `pN.z` also saves their work.
";

const ENCODING: &str = "
## Encoding

An instruction has 64 bits. Opcodes below 0x80 have the I form (a 32-bit immediate), the others the V form. Branch
targets count words from the instruction itself. Bits that a row does not use are 0; any other word traps ILL.
";

fn meaning(class: RegClass) -> &'static str {
    match class {
        RegClass::X => "scalar integers of 64 bits; x0 is 0",
        RegClass::V => "bit-packed vectors of VLEN bits",
        RegClass::P => "masks, one bit an element; p0 is all ones",
        RegClass::C => "accumulator tiles with a class: exact integers, f32 chain, pair order",
        RegClass::Q => "vectors of f32 scales",
        RegClass::T => "tags: numbers of unfinished transfers",
        RegClass::D => "DMA shapes of up to three dimensions; d0 is plain",
        RegClass::F => "format slots",
        RegClass::E => "entropy decoders: an open tile, its model, and how far it is read",
    }
}

/// One instruction: heading, form, meaning, bits, example.
fn card(row: &Row) -> String {
    let names = row.mnemonics();
    let mut out = format!("### {}\n\n", row.name);
    let mut forms: Vec<(String, Vec<&str>)> = Vec::new();
    for (name, sub) in &names {
        let form = usage("", &Mnemonic { op: row.op, sub: *sub, alias: None });
        match forms.iter_mut().find(|(known, _)| *known == form) {
            Some((_, list)) => list.push(name),
            None => forms.push((form, vec![name])),
        }
    }
    for (form, list) in forms {
        let _ = writeln!(out, "`{}{}`\n", list.join("|"), form.trim_end());
    }
    let unit = row.unit;
    let _ = writeln!(out, "{}.\n\nUnit {unit:?} ({}), opcode {:#04x}.", row.semantics, unit.title(), row.code);
    for alias in row.aliases {
        let form = usage(alias.name, &Mnemonic { op: row.op, sub: 0, alias: Some(alias) });
        let shown = if alias.fixed.is_empty() { alias.name } else { &form };
        let _ = writeln!(out, "Alias `{shown}`: {}.", restrictions(alias));
    }
    let _ = write!(out, "\n```\n{}\n```\n\n```\n{}```\n\nExample: `{}`\n", row.pseudo, diagram(row), row.example);
    out
}

fn restrictions(alias: &Alias) -> String {
    let all = [("fa", alias.fa), ("fb", alias.fb), ("fd", alias.fd)];
    let given = all.iter().filter(|(_, list)| !list.is_empty());
    let formats = given.map(|(slot, list)| format!("{slot} = {}", list.join(" or ")));
    let fixed = alias.fixed.iter().map(|(field, value)| match field {
        Field::Imm => format!("imm = {value:#04x}"),
        _ => format!("{} = {value}", field.name()),
    });
    formats.chain(fixed).collect::<Vec<_>>().join(", ")
}

/// The word, high bits first: bit ranges, fields, what the row puts there.
fn diagram(row: &Row) -> String {
    let fields = Field::ALL.into_iter().filter_map(|field| Some((field.bits(row.form)?, field)));
    let mut columns: Vec<(u32, u32, &str, String)> =
        fields.map(|((at, width), field)| (at, width, field.name(), holds(row, field))).collect();
    columns.push((0, 8, "op", format!("{:#04x}", row.code)));
    columns.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let mut lines = ["bits ".to_string(), "field".to_string(), "holds".to_string()];
    for (at, width, name, holds) in columns {
        let range = if width == 1 { at.to_string() } else { format!("{}-{at}", at + width - 1) };
        let size = range.len().max(name.len()).max(holds.len());
        for (line, text) in lines.iter_mut().zip([&*range, name, &*holds]) {
            let _ = write!(line, " {text:<size$}");
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What a row keeps in a field; `0` if nothing.
fn holds(row: &Row, field: Field) -> String {
    let mut parts: Vec<String> =
        row.sub.iter().filter(|sub| sub.field == field).map(|_| "operation".to_string()).collect();
    for operand in row.operands {
        let part = match *operand {
            Operand::Reg { field: at, .. } if at == field => show(operand),
            Operand::RegOrImm { field: at } if at == field => register(RegClass::X, field),
            Operand::RegOrImm { .. } if field == Field::Sub => "imm<<8".to_string(),
            Operand::RegOrImm { .. } | Operand::Imm | Operand::Bits | Operand::Base { .. } if field == Field::Imm => {
                "imm".to_string()
            }
            Operand::Label if field == Field::Imm => "label".to_string(),
            Operand::Fmt if field == Field::Imm => "format".to_string(),
            Operand::Num { field: at, .. } | Operand::Enum { field: at, .. } | Operand::Choice { field: at, .. }
                if at == field =>
            {
                show_range(operand)
            }
            Operand::Segment if field == Field::Imm => "seg".to_string(),
            Operand::Base { field: at } if at == field => register(RegClass::X, field),
            Operand::Mem { rows, steps } => match field {
                Field::Rs1 => register(RegClass::X, field),
                Field::Rs2 if steps => register(RegClass::X, field),
                Field::Rs3 if rows => register(RegClass::X, field),
                Field::Imm => "imm".to_string(),
                Field::Mode => if rows { "step|rows<<2" } else { "step" }.to_string(),
                _ => continue,
            },
            Operand::Tile { field: at } if at == field => register(RegClass::C, field),
            Operand::Tile { .. } if field == Field::Rs3 => register(RegClass::X, field),
            Operand::Flag { name, bit } if field == Field::Mode => format!("{name}<<{bit}"),
            Operand::Mask if field == Field::Pm => "pm".to_string(),
            Operand::Mask if field == Field::Pz => "z".to_string(),
            _ => continue,
        };
        parts.push(part);
    }
    if parts.is_empty() { "0".to_string() } else { parts.join("|") }
}

fn show_range(operand: &Operand) -> String {
    match operand {
        Operand::Enum { names, .. } | Operand::Choice { names, .. } => format!("0..{}", names.len() - 1),
        _ => show(operand),
    }
}

/// The pseudo-instructions with what they stand for.
fn pseudo() -> Vec<(String, String)> {
    let mut list = vec![
        ("li rd, value".to_string(), "add rd, x0, value".to_string()),
        ("li rd, value (64 bits)".to_string(), "add rd, x0, low; lih rd, high".to_string()),
    ];
    for block in PRELUDE.split(".macro ").skip(1) {
        let mut lines = block.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let form = lines.next().unwrap_or_default();
        let words: Vec<String> = lines.take_while(|line| line != ".endm").map(|line| line.replace('\\', "")).collect();
        list.push((form, words.join("; ")));
    }
    list
}

/// One operand as usage lines show it.
fn show(operand: &Operand) -> String {
    match *operand {
        Operand::Reg { class, field, .. } => register(class, field),
        Operand::RegOrImm { field } => format!("{}|imm", register(RegClass::X, field)),
        Operand::Imm | Operand::Bits => "imm".to_string(),
        Operand::Num { lo, hi, .. } => format!("{lo}..{hi}"),
        Operand::Label => "label".to_string(),
        Operand::Fmt => "format".to_string(),
        Operand::Base { field } => format!("imm({})", register(RegClass::X, field)),
        Operand::Mem { rows, steps } => {
            format!("imm(xa){}{}", if steps { "[+[xb]]" } else { "[+]" }, if rows { "[ rows xc]" } else { "" })
        }
        Operand::Tile { field } => format!("{}[[xc]]", register(RegClass::C, field)),
        Operand::Enum { names, .. } | Operand::Choice { names, .. } => format!("{{{}}}", names.join("|")),
        Operand::Segment => "seg n".to_string(),
        Operand::Flag { name, .. } => name.to_string(),
        Operand::Mask => "pm[.z]".to_string(),
    }
}

/// `xa`, `vd`: the class and a letter for the field.
fn register(class: RegClass, field: Field) -> String {
    let letter = match field {
        Field::Rd | Field::Fd => 'd',
        Field::Rs1 | Field::Fa => 'a',
        Field::Rs2 | Field::Fb => 'b',
        Field::Rs3 => 'c',
        Field::Aux => 't',
        Field::Mode => 'k',
        _ => 'e',
    };
    format!("{}{letter}", class.letter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Object;
    use crate::isa::asm::{Options, Sources, assemble};
    use crate::isa::disasm;

    /// The object of a row's example, and the word of the example in it.
    fn assembled(row: &Row) -> (Object, usize) {
        let text = row.example_program();
        let object = assemble(&Sources::single("example", &*text), &Options::default());
        let object = object.unwrap_or_else(|errors| panic!("{}: {text}\n{errors:?}", row.name));
        let word = row.example_word(object.symbol("target").expect("the label stands there"));
        (object, word as usize)
    }

    #[test]
    fn every_example_assembles_to_its_row_and_comes_back_from_its_text() {
        for row in ROWS {
            let (object, word) = assembled(row);
            let inst = crate::isa::decode(object.words[word]);
            assert_eq!(inst.map(|inst| inst.op), Ok(row.op), "{}: {}", row.name, row.example);
            let text = disasm::disassemble(&object).unwrap();
            let again = assemble(&Sources::single("again", &*text), &Options::default()).unwrap();
            assert_eq!(again.words, object.words, "{}: {text}", row.name);
        }
    }

    #[test]
    fn cards_exist_for_every_name() {
        for (name, form) in list() {
            let card = reference(&name).unwrap_or_default();
            assert!(card.contains("Example: `") && form.starts_with(&name), "{name}");
        }
        assert!(reference("RET").is_some_and(|card| card.contains("jalr x0, 0(x1)")));
        assert!(reference(".equ").is_some() && reference("nothing").is_none());
    }

    #[test]
    fn the_committed_manual_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/isa.md");
        let made = manual();
        if std::env::var_os("PREON_BLESS").is_some() {
            std::fs::write(path, &made).expect("docs/isa.md can be written");
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        let line = kept.lines().zip(made.lines()).position(|(a, b)| a != b);
        assert!(
            kept.replace("\r\n", "\n") == made,
            "docs/isa.md differs (line {line:?}): run PREON_BLESS=1 cargo test --lib isa::"
        );
    }
}
