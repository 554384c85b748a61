//! Number formats as rows of a table (`isa/formats.toml`).
//!
//! A [`Format`] is immutable and lives as long as the process, so that it is passed as the `Copy` handle
//! [`FormatRef`]. A user's own rows join the same table through [`register`]; nothing else in the crate lists formats.

use super::table;
use crate::diag::{Error, Result, did_you_mean};
use std::sync::{OnceLock, RwLock, RwLockReadGuard};

/// Handle of a format; compare with [`Format::id`].
pub type FormatRef = &'static Format;

/// How codes of a format are interpreted.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    /// Sign, exponent and fraction fields in the high bits of the code; lower bits, if any, are zero.
    Float {
        /// Exponent bits.
        exp: u32,
        /// Fraction bits (without the hidden one).
        man: u32,
        /// Exponent bias.
        bias: i32,
        /// Which codes are NaN or infinite.
        specials: Specials,
    },
    /// Two's complement integer of `Format::bits` bits, in units of 2^unit.
    Int,
    /// Explicit levels: code `i` is `levels[i] * 2^unit`; all levels are integers below 2^15 in magnitude.
    Codebook {
        /// Integer level of every code; codes beyond the end are reserved and read as zero.
        levels: Vec<i32>,
    },
    /// Explicit f32 values, not integers in a common unit: never part of an exact sum. Logarithmic rows become this too.
    Real {
        /// Value of every code; codes beyond the end are reserved and read as zero.
        values: Vec<f32>,
    },
    /// p1^2 + p2^2 of two bf16 numbers, p1 in the low half: a scale that cannot be negative. p1 is sqrt(x) rounded towards
    /// zero, p2 the root of the rest rounded to nearest.
    Squares,
}

/// Special codes of a float element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// Infinities and NaNs as IEEE 754.
    Ieee,
    /// OCP "fn": no infinity, NaN only where all exponent and fraction bits are set.
    Fn,
    /// No infinity, one NaN at the code of negative zero.
    Fnuz,
    /// Neither infinity nor NaN.
    None,
}

/// Rule by which a quantiser chooses the scale of a group of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleRule {
    /// No scale: a plain cast.
    Cast,
    /// The largest magnitude maps to the largest level.
    Absmax,
    /// The mean magnitude maps to one.
    Absmean,
}

/// One number format.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    /// Index in the table; stable within a process.
    pub id: u16,
    /// Name used everywhere: command line, policies, reports.
    pub name: String,
    /// Bits of one code in dense storage.
    pub bits: u32,
    /// Bits of one code in a vector register: 1, 2, 4, 8, 16 or 32.
    pub container_bits: u32,
    /// Meaning of the codes.
    pub element: Element,
    /// Exponent of the common quantum of all finite values, `None` where sums are not exact: floats wider than 8 bits
    /// (fp16, bf16, fp32) and real codebooks.
    pub unit: Option<i32>,
    /// log2 of the largest magnitude in quanta, rounded up (0 without a unit).
    pub span: u32,
    /// Largest finite positive value; the level that an absmax scale maps onto (127 for int8).
    pub max: f32,
    /// How a quantiser scales into this format.
    pub rule: ScaleRule,
    /// Whether a cast saturates instead of giving infinity or NaN (what [`super::codec::cast`] does).
    pub saturate: bool,
    /// True if models must be trained in this format for it to work well (ternary, binary); reports say so.
    pub trained_only: bool,
    /// One sentence for people.
    pub doc: String,
    /// Where the definition comes from.
    pub source: String,
    /// Value of every code for formats of 8 bits or fewer, as f32 bits; empty for wider ones.
    pub values: Vec<u32>,
    /// Integer of every code in quanta for formats of 8 bits or fewer with a unit; 0 for NaN and infinities. E5M2 needs
    /// 32 bits and a sign, hence 64.
    pub integers: Vec<i64>,
    /// Codes in ascending order of value, one of each value, NaN and infinities left out, of formats of 8 bits or fewer.
    /// With [`Format::rank_zero`] this is the grid that codebooks round to.
    pub sorted: Vec<u32>,
    /// Borders between neighbours of [`Format::sorted`] where rounding to nearest does not use the middle; a value on a
    /// border goes to the lower level. Empty for every other format.
    pub thresholds: Vec<f32>,
    /// Position in [`Format::sorted`] of the smallest value that is not negative (of the largest, if all are negative).
    pub rank_zero: usize,
}

impl Format {
    /// Whether this is an S-format (numerics contract, section 3): finite values are integers in one unit, and sums of
    /// products of two such formats are taken exactly.
    pub fn is_exact(&self) -> bool {
        self.unit.is_some()
    }
    /// Whether this is a table learned for a tensor ([`learned`]).
    pub fn is_learned(&self) -> bool {
        spelled(&self.name).is_some()
    }
    /// What people call the format: its name, and of a learned table only that it is one.
    pub fn family(&self) -> &str {
        family_of(&self.name)
    }
    /// Mask of the bits of one code.
    pub fn mask(&self) -> u32 {
        u32::MAX >> (32 - self.bits)
    }
    /// Number of codes as a 64-bit count: 2^bits.
    pub fn codes(&self) -> u64 {
        1 << self.bits
    }
    /// Integer of `code` in units of 2^[`Format::unit`]; 0 for NaN and infinities. 16-bit integers included.
    ///
    /// Returns `None` for formats without a unit.
    pub fn integer(&self, code: u32) -> Option<i64> {
        self.unit?;
        match self.integers.get((code & self.mask()) as usize) {
            Some(integer) => Some(*integer),
            None => Some(super::codec::sign_extend(code, self.bits)),
        }
    }
}

const BUILT_IN: &str = include_str!("../../isa/formats.toml");

/// Names of the rows that Preon brings along, whatever a run has added to them.
pub fn built_in() -> Vec<String> {
    let rows = table::parse("isa/formats.toml", BUILT_IN).expect("the built-in table is valid (a test parses it)");
    rows.into_iter().map(|row| row.format.name).collect()
}

fn table() -> &'static RwLock<Vec<FormatRef>> {
    static TABLE: OnceLock<RwLock<Vec<FormatRef>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows = table::parse("isa/formats.toml", BUILT_IN).expect("the built-in table is valid (a test parses it)");
        let mut all: Vec<FormatRef> = Vec::new();
        for row in rows {
            let id = u16::try_from(all.len()).expect("fewer than 2^16 built-in formats");
            all.push(Box::leak(Box::new(Format { id, ..row.format })));
        }
        RwLock::new(all)
    })
}

fn read() -> RwLockReadGuard<'static, Vec<FormatRef>> {
    table().read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The table of formats, in the order of their rows: built-in ones first. Learned tables ([`learned`]) belong to tensors
/// and are left out.
pub fn formats() -> Vec<FormatRef> {
    read().iter().copied().filter(|format| !format.is_learned()).collect()
}

/// Every format that has an id, in the order of ids: [`formats`], and the learned tables among them.
pub fn with_learned() -> Vec<FormatRef> {
    read().clone()
}

/// The type of tables that are learned for each tensor, and the beginning of their names.
pub const CODEBOOK: &str = "codebook8";
/// Levels of such a table.
pub const CODEBOOK_LEVELS: usize = 8;
/// Most learned tables in a process.
const MOST_LEARNED: usize = 1024;

/// The format of a table learned for a tensor: 3-bit codes, code i the i-th of the ascending `levels`. Its name spells the
/// table, `codebook8` and the f32 words in hexadecimal with `_` before each, so that whoever reads the name ([`find`]) has the
/// format: a policy, a quantised file, a program. Equal tables are one format.
///
/// # Errors
/// BadInput unless the levels are finite, ascending (equal ones may follow each other) and without -0; Unsupported beyond
/// 1024 tables.
pub fn learned(levels: &[f32; CODEBOOK_LEVELS]) -> Result<FormatRef> {
    let minus_zero = |v: &f32| v.to_bits() == (-0.0f32).to_bits();
    if levels.iter().any(|v| !v.is_finite() || minus_zero(v)) || levels.windows(2).any(|pair| pair[0] > pair[1]) {
        let text = format!("{levels:?} are no levels of a {CODEBOOK}");
        return Err(Error::bad_input(text).help("levels are finite, ascending and without -0"));
    }
    let name = levels.iter().fold(CODEBOOK.to_owned(), |name, v| name + &format!("_{:08x}", v.to_bits()));
    let mut all = table().write().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = all.iter().find(|f| f.name == name) {
        return Ok(known);
    }
    if all.iter().filter(|f| f.is_learned()).count() >= MOST_LEARNED {
        return Err(Error::unsupported(format!("more than {MOST_LEARNED} tables of {CODEBOOK} at a time"))
            .help("let fewer weights be held in it"));
    }
    let id = u16::try_from(all.len()).map_err(|_| Error::unsupported("the table holds at most 65535 formats"))?;
    let general = all.iter().copied().find(|f| f.name == CODEBOOK);
    let general = general.ok_or_else(|| Error::internal(format!("the table has no row {CODEBOOK}")))?;
    let element = Element::Real { values: levels.to_vec() };
    let doc = "Eight levels learned for a tensor".into();
    let new: FormatRef = Box::leak(Box::new(table::derive(Format { id, name, element, doc, ..general.clone() })));
    all.push(new);
    Ok(new)
}

/// [`Format::family`] of the format called `name`.
pub fn family_of(name: &str) -> &str {
    if spelled(name).is_some() { CODEBOOK } else { name }
}

/// The levels that the name of a learned table spells; `None` for any other name.
fn spelled(name: &str) -> Option<[f32; CODEBOOK_LEVELS]> {
    let mut levels = [0.0; CODEBOOK_LEVELS];
    let mut words = name.strip_prefix(CODEBOOK)?.strip_prefix('_')?.split('_');
    for level in &mut levels {
        let plain = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let word = words.next().filter(|word| word.len() == 8 && word.chars().all(plain))?;
        *level = f32::from_bits(u32::from_str_radix(word, 16).ok()?);
    }
    words.next().is_none().then_some(levels)
}

/// Names of the contract that are no element formats, and what they are.
const COMPOSITES: [(&str, &str); 11] = [
    ("fp64", "double precision is the reference's own arithmetic, which no tensor is held in"),
    ("mxfp8e4m3", "a block format"),
    ("mxfp8e5m2", "a block format"),
    ("mxfp6e3m2", "a block format"),
    ("mxfp6e2m3", "a block format"),
    ("mxfp4", "a block format"),
    ("mxint8", "a block format"),
    ("nvfp4", "a block format"),
    ("colour2", "a sum of 2 scaled sign planes"),
    ("colour3", "a sum of 3 scaled sign planes"),
    ("colour4", "a sum of 4 scaled sign planes"),
];

/// The format called `name`; the name of a learned table makes it known.
///
/// # Errors
/// Unsupported for a composite of the contract, which no row of the table describes; else BadInput that suggests a near
/// name and lists all.
pub fn find(name: &str) -> Result<FormatRef> {
    let known = read().iter().copied().find(|f| f.name == name);
    if let Some(format) = known {
        return Ok(format);
    }
    if let Some(levels) = spelled(name) {
        return learned(&levels);
    }
    if let Some((_, what)) = COMPOSITES.iter().find(|(known, _)| *known == name) {
        return Err(Error::unsupported(format!("`{name}` is not a format of single elements: {what}")));
    }
    let all = formats();
    let names: Vec<&str> = all.iter().map(|f| f.name.as_str()).collect();
    let hint =
        did_you_mean(name, names.iter().copied()).map_or(String::new(), |near| format!("did you mean `{near}`? "));
    let help = format!("{hint}known formats: {}", names.join(", "));
    Err(Error::bad_input(format!("unknown format `{name}`")).help(help))
}

/// The format with this id.
pub fn by_id(id: u16) -> Option<FormatRef> {
    read().get(usize::from(id)).copied()
}

/// Parses a table of format rows without adding them: every row is validated; ids are positions in the file.
///
/// # Errors
/// BadInput with the line of the first wrong row or key.
pub fn parse_table(path: &str, text: &str) -> Result<Vec<Format>> {
    Ok(table::parse(path, text)?.into_iter().map(|row| row.format).collect())
}

/// Adds a user's rows to the table, all or none, and returns them. A row equal to a known one is that one.
///
/// # Errors
/// BadInput as [`parse_table`], or where a name is already taken by another definition.
pub fn register(path: &str, text: &str) -> Result<Vec<FormatRef>> {
    let rows = table::parse(path, text)?;
    let mut all = table().write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = |row: &table::Row| all.iter().copied().find(|f| f.name == row.format.name);
    for row in &rows {
        let name = row.format.name.as_str();
        let words = ["all", "none", "row", "tensor"].contains(&name) || spelled(name).is_some();
        if words || COMPOSITES.iter().any(|(taken, _)| *taken == name) {
            return Err(Error::bad_input(format!("the name `{name}` is taken by a composite type or a word of types"))
                .in_text(path, text, row.name_span.clone())
                .help("rename this row"));
        }
        if let Some(old) = known(row)
            && *old != (Format { id: old.id, ..row.format.clone() })
        {
            return Err(Error::bad_input(format!("the name `{}` is taken by another format", old.name))
                .in_text(path, text, row.name_span.clone())
                .help("rename this row"));
        }
    }
    if all.len() + rows.len() > usize::from(u16::MAX) {
        return Err(Error::unsupported("the table holds at most 65535 formats").in_file(path));
    }
    let mut added = Vec::new();
    for row in rows {
        let old = all.iter().copied().find(|f| f.name == row.format.name);
        added.push(old.unwrap_or_else(|| {
            let id = u16::try_from(all.len()).expect("checked above");
            let new: FormatRef = Box::leak(Box::new(Format { id, ..row.format }));
            all.push(new);
            new
        }));
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_has_the_formats_of_the_contract() {
        let names: Vec<&str> = formats().iter().map(|f| f.name.as_str()).take(12).collect();
        let wanted = "fp32 fp16 bf16 fp8e4m3 fp8e5m2 fp4e2m1 int8 int4 int2 ternary binary triplet";
        assert_eq!(names.join(" "), wanted);
        for (at, format) in with_learned().iter().enumerate() {
            assert_eq!(usize::from(format.id), at);
            assert_eq!(by_id(format.id).map(|f| f.name.as_str()), Some(format.name.as_str()));
            assert!(!format.doc.is_empty() && !format.source.is_empty(), "{}", format.name);
        }
        assert!(by_id(u16::MAX).is_none());
    }

    #[test]
    fn units_spans_and_maxima() {
        let of = |name: &str| {
            let f = find(name).unwrap();
            (f.unit, f.span, f.max, f.container_bits)
        };
        assert_eq!(of("fp8e4m3"), (Some(-9), 18, 448.0, 8));
        assert_eq!(of("fp8e5m2"), (Some(-16), 32, 57344.0, 8));
        assert_eq!(of("fp4e2m1"), (Some(-1), 4, 6.0, 4));
        assert_eq!(of("int8"), (Some(0), 7, 127.0, 8));
        assert_eq!(of("int2"), (Some(0), 1, 1.0, 2));
        assert_eq!(of("ternary"), (Some(0), 0, 1.0, 2));
        assert_eq!(of("triplet"), (Some(0), 2, 3.0, 2));
        assert_eq!(of("fp16"), (None, 0, 65504.0, 16));
        assert_eq!(of("bf16"), (None, 0, f32::from_bits(0x7f7f_0000), 16));
        assert_eq!(of("fp32"), (None, 0, f32::MAX, 32));
    }

    #[test]
    fn every_name_of_the_contract_is_a_row_or_refused_as_what_it_is() {
        let rows = "fp32 tf32 fp16 bf16 fp8e4m3 fp8e5m2 fp8e4m3fnuz fp8e5m2fnuz fp8e4m3b11fnuz fp8e4m3ieee fp8e3m4 fp6e3m2 \
            fp6e2m3 fp4e2m1 fp4e1m2 fp3e2m0 fp3e1m1 e8m0 int16 int8 int4 int3 int2 nf4 log4 log8 ternary binary fp2 fp2sparse \
            fp1mask triplet codebook8";
        for name in rows.split_whitespace() {
            assert_eq!(find(name).unwrap().name, name);
        }
        for (name, _) in COMPOSITES {
            assert_eq!(find(name).unwrap_err().kind(), crate::diag::Kind::Unsupported, "{name}");
        }
    }

    #[test]
    fn the_name_of_a_learned_table_is_the_table() {
        let levels = [-2.5, -1.0, -0.25, 0.0, 0.1, 0.5, 0.5, 3.0f32];
        let format = learned(&levels).unwrap();
        assert_eq!(format.name, "codebook8_c0200000_bf800000_be800000_00000000_3dcccccd_3f000000_3f000000_40400000");
        assert_eq!((format.bits, format.max, format.unit, format.family()), (3, 3.0, None, "codebook8"));
        assert_eq!(format.values, levels.map(f32::to_bits));
        assert_eq!((learned(&levels).unwrap().id, find(&format.name).unwrap().id), (format.id, format.id));
        assert!(format.is_learned() && formats().iter().all(|f| f.id != format.id));
        assert_eq!(by_id(format.id).unwrap().id, format.id);
        let other = format.name.replace("c0200000", "c0600000");
        assert_eq!(find(&other).unwrap().values[0], (-3.5f32).to_bits());
        for (from, to) in [("c0200000", "40200000"), ("00000000", "80000000"), ("40400000", "7f800000")] {
            let error = find(&format.name.replace(from, to)).unwrap_err();
            assert!(error.message().contains("no levels of a codebook8"), "{error}");
        }
        for wrong in
            ["codebook8_", "codebook8_c0200000", &format!("{}_3f000000", format.name), &format.name.to_uppercase()]
        {
            assert!(find(wrong).unwrap_err().message().contains("unknown format"), "{wrong}");
        }
        assert!(!find("codebook8").unwrap().is_learned());
    }

    #[test]
    fn an_unknown_name_suggests_a_near_one() {
        let error = find("fp8e4m4").unwrap_err();
        assert!(error.help_text().unwrap().starts_with("did you mean `fp8e4m3`? known formats: fp32, fp16"), "{error}");
    }

    #[test]
    fn user_rows_join_the_table_once_and_may_not_redefine() {
        let text = "schema = \"preon.formats/1\"\n[[format]]\nname = \"test_e3m0\"\nbits = 4\nelement = \"float\"\n\
            exp = 3\nman = 0\nbias = 3\nspecials = \"none\"\nrule = \"absmax\"\nsaturate = true\ndoc = \"d\"\nsource = \"s\"\n";
        let first = register("my.toml", text).unwrap();
        assert_eq!(register("my.toml", text).unwrap()[0].id, first[0].id);
        assert_eq!(find("test_e3m0").unwrap().max, 16.0);
        let other = text.replace("bias = 3", "bias = 4");
        let error = register("my.toml", &other).unwrap_err();
        assert!(error.to_string().starts_with("my.toml:3:"), "{error}");
    }
}
