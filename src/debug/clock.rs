//! What the machine is doing, and what it waits for.
//!
//! exec runs ahead of time: when an instruction has run, the clock knows when it will end. So a stop has to be given a
//! time. It is the cycle in which the next instruction issues; what units do is looked at in the cycle before that, the
//! last one that has passed, in which a wait before issue can still be seen.

use super::moment::{Moment, Seen};
use super::program::Program;
use crate::exec::event::{Access, Work};
use crate::exec::register_name;
use crate::isa::Unit;
use crate::sim::observe::{On, Wait};
use crate::sim::{CAUSES, Cause, UNIT_NAMES, UNITS};

/// Letters of [`Cause`] in timelines, in order.
const LETTERS: [char; CAUSES.len()] = ['o', 'r', 'a', 's', 'w', 'e', 'q', 't', 'd', 'c'];

/// The cycle of a stop before `next`.
pub fn cycle(now: &Moment, next: Option<&Seen>) -> u64 {
    match (next, now.seen().0.back()) {
        (Some(next), _) => next.times.issue,
        (None, _) if now.halted => now.sim.cycles(),
        (None, last) => last.map_or(0, |last| last.times.issue + 1),
    }
}

/// The cycle in which units are looked at.
pub fn view(now: &Moment, next: Option<&Seen>) -> u64 {
    cycle(now, next).saturating_sub(1)
}

/// The past as far as it is remembered, with the next instruction, at one cycle.
pub struct View<'a> {
    program: &'a Program,
    seen: Vec<Seen>,
    /// The cycle looked at.
    pub at: u64,
}

impl<'a> View<'a> {
    /// What is known at `now`.
    pub fn new(program: &'a Program, now: &Moment) -> View<'a> {
        let next = now.peek();
        let at = view(now, next.as_ref());
        View { program, seen: now.seen().0.into_iter().chain(next).collect(), at }
    }

    fn name(&self, seen: &Seen) -> String {
        format!("`{}` ({})", self.program.text(seen.event.pc), self.program.place(seen.event.pc))
    }

    /// Which unit waits for what, since when.
    pub fn stalls(&self) -> String {
        let mut out = String::new();
        for unit in UNITS {
            for (index, seen) in self.seen.iter().enumerate() {
                let at_issue = seen.times.at_issue.filter(|_| unit == Unit::C);
                let in_unit = seen.times.in_unit.filter(|_| unit == seen.event.unit);
                for wait in at_issue.into_iter().chain(in_unit).filter(|wait| wait.covers(self.at)) {
                    let so_far = self.at + 1 - wait.from;
                    let s = if so_far == 1 { "" } else { "s" };
                    out += &format!(
                        "{:<12}waits for {} since cycle {}, {so_far} cycle{s} so far ({})\n            with {}\n",
                        UNIT_NAMES[unit as usize],
                        thing(seen, &wait),
                        wait.from,
                        CAUSES[wait.cause as usize],
                        self.name(seen),
                    );
                    for blocker in self.blockers(index, &wait) {
                        let until = blocker.times.ready.max(blocker.times.end).min(wait.until.max(blocker.times.end));
                        out += &format!("            held up by {}, until cycle {until}\n", self.name(blocker));
                    }
                }
            }
        }
        if out.is_empty() { format!("nothing waits in cycle {}\n", self.at) } else { out }
    }

    /// The older instructions that end a wait: those of the thing waited for, unfinished in the cycle looked at.
    fn blockers(&self, index: usize, wait: &Wait) -> Vec<&Seen> {
        let waiting = &self.seen[index];
        let older = self.seen[..index].iter().filter(|seen| seen.times.ready.max(seen.times.end) > self.at);
        let last = |seen: &&Seen| {
            let times = &seen.times;
            [times.start, times.end, times.ready].contains(&wait.until)
        };
        match wait.on {
            On::Tag(tag) => {
                older.filter(|seen| matches!(seen.event.work, Work::Dma { tag: of, .. } if of == tag)).collect()
            }
            On::Register(bit) => {
                let touches = |seen: &&Seen| (seen.event.reads.0 | seen.event.writes.0) >> bit & 1 == 1;
                older.filter(touches).filter(last).collect()
            }
            On::Range(n) => {
                let mine = &waiting.event.touched()[usize::from(n)];
                let clashes = |seen: &&Seen| seen.event.touched().iter().any(|theirs| clash(theirs, mine));
                older.filter(clashes).filter(last).collect()
            }
            On::Queue | On::Engine => older.filter(|seen| seen.event.unit == waiting.event.unit).filter(last).collect(),
            On::Weights => older.filter(|seen| seen.event.unit == Unit::M).filter(last).collect(),
            On::Units | On::Table | On::Turn | On::Cores => older.filter(last).collect(),
        }
    }

    /// What every unit is doing.
    pub fn units(&self) -> String {
        let mut out = format!("in cycle {}\n", self.at);
        for unit in UNITS {
            let name = UNIT_NAMES[unit as usize];
            let lines = self.unit(unit);
            for (line, text) in lines.iter().enumerate() {
                out += &format!("{:<12}{text}\n", if line == 0 { name } else { "" });
            }
        }
        out
    }

    fn unit(&self, unit: Unit) -> Vec<String> {
        let at = self.at;
        let mut out = Vec::new();
        let mine = || self.seen.iter().filter(|seen| seen.event.unit == unit);
        if unit == Unit::C {
            let issuing = self.seen.iter().filter(|seen| seen.times.issue == at);
            out.extend(issuing.map(|seen| format!("issues {}", self.name(seen))));
            let waiting = self.seen.iter().filter_map(|seen| Some((seen, seen.times.at_issue?)));
            let waiting = waiting.filter(|(_, wait)| wait.covers(at));
            out.extend(waiting.map(|(seen, wait)| {
                format!("waits for {} since cycle {} with {}", thing(seen, &wait), wait.from, self.name(seen))
            }));
        } else {
            for seen in mine() {
                let times = &seen.times;
                if (times.start..times.end).contains(&at) {
                    out.push(format!("runs {}, cycles {} to {}", self.name(seen), times.start, times.end - 1));
                } else if (times.end..times.ready).contains(&at) {
                    out.push(format!("ends {}, result in cycle {}", self.name(seen), times.ready));
                } else if let Some(wait) = seen.times.in_unit.filter(|wait| wait.covers(at)) {
                    let on = thing(seen, &wait);
                    out.push(format!("waits for {on} since cycle {} with {}", wait.from, self.name(seen)));
                }
            }
            let queued = mine().filter(|seen| seen.times.issue < at && at < seen.times.turn).count();
            if queued > 0 {
                out.push(format!("{queued} more in the queue"));
            }
        }
        if out.is_empty() {
            let last = mine().map(|seen| seen.times.ready.max(seen.times.end)).filter(|end| *end <= at).max();
            out.push(last.map_or("idle".into(), |since| format!("idle since cycle {since}")));
        }
        out
    }

    /// One line a unit over the last `cycles` cycles.
    pub fn timeline(&self, cycles: u64) -> String {
        let from = (self.at + 1).saturating_sub(cycles);
        // What is forgotten must not look idle.
        let known = if self.seen.len() > 1000 { self.seen[0].times.issue } else { 0 };
        let from = from.max(known);
        let each = (self.at + 1 - from).div_ceil(WIDEST).max(1);
        let columns = (self.at + 1 - from).div_ceil(each);
        let mut out = format!("cycles {from} to {}", self.at);
        out += &if each > 1 { format!(", {each} a column\n") } else { "\n".into() };
        let mut used = [false; LETTERS.len()];
        for unit in UNITS {
            let states = self.states(unit, from);
            let mut line = String::new();
            for column in 0..columns as usize {
                let first = column * each as usize;
                let part = &states[first..(first + each as usize).min(states.len())];
                let state = most(part);
                if let State::Stalled(cause) = state {
                    used[cause as usize] = true;
                }
                line.push(state.letter());
            }
            out += &format!("{:<12}{line}\n", UNIT_NAMES[unit as usize]);
        }
        let stalls = (0..).zip(used).filter(|(_, used)| *used).map(|(n, _): (usize, _)| {
            let letter = LETTERS[n];
            format!(", {letter} stalled ({})", CAUSES[n])
        });
        out + &format!("            # busy, - result on its way, . idle{}\n", stalls.collect::<String>())
    }

    /// What a unit does in each cycle from `from` to the one looked at.
    fn states(&self, unit: Unit, from: u64) -> Vec<State> {
        let mut states = vec![State::Idle; (self.at + 1 - from) as usize];
        let mut put = |first: u64, end: u64, state: State| {
            for cycle in first.max(from)..end.min(self.at + 1) {
                let place = &mut states[(cycle - from) as usize];
                *place = (*place).max(state);
            }
        };
        for seen in &self.seen {
            let times = &seen.times;
            if unit == Unit::C {
                put(times.issue, times.issue + 1, State::Busy);
                if let Some(wait) = times.at_issue {
                    put(wait.from, wait.until, State::Stalled(wait.cause));
                }
            } else if seen.event.unit == unit {
                put(times.start, times.end, State::Busy);
                put(times.end, times.ready, State::Latency);
                if let Some(wait) = times.in_unit {
                    put(wait.from, wait.until, State::Stalled(wait.cause));
                }
            }
        }
        states
    }
}

/// Most columns of a timeline.
const WIDEST: u64 = 100;

/// What a unit does in a cycle; where several are true the last of this list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Idle,
    Latency,
    Stalled(Cause),
    Busy,
}

impl State {
    fn letter(self) -> char {
        match self {
            State::Idle => '.',
            State::Latency => '-',
            State::Stalled(cause) => LETTERS[cause as usize],
            State::Busy => '#',
        }
    }
}

/// The most frequent state; of equals the last in their order.
fn most(part: &[State]) -> State {
    let count = |state: &State| part.iter().filter(|other| *other == state).count();
    part.iter().copied().max_by_key(|state| (count(state), *state)).unwrap_or(State::Idle)
}

/// Whether the two ranges cannot be touched at once.
fn clash(a: &Access, b: &Access) -> bool {
    a.space == b.space && a.lo < b.hi && b.lo < a.hi && (a.write || b.write)
}

/// What is waited for, in words.
fn thing(seen: &Seen, wait: &Wait) -> String {
    match wait.on {
        On::Turn => "its turn".into(),
        On::Register(bit) => register_name(bit),
        On::Range(n) => {
            let range = &seen.event.touched()[usize::from(n)];
            format!("bytes {:#x} to {:#x} of {}", range.lo, range.hi - 1, range.space.name())
        }
        On::Table => "room in the table of unfinished accesses".into(),
        On::Queue => format!("a place in the {} queue", UNIT_NAMES[seen.event.unit as usize]),
        On::Tag(tag) => format!("tag t{tag}"),
        On::Units => "all units".into(),
        On::Weights => "the weights of the array".into(),
        On::Engine => "a DMA engine".into(),
        On::Cores => "other cores".into(),
    }
}
