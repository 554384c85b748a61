//! The facade.
/// The virtual processing unit.
pub struct Vpu;
