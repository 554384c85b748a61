//! The instruction manual, generated from the table: usage lines, cards, and docs/isa.md.

use super::table::{Field, Mnemonic, Operand, RegClass, When, mnemonics};

/// The form of an instruction: `mac cd[xc], va, vb, fa, fb[, pm[.z]]`.
pub fn usage(name: &str, mnemonic: &Mnemonic) -> String {
    let mut text = name.to_string();
    let mut gap = " ";
    for operand in mnemonic.op.row().operands {
        let shown = match operand {
            Operand::Reg { when: When::Sub(code), .. } if *code != mnemonic.sub => continue,
            _ => show(operand),
        };
        match operand {
            Operand::Reg { when: When::Given, .. } | Operand::Mask => text += &format!("[, {shown}]"),
            Operand::Flag { .. } => text += &format!(" [{shown}]"),
            _ => text += &format!("{gap}{shown}"),
        }
        gap = ", ";
    }
    text
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
        Operand::Mem { rows } => format!("imm(xa)[+[xb]]{}", if rows { "[ rows xc]" } else { "" }),
        Operand::Tile { field } => format!("{}[[xc]]", register(RegClass::C, field)),
        Operand::Enum { names, .. } => format!("{{{}}}", names.join("|")),
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

/// Every mnemonic with its form, in alphabetical order.
pub fn list() -> Vec<(String, String)> {
    mnemonics().iter().map(|(name, mnemonic)| (name.clone(), usage(name, mnemonic))).collect()
}
