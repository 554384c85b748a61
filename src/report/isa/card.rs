//! The reference card of one instruction, as data.

use crate::diag::{Error, Result, did_you_mean};
use crate::exec::event::{Event, RegSet, Work};
use crate::exec::{Config, Mode, Vm};
use crate::isa::asm::{Options, Sources, assemble};
use crate::isa::manual::{self, restrictions};
use crate::isa::table::{Mnemonic, ROWS, RegClass, Row, mnemonics};
use crate::machine::{self, Machine};
use crate::sim::law;
use serde::Serialize;
use std::sync::LazyLock;

/// One instruction, or one of its names.
#[derive(Debug, Clone, Serialize)]
pub struct Card {
    /// `preon.instruction/1`.
    pub schema: &'static str,
    /// The name asked for.
    pub name: String,
    /// The row of the table that it belongs to.
    pub row: &'static str,
    /// How it is written; one form a group of mnemonics.
    pub forms: Vec<String>,
    /// Letter of its unit.
    pub unit: String,
    /// What the unit does.
    pub unit_title: &'static str,
    /// Opcode byte.
    pub opcode: u8,
    /// Encoding form: `I` or `V`.
    pub form: String,
    /// What the name fixes or checks, if it is an alias.
    pub alias: Option<String>,
    /// What it does, in a sentence or two.
    pub semantics: &'static str,
    /// What is written after the mnemonic.
    pub operands: Vec<Operand>,
    /// Lines of pseudo-code.
    pub pseudo: Vec<&'static str>,
    /// Kinds of traps that it may end with, besides ILL and FUEL.
    pub traps: Vec<&'static str>,
    /// The word, high bits first.
    pub encoding: Vec<Field>,
    /// Other names of the row.
    pub aliases: Vec<Alias>,
    /// Statements that the example needs before it.
    pub setup: String,
    /// One statement.
    pub example: String,
    /// Registers that the example reads.
    pub reads: Vec<String>,
    /// Registers that the example writes.
    pub writes: Vec<String>,
    /// Memory that the example reads and writes.
    pub memory: Vec<String>,
    /// What the row's example takes on each built-in machine.
    pub costs: Vec<Cost>,
}

/// One operand of a card.
#[derive(Debug, Clone, Serialize)]
pub struct Operand {
    /// As forms show it.
    pub written: String,
    /// What it is and where it stands in the word.
    pub what: String,
}

/// Some bits of the word.
#[derive(Debug, Clone, Serialize)]
pub struct Field {
    /// Highest bit.
    pub high: u32,
    /// Lowest bit.
    pub low: u32,
    /// Name of the field.
    pub field: &'static str,
    /// What the row keeps there; `0` if nothing.
    pub holds: String,
}

/// Another name of a row.
#[derive(Debug, Clone, Serialize)]
pub struct Alias {
    /// How it is written.
    pub form: String,
    /// What it fixes or checks.
    pub means: String,
}

/// What an example takes on one machine.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Machine.
    pub machine: String,
    /// The work that it is there; empty for scalar instructions.
    pub work: String,
    /// Cycles during which the unit takes nothing else.
    pub occupied_cycles: u64,
    /// Cycles from the start to the first use of a result.
    pub ready_cycles: u64,
    /// Why there are no figures.
    pub unserved: Option<String>,
}

/// The card of a mnemonic, an alias or a row, whatever its case.
///
/// # Errors
/// Usage for an unknown name, with the nearest one.
pub fn card(name: &str) -> Result<Card> {
    let wanted = name.to_lowercase();
    if let Some(mnemonic) = mnemonics().get(&wanted) {
        return Ok(narrowed(&wanted, mnemonic, of_row(mnemonic.op.row())?));
    }
    match ROWS.iter().find(|row| row.name == wanted) {
        Some(row) => of_row(row),
        None => Err(unknown(name, &wanted)),
    }
}

fn unknown(name: &str, wanted: &str) -> Error {
    let others = manual::others();
    let names = mnemonics().keys().map(String::as_str).chain(ROWS.iter().map(|row| row.name));
    let error = Error::usage(format!("there is no instruction `{name}`"));
    match did_you_mean(wanted, names.chain(others.iter().map(String::as_str))) {
        Some(near) => error.help(format!("did you mean `{near}`? `preon isa` lists all")),
        None => error.help("`preon isa` lists all"),
    }
}

/// The card of a whole row: every mnemonic, the table's example.
pub(super) fn of_row(row: &'static Row) -> Result<Card> {
    static MACHINES: LazyLock<Result<Vec<Machine>>> =
        LazyLock::new(|| machine::general().iter().map(|name| machine::load(name)).collect());
    let machines = MACHINES.as_ref().map_err(Clone::clone)?;
    let runs: Vec<(&Machine, Result<Event>)> =
        machines.iter().map(|machine| (machine, run_example(row, machine))).collect();
    let event = runs.iter().find_map(|(_, event)| event.as_ref().ok());
    let aliases = row.aliases.iter().map(|alias| {
        let mnemonic = Mnemonic { op: row.op, sub: 0, alias: Some(alias) };
        Alias { form: manual::usage(alias.name, &mnemonic), means: restrictions(alias) }
    });
    let encoding = manual::bits(row).into_iter();
    Ok(Card {
        schema: "preon.instruction/1",
        name: row.name.to_string(),
        row: row.name,
        forms: manual::forms(row),
        unit: format!("{:?}", row.unit),
        unit_title: row.unit.title(),
        opcode: row.code,
        form: format!("{:?}", row.form),
        alias: None,
        semantics: row.semantics,
        operands: manual::operands(row).into_iter().map(|(written, what)| Operand { written, what }).collect(),
        pseudo: row.pseudo.lines().collect(),
        traps: manual::traps(row),
        encoding: encoding.map(|(high, low, field, holds)| Field { high, low, field, holds }).collect(),
        aliases: aliases.collect(),
        setup: row.setup.to_string(),
        example: row.example.to_string(),
        reads: event.map_or(Vec::new(), |event| registers(event.reads)),
        writes: event.map_or(Vec::new(), |event| registers(event.writes)),
        memory: event.map_or(Vec::new(), memory),
        costs: runs.iter().map(|(machine, event)| cost(machine, event)).collect(),
    })
}

/// The card of a row, narrowed to one of its names.
pub(super) fn narrowed(name: &str, mnemonic: &Mnemonic, card: Card) -> Card {
    let (row, example) = (mnemonic.op.row(), manual::example(name, mnemonic));
    let bound = mnemonic.alias.map(|alias| manual::alias_setup(row, alias, &example)).unwrap_or_default();
    Card {
        name: name.to_string(),
        forms: vec![manual::usage(name, mnemonic)],
        alias: mnemonic.alias.map(|alias| format!("{} with {}", card.row, restrictions(alias))),
        setup: [card.setup.as_str(), &bound].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "),
        example,
        ..card
    }
}

/// One line about a mnemonic: the first clause of its meaning.
pub fn summary(mnemonic: &Mnemonic) -> String {
    let row = mnemonic.op.row();
    if let Some(alias) = mnemonic.alias {
        return format!("{} with {}", row.name, restrictions(alias));
    }
    let clauses = [": ", "; ", ". ", " ("];
    let end = clauses.iter().filter_map(|mark| row.semantics.find(mark)).min().unwrap_or(row.semantics.len());
    let first = &row.semantics[..end];
    match &row.sub {
        Some(sub) => first.replace(" op ", &format!(" {} ", sub.names[usize::from(mnemonic.sub)])),
        None => first.to_string(),
    }
}

/// The event of a row's example on a machine, by running it.
pub(super) fn run_example(row: &Row, machine: &Machine) -> Result<Event> {
    let object = assemble(&Sources::single(row.name, row.example_program()), &Options::default());
    let object = object.map_err(|errors| {
        errors.into_iter().next().unwrap_or_else(|| Error::internal("the assembler refused without a reason"))
    })?;
    let target = object.symbol("target").unwrap_or_default();
    let at = row.example_word(target);
    let mut vm = Vm::new(object, Config::of(machine), Mode::TimingOnly)?;
    let mut event = Event::new();
    loop {
        let pc = vm.pc();
        vm.step(&mut event)?;
        if pc == at {
            return Ok(event);
        }
    }
}

fn cost(machine: &Machine, event: &Result<Event>) -> Cost {
    let name = machine.name.clone();
    match event.as_ref().map_err(Error::to_string).and_then(|event| {
        let cost = law::cost(machine, event).map_err(|error| error.to_string())?;
        Ok((event, cost))
    }) {
        Ok((event, cost)) => Cost {
            machine: name,
            work: describe(&event.work),
            occupied_cycles: cost.occupied_cycles,
            ready_cycles: cost.ready_cycles(),
            unserved: None,
        },
        Err(error) => {
            Cost { machine: name, work: String::new(), occupied_cycles: 0, ready_cycles: 0, unserved: Some(error) }
        }
    }
}

/// The work of an event, in a few words.
fn describe(work: &Work) -> String {
    match *work {
        Work::Elementwise { elements, .. } => format!("{elements} elements"),
        Work::Mac { outputs, terms, .. } => format!("{outputs} x {} terms", terms / outputs.max(1)),
        Work::TileLoad { tn, tk, .. } => format!("{tn} x {tk} weights"),
        Work::TileMac { tm, tn, tk, .. } => format!("{tm} x {tn} x {tk} terms"),
        Work::Tile { entries: 0, .. } => "a tile".to_string(),
        Work::Tile { entries, .. } => format!("{entries} entries"),
        Work::Move { bytes, .. } | Work::Dma { bytes, .. } => format!("{bytes} bytes"),
        Work::Decode { symbols, .. } => format!("{symbols} codes"),
        _ => String::new(),
    }
}

fn registers(set: RegSet) -> Vec<String> {
    let classes = [
        (RegClass::X, RegSet::X),
        (RegClass::V, RegSet::V),
        (RegClass::P, RegSet::P),
        (RegClass::C, RegSet::C),
        (RegClass::Q, RegSet::Q),
    ];
    let all =
        classes.into_iter().flat_map(|(class, base)| (0..u32::from(class.count())).map(move |n| (class, base, n)));
    all.filter(|(_, base, n)| set.0 >> (base + n) & 1 == 1)
        .map(|(class, _, n)| format!("{}{n}", class.letter()))
        .collect()
}

fn memory(event: &Event) -> Vec<String> {
    let verb = |write: bool| if write { "writes" } else { "reads" };
    event.touched().iter().map(|access| format!("{} {}", verb(access.write), access.space.name())).collect()
}
