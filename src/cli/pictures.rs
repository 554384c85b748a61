//! Where the pictures of a verb go: one file, or a folder with every chart and its figures.

use std::path::{Path, PathBuf};

use super::out;
use crate::diag::{Error, Result};
use crate::report::charts::Chart;
use crate::report::{Artifact, save};

/// Where pictures go.
#[derive(Debug, Clone, clap::Args)]
pub struct Pictures {
    /// Write the charts (SVG, PNG, their points as CSV) into this folder
    #[arg(short, long = "out", value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the chart into this file: .svg, .png, .html or .csv
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Pictures {
    /// Whether anything is to be written.
    pub fn wanted(&self) -> bool {
        self.out.is_some() || self.svg.is_some()
    }

    /// Writes the first chart to the file and all charts and further files into the folder; files of the same names are
    /// replaced, anything else there is left alone.
    ///
    /// # Errors
    /// Usage where something cannot be written; Internal if a chart cannot be drawn.
    pub fn save(&self, charts: &[Chart], files: &[Artifact]) -> Result<()> {
        if let (Some(path), Some(chart)) = (&self.svg, charts.first()) {
            save(chart, path)?;
            out::note(&format!("chart: {}", path.display()));
        }
        let Some(folder) = &self.out else { return Ok(()) };
        std::fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
        for chart in charts {
            for end in ["svg", "png", "csv"] {
                save(chart, &folder.join(format!("{}.{end}", chart.name)))?;
            }
        }
        for file in files {
            let (path, partial) = (folder.join(&file.path), folder.join(format!(".{}.partial", file.path)));
            std::fs::write(&partial, &file.bytes)
                .and_then(|()| std::fs::rename(&partial, &path))
                .map_err(|e| failed(&path, &e))?;
        }
        out::note(&format!("charts: {}", folder.display()));
        Ok(())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::usage(format!("cannot be written: {error}")).in_file(path.display().to_string())
}
