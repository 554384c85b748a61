//! Reads and validates tables of format rows (`preon.formats/1`): the built-in one and users' own.
//!
//! Everything that follows from a row (unit, span, largest value, the value of every code) is derived here, once.

use super::codec;
use super::format::{Element, Format, ScaleRule, Specials};
use crate::diag::{Error, Result, did_you_mean};
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;

/// Schema of the tables that this version reads.
pub const SCHEMA: &str = "preon.formats/1";

/// A validated row and where its name stands.
pub(super) struct Row {
    pub format: Format,
    pub name_span: Range<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    schema: Spanned<String>,
    #[serde(default)]
    format: Vec<Spanned<RawRow>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    name: Spanned<String>,
    bits: Spanned<u32>,
    container: Option<Spanned<u32>>,
    element: Spanned<String>,
    exp: Option<Spanned<u32>>,
    man: Option<Spanned<u32>>,
    bias: Option<Spanned<i32>>,
    specials: Option<Spanned<String>>,
    unit: Option<Spanned<i32>>,
    levels: Option<Spanned<Vec<i64>>>,
    values: Option<Spanned<Vec<f64>>>,
    thresholds: Option<Spanned<Vec<f64>>>,
    steps: Option<Spanned<u32>>,
    signed: Option<Spanned<bool>>,
    zero: Option<Spanned<bool>>,
    nan: Option<Spanned<bool>>,
    rule: Spanned<String>,
    saturate: bool,
    #[serde(default)]
    trained_only: bool,
    doc: String,
    source: String,
}

/// Where an error belongs.
struct Text<'a> {
    path: &'a str,
    text: &'a str,
}

impl Text<'_> {
    fn error(&self, span: Range<usize>, message: impl Into<String>) -> Error {
        Error::bad_input(message).in_text(self.path, self.text, span)
    }
    /// Looks `word` up in a closed list of words.
    fn word<T: Copy>(&self, key: &str, word: &Spanned<String>, list: &[(&str, T)]) -> Result<T> {
        let text = word.get_ref().as_str();
        if let Some((_, value)) = list.iter().find(|(name, _)| *name == text) {
            return Ok(*value);
        }
        let names: Vec<&str> = list.iter().map(|(name, _)| *name).collect();
        let near = did_you_mean(text, names.iter().copied()).map_or(String::new(), |n| format!("did you mean `{n}`? "));
        Err(self
            .error(word.span(), format!("`{key}` cannot be \"{text}\""))
            .help(format!("{near}one of {}", names.join(", "))))
    }
    fn need<'s, T>(&self, row: &Range<usize>, key: &str, value: &'s Option<Spanned<T>>) -> Result<&'s Spanned<T>> {
        value.as_ref().ok_or_else(|| self.error(row.clone(), format!("this row lacks the key `{key}`")))
    }
    fn refuse<T>(&self, element: &str, key: &str, value: &Option<Spanned<T>>) -> Result<()> {
        match value {
            None => Ok(()),
            Some(value) => {
                Err(self.error(value.span(), format!("`{key}` has no meaning for the element \"{element}\"")))
            }
        }
    }
}

/// Parses and validates a table.
pub(super) fn parse(path: &str, text: &str) -> Result<Vec<Row>> {
    let at = Text { path, text };
    let raw: RawTable = toml::from_str(text).map_err(|e| {
        let message = e.message().trim_end_matches('.').replace('\n', " ");
        at.error(e.span().unwrap_or(0..0), message)
    })?;
    if raw.schema.get_ref() != SCHEMA {
        return Err(at
            .error(raw.schema.span(), format!("this is not a table of formats: schema \"{}\"", raw.schema.get_ref()))
            .help(format!("this version reads \"{SCHEMA}\"")));
    }
    let mut rows: Vec<Row> = Vec::new();
    for raw_row in &raw.format {
        let row = row(&at, raw_row.span(), raw_row.get_ref(), rows.len())?;
        if rows.iter().any(|r| r.format.name == row.format.name) {
            return Err(at.error(row.name_span, format!("the format `{}` has two rows", row.format.name)));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn row(at: &Text<'_>, span: Range<usize>, raw: &RawRow, index: usize) -> Result<Row> {
    let name = raw.name.get_ref();
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    {
        return Err(at
            .error(raw.name.span(), format!("`{name}` cannot name a format"))
            .help("a name is a lower-case letter and then lower-case letters, digits and `_`"));
    }
    let bits = *raw.bits.get_ref();
    if !(1..=32).contains(&bits) {
        return Err(at.error(raw.bits.span(), format!("a code has 1 to 32 bits, not {bits}")));
    }
    let container_bits = container(at, raw, bits)?;
    let element = element(at, &span, raw, bits)?;
    let rules = [("cast", ScaleRule::Cast), ("absmax", ScaleRule::Absmax), ("absmean", ScaleRule::Absmean)];
    let rule = at.word("rule", &raw.rule, &rules)?;
    for (key, text) in [("doc", &raw.doc), ("source", &raw.source)] {
        if text.trim().is_empty() {
            return Err(at.error(span, format!("`{key}` of `{name}` is empty")));
        }
    }
    let unit = match &element {
        Element::Float { man, bias, .. } if bits <= 8 => Some(1 - bias - *man as i32),
        Element::Int | Element::Codebook { .. } => Some(raw.unit.as_ref().map_or(0, |u| *u.get_ref())),
        _ => None,
    };
    let format = Format {
        id: u16::try_from(index).map_err(|_| at.error(span.clone(), "a table has at most 65535 rows"))?,
        name: name.clone(),
        bits,
        container_bits,
        element,
        unit,
        span: 0,
        max: 0.0,
        rule,
        saturate: raw.saturate,
        trained_only: raw.trained_only,
        doc: raw.doc.clone(),
        source: raw.source.clone(),
        values: Vec::new(),
        integers: Vec::new(),
        sorted: Vec::new(),
        thresholds: Vec::new(),
        rank_zero: 0,
    };
    let mut format = derive(format);
    format.thresholds = thresholds(at, raw, &format)?;
    if !format.max.is_finite() || format.max <= 0.0 {
        return Err(at.error(span, format!("`{name}` has no positive finite value")));
    }
    Ok(Row { format, name_span: raw.name.span() })
}

fn container(at: &Text<'_>, raw: &RawRow, bits: u32) -> Result<u32> {
    match &raw.container {
        None => Ok(bits.next_power_of_two()),
        Some(c) if ![1, 2, 4, 8, 16, 32].contains(c.get_ref()) => {
            Err(at.error(c.span(), format!("a container has 1, 2, 4, 8, 16 or 32 bits, not {}", c.get_ref())))
        }
        Some(c) if *c.get_ref() < bits => {
            Err(at.error(c.span(), format!("a container of {} bits does not hold a code of {bits}", c.get_ref())))
        }
        Some(c) if *c.get_ref() > bits.next_power_of_two() => {
            let least = bits.next_power_of_two();
            Err(at
                .error(c.span(), format!("a code of {bits} bits lies in a container of {least}, not {}", c.get_ref())))
        }
        Some(c) => Ok(*c.get_ref()),
    }
}

fn element(at: &Text<'_>, span: &Range<usize>, raw: &RawRow, bits: u32) -> Result<Element> {
    let kind = raw.element.get_ref().as_str();
    let words = [("float", 0), ("int", 1), ("codebook", 2), ("real", 3), ("log", 4), ("squares", 5)];
    let which = at.word("element", &raw.element, &words)?;
    if which != 0 {
        at.refuse(kind, "exp", &raw.exp)?;
        at.refuse(kind, "man", &raw.man)?;
        at.refuse(kind, "specials", &raw.specials)?;
    }
    if which != 0 && which != 4 {
        at.refuse(kind, "bias", &raw.bias)?;
    }
    if which != 4 {
        at.refuse(kind, "steps", &raw.steps)?;
        at.refuse(kind, "signed", &raw.signed)?;
        at.refuse(kind, "zero", &raw.zero)?;
        at.refuse(kind, "nan", &raw.nan)?;
    }
    if which != 2 {
        at.refuse(kind, "levels", &raw.levels)?;
    }
    if which != 1 && which != 2 {
        at.refuse(kind, "unit", &raw.unit)?;
    }
    if which != 3 {
        at.refuse(kind, "values", &raw.values)?;
        at.refuse(kind, "thresholds", &raw.thresholds)?;
    }
    match which {
        0 => float(at, span, raw, bits),
        1 if (2..=16).contains(&bits) => match &raw.unit {
            Some(unit) if !(-126..=96).contains(unit.get_ref()) => Err(at.error(
                unit.span(),
                format!("a unit of 2^{} leaves the range of f32; it is -126 to 96", unit.get_ref()),
            )),
            _ => Ok(Element::Int),
        },
        1 => Err(at.error(raw.bits.span(), format!("an int has 2 to 16 bits, not {bits}"))),
        2 => codebook(at, at.need(span, "levels", &raw.levels)?, raw, bits),
        3 => real(at, at.need(span, "values", &raw.values)?, bits),
        5 if bits == 32 => Ok(Element::Squares),
        5 => Err(at.error(raw.bits.span(), format!("squares have 32 bits, not {bits}"))),
        _ => log(at, span, raw, bits),
    }
}

fn float(at: &Text<'_>, span: &Range<usize>, raw: &RawRow, bits: u32) -> Result<Element> {
    let exp_at = at.need(span, "exp", &raw.exp)?;
    let man_at = at.need(span, "man", &raw.man)?;
    let bias_at = at.need(span, "bias", &raw.bias)?;
    let (exp, man, bias) = (*exp_at.get_ref(), *man_at.get_ref(), *bias_at.get_ref());
    let list = [("ieee", Specials::Ieee), ("fn", Specials::Fn), ("fnuz", Specials::Fnuz), ("none", Specials::None)];
    let specials = at.word("specials", at.need(span, "specials", &raw.specials)?, &list)?;
    if !(1..=8).contains(&exp) {
        return Err(at.error(exp_at.span(), format!("a float has 1 to 8 exponent bits, not {exp}")));
    }
    if man > 23 || 1 + exp + man > bits {
        return Err(at
            .error(man_at.span(), format!("a sign, {exp} exponent and {man} fraction bits do not fit {bits} bits"))
            .help("fractions have at most 23 bits"));
    }
    if bits <= 8 && 1 + exp + man != bits {
        return Err(
            at.error(raw.bits.span(), format!("a float of {bits} bits uses all of them, not {}", 1 + exp + man))
        );
    }
    // Every value must be an f32: the least subnormal is at least 2^-149 and the largest binade at most 2^127.
    let top = (1i64 << exp) - 1 - i64::from(specials == Specials::Ieee) - i64::from(bias);
    let least = 1 - i64::from(bias) - i64::from(man);
    if top > 127 || least < -149 {
        return Err(at.error(bias_at.span(), format!("values from 2^{least} to 2^{top} do not fit an f32")));
    }
    if specials == Specials::Ieee && man == 0 {
        return Err(
            at.error(man_at.span(), "a float with IEEE specials needs a fraction bit to tell NaN from infinity")
        );
    }
    Ok(Element::Float { exp, man, bias, specials })
}

fn codebook(at: &Text<'_>, levels: &Spanned<Vec<i64>>, raw: &RawRow, bits: u32) -> Result<Element> {
    list_length(at, levels.span(), levels.get_ref().len(), bits)?;
    let unit = raw.unit.as_ref().map_or(0, |u| *u.get_ref());
    if !(-126..=112).contains(&unit) {
        let span = raw.unit.as_ref().map_or(levels.span(), Spanned::span);
        return Err(at.error(span, format!("a unit of 2^{unit} leaves the range of f32; it is -126 to 112")));
    }
    let small = |level: &i64| i32::try_from(*level).ok().filter(|l| l.unsigned_abs() < 1 << 15);
    let levels: std::result::Result<Vec<i32>, i64> =
        levels.get_ref().iter().map(|level| small(level).ok_or(*level)).collect();
    let list_span = raw.levels.as_ref().map_or(0..0, Spanned::span);
    match levels {
        Ok(levels) => Ok(Element::Codebook { levels }),
        Err(level) => Err(at.error(list_span, format!("the level {level} is not below 2^15 in magnitude"))),
    }
}

fn real(at: &Text<'_>, values: &Spanned<Vec<f64>>, bits: u32) -> Result<Element> {
    list_length(at, values.span(), values.get_ref().len(), bits)?;
    let rounded: Vec<f32> = values.get_ref().iter().map(|v| *v as f32).collect();
    match rounded.iter().position(|v| !v.is_finite()) {
        None => Ok(Element::Real { values: rounded }),
        Some(bad) => Err(at.error(values.span(), format!("the value {} is not a finite f32", values.get_ref()[bad]))),
    }
}

/// The values of a logarithmic format: exact where `steps` divides the exponent, else rounded once more from f64.
fn log(at: &Text<'_>, span: &Range<usize>, raw: &RawRow, bits: u32) -> Result<Element> {
    let steps_at = at.need(span, "steps", &raw.steps)?;
    let bias_at = at.need(span, "bias", &raw.bias)?;
    let flag = |word: &Option<Spanned<bool>>| word.as_ref().is_some_and(|w| *w.get_ref());
    let (signed, zero, nan) = (flag(&raw.signed), flag(&raw.zero), flag(&raw.nan));
    let (steps, bias) = (*steps_at.get_ref(), i64::from(*bias_at.get_ref()));
    if !(1..=64).contains(&steps) {
        return Err(at.error(steps_at.span(), format!("an octave has 1 to 64 steps, not {steps}")));
    }
    if bits > 8 || bits < 2 + u32::from(signed) {
        return Err(
            at.error(raw.bits.span(), format!("a logarithmic format has 2 to 8 bits, 3 with a sign, not {bits}"))
        );
    }
    let codes = 1i64 << (bits - u32::from(signed));
    let (least, top) = ((-bias).div_euclid(i64::from(steps)), (codes - 1 - bias).div_euclid(i64::from(steps)));
    if least < -149 || top > 127 + i64::from(nan) {
        return Err(at.error(bias_at.span(), format!("values from 2^{least} to 2^{top} do not fit an f32")));
    }
    let power = |code: i64| ((code - bias) as f64 / f64::from(steps)).exp2() as f32;
    let magnitude = |code: i64| if zero && code == 0 { 0.0 } else { power(code) };
    let mut values: Vec<f32> = (0..codes).map(magnitude).collect();
    if signed {
        // Adding +0 leaves the reserved code +0.
        values.extend((0..codes).map(|code| -magnitude(code) + 0.0));
    }
    if nan {
        *values.last_mut().expect("at least two codes") = f32::NAN;
    }
    Ok(Element::Real { values })
}

/// Borders between the levels of a real codebook, ascending, one fewer than levels.
fn thresholds(at: &Text<'_>, raw: &RawRow, format: &Format) -> Result<Vec<f32>> {
    let Some(list) = &raw.thresholds else { return Ok(Vec::new()) };
    let borders: Vec<f32> = list.get_ref().iter().map(|v| *v as f32).collect();
    let level = |rank: usize| f32::from_bits(format.values[format.sorted[rank] as usize]);
    let between = |(rank, t): (usize, &f32)| level(rank) <= *t && *t <= level(rank + 1);
    if borders.len() + 1 != format.sorted.len() || !borders.iter().enumerate().all(between) {
        return Err(at
            .error(
                list.span(),
                format!("{} levels need {} thresholds between them", format.sorted.len(), format.sorted.len() - 1),
            )
            .help("list them in ascending order, each between two neighbouring levels"));
    }
    Ok(borders)
}

fn list_length(at: &Text<'_>, span: Range<usize>, length: usize, bits: u32) -> Result<()> {
    if bits > 8 {
        return Err(at.error(span, format!("a codebook has at most 8 bits, not {bits}")));
    }
    let most = 1usize << bits;
    if length > most || 2 * length <= most {
        return Err(at.error(span, format!("{bits} bits hold {} to {most} levels, not {length}", most / 2 + 1)));
    }
    Ok(())
}

/// Fills in what follows from the row.
pub(super) fn derive(mut format: Format) -> Format {
    if format.bits <= 8 {
        let codes = 0..1u32 << format.bits;
        format.values = codes.clone().map(|code| codec::decode_any(&format, code)).collect();
        let value = |code: &u32| f32::from_bits(format.values[*code as usize]);
        if let Some(unit) = format.unit {
            let integer = |code: u32| {
                let v = f64::from(value(&code));
                if v.is_finite() { (v * 2f64.powi(-unit)) as i64 } else { 0 }
            };
            format.integers = codes.clone().map(integer).collect();
        }
        let reserved = match &format.element {
            Element::Codebook { levels } => levels.len(),
            Element::Real { values } => values.len(),
            _ => format.values.len(),
        };
        let mut sorted: Vec<u32> = codes.filter(|c| (*c as usize) < reserved && value(c).is_finite()).collect();
        sorted.sort_by(|a, b| value(a).total_cmp(&value(b)).then(a.cmp(b)));
        sorted.dedup_by(|later, first| value(later) == value(first));
        format.rank_zero = sorted.iter().position(|c| value(c) >= 0.0).unwrap_or(sorted.len().saturating_sub(1));
        format.max = sorted.last().map_or(0.0, value);
        format.sorted = sorted;
    } else {
        format.max = f32::from_bits(codec::decode_any(&format, codec::max_code(&format)));
    }
    if let Some(unit) = format.unit {
        let largest = match format.integers.iter().map(|i| i.unsigned_abs()).max() {
            Some(largest) => largest,
            None => 1 << (format.bits - 1),
        };
        format.span = largest.next_power_of_two().trailing_zeros();
        debug_assert!(unit >= -149);
    }
    format
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "schema = \"preon.formats/1\"\n[[format]]\nname = \"a\"\nbits = 3\nelement = \"codebook\"\n\
        levels = [0, 1, 2, 4, -1, -2, -4]\nrule = \"absmax\"\nsaturate = true\ndoc = \"d\"\nsource = \"s\"\n";

    fn fails(text: &str) -> String {
        match parse("f.toml", text) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_good_row_is_derived() {
        let row = parse("f.toml", ROW).unwrap_or_else(|e| panic!("{e}")).remove(0).format;
        assert_eq!((row.max, row.span, row.container_bits, row.unit), (4.0, 2, 4, Some(0)));
        assert_eq!(row.integers, [0, 1, 2, 4, -1, -2, -4, 0]);
        assert_eq!(row.sorted, [6, 5, 4, 0, 1, 2, 3]);
        assert_eq!(row.rank_zero, 3);
    }

    #[test]
    fn wrong_rows_are_refused_with_their_line() {
        let cases = [
            (("bits = 3", "bits = 33"), "f.toml:4:8: a code has 1 to 32 bits, not 33"),
            (("bits = 3", "bits = 2"), "f.toml:6:10: 2 bits hold 3 to 4 levels, not 7"),
            (("bits = 3", "bits = 3\ncontainer = 2"), "f.toml:5:13: a container of 2 bits does not hold a code of 3"),
            (("bits = 3", "bits = 3\ncontainer = 5"), "f.toml:5:13: a container has 1, 2, 4, 8, 16 or 32 bits, not 5"),
            (("[0, 1,", "[0, 32768,"), "f.toml:6:10: the level 32768 is not below 2^15 in magnitude"),
            (("\"absmax\"", "\"absmix\""), "f.toml:7:8: `rule` cannot be \"absmix\" (did you mean `absmax`? one of"),
            (("name = \"a\"", "name = \"A\""), "f.toml:3:8: `A` cannot name a format"),
            (("levels", "unit = 1\nman = 3\nlevels"), "f.toml:7:7: `man` has no meaning for the element \"codebook\""),
            (("levels = [0, 1, 2, 4, -1, -2, -4]\n", ""), "f.toml:2:1: this row lacks the key `levels`"),
            (("doc = \"d\"", "dok = \"d\""), "f.toml:9:1: unknown field `dok`"),
            (("formats/1", "formats/2"), "f.toml:1:10: this is not a table of formats"),
            (("[0, 1, 2, 4, -1, -2, -4]", "[0, 0, 0, 0, -1, -2, -4]"), "f.toml:2:1: `a` has no positive finite value"),
            (("doc = \"d\"", "doc = \" \""), "f.toml:2:1: `doc` of `a` is empty"),
        ];
        for ((from, to), wanted) in cases {
            let said = fails(&ROW.replacen(from, to, 1));
            assert!(said.starts_with(wanted), "{to}: {said}");
        }
        let twice = format!("{ROW}{}", &ROW[ROW.find("[[").expect("a row")..]);
        assert!(fails(&twice).starts_with("f.toml:12:8: the format `a` has two rows"), "{}", fails(&twice));
        assert!(fails("").contains("schema"));
        assert!(fails("name = \"x").starts_with("f.toml:1:"));
    }

    #[test]
    fn floats_must_fit_their_bits_and_an_f32() {
        let float = |exp: u32, man: u32, bias: i32, bits: u32| {
            format!(
                "schema = \"preon.formats/1\"\n[[format]]\nname = \"a\"\nbits = {bits}\nelement = \"float\"\nexp = {exp}\n\
                 man = {man}\nbias = {bias}\nspecials = \"ieee\"\nrule = \"cast\"\nsaturate = true\ndoc = \"d\"\nsource = \"s\"\n"
            )
        };
        assert!(parse("f.toml", &float(8, 10, 127, 32)).is_ok());
        assert!(fails(&float(5, 3, 15, 8)).contains("do not fit 8 bits"));
        assert!(fails(&float(4, 2, 7, 8)).contains("uses all of them"));
        assert!(fails(&float(8, 10, 200, 19)).contains("do not fit an f32"));
        assert!(fails(&float(4, 0, 7, 5)).contains("needs a fraction bit"));
        assert!(fails(&float(9, 0, 7, 10)).contains("1 to 8 exponent bits"));
    }

    #[test]
    fn real_codebooks_are_rows_too() {
        let text = ROW.replace("codebook", "real").replace("levels = [0, 1,", "values = [0.0, 0.1,");
        let row = parse("f.toml", &text).unwrap_or_else(|e| panic!("{e}")).remove(0).format;
        assert_eq!((row.unit, row.values[1]), (None, 0.1f32.to_bits()));
        assert!(fails(&text.replace("0.1", "1e300")).contains("is not a finite f32"));
    }
}
