//! The facade.

pub mod summary;

/// The virtual processing unit.
pub struct Vpu;
