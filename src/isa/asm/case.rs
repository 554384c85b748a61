//! `.test "name" .. .endt` blocks: what a program is given, and what it must leave behind.
//!
//! Assembling a text checks the grammar of its tests and does no more; [`super::tests`] assembles the text once for
//! each test, with the formats and constants that the test binds, and hands over [`Case`]s for a runner.

use super::data::{Layout, layout};
use super::expr::{Cursor, Symbols, evaluate};
use super::lexer::{Kind, Line, Token};
use super::operands::register;
use super::source::{Fault, Span};
use super::state::Assembler;
use super::{Options, Sources};
use crate::diag::{Place, did_you_mean};
use crate::isa::Object;
use crate::isa::object::CONTROL_BASE;
use crate::isa::table::RegClass;
use std::collections::BTreeMap;

/// Statements of a test with their form, for messages and the manual.
pub const STATEMENTS: &[(&str, &str, &str)] = &[
    (".format", ".format NAME = FORMAT", "binds a format parameter of the program"),
    (".equ", ".equ NAME, EXPR", "binds a constant of the program; it wins over the program's own `.equ`"),
    (".param", ".param NAME = EXPR[, ..]", "values of the parameters in the block at x10; the others are 0"),
    (".set", ".set xN = EXPR[, ..]", "registers before the run"),
    (".mem", ".mem ADDRESS, FORMAT: NUMBERS", "memory before the run"),
    (".expect", ".expect xN = EXPR[, ..]", "registers after the run"),
    (".expect", ".expect vN, FORMAT: NUMBERS", "the first elements of a vector register"),
    (".expect", ".expect pN|qN|cN|cN[ROW]: NUMBERS", "bits of a mask, scales, or a row of a tile as f32"),
    (".expect", ".expect ADDRESS, FORMAT: NUMBERS", "memory after the run, bit for bit"),
    (".trap", ".trap KIND", "the program stops with this trap, for example ADDR"),
    (".cycles", ".cycles MACHINE, COUNT", "it takes exactly so many cycles there, and meets all else too"),
    (".vlen", ".vlen BITS[, ..]", "vector lengths to run at; 32, 512, 4096 and 16384 without it"),
    (".tile", ".tile ROWS, COLUMNS", "size of the accumulators; 4 rows and 1, 8, 16, 32 columns without it"),
];

/// Names of the four spaces in a test's addresses.
const SPACES: &[(&str, i64)] = &[("dram", 0), ("sram", 1 << 60), ("shared", 2 << 60), ("control", CONTROL_BASE as i64)];

/// Vector lengths of a test that states none.
pub const VLENS: [u32; 4] = [32, 512, 4096, 16384];

/// One test of a source text, ready to run.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub place: Place,
    /// The program, under the test's bindings.
    pub object: Object,
    /// Scalar registers before: number, value.
    pub registers: Vec<(u8, u64)>,
    /// Parameter block, 8 bytes each, in the order of `.param`.
    pub params: Vec<u64>,
    /// Memory before: address, bytes.
    pub memory: Vec<(u64, Vec<u8>)>,
    /// What must hold afterwards.
    pub expect: Vec<Expect>,
    /// Name of the trap that must stop it, if one must.
    pub trap: Option<(String, Place)>,
    /// Cycles on named machines.
    pub cycles: Vec<Cycles>,
    /// Vector lengths to run at.
    pub vlens: Vec<u32>,
    /// Rows and columns of the accumulators, if stated.
    pub tile: Option<(u32, u32)>,
}

/// An expectation.
#[derive(Debug, Clone)]
pub struct Expect {
    /// What is looked at.
    pub what: Target,
    /// How the text names it.
    pub shown: String,
    /// What its elements are written in.
    pub layout: Layout,
    /// Code of every element.
    pub codes: Vec<u64>,
    /// Where the expectation stands.
    pub place: Place,
}

/// What an expectation looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A scalar register.
    X(u8),
    /// A vector register.
    V(u8),
    /// A mask register.
    P(u8),
    /// A scale vector.
    Q(u8),
    /// A row of a tile.
    C(u8, u32),
    /// Memory from an address.
    Memory(u64),
}

/// Cycles that a test takes on a machine.
#[derive(Debug, Clone)]
pub struct Cycles {
    /// Name of the machine.
    pub machine: String,
    /// Cycles.
    pub count: u64,
    /// Where the figure stands.
    pub place: Place,
}

/// A block as it was written: the name, and the statements between `.test` and `.endt`.
#[derive(Debug, Clone)]
pub struct Block {
    pub(super) span: Span,
    pub(super) name: String,
    body: Vec<Line>,
}

impl Block {
    /// A block from its opening statement and its body.
    pub(super) fn new(line: &[Token], body: &[Line]) -> Result<Block, Fault> {
        match line {
            [_, Token { kind: Kind::Text(name), span, .. }] if !name.is_empty() => {
                Ok(Block { span: *span, name: name.to_string(), body: body.to_vec() })
            }
            _ => Err(Fault::new("E0119", line[0].span, "a test needs a name in double quotes")
                .help("`.test \"what it shows\"` .. `.endt`")),
        }
    }

    /// What the block binds for the assembler, on top of what the caller binds.
    pub(super) fn options(&self, base: &Options) -> Result<Options, Fault> {
        let mut options = base.clone();
        for line in &self.body {
            let mut cursor = Cursor::after_head(line);
            match line[0].word() {
                Some(".format") => {
                    let (param, format) = binding(&mut cursor)?;
                    options.formats.insert(param, format);
                }
                Some(".equ") => {
                    let name = word(&mut cursor, "the name of a constant")?.0;
                    cursor.expect(",")?;
                    let value = evaluate(&mut cursor, &Bound(&options.equs))?;
                    options.equs.insert(name, value as i64);
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// The constants that a test may use before the program is assembled.
struct Bound<'a>(&'a BTreeMap<String, i64>);

impl Symbols for Bound<'_> {
    fn value(&self, name: &str, span: Span) -> Result<i64, Fault> {
        let unknown = || {
            Fault::new("E0107", span, format!("`{name}` is not bound in this test"))
                .help("a test's own `.equ` uses numbers and the test's earlier constants")
        };
        self.0.get(name).copied().or_else(|| space(name)).ok_or_else(unknown)
    }
}

/// Symbols of the program, and the spaces.
struct Known<'a>(&'a dyn Symbols);

impl Symbols for Known<'_> {
    fn value(&self, name: &str, span: Span) -> Result<i64, Fault> {
        self.0.value(name, span).or_else(|fault| space(name).ok_or(fault))
    }
}

/// Every name is 1: enough to check grammar.
struct Anything;

impl Symbols for Anything {
    fn value(&self, _: &str, _: Span) -> Result<i64, Fault> {
        Ok(1)
    }
}

fn space(name: &str) -> Option<i64> {
    SPACES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// Reads the statements of a block.
struct Reader<'a> {
    symbols: &'a dyn Symbols,
    sources: &'a Sources,
    /// Names of the parameters; `None` when only the grammar is checked.
    params: Option<&'a [String]>,
    case: Case,
}

impl Assembler<'_> {
    /// Checks the grammar of a block: what needs the values of names is left to the run.
    pub(super) fn check_block(&mut self, block: &Block) {
        let mut faults = Vec::new();
        let mut reader = Reader::new(block, &Anything, &self.sources, None, Object::default());
        for line in &block.body {
            faults.extend(reader.statement(line).err().filter(Fault::is_grammar));
        }
        faults.into_iter().for_each(|fault| self.fault(fault));
    }

    /// The case of a block, whose text has just been assembled to `object`.
    pub(super) fn case(&self, block: &Block, object: Object) -> Result<Case, Vec<Fault>> {
        let symbols = Known(self);
        let params = object.params.clone();
        let mut reader = Reader::new(block, &symbols, &self.sources, Some(&params), object);
        reader.case.params = vec![0; params.len()];
        let mut faults: Vec<Fault> = block.body.iter().filter_map(|line| reader.statement(line).err()).collect();
        faults.extend(reader.finish(block.span).err());
        if faults.is_empty() { Ok(reader.case) } else { Err(faults) }
    }
}

impl<'a> Reader<'a> {
    fn new(
        block: &Block,
        symbols: &'a dyn Symbols,
        sources: &'a Sources,
        params: Option<&'a [String]>,
        object: Object,
    ) -> Self {
        let case = Case {
            name: block.name.clone(),
            place: sources.place(block.span),
            object,
            registers: Vec::new(),
            params: Vec::new(),
            memory: Vec::new(),
            expect: Vec::new(),
            trap: None,
            cycles: Vec::new(),
            vlens: Vec::new(),
            tile: None,
        };
        Reader { symbols, sources, params, case }
    }

    fn statement(&mut self, line: &[Token]) -> Result<(), Fault> {
        let mut cursor = Cursor::after_head(line);
        let span = line[0].span;
        match line[0].word() {
            Some(".format") => binding(&mut cursor).map(|_| ())?,
            Some(".equ") => {
                word(&mut cursor, "the name of a constant")?;
                cursor.expect(",")?;
                self.number(&mut cursor)?;
            }
            Some(".param") => return self.assignments(cursor, Self::parameter),
            Some(".set") => return self.assignments(cursor, Self::register_before),
            Some(".mem") => {
                let address = self.number(&mut cursor)? as u64;
                let (layout, codes) = self.values(&mut cursor)?;
                self.case.memory.push((address, layout.pack(&codes)));
            }
            Some(".expect") => return self.expectation(cursor),
            Some(".trap") => {
                let (kind, at) = word(&mut cursor, "the kind of a trap, for example ADDR")?;
                self.case.trap = Some((kind.to_uppercase(), self.sources.place(at)));
            }
            Some(".cycles") => {
                let machine = word(&mut cursor, "the name of a machine")?.0;
                cursor.expect(",")?;
                let at = cursor.span();
                let count = self.number(&mut cursor)? as u64;
                self.case.cycles.push(Cycles { machine, count, place: self.sources.place(at) });
            }
            Some(".vlen") => loop {
                let at = cursor.span();
                let bits = self.number(&mut cursor)?;
                let known = u32::try_from(bits).ok().filter(|b| b.is_power_of_two() && (32..=16384).contains(b));
                let wrong = || Fault::new("E0119", at, format!("VLEN is a power of two from 32 to 16384, not {bits}"));
                self.case.vlens.push(known.ok_or_else(wrong)?);
                if !cursor.eat(",") {
                    break;
                }
            },
            Some(".tile") => {
                let at = cursor.span();
                let rows = self.number(&mut cursor)?;
                cursor.expect(",")?;
                let size = |count: i128| u32::try_from(count).ok().filter(|count| (1..=16384).contains(count));
                let sizes = size(rows).zip(size(self.number(&mut cursor)?));
                let wrong = || Fault::new("E0119", at, "tiles have 1 to 16384 rows and columns, at most 2^20 entries");
                self.case.tile = Some(sizes.filter(|(rows, columns)| rows * columns <= 1 << 20).ok_or_else(wrong)?);
            }
            _ => return Err(unknown(&line[0], span)),
        }
        cursor.finish()
    }

    fn number(&self, cursor: &mut Cursor) -> Result<i128, Fault> {
        evaluate(cursor, self.symbols)
    }

    /// `, FORMAT: NUMBERS`.
    fn values(&self, cursor: &mut Cursor) -> Result<(Layout, Vec<u64>), Fault> {
        cursor.expect(",")?;
        let layout = layout(cursor)?;
        cursor.expect(":")?;
        Ok((layout, layout.list(cursor, self.symbols)?))
    }

    /// `NAME = EXPR, ..`.
    fn assignments(
        &mut self,
        mut cursor: Cursor,
        put: fn(&mut Self, &mut Cursor) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        loop {
            put(self, &mut cursor)?;
            if !cursor.eat(",") {
                return cursor.finish();
            }
        }
    }

    fn parameter(&mut self, cursor: &mut Cursor) -> Result<(), Fault> {
        let (name, at) = word(cursor, "the name of a parameter")?;
        cursor.expect("=")?;
        let value = self.number(cursor)? as u64;
        let Some(params) = self.params else { return Ok(()) };
        let Some(index) = params.iter().position(|param| *param == name) else {
            let fault = Fault::new("E0119", at, format!("the program has no parameter `{name}`"));
            return Err(match did_you_mean(&name, params.iter().map(String::as_str)) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help(format!("its `.param`: {}", params.join(", "))),
            });
        };
        self.case.params[index] = value;
        Ok(())
    }

    fn register_before(&mut self, cursor: &mut Cursor) -> Result<(), Fault> {
        let number = register(cursor, RegClass::X)?;
        cursor.expect("=")?;
        let value = self.number(cursor)? as u64;
        self.case.registers.push((number, value));
        Ok(())
    }

    fn register_after(&mut self, cursor: &mut Cursor) -> Result<(), Fault> {
        let span = cursor.span();
        let number = register(cursor, RegClass::X)?;
        cursor.expect("=")?;
        let code = self.number(cursor)? as u64;
        self.expect(span, Target::X(number), Layout::Raw(8), vec![code]);
        Ok(())
    }

    fn expectation(&mut self, mut cursor: Cursor) -> Result<(), Fault> {
        let start = cursor.span();
        let class = cursor.peek().and_then(Token::word).and_then(RegClass::parse).map(|(class, _)| class);
        match class {
            Some(RegClass::X) => return self.assignments(cursor, Self::register_after),
            Some(RegClass::V) => {
                let number = register(&mut cursor, RegClass::V)?;
                let (layout, codes) = self.values(&mut cursor)?;
                self.expect(start, Target::V(number), layout, codes);
            }
            Some(class @ (RegClass::P | RegClass::Q | RegClass::C)) => {
                let number = register(&mut cursor, class)?;
                let (mut row, mut end) = (0, start.end);
                if class == RegClass::C && cursor.eat("[") {
                    row = self.number(&mut cursor)? as u32;
                    end = cursor.span().end;
                    cursor.expect("]")?;
                }
                let start = Span { end, ..start };
                cursor.expect(":")?;
                let (target, layout) = match class {
                    RegClass::P => (Target::P(number), Layout::Raw(1)),
                    RegClass::Q => (Target::Q(number), f32_layout(start)?),
                    _ => (Target::C(number, row), f32_layout(start)?),
                };
                let codes = layout.list(&mut cursor, self.symbols)?;
                self.expect(start, target, layout, codes);
            }
            _ => {
                let address = self.number(&mut cursor)? as u64;
                let end = cursor.span();
                let (layout, codes) = self.values(&mut cursor)?;
                let span = Span { end: end.start.max(start.end), ..start };
                self.expect(span, Target::Memory(address), layout, codes);
            }
        }
        Ok(())
    }

    fn expect(&mut self, span: Span, what: Target, layout: Layout, codes: Vec<u64>) {
        let shown = self.sources.snippet(span).trim().to_string();
        self.case.expect.push(Expect { what, shown, layout, codes, place: self.sources.place(span) });
    }

    /// What only the whole block shows.
    fn finish(&mut self, span: Span) -> Result<(), Fault> {
        let case = &mut self.case;
        if case.vlens.is_empty() {
            case.vlens = VLENS.to_vec();
        }
        let stated = !case.expect.is_empty() || !case.cycles.is_empty() || case.trap.is_some();
        if !stated {
            return Err(
                Fault::new("E0119", span, "this test expects nothing").help("add `.expect`, `.trap` or `.cycles`")
            );
        }
        if case.trap.is_some() && !case.cycles.is_empty() {
            return Err(Fault::new("E0119", span, "a program that traps has no cycles to expect"));
        }
        Ok(())
    }
}

fn f32_layout(span: Span) -> Result<Layout, Fault> {
    Layout::find("fp32").ok_or_else(|| Fault::new("E0110", span, "there is no format `fp32`"))
}

fn unknown(token: &Token, span: Span) -> Fault {
    let fault = Fault::new("E0119", span, format!("{} is no statement of a test", token.show()));
    let word = token.word().unwrap_or_default();
    match did_you_mean(word, STATEMENTS.iter().map(|(name, ..)| *name)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => {
            let mut names: Vec<&str> = STATEMENTS.iter().map(|(name, ..)| *name).collect();
            names.dedup();
            fault.help(format!("statements of a test: {}", names.join(" ")))
        }
    }
}

/// `NAME = FORMAT`.
fn binding(cursor: &mut Cursor) -> Result<(String, String), Fault> {
    let (param, _) = word(cursor, "the name of a format parameter")?;
    cursor.expect("=")?;
    let (format, _) = word(cursor, "a number format")?;
    Ok((param, format))
}

fn word(cursor: &mut Cursor, wanted: &str) -> Result<(String, Span), Fault> {
    let span = cursor.span();
    match cursor.peek().and_then(Token::word) {
        Some(word) => {
            cursor.bump();
            Ok((word.to_string(), span))
        }
        None => Err(cursor.unexpected(wanted)),
    }
}
