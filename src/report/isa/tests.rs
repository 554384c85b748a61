//! The manual is whole: every instruction has everything, and what is committed is what the table makes.

use super::card::{narrowed, of_row};
use super::*;
use crate::exec::{Config, Event, Mode, Status, Vm};
use crate::isa::arbitrary::one_of_each;
use crate::isa::asm::{DIRECTIVES, Options, Sources, assemble};
use crate::isa::table::{Mnemonic, ROWS, RegClass, Row, mnemonics};
use crate::isa::{Object, Op, Unit, decode, manual};
use crate::machine;
use std::collections::BTreeSet;

/// Compares a generated text with its committed file, or writes the file if PREON_BLESS is set.
fn committed(path: &str, made: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("PREON_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    let line = kept.lines().zip(made.lines()).position(|(a, b)| a != b).map(|line| line + 1);
    let name = path.display();
    assert!(kept == made, "{name} is stale (line {line:?}): run PREON_BLESS=1 cargo test --lib isa::");
}

#[test]
fn the_committed_manual_is_the_generated_one() {
    committed("docs/isa.md", &manual().unwrap());
}

#[test]
fn the_committed_grammar_is_the_generated_one() {
    committed("editors/preon.tmLanguage.json", &grammar::grammar());
}

#[test]
fn every_instruction_has_everything() {
    let book = manual().unwrap();
    for row in ROWS {
        let name = row.name;
        // Semantics: its case in exec runs it. Timing: sim's test finds a user of every result. Both walk this table.
        assert!(crate::exec::tests::rows::has_case(row.op), "`{name}` has no case in exec/tests/rows.rs");
        let card = card(name).unwrap();
        let start = book.find(&format!("\n### {name}\n")).unwrap_or_else(|| panic!("`{name}` has no manual entry"));
        let entry = &book[start..];
        let entry = &entry[..entry[1..].find("\n### ").map_or(entry.len(), |at| at + 1)];
        for part in [row.pseudo, row.example, "- Traps: ", "- Time: ", "bits ", "\nholds"] {
            assert!(entry.contains(part), "the entry of `{name}` lacks `{part}`");
        }
        assert_eq!(card.operands.len(), row.operands.len(), "`{name}`");
        assert!(card.operands.iter().all(|operand| !operand.what.is_empty() && !operand.written.is_empty()));
        assert_eq!(card.costs.len(), machine::general().len(), "`{name}`");
        for cost in &card.costs {
            assert_eq!(cost.unserved, None, "`{name}` on {}", cost.machine);
            assert!(row.unit == Unit::C || cost.ready_cycles > 0, "`{name}` takes no time");
        }
        // The fields of the word follow one another without gap or overlap.
        let bits: Vec<u32> = card.encoding.iter().flat_map(|field| (field.low..=field.high).rev()).collect();
        assert_eq!(bits, (0..64).rev().collect::<Vec<_>>(), "`{name}`");
        assert!(round_trips(row.op), "`{name}`: a word decodes to another instruction");
    }
}

/// Words of an instruction with other operands come back as they were.
fn round_trips(op: Op) -> bool {
    (0..8).all(|seed| {
        let inst = one_of_each(seed)[op as usize];
        decode(inst.encode()) == Ok(inst)
    })
}

#[test]
fn cards_know_their_names() {
    for row in ROWS {
        let whole = of_row(row).unwrap();
        let mine = mnemonics().iter().filter(|(_, mnemonic)| mnemonic.op == row.op);
        let cards = mine.map(|(name, mnemonic): (&String, &Mnemonic)| narrowed(name, mnemonic, whole.clone()));
        for card in cards.chain([whole.clone()]) {
            let text = text(&card);
            assert!(text.contains(&card.example) && text.contains(&card.forms[0]), "{text}");
            assert!(text.lines().all(|line| line.trim_end() == line) && text.contains("opcode"), "{text}");
            assert_eq!(serde_json::to_value(&card).unwrap()["name"], *card.name);
        }
    }
    assert_eq!(card("MAC.Tern").unwrap().name, "mac.tern");
    assert_eq!(card("mac.triplet").unwrap().alias.unwrap(), "mac with fa = triplet");
    assert_eq!(card("sc.and").unwrap().example, "sc.and v1, v2, v3");
    assert!(card("mac.tren").unwrap_err().to_string().contains("there is no instruction `mac.tren`"));
    assert!(card("mac.tren").unwrap_err().render(false).contains("did you mean `mac.tern`"));
    assert!(mnemonics().values().all(|mnemonic| !summary(mnemonic).is_empty()));
}

/// Whatever random words trap with, the manual says so.
#[test]
fn every_trap_that_happens_is_documented() {
    let config = Config { fuel: Some(100_000), ..Config::of(&machine::load("edge").unwrap()) };
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for row in ROWS {
        let object = example_object(row);
        let at = row.example_word(object.symbol("target").unwrap());
        for seed in 0..8u64 {
            let mode = if seed % 2 == 0 { Mode::Functional } else { Mode::TimingOnly };
            let mut changed = object.clone();
            changed.words[at as usize] = one_of_each(seed)[row.op as usize].encode();
            if let Some(kind) = trap_of(Vm::new(changed, config.clone(), mode).unwrap(), at) {
                seen.insert((row.name, kind));
            }
        }
    }
    assert!(seen.len() > 40, "the words are too tame: {seen:?}");
    for (name, kind) in seen {
        let traps = manual::traps(ROWS.iter().find(|row| row.name == name).unwrap());
        let always = ["ILL", "FUEL"].contains(&kind);
        assert!(always || traps.contains(&kind), "`{name}` trapped {kind}; its entry says {traps:?}");
    }
}

fn example_object(row: &Row) -> Object {
    assemble(&Sources::single("example", row.example_program()), &Options::default()).unwrap()
}

/// The kind of the trap of word `at`, if it traps when it is reached.
fn trap_of(mut vm: Vm, at: u32) -> Option<&'static str> {
    let mut event = Event::new();
    loop {
        let pc = vm.pc();
        match vm.step(&mut event) {
            Err(trap) => return (pc == at).then(|| trap.kind().name()),
            Ok(Status::Running) if pc != at => {}
            Ok(_) => return None,
        }
    }
}

#[test]
fn the_grammar_covers_the_language() {
    let value: serde_json::Value = serde_json::from_str(&grammar::grammar()).unwrap();
    assert_eq!(value["scopeName"], "source.preon");
    let rules = |group: &str| -> Vec<String> {
        let patterns = value["repository"][group]["patterns"].as_array().unwrap().iter();
        patterns.filter_map(|rule| Some(rule["match"].as_str()?.to_string())).collect()
    };
    let covered = |group: &str, name: &str| {
        let escaped = name.replace('.', "\\.").replace('-', "\\-");
        let listed = |rule: &String| rule.split(['(', ')', '|', ':']).any(|word| word == escaped);
        rules(group).iter().filter(|rule| listed(rule)).count() == 1
    };
    for name in mnemonics().keys() {
        assert!(covered("instructions", name), "`{name}`");
    }
    for (form, _) in manual::pseudo() {
        assert!(covered("instructions", form.split(' ').next().unwrap()), "`{form}`");
    }
    for (name, ..) in DIRECTIVES {
        assert!(covered("directives", name), "`{name}`");
    }
    for class in RegClass::ALL {
        let start = format!("(?i)\\b{}", class.letter());
        assert_eq!(rules("registers").iter().filter(|rule| rule.starts_with(&start)).count(), 1, "{}", class.letter());
    }
    for format in crate::num::format::formats().iter().filter(|format| format.name == "ternary") {
        assert!(covered("formats", &format.name));
    }
    let groups = value["patterns"].as_array().unwrap().iter().map(|rule| rule["include"].as_str().unwrap());
    let groups: BTreeSet<String> = groups.map(|group| group.trim_start_matches('#').to_string()).collect();
    assert_eq!(groups, value["repository"].as_object().unwrap().keys().cloned().collect());
}
