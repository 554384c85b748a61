//! The TextMate grammar of the assembler's language, from the instruction table: editors/preon.tmLanguage.json.

use crate::isa::asm::DIRECTIVES;
use crate::isa::manual::pseudo;
use crate::isa::table::{Operand, ROWS, RegClass, Unit, mnemonics};
use crate::num::format::built_in;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The grammar as JSON text.
pub fn grammar() -> String {
    format!("{:#}\n", value())
}

fn value() -> Value {
    json!({
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "Preon assembly",
        "scopeName": "source.preon",
        "fileTypes": ["vasm"],
        "patterns": include(&["comments", "strings", "labels", "directives", "arguments", "instructions", "registers", "formats", "modes", "numbers"]),
        "repository": {
            "comments": { "patterns": [
                { "name": "comment.line.number-sign.preon", "match": "#.*$" },
                { "name": "comment.line.double-slash.preon", "match": "//.*$" },
                { "name": "comment.block.preon", "begin": "/\\*", "end": "\\*/" },
            ] },
            "strings": { "patterns": [
                { "name": "string.quoted.double.preon", "begin": "\"", "end": "\"" },
                { "name": "string.quoted.single.preon", "match": "'[^']'" },
            ] },
            "labels": { "patterns": [
                { "name": "entity.name.label.preon", "match": "(?:^|(?<=;))\\s*[A-Za-z_][\\w.$]*:" },
                { "name": "entity.name.label.preon", "match": "(?:^|(?<=;))\\s*[0-9]+:" },
                { "name": "variable.other.label.preon", "match": "\\b[0-9]+[bf]\\b" },
            ] },
            "arguments": { "patterns": [{ "name": "variable.parameter.preon", "match": "\\\\(?:@|\\w+)" }] },
            "directives": { "patterns": [{
                "name": "keyword.control.directive.preon",
                "match": words(DIRECTIVES.iter().flat_map(|(_, form, _)| dotted(form))),
            }] },
            "instructions": { "patterns": instructions() },
            "registers": { "patterns": RegClass::ALL.map(register) },
            "formats": { "patterns": [{
                "name": "support.type.format.preon",
                "match": words(built_in()),
            }] },
            "modes": { "patterns": [
                { "name": "constant.language.mode.preon", "match": words(modes()) },
                { "name": "storage.modifier.preon", "match": flags() },
            ] },
            "numbers": { "patterns": [
                { "name": "constant.numeric.hex.preon", "match": "(?i)\\b0x[0-9a-f_]+\\b" },
                { "name": "constant.numeric.octal.preon", "match": "(?i)\\b0o[0-7_]+\\b" },
                { "name": "constant.numeric.binary.preon", "match": "(?i)\\b0b[01_]+\\b" },
                { "name": "constant.numeric.decimal.preon", "match": "\\b[0-9][0-9_]*(?:\\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\\b" },
            ] },
        },
    })
}

fn include(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({ "include": format!("#{name}") })).collect()
}

/// A pattern that matches any of the words, whatever their case, and nothing that goes on.
fn words(names: impl IntoIterator<Item = String>) -> String {
    let names: BTreeSet<String> = names.into_iter().collect();
    let mut names: Vec<String> = names.into_iter().map(|name| name.replace('.', "\\.").replace('-', "\\-")).collect();
    // The longest first: `mac.tern` before `mac`.
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    format!("(?i)(?<![\\w.])(?:{})(?![\\w.])", names.join("|"))
}

/// The directives that a form writes: `.macro NAME .. .endm` has two.
fn dotted(form: &str) -> Vec<String> {
    let words = form.split([' ', '[', ']', ',']);
    words.filter(|word| word.len() > 1 && word.starts_with('.') && !word.starts_with("..")).map(String::from).collect()
}

fn instructions() -> Vec<Value> {
    let units = [Unit::C, Unit::L, Unit::S, Unit::E, Unit::M, Unit::D];
    let mut all: Vec<Value> = Vec::new();
    let rule = |scope: String, names: Vec<String>| json!({ "name": scope, "match": words(names) });
    let named = |keep: &dyn Fn(&crate::isa::table::Mnemonic) -> bool| -> Vec<String> {
        mnemonics().iter().filter(|(_, mnemonic)| keep(mnemonic)).map(|(name, _)| name.clone()).collect()
    };
    all.push(rule("support.function.alias.preon".into(), named(&|mnemonic| mnemonic.alias.is_some())));
    for unit in units {
        let names = named(&|mnemonic| mnemonic.alias.is_none() && mnemonic.op.unit() == unit);
        let title = unit.title().replace([' ', '/'], "-").to_lowercase();
        all.push(rule(format!("keyword.operator.{title}.preon"), names));
    }
    let pseudo = pseudo().iter().filter_map(|(form, _)| form.split(' ').next().map(String::from)).collect();
    all.push(rule("support.function.pseudo.preon".into(), pseudo));
    all
}

/// Registers of a class, up to its last one.
fn register(class: RegClass) -> Value {
    let (letter, last) = (class.letter(), class.count() - 1);
    let numbers = match last {
        31 => "(?:[12]?[0-9]|3[01])".to_string(),
        15 => "(?:[0-9]|1[0-5])".to_string(),
        last => format!("[0-{last}]"),
    };
    let name = class.title().replace(' ', "-").to_lowercase();
    json!({ "name": format!("variable.language.{name}.preon"), "match": format!("(?i)\\b{letter}{numbers}\\b") })
}

/// Names that operands take.
fn modes() -> Vec<String> {
    let mut all: Vec<String> = vec!["rows".into(), "seg".into()];
    for operand in ROWS.iter().flat_map(|row| row.operands) {
        if let Operand::Enum { names, .. } | Operand::Choice { names, .. } = operand {
            all.extend(names.iter().map(ToString::to_string));
        }
    }
    all
}

fn flags() -> String {
    let flags = ROWS.iter().flat_map(|row| row.operands).filter_map(|operand| match operand {
        Operand::Flag { name, .. } => Some(name.replace('.', "\\.")),
        _ => None,
    });
    let all: BTreeSet<String> = flags.chain(["\\.z".to_string()]).collect();
    format!("(?:{})\\b", all.into_iter().collect::<Vec<_>>().join("|"))
}
