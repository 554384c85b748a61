//! Published machines: the page that lists them is what the command prints, and every bar holds.

use preon::report;
use preon::vpu::validate::{self, How, Validation};
use std::sync::OnceLock;

fn all() -> &'static Validation {
    static ALL: OnceLock<Validation> = OnceLock::new();
    ALL.get_or_init(|| validate::run(&[]).unwrap())
}

/// `PREON_BLESS=1 cargo test --test validation` writes the table into the page.
#[test]
fn the_page_is_what_the_command_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/validation.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- cases: generated -->\n", "<!-- end of cases -->");
    let (head, rest) = page.split_once(begin).unwrap();
    let (table, tail) = rest.split_once(end).unwrap();
    let wanted = format!("\n{}\n", report::validate::page(all()));
    if std::env::var_os("PREON_BLESS").is_some() {
        std::fs::write(path, format!("{head}{begin}{wanted}{end}{tail}")).unwrap();
        return;
    }
    assert_eq!(table, wanted, "docs/validation.md is out of date: run PREON_BLESS=1 cargo test --test validation");
}

#[test]
fn every_bar_holds() {
    let missed: Vec<String> = all()
        .cases
        .iter()
        .filter(|case| !case.ok())
        .map(|case| format!("{case:?} {:.2} %", case.error_percent()))
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert!(all().verdict().is_ok());
}

#[test]
fn laws_are_equal_where_they_are_to_be() {
    let equal = |machine: &str, quantity: &str| {
        let rows = all().cases.iter().filter(|c| c.machine == machine && c.quantity == quantity && c.kind == How::Law);
        let rows: Vec<_> = rows.collect();
        (rows.len(), rows.iter().filter(|case| case.predicted == case.published).count())
    };
    for quantity in ["memory cycles", "product cycles", "cycles"] {
        assert_eq!(equal("nvdla-2048", quantity), (54, 54), "{quantity}");
    }
    assert_eq!(equal("cutie", "cycles"), (49, 49));
    assert_eq!(equal("bitfusion-16x32", "product cycles"), (93, 93));
}

#[test]
fn nothing_is_reported_that_a_constant_was_fitted_on() {
    for case in &all().cases {
        // Names of cases have a number.
        let words = case.calibrated_on.split(|c: char| !c.is_alphanumeric() && c != '-');
        let mut fitted = words.filter(|word| word.contains(|c: char| c.is_ascii_digit()));
        assert!(!fitted.any(|name| case.case.contains(name)), "{case:?}");
        assert!(!case.calibrated_on.is_empty() && !case.source.is_empty(), "{case:?}");
    }
}

#[test]
fn every_machine_with_cases_is_built_in_and_has_a_statement() {
    for name in validate::machines() {
        assert!(preon::machine::builtin().contains(&name), "{name}");
        assert!(
            all().statements.iter().any(|s| s.machine.split(", ").any(|m| m == name) && s.text.len() > 40),
            "{name}"
        );
    }
}
