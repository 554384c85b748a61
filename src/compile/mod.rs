//! Graph and machine to program: one file per pass.
//!
//! [`fuse`] groups nodes into steps, [`place`] decides where values live, [`lower`] turns each step into kernel calls
//! ([`tile`] chooses the shapes of products), [`link`] assembles the kernels and writes the driver that calls them.

pub mod fuse;
pub mod kernels;
pub mod layers;
pub mod link;
pub mod lower;
mod pace;
pub mod place;
pub mod sparse;
mod stream;
pub mod tile;
pub mod trial;

use crate::diag::{Error, Explanation, Result};
use crate::graph::{Def, Graph, NodeId, Op, ValueId};
use crate::isa::Object;
use crate::machine::Machine;
use crate::num::{Rounding, encode};
use crate::tensor::layout::entropy::Coded;
use crate::tensor::store::coded;
use crate::tensor::{Scaling, Store, TensorType, rows_cols};
use fuse::Group;
use kernels::{Kernels, Replaced};
use lower::{Context, Lowered};
use place::{ALIGN, Arena, PAGE, SPACE_SHIFT, dram_align};
use sparse::SparseWeights;
use std::cell::RefCell;
use trial::Trial;

/// Every error code of the compiler with what it means, for `preon explain`.
pub const CODES: &[Explanation] = &[
    Explanation {
        code: "E0401",
        what: "Something does not fit a memory of the machine; the message says what needs how many bytes.",
        more: "Narrower formats, shorter inputs or a machine with more memory help.",
        wrong: "preon run MODEL -m edge --set sram.bytes=1024",
        right: "preon run MODEL -m edge",
    },
    Explanation {
        code: "E0402",
        what: "A reduction runs over more elements than one L16 sum serves (4096).",
        more: "Rows of norms, softmax and dynamic scales are summed in 16 lanes; longer rows are not served yet.",
        wrong: "a softmax over 8192 positions",
        right: "a softmax over 4096 positions",
    },
    Explanation {
        code: "E0403",
        what: "No kernel serves this op with these formats, scales or axes.",
        more: "The message names the node; another format or scaling in the policy usually serves.",
        wrong: "activations = \"fp4e2m1/block16\" on a node that takes scales by row only",
        right: "activations = \"int8/row\"",
    },
    Explanation {
        code: "E0404",
        what: "The machine has no rate for a pair of formats, on the array or on the vector unit.",
        more: "`preon machine show NAME` lists the pairs that a machine has; a machine file of your own may add one.",
        wrong: "weights ternary, activations fp32 on a machine that lists ternary*int8 alone",
        right: "weights ternary, activations int8",
    },
    Explanation {
        code: "E0405",
        what: "A kernel and the compiler disagree on the kernel's parameters, or the kernel is missing.",
        more: "A kernel of your own keeps the `.param` names of the one that it replaces.",
        wrong: ".param rows, n, in, out",
        right: ".param rows, rb, n, x, x_row, y, y_row, bi0, bi1, bo0, bo1",
    },
    Explanation {
        code: "E0406",
        what: "A file of `--kernels` replaces nothing: no kernel of the library has its name.",
        more: "Files take the place of those of the same name; docs/kernels.md lists them. A `.inc` file is included.",
        wrong: "--kernels DIR with DIR/soft-max.vasm",
        right: "--kernels DIR with DIR/softmax.vasm",
    },
];

/// What compiling may do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Fuse element-wise epilogues into products.
    pub fuse: bool,
    /// The kernels to link.
    pub kernels: Kernels,
    /// Where values lie.
    pub layout: Layout,
    /// The engine, to decide between tilings of short products; without it the estimate decides alone.
    pub timer: Option<trial::Timer>,
}

/// Where the values of a program lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The first byte in use; not 0, which means "absent" in parameter blocks.
    pub from: u64,
    /// Where the first input lies, if that is decided already.
    pub input: Option<u64>,
    /// Whether named results go to DRAM even where the chip has room for them.
    pub results_in_dram: bool,
    /// Whether inputs and named results have to lie on the chip, where other layers left them or will read them.
    pub resident: bool,
    /// Whether the programs before and behind in a stream are equal but for places in memory, and the weights of each follow
    /// those of the one before it: so that a program may load the first weights of the next.
    pub equals: [bool; 2],
}

impl Default for Layout {
    fn default() -> Self {
        Layout { from: PAGE, input: None, results_in_dram: false, resident: false, equals: [false; 2] }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options { fuse: true, kernels: Kernels::builtin(), layout: Layout::default(), timer: None }
    }
}

/// Where a graph value lives in the machine's memory during a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// The value.
    pub value: ValueId,
    /// Address of its payload, space in bits 63:60.
    pub addr: u64,
    /// Address of its scales; 0 if it has none. Run-time values lie as [`crate::tensor::Tensor::side_data`] writes them,
    /// constants as [`sides_in_memory`] does.
    pub scale_addr: u64,
    /// Address of its global scale; 0 if it has none.
    pub global_addr: u64,
    /// Order of the scales.
    pub order: ScaleOrder,
    /// Shape.
    pub shape: Vec<usize>,
    /// Type.
    pub ty: TensorType,
}

/// The order in which scales lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleOrder {
    /// Row by row: run-time values, and tables whose rows are gathered.
    ByRow,
    /// Term by term (blocks or planes), in each row by row: weights, of which a kernel reads a term of many rows at once.
    ByTerm,
}

/// One entry of the ledger's node axis, in program order.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Name (the producing graph node's; fused ones joined by ` + `).
    pub name: String,
    /// Graph nodes computed in this step; the last one's output is materialised.
    pub nodes: Vec<NodeId>,
    /// Kernel that runs it; the path of the user's file if it is not ours.
    pub kernel: String,
    /// Where the step's result lies when the step ends.
    pub output: Placement,
    /// Dense multiply-accumulates of the step (0 for element-wise steps).
    pub macs_dense: u64,
    /// Loop nest and tile sizes for `--explain`, one line a level, outermost first.
    pub loops: Vec<String>,
}

/// Weights that lie entropy-coded in memory and are decoded on their way to the multipliers.
#[derive(Debug, Clone)]
pub struct CodedWeights {
    /// The constant.
    pub value: ValueId,
    /// Address of the restart table in control memory; the model follows it.
    pub table: u64,
    /// Rows of a tile.
    pub tile_rows: u64,
    /// Bytes of the longest tile.
    pub longest: u64,
    /// The tiles.
    pub coded: Coded,
}

/// A compiled program with all that a run needs.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// Code, symbols, formats and initial control memory.
    pub object: Object,
    /// Constants in DRAM; block scales of weights lie block-major there.
    pub constants: Vec<Placement>,
    /// Constants that lie entropy-coded: at the address of their payload are tiles of coded rows instead.
    pub coded: Vec<CodedWeights>,
    /// Constants of which only live tiles lie in memory.
    pub sparse: Vec<SparseWeights>,
    /// Run-time inputs. Token ids are u32 tables in control memory.
    pub inputs: Vec<Placement>,
    /// Steps; ledger node `i` is step `i`.
    pub steps: Vec<Step>,
    /// Bytes of DRAM the program uses.
    pub dram_bytes: u64,
    /// Largest number of SRAM bytes in use at once (own SRAM).
    pub peak_sram_bytes: u64,
    /// Stored bytes of all weights, scales included.
    pub weight_bytes: u64,
    /// Weight bytes by format name.
    pub weight_bytes_by_format: Vec<(String, u64)>,
    /// The user's kernels, linked or not.
    pub replaced: Vec<Replaced>,
}

/// Where every value lives during a run; reshapes share the place of their operand.
#[derive(Debug, Clone)]
pub struct Storage {
    places: Vec<Option<(u64, u64)>>,
}

impl Storage {
    /// Where `value` lives, with its own shape and type.
    ///
    /// # Errors
    /// Internal if nothing placed it.
    pub fn place(&self, graph: &Graph, value: ValueId) -> Result<Placement> {
        let (addr, scale_addr) = self.places[root(graph, value).0 as usize]
            .ok_or_else(|| Error::internal(format!("value `{}` has no place", graph.value(value).name)))?;
        let value_ref = graph.value(value);
        let (rows, cols) = rows_cols(&value_ref.shape);
        let global_at = match value_ref.def {
            Def::Const(_) => constant_global_at(&value_ref.ty, rows, cols),
            _ => value_ref.ty.global_at(rows, cols),
        };
        let global_addr = if value_ref.ty.scale.global { scale_addr + global_at as u64 } else { 0 };
        let order = scale_order(graph, value);
        let (shape, ty) = (value_ref.shape.clone(), value_ref.ty);
        Ok(Placement { value, addr, scale_addr, global_addr, order, shape, ty })
    }
}

/// The value behind reshapes: the one whose bytes these are.
pub fn root(graph: &Graph, value: ValueId) -> ValueId {
    match graph.value(value).def {
        Def::Node(node) if matches!(graph.node(node).op, Op::Reshape { .. }) => root(graph, graph.node(node).inputs[0]),
        _ => value,
    }
}

/// Payload bytes of a value, and those of its scales with all that belongs to them.
fn sizes(graph: &Graph, value: ValueId) -> (u64, u64) {
    let value = graph.value(value);
    let (rows, cols) = rows_cols(&value.shape);
    let ty = &value.ty;
    let side = match value.def {
        Def::Const(_) => constant_global_at(ty, rows, cols) + if ty.scale.global { 4 } else { 0 },
        _ => ty.side_bytes(rows, cols),
    };
    ((rows * (ty.row_bytes(cols) + mask_row_bytes(value))) as u64, side as u64)
}

/// Bytes of the mask behind every row of a constant; 0 for everything without a mask.
pub fn mask_row_bytes(value: &crate::graph::Value) -> usize {
    match &value.def {
        Def::Const(tensor) if tensor.mask.is_some() => tensor.rows_cols().1.div_ceil(8),
        _ => 0,
    }
}

/// The payload of a constant as kernels read it: behind every row stand the bits of its mask, if it has one.
pub fn payload_in_memory(tensor: &crate::tensor::Tensor) -> std::borrow::Cow<'_, [u8]> {
    let Some(mask) = &tensor.mask else { return tensor.payload.as_slice().into() };
    let (rows, _) = tensor.rows_cols();
    (0..rows).flat_map(|row| [tensor.row(row), mask.row(row)]).flatten().copied().collect()
}

/// Constants that an embedding gathers, and run-time values, lie by row.
fn scale_order(graph: &Graph, value: ValueId) -> ScaleOrder {
    let gathered = |node: &crate::graph::Node| node.op == Op::Embedding && node.inputs[0] == value;
    match graph.value(value).def {
        Def::Const(_) if !graph.nodes.iter().any(gathered) => ScaleOrder::ByTerm,
        _ => ScaleOrder::ByRow,
    }
}

/// Scales of one output of a constant in memory: one for each term of a dot product with it, offsets included.
fn scales_per_output(ty: &TensorType, cols: usize) -> usize {
    ty.scales_per_row(cols) * if ty.offset { 2 } else { 1 }
}

/// Where the global scale of a constant stands behind its other scales.
fn constant_global_at(ty: &TensorType, rows: usize, cols: usize) -> usize {
    let scale_bytes = ty.scale.format.bits as usize / 8;
    let bytes = match ty.scaling {
        Scaling::None => 0,
        Scaling::Tensor if scales_per_output(ty, cols) == 1 => scale_bytes,
        _ => rows * scales_per_output(ty, cols) * scale_bytes,
    };
    if ty.scale.global { bytes.next_multiple_of(4) } else { bytes }
}

/// Compiles an annotated graph for a machine.
///
/// # Errors
/// Unsupported, naming the node, where no kernel serves an op and its formats or a tile does not fit the SRAM.
pub fn compile(graph: &Graph, machine: &Machine, options: &Options) -> Result<Compiled> {
    compile_with(graph, machine, options, &mut link::Bodies::default())
}

/// As [`compile`], with bodies of kernels that earlier programs with the same kernels were made of.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    graph: &Graph,
    machine: &Machine,
    options: &Options,
    bodies: &mut link::Bodies,
) -> Result<Compiled> {
    let groups = fuse::groups(graph, options.fuse);
    let mut plan = Plan::new(graph, machine, options.layout);
    plan.constants_and_inputs()?;
    plan.results(&groups)?;
    let bodies = &RefCell::new(bodies);
    let user = !options.kernels.user_files().is_empty();
    let context = Context {
        graph,
        machine,
        storage: &plan.storage,
        coded: &plan.coded,
        sparse: &plan.sparse,
        workspace_bytes: plan.workspace_bytes,
        // A user's kernel may do anything, and is never run but in the program.
        trial: options.timer.filter(|_| !user).map(|timer| Trial { timer, kernels: &options.kernels, bodies }),
    };
    let lowered = groups.iter().map(|group| lower::lower(&context, group)).collect::<Result<Vec<_>>>()?;
    let steps = steps(graph, &plan.storage, &groups, &lowered, &options.kernels)?;
    let called: Vec<&str> = lowered.iter().filter_map(|step| Some(step.calls.first()?.kernel)).collect();
    let scratch = lowered.iter().map(|step| step.workspace_bytes).max().unwrap_or(0);
    let mut object = link::link(&lowered, &options.kernels, plan.control_bytes, machine, &mut bodies.borrow_mut())?;
    let names = steps.iter().map(|step| format!("node {}", step.name));
    object.symbols.extend(names.zip(link::step_words(&lowered)));
    let (weight_bytes, weight_bytes_by_format) = weights(graph);
    Ok(Compiled {
        object,
        constants: plan.constants,
        coded: plan.coded,
        sparse: plan.sparse,
        inputs: plan.inputs,
        steps,
        dram_bytes: plan.dram_bytes + plan.dram.peak(),
        peak_sram_bytes: scratch + plan.chip.peak(),
        weight_bytes,
        weight_bytes_by_format,
        replaced: options.kernels.replaced(&called),
    })
}

/// Scratch bytes of the own SRAM, and the arena of results on chip: the shared level where there is one, else a quarter of
/// the own SRAM.
fn on_chip(machine: &Machine) -> (u64, Arena) {
    let own = machine.own().bytes;
    match machine.shared() {
        Some(shared) => (own, Arena::new(2 << SPACE_SHIFT, shared.bytes)),
        None => {
            let scratch = (own - own / 4) / ALIGN * ALIGN;
            (scratch, Arena::new((1 << SPACE_SHIFT) + scratch, own - scratch))
        }
    }
}

/// What does not find room on the chip although it has to.
fn not_resident(what: &str, bytes: u64, machine: &Machine) -> Error {
    let message = format!(
        "does not fit: `{what}` needs {bytes} bytes on the chip beside what lies there, {} has too few",
        machine.name
    );
    Error::unsupported(message).code("E0401").help("let activations go to DRAM, or use a machine with more SRAM")
}

/// The memory plan while it is made.
struct Plan<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    storage: Storage,
    constants: Vec<Placement>,
    coded: Vec<CodedWeights>,
    sparse: Vec<SparseWeights>,
    inputs: Vec<Placement>,
    /// Bytes of DRAM below the arena of results.
    dram_bytes: u64,
    /// Bytes of control memory taken by index inputs.
    control_bytes: u64,
    /// Scratch bytes of the own SRAM.
    workspace_bytes: u64,
    /// On-chip arena of results.
    chip: Arena,
    /// Arena of results that do not fit on chip.
    dram: Arena,
    dram_capacity: u64,
    layout: Layout,
}

impl<'a> Plan<'a> {
    fn new(graph: &'a Graph, machine: &'a Machine, layout: Layout) -> Self {
        let (workspace_bytes, chip) = on_chip(machine);
        Plan {
            graph,
            machine,
            storage: Storage { places: vec![None; graph.values.len()] },
            constants: Vec::new(),
            coded: Vec::new(),
            sparse: Vec::new(),
            inputs: Vec::new(),
            dram_bytes: layout.from,
            control_bytes: 0,
            workspace_bytes,
            chip,
            dram: Arena::new(0, 0),
            dram_capacity: machine.dram.bytes,
            layout,
        }
    }

    /// Payload, then scales, upwards in DRAM (address 0 stays unused: it means "absent" in parameter blocks).
    fn in_dram(&mut self, value: ValueId) -> Result<Placement> {
        let (mut payload, scales) = sizes(self.graph, value);
        if let Some(coded) = self.coded.iter().find(|coded| coded.value == value) {
            payload = coded.coded.payload().len() as u64;
        }
        if let Some(sparse) = self.sparse.iter().find(|sparse| sparse.value == value) {
            payload = sparse.payload.len() as u64;
        }
        let addr = self.dram_bytes.next_multiple_of(dram_align(payload));
        let scale_addr = addr + payload.next_multiple_of(ALIGN);
        self.dram_bytes = scale_addr + scales.next_multiple_of(ALIGN);
        self.storage.places[value.0 as usize] = Some((addr, if scales == 0 { 0 } else { scale_addr }));
        self.storage.place(self.graph, value)
    }

    fn constants_and_inputs(&mut self) -> Result<()> {
        for index in 0..self.graph.values.len() {
            let value = ValueId(u32::try_from(index).expect("fewer than 2^32 values"));
            match self.graph.value(value).def {
                Def::Const(ref tensor) => {
                    if tensor.store.0 == Store::Entropy {
                        self.code(value, tensor)?;
                    }
                    self.cut(value, tensor);
                    let place = self.in_dram(value)?;
                    self.constants.push(place);
                }
                Def::Input => {
                    let known = self.layout.input.filter(|_| self.inputs.is_empty());
                    let place =
                        if self.layout.resident { self.resident(value, known)? } else { self.input(value, known)? };
                    self.inputs.push(place);
                }
                Def::Indices => {
                    let addr = (3 << SPACE_SHIFT) + self.control_bytes;
                    self.control_bytes +=
                        (4 * self.graph.value(value).shape.iter().product::<usize>() as u64).next_multiple_of(ALIGN);
                    self.storage.places[index] = Some((addr, 0));
                    let place = self.storage.place(self.graph, value)?;
                    self.inputs.push(place);
                }
                Def::Node(_) => {}
            }
        }
        Ok(())
    }

    /// An input in DRAM, whose payload may lie at a known place.
    fn input(&mut self, value: ValueId, known: Option<u64>) -> Result<Placement> {
        let place = self.in_dram(value)?;
        let Some(at) = known else { return Ok(place) };
        self.storage.places[value.0 as usize] = Some((at, place.scale_addr));
        self.storage.place(self.graph, value)
    }

    /// An input that lies on the chip.
    fn resident(&mut self, value: ValueId, known: Option<u64>) -> Result<Placement> {
        let (payload, scales) = sizes(self.graph, value);
        let padded = payload.next_multiple_of(ALIGN);
        // What a layer reads may be longer than what the one before has left.
        let kept = known.filter(|at| self.chip.keep(*at, padded + scales));
        let addr = kept.or_else(|| self.chip.take(padded + scales, 0, usize::MAX));
        let name = &self.graph.value(value).name;
        let addr = addr.ok_or_else(|| not_resident(name, padded + scales, self.machine))?;
        self.storage.places[value.0 as usize] = Some((addr, if scales == 0 { 0 } else { addr + padded }));
        self.storage.place(self.graph, value)
    }

    /// Cuts masked weights into tiles where that pays: their map goes to control memory, if it has room.
    fn cut(&mut self, value: ValueId, tensor: &crate::tensor::Tensor) {
        let Some((tiles, _)) = sparse::choose(self.graph, self.machine, value, self.workspace_bytes) else { return };
        let map = (3 << SPACE_SHIFT) + self.control_bytes;
        let Some(cut) = SparseWeights::cut(value, tensor, tiles, map) else { return };
        let end = self.control_bytes + (cut.control.len() as u64).next_multiple_of(ALIGN);
        // Parameter blocks need room too.
        if end <= self.machine.control_bytes / 2 {
            self.control_bytes = end;
            self.sparse.push(cut);
        }
    }

    /// Entropy-codes a constant: its restart table and model go to control memory.
    fn code(&mut self, value: ValueId, tensor: &crate::tensor::Tensor) -> Result<()> {
        let name = &self.graph.value(value).name;
        let only_weight = |node: &crate::graph::Node| {
            let places = node.inputs.iter().enumerate().filter(|(_, input)| **input == value);
            node.op == Op::Linear && places.into_iter().all(|(at, _)| at == 1)
        };
        if !self.graph.nodes.iter().filter(|node| node.inputs.contains(&value)).all(only_weight) {
            let message = format!("`{name}` is entropy-coded, which only weights of linear nodes can be");
            return Err(Error::unsupported(message).code("E0403"));
        }
        let (rows, cols) = tensor.rows_cols();
        let coded = coded(tensor.ty.format, (rows, cols), &tensor.payload)?;
        let longest = (0..coded.tiles()).map(|tile| coded.restart(tile).map_or(0, |r| u64::from(r.bytes))).max();
        let tile_rows = u64::from(Coded::tile_of_rows(cols)) / cols.max(1) as u64;
        let table = (3 << SPACE_SHIFT) + self.control_bytes;
        self.control_bytes += (coded.control_bytes().len() as u64).next_multiple_of(ALIGN);
        self.coded.push(CodedWeights { value, table, tile_rows, longest: longest.unwrap_or(0), coded });
        Ok(())
    }

    fn results(&mut self, groups: &[Group]) -> Result<()> {
        let room = self.dram_capacity.checked_sub(self.dram_bytes).ok_or_else(|| {
            Error::unsupported(format!(
                "constants need {} bytes of DRAM, the machine has {}",
                self.dram_bytes, self.dram_capacity
            ))
            .code("E0401")
        })?;
        self.dram = Arena::of_dram(self.dram_bytes, room);
        let last_use = last_uses(self.graph, groups);
        for (step, group) in groups.iter().enumerate() {
            let value = self.graph.node(group.last()).output;
            let (payload, scales) = sizes(self.graph, value);
            let padded = payload.next_multiple_of(ALIGN);
            let until = last_use[value.0 as usize].max(step);
            let bytes = padded + scales;
            let named = self.graph.outputs.iter().any(|(_, output)| *output == value);
            let chip = match named && self.layout.results_in_dram {
                true => None,
                false => self.chip.take(bytes, step, until),
            };
            if chip.is_none() && named && self.layout.resident {
                return Err(not_resident(&self.graph.value(value).name, bytes, self.machine));
            }
            let addr = chip.or_else(|| self.dram.take(bytes, step, until)).ok_or_else(|| {
                Error::unsupported(format!(
                    "`{}` needs {bytes} bytes, neither SRAM nor DRAM has them",
                    self.graph.value(value).name
                ))
                .code("E0401")
            })?;
            self.storage.places[value.0 as usize] = Some((addr, if scales == 0 { 0 } else { addr + padded }));
        }
        Ok(())
    }
}

/// For every value, the last step that reads it; named outputs live to the end.
fn last_uses(graph: &Graph, groups: &[Group]) -> Vec<usize> {
    let mut last = vec![0; graph.values.len()];
    for (step, group) in groups.iter().enumerate() {
        for node in group.nodes() {
            for input in &graph.node(node).inputs {
                last[root(graph, *input).0 as usize] = step;
            }
        }
    }
    for (_, output) in &graph.outputs {
        last[root(graph, *output).0 as usize] = usize::MAX;
    }
    last
}

fn steps(
    graph: &Graph,
    storage: &Storage,
    groups: &[Group],
    lowered: &[Lowered],
    kernels: &Kernels,
) -> Result<Vec<Step>> {
    groups
        .iter()
        .zip(lowered)
        .map(|(group, lowered)| {
            let nodes = group.nodes();
            let names: Vec<&str> = nodes.iter().map(|node| graph.node(*node).name.as_str()).collect();
            Ok(Step {
                name: names.join(" + "),
                output: storage.place(graph, graph.node(group.last()).output)?,
                nodes,
                kernel: lowered.calls.first().map_or_else(String::new, |call| kernels.whose(call.kernel)),
                macs_dense: lowered.macs_dense,
                loops: lowered.loops.clone(),
            })
        })
        .collect()
}

/// Stored bytes of all constants, and by format.
fn weights(graph: &Graph) -> (u64, Vec<(String, u64)>) {
    let mut by_format = std::collections::BTreeMap::new();
    for value in &graph.values {
        if let Def::Const(tensor) = &value.def {
            *by_format.entry(tensor.ty.format.family().to_owned()).or_insert(0) += tensor.bytes() as u64;
        }
    }
    (by_format.values().sum(), by_format.into_iter().collect())
}

/// The scales of a constant as kernels read them: codes of their format, little-endian; one scale of a tensor, else in
/// the `order`, after each scale or term of scales the offsets that belong to it, tiles repeated for their rows; then the
/// global scale in f32 at a multiple of 4.
pub fn sides_in_memory(tensor: &crate::tensor::Tensor, order: ScaleOrder) -> Vec<u8> {
    let (rows, cols) = tensor.rows_cols();
    let ty = &tensor.ty;
    let format = ty.scale.format;
    let mut bytes = Vec::new();
    let mut push = |value: f32| {
        let code = encode(format, value.to_bits(), Rounding::NearestEven, false);
        bytes.extend(&code.to_le_bytes()[..format.bits as usize / 8]);
    };
    let terms = ty.scales_per_row(cols);
    let runs = terms / ty.planes as usize;
    let at = |row: usize, term: usize| {
        ty.scale_index(row, term % runs * ty.run(cols), term / runs, cols).expect("a scaled type")
    };
    match (ty.scaling, order) {
        (Scaling::None, _) => {}
        (Scaling::Tensor, _) if scales_per_output(ty, cols) == 1 => push(tensor.scales[0]),
        (_, ScaleOrder::ByRow) => {
            for at in (0..rows).flat_map(|row| (0..terms).map(move |term| at(row, term))) {
                push(tensor.scales[at]);
                tensor.offsets.get(at).copied().into_iter().for_each(&mut push);
            }
        }
        (_, ScaleOrder::ByTerm) => {
            for term in 0..terms {
                (0..rows).for_each(|row| push(tensor.scales[at(row, term)]));
                if ty.offset {
                    (0..rows).for_each(|row| push(tensor.offsets[at(row, term)]));
                }
            }
        }
    }
    bytes.resize(constant_global_at(ty, rows, cols), 0);
    if ty.scale.global {
        bytes.extend(tensor.global.to_le_bytes());
    }
    bytes
}
