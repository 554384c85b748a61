//! What a policy means for a graph, and the graph that follows from it.
//!
//! Sites are the linear, matmul and embedding nodes. [`plan`] decides every site's types from the rules;
//! [`apply`] rebuilds the graph: weights are quantised once, a `quantise` node goes in front of every operand that is
//! read in another type (one per value and type, named `<value>.as.<format>`), and accumulators are set.

use super::rewrite::Rewriter;
use super::{Policy, Rule};
use crate::diag::{Error, Kind, Place, Result, did_you_mean};
use crate::graph::{Def, Graph, Node, Op, ValueId};
use crate::num::{Accumulator, dot_class};
use crate::tensor::{Recipe, Scaling, Store, TensorType, terms};
use std::collections::{BTreeMap, BTreeSet};

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
pub(super) struct Site {
    /// Type of operand 0 (activations, left operand; none for embeddings) with its rule.
    pub x: Option<(TensorType, usize)>,
    /// Type of the weight, table or right operand with its rule.
    pub w: Option<(TensorType, usize)>,
    pub accumulator: Option<(Accumulator, usize)>,
    pub store: Option<(Store, usize)>,
    /// What the rules add up to, and the last of them.
    recipe: Option<(Recipe, usize)>,
}

/// The operand that a `weights` rule concerns, if this node has one.
pub(super) fn weight_operand(graph: &Graph, node: &Node) -> Option<ValueId> {
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
    pub fn recipe(&self) -> Recipe {
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
        let stays = Some(*input) == weight && site.w.is_none_or(|(ty, _)| ty.asks_for(&value.ty));
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
    let recipe = site.recipe();
    let linear_only = [("rotate", recipe.rotate), ("outliers", recipe.outliers.is_some())];
    if let Some((key, _)) = linear_only.into_iter().find(|(_, set)| *set && matches!(node.op, Op::Embedding)) {
        return Err(Error::unsupported(format!("{key} concerns weights of linear nodes, not embedding tables"))
            .at(Place::Node(node.name.clone()))
            .help("let the rule match the linear nodes only"));
    }
    if (recipe.sparsity.is_some() || recipe.rotate || recipe.outliers.is_some()) && fp32 {
        let key = recipe.keys().into_iter().map(|(key, _)| key).find(|key| *key != "seed").unwrap_or("sparsity");
        return Err(Error::unsupported(format!("{key} goes with `weights` in another format than fp32"))
            .at(Place::Node(node.name.clone()))
            .help("hold them in bf16"));
    }
    if site.recipe().double_quant == Some(true) && fp32 {
        return Err(Error::unsupported("double_quant goes with `weights` in blocks")
            .at(Place::Node(node.name.clone()))
            .help("hold them in nf4"));
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

pub(super) fn is_plain_fp32(ty: TensorType) -> bool {
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

/// An error of a node that cannot be compiled as the policy wants it, with the lines of the rules that decided for the node
/// (or for the value that a quantiser reads) in its help. Any other error stays as it is.
pub fn naming_rules(error: Error, policy: &Policy, assignments: &[Assignment]) -> Error {
    let Place::Node(node) = error.place() else { return error };
    if error.kind() != Kind::Unsupported {
        return error;
    }
    let part_of = |whole: &str| node.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let own = |a: &&Assignment| part_of(&a.node) || (part_of(&a.value) && matches!(a.setting, Setting::Type(_)));
    let lines: BTreeSet<usize> = assignments.iter().filter(own).map(|a| policy.line(a.rule)).collect();
    if lines.is_empty() {
        return error;
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("{}:{line}", policy.path)).collect();
    let asked = format!("asked for by the rule at {}", lines.join(" and "));
    let help = error.help_text().map_or(asked.clone(), |help| format!("{help}; {asked}"));
    error.help(help)
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
