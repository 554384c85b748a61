//! One chart into files, each written beside its place and moved there.

use std::path::Path;

use super::charts::{Chart, kit};
use super::html::standalone;
use crate::diag::{Error, Result};

/// Writes a chart as what the file's ending says: `.svg`, `.png`, `.csv` (the plotted points) or `.html`.
///
/// # Errors
/// Usage for another ending or a place that cannot be written; Internal if the chart cannot be drawn.
pub fn save(chart: &Chart, path: &Path) -> Result<()> {
    let shown = path.display().to_string();
    let failed = |e: std::io::Error| Error::usage(format!("cannot be written: {e}")).in_file(shown.as_str());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.partial-{}", std::process::id()));
    let written = match path.extension().and_then(|end| end.to_str()) {
        Some("svg") => std::fs::write(&partial, standalone(&kit::svg(&chart.drawing)?)).map_err(failed),
        Some("html") => std::fs::write(&partial, page(chart)?).map_err(failed),
        Some("csv") => std::fs::write(&partial, &chart.csv).map_err(failed),
        Some("png") => {
            let drawn = path.with_file_name(format!(".{name}.partial-{}.png", std::process::id()));
            kit::write_png(&chart.drawing, &drawn)
                .map_err(|e| Error::usage(e.message().to_string()).in_file(shown.as_str()))
                .and_then(|()| std::fs::rename(&drawn, &partial).map_err(failed))
        }
        _ => Err(Error::usage("a picture ends in .svg, .png, .csv or .html").in_file(shown.as_str())),
    };
    let moved = written.and_then(|()| std::fs::rename(&partial, path).map_err(failed));
    if moved.is_err() {
        // The error at hand says more than a failed clean-up would.
        let _ = std::fs::remove_file(&partial);
    }
    moved
}

/// The chart alone on a page, with its points behind a fold.
fn page(chart: &Chart) -> Result<String> {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em auto; max-width: 960px }} svg {{ width: 100%; height: auto }}</style>\n\
         </head><body>\n{}\n<details><summary>The points</summary><pre>{}</pre></details>\n</body></html>\n",
        escape(&chart.title),
        kit::svg(&chart.drawing)?,
        escape(&chart.csv)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_kind() {
        let chart = Chart {
            name: "c".into(),
            title: "a < b".into(),
            drawing: kit::Drawing::new(20.0, 10.0),
            csv: "x,y\n".into(),
        };
        let folder = tempfile::tempdir().unwrap();
        for (end, start) in [("svg", "<svg"), ("html", "<!doctype html>"), ("csv", "x,y"), ("png", "\u{fffd}PNG")] {
            let path = folder.path().join(format!("c.{end}"));
            save(&chart, &path).unwrap();
            assert!(String::from_utf8_lossy(&std::fs::read(&path).unwrap()).starts_with(start), "{end}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "nothing half-written stays");
        for bad in ["c.gif", "no/folder/c.svg", "no/folder/c.png"] {
            let error = save(&chart, &folder.path().join(bad)).unwrap_err();
            assert_eq!(error.kind(), crate::diag::Kind::Usage, "{bad}");
        }
    }
}
