//! A value that is worked out when it is first asked for.

use std::fmt;
use std::sync::OnceLock;

/// A cell that is filled once. Whether it is filled already is no part of what its owner is, so `Debug` does not tell.
#[derive(Clone)]
pub struct Lazy<T>(OnceLock<T>);

impl<T> Lazy<T> {
    /// An empty one.
    pub const fn new() -> Lazy<T> {
        Lazy(OnceLock::new())
    }
    /// The value, found by `find` if nobody has asked for it before.
    pub fn get_or_init(&self, find: impl FnOnce() -> T) -> &T {
        self.0.get_or_init(find)
    }
}

impl<T> Default for Lazy<T> {
    fn default() -> Self {
        Lazy::new()
    }
}

impl<T> fmt::Debug for Lazy<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Lazy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_once_and_does_not_show() {
        let lazy = Lazy::new();
        let empty = format!("{lazy:?}");
        assert_eq!((*lazy.get_or_init(|| 7), *lazy.get_or_init(|| 8)), (7, 7));
        assert_eq!((format!("{lazy:?}"), *lazy.clone().get_or_init(|| 9)), (empty, 7));
    }
}
