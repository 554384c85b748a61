//! Reports: tables for the terminal, CSV, JSON, charts and a self-contained HTML page, all from [`RunSummary`] alone.

pub mod charts;
pub mod csv;
mod folder;
mod html;
mod npy;
pub mod story;
pub mod table;
pub mod units;

pub use folder::{Artifact, Report, headline};
pub use npy::npy;

pub use crate::vpu::summary::RunSummary;
