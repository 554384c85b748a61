//! The run folder: everything a report leaves behind, written to a temporary place and moved there when complete.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::scratch::Scratch;
use crate::diag::{Error, Result};
use crate::report::{RunSummary, charts, csv, html, story};
use crate::sim::history::History;
use crate::vpu::summary;

/// A file of the folder beyond what the summaries give: resolved machines, policies, programs, outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Path inside the folder, with `/` between parts.
    pub path: String,
    /// Contents.
    pub bytes: Vec<u8>,
}

impl Artifact {
    /// An artifact of text.
    pub fn text(path: impl Into<String>, text: impl Into<String>) -> Self {
        Artifact { path: path.into(), bytes: text.into().into_bytes() }
    }
}

/// A report to be written.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The runs, in the order of the tables.
    pub runs: &'a [RunSummary],
    /// The command that makes this report again; must not depend on time or host.
    pub command: &'a str,
    /// Contents of manifest.json: the only place for times, versions and the host.
    pub manifest: serde_json::Value,
    /// Further files.
    pub artifacts: &'a [Artifact],
    /// What the runs did over time, in their order, where it was kept.
    pub histories: &'a [Option<&'a History>],
}

/// The file that marks a folder as ours.
const MARK: &str = "summary.json";

/// Everything that stands at the top of a report; an older report holds nothing else, or it is left alone.
const OURS: [&str; 18] = [
    "charts",
    "check.csv",
    "energy.csv",
    "layers.csv",
    "machine.toml",
    "machines",
    "manifest.json",
    "memory.csv",
    "outputs",
    "policies",
    "policy.toml",
    "prices.csv",
    "program.s",
    "programs",
    "report.html",
    "runs.csv",
    "stalls.csv",
    "summary.json",
];

/// What the folders of a report hold, by their names' ends.
const INSIDE: [&str; 6] = ["csv", "npy", "png", "s", "svg", "toml"];

/// Says beforehand whether a report may be written to `folder`: there is nothing yet, or an older report and nothing else.
///
/// # Errors
/// Usage if it may not.
pub fn refuse(folder: &Path) -> Result<()> {
    place(folder, MARK, &OURS).map(|_| ())
}

impl Report<'_> {
    /// Writes the folder. An older report at the same place is replaced; anything else there is left alone.
    ///
    /// # Errors
    /// Usage if `folder` exists and is not a report, or cannot be written; Internal if a chart fails.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let folder = &place(folder, MARK, &OURS)?;
        let scratch = Scratch::beside(folder);
        self.write_files(scratch.path())?;
        scratch.replace(folder).map_err(|error| cannot_write(folder, &error))
    }

    fn write_files(&self, folder: &Path) -> Result<()> {
        let put = |path: &str, bytes: &[u8]| {
            let path = folder.join(path);
            let parent = path.parent().unwrap_or(folder);
            fs::create_dir_all(parent).and_then(|()| fs::write(&path, bytes)).map_err(|e| cannot_write(&path, &e))
        };
        put("charts/README.txt", b"SVG and PNG of every chart of report.html, and the plotted points as CSV.\n")?;
        let mut charts = charts::all(self.runs);
        charts.extend(charts::over_time_of(self.runs, self.histories));
        let mut pictures = Vec::new();
        for chart in &charts {
            let svg = charts::kit::svg(&chart.drawing)?;
            put(&format!("charts/{}.svg", chart.name), html::standalone(&svg).as_bytes())?;
            put(&format!("charts/{}.csv", chart.name), chart.csv.as_bytes())?;
            charts::kit::write_png(&chart.drawing, &folder.join(format!("charts/{}.png", chart.name)))?;
            pictures.push((chart, svg));
        }
        put("report.html", html::page(self.runs, &pictures, self.command)?.as_bytes())?;
        put(MARK, summary::to_json(self.runs)?.as_bytes())?;
        put("manifest.json", format!("{:#}\n", self.manifest).as_bytes())?;
        put("runs.csv", csv::runs(self.runs).as_bytes())?;
        put("layers.csv", csv::layers(self.runs).as_bytes())?;
        put("energy.csv", csv::energy(self.runs).as_bytes())?;
        put("prices.csv", csv::prices(self.runs).as_bytes())?;
        put("memory.csv", csv::memory(self.runs).as_bytes())?;
        put("stalls.csv", csv::stalls(self.runs).as_bytes())?;
        put("check.csv", csv::check(self.runs).as_bytes())?;
        self.artifacts.iter().try_for_each(|artifact| put(&artifact.path, &artifact.bytes))
    }
}

/// The first line of a report in words, for the terminal.
pub fn headline(runs: &[RunSummary]) -> String {
    story::focus(runs).map_or_else(|| "no runs".into(), story::verdict)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::usage(format!("cannot write the report: {error}")).in_file(path.display().to_string())
}

/// Writes two files as a report of their own, of which the first is the mark, under the rules of [`Report::write`].
pub(super) fn write_pair(folder: &Path, files: [(&str, &str); 2]) -> Result<()> {
    let folder = &place(folder, files[0].0, &files.map(|(name, _)| name))?;
    let scratch = Scratch::beside(folder);
    fs::create_dir_all(scratch.path())
        .and_then(|()| files.iter().try_for_each(|(name, text)| fs::write(scratch.path().join(name), text)))
        .and_then(|()| scratch.replace(folder))
        .map_err(|error| cannot_write(folder, &error))
}

/// Where a report of the files `ours`, marked by `mark`, goes that is asked to be written to `folder`: links are followed.
///
/// # Errors
/// Usage if there is anything but an older one.
pub(super) fn place(folder: &Path, mark: &str, ours: &[&str]) -> Result<PathBuf> {
    if folder.as_os_str().is_empty() {
        return Err(Error::usage("-o names no folder").help("give the path of a folder, or `-` for no report"));
    }
    let real = match fs::canonicalize(folder) {
        Ok(real) => real,
        Err(_) if folder.is_symlink() => {
            return Err(Error::usage("this link leads nowhere").in_file(folder.display().to_string()));
        }
        Err(_) => return Ok(folder.to_path_buf()),
    };
    let refused = |path: &Path, text: &str, help: &str| {
        Err(Error::usage(text).in_file(path.display().to_string()).help(format!("{help}choose another folder with -o")))
    };
    let empty = fs::read_dir(&real).is_ok_and(|mut entries| entries.next().is_none());
    if !real.is_dir() || (!empty && !is_marked(&real.join(mark))) {
        return refused(folder, "this is no report of Preon, so it is not overwritten", "");
    }
    if std::env::current_dir().is_ok_and(|here| here.starts_with(&real)) {
        return refused(folder, "a report replaces its folder as a whole, and this one is in use", "");
    }
    match foreign(&real, Some(ours)) {
        None => Ok(real),
        Some(path) => {
            let text = "this was added to a report of Preon, so the report is not overwritten";
            refused(&folder.join(path), text, "move it, or ")
        }
    }
}

/// The first thing in a report's folder that no report has there: at the `top` by its name, below by its ending. Files and
/// folders stand for themselves, links for nothing of ours.
fn foreign(folder: &Path, top: Option<&[&str]>) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).ok()?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    entries.iter().find_map(|entry| {
        let (name, kind) = (entry.file_name(), entry.file_type().ok()?);
        let text = name.to_string_lossy();
        let end = text.rsplit_once('.').map_or("", |(_, end)| end);
        let known = match top {
            Some(ours) => ours.contains(&text.as_ref()) && kind.is_dir() == end.is_empty(),
            None => kind.is_dir() || INSIDE.contains(&end) || text == "README.txt",
        };
        match known {
            true if kind.is_dir() => foreign(&entry.path(), None).map(|path| Path::new(&name).join(path)),
            true if kind.is_file() => None,
            _ => Some(PathBuf::from(&name)),
        }
    })
}

/// True of a file that begins as every report does: with the name of its schema, the first of a list perhaps.
fn is_marked(path: &Path) -> bool {
    let mut first = Vec::new();
    let mut read = || fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut first));
    if !path.is_file() || read().is_err() {
        return false;
    }
    first.retain(|byte| !byte.is_ascii_whitespace());
    first.strip_prefix(b"[").unwrap_or(&first).starts_with(b"{\"schema\":\"preon.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpu::summary::sample;

    fn report(runs: &[RunSummary]) -> Report<'_> {
        Report {
            runs,
            command: "preon demo",
            manifest: serde_json::json!({"schema": "preon.manifest/1"}),
            artifacts: &[],
            histories: &[],
        }
    }

    fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut out = Vec::new();
        for sub in ["", "charts"] {
            for entry in fs::read_dir(folder.join(sub)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    out.push((path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()));
                }
            }
        }
        out.sort();
        out
    }

    #[test]
    fn a_pair_of_files_replaces_its_like_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("out");
        let put = |text| {
            let json = format!("{{\n  \"schema\": \"preon.test/{text}\"\n}}\n");
            write_pair(&folder, [("a.json", json.as_str()), ("a.csv", text)])
        };
        put("1").unwrap();
        put("2").unwrap();
        assert_eq!(fs::read_to_string(folder.join("a.csv")).unwrap(), "2");
        fs::write(folder.join("mine.txt"), "").unwrap();
        assert!(put("3").unwrap_err().to_string().contains("mine.txt"));
        fs::remove_file(folder.join("mine.txt")).unwrap();
        fs::remove_file(folder.join("a.csv")).unwrap();
        fs::create_dir(folder.join("a.csv")).unwrap();
        assert!(put("3").unwrap_err().to_string().contains("a.csv: this was added"));
        assert!(fs::read_to_string(folder.join("a.json")).unwrap().contains("preon.test/2"));
        for other in ["", "mine", "{\"mine\": 1}", "{\"schema\": \"other/1\"}"] {
            fs::write(folder.join("a.json"), other).unwrap();
            assert!(put("3").unwrap_err().to_string().contains("no report of Preon"), "{other}");
        }
        fs::remove_file(folder.join("a.json")).unwrap();
        assert!(put("3").unwrap_err().to_string().contains("no report of Preon"));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_reports_of_the_same_runs_are_equal_and_replace_each_other() {
        let runs = sample::two_machines();
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("out");
        report(&runs).write(&folder).unwrap();
        let first = files(&folder);
        report(&runs).write(&folder).unwrap();
        assert_eq!(first, files(&folder));
        let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["report.html", "summary.json", "manifest.json", "layers.csv", "roofline.png", "roofline.svg"] {
            assert!(names.contains(&name), "{name} is missing in {names:?}");
        }
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1, "nothing half-written stays behind");
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let runs = sample::runs();
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("thesis.txt"), "years of work").unwrap();
        let error = report(&runs).write(base.path()).unwrap_err();
        assert_eq!(error.kind(), crate::diag::Kind::Usage);
        assert!(base.path().join("thesis.txt").exists() && !base.path().join("summary.json").exists());
    }

    #[test]
    fn a_report_with_something_added_is_left_alone() {
        let runs = sample::runs();
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("out");
        report(&runs).write(&folder).unwrap();
        fs::write(folder.join("notes.txt"), "what I saw").unwrap();
        let error = report(&runs).write(&folder).unwrap_err();
        assert_eq!(error.kind(), crate::diag::Kind::Usage);
        assert!(error.to_string().contains("notes.txt"), "{error}");
        assert!(folder.join("notes.txt").exists());
        fs::rename(folder.join("notes.txt"), folder.join("charts/notes.txt")).unwrap();
        assert!(refuse(&folder).unwrap_err().to_string().contains("charts/notes.txt"));
        fs::remove_file(folder.join("charts/notes.txt")).unwrap();
        refuse(&folder).unwrap();
        assert!(report(&runs).write(Path::new("")).unwrap_err().to_string().contains("names no folder"));
    }

    #[test]
    #[cfg(unix)]
    fn links_are_followed_and_never_replaced() {
        use std::os::unix::fs::symlink;
        let runs = sample::runs();
        let base = tempfile::tempdir().unwrap();
        let [real, link, lost] = ["real", "link", "lost"].map(|name| base.path().join(name));
        report(&runs).write(&real).unwrap();
        symlink(&real, &link).unwrap();
        symlink(base.path().join("nowhere"), &lost).unwrap();
        report(&runs).write(&link).unwrap();
        assert!(link.is_symlink() && real.join(MARK).is_file());
        assert!(report(&runs).write(&lost).unwrap_err().to_string().contains("leads nowhere"));
        fs::remove_file(real.join("runs.csv")).unwrap();
        symlink(base.path().join("mine.csv"), real.join("runs.csv")).unwrap();
        assert!(report(&runs).write(&link).unwrap_err().to_string().contains("runs.csv: this was added"));
    }
}
