//! `preon formats`: number formats.

mod block;
mod colour;
mod gguf;
mod matrix;
mod named;
mod sqnr;
mod stream;

use super::{out, pictures};
use crate::diag::{Error, Result};
use crate::num::format::{self, Element, Format, ScaleRule};
use crate::num::{Rounding, decode, encode, value};
use crate::report::{charts, table};
use named::Named;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Every format
    List,
    /// One format: its parameters, and the value of every code if it has few
    Show {
        /// Name
        format: String,
        /// One value instead: its code, the neighbours of that, and the error
        #[arg(long, value_name = "X", allow_hyphen_values = true)]
        value: Option<f32>,
        #[command(flatten)]
        pictures: pictures::Pictures,
    },
    /// Weight formats by activation formats: every pair run on both backends and compared, or refused with the reason
    Matrix(matrix::Args),
    /// Round the f32 values on stdin to a format; f32 values on stdout
    Round {
        /// Name
        format: String,
        #[command(flatten)]
        rounding: stream::RoundingArgs,
        #[command(flatten)]
        shape: block::ShapeArgs,
    },
    /// Encode the f32 values on stdin; codes on stdout, a byte each up to 8 bits, two up to 16, else four
    Encode {
        /// Name
        format: String,
        #[command(flatten)]
        rounding: stream::RoundingArgs,
        #[command(flatten)]
        shape: block::ShapeArgs,
        /// Leave no gaps between codes, first element in the low bits; with --cols every row starts on a byte
        #[arg(long)]
        packed: bool,
    },
    /// Decode the codes on stdin; f32 values on stdout
    Decode {
        /// Name
        format: String,
        #[command(flatten)]
        shape: block::ShapeArgs,
        /// Leave no gaps between codes, first element in the low bits; with --cols every row starts on a byte
        #[arg(long)]
        packed: bool,
        /// Elements to decode (packed bytes may hold padding); all without it
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}

/// Does it.
pub fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List => {
            let row = |f: &Format| vec![f.name.clone(), f.bits.to_string(), layout(f), number(f.max), f.doc.clone()];
            let mut rows: Vec<Vec<String>> = format::formats().into_iter().map(row).collect();
            rows.extend(named::composites()?);
            out::data(&table::render(&["format", "bits", "layout", "largest", ""], &rows, &[1, 3]))
        }
        Verb::Show { format, value: None, pictures } if named::about(format)?.is_some() => match pictures.wanted() {
            true => Err(Error::unsupported(format!(
                "{format} has no grid of its own: its levels follow each block's scale"
            ))
            .help("draw the grid of its element format")),
            false => out::data(&(named::about(format)?.unwrap_or_default() + &sqnr::composite(format)?)),
        },
        Verb::Show { format, value: None, pictures } => {
            let format = format::find(format)?;
            let chart = charts::grid::chart(format);
            if chart.is_none() && pictures.wanted() {
                let text = format!("{} has too many values to draw: more than 16 bits a code", format.name);
                return Err(Error::unsupported(text));
            }
            pictures.save(chart.as_slice(), &[])?;
            let signed = format.sorted.first().is_none_or(|code| value(format, *code) < 0.0);
            let noise = if signed { sqnr::table(format)? } else { String::new() };
            out::data(&(show(format) + &charts::grid::text(format) + &noise))
        }
        Verb::Show { format, value: Some(x), .. } => out::data(&show_value(format::find(format)?, *x)),
        Verb::Matrix(args) => matrix::run(args),
        Verb::Round { .. } | Verb::Encode { .. } | Verb::Decode { .. } => {
            let mut sink = stream::Sink::default();
            streamed(verb, &mut sink)?;
            sink.finish()
        }
    }
}

/// The three verbs of streams.
fn streamed(verb: &Verb, sink: &mut stream::Sink) -> Result<()> {
    let (Verb::Round { format, shape, .. } | Verb::Encode { format, shape, .. } | Verb::Decode { format, shape, .. }) =
        verb
    else {
        return Ok(());
    };
    let named = Named::find(format)?;
    match &named {
        Named::Block(_) => {}
        Named::Colour(_) => shape.without_blocks(format, true)?,
        Named::Element(_) | Named::Fp64 | Named::Gguf(_) => shape.without_blocks(format, false)?,
    }
    match verb {
        Verb::Round { rounding, .. } => match named {
            Named::Element(format) => stream::round(format, rounding, shape.cols, sink),
            Named::Block(format) => block::round(&format, rounding, shape, sink),
            Named::Colour(planes) => colour::round(planes, rounding, shape, sink),
            Named::Fp64 => stream::round(format::find("fp32")?, rounding, shape.cols, sink),
            Named::Gguf(container) => gguf::round(&container, rounding, shape, sink),
        },
        Verb::Encode { rounding, packed, .. } => match named {
            Named::Element(format) => stream::encode(format, rounding, shape.cols, *packed, sink),
            Named::Block(format) => block::encode(&format, rounding, shape, *packed, sink),
            Named::Colour(planes) => colour::encode(planes, rounding, shape, *packed, sink),
            Named::Fp64 => Err(named::no_codes()),
            Named::Gguf(container) => gguf::encode(&container, rounding, shape, sink),
        },
        Verb::Decode { packed, count, .. } => match named {
            Named::Element(format) => stream::decode(format, shape.cols, *packed, *count, sink),
            Named::Block(format) => block::decode(&format, shape, *packed, *count, sink),
            Named::Colour(planes) => colour::decode(planes, shape, *packed, *count, sink),
            Named::Fp64 => Err(named::no_codes()),
            Named::Gguf(container) => gguf::decode(&container, *count, sink),
        },
        _ => Ok(()),
    }
}

fn layout(f: &Format) -> String {
    match &f.element {
        Element::Float { exp, man, .. } => format!("e{exp}m{man}"),
        Element::Int => "two's complement".into(),
        Element::Codebook { levels } => format!("{} levels", levels.len()),
        Element::Real { values } => format!("{} values", values.len()),
        Element::Squares => "two bf16 roots".into(),
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

/// Code of one value by the format's plain cast, the values beside it, and what is lost.
fn show_value(f: &Format, x: f32) -> String {
    let code = |mode| encode(f, x.to_bits(), mode, f.saturate);
    let nearest = code(Rounding::NearestEven);
    let y = value(f, nearest);
    let digits = f.bits as usize;
    let at = |code: u32| format!("{:<12} {code:0digits$b}", number(f32::from_bits(decode(f, code))));
    let error = f64::from(y) - f64::from(x);
    let mut text = format!("{} of {}\n\n", f.name, number(x));
    text += &format!(
        "rounded  {}\nbelow    {}\nabove    {}\n",
        at(nearest),
        at(code(Rounding::Down)),
        at(code(Rounding::Up))
    );
    text += &format!("error    {error:.6e}");
    if x != 0.0 && error.is_finite() {
        text += &format!(", {:.4} %", 100.0 * error / f64::from(x).abs());
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_shown_with_its_neighbours() {
        let text = show_value(format::find("fp8e4m3").expect("a row"), 3.3);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "rounded  3.25         01000101");
        assert_eq!(lines[4], "above    3.5          01000110");
        assert!(lines[5].starts_with("error    -4.99999") && lines[5].ends_with(", -1.5152 %"), "{text}");
    }

    #[test]
    fn every_format_can_be_shown() {
        for format in format::formats() {
            let text = show(format);
            assert!(text.contains(&format.name) && text.contains("source"), "{text}");
            assert_eq!(text.contains("\ncode"), format.bits <= 8, "{text}");
        }
    }
}
