//! What a policy means for a graph, and the graph that follows from it.
//!
//! Sites are the linear, matmul and embedding nodes. [`plan`] decides every site's types from the rules;
//! [`apply`] rebuilds the graph: weights are quantised once, a `quantise` node goes in front of every operand that is
//! read in another type (one per value and type, named `<value>.as.<format>`), and accumulators are set.

use super::{Policy, Rule};
use crate::diag::{Error, Place, Result, did_you_mean};
use crate::graph::{Def, Graph, Node, Op, ValueId};
use crate::num::{Accumulator, dot_class};
use crate::tensor::{Recipe, Scaling, Store, Tensor, TensorType, terms};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Which part of a site a rule set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Weights of a linear node, table of an embedding.
    Weights,
    /// Activations that a linear node reads.
    Activations,
    /// Left operand of a matmul: queries, attention probabilities.
    Attention,
    /// Right operand of a matmul: keys, values.
    Kv,
    /// Accumulator of a linear or matmul node.
    Accumulator,
    /// How weights become codes.
    Recipe,
    /// Layout of stored weights.
    Store,
}

impl Role {
    /// The key of policy files.
    pub fn name(self) -> &'static str {
        match self {
            Role::Weights => "weights",
            Role::Activations => "activations",
            Role::Attention => "attention",
            Role::Kv => "kv",
            Role::Accumulator => "accumulator",
            Role::Store => "store",
            Role::Recipe => "recipe",
        }
    }
}

/// What a rule set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Setting {
    /// A format with its scaling.
    Type(TensorType),
    /// An accumulator.
    Accumulator(Accumulator),
    /// Calibration, rounding and sparsity.
    Recipe(Recipe),
    /// A layout of stored weights.
    Store(Store),
}

/// One decision of a policy: this part of this node is held like that because of that rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Name of the node.
    pub node: String,
    /// Name of the tensor or value concerned (the node itself for an accumulator).
    pub value: String,
    /// Elements of that tensor or value.
    pub elements: usize,
    /// Which part of the node.
    pub role: Role,
    /// The decision.
    pub setting: Setting,
    /// Index of the deciding rule in [`Policy::rules`].
    pub rule: usize,
}

/// The decisions for one node.
#[derive(Default)]
struct Site {
    /// Type of operand 0 (activations, left operand; none for embeddings) with its rule.
    x: Option<(TensorType, usize)>,
    /// Type of the weight, table or right operand with its rule.
    w: Option<(TensorType, usize)>,
    accumulator: Option<(Accumulator, usize)>,
    store: Option<(Store, usize)>,
    /// What the rules add up to, and the last of them.
    recipe: Option<(Recipe, usize)>,
}

/// The operand that a `weights` rule concerns, if this node has one.
fn weight_operand(graph: &Graph, node: &Node) -> Option<ValueId> {
    let id = match node.op {
        Op::Linear => node.inputs.get(1),
        Op::Embedding => node.inputs.first(),
        _ => None,
    }?;
    graph.constant(*id).map(|_| *id)
}

fn is_site(op: &Op) -> bool {
    matches!(op, Op::Linear | Op::MatMul { .. } | Op::Embedding)
}

fn matches(rule: &Rule, graph: &Graph, node: &Node) -> bool {
    let weight = weight_operand(graph, node).map(|id| graph.value(id).name.as_str());
    rule.glob.matches(&node.name) || weight.is_some_and(|name| rule.glob.matches(name))
}

impl Site {
    /// Lays a rule over the site; true if any of its keys concerns the node.
    fn set(&mut self, index: usize, rule: &Rule, op: &Op, has_weight: bool) -> bool {
        let lay = |slot: &mut Option<(TensorType, usize)>, ty: Option<TensorType>| {
            if let Some(ty) = ty {
                *slot = Some((ty, index));
            }
            ty.is_some()
        };
        let mut used = match op {
            Op::Linear => lay(&mut self.x, rule.activations) | (has_weight && lay(&mut self.w, rule.weights)),
            Op::MatMul { .. } => lay(&mut self.w, rule.kv),
            Op::Embedding => has_weight && lay(&mut self.w, rule.weights),
            _ => false,
        };
        if let (Some(accumulator), Op::Linear | Op::MatMul { .. }) = (rule.accumulator, op) {
            self.accumulator = Some((accumulator, index));
            used = true;
        }
        if let (Some(store), true) = (rule.store, has_weight) {
            self.store = Some((store, index));
            used = true;
        }
        if rule.recipe != Recipe::default() && has_weight {
            let before = self.recipe.map_or(Recipe::default(), |(recipe, _)| recipe);
            self.recipe = Some((before.then(rule.recipe), index));
            used = true;
        }
        used
    }

    /// How the weights of this site are made.
    fn recipe(&self) -> Recipe {
        self.recipe.map_or(Recipe::default(), |(recipe, _)| recipe)
    }
}

/// Sites of the graph in node order, `None` for other nodes.
fn sites(graph: &Graph, policy: &Policy) -> Result<Vec<Option<Site>>> {
    let mut used = vec![false; policy.rules.len()];
    let mut sites = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        if !is_site(&node.op) {
            sites.push(None);
            continue;
        }
        let has_weight = weight_operand(graph, node).is_some();
        let mut site = Site::default();
        // Left operands of matmul: `attention` of any rule goes before `activations` of any rule.
        let (mut attention, mut activations) = (None, None);
        for (index, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| matches(rule, graph, node)) {
            used[index] |= site.set(index, rule, &node.op, has_weight);
            if matches!(node.op, Op::MatMul { .. }) {
                attention = rule.attention.map(|ty| (ty, index)).or(attention);
                activations = rule.activations.map(|ty| (ty, index)).or(activations);
                used[index] |= rule.attention.is_some() || rule.activations.is_some();
            }
        }
        if matches!(node.op, Op::MatMul { .. }) {
            site.x = attention.or(activations);
        }
        sites.push(Some(site));
    }
    match used.iter().zip(&policy.rules).position(|(used, rule)| !used && !rule.optional) {
        None => Ok(sites),
        Some(rule) => Err(matches_nothing(graph, policy, rule)),
    }
}

fn matches_nothing(graph: &Graph, policy: &Policy, rule: usize) -> Error {
    let mut names = BTreeSet::new();
    for node in graph.nodes.iter().filter(|n| is_site(&n.op)) {
        names.insert(node.name.as_str());
        names.extend(weight_operand(graph, node).map(|id| graph.value(id).name.as_str()));
    }
    let pattern = &policy.rules[rule].pattern;
    let near = did_you_mean(pattern, names.iter().copied()).map_or(String::new(), |n| format!("did you mean `{n}`? "));
    let some: Vec<&str> = names.iter().copied().take(4).collect();
    let hits = graph.nodes.iter().filter(|n| is_site(&n.op) && matches(&policy.rules[rule], graph, n)).count();
    let why = if hits == 0 {
        "matches no node or weight of this model"
    } else {
        "sets nothing that the nodes it matches have"
    };
    let help = format!("{near}names are like {}; `optional = true` allows a rule to match nothing", some.join(", "));
    Error::bad_input(format!("the rule \"{pattern}\" {why}")).at(policy.place(rule)).help(help)
}

/// Everything that the policy decides for this graph, in node order: what `policy check` shows.
///
/// # Errors
/// As [`apply`], but nothing is quantised.
pub fn plan(graph: &Graph, policy: &Policy) -> Result<Vec<Assignment>> {
    let mut out = Vec::new();
    for (node, site) in graph.nodes.iter().zip(sites(graph, policy)?) {
        let Some(site) = site else { continue };
        check_site(graph, node, &site)?;
        let matmul = matches!(node.op, Op::MatMul { .. });
        let x_role = if matmul { Role::Attention } else { Role::Activations };
        let w_role = if matmul { Role::Kv } else { Role::Weights };
        let w_index = usize::from(!matches!(node.op, Op::Embedding));
        for (role, operand, decision) in [(w_role, w_index, site.w), (x_role, 0, site.x)] {
            if let Some((ty, rule)) = decision {
                let value = graph.value(node.inputs[operand]);
                out.push(Assignment {
                    node: node.name.clone(),
                    value: value.name.clone(),
                    elements: value.shape.iter().product(),
                    role,
                    setting: Setting::Type(ty),
                    rule,
                });
            }
        }
        if let Some((accumulator, rule)) = site.accumulator {
            out.push(Assignment {
                node: node.name.clone(),
                value: node.name.clone(),
                elements: graph.value(node.output).shape.iter().product(),
                role: Role::Accumulator,
                setting: Setting::Accumulator(accumulator),
                rule,
            });
        }
        let store = site.store.map(|(store, rule)| (Role::Store, Setting::Store(store), rule));
        // fp32 weights are read as they are.
        let quantised = site.w.is_some_and(|(ty, _)| !is_plain_fp32(ty));
        let recipe = site.recipe.filter(|_| quantised);
        let recipe = recipe.map(|(recipe, rule)| (Role::Recipe, Setting::Recipe(recipe), rule));
        for (role, setting, rule) in store.into_iter().chain(recipe) {
            let value = graph.value(node.inputs[w_index]);
            let elements = value.shape.iter().product();
            out.push(Assignment { node: node.name.clone(), value: value.name.clone(), elements, role, setting, rule });
        }
    }
    Ok(out)
}

/// Refuses what no dot product, reader or quantiser serves, before anything is quantised.
fn check_site(graph: &Graph, node: &Node, site: &Site) -> Result<()> {
    let weight = weight_operand(graph, node);
    for input in &node.inputs {
        let value = graph.value(*input);
        // A weight of a quantised file stays what it is, unless a rule wants it in another type.
        let stays = Some(*input) == weight && site.w.is_none_or(|(ty, _)| ty == value.ty);
        if !matches!(value.def, Def::Indices) && !is_plain_fp32(value.ty) && !stays {
            return Err(Error::unsupported(format!(
                "`{}` is already in {}; policies start from fp32",
                value.name, value.ty
            ))
            .at(Place::Node(node.name.clone()))
            .help("a quantised model runs under the policy.toml beside it"));
        }
    }
    let fp32 = site.w.is_none_or(|(ty, _)| is_plain_fp32(ty));
    if site.recipe().sparsity.is_some() && fp32 {
        return Err(Error::unsupported("sparsity goes with `weights` in another format than fp32")
            .at(Place::Node(node.name.clone()))
            .help("hold them in bf16"));
    }
    if let Some((ty, _)) = site.w.filter(|_| weight.is_some()) {
        site.recipe().check(&ty).map_err(|e| e.at(Place::Node(node.name.clone())))?;
    }
    if matches!(node.op, Op::Embedding) {
        return Ok(());
    }
    let type_of = |slot: Option<(TensorType, usize)>, operand: usize| match slot {
        Some((ty, _)) => ty,
        None => graph.value(node.inputs[operand]).ty,
    };
    let (x, w) = (type_of(site.x, 0), type_of(site.w, 1));
    let accumulator = site.accumulator.map_or(Accumulator::default(), |(a, _)| a);
    let k = graph.value(node.inputs[0]).shape.last().copied().unwrap_or(1);
    let served = dot_class(x.format, w.format, accumulator).and_then(|_| terms(&x, &w, k, accumulator.chunk()));
    served.map(|_| ()).map_err(|e| e.at(Place::Node(node.name.clone())))
}

fn is_plain_fp32(ty: TensorType) -> bool {
    ty.scaling == Scaling::None && ty.format.name == "fp32"
}

/// Sentences that a reader of the result must know: formats meant for models trained in them.
pub fn notes(assignments: &[Assignment]) -> Vec<String> {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for assignment in assignments {
        match assignment.setting {
            Setting::Type(ty) if ty.format.trained_only && assignment.role == Role::Weights => {
                *count.entry(ty.format.name.as_str()).or_default() += 1;
            }
            _ => {}
        }
    }
    let plural = |n: usize| if n == 1 { "tensor is" } else { "tensors are" };
    let sentence = |(name, n): (&str, usize)| {
        format!("{n} weight {} held in {name}, which keeps a model's quality only if it was trained in it", plural(n))
    };
    count.into_iter().map(sentence).collect()
}

/// The graph with its weights quantised, `quantise` nodes in front of the operands that the policy holds in another
/// type, and accumulators set.
///
/// # Errors
/// BadInput at the line of a rule that matches nothing, or naming a weight with NaN or infinity; Unsupported naming the
/// node and the pair of formats that no dot product serves.
pub fn apply(graph: &Graph, policy: &Policy) -> Result<Graph> {
    let sites = sites(graph, policy)?;
    for (node, site) in graph.nodes.iter().zip(&sites) {
        if let Some(site) = site {
            check_site(graph, node, site)?;
        }
    }
    Rewriter::new(graph, &sites).run(&sites)
}

/// Rebuilds a graph value by value.
struct Rewriter<'a> {
    old: &'a Graph,
    new: Graph,
    /// New id of every old value.
    map: Vec<Option<ValueId>>,
    /// Values already quantised: (old value, type as text) to new value.
    quantised: BTreeMap<(ValueId, String), ValueId>,
    /// Constants that someone still reads in fp32.
    plain: BTreeSet<ValueId>,
}

impl<'a> Rewriter<'a> {
    fn new(old: &'a Graph, sites: &[Option<Site>]) -> Self {
        let mut plain: BTreeSet<ValueId> = old.outputs.iter().map(|(_, id)| *id).collect();
        for (node, site) in old.nodes.iter().zip(sites) {
            let weight = weight_operand(old, node);
            for input in &node.inputs {
                let replaced = Some(*input) == weight
                    && site.as_ref().and_then(|s| s.w).is_some_and(|(ty, _)| ty != old.value(*input).ty);
                if !replaced {
                    plain.insert(*input);
                }
            }
        }
        let new = Graph { name: old.name.clone(), ..Graph::default() };
        Rewriter { old, new, map: vec![None; old.values.len()], quantised: BTreeMap::new(), plain }
    }

    fn run(mut self, sites: &[Option<Site>]) -> Result<Graph> {
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
            self.node(node, site.as_ref())?;
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

    fn node(&mut self, node: &Node, site: Option<&Site>) -> Result<()> {
        let weight = weight_operand(self.old, node);
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
                    self.quantise_weight(*input, ty, store, site.map_or(Recipe::default(), Site::recipe))?
                }
                Some((ty, _)) if !is_plain_fp32(ty) => self.quantise_value(*input, ty)?,
                _ => self.mapped(*input)?,
            });
        }
        let output = self.new.add_node(&node.name, node.op.clone(), &inputs)?;
        let last = self.new.nodes.last_mut().ok_or_else(|| Error::internal("a node was just added"))?;
        last.accumulator = site.and_then(|s| s.accumulator).map_or(node.accumulator, |(a, _)| a);
        self.map[node.output.0 as usize] = Some(output);
        Ok(())
    }

    fn quantise_weight(&mut self, id: ValueId, ty: TensorType, store: Store, recipe: Recipe) -> Result<ValueId> {
        let key = (id, format!("{ty} {} {:?}", store.name(), recipe.keys()));
        if let Some(known) = self.quantised.get(&key) {
            return Ok(*known);
        }
        let value = self.old.value(id);
        if value.ty == ty {
            return self.mapped(id);
        }
        let tensor = self.old.constant(id).ok_or_else(|| Error::internal("a weight is a constant"))?;
        let quantised = Tensor::quantise_with(tensor.shape.clone(), &tensor.to_f32(), ty, &recipe, &value.name)
            .and_then(|tensor| tensor.stored(store))
            .map_err(|e| e.at(Place::Tensor { path: self.old.name.clone(), name: value.name.clone() }))?;
        // The weight keeps its name; only a weight that is also read in another type needs a second one.
        let taken = self.plain.contains(&id) || self.quantised.keys().any(|(known, _)| *known == id);
        let name = if taken { self.free_name(&value.name, ty) } else { value.name.clone() };
        let new = self.new.add_const(&name, Arc::new(quantised));
        self.quantised.insert(key, new);
        Ok(new)
    }

    fn quantise_value(&mut self, id: ValueId, ty: TensorType) -> Result<ValueId> {
        if let Some(known) = self.quantised.get(&(id, ty.to_string())) {
            return Ok(*known);
        }
        let x = self.mapped(id)?;
        let name = self.free_name(&self.old.value(id).name, ty);
        let new = self.new.add_node(&name, Op::Quantise { to: ty }, &[x])?;
        self.quantised.insert((id, ty.to_string()), new);
        Ok(new)
    }

    /// `<value>.as.<format>`, made unique if a model should already have that name.
    fn free_name(&self, value: &str, ty: TensorType) -> String {
        let base = format!("{value}.as.{}", ty.format.name);
        let taken = |name: &str| self.new.values.iter().chain(&self.old.values).any(|v| v.name == name);
        let mut name = base.clone();
        let mut count = 2;
        while taken(&name) {
            name = format!("{base}.{count}");
            count += 1;
        }
        name
    }
}
