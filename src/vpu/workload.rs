//! Workloads without weights: every layer is a program that starts from the quiet state, so what it takes is a function of
//! its program and the machine alone. Programs that are equal word by word are simulated once and counted often.
//!
//! The quiet state is that after `epoch`: units and queues empty, DRAM banks closed, refresh restarted. Layers of a
//! workload begin and end in it, as kernels of real devices do; [`Epochs::None`] tells what that costs.

use super::execute::time_alone;
use super::workload_report::{self, Parts};
use crate::compile::kernels::Kernels;
use crate::compile::layers::{self, Formats, Program};
use crate::compile::link::Bodies;
use crate::compile::{Layout, Options};
use crate::diag::{Error, Place, Result};
use crate::exec::{Config, Decodes, Event, Mode, Status, Vm};
use crate::isa::Op;
use crate::machine::Machine;
use crate::num::{Accumulator, format};
use crate::policy::Policy;
use crate::sim::observe::{Later, Observer, Program as Described, Step, Unobserved};
use crate::sim::{self, Ledger, Outcome, Sim, Timing};
use crate::tensor::TensorType;
use crate::workload::{Kind, Layer, Workload};
use std::collections::HashMap;
use std::sync::Arc;

pub use super::workload_report::{SCHEMA, WorkloadReport};

/// How the layers of a workload follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Epochs {
    /// Each begins when the one before it is over and everything is quiet.
    #[default]
    Layers,
    /// One program without any drain: a layer begins while the one before it ends, whose result is its input.
    None,
}

/// What a run of a workload may do.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Simulate every instance of every layer one by one, and every step of each.
    pub step: bool,
    /// How layers follow each other.
    pub epochs: Epochs,
    /// Do not simulate: estimates only.
    pub estimate: bool,
    /// Inputs and results of layers lie on the chip, as on machines whose software keeps them there.
    pub resident: bool,
}

/// What one layer takes, once.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub program: Program,
    /// One instance, simulated alone.
    pub outcome: Option<Arc<Outcome>>,
    /// All instances, simulated one by one and added up.
    pub stepped: Option<Outcome>,
}

/// Everything that is known of a layer of a workload.
#[derive(Debug, Clone)]
pub(super) struct Done {
    pub formats: Formats,
    pub estimate: u64,
    pub segment: Option<Segment>,
}

/// How much was simulated.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Effort {
    /// Instances of layers.
    pub instances: u64,
    /// Different programs.
    pub programs: u64,
    /// Programs that were simulated, repetitions counted.
    pub simulated: u64,
}

/// Runs a workload on a machine under a policy.
///
/// # Errors
/// Unsupported, naming the layer, where no kernel serves it or a tile does not fit; Fault if a program traps.
pub fn run(
    workload: &Workload,
    machine: &Machine,
    policy: &Policy,
    kernels: &Kernels,
    run: &Run,
) -> Result<WorkloadReport> {
    run_observed(workload, machine, policy, kernels, run, &mut |_| {}, &mut Unobserved)
}

/// As [`run`]; `progress` hears of every layer as it begins. `observer` is told of every instruction of every instance of
/// every layer, in cycles of the whole run, with the layer as its step. So whoever watches makes it step.
///
/// # Errors
/// Those of [`run`]; Usage where there is nothing to watch: an estimate, or layers that are no programs of their own.
pub fn run_observed<O: Observer>(
    workload: &Workload,
    machine: &Machine,
    policy: &Policy,
    kernels: &Kernels,
    run: &Run,
    progress: &mut dyn FnMut(&str),
    observer: &mut O,
) -> Result<WorkloadReport> {
    if O::WANTED && (run.estimate || run.epochs == Epochs::None) {
        let error = Error::usage("only layers that are simulated one after the other can be watched");
        return Err(error.help("leave out `--estimate` and `--epochs none`"));
    }
    let run = &Run { step: run.step || O::WANTED, ..run.clone() };
    workload.check()?;
    let mut known = Known {
        machine,
        sim: Sim::new(machine, 0),
        options: Options { fuse: true, kernels: kernels.clone(), layout: layout_of(run), timer: Some(time_alone) },
        bodies: Bodies::default(),
        decodes: Decodes::default(),
        programs: HashMap::new(),
        outcomes: HashMap::new(),
        effort: Effort::default(),
        cycles: 0,
    };
    let mut done = Vec::with_capacity(workload.layers.len());
    for (index, layer) in workload.layers.iter().enumerate() {
        let named = |error: Error| match error.place() {
            Place::Source { .. } => error,
            // A kernel knows the names of its own operands only.
            _ => error.moved(Place::Node(layer.name.clone())),
        };
        progress(&layer.name);
        let formats = formats(layer, policy);
        let estimate = layers::estimate(&layer.kind, &formats, machine);
        let segment = match run.estimate {
            true => None,
            false => Some(known.segment((workload, index), &formats, run, observer).map_err(named)?),
        };
        done.push(Done { formats, estimate, segment });
    }
    let joined = match (run.epochs, run.estimate) {
        (Epochs::None, false) => Some(one_program(workload, &done, &mut known)?),
        _ => None,
    };
    workload_report::report(&Parts {
        workload,
        machine,
        policy,
        done: &done,
        joined: joined.as_ref(),
        effort: known.effort,
        run,
    })
}

fn layout_of(run: &Run) -> Layout {
    Layout { resident: run.resident, ..Layout::default() }
}

/// Formats of a layer: what the policy's rules that match its name say, later ones over earlier ones, and over all what the
/// layer says itself. What nobody says is fp32.
fn formats(layer: &Layer, policy: &Policy) -> Formats {
    let fp32 = TensorType::plain(format::find("fp32").expect("fp32 is a built-in format"));
    let (mut weights, mut inputs, mut kv, mut attention) = (fp32, fp32, fp32, None);
    let mut accumulator = Accumulator::default();
    for rule in policy.rules.iter().filter(|rule| rule.glob.matches(&layer.name)) {
        weights = rule.weights.unwrap_or(weights);
        inputs = rule.activations.unwrap_or(inputs);
        kv = rule.kv.unwrap_or(kv);
        attention = rule.attention.or(attention);
        accumulator = rule.accumulator.unwrap_or(accumulator);
    }
    let own = layer.formats;
    let inputs = own.inputs.unwrap_or(inputs);
    // A pass reads fp32 and writes fp32, but for the quantiser.
    let outputs = own.outputs.unwrap_or(inputs);
    Formats {
        weights: own.weights.unwrap_or(weights),
        inputs,
        outputs,
        attention: attention.unwrap_or(inputs),
        kv,
        accumulator,
    }
}

/// Programs and outcomes that are known already.
struct Known<'a> {
    machine: &'a Machine,
    /// At the start of everything.
    sim: Sim,
    options: Options,
    bodies: Bodies,
    decodes: Decodes,
    /// By what a program is made from.
    programs: HashMap<Kind, Vec<(Formats, Program)>>,
    /// By the program itself: its words and its control memory, which holds the parameter blocks with all addresses.
    outcomes: HashMap<(Vec<u64>, Vec<u8>), Arc<Outcome>>,
    effort: Effort,
    /// Where instances are stepped: cycles of those that are over.
    cycles: u64,
}

impl Known<'_> {
    fn program(&mut self, kind: &Kind, formats: &Formats) -> Result<Program> {
        let same = self.programs.entry(*kind).or_default();
        if let Some((_, program)) = same.iter().find(|(known, _)| known == formats) {
            return Ok(program.clone());
        }
        let program = layers::compile(kind, formats, self.machine, &self.options, &mut self.bodies)?;
        same.push((*formats, program.clone()));
        Ok(program)
    }

    fn segment<O: Observer>(
        &mut self,
        (workload, index): (&Workload, usize),
        formats: &Formats,
        run: &Run,
        observer: &mut O,
    ) -> Result<Segment> {
        let layer = &workload.layers[index];
        let program = self.program(&layer.kind, formats)?;
        self.effort.instances += layer.count;
        if run.epochs == Epochs::None {
            return Ok(Segment { program, outcome: None, stepped: None });
        }
        let key = (program.object.words.clone(), program.object.control.clone());
        if run.step {
            let mut sum = Outcome { timing: Timing::default(), ledger: Ledger::default() };
            let mut last = None;
            for _ in 0..layer.count {
                let mut later = Later { observer: &mut *observer, from: self.cycles, node: index as u32 };
                if O::WANTED {
                    let named =
                        workload.layers.iter().map(|layer| Step { name: &layer.name, kernel: layer.kind.name() });
                    later.begin(&Described { object: &program.object, steps: named.collect() });
                }
                let one = simulate(&program, self, true, &mut later)?;
                self.cycles += one.timing.cycles;
                add_timing(&mut sum.timing, &one.timing, 1);
                add_ledger(&mut sum.ledger, &one.ledger, 0, 1);
                self.effort.simulated += 1;
                last = Some(Arc::new(one));
            }
            let known = last.as_ref().and_then(|last| self.outcomes.insert(key, last.clone()));
            self.effort.programs += u64::from(known.is_none());
            return Ok(Segment { program, outcome: last, stepped: Some(sum) });
        }
        let outcome = match self.outcomes.get(&key) {
            Some(known) => known.clone(),
            None => {
                let outcome = Arc::new(simulate(&program, self, false, &mut Unobserved)?);
                self.effort.simulated += 1;
                self.effort.programs += 1;
                self.outcomes.insert(key, outcome.clone());
                outcome
            }
        };
        Ok(Segment { program, outcome: Some(outcome), stepped: None })
    }
}

/// A core in front of the first instruction, with so many bytes of DRAM.
fn start(program: &Program, machine: &Machine, dram_bytes: u64, known: &mut Decodes) -> Result<Vm> {
    let config = Config { dram_bytes, ..Config::of(machine) };
    let mut vm = Vm::one_of_many(program.object.clone(), config, Mode::TimingOnly, known)?;
    if let Some((at, count, rows)) = program.indices {
        // Which rows are read is not known; these are spread over the table.
        let row = |index: u64| (index.wrapping_mul(2_654_435_761) % rows) as u32;
        let bytes: Vec<u8> = (0..count).flat_map(|index| row(index).to_le_bytes()).collect();
        vm.write(at, &bytes)?;
    }
    Ok(vm)
}

/// One run of a program from the quiet state; `step` takes DRAM command by command.
fn simulate<O: Observer>(program: &Program, known: &mut Known<'_>, step: bool, observer: &mut O) -> Result<Outcome> {
    let mut vm = start(program, known.machine, program.dram_end, &mut known.decodes)?;
    let mut sim = known.sim.another(program.steps, step);
    if !O::WANTED && !step {
        sim::run(&mut vm, &mut sim)?;
        return sim.finish();
    }
    let mut event = Event::new();
    loop {
        let status = vm.step(&mut event)?;
        sim.observe(&event, observer);
        if status == Status::Halted {
            return sim.finish_observed(observer);
        }
    }
}

/// All layers as one stream of instructions, without a drain in between. A layer's first input lies where the result of the
/// layer before it does, so that it waits for it.
fn one_program(workload: &Workload, done: &[Done], known: &mut Known<'_>) -> Result<Outcome> {
    let machine = known.machine;
    let mut sim = known.sim.another(workload.layers.len(), false);
    let mut event = Event::new();
    let mut layout = known.options.layout;
    let last = workload.layers.len() - 1;
    for (index, (layer, done)) in workload.layers.iter().zip(done).enumerate() {
        for instance in 0..layer.count {
            let mut compile = |layout| {
                let options = Options { layout, ..known.options.clone() };
                let program = layers::compile(&layer.kind, &done.formats, machine, &options, &mut known.bodies);
                program.map_err(|error| error.moved(Place::Node(layer.name.clone())))
            };
            let mut program = compile(layout)?;
            // Weights go on behind each other and start over in the middle of memory: what lies there is read whole.
            let over = program.dram_end > machine.dram.bytes / 2;
            if instance + 1 < layer.count && !over {
                layout.equals[1] = true;
                program = compile(layout)?;
            }
            known.effort.simulated += 1;
            // A branch may read more there than the layer before it has written.
            let mut vm = start(&program, machine, machine.dram.bytes, &mut known.decodes)?;
            loop {
                let status = vm.step(&mut event)?;
                event.node = index as u32;
                let halted = status == Status::Halted;
                let over = halted && index == last && instance + 1 == layer.count;
                if event.op != Op::Node && (!halted || over) {
                    sim.account(&event);
                }
                if halted {
                    break;
                }
            }
            let from = if over { Layout::default().from } else { program.dram_end };
            layout = Layout { from, input: Some(program.output), equals: [layout.equals[1], false], ..layout };
        }
    }
    sim.finish()
}

/// `sum += one * count`, field by field; all nodes become one.
pub(super) fn add_timing(sum: &mut Timing, one: &Timing, count: u64) {
    sum.cycles += one.cycles * count;
    sum.instructions += one.instructions * count;
    for (sum, one) in sum.units.iter_mut().zip(&one.units) {
        sum.busy_cycles += one.busy_cycles * count;
        sum.idle_cycles += one.idle_cycles * count;
        sum.instructions += one.instructions * count;
        for (sum, one) in sum.stall_cycles.iter_mut().zip(&one.stall_cycles) {
            *sum += one * count;
        }
    }
    if sum.nodes.is_empty() {
        sum.nodes.push(Default::default());
    }
    for (sum, one) in sum.nodes[0].iter_mut().zip(one.spent()) {
        *sum += one * count;
    }
    sum.dram.busy_cycles += one.dram.busy_cycles * count;
    sum.shared_busy_cycles += one.shared_busy_cycles * count;
    sum.noc_busy_cycles += one.noc_busy_cycles * count;
}

/// Adds `count` times the counts of a layer's program, as those of ledger node `node`.
pub(super) fn add_ledger(sum: &mut Ledger, one: &Ledger, node: u32, count: u64) {
    for (key, each) in &one.rows {
        *sum.rows.entry(sim::Key { node, ..*key }).or_default() += each * count;
    }
}
