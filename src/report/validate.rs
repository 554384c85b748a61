//! Published machines and our predictions, as tables: for the terminal, as CSV, and for docs/validation.md.

use super::{csv, table};
use crate::vpu::validate::{Bar, Case, Summary, Validation};
use std::fmt::Write as _;

/// A figure with as many places as tell it apart.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    let places = if value.abs() >= 1000.0 {
        0
    } else if value.abs() >= 100.0 {
        1
    } else {
        2
    };
    format!("{value:.places$}")
}

fn percent(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:+.2} %") }
}

fn bar(bar: Option<Bar>) -> String {
    match bar {
        None => String::new(),
        Some(bar) if bar == Bar::EXACT => "equal".to_owned(),
        Some(Bar { percent, absolute: 0.0 }) => format!("{percent} %"),
        Some(Bar { percent, absolute }) => format!("{percent} % or {absolute}"),
    }
}

fn case_row(case: &Case) -> Vec<String> {
    vec![
        case.machine.clone(),
        case.case.clone(),
        case.quantity.clone(),
        case.kind.name().to_owned(),
        figure(case.predicted),
        figure(case.published),
        percent(case.error_percent()),
        bar(case.bar) + if case.ok() { "" } else { " MISSED" },
        case.calibrated_on.clone(),
    ]
}

fn summary_row(summary: &Summary) -> Vec<String> {
    vec![
        summary.machine.clone(),
        summary.quantity.clone(),
        summary.kind.name().to_owned(),
        summary.cases.to_string(),
        summary.equal.to_string(),
        format!("{:.2} %", summary.mean_percent),
        format!("{:.2} %", summary.worst_percent),
        if summary.worst_percent > 0.0 { summary.worst_case.clone() } else { String::new() },
        bar(summary.bar),
        summary.missed.to_string(),
    ]
}

const CASE_HEAD: [&str; 9] =
    ["machine", "case", "quantity", "kind", "predicted", "published", "error", "bar", "calibrated on"];
const SUMMARY_HEAD: [&str; 10] =
    ["machine", "quantity", "kind", "cases", "equal", "mean", "worst", "worst case", "bar", "missed"];

/// Every case, then means and worst ones, then what they rest on.
pub fn terminal(validation: &Validation) -> String {
    let cases: Vec<Vec<String>> = validation.cases.iter().map(case_row).collect();
    let summaries: Vec<Vec<String>> = validation.summaries.iter().map(summary_row).collect();
    let mut text = table::render(&CASE_HEAD, &cases, &[4, 5, 6]);
    text += "\n";
    text += &table::render(&SUMMARY_HEAD, &summaries, &[3, 4, 5, 6, 9]);
    for statement in &validation.statements {
        let _ = write!(text, "\n{}: {}\n", statement.machine, statement.text);
    }
    text
}

/// One line a case.
pub fn csv(validation: &Validation) -> String {
    let bound = |bar: Option<f64>| csv::number(bar);
    let row = |case: &Case| {
        vec![
            case.machine.clone(),
            case.case.clone(),
            case.quantity.clone(),
            case.kind.name().to_owned(),
            case.predicted.to_string(),
            case.published.to_string(),
            format!("{:.4}", case.error_percent()),
            bound(case.bar.map(|bar| bar.percent)),
            bound(case.bar.map(|bar| bar.absolute)),
            case.ok().to_string(),
            case.calibrated_on.clone(),
            case.source.clone(),
        ]
    };
    let head =
        "machine,case,quantity,kind,predicted,published,error_percent,bar_percent,bar_absolute,ok,calibrated_on,source";
    csv::table(head, validation.cases.iter().map(row))
}

/// A table of Markdown.
fn markdown_table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// The generated part of docs/validation.md: means and worst ones, what they rest on, every case.
pub fn page(validation: &Validation) -> String {
    let mut text = String::from("## Means and worst cases\n\n");
    text += &markdown_table(&SUMMARY_HEAD, validation.summaries.iter().map(summary_row));
    text += "\n## What was calibrated on what\n\n";
    for statement in &validation.statements {
        let _ = writeln!(text, "- **{}**: {}", statement.machine, statement.text);
    }
    text += "\n## Every case\n\n";
    text += &markdown_table(&CASE_HEAD, validation.cases.iter().map(case_row));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::validate;

    #[test]
    fn tables_have_a_line_a_case() {
        let validation = validate::run(&["cutie".to_owned()]).unwrap();
        let cases = validation.cases.len();
        assert_eq!(csv(&validation).lines().count(), 1 + cases);
        assert!(terminal(&validation).lines().count() > cases + validation.summaries.len());
        let page = page(&validation);
        assert!(page.contains("| cutie | cycles | law |") && page.contains("2 % or 4"), "{page}");
    }

    #[test]
    fn figures_keep_what_tells_them_apart() {
        assert_eq!(
            [figure(269.0), figure(268.8019), figure(3.678), figure(40_800.4)],
            ["269", "268.8", "3.68", "40800"]
        );
        assert_eq!([percent(0.0), percent(-3.456), percent(12.0)], ["0", "-3.46 %", "+12.00 %"]);
    }
}
