//! A file that exists when it is complete, and not before; compressed if its name says so.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::diag::{Error, Result};
use crate::report::scratch::Scratch;

/// Bytes gathered before they go further.
const BUFFER: usize = 1 << 16;

enum Sink {
    Plain(File),
    Gz(GzEncoder<File>),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Plain(file) => file.write(bytes),
            Sink::Gz(encoder) => encoder.write(bytes),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Plain(file) => file.flush(),
            Sink::Gz(encoder) => encoder.flush(),
        }
    }
}

/// The file on its way. What fails is kept and told at the end, because those who write have nobody to tell.
pub struct Growing {
    path: PathBuf,
    writer: Option<BufWriter<Sink>>,
    scratch: Scratch,
    error: Option<io::Error>,
}

impl Growing {
    /// Begins the file `path`, compressed if that ends in `.gz`.
    ///
    /// # Errors
    /// Usage if it is a folder, has another ending, or its folder cannot be written.
    pub fn begin(path: &Path) -> Result<Growing> {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        if !(name.ends_with(".json") || name.ends_with(".json.gz")) {
            return Err(Error::usage("a trace is JSON, plain or compressed")
                .in_file(path.display().to_string())
                .help("let its name end in .json or .json.gz"));
        }
        if path.is_dir() {
            return Err(Error::usage("is a folder, but a trace is a file").in_file(path.display().to_string()));
        }
        if path.symlink_metadata().is_ok() && !is_trace(path) {
            return Err(Error::usage("is there already, and no trace of Preon, so it is not overwritten")
                .in_file(path.display().to_string())
                .help("remove it, or choose another name"));
        }
        let scratch = Scratch::beside(path);
        let file = File::create(scratch.path()).map_err(|error| unwritten(path, &error))?;
        let sink = match name.ends_with(".gz") {
            true => Sink::Gz(GzEncoder::new(file, Compression::fast())),
            false => Sink::Plain(file),
        };
        let writer = Some(BufWriter::with_capacity(BUFFER, sink));
        Ok(Growing { path: path.to_path_buf(), scratch, writer, error: None })
    }

    /// Adds text.
    pub fn add(&mut self, text: &str) {
        if let (Some(writer), None) = (&mut self.writer, &self.error) {
            self.error = writer.write_all(text.as_bytes()).err();
        }
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// Usage if anything could not be written; nothing is left behind then.
    pub fn finish(mut self) -> Result<()> {
        let written = match self.error.take() {
            Some(error) => Err(error),
            None => self.close().and_then(|()| self.scratch.replace(&self.path)),
        };
        written.map_err(|error| unwritten(&self.path, &error))
    }

    fn close(&mut self) -> io::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        match writer.into_inner().map_err(io::IntoInnerError::into_error)? {
            Sink::Plain(mut file) => file.flush(),
            Sink::Gz(encoder) => encoder.finish()?.flush(),
        }
    }
}

/// How every trace begins.
pub(super) const HEAD: &str = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";

/// True of a file, and no link to one, that begins as a trace does, compressed or not.
fn is_trace(path: &Path) -> bool {
    let is_file = path.symlink_metadata().is_ok_and(|meta| meta.is_file());
    let Some(file) = is_file.then(|| File::open(path).ok()).flatten() else { return false };
    let mut head = vec![0; HEAD.len()];
    let read = match path.extension().is_some_and(|end| end == "gz") {
        true => GzDecoder::new(file).read_exact(&mut head),
        false => { file }.read_exact(&mut head),
    };
    read.is_ok() && head == HEAD.as_bytes()
}

fn unwritten(path: &Path, error: &io::Error) -> Error {
    Error::usage(format!("cannot write the trace: {error}")).in_file(path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_has_its_name_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.json", "a.json.gz"] {
            let path = folder.path().join(name);
            let mut file = Growing::begin(&path).unwrap();
            (0..20_000).for_each(|n| file.add(&format!("{n}\n")));
            assert!(!path.exists());
            file.finish().unwrap();
            let bytes = fs::read(&path).unwrap();
            let mut text = String::new();
            match name.ends_with("gz") {
                true => GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap(),
                false => (&bytes[..]).read_to_string(&mut text).unwrap(),
            };
            assert_eq!((text.lines().count(), text.lines().last()), (20_000, Some("19999")));
        }
        drop(Growing::begin(&folder.path().join("b.json")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "what was given up is gone");
    }

    #[test]
    fn bad_places_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (path, part) in [("a.txt", "JSON"), ("", "JSON"), ("no/such/a.json", "cannot write")] {
            let error = Growing::begin(&folder.path().join(path)).err().unwrap();
            assert_eq!(error.kind().exit_code(), 2);
            assert!(error.message().contains(part), "{error}");
        }
        for name in ["mine.json", "mine.json.gz"] {
            let path = folder.path().join(name);
            fs::write(&path, "mine").unwrap();
            assert!(Growing::begin(&path).err().unwrap().message().contains("no trace of Preon"));
            fs::remove_file(&path).unwrap();
            for _ in 0..2 {
                let mut file = Growing::begin(&path).unwrap();
                file.add(HEAD);
                file.finish().unwrap();
            }
        }
        fs::create_dir(folder.path().join("d.json")).unwrap();
        assert!(Growing::begin(&folder.path().join("d.json")).err().unwrap().message().contains("folder"));
    }
}
