//! The trace of a run in Chrome's format, which Perfetto opens: what every unit did when, written while the run goes.
//!
//! docs/traces.md is the reference of what stands in it. A [`Trace`] is an observer of the clock. What it knows of the past
//! is bounded, so the longest run takes no more memory than a short one; the counters come last, from a
//! [`History`] of the same run.

mod counters;
mod file;
mod producers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::diag::{Error, Result};
use crate::exec::event::{Event, Work};
use crate::isa::{self, Op, Unit, disasm};
use crate::machine::Machine;
use crate::sim::history::{History, Keep};
use crate::sim::observe::{Observer, Program, Times, Wait};
use crate::sim::{CAUSES, UNIT_NAMES};
use file::Growing;
use producers::{MOST, Need, Producers, Stand, space_name};

/// Value of `otherData.schema`.
pub const SCHEMA: &str = "preon.trace/1";

/// Bins of the counters.
const BINS: usize = 4096;
/// Transfers whose first user has not come yet, of which an arrow is still to be drawn.
const OPEN: usize = 4096;

/// First track of each kind of work in a core.
mod tracks {
    /// Issue slots follow each other.
    pub const CONTROL: u32 = 1;
    pub const LOAD_STORE: u32 = 10;
    pub const VECTOR_MAC: u32 = 11;
    pub const ELEMENTWISE: u32 = 12;
    pub const ARRAY: u32 = 13;
    pub const ARRAY_WEIGHTS: u32 = 14;
    /// DMA engines follow each other.
    pub const DMA: u32 = 20;
}

/// Text of a word: mnemonic and whole instruction, as JSON strings.
struct Word {
    name: String,
    text: String,
}

/// A trace on its way into its file.
pub struct Trace {
    file: Growing,
    window: Option<(u64, u64)>,
    machine: Machine,
    history: History,
    producers: Producers,
    object: Option<isa::Object>,
    words: BTreeMap<u32, Word>,
    /// Names of the steps as JSON strings.
    steps: Vec<String>,
    seq: u64,
    arrows: u64,
    /// Transfers that nobody has used yet.
    open: BTreeSet<u64>,
    /// Of each core that has its names: cycle of its last issue, and how many instructions issued in it.
    cores: Vec<(u64, u32)>,
    first: bool,
    line: String,
}

impl Trace {
    /// Begins the trace of a run on `machine` in the file `path`; of slices, arrows and counters only what lies in
    /// `window` (first cycle, and one past the last) is written.
    ///
    /// # Errors
    /// Usage if the file cannot be written.
    pub fn create(path: &Path, machine: &Machine, window: Option<(u64, u64)>) -> Result<Trace> {
        let mut file = Growing::begin(path)?;
        file.add(file::HEAD);
        Ok(Trace {
            file,
            window,
            machine: machine.clone(),
            history: History::new(machine, Keep { bins: BINS, window, pictures: false }),
            producers: Producers::default(),
            object: None,
            words: BTreeMap::new(),
            steps: Vec::new(),
            seq: 0,
            arrows: 0,
            open: BTreeSet::new(),
            cores: Vec::new(),
            first: true,
            line: String::new(),
        })
    }

    /// Ends the trace and gives the file its name. `about` is added to `otherData`: the totals of the whole run.
    ///
    /// # Errors
    /// Usage if the file could not be written, or the window begins behind the end.
    pub fn finish(mut self, about: Map<String, Value>) -> Result<()> {
        let cycles = about.get("totals").and_then(|totals| totals.get("cycles")).and_then(Value::as_u64);
        if let (Some((from, _)), Some(cycles)) = (self.window, cycles)
            && from >= cycles
        {
            let error = Error::usage(format!("the window begins in cycle {from}, but the run ends in cycle {cycles}"));
            return Err(error.help("choose --window FROM..TO within the run"));
        }
        for line in counters::lines(&self.history, &self.machine, self.cores.len()) {
            self.put(&line);
        }
        let mut other = json!({
            "schema": SCHEMA,
            "preon": env!("CARGO_PKG_VERSION"),
            "machine": self.machine.name,
            "clock_hz": self.machine.clock_hz,
            "time": "ts and dur count cycles of the core clock: what viewers call 1 us is 1 cycle",
            "window": self.window.map(|(from, until)| [from, until]),
            "records": self.seq,
            "counter_cycles": self.history.scale.width,
            "assumptions": [
                "a cycle is the whole of an instruction's time in a unit: nothing starts or ends inside one",
                "bytes and energy of an instruction are spread evenly over its time in its unit",
                "bytes are in use from their write to their last read before the next write",
            ],
            "not_modelled": crate::sim::not_modelled(&self.machine),
        });
        if let Value::Object(other) = &mut other {
            other.extend(about);
        }
        self.file.add(&format!("\n],\"otherData\":{other}}}\n"));
        self.file.finish()
    }

    fn put(&mut self, line: &str) {
        if !self.first {
            self.file.add(",\n");
        }
        self.first = false;
        self.file.add(line);
    }

    /// Whether the cycles `from..to` meet the window.
    fn shows(&self, from: u64, to: u64) -> bool {
        self.window.is_none_or(|(first, until)| from < until && to.max(from + 1) > first)
    }

    /// Names the tracks of the cores up to `core`.
    fn greet(&mut self, core: u8) {
        while self.cores.len() <= usize::from(core) {
            let pid = self.cores.len() + 1;
            self.cores.push((u64::MAX, 0));
            let mut names = vec![(0, "process_name", format!("core {}", pid - 1))];
            let slots = self.machine.issue_per_cycle.clamp(1, tracks::LOAD_STORE - tracks::CONTROL);
            let numbered = |name: &str, n: u32, of: u32| if of > 1 { format!("{name} {n}") } else { name.to_owned() };
            names.extend((0..slots).map(|n| (tracks::CONTROL + n, "thread_name", numbered("control", n, slots))));
            for (track, name) in [
                (tracks::LOAD_STORE, UNIT_NAMES[Unit::L as usize]),
                (tracks::VECTOR_MAC, UNIT_NAMES[Unit::S as usize]),
                (tracks::ELEMENTWISE, UNIT_NAMES[Unit::E as usize]),
            ] {
                names.push((track, "thread_name", name.to_owned()));
            }
            if self.machine.array.is_some() {
                names.push((tracks::ARRAY, "thread_name", "array".to_owned()));
                names.push((tracks::ARRAY_WEIGHTS, "thread_name", "array weights".to_owned()));
            }
            let engines = self.machine.dma.engines.max(1);
            names.extend((0..engines).map(|n| (tracks::DMA + n, "thread_name", numbered("dma", n, engines))));
            for (track, kind, name) in names {
                self.put(&format!(
                    "{{\"ph\":\"M\",\"pid\":{pid},\"tid\":{track},\"name\":\"{kind}\",\"args\":{{\"name\":\"{name}\"}}}}"
                ));
                if kind == "thread_name" {
                    self.put(&format!(
                        "{{\"ph\":\"M\",\"pid\":{pid},\"tid\":{track},\"name\":\"thread_sort_index\",\"args\":{{\"sort_index\":{track}}}}}"
                    ));
                }
            }
        }
    }

    /// The issue slot of an instruction: instructions of one core and cycle take one each.
    fn slot(&mut self, event: &Event, issue: u64) -> u32 {
        let (cycle, count) = &mut self.cores[usize::from(event.core)];
        *count = if *cycle == issue { *count + 1 } else { 0 };
        *cycle = issue;
        tracks::CONTROL + (*count).min(tracks::LOAD_STORE - tracks::CONTROL - 1)
    }

    /// The text of a word, made when it is first executed.
    fn word(&mut self, pc: u32, op: Op) -> &Word {
        let object = &self.object;
        self.words.entry(pc).or_insert_with(|| {
            let word = object.as_ref().and_then(|object| object.words.get(pc as usize));
            let inst = word.and_then(|word| isa::decode(*word).ok());
            let text = inst.map_or_else(|| op.row().name.to_owned(), |inst| disasm::instruction(&inst));
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let name = text.split(' ').next().unwrap_or_default();
            Word { name: quoted(name), text: quoted(&text) }
        })
    }

    /// An arrow from the end of one slice to the beginning of another.
    fn arrow(&mut self, from: Stand, to: Stand, start: u64, why: &str) {
        if !(from.shown && to.shown) {
            return;
        }
        let id = self.arrows;
        self.arrows += 1;
        let ends = [("s", "", from, from.last.min(start)), ("f", ",\"bp\":\"e\"", to, start)];
        for (phase, more, stand, ts) in ends {
            self.put(&format!(
                "{{\"ph\":\"{phase}\"{more},\"id\":{id},\"pid\":{},\"tid\":{},\"ts\":{ts},\"name\":\"{why}\",\"cat\":\"flow\"}}",
                u32::from(stand.core) + 1,
                stand.track
            ));
        }
    }

    /// Arrows from the transfers whose bytes are used for the first time, and from whoever held the instruction up.
    fn arrows(&mut self, needs: &[Need], blockers: &[Option<Stand>], to: Stand, start: u64) {
        let mut drawn = Vec::new();
        for need in needs.iter().filter(|need| need.dma) {
            if self.open.remove(&need.from.seq) {
                drawn.push(need.from.seq);
                self.arrow(need.from, to, start, "data");
            }
        }
        for blocker in blockers.iter().flatten() {
            if !drawn.contains(&blocker.seq) {
                self.arrow(*blocker, to, start, "wait");
            }
        }
    }

    fn slice(&mut self, stand: Stand, cat: &str, pc: u32, span: (u64, u64), args: &str) {
        let (start, end) = span;
        let name = self.words.get(&pc).map_or("\"?\"", |word| word.name.as_str());
        let line = format!(
            "{{\"ph\":\"X\",\"pid\":{},\"tid\":{},\"ts\":{start},\"dur\":{},\"name\":{name},\"cat\":\"{cat}\",\"args\":{{{args}}}}}",
            u32::from(stand.core) + 1,
            stand.track,
            end - start,
        );
        self.put(&line);
    }

    /// The arguments of an instruction's slice.
    fn args(&mut self, event: &Event, times: &Times, needs: &[Need]) -> String {
        let mut args = std::mem::take(&mut self.line);
        args.clear();
        let seq = self.seq;
        let text = &self.word(event.pc, event.op).text;
        let _ = write!(args, "\"seq\":{seq},\"pc\":{},\"text\":{text}", event.pc);
        if let Some(step) = self.steps.get(event.node as usize) {
            let _ = write!(args, ",\"step\":{step}");
        }
        let _ = write!(args, ",\"issue\":{},\"ready\":{}", times.issue, times.ready);
        if event.writes.0 as u32 != 0 {
            let _ = write!(args, ",\"scalars\":{}", times.scalars);
        }
        if let Work::Dma { tag, .. } | Work::Multicast { tag, .. } = event.work {
            let _ = write!(args, ",\"tag\":{tag}");
        }
        for (name, write) in [("read", false), ("write", true)] {
            let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
            for access in event.touched().iter().filter(|access| access.write == write && access.bytes > 0) {
                *bytes.entry(space_name(access.space)).or_default() += access.bytes;
            }
            if !bytes.is_empty() {
                let each: Vec<String> = bytes.iter().map(|(space, n)| format!("\"{space}\":{n}")).collect();
                let _ = write!(args, ",\"{name}\":{{{}}}", each.join(","));
            }
        }
        if !needs.is_empty() {
            let each = needs.iter().take(MOST).map(|need| {
                let (kind, what) = need.via.names();
                format!("[{},\"{kind}\",\"{what}\"]", need.from.seq)
            });
            let _ = write!(args, ",\"needs\":[{}]", each.collect::<Vec<_>>().join(","));
        }
        if needs.len() > MOST {
            let _ = write!(args, ",\"more_needs\":{}", needs.len() - MOST);
        }
        args
    }
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// What held a track up before a slice, as an argument.
fn wait_arg(wait: Option<Wait>, by: Option<Stand>) -> String {
    let Some(wait) = wait else { return String::new() };
    let on = match wait.on {
        crate::sim::observe::On::Register(bit) => format!(",\"on\":\"{}\"", crate::exec::register_name(bit)),
        crate::sim::observe::On::Tag(tag) => format!(",\"on\":\"t{tag}\""),
        _ => String::new(),
    };
    let by = by.map_or_else(String::new, |by| format!(",\"by\":{}", by.seq));
    let cause = CAUSES[wait.cause as usize];
    format!(",\"wait\":{{\"cause\":\"{cause}\",\"from\":{},\"until\":{}{on}{by}}}", wait.from, wait.until)
}

/// Track of an instruction in its unit.
fn track(event: &Event, times: &Times) -> u32 {
    match (event.unit, event.work) {
        (Unit::C, _) => tracks::CONTROL,
        (Unit::L, _) => tracks::LOAD_STORE,
        (Unit::S, _) => tracks::VECTOR_MAC,
        (Unit::E, _) => tracks::ELEMENTWISE,
        (Unit::M, Work::TileLoad { .. }) => tracks::ARRAY_WEIGHTS,
        (Unit::M, _) => tracks::ARRAY,
        (Unit::D, _) => tracks::DMA + u32::from(times.engine),
    }
}

impl Observer for Trace {
    const WANTED: bool = true;

    fn begin(&mut self, program: &Program<'_>) {
        self.object = Some(program.object.clone());
        self.words.clear();
        self.steps = program.steps.iter().map(|step| quoted(step.name)).collect();
        self.history.begin(program);
    }

    fn record(&mut self, event: &Event, times: &Times) {
        self.history.record(event, times);
        self.greet(event.core);
        let control = event.unit == Unit::C;
        let slot = self.slot(event, times.issue);
        let end = times.end.max(times.start);
        let stand = |track: u32, from: u64, to: u64, shown: bool| Stand {
            seq: self.seq,
            core: event.core,
            issue: times.issue,
            track,
            last: to.max(from + 1) - 1,
            shown,
        };
        let issue = stand(slot, times.issue, times.issue + 1, self.shows(times.issue, times.issue + 1));
        let unit = stand(track(event, times), times.start, end, self.shows(times.start, end));
        let unit = if control { issue } else { unit };
        let needs = self.producers.needs(event, times.issue);
        let blocker = |wait: Option<Wait>, producers: &mut Producers| producers.blocker(event, &wait?, &needs);
        let before = blocker(times.at_issue, &mut self.producers);
        let within = blocker(times.in_unit, &mut self.producers);
        let held = wait_arg(times.at_issue, before);
        if issue.shown || unit.shown {
            let mut args = self.args(event, times, &needs);
            if control {
                args += &held;
                self.slice(issue, UNIT_NAMES[Unit::C as usize], event.pc, (times.start, times.end), &args);
            } else {
                if issue.shown {
                    let short = format!("\"seq\":{}{held}", self.seq);
                    self.slice(issue, "issue", event.pc, (times.issue, times.issue + 1), &short);
                }
                if unit.shown {
                    args += &wait_arg(times.in_unit, within);
                    self.slice(unit, UNIT_NAMES[event.unit as usize], event.pc, (times.start, end), &args);
                }
            }
            self.line = args;
            let start = if control { times.issue } else { times.start };
            self.arrows(&needs, &[before, within], unit, start);
        } else {
            self.open.retain(|seq| needs.iter().all(|need| need.from.seq != *seq));
        }
        if event.unit == Unit::D {
            self.open.insert(self.seq);
            if self.open.len() > OPEN {
                self.open.pop_first();
            }
        }
        self.producers.note(event, times, unit);
        self.seq += 1;
    }
}
