//! `preon isa`: the instruction set as reference cards.

use super::{args::Shape, out};
use crate::diag::{Error, Result};
use crate::isa::manual;
use crate::isa::table::mnemonics;
use crate::report::{isa, table};
use serde_json::{Value, json};

/// Arguments of `isa`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The reference card of an instruction, alias, pseudo-instruction or directive; a list of all without it
    #[arg(value_name = "NAME")]
    instruction: Option<String>,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Shape,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Every instruction
    List,
    /// One instruction
    Show {
        /// Mnemonic
        instruction: String,
    },
}

/// Does it.
pub fn run(args: &Args) -> Result<()> {
    let name = match &args.verb {
        Some(Verb::List) => None,
        Some(Verb::Show { instruction }) => Some(instruction),
        None => args.instruction.as_ref(),
    };
    match (name, args.format) {
        (None, Shape::Table) => out::data(&list()),
        (None, Shape::Json) => out::data(&format!("{:#}\n", json!(rows()))),
        (Some(name), format) => out::data(&show(name, format)?),
    }
}

/// Every mnemonic in one line each.
fn list() -> String {
    let cell = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_string();
    let rows: Vec<Vec<String>> = rows()
        .iter()
        .map(|row| ["name", "unit", "form", "what"].iter().map(|key| cut(&cell(row, key), 64)).collect())
        .collect();
    table::render(&["instruction", "unit", "form", "what"], &rows, &[])
}

fn rows() -> Vec<Value> {
    let all = mnemonics().iter();
    all.map(|(name, mnemonic)| {
        json!({
            "name": name,
            "unit": format!("{:?}", mnemonic.op.unit()),
            "form": manual::usage(name, mnemonic),
            "what": isa::summary(mnemonic),
        })
    })
    .collect()
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_string() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

/// The card of one name.
fn show(name: &str, format: Shape) -> Result<String> {
    if let Some(text) = manual::other(name) {
        return Ok(match format {
            Shape::Table => text,
            Shape::Json => format!(
                "{:#}\n",
                json!({ "schema": "preon.instruction/1", "name": name.to_lowercase(), "text": text.trim() })
            ),
        });
    }
    let card = isa::card(name)?;
    match format {
        Shape::Table => Ok(isa::text(&card)),
        Shape::Json => serde_json::to_string_pretty(&card)
            .map(|text| text + "\n")
            .map_err(|error| Error::internal(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_cards_in_both_shapes() {
        for name in ["mac.triplet", "xnor.popc", "ld.bp", "jmp.mask", "fold", ".equ", "li", "beqz"] {
            assert!(show(&name.to_uppercase(), Shape::Table).unwrap().contains(name), "{name}");
            let value: Value = serde_json::from_str(&show(name, Shape::Json).unwrap()).unwrap();
            assert_eq!(value["name"], json!(name));
        }
        assert!(show("mac.tren", Shape::Table).unwrap_err().render(false).contains("mac.tern"));
        assert!(list().lines().count() == mnemonics().len() + 1);
    }
}
