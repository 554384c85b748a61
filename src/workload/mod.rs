//! Workloads without weights: lists of layers of which only shapes are known.
//!
//! A [`Workload`] is what timing and energy need of a network: the extents of its products and passes, how often each
//! occurs, and nothing that takes memory. [`load`] finds one by name ([`builtin`]) or reads one from a file: our own list
//! in TOML ([`list`]), the CSV files of SCALE-Sim as they are ([`csv`]), and ONNX models, of which only shapes are read
//! ([`onnx`]). Formats come from a policy; a layer may state its own.
//!
//! ```
//! let resnet = preon::workload::load("resnet50", &Default::default())?;
//! assert_eq!(resnet.macs(), 4_089_184_256);
//! # Ok::<(), preon::Error>(())
//! ```

pub mod builtin;
pub mod csv;
pub mod list;
pub mod onnx;

use crate::diag::{Error, Result, did_you_mean};
use crate::tensor::TensorType;
use std::path::Path;

/// Largest extent of a layer, and most times that it occurs.
pub const MOST: u64 = 1 << 24;
/// Longest text that is read as a list.
const LONGEST_LIST: u64 = 16 << 20;
/// Most layers of a list.
const MOST_LAYERS: usize = 1 << 16;

/// A list of layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// What it is, and which choices its reader or author made, in sentences.
    pub notes: Vec<String>,
    /// Parts that are counted apart, for example `prefill` and `decode`; none for a network that just runs once.
    pub phases: Vec<Phase>,
    /// Layers in the order in which they run.
    pub layers: Vec<Layer>,
}

/// A part of a workload with a speed of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Name.
    pub name: String,
    /// Tokens (or images) that it works through.
    pub tokens: u64,
}

/// One layer, which occurs [`Layer::count`] times.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Name, which the rules of policies match.
    pub name: String,
    /// Times that it runs.
    pub count: u64,
    /// Index in [`Workload::phases`], if there are any.
    pub phase: usize,
    /// What it computes.
    pub kind: Kind,
    /// Formats that it states itself.
    pub formats: Formats,
}

/// Formats that a layer states; what is `None` follows the policy.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Formats {
    /// Weights.
    pub weights: Option<TensorType>,
    /// Inputs.
    pub inputs: Option<TensorType>,
    /// Results.
    pub outputs: Option<TensorType>,
}

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `y[m,n] = x[m,k] . w[n,k]^T`.
    Gemm(Gemm),
    /// A convolution.
    Conv(Conv),
    /// Scores, softmax and values of every head.
    Attention(Attention),
    /// A pass over `rows` rows of `cols` elements.
    Pass {
        /// Which.
        pass: Pass,
        /// Rows.
        rows: u64,
        /// Elements of a row.
        cols: u64,
    },
    /// Maxima or means of windows.
    Pool(Pool),
    /// `tokens` rows of `cols` elements out of a table of `rows`.
    Embedding {
        /// Rows of the table.
        rows: u64,
        /// Elements of a row.
        cols: u64,
        /// Rows that are read.
        tokens: u64,
    },
}

/// What follows a product before its result leaves the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Epilogue {
    /// A bias an output.
    pub bias: bool,
    /// An activation.
    pub act: Option<Act>,
    /// Whether a residual of the result's shape is read and added.
    pub residual: bool,
}

/// Activations that an epilogue serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// max(x, 0).
    Relu,
    /// relu(x)^2.
    Relu2,
    /// Exact GELU.
    Gelu,
    /// x * sigmoid(x).
    Silu,
}

impl Act {
    /// Additions and multiplications, and special functions, an element: what `act` costs (docs/timing.md).
    pub fn operations(self) -> [u64; 2] {
        match self {
            Act::Relu => [1, 0],
            Act::Relu2 => [2, 0],
            Act::Gelu | Act::Silu => [0, 1],
        }
    }
}

/// A product with constant weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Rows of inputs.
    pub m: u64,
    /// Outputs.
    pub n: u64,
    /// Depth.
    pub k: u64,
    /// What follows.
    pub then: Epilogue,
}

/// A convolution of images that lie pixel by pixel, all channels of a group side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Images.
    pub batch: u64,
    /// Rows of the image.
    pub h: u64,
    /// Columns of the image.
    pub w: u64,
    /// Channels of the image.
    pub c: u64,
    /// Channels of the result.
    pub k: u64,
    /// Rows of the window.
    pub r: u64,
    /// Columns of the window.
    pub s: u64,
    /// Step of the window.
    pub stride: u64,
    /// Zeros on every side of the image.
    pub pad: u64,
    /// Distance of the window's elements.
    pub dilation: u64,
    /// Groups of channels that do not mix.
    pub groups: u64,
    /// What follows.
    pub then: Epilogue,
}

/// Attention: every query row meets all keys (no causal cut), head by head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attention {
    /// Sequences.
    pub batch: u64,
    /// Query rows of a sequence.
    pub queries: u64,
    /// Keys of a sequence.
    pub keys: u64,
    /// Heads of queries.
    pub heads: u64,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of queries.
    pub kv_heads: u64,
    /// Elements of a head.
    pub width: u64,
}

/// Windows of an image, of which the maximum or the mean remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool {
    /// The windows: `k` is `c`, `groups` and `dilation` are 1, nothing follows.
    pub window: Conv,
    /// Means instead of maxima.
    pub mean: bool,
}

/// Passes over rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Sum of two operands.
    Add,
    /// Product of two operands.
    Mul,
    /// An activation.
    Act(Act),
    /// Layer normalisation.
    LayerNorm,
    /// Root-mean-square normalisation.
    RmsNorm,
    /// Softmax.
    Softmax,
    /// Rotary embedding of one head.
    Rope,
    /// Dynamic quantisation into the format of inputs.
    Quantise,
}

impl Act {
    /// All, with their names.
    pub const ALL: [(&str, Act); 4] =
        [("relu", Act::Relu), ("relu2", Act::Relu2), ("gelu", Act::Gelu), ("silu", Act::Silu)];
}

impl Pass {
    /// All, with their names.
    pub const ALL: [(&str, Pass); 11] = [
        ("add", Pass::Add),
        ("mul", Pass::Mul),
        ("relu", Pass::Act(Act::Relu)),
        ("relu2", Pass::Act(Act::Relu2)),
        ("gelu", Pass::Act(Act::Gelu)),
        ("silu", Pass::Act(Act::Silu)),
        ("layernorm", Pass::LayerNorm),
        ("rmsnorm", Pass::RmsNorm),
        ("softmax", Pass::Softmax),
        ("rope", Pass::Rope),
        ("quantise", Pass::Quantise),
    ];
    /// Its name.
    pub fn name(self) -> &'static str {
        Pass::ALL.iter().find(|(_, pass)| *pass == self).map_or("?", |(name, _)| name)
    }
}

impl Conv {
    /// Rows and columns of the result.
    pub fn out(&self) -> (u64, u64) {
        let along = |extent: u64, window: u64| {
            let reach = self.dilation.saturating_mul(window.saturating_sub(1)) + 1;
            (extent + 2 * self.pad).checked_sub(reach).map_or(0, |rest| rest / self.stride.max(1) + 1)
        };
        (along(self.h, self.r), along(self.w, self.s))
    }
    /// Multiply-accumulates, padding included.
    pub fn macs(&self) -> u64 {
        let (oh, ow) = self.out();
        let pixels = [self.batch, oh, ow, self.k, self.c / self.groups.max(1), self.r, self.s];
        pixels.iter().fold(1, |product: u64, extent| product.saturating_mul(*extent))
    }
}

impl Kind {
    /// What it is, in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Gemm(_) => "gemm",
            Kind::Conv(_) => "conv",
            Kind::Attention(_) => "attention",
            Kind::Pass { pass, .. } => pass.name(),
            Kind::Pool(pool) if pool.mean => "avgpool",
            Kind::Pool(_) => "maxpool",
            Kind::Embedding { .. } => "embedding",
        }
    }
    /// Its extents, for people.
    pub fn shape(&self) -> String {
        match self {
            Kind::Gemm(g) => format!("{}x{}x{}", g.m, g.n, g.k),
            Kind::Conv(c) | Kind::Pool(Pool { window: c, .. }) => {
                let batch = if c.batch > 1 { format!("{} of ", c.batch) } else { String::new() };
                let groups = if c.groups > 1 { format!(" in {} groups", c.groups) } else { String::new() };
                let dilated = if c.dilation > 1 { format!(" by {}", c.dilation) } else { String::new() };
                format!("{batch}{}x{}x{} to {}, {}x{}{dilated}/{}{groups}", c.h, c.w, c.c, c.k, c.r, c.s, c.stride)
            }
            Kind::Attention(a) => {
                let batch = if a.batch > 1 { format!("{} of ", a.batch) } else { String::new() };
                format!(
                    "{batch}{} queries, {} keys, {}/{} heads of {}",
                    a.queries, a.keys, a.heads, a.kv_heads, a.width
                )
            }
            Kind::Pass { rows, cols, .. } => format!("{rows}x{cols}"),
            Kind::Embedding { rows, cols, tokens } => format!("{tokens} of {rows}x{cols}"),
        }
    }
    /// Multiply-accumulates of its products.
    pub fn macs(&self) -> u64 {
        let product = |extents: &[u64]| extents.iter().fold(1, |product: u64, extent| product.saturating_mul(*extent));
        match self {
            Kind::Gemm(g) => product(&[g.m, g.n, g.k]),
            Kind::Conv(c) => c.macs(),
            Kind::Attention(a) => product(&[2, a.batch, a.heads, a.queries, a.keys, a.width]),
            Kind::Pass { .. } | Kind::Pool(_) | Kind::Embedding { .. } => 0,
        }
    }
    /// Weights, in elements.
    pub fn weights(&self) -> u64 {
        match self {
            Kind::Gemm(g) => g.n * g.k + if g.then.bias { g.n } else { 0 },
            Kind::Conv(c) => c.k * (c.c / c.groups.max(1) * c.r * c.s + u64::from(c.then.bias)),
            Kind::Embedding { rows, cols, .. } => rows * cols,
            _ => 0,
        }
    }
    /// The first extent that is 0 or too large.
    pub(crate) fn wrong_extent(&self) -> Option<(&'static str, u64)> {
        let extents: Vec<(&'static str, u64)> = match self {
            Kind::Gemm(g) => vec![("m", g.m), ("n", g.n), ("k", g.k)],
            Kind::Conv(c) | Kind::Pool(Pool { window: c, .. }) => vec![
                ("batch", c.batch),
                ("h", c.h),
                ("w", c.w),
                ("c", c.c),
                ("k", c.k),
                ("r", c.r),
                ("s", c.s),
                ("stride", c.stride),
                ("dilation", c.dilation),
                ("groups", c.groups),
                ("pad + 1", c.pad.saturating_add(1)),
            ],
            Kind::Attention(a) => vec![
                ("batch", a.batch),
                ("queries", a.queries),
                ("keys", a.keys),
                ("heads", a.heads),
                ("kv_heads", a.kv_heads),
                ("width", a.width),
            ],
            Kind::Pass { rows, cols, .. } => vec![("rows", *rows), ("cols", *cols)],
            Kind::Embedding { rows, cols, tokens } => vec![("rows", *rows), ("cols", *cols), ("tokens", *tokens)],
        };
        extents.into_iter().find(|(_, value)| !(1..=MOST).contains(value))
    }
    /// Whether the extents make sense.
    ///
    /// # Errors
    /// BadInput, naming the extent.
    pub fn check(&self) -> Result<()> {
        if let Some((name, value)) = self.wrong_extent() {
            return Err(Error::bad_input(format!("{name} is {value}; extents are 1 to {MOST}")));
        }
        let shared = |all: u64, parts: u64, what: &str| match all.is_multiple_of(parts) {
            true => Ok(()),
            false => Err(Error::bad_input(format!("{all} {what} do not divide into {parts}"))),
        };
        match self {
            Kind::Conv(c) | Kind::Pool(Pool { window: c, .. }) => {
                let (oh, ow) = c.out();
                if oh == 0 || ow == 0 {
                    let apart = if c.dilation > 1 { format!(", {} apart,", c.dilation) } else { String::new() };
                    let message =
                        format!("a window of {} x {}{apart} is larger than an image of {} x {}", c.r, c.s, c.h, c.w);
                    return Err(Error::bad_input(message));
                }
                if c.pad > c.dilation * (c.r.min(c.s) - 1) {
                    let message = format!("a pad of {} beside windows of {} x {}: some see no image", c.pad, c.r, c.s);
                    return Err(Error::unsupported(message).help("pad by less than the window reaches"));
                }
                shared(c.c, c.groups, "channels of the image")?;
                shared(c.k, c.groups, "channels of the result")?;
            }
            Kind::Attention(a) => shared(a.heads, a.kv_heads, "heads")?,
            Kind::Pass { pass: Pass::Rope, cols, .. } => shared(*cols, 2, "elements of a head, which rope turns,")?,
            _ => {}
        }
        if self.macs() > 1 << 62 {
            return Err(Error::bad_input("the layer has more than 2^62 multiply-accumulates"));
        }
        Ok(())
    }
}

impl Workload {
    /// A workload of one phase.
    pub fn new(name: impl Into<String>, layers: Vec<Layer>) -> Self {
        Workload { name: name.into(), notes: Vec::new(), phases: Vec::new(), layers }
    }
    /// Multiply-accumulates of all layers.
    pub fn macs(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.kind.macs().saturating_mul(layer.count)))
    }
    /// Whether there are layers, not too many, and all make sense.
    ///
    /// # Errors
    /// BadInput, naming the layer.
    pub fn check(&self) -> Result<()> {
        if self.layers.is_empty() || self.layers.len() > MOST_LAYERS {
            let message =
                format!("`{}` has {} layers; a workload has 1 to {MOST_LAYERS}", self.name, self.layers.len());
            return Err(Error::bad_input(message));
        }
        for phase in &self.phases {
            plain(&phase.name)?;
            if !(1..=MOST).contains(&phase.tokens) {
                let message = format!("phase `{}` has {} tokens; it is 1 to {MOST}", phase.name, phase.tokens);
                return Err(Error::bad_input(message));
            }
        }
        plain(&self.name)?;
        for layer in &self.layers {
            plain(&layer.name)?;
            let named = |error: Error| error.at(crate::diag::Place::Node(layer.name.clone()));
            layer.kind.check().map_err(named)?;
            if !(1..=MOST).contains(&layer.count) {
                return Err(named(Error::bad_input(format!("count is {}; it is 1 to {MOST}", layer.count))));
            }
            if layer.phase >= self.phases.len().max(1) {
                return Err(named(Error::bad_input("the layer belongs to no phase")));
            }
        }
        Ok(())
    }
}

impl Layer {
    /// A layer that occurs once.
    pub fn new(name: impl Into<String>, kind: Kind) -> Self {
        Layer { name: name.into(), count: 1, phase: 0, kind, formats: Formats::default() }
    }
    /// The same, `count` times.
    pub fn times(self, count: u64) -> Self {
        Layer { count, ..self }
    }
}

/// The built-in workload of that name, or the one in the file of that path: `.toml`, `.csv` or `.onnx`.
///
/// # Errors
/// BadInput for an unknown name, a file that cannot be read or that is not what its ending says; Unsupported for an op or
/// layer that is not served.
pub fn load(name_or_path: &str, options: &builtin::Options) -> Result<Workload> {
    if let Some(workload) = builtin::build(name_or_path, options)? {
        workload.check()?;
        return Ok(workload);
    }
    let path = Path::new(name_or_path);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    if !name_or_path.contains(['/', '\\']) && !["toml", "csv", "onnx"].contains(&ending.as_str()) {
        let names = || builtin::NAMES.iter().map(|(name, _)| *name);
        let near = did_you_mean(name_or_path, names()).map_or(String::new(), |near| format!("did you mean `{near}`? "));
        let list = names().collect::<Vec<_>>().join(", ");
        return Err(Error::bad_input(format!("there is no workload `{name_or_path}`"))
            .help(format!("{near}built in: {list}; or a list of layers as .toml, .csv or .onnx")));
    }
    options.none_given(name_or_path)?;
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("workload");
    let workload = match ending.as_str() {
        "onnx" => onnx::read(path, stem, options)?,
        "csv" => csv::parse(name_or_path, stem, &text_of(path)?)?,
        "toml" => list::parse(name_or_path, stem, &text_of(path)?)?,
        _ => {
            return Err(Error::bad_input("a workload is a list as .toml, .csv or .onnx").in_file(name_or_path));
        }
    };
    workload.check().map_err(|error| match error.place() {
        crate::diag::Place::Nowhere => error.in_file(name_or_path),
        _ => error.note(format!("in {name_or_path}")),
    })?;
    Ok(workload)
}

/// Refuses names that a terminal would obey.
fn plain(name: &str) -> Result<()> {
    match name.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(c) => {
            let shown = name.escape_debug();
            Err(Error::bad_input(format!("the name `{shown}` has a control character, U+{:04X}", u32::from(c))))
        }
    }
}

fn text_of(path: &Path) -> Result<String> {
    let shown = path.display().to_string();
    let wrong = |what: String| Error::bad_input(what).in_file(shown.clone());
    let meta = std::fs::metadata(path).map_err(|e| wrong(format!("the list cannot be read: {e}")))?;
    if !meta.is_file() || meta.len() > LONGEST_LIST {
        return Err(wrong(format!("a list of layers is a text of at most {LONGEST_LIST} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|e| wrong(format!("the list cannot be read: {e}")))?;
    String::from_utf8(bytes).map_err(|_| wrong("a list of layers is a text in UTF-8".into()))
}
