//! Every kernel of the library assembles for the formats it may be bound to, and declares the parameters it uses.

use preon::compile::kernels::Kernels;
use preon::isa::asm::{Options, Sources, assemble};

/// Formats and constants that a kernel is bound to.
type Binding = (Vec<(&'static str, &'static str)>, Vec<(&'static str, i64)>);

/// A binding of the matrix products: formats and their bits, class of the sums, and the constants that are set.
fn product(w: (&'static str, i64), x: (&'static str, i64), class: i64, set: &[(&'static str, i64)]) -> Binding {
    let mut constants = vec![("WBITS", w.1), ("XBITS", x.1), ("CLASS", class), ("SXBYTES", 4)];
    for name in ["SXB", "SWB", "PLANES", "OFFSET", "FINAL", "ADC", "CODED", "MASKED"] {
        constants.push((name, set.iter().find(|(set, _)| *set == name).map_or(0, |(_, value)| *value)));
    }
    (vec![("W", w.0), ("X", x.0), ("SW", "fp32"), ("SX", "fp32")], constants)
}

fn table(set: &[(&'static str, i64)]) -> Binding {
    let names = ["SCALES", "BLOCK", "SBYTES", "PLANES", "OFFSET", "GLOBAL", "WBITS"];
    let value = |name: &str| set.iter().find(|(set, _)| *set == name).map_or(i64::from(name == "PLANES"), |(_, v)| *v);
    (vec![("W", "binary"), ("S", "fp32")], names.map(|name| (name, value(name))).to_vec())
}

fn bindings(kernel: &str) -> Vec<Binding> {
    match kernel {
        "linear-array" | "linear-vector" => vec![
            product(("fp32", 32), ("fp32", 32), 1, &[]),
            product(("ternary", 2), ("int8", 8), 0, &[("CODED", 1)]),
            product(("bf16", 16), ("bf16", 16), 2, &[("FINAL", 1)]),
            product(("fp16", 16), ("fp16", 16), 3, &[("FINAL", 2), ("SXB", 1), ("SWB", 1)]),
            product(("binary", 1), ("int8", 8), 0, &[("PLANES", 1), ("SWB", 1)]),
            product(("int4", 4), ("int8", 8), 4, &[("OFFSET", 1), ("SWB", 1)]),
            product(("int8", 8), ("int8", 8), 5, &[("FINAL", 1), ("ADC", 8)]),
            product(("ternary", 2), ("int8", 8), 0, &[("MASKED", 1)]),
        ],
        "linear-sparse" => {
            let set = |w, x, class, set: &[(&'static str, i64)]| {
                let (formats, mut constants) = product(w, x, class, set);
                for name in ["ARRAY", "GROUPS", "PACKN", "PACKM", "TAIL"] {
                    constants.push((name, set.iter().find(|(set, _)| *set == name).map_or(0, |(_, value)| *value)));
                }
                (formats, constants)
            };
            vec![
                set(("int8", 8), ("int8", 8), 0, &[("ARRAY", 1), ("TAIL", 1)]),
                set(("bf16", 16), ("bf16", 16), 2, &[("ARRAY", 1), ("MASKED", 1)]),
                set(("ternary", 2), ("int8", 8), 0, &[("GROUPS", 4)]),
                set(("bf16", 16), ("bf16", 16), 2, &[("GROUPS", 2), ("MASKED", 1)]),
                set(("int4", 4), ("int8", 8), 0, &[("GROUPS", 1), ("MASKED", 1), ("PACKN", 2), ("PACKM", 4)]),
            ]
        }
        "quantise" => vec![(vec![("Y", "int8")], vec![("RULE", 0)]), (vec![("Y", "binary")], vec![("RULE", 1)])],
        "quantise-block" => {
            (0..7).map(|rule| (vec![("Y", "fp4e2m1"), ("SY", "fp32")], vec![("RULE", rule), ("BLOCK", 16)])).collect()
        }
        "cast" => vec![(vec![("Y", "bf16")], vec![])],
        "unpack-ec" => vec![(vec![("W", "ternary")], vec![])],
        "embedding" => vec![
            table(&[("WBITS", 32)]),
            table(&[("SCALES", 1), ("BLOCK", 32), ("SBYTES", 1), ("OFFSET", 1), ("WBITS", 4)]),
            table(&[("SCALES", 1), ("SBYTES", 4), ("PLANES", 4), ("GLOBAL", 1), ("WBITS", 1)]),
        ],
        _ => vec![(vec![], vec![])],
    }
}

#[test]
fn every_kernel_assembles() {
    let kernels = Kernels::builtin();
    let names: Vec<&str> = kernels.iter().map(|(name, _)| name).filter(|name| name.ends_with(".vasm")).collect();
    assert!(names.len() >= 14);
    for file in names {
        for (formats, equs) in bindings(file.trim_end_matches(".vasm")) {
            let mut sources = Sources::new(file);
            for (name, text) in kernels.iter() {
                sources.add(name, text);
            }
            let options = Options {
                formats: formats.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
                equs: equs.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            };
            match assemble(&sources, &options) {
                Ok(object) => assert!(object.words.len() > 10 && !object.params.is_empty(), "{file}"),
                Err(errors) => panic!("{}", errors.iter().map(|e| e.render(false)).collect::<Vec<_>>().join("\n")),
            }
        }
    }
}
