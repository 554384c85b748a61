//! A run that is watched goes instruction by instruction, values and time together: what every quicker way is held to.

use preon::exec::event::Event;
use preon::sim::observe::{Observer, Times};

/// Watches, and does nothing else.
pub struct Watched;

impl Observer for Watched {
    const WANTED: bool = true;
    fn record(&mut self, _: &Event, _: &Times) {}
}
