//! Reports: tables for the terminal, CSV, JSON, charts and a self-contained HTML page, all from [`RunSummary`] alone;
//! pictures of formats and of what [`crate::look`] found.

pub mod charts;
pub mod csv;
mod folder;
mod html;
pub mod isa;
mod npy;
mod picture;
mod scratch;
pub mod story;
pub mod table;
pub mod terminal;
pub mod trace;
pub mod units;
pub mod validate;
pub mod workload;

pub use folder::{Artifact, Report, headline, refuse};
pub use npy::npy;
pub use picture::save;
pub use scratch::{Scratch, give_up};

pub use crate::vpu::summary::RunSummary;
