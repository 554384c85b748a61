//! The topology files of SCALE-Sim, as they are: a header line, then a layer a line, with or without a comma at the end.
//!
//! A file whose header names M, N and K is a list of products (`Layer, M, N, K,`); any other is a list of convolutions
//! (`Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,`). Its images
//! are already padded there. A column of sparsity (`N:M`) is refused unless it says that nothing is left out.

use super::{Conv, Epilogue, Gemm, Kind, Layer, Workload};
use crate::diag::{Error, Result};

/// Reads a file; `path` stands in errors, `stem` is its name.
///
/// # Errors
/// BadInput with the line.
pub fn parse(path: &str, stem: &str, text: &str) -> Result<Workload> {
    let mut rows = lines(text);
    let (at, header) = rows.next().ok_or_else(|| Error::bad_input("the list is empty").in_file(path))?;
    let names: Vec<String> = header.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    if names.len() > 1 && names[1..].iter().all(|name| name.is_empty() || name.parse::<f64>().is_ok()) {
        let error = Error::bad_input("the first line is a layer, but the columns are named there");
        return Err(error.in_text(path, text, at..at + header.len()).help(
            "begin with `Layer, M, N, K,` for products, or with `Layer name, IFMAP Height, IFMAP Width, Filter Height, \
             Filter Width, Channels, Num Filter, Strides,`",
        ));
    }
    let column = |name: &str| names.iter().position(|known| known == name);
    let products = match (column("m"), column("n"), column("k")) {
        (Some(m), Some(n), Some(k)) => Some([m, n, k]),
        _ => None,
    };
    let mut layers = Vec::new();
    for (start, line) in rows {
        let here = |error: Error| error.in_text(path, text, start..start + line.len());
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let number = |at: usize| {
            let field = fields.get(at).copied().unwrap_or_default();
            let value = field.parse::<u64>();
            value.map_err(|_| {
                let name = header.split(',').nth(at).unwrap_or_default().trim();
                here(Error::bad_input(format!("`{field}` is no whole number, in column {}, `{name}`", at + 1)))
            })
        };
        let last = if let Some(columns) = products { *columns.iter().max().unwrap_or(&3) } else { 7 };
        for field in fields.iter().skip(last + 1).filter(|field| !field.is_empty()) {
            let what = if products.is_some() { "list of products" } else { "topology" };
            dense(field, what).map_err(here)?;
        }
        let kind = match products {
            Some([m, n, k]) => {
                Kind::Gemm(Gemm { m: number(m)?, n: number(n)?, k: number(k)?, then: Epilogue::default() })
            }
            None => Kind::Conv(Conv {
                batch: 1,
                h: number(1)?,
                w: number(2)?,
                c: number(5)?,
                k: number(6)?,
                r: number(3)?,
                s: number(4)?,
                stride: number(7)?,
                pad: 0,
                dilation: 1,
                groups: 1,
                then: Epilogue::default(),
            }),
        };
        super::plain(fields[0]).map_err(here)?;
        kind.check().map_err(here)?;
        layers.push(Layer::new(fields[0], kind));
    }
    let mut workload = Workload::new(stem, layers);
    workload.notes.push("SCALE-Sim topology: images are padded already, nothing follows a product".into());
    Ok(workload)
}

/// Lines with something in them, with the byte at which each begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    let lines = text.split_inclusive('\n').map(move |line| {
        let at = start;
        start += line.len();
        (at, line.trim_end())
    });
    lines.filter(|(_, line)| line.split(',').any(|field| !field.trim().is_empty()))
}

/// A column of sparsity says `N:M`: N of M terms are kept.
fn dense(field: &str, what: &str) -> Result<()> {
    match field.split_once(':') {
        Some((kept, all)) if kept.trim() == all.trim() => Ok(()),
        Some(_) => Err(Error::unsupported(format!("sparsity {field} is not served for layers without weights"))),
        None => Err(Error::bad_input(format!("`{field}` is in a column that a {what} does not have"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_as_scale_sim_writes_them() {
        let text = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n\
            Conv1,\t227, 227, 11, 11, 3, 96, 4,\r\nFC6, 1, 1, 1, 1, 9216, 4096, 1,\n,,,\n";
        let workload = parse("alexnet.csv", "alexnet", text).unwrap();
        assert_eq!(workload.layers.len(), 2);
        assert_eq!(workload.layers[0].name, "Conv1");
        assert_eq!(workload.macs(), 55 * 55 * 96 * 363 + 9216 * 4096);
    }

    #[test]
    fn products_by_the_names_of_their_columns() {
        let workload = parse("g.csv", "g", "Layer, M, N, K,\nGEMM0, 512, 2560, 128,\n").unwrap();
        assert_eq!(workload.layers[0].kind.shape(), "512x2560x128");
        let other = parse("g.csv", "g", "Layer,M,K,N\nGEMM0,512,128,2560\n").unwrap();
        assert_eq!(other.layers, workload.layers);
    }

    #[test]
    fn mistakes_have_a_line() {
        let header =
            "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n";
        let error = |line: &str| parse("t.csv", "t", &format!("{header}{line}\n")).unwrap_err().render(false);
        assert!(error("a, 8, 8, 3, 3, x, 4, 1,").contains("t.csv:2"));
        assert!(error("a, 8, 8, 3, 3, 4,").contains("no whole number, in column 7"));
        assert!(error("a, 2, 2, 3, 3, 4, 4, 1,").contains("larger than an image"));
        assert!(error("a, 8, 8, 3, 3, 4, 4, 1, 2:4,").contains("sparsity 2:4"));
        assert!(parse("t.csv", "t", &format!("{header}a, 8, 8, 3, 3, 4, 4, 1, 1:1,\n")).is_ok());
        assert!(parse("t.csv", "t", "").is_err());
        let bare = parse("t.csv", "t", "\nConv1, 8, 8, 3, 3, 4, 4, 1,\nConv2, 8, 8, 3, 3, 4, 4, 1,\n")
            .unwrap_err()
            .to_string();
        assert!(bare.starts_with("t.csv:2:1: the first line is a layer"), "{bare}");
        let products = |line: &str| parse("t.csv", "t", &format!("Layer,M,N,K\n{line}\n")).unwrap_err().to_string();
        assert!(products("a,1,2,3,4").starts_with("t.csv:2:1: `4` is in a column that a list of products does not"));
        assert!(products("a\u{1b}[31m,1,2,3").contains("control character, U+001B"));
    }
}
