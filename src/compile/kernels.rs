//! The kernel library: assembly sources embedded in the binary, each replaceable by a user's file of the same name.

use std::collections::BTreeMap;

/// Sources by file name (`softmax.vasm`, `rows.inc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernels {
    sources: BTreeMap<String, String>,
}

macro_rules! embed {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../programs/kernels/", $name)))),*]
    };
}

/// Every file of programs/kernels.
const BUILTIN: &[(&str, &str)] = embed![
    "binary.vasm",
    "cast.vasm",
    "embedding.vasm",
    "epilogue.inc",
    "l2norm.vasm",
    "layernorm.vasm",
    "linear-array.vasm",
    "linear-sparse.vasm",
    "linear-vector.vasm",
    "meanpool.vasm",
    "quantise-block.vasm",
    "quantise.vasm",
    "rmsnorm.vasm",
    "rope.vasm",
    "rows.inc",
    "setup.inc",
    "softmax.vasm",
    "transpose.vasm",
    "unary.vasm",
    "unpack-ec.vasm",
];

impl Kernels {
    /// The library that comes with Preon.
    pub fn builtin() -> Self {
        Kernels { sources: BUILTIN.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect() }
    }
    /// Text of a file.
    pub fn source(&self, name: &str) -> Option<&str> {
        self.sources.get(name).map(String::as_str)
    }
    /// All files, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/kernels");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder is part of the package")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        let kernels = Kernels::builtin();
        let embedded: Vec<&str> = kernels.iter().map(|(name, _)| name).collect();
        assert_eq!(names, embedded);
    }
}
