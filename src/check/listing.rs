//! Listings: address, word, unit, text and source line of every instruction, with what each costs on a machine.
//!
//! A static cost is the number of cycles for which an instruction keeps its unit when it works on whole registers: the
//! issue for unit C, a full vector for L, E and S, a row of a tile for `fold`, a full array for `mm.w`. What the code alone
//! does not show (an unknown format, the depth of a tile product, a transfer's length) costs `?`. Waiting, overlap and the turns of loops are the business of
//! `preon exec`; the sums by label tell where to look.

use crate::diag::Result;
use crate::isa::disasm::{Line, annotated};
use crate::isa::{Object, Op, Unit};
use crate::machine::{Machine, Tile};
use crate::num::FormatRef;
use crate::num::format::find;
use std::fmt::Write as _;

/// The listing of a program; with a machine also the static cycles of every instruction, and their sums by label.
///
/// # Errors
/// Those of [`Object::verify`].
pub fn listing(object: &Object, machine: Option<&Machine>) -> Result<String> {
    let mut out = String::new();
    let mut sums: Vec<Sum> = Vec::new();
    for line in annotated(object)? {
        for name in &line.symbols {
            let _ = writeln!(out, "# {}", name.escape_debug());
        }
        if let Some(label) = &line.label {
            let _ = writeln!(out, "{label}:");
        }
        if sums.is_empty() || !line.symbols.is_empty() {
            let name = if line.symbols.is_empty() { "(start)".to_string() } else { line.symbols.join(", ") };
            sums.push(Sum { name, first: line.word, words: 0, cycles: 0, unknown: 0 });
        }
        let source =
            object.line(line.word).map_or(String::new(), |(file, at)| format!("# {}:{at}", file.escape_debug()));
        let unit = format!("{:?}", line.inst.op.unit());
        let mut cost = String::new();
        if let (Some(machine), Some(sum)) = (machine, sums.last_mut()) {
            let cycles = cycles(machine, object, &line);
            sum.words += 1;
            sum.cycles += cycles.unwrap_or(0);
            sum.unknown += u32::from(cycles.is_none());
            cost = format!(" {:>6}", cycles.map_or("?".to_string(), |cycles| cycles.to_string()));
        }
        let word = object.words[line.word as usize];
        let _ = writeln!(out, "{:6}  {word:016x}  {unit}{cost}  {:<44}{source}", line.word, line.text);
    }
    if let Some(machine) = machine {
        let _ = write!(out, "\nstatic cycles on {}, whole registers, no waiting\n{}", machine.name, table(&sums));
    }
    Ok(out)
}

/// The instructions from one label to the next.
struct Sum {
    name: String,
    first: u32,
    words: u32,
    cycles: u64,
    unknown: u32,
}

fn table(sums: &[Sum]) -> String {
    let mut out = String::from("  word  words  cycles  label\n");
    for sum in sums {
        let unknown = if sum.unknown > 0 { format!(" and {} unknown", sum.unknown) } else { String::new() };
        let _ =
            writeln!(out, "{:6}  {:5}  {:6}  {}{unknown}", sum.first, sum.words, sum.cycles, sum.name.escape_debug());
    }
    out
}

/// Static cycles of one instruction, if the code shows enough.
fn cycles(machine: &Machine, object: &Object, line: &Line) -> Option<u64> {
    let inst = &line.inst;
    let name = inst.op.row().name;
    let held = |slot: u8| -> Option<FormatRef> { find(object.formats.get(usize::from(line.slots.get(slot)?))?).ok() };
    let (register_bits, columns) = (u64::from(machine.vlen_bits), u64::from(machine.acc_cols));
    match inst.op.unit() {
        Unit::C if matches!(inst.op, Op::Endl | Op::Node) => Some(0),
        Unit::C => Some(1),
        Unit::D => None,
        Unit::L => match name {
            "ec.open" | "ld.ec" => None,
            "ld.c" | "st.c" => Some(machine.load_cycles(4 * columns)),
            "ld.s" | "st.s" => Some(machine.load_cycles(4 * u64::from(machine.scale_entries()))),
            _ => Some(machine.load_cycles(register_bits / 8)),
        },
        Unit::S if name == "mac" => {
            let (weights, inputs) = (held(inst.fa)?, held(inst.fb)?);
            let bits = u64::from(weights.container_bits.max(inputs.container_bits));
            machine.vector_serves(weights, inputs).then(|| machine.mac_cycles(register_bits / bits, weights, inputs))
        }
        Unit::S => Some(machine.fold_cycles(columns)),
        Unit::E => {
            let special = matches!(name, "sfu" | "act" | "rope" | "sc.gen")
                || line.text.starts_with("divv")
                || line.text.starts_with("act.");
            let bitwise = matches!(name, "bit" | "rot") || line.text.contains(", pop");
            let elements = if bitwise || name == "sc.gen" { register_bits } else { register_bits / 32 };
            let elements = if bitwise { elements.div_ceil(32) } else { elements };
            Some(machine.elementwise_cycles(elements, special))
        }
        Unit::M => {
            // What a product costs is decided by the weights that an earlier mm.w loaded.
            let array = machine.array.as_ref().filter(|_| name == "mm.w")?;
            Some(array.load(&Tile { tn: array.cols.into(), tk: array.rows.into(), ..Tile::default() }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::asm::{Options, Sources, assemble};

    const TEXT: &str = "\
    .fmt f1=ternary, f2=int8
    li x5, 3
more:
    ld.bp v1, 0(x6)+, f1
    mac.tern c0, v1, v2, f1, f2
    exp_all:
    sfu v3, v3, exp
    dma.ld t0, x1, x2, x3
    bnez x5, more
    halt
";

    fn shown(machine: Option<&str>) -> String {
        let object = assemble(&Sources::single("t.vasm", TEXT), &Options::default()).unwrap();
        let machine = machine.map(|name| crate::machine::load(name).unwrap());
        listing(&object, machine.as_ref()).unwrap()
    }

    #[test]
    fn a_listing_shows_unit_text_and_source() {
        let shown = shown(None);
        assert!(shown.contains("L  ld.bp   v1, 0(x6)+, f1") && shown.contains("# t.vasm:4"), "{shown}");
        assert!(!shown.contains("static cycles"));
    }

    #[test]
    fn costs_are_those_of_whole_registers_and_add_up_by_label() {
        let machine = crate::machine::load("edge").unwrap();
        let (weights, inputs) = (find("ternary").unwrap(), find("int8").unwrap());
        let load = machine.load_cycles(u64::from(machine.vlen_bits / 8));
        let mac = machine.mac_cycles(u64::from(machine.vlen_bits / 8), weights, inputs);
        let exp = machine.elementwise_cycles(u64::from(machine.vlen_bits / 32), true);
        let shown = shown(Some("edge"));
        let rows: Vec<Vec<&str>> =
            shown.split("label\n").nth(1).unwrap().lines().map(|line| line.split_whitespace().collect()).collect();
        let row = |n: usize| (rows[n][1].to_string(), rows[n][2].to_string(), rows[n][3..].join(" "));
        assert_eq!(row(0), ("3".into(), "3".into(), "(start)".into()));
        assert_eq!(row(1), ("2".into(), (load + mac).to_string(), "more".into()));
        assert_eq!(row(2), ("4".into(), (exp + 2).to_string(), "exp_all and 1 unknown".into()));
    }
}
