//! What a tensor's codes mean: element format, scales, sign planes, offset. One text form, read and written everywhere.
//!
//! `FORMAT[/SCALING][:SCALE][+offset][+global]`, for example `int8`, `fp4e2m1/block128`, `int4/block32+offset`.
//! The names of block formats and of sums of sign planes stand for the long form: `mxfp4` is
//! `fp4e2m1/block32:e8m0`, `nvfp4` is `fp4e2m1/block16:fp8e4m3+global`, `colour3` three planes of `binary`.

use super::pack;
use crate::diag::{Error, Result};
use crate::num::FormatRef;
use crate::num::block::ScaleExponent;
use crate::num::format::{self, ScaleRule};
use std::fmt;
use std::ops::Range;

/// Which elements share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scaling {
    /// Codes are values.
    None,
    /// One scale.
    Tensor,
    /// One scale a row (output channel of a weight, token of an activation).
    Row,
    /// One scale for every run of this many elements along a row; the last may be short.
    Block(u32),
    /// One scale for every tile of this many rows by this many elements; the last ones may be short.
    Tile(u32, u32),
}

/// How scales are held.
#[derive(Debug, Clone, Copy)]
pub struct ScaleType {
    /// Format of a scale.
    pub format: FormatRef,
    /// How a power of two follows from the largest magnitude (scales in e8m0 only).
    pub exponent: ScaleExponent,
    /// Whether one f32 scale of the whole tensor multiplies on top (two-level scaling, NVFP4).
    pub global: bool,
}

/// Format and scaling of a tensor: what "fp4 with a scale every 32" means.
#[derive(Debug, Clone, Copy)]
pub struct TensorType {
    /// Element format.
    pub format: FormatRef,
    /// Which elements share a scale.
    pub scaling: Scaling,
    /// How the scales are held.
    pub scale: ScaleType,
    /// Planes of codes, each with scales of its own, that are summed: 1, or 2 to 4 for colour channels.
    pub planes: u32,
    /// Whether every scale has an f32 offset beside it: element = code * scale + offset.
    pub offset: bool,
}

/// Short names of composite types, and what they stand for.
const ALIASES: [(&str, &str); 12] = [
    ("mxfp8e4m3", "fp8e4m3/block32:e8m0"),
    ("mxfp8e5m2", "fp8e5m2/block32:e8m0"),
    ("mxfp6e3m2", "fp6e3m2/block32:e8m0"),
    ("mxfp6e2m3", "fp6e2m3/block32:e8m0"),
    ("mxfp4", "fp4e2m1/block32:e8m0"),
    ("mxint8", "int8q6/block32:e8m0"),
    ("nvfp4", "fp4e2m1/block16:fp8e4m3+global"),
    ("nf4", "nf4/block64"),
    ("colour2", "binary*2/row"),
    ("colour3", "binary*3/row"),
    ("colour4", "binary*4/row"),
    ("nvfp4/16x16", "fp4e2m1/block16x16:fp8e4m3+global"),
];

/// Names of the rules by which a power of two follows from the largest magnitude of a block.
pub const EXPONENT_RULES: [(&str, ScaleExponent); 4] = [
    ("floor", ScaleExponent::Floor),
    ("ceil", ScaleExponent::Ceil),
    ("rceil", ScaleExponent::RoundedCeil),
    ("even", ScaleExponent::Even),
];

/// Most planes of a tensor.
const MOST_PLANES: u32 = 4;

impl ScaleType {
    /// Plain f32 scales.
    pub fn f32() -> Self {
        let format = format::find("fp32").expect("fp32 is a built-in format");
        ScaleType { format, exponent: ScaleExponent::Floor, global: false }
    }
    /// Whether scales are powers of two in e8m0.
    pub fn is_power(&self) -> bool {
        self.format.name == "e8m0"
    }
}

impl TensorType {
    /// `format` with f32 scales, one plane, no offset.
    pub fn new(format: FormatRef, scaling: Scaling) -> Self {
        TensorType { format, scaling, scale: ScaleType::f32(), planes: 1, offset: false }
    }
    /// Plain unscaled `format`.
    pub fn plain(format: FormatRef) -> Self {
        TensorType::new(format, Scaling::None)
    }
    /// The type that `text` names (see the module's page). Without a scaling, formats that are cast have none, absmax
    /// formats one scale a row and absmean formats one a tensor.
    ///
    /// # Errors
    /// BadInput for an unknown format, scaling or scale; Unsupported as [`TensorType::check`].
    pub fn parse(text: &str) -> Result<Self> {
        let ty = parse(text)?;
        ty.check()?;
        Ok(ty)
    }
    /// Names that [`TensorType::parse`] takes besides those of element formats.
    pub fn composite_names() -> impl Iterator<Item = &'static str> {
        ALIASES.iter().map(|(name, _)| *name).filter(|name| !name.contains('/') && *name != "nf4")
    }
    /// Whether the parts go together.
    ///
    /// # Errors
    /// Unsupported or BadInput, naming the type.
    pub fn check(&self) -> Result<()> {
        let cast = self.format.rule == ScaleRule::Cast;
        let refuse = |why: String| Err(Error::unsupported(format!("{self}: {why}")));
        if self.format.element == crate::num::Element::Squares {
            return refuse("squares are a format of scales".into());
        }
        match self.scaling {
            Scaling::Block(0) | Scaling::Tile(0, _) | Scaling::Tile(_, 0) => {
                return Err(Error::bad_input(format!("{self}: a block has at least one element")));
            }
            Scaling::None if self.offset || self.scale.global || self.planes > 1 => {
                return refuse("offsets, planes and a global scale go with scales; add /row or /blockN".into());
            }
            Scaling::None => return Ok(()),
            _ if cast => {
                return Err(Error::unsupported(format!("{self}: {} takes no scale", self.format.name))
                    .help(format!("write `{}` alone", self.format.name)));
            }
            _ => {}
        }
        if !["fp32", "bf16", "fp16", "fp8e4m3", "e8m0", "squares"].contains(&self.scale.format.name.as_str()) {
            return refuse(format!(
                "scales are fp32, bf16, fp16, fp8e4m3, e8m0 or squares, not {}",
                self.scale.format.name
            ));
        }
        if self.planes > 1 && !matches!(self.scaling, Scaling::Tensor | Scaling::Row) {
            return refuse("planes have one scale each a row or a tensor".into());
        }
        if self.planes > 1 && self.format.name != "binary" {
            return refuse("planes are planes of signs (binary)".into());
        }
        if self.planes > 1 && (self.offset || self.scale.global) {
            return refuse("planes take neither an offset nor a global scale".into());
        }
        if self.offset && self.scale.format.name != "fp32" {
            return refuse("offsets go with scales in fp32".into());
        }
        if self.offset && !self.is_int() {
            return refuse("only integers take an offset".into());
        }
        if self.scale.is_power() && !matches!(self.scaling, Scaling::Block(_) | Scaling::Tile(..)) {
            return refuse("scales in e8m0 belong to blocks".into());
        }
        if self.scale.global != (self.scale.format.name == "fp8e4m3") {
            return refuse("scales in fp8e4m3 and a global scale go together".into());
        }
        if self.scale.global && self.format.name != "fp4e2m1" {
            return refuse("two-level scaling is defined for fp4e2m1".into());
        }
        Ok(())
    }
    /// The type as a policy names it: a table learned for a tensor is `codebook8` again.
    pub fn general(&self) -> Self {
        if !self.format.is_learned() {
            return *self;
        }
        TensorType { format: format::find(format::CODEBOOK).expect("a built-in format"), ..*self }
    }
    /// Whether a tensor of the type `held` is what this type asks for.
    pub fn asks_for(&self, held: &Self) -> bool {
        self == held || *self == held.general()
    }
    fn is_int(&self) -> bool {
        matches!(self.format.element, crate::num::Element::Int)
    }
    /// Scales of one row (of one row of tiles), planes included.
    pub fn scales_per_row(&self, cols: usize) -> usize {
        self.planes as usize
            * match self.scaling {
                Scaling::None => 0,
                Scaling::Tensor | Scaling::Row => 1,
                Scaling::Block(n) | Scaling::Tile(_, n) => cols.div_ceil(n as usize),
            }
    }
    /// Number of scales of a tensor with `rows` rows of `cols` elements.
    pub fn scale_count(&self, rows: usize, cols: usize) -> usize {
        self.scales_per_row(cols)
            * match self.scaling {
                Scaling::None | Scaling::Tensor => 1,
                Scaling::Row | Scaling::Block(_) => rows,
                Scaling::Tile(height, _) => rows.div_ceil(height as usize),
            }
    }
    /// Index of the scale of plane `plane` of an element, if the type has scales.
    pub fn scale_index(&self, row: usize, col: usize, plane: usize, cols: usize) -> Option<usize> {
        let each = self.scales_per_row(cols);
        match self.scaling {
            Scaling::None => None,
            Scaling::Tensor => Some(plane),
            Scaling::Row => Some(row * each + plane),
            Scaling::Block(n) => Some(row * each + col / n as usize),
            Scaling::Tile(height, n) => Some(row / height as usize * each + col / n as usize),
        }
    }
    /// Elements along a row that share their scales: the block, or all.
    pub fn run(&self, cols: usize) -> usize {
        match self.scaling {
            Scaling::Block(n) | Scaling::Tile(_, n) => n as usize,
            _ => cols,
        }
    }
    /// Bytes of one packed plane of a row of `cols` elements.
    pub fn plane_bytes(&self, cols: usize) -> usize {
        pack::row_bytes(self.format, cols)
    }
    /// Bytes of one packed row of `cols` elements: its planes after each other, each from a byte on.
    pub fn row_bytes(&self, cols: usize) -> usize {
        self.planes as usize * self.plane_bytes(cols)
    }
    /// Bytes of the scales alone.
    pub fn scale_bytes(&self, rows: usize, cols: usize) -> usize {
        self.scale_count(rows, cols) * self.scale.format.bits as usize / 8
    }
    /// Bytes of everything but the payload: scales, then f32 offsets, then the f32 global scale, the latter two at
    /// multiples of 4.
    pub fn side_bytes(&self, rows: usize, cols: usize) -> usize {
        self.global_at(rows, cols) + if self.scale.global { 4 } else { 0 }
    }
    /// Where the offsets begin in the side data.
    pub fn offsets_at(&self, rows: usize, cols: usize) -> usize {
        let scales = self.scale_bytes(rows, cols);
        if self.offset || self.scale.global { scales.next_multiple_of(4) } else { scales }
    }
    /// Where the global scale stands in the side data.
    pub fn global_at(&self, rows: usize, cols: usize) -> usize {
        self.offsets_at(rows, cols) + if self.offset { 4 * self.scale_count(rows, cols) } else { 0 }
    }
    /// Payload and side data of a tensor of `rows` x `cols`.
    pub fn bytes(&self, rows: usize, cols: usize) -> usize {
        rows * self.row_bytes(cols) + self.side_bytes(rows, cols)
    }
    /// Stored bits an element of a tensor of `rows` x `cols`, everything included.
    pub fn bits_per_element(&self, rows: usize, cols: usize) -> f64 {
        8.0 * self.bytes(rows, cols) as f64 / (rows * cols).max(1) as f64
    }
}

/// One term of a dot product: a run of k, of one plane of the weights, whose unscaled sum F is multiplied by one scale
/// of either side and added to the total.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Elements summed.
    pub k: Range<usize>,
    /// Plane of the weights.
    pub plane: usize,
    /// Whether ones stand in the place of the weights' codes, and their offset in that of their scale.
    pub ones: bool,
}

/// The terms of a dot product of rows of `k` elements in the types `x` and `w`, in the order in which
/// total = fma(F, fl(s_x * s_w), total) adds them from +0 (numerics contract, section 3.4): planes, in each the runs
/// of k over which no scale changes, after each the ones of its offset. Of two runs the shorter divides the longer. With
/// `chunk` (of an accumulator) terms are chunks of that many elements added without scales, which must not change along k.
///
/// # Errors
/// Unsupported, naming the types, where the runs do not go together.
pub fn terms(x: &TensorType, w: &TensorType, k: usize, chunk: Option<u32>) -> Result<Vec<Term>> {
    let refuse = |why: &str| Err(Error::unsupported(format!("no dot product is defined for {x} x {w}: {why}")));
    if x.planes > 1 || x.offset {
        return refuse("planes and offsets are served on the side of the weights only");
    }
    let varies = |ty: &TensorType| matches!(ty.scaling, Scaling::Block(_) | Scaling::Tile(..));
    let (long, short) = match (varies(x), varies(w)) {
        (true, true) => (x.run(k).max(w.run(k)), x.run(k).min(w.run(k))),
        (true, false) => (x.run(k), x.run(k)),
        (false, true) => (w.run(k), w.run(k)),
        (false, false) => (k.max(1), k.max(1)),
    };
    if !long.is_multiple_of(short) {
        return refuse("neither block length divides the other");
    }
    let mut run = short;
    if let Some(chunk) = chunk {
        if varies(x) || varies(w) || w.planes > 1 || w.offset {
            return refuse("an accumulator with chunks goes with scales of rows or tensors");
        }
        run = chunk as usize;
    }
    let mut terms = Vec::new();
    for plane in 0..w.planes as usize {
        for start in (0..k.max(1)).step_by(run) {
            let k = start..(start + run).min(k);
            terms.push(Term { k: k.clone(), plane, ones: false });
            if w.offset {
                terms.push(Term { k, plane, ones: true });
            }
        }
    }
    Ok(terms)
}

fn parse(text: &str) -> Result<TensorType> {
    let (main, flags) = match text.split_once('+') {
        Some((main, flags)) => (main, flags.split('+').collect()),
        None => (text, Vec::new()),
    };
    let (main, scale) = match main.split_once(':') {
        Some((main, scale)) => (main, Some(scale)),
        None => (main, None),
    };
    if let Some((_, long)) = ALIASES.iter().find(|(name, _)| *name == main) {
        let mut ty = match *long {
            "nf4/block64" => plain_parse("nf4/block64", None, &[])?,
            long => parse(long)?,
        };
        if let Some(rule) = scale {
            ty.scale.exponent =
                exponent(rule).filter(|_| ty.scale.is_power()).ok_or_else(|| unknown_scale(main, rule))?;
        }
        return match flags.first() {
            Some(flag) => Err(unknown_flag(main, flag)),
            None => Ok(ty),
        };
    }
    plain_parse(main, scale, &flags)
}

fn plain_parse(main: &str, scale: Option<&str>, flags: &[&str]) -> Result<TensorType> {
    let (element, scaling) = match main.split_once('/') {
        Some((element, scaling)) => (element, Some(scaling)),
        None => (main, None),
    };
    let (name, planes) = match element.split_once('*') {
        None => (element, 1),
        Some((name, count)) => match count.parse() {
            Ok(count @ 1..=MOST_PLANES) => (name, count),
            _ => return Err(Error::bad_input(format!("`{element}` has 1 to {MOST_PLANES} planes"))),
        },
    };
    if let (Some((_, long)), Some(scaling)) =
        (ALIASES.iter().find(|(alias, _)| *alias == name && *alias != "nf4"), scaling)
    {
        // A composite with another grouping: the rest stays.
        let mut ty = parse(long)?;
        ty.scaling = parse_scaling(name, scaling)?;
        if let Some(rule) = scale {
            ty.scale.exponent =
                exponent(rule).filter(|_| ty.scale.is_power()).ok_or_else(|| unknown_scale(main, rule))?;
        }
        return Ok(ty);
    }
    let format = format::find(name)?;
    let scaling = match (scaling, format.rule) {
        (None, ScaleRule::Cast) => Scaling::None,
        (None, ScaleRule::Absmax) => Scaling::Row,
        (None, ScaleRule::Absmean) => Scaling::Tensor,
        (Some(text), _) => parse_scaling(name, text)?,
    };
    let mut ty = TensorType { planes, ..TensorType::new(format, scaling) };
    if let Some(scale) = scale {
        let (format, rule) = scale.split_once('.').unwrap_or((scale, "floor"));
        ty.scale.format = format::find(format).map_err(|_| unknown_scale(main, scale))?;
        ty.scale.exponent = exponent(rule).ok_or_else(|| unknown_scale(main, scale))?;
    }
    for flag in flags {
        match *flag {
            "offset" => ty.offset = true,
            "global" => ty.scale.global = true,
            other => return Err(unknown_flag(main, other)),
        }
    }
    Ok(ty)
}

fn exponent(rule: &str) -> Option<ScaleExponent> {
    EXPONENT_RULES.iter().find(|(name, _)| *name == rule).map(|(_, rule)| *rule)
}

fn unknown_scale(name: &str, scale: &str) -> Error {
    Error::bad_input(format!("unknown scale `{scale}` of {name}"))
        .help("write :fp32, :bf16, :fp16, :squares or :e8m0.RULE with RULE floor, ceil, rceil or even; after mx names the RULE alone")
}

fn unknown_flag(name: &str, flag: &str) -> Error {
    Error::bad_input(format!("unknown addition `+{flag}` to {name}")).help("integers with scales take +offset")
}

fn parse_scaling(name: &str, text: &str) -> Result<Scaling> {
    let number = |text: &str| text.parse().ok();
    let sized = text.strip_prefix("block").or_else(|| text.contains('x').then_some(text));
    let parsed = match (text, sized.map(|size| size.split_once('x'))) {
        ("tensor", _) => Some(Scaling::Tensor),
        ("row", _) => Some(Scaling::Row),
        ("none", _) => Some(Scaling::None),
        (_, Some(Some((rows, cols)))) => number(rows).zip(number(cols)).map(|(rows, cols)| match rows {
            1 => Scaling::Block(cols),
            _ => Scaling::Tile(rows, cols),
        }),
        (_, Some(None)) => number(&text["block".len()..]).map(Scaling::Block),
        _ => None,
    };
    parsed.ok_or_else(|| {
        Error::bad_input(format!("unknown scaling `{text}` of {name}"))
            .help("write FORMAT/tensor, FORMAT/row, FORMAT/blockN or FORMAT/blockRxC, for example fp4e2m1/block32")
    })
}

impl fmt::Display for TensorType {
    /// As policies write it: `int8/row`, `fp4e2m1/block128`, `mxfp4`, `fp32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule =
            EXPONENT_RULES.iter().find(|(_, rule)| *rule == self.scale.exponent).map_or("floor", |(name, _)| name);
        let floor = TensorType { scale: ScaleType { exponent: ScaleExponent::Floor, ..self.scale }, ..*self };
        let alias = ALIASES.iter().filter(|(name, _)| *name != "nf4").find(|(_, long)| floor.spelled() == *long);
        match alias {
            Some((name, _)) if rule == "floor" => f.write_str(name),
            Some((name, _)) => write!(f, "{name}:{rule}"),
            None if rule == "floor" => f.write_str(&floor.spelled()),
            None => f.write_str(&floor.spelled().replacen(":e8m0", &format!(":e8m0.{rule}"), 1)),
        }
    }
}

impl TensorType {
    /// The long form, as if powers of two were rounded by `floor`.
    fn spelled(&self) -> String {
        let mut text = self.format.name.clone();
        if self.planes > 1 {
            text += &format!("*{}", self.planes);
        }
        match self.scaling {
            Scaling::None if self.format.rule == ScaleRule::Cast => {}
            Scaling::None => text += "/none",
            Scaling::Tensor => text += "/tensor",
            Scaling::Row => text += "/row",
            Scaling::Block(n) => text += &format!("/block{n}"),
            Scaling::Tile(rows, cols) => text += &format!("/block{rows}x{cols}"),
        }
        if self.scale.format.name != "fp32" {
            text += &format!(":{}", self.scale.format.name);
        }
        if self.offset {
            text += "+offset";
        }
        if self.scale.global {
            text += "+global";
        }
        text
    }
}

impl PartialEq for TensorType {
    fn eq(&self, other: &Self) -> bool {
        let key = |t: &Self| (t.format.id, t.scaling, t.scale.format.id, t.scale.global, t.planes, t.offset);
        key(self) == key(other) && (self.scale.exponent == other.scale.exponent || !self.scale.is_power())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> TensorType {
        TensorType::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn every_type_reads_what_it_writes() {
        let texts = "fp32 int8/row int8/none ternary/tensor fp4e2m1/block128 fp4e2m1/block32:bf16 int4/block32+offset \
            int4/block64+offset mxfp4 mxfp4:ceil mxfp8e4m3:rceil mxint8:even mxfp6e3m2 nvfp4 nvfp4/16x16 nf4/block64 \
            nf4/row colour2 colour3 colour4 binary*2/tensor int4/row:squares fp8e4m3/block16:e8m0.even int8/block4x8";
        for text in texts.split_whitespace() {
            assert_eq!(parsed(text).to_string(), text);
        }
        for (short, long) in [
            ("int8", "int8/row"),
            ("ternary", "ternary/tensor"),
            ("nf4", "nf4/block64"),
            ("fp4e2m1/block32:e8m0", "mxfp4"),
            ("mxfp4/1x32", "mxfp4"),
            ("nvfp4/block16x16", "nvfp4/16x16"),
            ("binary*3", "binary*3/tensor"),
            ("colour3/tensor", "binary*3/tensor"),
        ] {
            assert_eq!(parsed(short).to_string(), long);
            assert!(parsed(short) == parsed(long));
        }
        assert!(parsed("mxfp4") != parsed("mxfp4:even"));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (text, why) in [
            ("int8/blok8", "unknown scaling `blok8` of int8"),
            ("int8/block0", "a block has at least one element"),
            ("int8/blockxx", "unknown scaling"),
            ("fp16/row", "fp16 takes no scale"),
            ("int8/row:e8m0", "belong to blocks"),
            ("int8/row:int8", "scales are fp32"),
            ("int8/row:fp8e4m3", "go together"),
            ("int8/row:nonsense", "unknown scale `nonsense`"),
            ("mxfp4:sideways", "unknown scale `sideways` of mxfp4"),
            ("nvfp4:floor", "unknown scale `floor`"),
            ("mxfp4+offset", "unknown addition `+offset`"),
            ("fp4e2m1/row+offset", "only integers"),
            ("binary*9", "1 to 4 planes"),
            ("int8*2", "planes of signs"),
            ("binary*2/block8", "planes have one scale"),
            ("int8/none+offset", "go with scales"),
        ] {
            let error = TensorType::parse(text).expect_err(text);
            assert!(error.message().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn terms_follow_blocks_planes_and_offsets() {
        let of = |x: &str, w: &str, k, chunk| {
            let list = terms(&parsed(x), &parsed(w), k, chunk);
            list.map(|list| list.iter().map(|t| (t.k.start, t.k.end, t.plane, t.ones)).collect::<Vec<_>>())
        };
        assert_eq!(of("int8", "int8", 5, None).unwrap(), [(0, 5, 0, false)]);
        assert_eq!(
            of("mxfp4", "nvfp4", 40, None).unwrap(),
            [(0, 16, 0, false), (16, 32, 0, false), (32, 40, 0, false)]
        );
        assert_eq!(of("int8", "colour2", 5, None).unwrap(), [(0, 5, 0, false), (0, 5, 1, false)]);
        assert_eq!(of("int8", "int4/block4+offset", 5, None).unwrap().len(), 4);
        assert_eq!(of("int8", "int8", 100, Some(64)).unwrap(), [(0, 64, 0, false), (64, 100, 0, false)]);
        assert_eq!(of("int8", "int8", 0, None).unwrap(), [(0, 0, 0, false)]);
        for (x, w, chunk) in [("mxfp4", "int4/block24", None), ("colour2", "int8", None), ("int8", "mxfp4", Some(32))] {
            let error = of(x, w, 64, chunk).unwrap_err();
            assert!(error.message().starts_with("no dot product is defined for"), "{error}");
        }
    }

    #[test]
    fn bytes_are_the_closed_forms() {
        for (text, rows, cols, bytes) in [
            ("mxfp4", 2, 33, 2 * 17 + 2 * 2),
            ("nvfp4", 3, 16, 3 * 8 + 4 + 4),
            ("nvfp4/16x16", 17, 17, 17 * 9 + 4 + 4),
            ("int4/block32+offset", 1, 96, 48 + 12 + 12),
            ("colour3", 2, 9, 2 * 3 * 2 + 4 * 6),
            ("ternary", 4, 5, 4 * 2 + 4),
            ("fp32", 2, 3, 24),
        ] {
            assert_eq!(parsed(text).bytes(rows, cols), bytes, "{text}");
        }
        assert_eq!(parsed("mxfp4").bits_per_element(1, 64), 4.25);
        assert_eq!(parsed("nvfp4/16x16").scale_index(17, 15, 0, 20), Some(2));
        assert_eq!(parsed("colour2").scale_index(3, 1, 1, 8), Some(7));
    }
}
