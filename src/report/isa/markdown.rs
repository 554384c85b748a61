//! docs/isa.md, and the reference card of one instruction as text for the terminal.

use super::card::{Card, Cost, Field, of_row};
use crate::diag::Result;
use crate::isa::asm::{CODES, DIRECTIVES, STATEMENTS};
use crate::isa::manual::{meaning, pseudo};
use crate::isa::table::{EXAMPLES, ROWS, RegClass, Unit};
use std::fmt::Write as _;

const UNITS: [Unit; 6] = [Unit::C, Unit::L, Unit::S, Unit::E, Unit::M, Unit::D];

/// The text of docs/isa.md.
///
/// # Errors
/// Those of the built-in machines.
pub fn manual() -> Result<String> {
    let mut out = String::from(INTRODUCTION);
    out += "\n## Contents\n\n- [Registers](#registers), [text](#text), [encoding](#encoding), ";
    out += "[pseudo-code](#pseudo-code), [time](#time), [examples](#examples)\n";
    for unit in UNITS {
        let rows = ROWS.iter().filter(|row| row.unit == unit);
        let links: Vec<String> = rows.map(|row| format!("[{}](#{})", row.name, row.name.replace('.', ""))).collect();
        let title = unit.title();
        let anchor = format!("unit-{unit:?}-{}", title.replace(' ', "-").replace('/', "")).to_lowercase();
        let _ = writeln!(out, "- [Unit {unit:?}](#{anchor}), {title}: {}", links.join(" "));
    }
    out += "- [Errors of the assembler](#errors-of-the-assembler), [editors](#editors)\n";
    out += "\n## Registers\n\n| name | number | what |\n|---|---|---|\n";
    for class in RegClass::ALL {
        let (letter, last) = (class.letter(), class.count() - 1);
        let _ = writeln!(out, "| {letter}0..{letter}{last} | {} | {} |", class.count(), meaning(class));
    }
    out += TEXT;
    out += "\n### Directives\n\n| form | what it does |\n|---|---|\n";
    for (_, form, what) in DIRECTIVES {
        let _ = writeln!(out, "| `{form}` | {what} |");
    }
    out += "\n### Tests in a text\n\nBetween `.test \"name\"` and `.endt`; `preon test FILE` runs them, `preon asm` leaves them out. A program runs until \
            `halt`, or until the `ret` that\nmatches its call: the runner puts a `halt` behind it, `preon exec` does not. \
            Registers, `vl` and views begin as 0.\n\n| form | what it says |\n|---|---|\n";
    for (_, form, what) in STATEMENTS {
        let _ = writeln!(out, "| `{}` | {what} |", form.replace('|', "\\|"));
    }
    out += "\n### Pseudo-instructions\n\n| written | stands for |\n|---|---|\n";
    for (form, words) in pseudo() {
        let _ = writeln!(out, "| `{form}` | `{words}` |");
    }
    out += CONVENTIONS;
    let _ = write!(out, "\n```\n{EXAMPLES}```\n");
    for unit in UNITS {
        let _ = writeln!(out, "\n## Unit {unit:?}: {}", unit.title());
        for row in ROWS.iter().filter(|row| row.unit == unit) {
            let _ = write!(out, "\n{}", section(&of_row(row)?));
        }
    }
    out += "\n## Errors of the assembler\n\n| code | meaning |\n|---|---|\n";
    for known in CODES {
        let _ = writeln!(out, "| {} | {} |", known.code, known.what);
    }
    out += EDITORS;
    Ok(out)
}

const INTRODUCTION: &str = "\
# Instruction set

Generated from `isa/vpu.toml` by `report::isa`; `PREON_BLESS=1 cargo test --lib isa::` writes it anew.
`preon isa NAME` shows one instruction of it.

One contraction `C[m,n] += sum_k X[m,k] * W[n,k]` is done by the vector unit on registers (`mac`) and by the array on
tiles in SRAM (`mm.w`, `mm.x`). Sums are made first and scaled once, by `fold`. Formats stand in slots (`fmt.set`), so that
opcodes do not grow with formats; names such as `mac.tern` are the same opcode with checked formats. Inside a core,
memory is as if sequential: hazards cost time and never change a value. A program cannot read time.

Addresses have 64 bits; bits 63:60 choose the space: 0 DRAM, 1 the core's own SRAM, 2 SRAM shared by the cores, 3 control
memory (parameters, masks, tables), 4 the SRAM of the core that bits 59:48 name. Loads and stores reach spaces 1 to 3,
DRAM and other cores are reached by DMA. Several cores run one program (`csr` tells them apart), each with its own registers
and SRAM; only `bar`, `sig` with `wait.sig`, and `dma.mc` order them, and two accesses of different cores to the same
byte, one a write, that nothing orders trap RACE: so no value depends on which core is faster. Data is
little-endian, the first element stands in the low bits, every row starts on a byte.
";

const TEXT: &str = "
## Text

One statement a line, or several separated by `;`. Comments: `# ..`, `// ..`, `/* .. */`. Destination first. Labels are
`name:` or a number `1:`, which `1b` and `1f` name backward and forward; `.+n` is n words from here. Numbers: `10 0x1f 0o7
0b101 1_000 'a'`; expressions have C's operators and precedence. Symbols are defined before their use; only code labels may
follow. Memory operands: `imm(xB)`; `imm(xB)+` then adds the bytes moved to xB; `imm(xB)+xS` adds xS; `rows xR` names the
register with the distance of rows in bytes. `cN[xR]` is the row of tile cN whose number is in xR; `cN` is row 0.
A mask `pN` keeps terms out, `pN.z` also saves their work.
";

const CONVENTIONS: &str = "
## Encoding

An instruction has 64 bits. Opcodes below 0x80 have the I form (a 32-bit immediate), the others the V form. Branch
targets count words from the instruction itself. Bits that a row does not use are 0; any other word traps ILL. Under
`field`, a number that a row keeps in a field stands by the operand's letter: `xa` is the number of the register.

## Pseudo-code

Registers carry the letter of their field: `d` rd, `a` rs1, `b` rs2, `c` rs3, `t` aux, `k` mode, `e` imm; `imm` is the number
in the word. `vd[i]` is element i of a vector, in the format of the slot that is named beside it, else f32; `cd[m][n]` an
entry of a tile, `pd[i]` a bit of a mask, `qd[i]` an f32 of a scale vector. `vl`, `NL`, `KD`, `pitch`, `tm`, `tn`, `tk` are what
`setvl`, `setmac` and `settile` have set; `VLEN`, `QN`, `acc.rows` and `acc.cols` are the machine's (`csr`). Where a line says
nothing about pc, pc = pc + 1.

- `known xa` is xa; in timing-only mode a value that is not known traps DATA, and so does
  what decides by control memory that `st.bp`, `st.s` or `st.c` stored to.
- `trap KIND if ..` ends the program with a trap of that kind, naming the line. Which of several comes first is not promised,
  nor what of the instruction is done. An unbound format slot traps FMT, a word that is no instruction ILL, a program out of
  fuel FUEL; these three are not repeated.
- `bits(f)` is the bits of a code of the slot's format in a register: 1, 2, 4, 8, 16 or 32. In memory codes are dense, with the
  bits that the format has: `bytes(f, n)` is ceil(n * those bits / 8).
- `access(R rows of B bytes)` is the memory operand: row i at known xa + imm + i * known xc with `rows xc`, else + i * B. It traps
  ADDR if a row leaves its space or lies in DRAM. Then `+` adds R * B to xa, `+xb` adds known xb.
- `rn` rounds once to f32, to nearest even; `fma` rounds once; `canonical` makes every NaN 0x7fc00000. `decode(f, code)` is the
  f32 of a code, `encode(f, x, rounding)` the code of x, `cast(f, x)` the same to nearest even, saturating where the row of
  the format says so (docs/numerics.md).
- `F(entry)` is the rounded value of an entry of a tile: class exact rn(S * 2^unit) of its integer S, the other classes
  their total so far, sums never -0; a result (of `fold`, `ld.c`, `red`) as it is. A clear tile is 0 in any class.

## Time

Instructions issue in order, one word a cycle and machine's `issue_per_cycle`, when the scalars that they read or write are
there. Control instructions work at issue; the others go to the queue of their unit and start in the cycle after their issue at
the earliest, when their unit is free, and every vector, mask, tile and scale register that they read is ready, every one that they
write is ready and no longer read, and no older access of the same bytes is unfinished. From its start a unit is *occupied* for
some cycles and takes the next instruction after them; the results can be used, by whatever waits for them, *ready* cycles after the
start. Registers are read until the unit is free again. A sum that follows on the tile of the sum before, on the same unit,
only waits for the unit. `endl` and `node` are free. docs/timing.md has the whole model.

The figures below are those of each example on the built-in machines, from the machine's own cost functions; a test runs
every example and what depends on it, and finds it ready in the stated cycle and not in the one before.

## Examples

Every example below assembles, and runs after these lines:
";

const EDITORS: &str = "
## Editors

`editors/preon.tmLanguage.json` is a TextMate grammar of this language, made from the same table: mnemonics by unit, aliases,
pseudo-instructions, directives, registers by class, formats and names of modes.

- **VS Code**: put the file into a folder `preon` in `~/.vscode/extensions`, beside a `package.json` with

  ```json
  {
    \"name\": \"preon\", \"version\": \"1.0.0\", \"engines\": { \"vscode\": \"^1.50.0\" },
    \"contributes\": {
      \"languages\": [{ \"id\": \"preon\", \"extensions\": [\".vasm\"] }],
      \"grammars\": [{ \"language\": \"preon\", \"scopeName\": \"source.preon\", \"path\": \"./preon.tmLanguage.json\" }]
    }
  }
  ```

  and restart.
- **Sublime Text**: convert it to `.tmLanguage` or `.sublime-syntax` with the package PackageDev, and put it into `Packages/User`.
- **Anything that reads TextMate grammars** (JetBrains: Settings, Editor, TextMate Bundles) takes the folder made for VS Code.
";

/// One instruction of docs/isa.md.
fn section(card: &Card) -> String {
    let mut out = format!("### {}\n\n", card.name);
    for form in &card.forms {
        let _ = writeln!(out, "`{form}`\n");
    }
    let _ = writeln!(out, "{}.\n", card.semantics.trim_end_matches('.'));
    let _ = writeln!(out, "```\n{}\n```\n", card.pseudo.join("\n"));
    for alias in &card.aliases {
        let _ = writeln!(out, "- Alias `{}`: {}", alias.form, alias.means);
    }
    for operand in &card.operands {
        let _ = writeln!(out, "- `{}`: {}", operand.written, operand.what);
    }
    let traps = if card.traps.is_empty() { "none".to_string() } else { card.traps.join(" ") };
    let _ = writeln!(out, "- Traps: {traps}");
    let _ = writeln!(out, "- Example: `{}`{}", card.example, setup(card));
    let _ = writeln!(out, "- The example {}", hazards(card));
    let costs: Vec<String> = card.costs.iter().map(price).collect();
    let _ = writeln!(out, "- Time: {}", costs.join("; "));
    let _ = write!(out, "\n```\n{}```\n", diagram(&card.encoding));
    out
}

/// The card of one instruction for the terminal.
pub fn text(card: &Card) -> String {
    let mut out = format!("{}\n\n{}.\n", card.forms.join("\n"), card.semantics.trim_end_matches('.'));
    let mut part = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = write!(out, "\n{title}\n");
            lines.iter().for_each(|line| {
                let _ = writeln!(out, "    {line}");
            });
        }
    };
    part("pseudo-code", card.pseudo.iter().map(ToString::to_string).collect());
    part("alias of", card.alias.iter().cloned().collect());
    let width = card.operands.iter().map(|operand| operand.written.chars().count()).max().unwrap_or(0).min(24);
    let operand = |written: &str, what: &str| format!("{written:<width$}  {what}");
    part("operands", card.operands.iter().map(|o| operand(&o.written, &o.what)).collect());
    let others = card.aliases.iter().filter(|_| card.alias.is_none());
    part("aliases", others.map(|alias| format!("{}: {}", alias.form, alias.means)).collect());
    part("traps", vec![if card.traps.is_empty() { "none".into() } else { card.traps.join(" ") }]);
    part("example", vec![format!("{}{}", card.example, setup(card)), format!("it {}", hazards(card))]);
    part("time of the row's example", card.costs.iter().map(price).collect());
    let title =
        format!("encoding: unit {} ({}), opcode {:#04x}, {} form", card.unit, card.unit_title, card.opcode, card.form);
    part(&title, diagram(&card.encoding).lines().map(String::from).collect());
    out
}

fn setup(card: &Card) -> String {
    if card.setup.is_empty() { String::new() } else { format!(", after `{}`", card.setup) }
}

/// What the example reads and writes.
fn hazards(card: &Card) -> String {
    let list = |verb: &str, names: &[String]| (!names.is_empty()).then(|| format!("{verb} {}", names.join(" ")));
    let mut parts: Vec<String> =
        [list("reads", &card.reads), list("writes", &card.writes)].into_iter().flatten().collect();
    parts.extend(card.memory.iter().cloned());
    if parts.is_empty() { "reads and writes no register and no memory".to_string() } else { parts.join(", ") }
}

fn price(cost: &Cost) -> String {
    let name = format!("{}: ", cost.machine);
    let work = if cost.work.is_empty() { String::new() } else { format!("{}, ", cost.work) };
    match &cost.unserved {
        Some(why) => format!("{name}not served ({why})"),
        None if cost.occupied_cycles == 0 => format!("{name}free"),
        None => format!("{name}{work}occupied {}, ready {}", cost.occupied_cycles, cost.ready_cycles),
    }
}

/// The word as three lines: bit ranges, fields, what the row puts there.
fn diagram(fields: &[Field]) -> String {
    let mut lines = ["bits ".to_string(), "field".to_string(), "holds".to_string()];
    for Field { high, low, field, holds } in fields {
        let range = if high == low { high.to_string() } else { format!("{high}-{low}") };
        let size = range.len().max(field.len()).max(holds.len());
        for (line, text) in lines.iter_mut().zip([&*range, field, holds]) {
            let _ = write!(line, " {text:<size$}");
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}
