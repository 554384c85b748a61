//! `preon machine`: machine descriptions.

use super::{args, out};
use crate::diag::{Error, Result};
use crate::machine::{self, Array, Layer, Machine};
use crate::num::format::find;
use crate::report::{table, units};
use std::collections::BTreeSet;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// The built-in machines
    List,
    /// One machine: its main figures, or every one of them
    Show {
        /// Name or TOML file
        machine: String,
        /// The whole description as one TOML file
        #[arg(long)]
        resolved: bool,
        /// Every figure with the file and line, or the rule, that it comes from
        #[arg(long)]
        origin: bool,
        /// The datapath of every pair of formats, listed or widened
        #[arg(long)]
        pairs: bool,
        /// Change one figure first, for example dram.timing.cl=40
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = args::key_value)]
        sets: Vec<(String, String)>,
    },
    /// Check a machine file
    Check {
        /// Names or TOML files
        #[arg(required = true)]
        machine: Vec<String>,
    },
    /// Figures that differ between two machines
    Diff {
        /// Name or TOML file
        a: String,
        /// Name or TOML file
        b: String,
    },
    /// Cycles of layers, one after the other, by the published law of the machine's array (docs/validation.md)
    Law(LawArgs),
}

/// Arguments of `law`.
#[derive(Debug, clap::Args)]
pub struct LawArgs {
    /// Name or TOML file
    machine: String,
    /// WxHxC-N/K/S/P for a convolution (columns, rows, channels, outputs, kernel, step, padding), or MxNxK for a product
    #[arg(required = true, value_name = "LAYER")]
    layers: Vec<String>,
    /// Bits of weights and of inputs; without it 8,8, or those that the array multiplies if its law knows no others
    #[arg(long, value_name = "W,X", value_parser = bits)]
    bits: Option<[u32; 2]>,
    /// Images
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    batch: u64,
    /// Change one figure first, for example dram.peak_bytes_per_s=10e9
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = args::key_value)]
    sets: Vec<(String, String)>,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: args::Shape,
}

/// Two widths.
fn bits(text: &str) -> std::result::Result<[u32; 2], String> {
    let both = text.split_once(',').and_then(|(w, x)| Some([w.parse().ok()?, x.parse().ok()?]));
    both.filter(|both| both.iter().all(|bits| (1..=64).contains(bits)))
        .ok_or_else(|| "write two widths: 2,8".to_owned())
}

/// Bits asked for, where the array multiplies them: a law that does not count bits is of the listed pairs alone.
fn served(array: &Array, machine: &str, asked: Option<[u32; 2]>) -> Result<[u32; 2]> {
    let Some(bits) = asked.filter(|_| !array.kind.law_counts_bits()) else { return Ok(asked.unwrap_or([8, 8])) };
    let width = |format: &str| find(format).map(|format| format.bits);
    let pairs = array.pairs.iter().map(|(w, x, _)| Ok([width(w)?, width(x)?])).collect::<Result<BTreeSet<_>>>()?;
    if pairs.contains(&bits) {
        return Ok(bits);
    }
    let [w, x] = bits;
    let listed: Vec<String> = pairs.iter().map(|[w, x]| format!("{w},{x}")).collect();
    let error = Error::unsupported(format!(
        "the array of machine `{machine}` does not multiply weights of {w} bits with inputs of {x}"
    ));
    Err(error.help(format!("it multiplies {}; other operands are widened to these first", listed.join(" and "))))
}

/// The law of the machine's array on layers.
fn law(args: &LawArgs) -> Result<()> {
    let machine = machine::load_with(&args.machine, &args.sets)?;
    let bits = machine.array.as_ref().map_or(Ok([8, 8]), |array| served(array, &machine.name, args.bits));
    let [weight_bits, input_bits] = bits?;
    let read =
        |text: &String| Layer::parse(text).map(|layer| Layer { batch: args.batch, weight_bits, input_bits, ..layer });
    let layers = args.layers.iter().map(read).collect::<Result<Vec<Layer>>>()?;
    let cost = machine.array.as_ref().map(|array| array.law(&machine, &layers)).transpose()?.flatten();
    let name = &machine.name;
    let cost = cost.ok_or_else(|| Error::unsupported(format!("the array of machine `{name}` has no published law")))?;
    if args.format == args::Shape::Json {
        let json = serde_json::json!({ "schema": "preon.law/1", "machine": name, "cycles": cost.cycles, "compute_cycles": cost.compute_cycles,
            "dram_cycles": cost.dram_cycles, "dram_bytes": cost.dram_bytes });
        return out::data(&format!("{json}\n"));
    }
    let rows = [
        ("cycles", cost.cycles),
        ("of the array alone", cost.compute_cycles),
        ("of DRAM alone", cost.dram_cycles),
        ("DRAM bytes", cost.dram_bytes),
    ];
    let rows: Vec<Vec<String>> = rows.iter().map(|(what, n)| vec![(*what).to_owned(), n.to_string()]).collect();
    out::data(&table::render(&[name, ""], &rows, &[1]))
}

/// Does it.
pub fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List => out::data(&list()?),
        Verb::Show { machine, resolved, origin, pairs: all, sets } => {
            let machine = machine::load_with(machine, sets)?;
            out::data(&if *all { pairs(&machine) } else { show(&machine, *resolved, *origin) })
        }
        Verb::Check { machine } => machine.iter().try_for_each(|name| {
            machine::check(name)?;
            out::data(&format!("{name}: ok\n"))
        }),
        Verb::Law(args) => law(args),
        Verb::Diff { a, b } => {
            let value = |value: Option<String>| cut(&value.unwrap_or_else(|| "–".into()), 48);
            let differences = machine::diff(&machine::load(a)?, &machine::load(b)?);
            let rows: Vec<Vec<String>> = differences.into_iter().map(|d| vec![d.key, value(d.a), value(d.b)]).collect();
            out::data(&table::render(&["figure", a, b], &rows, &[]))
        }
    }
}

/// At most `limit` characters of a text.
fn cut(text: &str, limit: usize) -> String {
    let mut out: String = text.chars().take(limit).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

fn list() -> Result<String> {
    let mut rows = Vec::new();
    for name in machine::builtin() {
        let m = machine::load(name)?;
        rows.push(vec![name.to_string(), units::clock(m.clock_hz), array(&m), sram(&m), dram(&m), m.doc]);
    }
    Ok(table::render(&["machine", "clock", "array", "SRAM", "DRAM", ""], &rows, &[1]))
}

fn array(m: &Machine) -> String {
    m.array.as_ref().map_or_else(|| "–".into(), |array| format!("{}×{}", array.rows, array.cols))
}

fn sram(m: &Machine) -> String {
    m.sram.iter().map(|level| capacity(level.bytes)).collect::<Vec<_>>().join(" + ")
}

/// Bytes in the largest binary unit that they fill a whole number of times.
fn capacity(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
    let (unit, name) = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit)).unwrap_or((1, "B"));
    format!("{} {name}", bytes / unit)
}

fn dram(m: &Machine) -> String {
    format!("{} {} GB/s", m.dram.standard, units::digits(m.dram.bytes_per_second as f64 / 1e9))
}

fn show(m: &Machine, resolved: bool, origin: bool) -> String {
    if origin {
        let rows: Vec<Vec<String>> =
            m.origins().into_iter().map(|leaf| vec![leaf.key, leaf.from, leaf.value]).collect();
        // Values come last: the longest, a source's text, must not widen every line.
        return table::render(&["figure", "from", "value"], &rows, &[]);
    }
    if resolved {
        return m.resolved_toml();
    }
    let pairs = |list: &[(String, String, u32)]| {
        let pairs: Vec<String> = list.iter().map(|(w, x, n)| format!("{w}×{x} {n}")).collect();
        pairs.chunks(4).map(|line| line.join(", ")).collect::<Vec<_>>().join(",\n               ")
    };
    let mut rows = vec![
        ("machine", m.name.clone()),
        ("", m.doc.clone()),
        ("clock", format!("{}, {} nm", units::clock(m.clock_hz), m.node_nm)),
        ("vectors", format!("{} bits, words issued a cycle: {}", m.vlen_bits, m.issue_per_cycle)),
        ("terms a cycle", pairs(&m.rates)),
        ("array", array(m)),
    ];
    if let Some(array) = &m.array {
        rows.push(("cycles a row", pairs(&array.pairs)));
    }
    rows.push(("other pairs", "run on the cheapest of these that holds their values (--pairs)".into()));
    rows.push(("SRAM", sram(m)));
    rows.push(("DRAM", format!("{}, {} cycles latency", dram(m), m.dram.latency_cycles)));
    rows.push(("leakage", format!("{:.1} mW", m.leakage.iter().fold(0.0, |sum, part| sum + part.milliwatt))));
    let derived = m.prices.values().filter(|price| price.source.starts_with("anchored_")).count();
    if derived > 0 {
        let stated = m.prices.len() - derived;
        rows.push(("prices", format!("{derived} derived by energy.law (--origin shows how), {stated} stated")));
    }
    if let Some(supply) = &m.power.supply {
        rows.push((
            "supply",
            format!("{} V, clock {}; --set machine.vdd for another", supply.volts, supply.known.name()),
        ));
    }
    rows.retain(|(_, text)| !text.is_empty());
    let text: String = rows.iter().map(|(name, text)| format!("{name:<14} {text}\n")).collect();
    text + "\n--resolved prints every figure, --origin where each comes from\n"
}

/// Every pair of the table of formats: where it runs, how fast, and what a product costs.
fn pairs(m: &Machine) -> String {
    let all = crate::num::format::formats();
    let mut rows = Vec::new();
    for (weights, inputs) in all.iter().flat_map(|w| all.iter().map(move |x| (*w, *x))) {
        let units = [("S", m.vector_path(weights, inputs)), ("array", m.array_path(weights, inputs))];
        for (unit, path) in units.into_iter().filter_map(|(unit, path)| Some((unit, path?))) {
            let price = m.price(&path.price_key()).map_or_else(|_| "–".into(), |price| price.pj[1].to_string());
            let on =
                if path.widened { format!("widened from {}*{}", path.weights, path.inputs) } else { String::new() };
            let figure = format!("{} {}", path.figure, if unit == "S" { "terms/cycle" } else { "cycles/row" });
            rows.push(vec![format!("{}*{}", weights.name, inputs.name), unit.into(), figure, price, on]);
        }
    }
    table::render(&["weights*inputs", "unit", "rate", "pJ", ""], &rows, &[2, 3])
}
