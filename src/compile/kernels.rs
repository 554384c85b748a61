//! The kernel library: assembly sources embedded in the binary, each replaceable by a user's file of the same name.

use crate::diag::{Error, Result, did_you_mean};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Sources by file name (`softmax.vasm`, `rows.inc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernels {
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    text: Arc<str>,
    /// Where a text that is not ours was read.
    path: Option<String>,
}

/// A text of the library that a user's file replaces in a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Name of the file in the library.
    pub name: String,
    /// The user's file.
    pub path: String,
    /// Steps of the program whose code it is part of.
    pub steps: usize,
}

macro_rules! embed {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../programs/kernels/", $name)))),*]
    };
}

/// Every file of programs/kernels.
const BUILTIN: &[(&str, &str)] = embed![
    "adam.vasm",
    "attention-blocks.vasm",
    "attention.inc",
    "attention.vasm",
    "binary.vasm",
    "cast.vasm",
    "conv-strips.vasm",
    "conv-whole.vasm",
    "conv-window.vasm",
    "conv.inc",
    "conv.vasm",
    "elements.inc",
    "embedding.vasm",
    "epilogue.inc",
    "estimator.vasm",
    "gradient.vasm",
    "l2norm.vasm",
    "layernorm.vasm",
    "linear-array.vasm",
    "linear-colour.vasm",
    "linear-masked.vasm",
    "linear-planes.vasm",
    "linear-sparse.vasm",
    "linear-triplet.vasm",
    "linear-vector.vasm",
    "linear-xnor.vasm",
    "meanpool.vasm",
    "pool.vasm",
    "product.inc",
    "quantise-block.vasm",
    "quantise.vasm",
    "rmsnorm.vasm",
    "rope.vasm",
    "rows.inc",
    "setup.inc",
    "sgd.vasm",
    "softmax.vasm",
    "transpose.vasm",
    "unary.vasm",
    "unpack-ec.vasm",
];

/// Longest kernel text that is read.
const LONGEST_BYTES: u64 = 4 << 20;

impl Kernels {
    /// The library that comes with Preon.
    pub fn builtin() -> Self {
        let own = |text: &str| Source { text: text.into(), path: None };
        Kernels { sources: BUILTIN.iter().map(|(name, text)| ((*name).to_owned(), own(text))).collect() }
    }

    /// The library with the `.vasm` and `.inc` files of `folder` in place of those of the same name. Further `.inc`
    /// files may stand there for the others to include.
    ///
    /// # Errors
    /// Usage for a folder that cannot be read or has no such file; BadInput for a `.vasm` file that is none of the
    /// library's, a `.inc` file that nothing includes, and what is not text.
    pub fn with_folder(folder: &Path) -> Result<Self> {
        let shown = folder.display().to_string();
        let wrong =
            |e: std::io::Error| Error::usage(format!("the kernels cannot be read: {e}")).in_file(shown.as_str());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(wrong)? {
            paths.push(entry.map_err(wrong)?.path());
        }
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "vasm" || extension == "inc"));
        paths.sort();
        if paths.is_empty() {
            return Err(Error::usage("the folder has no kernel")
                .in_file(shown)
                .help("`preon kernels softmax > DIR/softmax.vasm` copies one to change: docs/kernels.md"));
        }
        let mut kernels = Kernels::builtin();
        for path in &paths {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            if name.ends_with(".vasm") && !kernels.sources.contains_key(&name) {
                return Err(unknown(&path.display().to_string(), &name));
            }
            let source = Source { text: read(path)?.into(), path: Some(path.display().to_string()) };
            kernels.sources.insert(name, source);
        }
        kernels.all_reached()?;
        Ok(kernels)
    }

    /// A `.inc` file that nothing includes would change nothing, which its author should know.
    fn all_reached(&self) -> Result<()> {
        let programs = self.sources.keys().filter(|name| name.ends_with(".vasm"));
        let reached: BTreeSet<&str> = programs.flat_map(|name| self.texts_of(name)).collect();
        match self.sources.iter().find(|(name, _)| !reached.contains(name.as_str())) {
            None => Ok(()),
            Some((name, source)) => Err(unknown(source.path.as_deref().unwrap_or(name), name)),
        }
    }

    /// Text of a file.
    pub fn source(&self, name: &str) -> Option<&str> {
        self.sources.get(name).map(|source| &*source.text)
    }

    /// Text of a file to be made into a program: the tests at the end of those that come with Preon, which hold, left out.
    pub(super) fn program(&self, name: &str) -> Option<Arc<str>> {
        let Source { text, path } = self.sources.get(name)?;
        let tests = if path.is_none() { text.find("\n.test ") } else { None };
        Some(tests.map_or_else(|| text.clone(), |at| text[..=at].into()))
    }

    /// All files, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.sources.iter().map(|(name, source)| (name.as_str(), &source.text))
    }

    /// What messages call a file: its name, or the path of the user's file that replaces it.
    pub fn path<'a>(&'a self, name: &'a str) -> &'a str {
        self.sources.get(name).and_then(|source| source.path.as_deref()).unwrap_or(name)
    }

    /// What reports call the kernel `stem`: its name, or the path of the user's file that it runs or includes.
    pub fn whose(&self, stem: &str) -> String {
        if self.sources.values().all(|source| source.path.is_none()) {
            return stem.to_owned();
        }
        let file = format!("{stem}.vasm");
        let mut theirs = self.texts_of(&file).into_iter().filter_map(|name| self.sources.get(name)?.path.clone());
        match self.sources.get(&file).and_then(|source| source.path.clone()) {
            Some(path) => path,
            None => theirs.next().map_or_else(|| stem.to_owned(), |path| format!("{stem} with {path}")),
        }
    }

    /// Paths of the user's files.
    pub fn user_files(&self) -> Vec<&str> {
        self.sources.values().filter_map(|source| source.path.as_deref()).collect()
    }

    /// The user's files, and how many of the `steps` (their kernels) each is part of.
    pub fn replaced(&self, steps: &[&str]) -> Vec<Replaced> {
        let theirs = self.sources.iter().filter_map(|(name, source)| Some((name, source.path.clone()?)));
        let part_of = |name: &str, stem: &&&str| self.texts_of(&format!("{stem}.vasm")).contains(name);
        theirs
            .map(|(name, path)| {
                let steps = steps.iter().filter(|stem| part_of(name, stem)).count();
                Replaced { name: name.clone(), path, steps }
            })
            .collect()
    }

    /// A file and all that it includes.
    fn texts_of<'a>(&'a self, file: &str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = vec![file];
        while let Some(next) = open.pop() {
            let Some((name, source)) = self.sources.get_key_value(next) else { continue };
            if reached.insert(name.as_str()) {
                let included = source.text.lines().filter_map(|line| line.trim_start().strip_prefix(".include"));
                open.extend(included.filter_map(|rest| rest.split('"').nth(1)));
            }
        }
        reached
    }
}

fn unknown(path: &str, name: &str) -> Error {
    let error = Error::bad_input(match name.ends_with(".inc") {
        true => "no kernel includes this file, so it would change nothing",
        false => "the kernel library has no file of this name, so it would replace nothing",
    });
    let names = || BUILTIN.iter().map(|(name, _)| *name);
    let help = match did_you_mean(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the library has {}", names().collect::<Vec<_>>().join(", ")),
    };
    error.in_file(path).code("E0406").help(help)
}

fn read(path: &Path) -> Result<String> {
    let wrong = |what: String| Error::bad_input(what).in_file(path.display().to_string());
    let meta = std::fs::metadata(path).map_err(|e| wrong(format!("the kernel cannot be read: {e}")))?;
    if !meta.is_file() || meta.len() > LONGEST_BYTES {
        return Err(wrong(format!("a kernel is a text of at most {LONGEST_BYTES} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|e| wrong(format!("the kernel cannot be read: {e}")))?;
    String::from_utf8(bytes).map_err(|_| wrong("a kernel is a text in UTF-8".into()))
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

    #[test]
    fn files_of_a_folder_stand_in_place_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("rows.inc", "# theirs\n.include \"own.inc\"\n");
        put("own.inc", "# helper\n");
        put("softmax.vasm", "ret\n");
        put("notes.md", "ignored");
        let kernels = Kernels::with_folder(folder.path()).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(kernels.source("softmax.vasm"), Some("ret\n"));
        assert_eq!(kernels.path("softmax.vasm"), path("softmax.vasm"));
        assert_eq!((kernels.path("cast.vasm"), kernels.whose("meanpool")), ("cast.vasm", "meanpool".to_owned()));
        assert_eq!(kernels.whose("softmax"), path("softmax.vasm"));
        assert_eq!(kernels.whose("cast"), format!("cast with {}", path("own.inc")));
        let steps = ["softmax", "cast", "rope", "meanpool"];
        let replaced: Vec<_> = kernels.replaced(&steps).into_iter().map(|file| (file.name, file.steps)).collect();
        assert_eq!(replaced, [("own.inc".into(), 2), ("rows.inc".into(), 2), ("softmax.vasm".into(), 1)]);
    }

    #[test]
    fn a_folder_that_replaces_nothing_is_refused() {
        let refused = |name: &str| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(name), "ret\n").unwrap();
            Kernels::with_folder(folder.path()).unwrap_err()
        };
        let error = refused("softmx.vasm").render(false);
        assert!(error.contains("softmx.vasm") && error.contains("did you mean `softmax.vasm`?"), "{error}");
        assert!(refused("row.inc").render(false).contains("did you mean `rows.inc`?"));
        assert!(refused("readme.md").message().contains("has no kernel"));
        assert!(Kernels::with_folder(Path::new("no/such/folder")).is_err());
    }
}
