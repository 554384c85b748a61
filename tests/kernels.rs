//! Every kernel of the library assembles for the formats it may be bound to, and declares the parameters it uses.

use preon::compile::kernels::Kernels;
use preon::isa::asm::{Options, Sources, assemble};

/// Formats and constants that a kernel is bound to.
type Binding = (Vec<(&'static str, &'static str)>, Vec<(&'static str, i64)>);

fn bindings(kernel: &str) -> Vec<Binding> {
    match kernel {
        "linear-array" | "linear-vector" => {
            [("fp32", "fp32", 32, 32, 1), ("ternary", "int8", 2, 8, 0), ("bf16", "bf16", 16, 16, 2)]
                .into_iter()
                .map(|(w, x, w_bits, x_bits, class)| {
                    (vec![("W", w), ("X", x)], vec![("WBITS", w_bits), ("XBITS", x_bits), ("CLASS", class)])
                })
                .collect()
        }
        "quantise" => vec![(vec![("Y", "int8")], vec![("RULE", 0)]), (vec![("Y", "binary")], vec![("RULE", 1)])],
        "cast" => vec![(vec![("Y", "bf16")], vec![])],
        "unpack-ec" => vec![(vec![("W", "ternary")], vec![])],
        "embedding" => vec![(vec![("W", "fp32")], vec![]), (vec![("W", "int8")], vec![])],
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
