//! `preon dram`: requests straight to the DRAM of a machine, from a trace or a pattern, without a core.

use super::args::{Machines, Shape};
use super::out;
use crate::diag::{Error, Result};
use crate::machine::Machine;
use crate::machine::dram::Memory;
use crate::report::{table, units};
use crate::sim::dram::energy;
use crate::sim::dram::traffic::{Pattern, Request, Served, Stream, Traffic};
use serde_json::{Map, Value, json};
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Longest line of a trace.
const LINE_BYTES: u64 = 4096;

/// Arguments of `dram`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    machines: Machines,
    /// Requests from a file, one a line: 0xADDRESS READ|WRITE CYCLE
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pattern", "bytes", "stride", "span", "write", "seed"])]
    trace: Option<PathBuf>,
    /// Requests made up: one after the other, by a stride, at random, mixed with writes, or a copy
    #[arg(long, value_enum, default_value = "seq")]
    pattern: Kind,
    /// Bytes to ask for, rounded up to whole bursts, a request each
    #[arg(long, default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    bytes: u64,
    /// Bytes from one request to the next, with --pattern stride [default: 4096]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    stride: Option<u64>,
    /// Random addresses lie below this, with --pattern rand or mix [default: 4294967296]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 50))]
    span: Option<u64>,
    /// Requests offered a DRAM clock, in order; the machine's `dram.issue` if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    issue: Option<u32>,
    /// Share of the requests that write, 0 to 1; a half with --pattern mix if not given
    #[arg(long, value_parser = share)]
    write: Option<f64>,
    /// Start of the random sequence, with --pattern rand or mix, or --write [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Step every clock: the same figures, more slowly
    #[arg(long)]
    step: bool,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Shape,
}

/// Patterns by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Bursts one after the other
    Seq,
    /// One burst every `--stride` bytes
    Stride,
    /// Bursts anywhere below `--span`
    Rand,
    /// Bursts anywhere below `--span`, reads and writes
    Mix,
    /// A read, and a write of the same place in the other half
    Copy,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to 1".to_owned()),
    }
}

/// Drives every machine's DRAM.
pub fn run(args: &Args) -> Result<()> {
    refuse_unused(args)?;
    let mut results = Vec::new();
    for machine in args.machines.load()? {
        let Some(memory) = &machine.dram.memory else {
            let error = Error::unsupported(format!("machine `{}` has no shape of its DRAM", machine.name));
            return Err(error.help("begin `dram.standard` with the name of a standard (docs/dram.md), such as HBM2"));
        };
        if let Some(peaks) = machine.contradicted_peak() {
            let [stated, shape] = peaks.map(|peak| units::digits(peak / 1e9));
            let what = format!("machine `{}` states a DRAM of {stated} GB/s, but the shape", machine.name);
            let standard = &machine.dram.standard;
            let error = Error::unsupported(format!("{what} of its standard `{standard}` gives {shape} GB/s"));
            return Err(error.help(
                "state the shape (dram.channels, bus_bits, tck_ps), or choose a machine whose DRAM is modelled by command",
            ));
        }
        let mut memory = memory.clone();
        memory.issue = args.issue.unwrap_or(memory.issue);
        let mut traffic = Traffic::new(&memory, args.step);
        let what = match &args.trace {
            Some(path) => offer_trace(path, &mut traffic)?,
            None => offer_pattern(args, &memory, &mut traffic),
        };
        let served = traffic.finish();
        results.push(summary(&machine, &memory, &what, &served)?);
    }
    match (args.format, results.as_slice()) {
        (Shape::Json, [one]) => out::data(&format!("{one:#}\n")),
        (Shape::Json, all) => out::data(&format!("{:#}\n", json!(all))),
        (Shape::Table, all) => out::data(&people(all)),
    }
}

/// Refuses options that the pattern has no use for.
fn refuse_unused(args: &Args) -> Result<()> {
    let kind = args.pattern;
    let random = matches!(kind, Kind::Rand | Kind::Mix);
    let options = [
        ("stride", args.stride.is_some(), kind == Kind::Stride),
        ("span", args.span.is_some(), random),
        ("write", args.write.is_some(), kind != Kind::Copy),
        ("seed", args.seed.is_some(), random || (args.write.is_some() && kind != Kind::Copy)),
    ];
    match options.iter().find(|(_, given, used)| *given && !used) {
        None => Ok(()),
        Some((option, ..)) => {
            let name =
                clap::ValueEnum::to_possible_value(&kind).map_or(String::new(), |name| name.get_name().to_owned());
            Err(Error::usage(format!("--pattern {name} has no use for --{option}")))
        }
    }
}

fn offer_pattern(args: &Args, memory: &Memory, traffic: &mut Traffic) -> String {
    let (stride, span) = (args.stride.unwrap_or(4096), args.span.unwrap_or(4 << 30));
    let (pattern, name, share) = match args.pattern {
        Kind::Seq => (Pattern::Sequential, "seq".to_owned(), 0.0),
        Kind::Stride => (Pattern::Stride(stride), format!("stride {stride}"), 0.0),
        Kind::Rand => (Pattern::Random(span), "rand".to_owned(), 0.0),
        Kind::Mix => (Pattern::Random(span), "mix".to_owned(), 0.5),
        Kind::Copy => (Pattern::Copy, "copy".to_owned(), 0.0),
    };
    let stream = Stream {
        pattern,
        burst_bytes: u64::from(memory.burst_bytes),
        requests: args.bytes.div_ceil(u64::from(memory.burst_bytes)),
        write_share: args.write.unwrap_or(share),
        seed: args.seed.unwrap_or(1),
    };
    stream.each(|request| traffic.offer(&request));
    name
}

/// What a line of a trace is.
const FORM: &str = "write 0xADDRESS READ|WRITE CYCLE, the cycle below 2^60, for example 0x1f40 READ 12";

/// Streams a trace; only one line is in memory.
fn offer_trace(path: &Path, traffic: &mut Traffic) -> Result<String> {
    let name = path.display().to_string();
    let unreadable = |e: std::io::Error| Error::bad_input(format!("cannot read the trace: {e}")).in_file(name.as_str());
    let mut file = std::io::BufReader::new(std::fs::File::open(path).map_err(unreadable)?);
    let (mut line, mut number) = (Vec::new(), 0u64);
    loop {
        line.clear();
        number += 1;
        let read = std::io::Read::take(&mut file, LINE_BYTES).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 && traffic.requests() == 0 {
            return Err(Error::bad_input("this trace has no request").in_file(name).help(FORM));
        }
        if read == 0 {
            return Ok(name);
        }
        if number == 1 && line.starts_with(&[0x1f, 0x8b]) {
            let error = Error::bad_input("this trace is gzipped, but a trace is a text").in_file(name.as_str());
            return Err(error.help("unpack it first: gunzip -c FILE > trace.txt"));
        }
        let whole = std::str::from_utf8(&line).ok().filter(|line| !line.contains('\0'));
        let Some(whole) = whole else {
            return Err(Error::bad_input(format!("{name}:{number}: this line is no text in UTF-8; a trace is a text")));
        };
        let text = whole.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(whole).trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let Some(request) = parse(text).filter(|_| read < LINE_BYTES as usize) else {
            let shown = text.chars().take(40).collect::<String>();
            let shown = shown.escape_debug();
            let error = Error::bad_input(format!("{name}:{number}: `{shown}` is not a request"));
            return Err(error.help(FORM));
        };
        traffic.offer(&request);
    }
}

/// `0xADDRESS READ|WRITE CYCLE`.
fn parse(text: &str) -> Option<Request> {
    let mut words = text.split_ascii_whitespace();
    let (address, kind, clock) = (words.next()?, words.next()?, words.next()?);
    let digits = address.strip_prefix("0x").or_else(|| address.strip_prefix("0X"))?;
    let write = match kind.to_ascii_uppercase().as_str() {
        "READ" => false,
        "WRITE" => true,
        _ => return None,
    };
    let address = u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
    let clock = clock.parse().ok().filter(|clock| *clock < 1 << 60)?;
    words.next().is_none().then_some(Request { address, write, clock })
}

fn summary(machine: &Machine, memory: &Memory, what: &str, served: &Served) -> Result<Value> {
    let counts = served.counts();
    let columns = counts.reads + counts.writes;
    let bytes = columns.saturating_mul(u64::from(memory.burst_bytes));
    let time_ns = served.clocks as f64 * f64::from(memory.tck_ps) / 1000.0;
    let (mut energy, mut total) = (Map::new(), [0i128; 3]);
    for part in energy::parts(machine, &counts, served.clocks)? {
        energy.insert(part.name.to_owned(), json!(part.attojoule[1] as f64 / 1e6));
        (0..3).for_each(|i| total[i] += part.attojoule[i]);
    }
    energy.insert("total".to_owned(), json!(total[1] as f64 / 1e6));
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let channels = served.channels.iter().map(|c| {
        json!({ "reads": c.reads, "writes": c.writes, "activates": c.activates, "precharges": c.precharges,
            "refreshes": c.refreshes + c.bank_refreshes, "row_hits": c.row_hits, "bus_clocks": c.bus_clocks })
    });
    Ok(json!({
        "schema": "preon.dram/1",
        "machine": machine.name,
        "requests_from": what,
        "requests": served.requests,
        "reads": served.reads,
        "writes": served.requests - served.reads,
        "merged": served.requests - served.bursts(),
        "waiting": served.bursts() - columns,
        "bytes": bytes,
        "cycles": served.clocks,
        "tck_ps": memory.tck_ps,
        "bandwidth_gb_s": ratio(bytes as f64, time_ns),
        "row_hit_rate": ratio(counts.row_hits as f64, columns as f64),
        "row_hits": counts.row_hits,
        "activates": counts.activates,
        "precharges": counts.precharges,
        "refreshes": counts.refreshes + counts.bank_refreshes,
        "mean_latency_cycles": served.mean_latency(),
        "bus_busy": ratio(counts.bus_clocks as f64, served.clocks as f64 * f64::from(memory.channels)),
        "energy_pj": energy,
        "energy_band_pj": [total[0] as f64 / 1e6, total[2] as f64 / 1e6],
        "pj_per_bit": ratio(total[1] as f64 / 1e6, bytes as f64 * 8.0),
        "channels": channels.collect::<Vec<_>>(),
    }))
}

/// The results for people.
fn people(results: &[Value]) -> String {
    let number = |result: &Value, key: &str| result[key].as_f64().unwrap_or_default();
    let row = |result: &Value| {
        let count = |key: &str| units::count(result[key].as_u64().unwrap_or_default());
        vec![
            result["machine"].as_str().unwrap_or_default().to_owned(),
            result["requests_from"].as_str().unwrap_or_default().to_owned(),
            count("requests"),
            count("cycles"),
            format!("{:.2}", number(result, "bandwidth_gb_s")),
            units::percent(number(result, "row_hit_rate")),
            count("activates"),
            count("refreshes"),
            format!("{:.1}", number(result, "mean_latency_cycles")),
            format!("{:.2}", number(result, "pj_per_bit")),
        ]
    };
    let head =
        ["machine", "requests", "count", "cycles", "GB/s", "row hits", "activates", "refreshes", "latency", "pJ/bit"];
    let rows: Vec<Vec<String>> = results.iter().map(row).collect();
    let mut text = table::render(&head, &rows, &[2, 3, 4, 5, 6, 7, 8, 9]);
    for result in results {
        let parts = result["energy_pj"].as_object().into_iter().flatten();
        let parts: Vec<String> =
            parts.map(|(name, pj)| format!("{name} {}", units::energy(pj.as_f64().unwrap_or_default()))).collect();
        text += &format!("\nenergy of {}: {}\n", result["machine"].as_str().unwrap_or_default(), parts.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(std::iter::once("dram").chain(line.split_whitespace())).unwrap().args
    }

    #[test]
    fn options_that_a_pattern_does_not_use_are_refused() {
        for wrong in ["--stride 64", "--span 64", "--seed 2", "--pattern copy --write 0.5", "--pattern stride --span 9"]
        {
            let error = refuse_unused(&args(wrong)).unwrap_err();
            assert!(error.kind().exit_code() == 2 && error.message().contains("has no use for --"), "{wrong}: {error}");
        }
        for right in ["", "--pattern stride --stride 64", "--pattern mix --span 64 --seed 2", "--write 0.5 --seed 2"] {
            assert!(refuse_unused(&args(right)).is_ok(), "{right}");
        }
    }

    fn traced(bytes: &[u8]) -> Result<Served> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.txt");
        std::fs::write(&path, bytes).unwrap();
        let machine = crate::machine::load("dram-ddr4").unwrap();
        let mut traffic = Traffic::new(machine.dram.memory.as_ref().unwrap(), false);
        offer_trace(&path, &mut traffic).map(|_| traffic.finish())
    }

    #[test]
    fn a_trace_is_a_text() {
        assert_eq!(traced("\u{feff}0x0 READ 0\r\n# é\n0x40 READ 9\n0x80 READ 3".as_bytes()).unwrap().reads, 3);
        let error = |bytes: &[u8]| traced(bytes).unwrap_err().to_string();
        assert!(error(&[0x1f, 0x8b, 8, 0]).contains("gzipped"));
        assert!(error(b"# nothing\n").contains("no request"));
        assert!(error(b"0x0 READ 0\n\xff\xfe\n").contains(":2: this line is no text"));
        assert!(error(b"\x1b[31mhi\n").contains("`\\u{1b}[31mhi` is not a request"));
    }

    #[test]
    fn requests_that_share_a_burst_move_it_once() {
        let machine = crate::machine::load("dram-ddr4").unwrap();
        let memory = machine.dram.memory.as_ref().unwrap();
        let drive = |line: &str| {
            let mut traffic = Traffic::new(memory, false);
            let what = offer_pattern(&args(line), memory, &mut traffic);
            summary(&machine, memory, &what, &traffic.finish()).unwrap()
        };
        let peak = 2.0 * 8.0 / (f64::from(memory.tck_ps) / 1000.0);
        for line in
            ["--pattern stride --stride 1 --bytes 65536", "--pattern stride --stride 1 --bytes 65536 --write 0.5"]
        {
            let packed = drive(line);
            assert!(packed["bandwidth_gb_s"].as_f64().unwrap() <= peak, "{packed}");
            assert!(packed["merged"].as_u64().unwrap() > 0, "{packed}");
        }
        // Writes that are posted when all is served are no part of the time, nor of what has moved in it.
        for write in ["0", "0.5", "0.9", "0.94", "1"] {
            let apart = drive(&format!("--pattern seq --bytes 4096 --write {write}"));
            let [busy, share] = ["bus_busy", "bandwidth_gb_s"].map(|key| apart[key].as_f64().unwrap());
            assert!(0.0 < busy && busy <= 1.0 && share <= peak, "{write}: {apart}");
            let [bytes, merged, waiting] = ["bytes", "merged", "waiting"].map(|key| apart[key].as_u64().unwrap());
            assert_eq!((bytes + 64 * waiting, merged), (4096, 0), "{write}");
            assert_eq!(waiting > 0, write != "0", "{write}: {apart}");
        }
    }

    #[test]
    fn lines_of_a_trace_are_read_or_refused() {
        let read = Request { address: 0x1f40, write: false, clock: 12 };
        assert_eq!(parse("0x1f40 READ 12"), Some(read));
        assert_eq!(parse("0X1F40\tread  12"), Some(read));
        assert_eq!(parse("0x40 WRITE 0"), Some(Request { address: 0x40, write: true, clock: 0 }));
        for bad in ["", "0x", "1f40 READ 1", "0x1 FETCH 1", "0x1 READ", "0x1 READ -1", "0x1 READ 1 2", "0x+1 READ 1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("0x10000000000000000 READ 1"), None);
        assert_eq!(parse("0x1 READ 18446744073709551615"), None, "no time for an answer");
    }
}
