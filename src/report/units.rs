//! Numbers as people read them: `812.4 µJ`, `1 204 331`, `21.3 MB`.

/// `value` with three or four significant digits and an SI prefix; `value` is in units of `10^exponent`.
fn si(value: f64, exponent: i32, unit: &str) -> String {
    const PREFIXES: [&str; 9] = ["p", "n", "µ", "m", "", "k", "M", "G", "T"];
    if value == 0.0 {
        return format!("0 {unit}");
    }
    let mut step = (exponent + 12) / 3;
    let mut scaled = value;
    while scaled.abs() >= 999.95 && step < 8 {
        (scaled, step) = (scaled / 1000.0, step + 1);
    }
    while scaled.abs() < 0.999_95 && step > 0 {
        (scaled, step) = (scaled * 1000.0, step - 1);
    }
    format!("{} {}{unit}", digits(scaled), PREFIXES[step as usize])
}

/// Three significant digits, without an exponent.
pub fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    }
}

/// Hertz, for example `54.0 MHz`; gigahertz from a tenth on.
pub fn clock(hz: f64) -> String {
    match hz {
        hz if hz < 99_950.0 => format!("{} kHz", digits(hz / 1e3)),
        hz if hz < 99.95e6 => format!("{} MHz", digits(hz / 1e6)),
        hz => format!("{} GHz", digits(hz / 1e9)),
    }
}

/// Picojoules, for example `812 µJ`.
pub fn energy(pj: f64) -> String {
    si(pj, -12, "J")
}

/// Nanoseconds, for example `1.20 ms`.
pub fn time(ns: f64) -> String {
    si(ns, -9, "s")
}

/// Bytes in decimal units, for example `21.3 MB`.
pub fn bytes(count: u64) -> String {
    if count < 1000 { format!("{count} B") } else { si(count as f64, 0, "B") }
}

/// A count with a prefix, for example `22.7 M`.
pub fn short(count: f64) -> String {
    if count.abs() < 1000.0 { format!("{count:.0}") } else { si(count, 0, "").trim_end().to_string() }
}

/// A count with its digits in groups of three: `1 204 331`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A ratio, for example `3.98×`.
pub fn times(ratio: f64) -> String {
    format!("{}×", digits(ratio))
}

/// A share, for example `17.9 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A quality figure: enough digits to tell 0.9999 from 1, never rounded up to a perfect 1.
pub fn quality(value: f64) -> String {
    let shown = format!("{value:.5}");
    if value < 1.0 && shown == "1.00000" { "0.99999".into() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(energy(812_400_000.0), "812 µJ");
        assert_eq!(energy(0.0), "0 J");
        assert_eq!(energy(999_960.0), "1.00 µJ");
        assert_eq!(time(1_204_331.0), "1.20 ms");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(21_340_000), "21.3 MB");
        assert_eq!(short(22_700_000.0), "22.7 M");
        assert_eq!(count(1_204_331), "1 204 331");
        assert_eq!(count(7), "7");
        assert_eq!(times(3.981), "3.98×");
        assert_eq!(quality(0.999_999_9), "0.99999");
        assert_eq!(quality(1.0), "1.00000");
    }
}
