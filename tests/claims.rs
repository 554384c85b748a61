//! docs/claims.md: every command there is run, and the figure in bold is what comes out. `PREON_BLESS=1` writes it.

use serde_json::Value;
use std::process::Command;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/claims.md");

/// A section of the page.
struct Claim {
    name: String,
    commands: Vec<String>,
    measured: String,
}

fn claims(page: &str) -> Vec<Claim> {
    let sections = page.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (name, body) = section.split_once('\n').expect("a heading");
            let commands = body.lines().filter_map(|line| line.strip_prefix("    preon ")).map(str::to_owned).collect();
            for word in ["\nClaimed: ", "\nMeasured: ", "\nVerdict: "] {
                assert_eq!(section.matches(word).count(), 1, "{name} needs one{word}");
            }
            let measured = body.split("**").nth(1).unwrap_or_else(|| panic!("{name} has no figure in bold")).to_owned();
            Claim { name: name.trim().to_owned(), commands, measured }
        })
        .collect()
}

/// Objects that a command printed, one a run.
fn run(command: &str) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_preon")).args(command.split(' ')).output().expect("preon runs");
    assert!(output.status.success(), "preon {command}: {}", String::from_utf8_lossy(&output.stderr));
    match serde_json::from_slice(&output.stdout).expect("JSON") {
        Value::Array(rows) => rows,
        page if page["rows"][0]["typical"].is_number() => page["rows"].as_array().expect("rows").clone(),
        one => vec![one],
    }
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path}"))
}

/// The first run's figure over the last one's.
fn ratio(rows: &[Value], path: &str) -> f64 {
    number(&rows[0], path) / number(&rows[rows.len() - 1], path)
}

/// Picojoule of the prices whose key starts so.
fn spent(run: &Value, prefix: &str) -> f64 {
    let prices = run["joules"]["prices"].as_array().expect("prices");
    let of = prices.iter().filter(|price| price["key"].as_str().is_some_and(|key| key.starts_with(prefix)));
    of.fold(0.0, |sum, price| sum + number(price, "/pj/typical"))
}

fn anchor(page: &Value, op: &str) -> f64 {
    let rows = page["rows"].as_array().expect("rows");
    number(rows.iter().find(|row| row["op"] == op).expect("a row"), "/pj_45nm")
}

/// The figure of a claim, as the page prints it.
fn figure(name: &str, rows: &[Value]) -> String {
    let energy = "/energy_pj/total";
    match name {
        "ternary-products" => format!("{:.0}", ratio(rows, "/typical")),
        "arithmetic-71x" => format!("{:.1}", number(&rows[0], "/fp16_mac_pj") / number(&rows[0], "/ternary_mac_pj")),
        "bitnet-column" => format!("{:.0}", number(&rows[0], "/agree")),
        "end-to-end" => format!("{:.1}", ratio(rows, energy)),
        "size-10x" | "size-model" | "size-32x" => format!("{:.1}", ratio(rows, "/bytes/weights")),
        "binary-58x" | "int8-4x" => format!("{:.1}", ratio(rows, "/cycles")),
        "memory-decode" => format!("{:.0}", spent(&rows[0], "energy.dram.") / spent(&rows[0], "energy.mac.")),
        "fp4-doubles" => format!("{:.2}", ratio(rows, "/cycles")),
        "peak-rate" => {
            let peak = rows[0]["peak"]["macs_per_cycle"].as_array().expect("peaks");
            let needed = peak.iter().fold(0.0, |sum, row| sum + number(row, "/macs") / number(row, "/peak"));
            format!("{:.0}", 100.0 * needed / number(&rows[0], "/cycles"))
        }
        "int8-add-30x" => format!("{:.1}", anchor(&rows[0], "fp32 add") / anchor(&rows[0], "int8 add")),
        "dram-100x" => format!("{:.0}", 1300.0 / number(&rows[0], "/typical")),
        "cutie-efficiency" => format!("{:.2}", number(&rows[0], "/typical") * 1e3 / 2.0),
        "near-threshold" => format!("{:.1}", 1.0 / ratio(rows, energy)),
        _ => panic!("tests/claims.rs has no figure for the claim `{name}`"),
    }
}

#[test]
fn every_claim_has_the_figure_that_its_command_gives() {
    let mut page = std::fs::read_to_string(PAGE).expect("docs/claims.md");
    let mut wrong = Vec::new();
    let all = claims(&page);
    assert!(all.len() >= 15);
    for claim in all {
        assert!(!claim.commands.is_empty(), "{} has no command", claim.name);
        let rows: Vec<Value> = claim.commands.iter().flat_map(|command| run(command)).collect();
        let figure = figure(&claim.name, &rows);
        if figure != claim.measured {
            let at = page.find(&format!("\n## {}\n", claim.name)).expect("its section");
            let bold = at + page[at..].find("**").expect("its figure");
            page.replace_range(bold..bold + claim.measured.len() + 4, &format!("**{figure}**"));
            wrong.push(format!("{}: {} on the page, {figure} from preon", claim.name, claim.measured));
        }
    }
    if std::env::var_os("PREON_BLESS").is_some() {
        std::fs::write(PAGE, page).expect("docs/claims.md is written");
        return;
    }
    assert!(
        wrong.is_empty(),
        "run PREON_BLESS=1 cargo test --test claims and read the verdicts again:\n{}",
        wrong.join("\n")
    );
}
