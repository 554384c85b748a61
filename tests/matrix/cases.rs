//! The cases: which types meet in which op, on which values. A case is its number; nothing else is random.

use super::types::{Types, accumulators};
use preon::graph::{Graph, InputData, Op, ValueId};
use preon::native;
use preon::num::{Accumulator, cast, dot_class};
use preon::tensor::{Scaling, Tensor, TensorType, pack, terms};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// One op on operands of given types.
pub struct Case {
    pub graph: Graph,
    pub inputs: Vec<InputData>,
    /// Op, types, accumulator and shape, for messages.
    pub name: String,
}

/// Extents along which products are summed: nothing, less and more than a block, a lane, a byte, a chunk.
const DEPTHS: [usize; 26] =
    [1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 47, 63, 64, 65, 70, 96, 127, 128, 129, 160, 193, 259];

/// What values look like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    Normal,
    /// Magnitudes over sixteen binary orders.
    Spread,
    Outlier,
    Zeros,
    SignedZeros,
    /// Around the least f32.
    Subnormal,
    /// Around the largest.
    Huge,
    /// Halves and quarters: ties of every format.
    Ties,
    /// NaN and infinities among them.
    Special,
}

/// Families by the number that a case draws: half of all values are moderate.
const FAMILIES: [Family; 16] = [
    Family::Normal,
    Family::Normal,
    Family::Normal,
    Family::Normal,
    Family::Normal,
    Family::Spread,
    Family::Spread,
    Family::Outlier,
    Family::Outlier,
    Family::Ties,
    Family::Ties,
    Family::Zeros,
    Family::SignedZeros,
    Family::Subnormal,
    Family::Huge,
    Family::Special,
];

/// Case number `index`: first every weight type with every activation type in a linear op, then every pair of activation
/// types in a matrix product, then embeddings and quantisers of every type, then linear ops again.
pub fn case(types: &Types, index: usize) -> Case {
    let mut make = Maker { rng: ChaCha8Rng::seed_from_u64(index as u64), graph: Graph::default(), inputs: Vec::new() };
    let (weights, activations) = (&types.weights, &types.activations);
    let pairs = weights.len() * activations.len();
    let squared = activations.len() * activations.len();
    let name = match index {
        i if i < pairs => make.linear(activations[i / weights.len()], weights[i % weights.len()]),
        i if i < pairs + squared => {
            let i = i - pairs;
            make.matmul(activations[i / activations.len()], activations[i % activations.len()])
        }
        i => match (i - pairs - squared) % 8 {
            0 => make.embedding(weights[i / 8 % weights.len()]),
            1..=3 => make.quantise(activations[i / 2 % activations.len()]),
            _ => {
                let (x, w) = (make.below(activations.len()), make.below(weights.len()));
                make.linear(activations[x], weights[w])
            }
        },
    };
    let Maker { graph, inputs, .. } = make;
    Case { graph, inputs, name: format!("case {index}: {name}") }
}

struct Maker {
    rng: ChaCha8Rng,
    graph: Graph,
    inputs: Vec<InputData>,
}

impl Maker {
    fn below(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    fn depth(&mut self) -> usize {
        DEPTHS[self.below(DEPTHS.len())]
    }

    fn rows(&mut self) -> usize {
        [1, 1, 2, 3, 4, 5, 7, 9, 16, 17, 19][self.below(11)]
    }

    fn family(&mut self) -> Family {
        FAMILIES[self.below(FAMILIES.len())]
    }

    fn value(&mut self, family: Family) -> f32 {
        let uniform: f32 = self.rng.random_range(-1.0..1.0);
        let sign = if uniform < 0.0 { -1.0 } else { 1.0 };
        match family {
            Family::Zeros => 0.0,
            Family::SignedZeros => 0.0 * sign,
            Family::Normal => uniform * 2.0,
            Family::Spread => uniform * 2f32.powi(self.rng.random_range(-8..8)),
            Family::Outlier => uniform * if self.below(24) == 0 { 90.0 } else { 1.0 },
            Family::Ties => (uniform * 12.0).round() * 0.25,
            Family::Subnormal => uniform * 2f32.powi(self.rng.random_range(-140..-120)),
            Family::Huge => uniform * 2f32.powi(self.rng.random_range(110..128)),
            Family::Special => match self.below(40) {
                0 => f32::NAN,
                1 => f32::INFINITY * sign,
                _ => uniform,
            },
        }
    }

    /// Rows of values of a family; with specials only in some rows.
    fn values(&mut self, rows: usize, cols: usize, family: Family) -> Vec<f32> {
        let mut values = Vec::with_capacity(rows * cols);
        for _ in 0..rows {
            let of_row = if family == Family::Special && self.below(2) == 0 { Family::Normal } else { family };
            for _ in 0..cols {
                values.push(self.value(of_row));
            }
        }
        values
    }

    /// A weight, quantised, or now and then of random codes.
    fn weight(&mut self, shape: &[usize], ty: TensorType) -> ValueId {
        let (rows, cols) = (shape[..shape.len() - 1].iter().product(), shape[shape.len() - 1]);
        let tensor = if self.below(4) == 0 {
            self.random_codes(shape, ty)
        } else {
            let family = match self.family() {
                Family::Special => Family::Normal,
                family => family,
            };
            let values = self.values(rows, cols, family);
            Tensor::quantise(shape.to_vec(), &values, ty).unwrap_or_else(|e| panic!("{ty}: {e}"))
        };
        self.graph.add_const("w", Arc::new(tensor))
    }

    /// A tensor of random codes of values (none reserved), NaN and infinities among them, and random scales.
    fn random_codes(&mut self, shape: &[usize], ty: TensorType) -> Tensor {
        let (rows, cols) = (shape[..shape.len() - 1].iter().product::<usize>(), shape[shape.len() - 1]);
        let mut payload = Vec::new();
        for _ in 0..rows * ty.planes as usize {
            let codes: Vec<u32> = (0..cols)
                .map(|_| match ty.format.sorted.len() {
                    0 => cast(ty.format, self.value(Family::Spread)),
                    _ if self.below(200) == 0 => cast(ty.format, self.value(Family::Special)),
                    n => ty.format.sorted[self.below(n)],
                })
                .collect();
            payload.extend(pack::pack_row(ty.format, &codes));
        }
        let count = ty.scale_count(rows, cols);
        let scale = |make: &mut Maker| {
            let value = f32::abs(make.value(Family::Spread)) + 1e-3;
            preon::num::value(ty.scale.format, cast(ty.scale.format, value))
        };
        let scales = (0..count).map(|_| scale(self)).collect();
        let offsets = if ty.offset { (0..count).map(|_| self.value(Family::Normal)).collect() } else { Vec::new() };
        let global = if ty.scale.global { f32::abs(self.value(Family::Normal)) } else { 1.0 };
        Tensor::with_sides(shape.to_vec(), ty, payload, (scales, offsets, global)).expect("the sizes fit")
    }

    /// A run-time operand: quantised in the graph, or given quantised, or of random codes.
    fn operand(&mut self, name: &str, shape: &[usize], ty: TensorType) -> ValueId {
        let (rows, cols) = (shape[..shape.len() - 1].iter().product(), shape[shape.len() - 1]);
        let form = self.below(4);
        if form == 0 {
            let tensor = self.random_codes(shape, ty);
            self.inputs.push(InputData::Dense(Arc::new(tensor)));
            return self.graph.add_input(name, shape.to_vec(), ty);
        }
        let family = self.family();
        let values = self.values(rows, cols, family);
        let plain = Tensor::from_f32(shape.to_vec(), &values).expect("the sizes fit");
        if ty.format.name == "fp32" {
            let id = self.graph.add_input(name, shape.to_vec(), plain.ty);
            self.inputs.push(InputData::Dense(Arc::new(plain)));
            return id;
        }
        if form == 1 {
            let id = self.graph.add_input(name, shape.to_vec(), ty);
            self.inputs.push(InputData::Dense(Arc::new(quantised(plain, ty))));
            return id;
        }
        let id = self.graph.add_input(name, shape.to_vec(), plain.ty);
        self.inputs.push(InputData::Dense(Arc::new(plain)));
        self.graph
            .add_node(&format!("{name}.q"), Op::Quantise { to: ty }, &[id])
            .unwrap_or_else(|e| panic!("{ty}: {e}"))
    }

    /// An accumulator that is defined for the pair.
    fn accumulator(&mut self, x: TensorType, w: TensorType, depth: usize) -> Accumulator {
        let all = accumulators();
        let accumulator = if self.below(2) == 0 { Accumulator::Exact } else { all[self.below(all.len())] };
        let defined =
            dot_class(x.format, w.format, accumulator).is_ok() && terms(&x, &w, depth, accumulator.chunk()).is_ok();
        if defined { accumulator } else { Accumulator::Exact }
    }

    fn product(&mut self, op: Op, operands: &[ValueId], accumulator: Accumulator) {
        let y = self.graph.add_node("y", op, operands).unwrap_or_else(|e| panic!("{e}"));
        self.graph.nodes.last_mut().expect("just added").accumulator = accumulator;
        self.graph.outputs.push(("y".into(), y));
    }

    fn linear(&mut self, x: TensorType, w: TensorType) -> String {
        let (tokens, inputs, outputs) = (self.rows(), self.depth(), self.rows());
        let accumulator = self.accumulator(x, w, inputs);
        let mut operands = vec![self.operand("x", &[tokens, inputs], x), self.weight(&[outputs, inputs], w)];
        if self.below(3) == 0 {
            let bias = self.values(1, outputs, Family::Normal);
            let bias = Tensor::from_f32(vec![outputs], &bias).expect("the sizes fit");
            operands.push(self.graph.add_const("b", Arc::new(bias)));
        }
        self.product(Op::Linear, &operands, accumulator);
        format!("linear {x} x {w}, {}, {tokens} x {inputs} x {outputs}", accumulator.name())
    }

    fn matmul(&mut self, a: TensorType, b: TensorType) -> String {
        let (group, heads, rows, depth, columns) =
            (1 + self.below(2), 1 + self.below(2), self.rows(), self.depth(), self.rows());
        let accumulator = self.accumulator(a, b, depth);
        let operands =
            [self.operand("a", &[heads * group, rows, depth], a), self.operand("b", &[heads, columns, depth], b)];
        self.product(Op::MatMul { group }, &operands, accumulator);
        format!("matmul {a} x {b}, {}, {heads} * {group} heads of {rows} x {depth} x {columns}", accumulator.name())
    }

    fn embedding(&mut self, ty: TensorType) -> String {
        let (rows, width, count) = (self.rows(), self.depth(), self.rows());
        let table = self.weight(&[rows, width], ty);
        let ids = self.graph.add_indices("ids", count);
        let chosen = (0..count).map(|_| self.below(rows) as u32).collect();
        self.inputs.push(InputData::Ids(chosen));
        self.product(Op::Embedding, &[table, ids], Accumulator::Exact);
        format!("embedding {ty}, {count} of {rows} x {width}")
    }

    fn quantise(&mut self, ty: TensorType) -> String {
        let (rows, width, family) = (self.rows(), self.depth(), self.family());
        let values = self.values(rows, width, family);
        let plain = Tensor::from_f32(vec![rows, width], &values).expect("the sizes fit");
        let x = self.graph.add_input("x", vec![rows, width], plain.ty);
        self.inputs.push(InputData::Dense(Arc::new(plain)));
        self.product(Op::Quantise { to: ty }, &[x], Accumulator::Exact);
        format!("quantise {ty}, {rows} x {width} of {family:?}")
    }
}

/// `x` in another type, by the native backend.
fn quantised(x: Tensor, to: TensorType) -> Tensor {
    if to.scaling == Scaling::None && to.format.name == "fp32" {
        return x;
    }
    let mut graph = Graph::default();
    let id = graph.add_input("x", x.shape.clone(), x.ty);
    let y = graph.add_node("y", Op::Quantise { to }, &[id]).unwrap_or_else(|e| panic!("{to}: {e}"));
    graph.outputs.push(("y".into(), y));
    let run = native::run(&graph, &[InputData::Dense(Arc::new(x))], &native::Options::default());
    run.unwrap_or_else(|e| panic!("{to}: {e}")).nodes()[0].tensor.clone()
}
