//! `preon inspect`: what is in the tensors of a model.

use super::{args, out, pictures};
use crate::diag::{Error, Result, did_you_mean};
use crate::look::{self, Inspection, TensorRow};
use crate::model::Tensors;
use crate::policy::Glob;
use crate::report::{Artifact, charts, csv, table, units};
use crate::tensor::TensorType;

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: builtin:NAME, a folder, or a .safetensors file
    #[arg(value_name = "MODEL")]
    model: String,
    /// Only tensors whose name matches, for example 'encoder.layer.0.*weight'
    #[arg(long, value_name = "GLOB")]
    filter: Option<String>,
    /// Order of the rows
    #[arg(long, value_name = "KEY", default_value = "model")]
    sort: Sort,
    /// Draw the values of this tensor with the grid of a format over them
    #[arg(long, value_name = "TENSOR")]
    histogram: Option<String>,
    /// The format of the histogram: FORMAT, FORMAT/tensor, FORMAT/row or FORMAT/blockN
    #[arg(short = 'p', long = "format-of-grid", value_name = "TYPE", default_value = "int4", requires = "histogram")]
    grid: String,
    #[command(flatten)]
    pictures: pictures::Pictures,
    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: args::Format,
}

/// What rows are ordered by, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// As the model has them
    Model,
    /// Number of elements
    Elements,
    /// Largest magnitude
    Absmax,
    /// Largest magnitude in standard deviations
    Sigmas,
    /// Share beyond 6 standard deviations
    Outliers,
    /// Kurtosis
    Kurtosis,
    /// Share of zeros
    Zeros,
}

/// Looks, prints, draws.
pub fn run(args: &Args) -> Result<()> {
    let mut tensors = Tensors::open(&args.model)?;
    if let Some(name) = &args.histogram {
        return histogram(args, &mut tensors, name);
    }
    let filter = args.filter.as_deref().map(Glob::parse).transpose()?;
    let bar = out::bar(tensors.list().len());
    let mut found = look::inspect(&mut tensors, filter.as_ref(), &mut |name| {
        bar.set_message(name.to_string());
        bar.inc(1);
    })?;
    bar.finish_and_clear();
    let key = |row: &TensorRow| match args.sort {
        Sort::Model => None,
        Sort::Elements => Some(row.elements as f64),
        Sort::Absmax => row.absmax.map(f64::from),
        Sort::Sigmas => row.absmax_sigmas,
        Sort::Outliers => Some(row.outliers),
        Sort::Kurtosis => row.kurtosis,
        Sort::Zeros => Some(row.zeros),
    };
    let key = |row: &TensorRow| key(row).unwrap_or(f64::NEG_INFINITY);
    found.tensors.sort_by(|a, b| key(b).total_cmp(&key(a)));
    let json =
        || serde_json::to_string_pretty(&found).map(|text| text + "\n").map_err(|e| Error::internal(e.to_string()));
    args.pictures.save(&[], &[Artifact::text("inspect.json", json()?), Artifact::text("inspect.csv", rows(&found))])?;
    out::data(&match args.format {
        args::Format::Json => json()?,
        args::Format::Csv => rows(&found),
        args::Format::Table => people(&found),
    })
}

/// The table for people.
fn people(found: &Inspection) -> String {
    let header = [
        "tensor", "shape", "type", "min", "max", "mean", "std", "max/σ", ">6σ", "kurtosis", "zeros", "H tern", "H int8",
    ];
    let number = |v: Option<f64>| v.map_or("–".to_string(), units::digits);
    let share = |v: f64| if v == 0.0 { "0".to_string() } else { units::percent(v) };
    let row = |t: &TensorRow| {
        let shape: Vec<String> = t.shape.iter().map(ToString::to_string).collect();
        vec![
            t.name.clone(),
            shape.join("×"),
            t.dtype.clone(),
            number(t.min.map(f64::from)),
            number(t.max.map(f64::from)),
            number(t.mean),
            number(t.std),
            number(t.absmax_sigmas),
            if t.outliers > 0.0 { format!("{:.1e}", t.outliers) } else { "0".into() },
            number(t.kurtosis),
            share(t.zeros),
            number(t.ternary_entropy_bits),
            number(t.int8_entropy_bits),
        ]
    };
    let rows: Vec<Vec<String>> = found.tensors.iter().map(row).collect();
    let totals = &found.totals;
    let mut text = table::render(&header, &rows, &[3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    text += &format!(
        "{} tensors, {} elements, {}; {} zeros\n",
        totals.tensors,
        units::count(totals.elements),
        units::bytes(totals.bytes),
        units::count(totals.zeros)
    );
    if totals.not_finite > 0 {
        text += &format!("{} values are NaN or infinite and left out of the figures\n", totals.not_finite);
    }
    text + "H is the entropy of the codes in bits a weight: ternary (absmean, a scale a tensor), int8 (absmax, a scale a row)\n"
}

/// The rows as CSV.
fn rows(found: &Inspection) -> String {
    let header = "tensor,shape,dtype,elements,bytes,min,max,absmax,mean,std,absmax_sigmas,outliers,kurtosis,zeros,not_finite,\
         ternary_entropy_bits,int8_entropy_bits";
    let row = |t: &TensorRow| {
        vec![
            t.name.clone(),
            csv::shape(&t.shape),
            t.dtype.clone(),
            t.elements.to_string(),
            t.bytes.to_string(),
            csv::number(t.min),
            csv::number(t.max),
            csv::number(t.absmax),
            csv::number(t.mean),
            csv::number(t.std),
            csv::number(t.absmax_sigmas),
            t.outliers.to_string(),
            csv::number(t.kurtosis),
            t.zeros.to_string(),
            t.not_finite.to_string(),
            csv::number(t.ternary_entropy_bits),
            csv::number(t.int8_entropy_bits),
        ]
    };
    csv::table(header, found.tensors.iter().map(row))
}

fn histogram(args: &Args, tensors: &mut Tensors, name: &str) -> Result<()> {
    let ty = TensorType::parse(&args.grid)?;
    let Some(at) = tensors.list().iter().position(|info| info.name == name) else {
        let near = did_you_mean(name, tensors.list().iter().map(|info| info.name.as_str()));
        let help =
            near.map_or("`preon inspect MODEL` lists them".to_string(), |near| format!("did you mean `{near}`?"));
        return Err(Error::bad_input(format!("there is no tensor `{name}`")).in_file(tensors.spec()).help(help));
    };
    let info = tensors.list()[at].clone();
    let values = tensors.values(at)?;
    let found = look::histogram(name, &info.shape, &values, ty).map_err(|e| e.at(tensors.place(at)))?;
    let chart = charts::histogram::chart(&found);
    args.pictures.save(std::slice::from_ref(&chart), &[])?;
    match args.format {
        args::Format::Table => out::data(&charts::histogram::text(&found)),
        args::Format::Csv => out::data(&chart.csv),
        args::Format::Json => {
            let json = serde_json::json!({
                "schema": "preon.histogram/1",
                "tensor": found.tensor,
                "type": found.ty,
                "unit": found.unit,
                "from": found.range.0,
                "to": found.range.1,
                "counts": found.counts,
                "levels": found.levels,
                "clipped": found.clipped,
                "sqnr_db": found.sqnr_db,
            });
            out::data(&format!("{json:#}\n"))
        }
    }
}
