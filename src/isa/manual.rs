//! What the table says of an instruction, for readers: forms, operands, bits, traps. The manual is made of it.

use super::asm::{DIRECTIVES, PRELUDE, STATEMENTS};
use super::table::{Alias, Field, Mnemonic, Operand, RegClass, Row, When, mnemonics};

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

/// What a name that is no instruction stands for: a pseudo-instruction or a directive.
///
/// ```
/// assert!(preon::isa::manual::other("ret").unwrap().contains("jalr x0, 0(x1)"));
/// ```
pub fn other(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    if let Some((_, form, what)) = DIRECTIVES.iter().find(|(directive, ..)| *directive == name) {
        let mut text = format!("`{form}`: {what}\n");
        if name == ".test" {
            STATEMENTS.iter().for_each(|(_, form, what)| text += &format!("  {form:<40}{what}\n"));
        }
        return Some(text);
    }
    let statements: Vec<String> = STATEMENTS
        .iter()
        .filter(|(statement, ..)| *statement == name)
        .map(|(_, form, what)| format!("in a `.test`, `{form}`: {what}\n"))
        .collect();
    if !statements.is_empty() {
        return Some(statements.concat());
    }
    let (form, words) = pseudo().into_iter().find(|(form, _)| form.split(' ').next() == Some(&name))?;
    Some(format!("`{form}` stands for `{words}`\n"))
}

/// Names that [`other`] knows.
pub fn others() -> Vec<String> {
    let pseudo = pseudo().into_iter().filter_map(|(form, _)| form.split(' ').next().map(String::from));
    let mut all: Vec<String> = DIRECTIVES.iter().map(|(name, ..)| name.to_string()).chain(pseudo).collect();
    all.dedup();
    all
}

/// Forms of a row: one for every group of mnemonics that take the same operands.
pub fn forms(row: &Row) -> Vec<String> {
    let mut forms: Vec<(String, Vec<String>)> = Vec::new();
    for (name, sub) in row.mnemonics() {
        let form = usage("", &Mnemonic { op: row.op, sub, alias: None });
        match forms.iter_mut().find(|(known, _)| *known == form) {
            Some((_, list)) => list.push(name),
            None => forms.push((form, vec![name])),
        }
    }
    forms.into_iter().map(|(form, list)| format!("{}{}", list.join("|"), form.trim_end())).collect()
}

/// Kinds of traps that a row may end with: those of its pseudo-code, of the scalars that it must know, of its format slots
/// and of its memory operand. Every word may also trap ILL or FUEL.
pub fn traps(row: &Row) -> Vec<&'static str> {
    const KINDS: [&str; 14] = [
        "FMT", "ADDR", "ALIGN", "SHAPE", "ACC", "EC", "LOOP", "DATA", "RACE", "DEADLOCK", "GUARD", "BREAK", "ILL",
        "FUEL",
    ];
    let slots = row.operands.iter().any(|operand| matches!(operand, Operand::Reg { class: RegClass::F, .. }));
    // The row that binds a slot does not read one.
    let slots = slots && !row.operands.iter().any(|operand| matches!(operand, Operand::Fmt));
    let memory = row.operands.iter().any(|operand| matches!(operand, Operand::Mem { .. }));
    let said = |kind: &str| row.pseudo.contains(&format!("trap {kind}"));
    let implied = |kind: &str| match kind {
        "FMT" => slots,
        "ADDR" => memory,
        "DATA" => memory || row.pseudo.contains("known "),
        _ => false,
    };
    KINDS.into_iter().filter(|kind| said(kind) || implied(kind)).collect()
}

/// The example of a row, written with one of the row's names.
pub fn example(name: &str, mnemonic: &Mnemonic) -> String {
    let row = mnemonic.op.row();
    let (_, operands) = row.example.split_once(' ').unwrap_or((row.example, ""));
    let mut written: Vec<&str> = Vec::new();
    let mut rest = row.operands.iter();
    for text in operands.split(", ").filter(|text| !text.is_empty()) {
        let operand = rest.next();
        let absent = operand.is_some_and(|operand| match operand {
            Operand::Reg { when: When::Sub(code), .. } => *code != mnemonic.sub,
            _ => mnemonic.alias.is_some_and(|alias| alias.fixes(operand)),
        });
        if !absent {
            written.push(text);
        }
    }
    if written.is_empty() { name.to_string() } else { format!("{name} {}", written.join(", ")) }
}

/// Format slots that an alias checks in a statement of the row, with the formats allowed there.
pub fn alias_slots(row: &Row, alias: &Alias, statement: &str) -> Vec<(String, &'static [&'static str])> {
    let is_slot = |word: &&str| matches!(RegClass::parse(word), Some((RegClass::F, _)));
    let fields = row.operands.iter().filter_map(|operand| match *operand {
        Operand::Reg { class: RegClass::F, field, .. } => Some(field),
        _ => None,
    });
    let slots = statement.split([' ', ',']).filter(is_slot).zip(fields).map(|(slot, field)| {
        let allowed = match field {
            Field::Fd => alias.fd,
            Field::Fa => alias.fa,
            _ => alias.fb,
        };
        (slot.to_string(), allowed)
    });
    slots.filter(|(_, allowed)| !allowed.is_empty()).collect()
}

/// The line that binds those slots to the first format that is allowed; empty if there are none.
pub fn alias_setup(row: &Row, alias: &Alias, statement: &str) -> String {
    let slots = alias_slots(row, alias, statement);
    let bound: Vec<String> = slots.iter().map(|(slot, allowed)| format!("{slot}={}", allowed[0])).collect();
    if bound.is_empty() { String::new() } else { format!(".fmt {}", bound.join(", ")) }
}

/// Every operand of a row: as forms show it, and what it is.
pub fn operands(row: &Row) -> Vec<(String, String)> {
    row.operands.iter().map(|operand| (show(operand), explain(operand))).collect()
}

fn explain(operand: &Operand) -> String {
    let at = |field: Field| field.name();
    match *operand {
        Operand::Reg { class, field, when } => {
            let when = match when {
                When::Always => "",
                When::Sub(_) => "; with some of the mnemonics only",
                When::Given => "; may be left out: register 0",
            };
            format!("{}, in {}{when}", class.title(), at(field))
        }
        Operand::RegOrImm { field } => {
            format!("scalar register in {}, or a signed 32-bit number in imm with bit 8 of sub set", at(field))
        }
        Operand::Imm => "signed number, in imm".to_string(),
        Operand::Bits => "32 bits, written signed or unsigned, in imm".to_string(),
        Operand::Num { field, lo, hi } => format!("number from {lo} to {hi}, in {}", at(field)),
        Operand::Label => "code label: words from here, in imm".to_string(),
        Operand::Fmt => "name of a format: a row of the object's format table, in imm".to_string(),
        Operand::Base { field } => format!("address: scalar register in {} plus a signed number in imm", at(field)),
        Operand::Mem { rows, steps } => {
            let step = if steps {
                "; then xa += bytes moved (`+`) or xa += xb (`+xb`), bits 0-1 of mode"
            } else {
                "; then xa += bytes moved (`+`), bits 0-1 of mode"
            };
            let rows = if rows { "; `rows xc`: bytes from one row to the next, bit 2 of mode" } else { "" };
            format!("memory: scalar register in rs1 plus a signed number in imm{step}{rows}")
        }
        Operand::Tile { field } => {
            format!("tile in {}, and the row that the register in rs3 numbers (x0: row 0)", at(field))
        }
        Operand::Enum { field, .. } => format!("one of these names, by its place, in {}", at(field)),
        Operand::Choice { field, .. } => {
            format!("one of these names, by its place, in {}; the first if left out", at(field))
        }
        Operand::Segment => "elements of a segment, 1 to 2047, in imm; left out: one segment".to_string(),
        Operand::Flag { bit, .. } => format!("bit {bit} of mode"),
        Operand::Mask => {
            "mask register in pm (left out: all ones); `.z` in pz: masked work is not done either".to_string()
        }
    }
}

/// What a register class holds.
pub fn meaning(class: RegClass) -> &'static str {
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

/// The formats that an alias checks and the fields that it fixes.
pub fn restrictions(alias: &Alias) -> String {
    let all = [("fa", alias.fa), ("fb", alias.fb), ("fd", alias.fd)];
    let given = all.iter().filter(|(_, list)| !list.is_empty());
    let formats = given.map(|(slot, list)| format!("{slot} = {}", list.join(" or ")));
    let fixed = alias.fixed.iter().map(|(field, value)| match field {
        Field::Imm => format!("imm = {value:#04x}"),
        _ => format!("{} = {value}", field.name()),
    });
    formats.chain(fixed).collect::<Vec<_>>().join(", ")
}

/// The word, high bits first: highest and lowest bit, field, what the row keeps there.
pub fn bits(row: &Row) -> Vec<(u32, u32, &'static str, String)> {
    let fields = Field::ALL.into_iter().filter_map(|field| Some((field.bits(row.form)?, field)));
    let mut all: Vec<(u32, u32, &'static str, String)> =
        fields.map(|((at, width), field)| (at + width - 1, at, field.name(), holds(row, field))).collect();
    all.push((7, 0, "op", format!("{:#04x}", row.code)));
    all.sort_by_key(|(high, ..)| std::cmp::Reverse(*high));
    all
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
pub fn pseudo() -> Vec<(String, String)> {
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
    use crate::isa::table::ROWS;

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
    fn every_name_has_an_example_that_assembles_to_it() {
        for (name, mnemonic) in mnemonics() {
            let (row, statement) = (mnemonic.op.row(), example(name, mnemonic));
            let mut text = format!("{}{}\n", crate::isa::table::EXAMPLES, row.setup);
            if let Some(alias) = mnemonic.alias {
                text += &format!("{}\n", alias_setup(row, alias, &statement));
            }
            text += &format!("loop x5, target\n{statement}\ntarget: endl\n");
            let object = assemble(&Sources::single("example", &*text), &Options::default());
            let object = object.unwrap_or_else(|errors| panic!("{name}: {text}\n{errors:?}"));
            let inst = crate::isa::decode(object.words[object.words.len() - 2]).unwrap();
            assert_eq!(inst.op, row.op, "{statement}");
            assert!(row.sub.is_none() || inst.sub_code() == mnemonic.sub, "{statement}");
            assert!(usage(name, mnemonic).starts_with(name.as_str()));
        }
    }

    #[test]
    fn every_alias_refuses_every_format_that_it_is_not_for_and_says_what_is_allowed() {
        let formats = crate::num::format::formats();
        for (name, mnemonic) in mnemonics() {
            let Some(alias) = mnemonic.alias else { continue };
            let statement = example(name, mnemonic);
            let (row, bound) = (mnemonic.op.row(), alias_setup(mnemonic.op.row(), alias, &statement));
            let slots = alias_slots(row, alias, &statement);
            let lists = [alias.fa, alias.fb, alias.fd].iter().filter(|list| !list.is_empty()).count();
            assert_eq!(slots.len(), lists, "{name}: every list of formats belongs to a slot of its example");
            for (slot, allowed) in &slots {
                for format in formats.iter().filter(|format| !allowed.contains(&&*format.name)) {
                    let text = format!("{bound}\n.fmt {slot}={}\n{statement}\n", format.name);
                    let errors = assemble(&Sources::single("alias", &*text), &Options::default()).unwrap_err();
                    let message = errors.iter().map(ToString::to_string).collect::<String>();
                    let named =
                        format!("`{name}` is for {} in {slot}, which holds {}", allowed.join(" or "), format.name);
                    assert!(message.contains(&named), "{text}{message}");
                }
            }
        }
    }

    #[test]
    fn names_of_pseudo_instructions_and_directives_are_explained() {
        assert!(other("RET").is_some_and(|text| text.contains("jalr x0, 0(x1)")));
        assert!(other(".equ").is_some() && other("nothing").is_none());
        assert!(others().iter().all(|name| other(name).is_some()));
    }
}
