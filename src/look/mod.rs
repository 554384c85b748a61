//! Looking at precision: what is in a model's tensors, what a format does to them, and a model written out in a policy's
//! formats. Everything here is figures; `report` draws them and `cli` prints them.

mod histogram;
mod ideal;
mod inspect;
mod measure;
mod quantise;
mod sensitivity;

pub use histogram::{Histogram, histogram};
pub use inspect::{INSPECT_SCHEMA, Inspection, TensorRow, Totals, inspect};
pub use measure::{code_counts, cosine, entropy_bits, relative_l2, sqnr_db};
pub use quantise::{Plan, QUANTISED_SCHEMA, Quantised, QuantisedRow, Step, plan, write};
pub use sensitivity::{
    Cell, Distance, FormatRow, LayerRow, Options, SENSITIVITY_SCHEMA, Sensitivity, sensitivity, weight_types,
};
