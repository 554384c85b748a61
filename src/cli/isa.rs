//! `preon isa`: the instruction set as a reference card.

use super::out;
use crate::diag::{Error, Result, did_you_mean};
use crate::isa::manual;
use crate::isa::table::mnemonics;
use crate::report::table;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Every instruction
    List,
    /// One instruction
    Show {
        /// Mnemonic
        instruction: String,
    },
}

/// Does it.
pub fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List => {
            let rows: Vec<Vec<String>> = manual::list().into_iter().map(|(name, form)| vec![name, form]).collect();
            out::data(&table::render(&["instruction", "form"], &rows, &[]))
        }
        Verb::Show { instruction } => out::data(&show(instruction)?),
    }
}

/// The card of one mnemonic.
fn show(name: &str) -> Result<String> {
    let wanted = name.to_lowercase();
    let Some(mnemonic) = mnemonics().get(&wanted) else {
        let error = Error::usage(format!("there is no instruction `{name}`"));
        return Err(match did_you_mean(&wanted, mnemonics().keys().map(String::as_str)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("`preon isa list` shows all"),
        });
    };
    let row = mnemonic.op.row();
    let mut text = format!("{}\n\n{}\n\n", manual::usage(&wanted, mnemonic), row.semantics);
    text += &format!("unit    {}\nopcode  {:#04x}, {:?} form\n", row.unit.title(), row.code, row.form);
    match mnemonic.alias {
        Some(alias) => {
            let slots = [("a", alias.fa), ("b", alias.fb), ("d", alias.fd)];
            let formats = slots.iter().filter(|(_, names)| !names.is_empty());
            let formats: Vec<String> = formats.map(|(slot, names)| format!("{slot}: {}", names.join(" or "))).collect();
            text += &format!("alias   of {}, checks formats {}\n", row.name, formats.join("; "));
        }
        None if !row.aliases.is_empty() => {
            let names: Vec<&str> = row.aliases.iter().map(|alias| alias.name).collect();
            text += &format!("aliases {}\n", names.join(" "));
        }
        None => {}
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mnemonic_has_a_card() {
        for name in mnemonics().keys() {
            let card = show(name).unwrap();
            assert!(card.contains(name.as_str()) && card.contains("opcode"), "{card}");
        }
        assert!(show("mac.tren").unwrap_err().to_string().contains("mac.tern"));
    }
}
