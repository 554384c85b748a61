//! `preon formats`: number formats.

use super::out;
use crate::diag::Result;
use crate::num::format::{self, Element, Format, ScaleRule};
use crate::report::table;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Every format
    List,
    /// One format: its parameters, and the value of every code if it has few
    Show {
        /// Name
        format: String,
    },
}

/// Does it.
pub fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List => {
            let row = |f: &Format| vec![f.name.clone(), f.bits.to_string(), layout(f), number(f.max), f.doc.clone()];
            let rows: Vec<Vec<String>> = format::formats().into_iter().map(row).collect();
            out::data(&table::render(&["format", "bits", "layout", "largest", ""], &rows, &[1, 3]))
        }
        Verb::Show { format } => out::data(&show(format::find(format)?)),
    }
}

fn layout(f: &Format) -> String {
    match &f.element {
        Element::Float { exp, man, .. } => format!("e{exp}m{man}"),
        Element::Int => "two's complement".into(),
        Element::Codebook { levels } => format!("{} levels", levels.len()),
        Element::Real { values } => format!("{} values", values.len()),
    }
}

/// A value as short as its digits allow.
fn number(value: f32) -> String {
    let text = value.to_string();
    if text.len() > 12 { format!("{value:e}") } else { text }
}

fn show(f: &Format) -> String {
    let rule = match f.rule {
        ScaleRule::Cast => "none, a plain cast",
        ScaleRule::Absmax => "largest magnitude to largest level",
        ScaleRule::Absmean => "mean magnitude to one",
    };
    let mut text = format!("{}  {}\n\nbits     {}\nlayout   {}\n", f.name, f.doc, f.bits, layout(f));
    if let Element::Float { bias, specials, .. } = &f.element {
        text += &format!("bias     {bias}\nspecials {}\n", format!("{specials:?}").to_lowercase());
    }
    text += &format!("largest  {}\nscaling  {rule}\nsource   {}\n", number(f.max), f.source);
    if f.trained_only {
        text += "note     meant for models trained in this format\n";
    }
    if !f.values.is_empty() && f.values.len() <= 256 {
        text += "\ncode     value\n";
        let width = f.bits as usize;
        for (code, bits) in f.values.iter().enumerate() {
            text += &format!("{:<8} {}\n", format!("{code:0width$b}"), number(f32::from_bits(*bits)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_can_be_shown() {
        for format in format::formats() {
            let text = show(format);
            assert!(text.contains(&format.name) && text.contains("source"), "{text}");
            assert_eq!(text.contains("\ncode"), format.bits <= 8, "{text}");
        }
    }
}
