//! One execution of a compiled program: memory is filled, the virtual processor steps, the simulator prices every
//! event, and the result of each step is read out the moment the step ends.

use crate::check::Captured;
use crate::compile::{Compiled, Placement, payload_in_memory, root, sides_in_memory};
use crate::diag::{Error, Kind, Result};
use crate::exec::{Config, Event, Mode, Status, Vm};
use crate::graph::{Def, Graph, InputData, NodeId, Op};
use crate::isa::{self, Object};
use crate::machine::Machine;
use crate::sim::observe::{Observer, Program, Step, Unobserved};
use crate::sim::{self, Outcome, Sim};
use crate::tensor::{Tensor, rows_cols};
use std::sync::Arc;

/// What an execution left behind.
pub struct Execution {
    /// Results of all materialised nodes, in program order; empty in timing-only mode.
    pub captured: Vec<Captured>,
    /// Cycles and counts, if they were asked for.
    pub outcome: Option<Outcome>,
}

/// Which halves of the machine run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Values only.
    Values,
    /// Cycles and joules only.
    Time,
    /// Both.
    Both,
}

/// Executes `compiled`, the program of `graph`.
///
/// # Errors
/// Fault if the program traps; Internal if inputs do not fit the graph.
pub fn execute(
    compiled: &Compiled,
    graph: &Graph,
    inputs: &[InputData],
    machine: &Machine,
    what: What,
) -> Result<Execution> {
    execute_observed(compiled, graph, inputs, machine, what, &mut Unobserved)
}

/// As [`execute`]; `observer` is told what the clock did with every instruction.
///
/// # Errors
/// Those of [`execute`].
pub fn execute_observed<O: Observer>(
    compiled: &Compiled,
    graph: &Graph,
    inputs: &[InputData],
    machine: &Machine,
    what: What,
    observer: &mut O,
) -> Result<Execution> {
    if O::WANTED {
        let steps = compiled.steps.iter().map(|step| Step { name: &step.name, kernel: &step.kernel }).collect();
        observer.begin(&Program { object: &compiled.object, steps });
    }
    let alone = || time(compiled, graph, inputs, machine, what == What::Both);
    let known = match what {
        What::Time if !O::WANTED => return Ok(Execution { captured: Vec::new(), outcome: alone()? }),
        // Time runs alone, where passes of loops cost nothing, if it can: what stopped it may not stop a run with values.
        What::Both if !O::WANTED => alone().unwrap_or_default(),
        _ => None,
    };
    let mode = if what == What::Time { Mode::TimingOnly } else { Mode::Functional };
    let mut vm = start(compiled, graph, inputs, machine, mode)?;
    let mut sim = (what != What::Values && known.is_none()).then(|| Sim::new(machine, compiled.steps.len()));
    let mut captured = Vec::new();
    let mut event = Event::new();
    // The driver marks the steps in order, so their number is counted here.
    let mut marked = 0;
    loop {
        let status = vm.step(&mut event)?;
        if let Some(sim) = &mut sim {
            sim.observe(&event, observer);
        }
        let halted = status == Status::Halted;
        if mode == Mode::Functional && (halted || event.op == isa::Op::Node) {
            if marked > 0 {
                capture(&mut vm, compiled, graph, marked - 1, &mut captured)?;
            }
            marked += 1;
        }
        if halted {
            break;
        }
    }
    let outcome = sim.map(|sim| sim.finish_observed(observer)).transpose()?.or(known);
    Ok(Execution { captured, outcome })
}

/// Cycles and counts of a run without values; `None` if only `sure` ones are asked for, those of a run with values too, and
/// something was met that values decide.
fn time(
    compiled: &Compiled,
    graph: &Graph,
    inputs: &[InputData],
    machine: &Machine,
    sure: bool,
) -> Result<Option<Outcome>> {
    let mut vm = start(compiled, graph, inputs, machine, Mode::TimingOnly)?;
    let mut sim = Sim::new(machine, compiled.steps.len());
    match sim::run_while(&mut vm, &mut sim, |vm| !sure || vm.is_sure())? {
        Some(_) => Ok(Some(sim.finish()?)),
        None => Ok(None),
    }
}

/// What a program on trial may use up, in the units of [`Config::fuel`]: more than any that is short does ([`crate::compile::trial`]).
const TRIAL_FUEL: u64 = 1 << 25;

/// Cycles of a program on its own ([`crate::compile::trial::Timer`]).
pub(super) fn time_alone(object: &Arc<Object>, machine: &Machine) -> Option<u64> {
    let config = Config { fuel: Some(TRIAL_FUEL), ..Config::of(machine) };
    let mut vm = Vm::new(object.clone(), config, Mode::TimingOnly).ok()?;
    let mut sim = Sim::new(machine, 1);
    sim::run(&mut vm, &mut sim).ok()?;
    sim.finish().ok().map(|outcome| outcome.timing.cycles)
}

/// The virtual processor in front of the first instruction, with constants and inputs in memory.
pub(super) fn start(
    compiled: &Compiled,
    graph: &Graph,
    inputs: &[InputData],
    machine: &Machine,
    mode: Mode,
) -> Result<Vm> {
    let fuel = (!compiled.replaced.is_empty()).then(|| fuel(compiled));
    let config = Config { dram_bytes: compiled.dram_bytes, fuel, ..Config::of(machine) };
    let mut vm = Vm::new(compiled.object.clone(), config, mode)?;
    fill(&mut vm, compiled, graph, inputs, mode)?;
    Ok(vm)
}

/// What a program with a user's kernels may use up before it is taken for one that does not end: far more than the
/// library's kernels would, in the units of [`Config::fuel`].
fn fuel(compiled: &Compiled) -> u64 {
    let elements = |step: &crate::compile::Step| step.output.shape.iter().product::<usize>() as u64;
    let work = compiled.steps.iter().map(|step| step.macs_dense + 16 * elements(step)).fold(0, u64::saturating_add);
    work.saturating_mul(16).saturating_add(10_000_000)
}

fn fill(vm: &mut Vm, compiled: &Compiled, graph: &Graph, inputs: &[InputData], mode: Mode) -> Result<()> {
    if mode == Mode::Functional {
        for place in &compiled.constants {
            let Def::Const(tensor) = &graph.value(place.value).def else {
                return Err(Error::internal("a constant without a tensor"));
            };
            store(vm, compiled, place, tensor)?;
        }
    }
    for sparse in &compiled.sparse {
        vm.write(sparse.map, &sparse.control)?;
    }
    // Restart tables and models lie in control memory, which timing-only runs read too.
    for coded in &compiled.coded {
        vm.write(coded.table, &coded.coded.control_bytes())?;
    }
    for (value, data) in graph.inputs.iter().zip(inputs) {
        let place = compiled
            .inputs
            .iter()
            .find(|place| place.value == *value)
            .ok_or_else(|| Error::internal(format!("input `{}` has no place", graph.value(*value).name)))?;
        match data {
            InputData::Ids(ids) => {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                vm.write(place.addr, &bytes)?;
            }
            InputData::Dense(tensor) if mode == Mode::Functional => give(vm, place, tensor)?,
            InputData::Dense(_) => {}
        }
    }
    Ok(())
}

/// A constant, entropy-coded or in live tiles if it lies so.
fn store(vm: &mut Vm, compiled: &Compiled, place: &Placement, tensor: &Tensor) -> Result<()> {
    let coded = compiled.coded.iter().find(|coded| coded.value == place.value);
    let sparse = compiled.sparse.iter().find(|sparse| sparse.value == place.value);
    match (coded, sparse) {
        (Some(coded), _) => vm.write(place.addr, coded.coded.payload())?,
        (None, Some(sparse)) => vm.write(place.addr, &sparse.payload)?,
        (None, None) => vm.write(place.addr, &payload_in_memory(tensor))?,
    }
    let sides = sides_in_memory(tensor, place.order);
    if !sides.is_empty() {
        vm.write(place.scale_addr, &sides)?;
    }
    Ok(())
}

/// A run-time input.
fn give(vm: &mut Vm, place: &Placement, tensor: &Tensor) -> Result<()> {
    vm.write(place.addr, &tensor.payload)?;
    let sides = tensor.side_data();
    if !sides.is_empty() {
        vm.write(place.scale_addr, &sides)?;
    }
    Ok(())
}

/// Reads the result of `step`, and of the reshapes that share its bytes.
fn capture(vm: &mut Vm, compiled: &Compiled, graph: &Graph, step: usize, captured: &mut Vec<Captured>) -> Result<()> {
    let Some(step) = compiled.steps.get(step) else {
        let message = format!("the program marks more than its {} steps", compiled.steps.len());
        return Err(Error::new(Kind::Fault, message).help("`node` belongs to the driver: take it out of the kernel"));
    };
    let place = &step.output;
    let (rows, cols) = rows_cols(&place.shape);
    let payload = vm.read(place.addr, (rows * place.ty.row_bytes(cols)) as u64)?.to_vec();
    let sides = match place.ty.side_bytes(rows, cols) {
        0 => Vec::new(),
        bytes => vm.read(place.scale_addr, bytes as u64)?.to_vec(),
    };
    let last = *step.nodes.last().ok_or_else(|| Error::internal("a step without nodes"))?;
    for (index, node) in graph.nodes.iter().enumerate() {
        let alias = matches!(node.op, Op::Reshape { .. }) && root(graph, node.output) == place.value;
        let id = NodeId(u32::try_from(index).expect("fewer than 2^32 nodes"));
        if id == last || alias {
            let value = graph.value(node.output);
            let tensor = Tensor::from_bytes(value.shape.clone(), value.ty, payload.clone(), &sides)?;
            captured.push(Captured { node: id, tensor, kernel: step.kernel.clone() });
        }
    }
    Ok(())
}
