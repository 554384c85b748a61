//! The reference: what every op means, in f64, and how far an f32 result may lie from it.
//!
//! It is independent of the processor and of the native backend: codes are decoded here from the format's
//! parameters, and no arithmetic on tensors is shared with anyone. [`judge`] takes a node's own inputs as some run
//! produced them, so that errors do not pile up from node to node (docs/numerics.md, "what the f64 reference
//! compares"); [`run`] evaluates a whole graph in f64 as the measure of fidelity.

use super::{Def, Graph, InputData, NodeId, ValueId, ops};
use crate::diag::{Error, Place, Result};
use crate::num::FormatRef;
use crate::num::format::{Element, Specials};
use crate::tensor::{Tensor, TensorType, rows_cols};
use std::borrow::Cow;

/// Unit roundoff of f32: 2^-24.
pub(crate) const U: f64 = 1.0 / 16_777_216.0;
/// Smallest positive f32: 2^-149.
pub(crate) const TINY: f64 = f32::from_bits(1) as f64;
/// From this magnitude on, f32 arithmetic may overflow where f64 does not: no judgement is passed.
pub(crate) const HUGE: f64 = 1.7e38;

/// A tensor in f64: values of the codes, and the scales apart from them, so that sums of codes stay exact.
#[derive(Debug, Clone)]
pub struct Real {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// Values of the codes, row-major, unscaled; of a row with planes, plane after plane.
    pub values: Vec<f64>,
    /// Scales in (row, block or plane) order.
    pub scales: Vec<f64>,
    /// Offsets in the order of the scales, if the type has them.
    pub offsets: Vec<f64>,
    /// Scale of the whole tensor; 1 if the type has none.
    pub global: f64,
    /// Format and scaling.
    pub ty: TensorType,
    /// Which elements count, row-major; empty if all do.
    pub live: Vec<bool>,
}

impl Real {
    /// Unscaled values that count as fp32.
    pub fn plain(shape: Vec<usize>, values: Vec<f64>) -> Self {
        Real {
            shape,
            values,
            scales: Vec::new(),
            offsets: Vec::new(),
            global: 1.0,
            ty: ops::plain_fp32(),
            live: Vec::new(),
        }
    }

    /// Decodes a packed tensor.
    pub fn decode(tensor: &Tensor) -> Self {
        let (rows, cols) = tensor.rows_cols();
        let wide = |values: &[f32]| values.iter().map(|s| f64::from(*s)).collect();
        Real {
            shape: tensor.shape.clone(),
            values: decode_rows(tensor, 0..rows),
            scales: wide(&tensor.scales),
            offsets: wide(&tensor.offsets),
            global: f64::from(tensor.global),
            ty: tensor.ty,
            live: live_rows(tensor, 0..rows, cols),
        }
    }

    /// The scale of an element of a plane; 1 if there is none.
    pub fn scale(&self, row: usize, col: usize, plane: usize) -> f64 {
        let (_, cols) = rows_cols(&self.shape);
        self.ty.scale_index(row, col, plane, cols).map_or(1.0, |at| self.scales[at])
    }

    /// The offset of an element; 0 if there is none.
    pub fn offset(&self, row: usize, col: usize) -> f64 {
        let (_, cols) = rows_cols(&self.shape);
        match self.ty.offset {
            true => self.ty.scale_index(row, col, 0, cols).map_or(0.0, |at| self.offsets[at]),
            false => 0.0,
        }
    }

    /// Whether an element counts.
    pub fn is_live(&self, row: usize, col: usize) -> bool {
        let (_, cols) = rows_cols(&self.shape);
        self.live.get(row * cols + col).is_none_or(|live| *live)
    }

    /// The elements of some rows: codes times scales, planes summed, offsets and global scale applied.
    pub fn dequantised(&self, rows: impl Iterator<Item = usize>) -> Vec<f64> {
        let (_, cols) = rows_cols(&self.shape);
        let planes = self.ty.planes as usize;
        let element = |row: usize, col: usize| {
            if !self.is_live(row, col) {
                return 0.0;
            }
            let of_plane =
                |plane: usize| self.values[(row * planes + plane) * cols + col] * self.scale(row, col, plane);
            ((0..planes).map(of_plane).fold(0.0, |sum, x| sum + x) + self.offset(row, col)) * self.global
        };
        rows.flat_map(|row| (0..cols).map(move |col| (row, col))).map(|(row, col)| element(row, col)).collect()
    }

    /// All elements, row-major.
    pub fn scaled(&self) -> Vec<f64> {
        let (rows, _) = rows_cols(&self.shape);
        self.dequantised(0..rows)
    }
}

/// One operand of a node.
#[derive(Debug, Clone)]
pub enum Operand<'a> {
    /// Row numbers.
    Ids(&'a [u32]),
    /// A stored tensor, decoded where it is needed.
    Packed(&'a Tensor),
    /// Already in f64.
    Real(&'a Real),
}

impl Operand<'_> {
    /// The operand in f64.
    ///
    /// # Errors
    /// Internal for row numbers: inference lets them stand only where an op wants them.
    pub(crate) fn real(&self) -> Result<Cow<'_, Real>> {
        match self {
            Operand::Ids(_) => Err(Error::internal("row numbers where numbers are wanted")),
            Operand::Packed(tensor) => Ok(Cow::Owned(Real::decode(tensor))),
            Operand::Real(real) => Ok(Cow::Borrowed(real)),
        }
    }

    /// Operand in f64 with its scales multiplied in.
    pub(crate) fn scaled(&self) -> Result<(Vec<usize>, Vec<f64>)> {
        let real = self.real()?;
        Ok((real.shape.clone(), real.scaled()))
    }
}

/// A node's result in f64 and how far an f32 one may lie from it.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The result.
    pub result: Real,
    /// Largest allowed distance of each value; infinite where f32 may overflow and nothing can be said.
    pub bound: Vec<f64>,
    /// The same for the scales of a quantised result.
    pub scale_bound: Vec<f64>,
}

impl Reference {
    /// A plain result with the bound of each element computed from it.
    pub(crate) fn plain(shape: Vec<usize>, values: Vec<f64>, bound: impl Fn(usize, f64) -> f64) -> Self {
        let bound = values.iter().enumerate().map(|(at, y)| bound(at, *y)).collect();
        Reference { result: Real::plain(shape, values), bound, scale_bound: Vec::new() }
    }

    /// How `output`, a stored result of the node, compares.
    ///
    /// # Errors
    /// CheckFailed if it has another shape or type.
    pub fn compare(&self, output: &Tensor) -> Result<Verdict> {
        let result = &self.result;
        if output.shape != result.shape || output.ty != result.ty {
            return Err(Error::new(
                crate::diag::Kind::CheckFailed,
                format!("the result is {}{:?}", output.ty, output.shape),
            ));
        }
        let got = Real::decode(output);
        let mut verdict = Verdict { elements: result.values.len(), ..Verdict::default() };
        let values = got.values.iter().zip(&result.values).zip(&self.bound);
        let global = result.ty.scale.global.then_some((&got.global, &result.global));
        let scales = got.scales.iter().zip(&result.scales).chain(global).zip(&self.scale_bound);
        for (index, ((got, want), bound)) in values.chain(scales).enumerate() {
            let ratio = ratio(*got, *want, *bound);
            if ratio > verdict.worst {
                verdict = Verdict { worst: ratio, index, got: *got, want: *want, bound: *bound, ..verdict };
            }
        }
        Ok(verdict)
    }
}

/// The worst element of a comparison with the reference.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Verdict {
    /// Elements compared, scales apart.
    pub elements: usize,
    /// Largest distance in units of its bound; at most 1 if the result is right.
    pub worst: f64,
    /// Row-major index of the worst element; scales of a quantised result count on after the elements.
    pub index: usize,
    /// What the run has there.
    pub got: f64,
    /// What the reference has.
    pub want: f64,
    /// How far apart they may be.
    pub bound: f64,
}

impl Verdict {
    /// Whether every element lies within its bound.
    pub fn passes(&self) -> bool {
        self.worst <= 1.0
    }
}

/// Distance in units of the bound: at most 1 is right.
fn ratio(got: f64, want: f64, bound: f64) -> f64 {
    if bound.is_infinite() || (got.is_nan() && want.is_nan()) || got == want {
        return 0.0;
    }
    if got.is_nan() || want.is_nan() || want.is_infinite() {
        return f64::INFINITY;
    }
    if got.is_infinite() {
        let overflows = want.signum() == got.signum() && want.abs() + bound >= f64::from(f32::MAX);
        return if overflows { 0.0 } else { f64::INFINITY };
    }
    (got - want).abs() / bound
}

/// The reference of one node on the given operands.
///
/// # Errors
/// As [`ops::reference()`], with the node's name.
pub fn reference(graph: &Graph, node: NodeId, operands: &[Operand<'_>]) -> Result<Reference> {
    let node = graph.node(node);
    ops::reference(&node.op, node.accumulator, operands).map_err(|e| e.at(Place::Node(node.name.clone())))
}

/// Compares a run's `output` of a node with the reference on the run's own operands. `value` gives what the run holds
/// for a value that is not a constant.
///
/// # Errors
/// CheckFailed if an operand is not given or the output has another shape or type; otherwise as [`reference()`].
pub fn judge(
    graph: &Graph,
    node: NodeId,
    value: &dyn Fn(ValueId) -> Option<InputData>,
    output: &Tensor,
) -> Result<Verdict> {
    let place = || Place::Node(graph.node(node).name.clone());
    let mut held = Vec::new();
    for id in &graph.node(node).inputs {
        let data = match graph.constant(*id) {
            Some(tensor) => Some(InputData::Dense(tensor.clone())),
            None => value(*id),
        };
        let missing = || {
            let message = format!("the run has no value for its operand `{}`", graph.value(*id).name);
            Error::new(crate::diag::Kind::CheckFailed, message).at(place())
        };
        held.push(data.ok_or_else(missing)?);
    }
    let operands: Vec<Operand<'_>> = held.iter().map(Operand::from).collect();
    reference(graph, node, &operands)?.compare(output).map_err(|e| e.at(place()))
}

impl<'a> From<&'a InputData> for Operand<'a> {
    fn from(data: &'a InputData) -> Self {
        match data {
            InputData::Ids(ids) => Operand::Ids(ids),
            InputData::Dense(tensor) => Operand::Packed(tensor),
        }
    }
}

/// Runs the whole graph in f64: the result of every node, in the order of `graph.nodes`.
///
/// # Errors
/// BadInput if `inputs` do not match `graph.inputs`; otherwise as [`reference()`].
pub fn run(graph: &Graph, inputs: &[InputData]) -> Result<Vec<Real>> {
    check_inputs(graph, inputs)?;
    let mut results: Vec<Real> = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let operand = |id: &ValueId| match &graph.value(*id).def {
            Def::Const(tensor) => Ok(Operand::Packed(tensor)),
            Def::Node(NodeId(maker)) => Ok(Operand::Real(&results[*maker as usize])),
            Def::Input | Def::Indices => match graph.inputs.iter().position(|input| input == id) {
                Some(at) => Ok(Operand::from(&inputs[at])),
                None => Err(Error::internal(format!("value `{}` is not listed as input", graph.value(*id).name))),
            },
        };
        let operands = node.inputs.iter().map(operand).collect::<Result<Vec<_>>>()?;
        let result = reference(graph, NodeId(index as u32), &operands)?.result;
        results.push(result);
    }
    Ok(results)
}

/// Refuses run-time inputs that do not fit `graph.inputs`: number, kind, shape and type.
///
/// # Errors
/// BadInput naming the input.
pub fn check_inputs(graph: &Graph, inputs: &[InputData]) -> Result<()> {
    if inputs.len() != graph.inputs.len() {
        return Err(Error::bad_input(format!("the graph takes {} inputs, not {}", graph.inputs.len(), inputs.len())));
    }
    for (id, data) in graph.inputs.iter().zip(inputs) {
        let value = graph.value(*id);
        let fits = match (&value.def, data) {
            (Def::Indices, InputData::Ids(ids)) => ids.len() == value.shape[0],
            (Def::Input, InputData::Dense(tensor)) => tensor.shape == value.shape && tensor.ty == value.ty,
            _ => false,
        };
        if !fits {
            return Err(Error::bad_input(format!("input `{}` is not of shape {:?}", value.name, value.shape)));
        }
    }
    Ok(())
}

/// Which elements of some rows count; empty without a mask.
pub(crate) fn live_rows(tensor: &Tensor, rows: impl Iterator<Item = usize>, cols: usize) -> Vec<bool> {
    let Some(mask) = &tensor.mask else { return Vec::new() };
    let bit = |row: usize, col: usize| mask.bits()[row * cols.div_ceil(8) + col / 8] >> (col % 8) & 1 == 1;
    rows.flat_map(|row| (0..cols).map(move |col| (row, col))).map(|(row, col)| bit(row, col)).collect()
}

/// Values of the codes of some rows, plane after plane.
pub(crate) fn decode_rows(tensor: &Tensor, rows: impl Iterator<Item = usize>) -> Vec<f64> {
    let (_, cols) = tensor.rows_cols();
    let format = tensor.ty.format;
    let bits = format.bits as usize;
    let (planes, stride) = (tensor.ty.planes as usize, tensor.ty.plane_bytes(cols));
    let table: Vec<f64> =
        if bits <= 8 { (0..1u32 << bits).map(|code| decode(format, code)).collect() } else { Vec::new() };
    let mut values = Vec::new();
    for row in rows.flat_map(|row| row * planes..(row + 1) * planes) {
        let row = &tensor.payload[row * stride..(row + 1) * stride];
        values.extend((0..cols).map(|col| {
            let code = code_at(row, bits, col);
            if bits <= 8 { table[code as usize] } else { decode(format, code) }
        }));
    }
    values
}

/// Code number `col` of a packed row: little-endian bits.
fn code_at(row: &[u8], bits: usize, col: usize) -> u32 {
    if bits == 32 {
        return u32::from_le_bytes([row[4 * col], row[4 * col + 1], row[4 * col + 2], row[4 * col + 3]]);
    }
    let (first, shift) = (col * bits / 8, col * bits % 8);
    let last = (col * bits + bits - 1) / 8;
    let word = row[first..=last].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    ((word >> shift) & ((1u64 << bits) - 1)) as u32
}

/// Value of a code, from the parameters of its format alone.
pub(crate) fn decode(format: FormatRef, code: u32) -> f64 {
    match &format.element {
        Element::Int => {
            let shift = 32 - format.bits;
            f64::from((code << shift).cast_signed() >> shift) * exp2(format.unit.unwrap_or(0))
        }
        Element::Squares => {
            let root = |bits: u32| f64::from(f32::from_bits(bits));
            f64::from((root(code << 16).powi(2) + f64::from((root(code & 0xffff_0000).powi(2)) as f32)) as f32)
        }
        Element::Codebook { levels } => {
            let level = levels.get(code as usize).copied().unwrap_or(0);
            f64::from(level) * exp2(format.unit.unwrap_or(0))
        }
        Element::Real { values } => f64::from(values.get(code as usize).copied().unwrap_or(0.0)),
        Element::Float { exp, man, bias, specials } => {
            let code = code >> (format.bits - 1 - exp - man);
            decode_float(code, (*exp, *man, *bias), *specials)
        }
    }
}

fn decode_float(code: u32, (exp, man, bias): (u32, u32, i32), specials: Specials) -> f64 {
    let fraction = code & ((1 << man) - 1);
    let exponent = code >> man & ((1 << exp) - 1);
    let negative = code >> (man + exp) & 1 == 1;
    let (last_exponent, last_fraction) = ((1 << exp) - 1, (1 << man) - 1);
    let magnitude = match specials {
        Specials::Ieee if exponent == last_exponent => {
            if fraction == 0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        Specials::Fn if exponent == last_exponent && fraction == last_fraction => f64::NAN,
        Specials::Fnuz if negative && exponent == 0 && fraction == 0 => f64::NAN,
        _ if exponent == 0 => f64::from(fraction) * exp2(1 - bias - man as i32),
        _ => f64::from(fraction + (1 << man)) * exp2(exponent as i32 - bias - man as i32),
    };
    if negative { -magnitude } else { magnitude }
}

/// 2^e for |e| <= 1022.
pub(crate) fn exp2(e: i32) -> f64 {
    f64::from_bits(((1023 + i64::from(e)) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num;

    #[test]
    fn two_independent_decoders_agree_on_every_code() {
        for format in num::formats() {
            let codes = 1u64 << format.bits.min(16);
            // Of fp32, every 65537th code.
            let step = if format.bits > 16 { 65_537 } else { 1 };
            for code in (0..codes).map(|code| (code * step) as u32) {
                let (mine, theirs) = (decode(format, code), f64::from(f32::from_bits(num::decode(format, code))));
                assert!(mine == theirs || mine.is_nan() && theirs.is_nan(), "{} {code:#x}", format.name);
            }
        }
    }

    #[test]
    fn a_distance_is_measured_in_bounds() {
        assert_eq!(ratio(1.5, 1.0, 0.25), 2.0);
        assert_eq!(ratio(f64::NAN, f64::NAN, 0.0), 0.0);
        assert_eq!(ratio(-0.0, 0.0, 0.0), 0.0);
        assert_eq!(ratio(f64::INFINITY, 3.5e38, 1e31), 0.0);
        for (got, want) in [(f64::NAN, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0), (1.0, f64::INFINITY), (1.0, 2.0)] {
            assert_eq!(ratio(got, want, 0.0), f64::INFINITY, "{got} {want}");
        }
    }

    #[test]
    fn a_small_error_in_one_element_is_noticed() {
        let text = "schema = \"preon.graph/1\"\ninput x int8/row[1,40]\ninput w int8/row[3,40]\nnode y = linear(x, w)\noutput y = y\n";
        let graph = super::super::text::parse("g", text, &|_| None).unwrap();
        let ty = graph.values[0].ty;
        let tensor = |rows: usize| {
            let payload = (0..rows * 40).map(|i| (i * 37 % 251) as u8).collect();
            Tensor::new(vec![rows, 40], ty, payload, vec![0.01; rows]).unwrap()
        };
        let (x, w) = (tensor(1), tensor(3));
        let reference = reference(&graph, NodeId(0), &[Operand::Packed(&x), Operand::Packed(&w)]).unwrap();
        let mut y: Vec<f32> = reference.result.values.iter().map(|y| *y as f32).collect();
        let verdict = |y: &[f32]| reference.compare(&Tensor::from_f32(vec![1, 3], y).unwrap()).unwrap();
        assert!(verdict(&y).passes());
        y[1] = f32::from_bits(y[1].to_bits() + 8);
        let wrong = verdict(&y);
        assert!(!wrong.passes() && wrong.index == 1, "{wrong:?}");
        assert_eq!(reference.compare(&x).unwrap_err().kind(), crate::diag::Kind::CheckFailed);
    }
}
