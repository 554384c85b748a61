//! What a name stands for: an element format, or a composite that streams serve but no row of the table describes.

use crate::diag::{Error, Result};
use crate::num::block::{BlockFormat, BlockScale};
use crate::num::gguf::{Container, containers};
use crate::num::{FormatRef, colour, format};

/// What a name of a stream stands for.
pub enum Named {
    /// A row of the table.
    Element(FormatRef),
    /// MX or NVFP4.
    Block(BlockFormat),
    /// So many sign planes.
    Colour(usize),
    /// A block type of GGUF.
    Gguf(Container),
    /// Double precision: the arithmetic of the reference.
    Fp64,
}

impl Named {
    /// Looks a name up.
    ///
    /// # Errors
    /// As [`format::find`].
    pub fn find(name: &str) -> Result<Named> {
        if name == "fp64" {
            return Ok(Named::Fp64);
        }
        if let Some(planes) = colour::planes(name) {
            return Ok(Named::Colour(planes));
        }
        if let Some(block) = BlockFormat::find(name)? {
            return Ok(Named::Block(block));
        }
        if let Some(container) = Container::find(name)? {
            return Ok(Named::Gguf(container));
        }
        format::find(name).map(Named::Element)
    }
}

/// Why fp64 has no codes.
pub fn no_codes() -> Error {
    Error::unsupported("fp64 is the reference's own arithmetic: it has no codes of 32 bits or fewer")
        .help("`formats round fp64` gives f32 values back as they are; encode to fp32 instead")
}

/// Names of the composites, in the order of the list.
fn names() -> Result<Vec<String>> {
    let mut names: Vec<String> = vec!["fp64".into()];
    names.extend(BlockFormat::all()?.iter().map(|block| block.name.to_string()));
    names.extend(["colour2", "colour3", "colour4"].map(String::from));
    names.extend(containers()?.iter().map(|container| container.name.to_string()));
    Ok(names)
}

/// Rows of `formats list` for the composites: name, bits an element, layout, largest element, sentence.
///
/// # Errors
/// As [`Named::find`].
pub fn composites() -> Result<Vec<Vec<String>>> {
    let row =
        |name: String| Ok(describe(&name)?.map(|[bits, layout, largest, doc]| vec![name, bits, layout, largest, doc]));
    names()?.into_iter().filter_map(|name| row(name).transpose()).collect()
}

/// What `formats show` says of a composite; `None` of an element format.
///
/// # Errors
/// As [`Named::find`].
pub fn about(name: &str) -> Result<Option<String>> {
    Ok(describe(name)?.map(|[bits, layout, largest, doc]| {
        let largest = if largest.is_empty() { "as the scale has it".into() } else { largest };
        format!(
            "{name}  {doc}\n\nbits     {bits} an element, scales included\nlayout   {layout}\nlargest  {largest}\n\
             source   docs/numerics.md, section {}\n",
            match name {
                "fp64" => "1",
                _ if name.starts_with("gguf") => "2.6",
                _ if name.starts_with("colour") => "2.7",
                _ => "2.4",
            }
        )
    }))
}

/// Bits an element, layout, largest element and a sentence.
fn describe(name: &str) -> Result<Option<[String; 4]>> {
    let row = match Named::find(name) {
        Ok(Named::Fp64) => [
            "64".into(),
            "IEEE binary64".into(),
            format!("{:e}", f64::MAX),
            "Double precision, the arithmetic of the reference; no tensor is stored in it".into(),
        ],
        Ok(Named::Block(block)) => {
            let (scale, doc) = match block.scale {
                BlockScale::Power => ("e8m0", "a power of two for 32 elements of a row"),
                BlockScale::TwoLevel => ("fp8e4m3", "a scale for 16 elements or 16 x 16, one f32 scale a tensor"),
            };
            let bits = f64::from(block.element.bits) + 8.0 / block.default_block() as f64;
            let largest = f64::from(block.element.max) * 2f64.powi(block.unit);
            let layout = format!("{} under {scale}", block.element.name);
            [bits.to_string(), layout, format!("{largest} * scale"), format!("Block format: {doc}")]
        }
        Ok(Named::Colour(planes)) => [
            planes.to_string(),
            format!("{planes} sign planes"),
            String::new(),
            format!("Sum of {planes} sign planes, each with an f32 scale a row, fitted greedily"),
        ],
        Ok(Named::Gguf(container)) => [
            (8.0 * container.bytes as f64 / container.elements as f64).to_string(),
            format!("{} bytes for {}", container.bytes, container.elements),
            String::new(),
            format!("Container of GGUF: {}", container.doc),
        ],
        Ok(Named::Element(_)) | Err(_) => return Ok(None),
    };
    Ok(Some(row))
}
