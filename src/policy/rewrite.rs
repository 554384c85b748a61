//! The new graph: weights quantised, `quantise` nodes in front of operands, and the nodes that rotations and outliers ask
//! for.
//!
//! A rotation of activations is a product with a fixed 16 x 16 matrix, so it is a linear node in fp32 between two reshapes,
//! `<value>.rotated`, shared by all nodes that read the value; the weights are rotated offline, with the same signs.
//! Outliers of weights are a second linear node of their own, `<node>.outliers`, in bf16 and stored as CSR, whose result
//! is added to that of the clamped weights, `<node>.clamped`.

use super::apply::{Site, is_plain_fp32, weight_operand};
use crate::diag::{Error, Place, Result};
use crate::graph::{Def, Graph, Node, Op, ValueId};
use crate::tensor::fit::hadamard::{RUN, Signs, rotate};
use crate::tensor::fit::outlier;
use crate::tensor::layout::sparse::Order;

use crate::tensor::{Recipe, Store, Tensor, TensorType, rows_cols};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rebuilds a graph value by value.
pub(super) struct Rewriter<'a> {
    old: &'a Graph,
    new: Graph,
    /// New id of every old value.
    map: Vec<Option<ValueId>>,
    /// Values already made from others: (old value, what it is) to new value.
    made: BTreeMap<(ValueId, String), ValueId>,
    /// Constants that someone still reads in fp32.
    plain: BTreeSet<ValueId>,
}

impl<'a> Rewriter<'a> {
    pub fn new(old: &'a Graph, sites: &[Option<Site>]) -> Self {
        let mut plain: BTreeSet<ValueId> = old.outputs.iter().map(|(_, id)| *id).collect();
        for (node, site) in old.nodes.iter().zip(sites) {
            let weight = weight_operand(old, node);
            for input in &node.inputs {
                let replaced = Some(*input) == weight
                    && site.as_ref().and_then(|s| s.w).is_some_and(|(ty, _)| !ty.asks_for(&old.value(*input).ty));
                if !replaced {
                    plain.insert(*input);
                }
            }
        }
        let new = Graph { name: old.name.clone(), ..Graph::default() };
        Rewriter { old, new, map: vec![None; old.values.len()], made: BTreeMap::new(), plain }
    }

    pub fn run(mut self, sites: &[Option<Site>]) -> Result<Graph> {
        for (index, value) in self.old.values.iter().enumerate() {
            let id = ValueId(index as u32);
            let kept = match &value.def {
                Def::Node(_) => false,
                Def::Const(_) => self.plain.contains(&id),
                Def::Input | Def::Indices => true,
            };
            if kept {
                self.map[index] = Some(self.new.add_value(value.clone()));
            }
        }
        self.new.inputs = self.old.inputs.iter().map(|id| self.mapped(*id)).collect::<Result<_>>()?;
        for (node, site) in self.old.nodes.iter().zip(sites) {
            let output = self.node(node, site.as_ref()).map_err(|e| match e.place() {
                Place::Nowhere => e.at(Place::Node(node.name.clone())),
                _ => e,
            })?;
            self.map[node.output.0 as usize] = Some(output);
        }
        for (name, id) in &self.old.outputs {
            let id = self.mapped(*id)?;
            self.new.outputs.push((name.clone(), id));
        }
        Ok(self.new)
    }

    fn mapped(&self, old: ValueId) -> Result<ValueId> {
        let lost = || Error::internal(format!("value `{}` is used before it is made", self.old.value(old).name));
        self.map[old.0 as usize].ok_or_else(lost)
    }

    fn node(&mut self, node: &Node, site: Option<&Site>) -> Result<ValueId> {
        let weight = weight_operand(self.old, node);
        let recipe = site.map_or(Recipe::default(), Site::recipe);
        let quantised = |site: &Site| site.w.filter(|(ty, _)| !is_plain_fp32(*ty)).map(|(ty, _)| ty);
        if let (Some(site), Op::Linear, Some(weight)) = (site, &node.op, weight)
            && let Some(ty) = quantised(site)
            && (recipe.rotate || recipe.outliers.is_some())
        {
            return self.treated(node, site, (weight, ty), recipe);
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (at, input) in node.inputs.iter().enumerate() {
            let decision = match (site, at, &node.op) {
                (Some(site), 0, Op::Embedding) | (Some(site), 1, Op::Linear | Op::MatMul { .. }) => site.w,
                (Some(site), 0, _) => site.x,
                _ => None,
            };
            inputs.push(match decision {
                Some((ty, _)) if !is_plain_fp32(ty) && Some(*input) == weight => {
                    let store = site.and_then(|site| site.store).map_or(Store::default(), |(store, _)| store);
                    self.quantise_weight(*input, ty, store, recipe)?
                }
                Some((ty, _)) if !is_plain_fp32(ty) => {
                    let x = self.mapped(*input)?;
                    self.quantise_value(*input, x, "", ty)?
                }
                _ => self.mapped(*input)?,
            });
        }
        self.add(&node.name, node, site, &inputs)
    }

    /// A node like `node`, under a name of its own.
    fn add(&mut self, name: &str, node: &Node, site: Option<&Site>, inputs: &[ValueId]) -> Result<ValueId> {
        let output = self.new.add_node(name, node.op.clone(), inputs)?;
        let last = self.new.nodes.last_mut().ok_or_else(|| Error::internal("a node was just added"))?;
        last.accumulator = site.and_then(|s| s.accumulator).map_or(node.accumulator, |(a, _)| a);
        Ok(output)
    }

    /// A linear node whose operands are rotated, or whose weights lose their outliers to a node of their own.
    fn treated(&mut self, node: &Node, site: &Site, w: (ValueId, TensorType), recipe: Recipe) -> Result<ValueId> {
        let (weight, ty) = w;
        let (name, tensor) = (self.old.value(weight).name.clone(), self.weight(weight)?);
        let (shape, mut values) = (tensor.shape.clone(), tensor.to_f32());
        let (_, k) = rows_cols(&shape);
        let mut x = self.mapped(node.inputs[0])?;
        let mut marks = "";
        if recipe.rotate {
            if !k.is_multiple_of(RUN) {
                let message = format!("a rotation needs a multiple of {RUN} inputs, `{name}` has {k}");
                return Err(Error::unsupported(message));
            }
            let signs = Signs::of(recipe.seed.unwrap_or(0), &self.old.value(node.inputs[0]).name);
            rotate(&mut values, signs)?;
            x = self.rotated(node.inputs[0], x, signs)?;
            marks = ".rotated";
        }
        let mut residual = None;
        if let Some(alpha) = recipe.outliers {
            let split = outlier::split(&values, alpha).map_err(|e| e.at(self.place(&name)))?;
            let mut rest = vec![0.0; values.len()];
            split.residual.iter().for_each(|(at, value)| rest[*at] = *value);
            values = split.clamped;
            residual = Some(rest);
        }
        let store = site.store.map_or(Store::default(), |(store, _)| store);
        let quantised = Tensor::quantise_with(shape.clone(), &values, ty, &recipe, &name)
            .and_then(|tensor| tensor.stored(store))
            .map_err(|e| e.at(self.place(&name)))?;
        let quantised_name = self.unique(if self.plain.contains(&weight) {
            format!("{name}.as.{}", ty.format.family())
        } else {
            name.clone()
        });
        let quantised = self.new.add_const(&quantised_name, Arc::new(quantised));
        let xq = match site.x {
            Some((ty, _)) if !is_plain_fp32(ty) => self.quantise_value(node.inputs[0], x, marks, ty)?,
            _ => x,
        };
        let mut inputs = vec![xq, quantised];
        inputs.extend(node.inputs[2..].iter().map(|id| self.mapped(*id)).collect::<Result<Vec<_>>>()?);
        let Some(residual) = residual else {
            return self.add(&node.name, node, Some(site), &inputs);
        };
        let clamped = self.unique(format!("{}.clamped", node.name));
        let clamped = self.add(&clamped, node, Some(site), &inputs)?;
        let bf16 = TensorType::parse("bf16")?;
        let sparse = Tensor::quantise(shape, &residual, bf16)?.stored(Store::Sparse(Order::Rows))?;
        let sparse_name = self.unique(format!("{name}.outliers"));
        let sparse = self.new.add_const(&sparse_name, Arc::new(sparse));
        let outliers = self.unique(format!("{}.outliers", node.name));
        let outliers = self.new.add_node(&outliers, Op::Linear, &[x, sparse])?;
        self.new.add_node(&node.name, Op::Add, &[clamped, outliers])
    }

    /// `x`, the new form of the old value `of`, rotated in runs of 16.
    fn rotated(&mut self, of: ValueId, x: ValueId, signs: Signs) -> Result<ValueId> {
        let key = (of, "rotated".to_owned());
        if let Some(known) = self.made.get(&key) {
            return Ok(*known);
        }
        // Column k of the matrix is the rotated unit vector k.
        let mut matrix = vec![0.0f32; RUN * RUN];
        for k in 0..RUN {
            let mut unit = [0.0f32; RUN];
            unit[k] = 1.0;
            rotate(&mut unit, signs)?;
            unit.iter().enumerate().for_each(|(n, value)| matrix[n * RUN + k] = *value);
        }
        let name = self.old.value(of).name.clone();
        let shape = self.new.value(x).shape.clone();
        let (rows, cols) = rows_cols(&shape);
        let matrix_name = self.unique(format!("{name}.rotation"));
        let matrix = self.new.add_const(&matrix_name, Arc::new(Tensor::from_f32(vec![RUN, RUN], &matrix)?));
        let (cut, turned, joined) = (format!("{name}.runs"), format!("{name}.turned"), format!("{name}.rotated"));
        let (cut, turned, joined) = (self.unique(cut), self.unique(turned), self.unique(joined));
        let runs = self.new.add_node(&cut, Op::Reshape { shape: vec![rows * cols / RUN, RUN] }, &[x])?;
        let turned = self.new.add_node(&turned, Op::Linear, &[runs, matrix])?;
        let rotated = self.new.add_node(&joined, Op::Reshape { shape }, &[turned])?;
        self.made.insert(key, rotated);
        Ok(rotated)
    }

    fn place(&self, tensor: &str) -> Place {
        Place::Tensor { path: self.old.name.clone(), name: tensor.to_owned() }
    }

    fn weight(&self, id: ValueId) -> Result<&'a Arc<Tensor>> {
        self.old.constant(id).ok_or_else(|| Error::internal("a weight is a constant"))
    }

    fn quantise_weight(&mut self, id: ValueId, ty: TensorType, store: Store, recipe: Recipe) -> Result<ValueId> {
        let key = (id, format!("{ty} {} {:?}", store.name(), recipe.keys()));
        if let Some(known) = self.made.get(&key) {
            return Ok(*known);
        }
        let value = self.old.value(id);
        if ty.asks_for(&value.ty) {
            return self.mapped(id);
        }
        let tensor = self.weight(id)?;
        let quantised = match tensor.is_hollow() {
            // What decides shapes and bytes is known; only codes that depend on values would not be.
            true => Ok(Tensor::hollow(tensor.shape.clone(), ty)),
            false => tensor.requantised(ty, &recipe, &value.name).and_then(|tensor| tensor.stored(store)),
        };
        let quantised = quantised.map_err(|e| e.at(self.place(&value.name)))?;
        // The weight keeps its name; only a weight that is also read in another type needs a second one.
        let taken = self.plain.contains(&id) || self.made.keys().any(|(known, _)| *known == id);
        let name =
            if taken { self.unique(format!("{}.as.{}", value.name, ty.format.name)) } else { value.name.clone() };
        let new = self.new.add_const(&name, Arc::new(quantised));
        self.made.insert(key, new);
        Ok(new)
    }

    /// `x`, the new form of the old value `of` with `marks` behind its name, in another type.
    fn quantise_value(&mut self, of: ValueId, x: ValueId, marks: &str, ty: TensorType) -> Result<ValueId> {
        let key = (of, format!("{ty}{marks}"));
        if let Some(known) = self.made.get(&key) {
            return Ok(*known);
        }
        let name = self.unique(format!("{}{marks}.as.{}", self.old.value(of).name, ty.format.name));
        let new = self.new.add_node(&name, Op::Quantise { to: ty }, &[x])?;
        self.made.insert(key, new);
        Ok(new)
    }

    /// `base`, with a number behind it if a value should already have that name.
    fn unique(&self, base: String) -> String {
        let taken = |name: &str| {
            let known = self.new.values.iter().any(|v| v.name == name);
            known || (name != base || base.contains(".as.")) && self.old.values.iter().any(|v| v.name == name)
        };
        let mut name = base.clone();
        let mut count = 2;
        while taken(&name) {
            name = format!("{base}.{count}");
            count += 1;
        }
        name
    }
}
