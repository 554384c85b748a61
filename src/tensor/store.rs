//! In which layout a tensor's codes are kept, and what that costs.

use super::layout::entropy::Coded;
use super::layout::sparse::{Order, Sparse};
use super::layout::{Layout, Matrix};
use super::{Tensor, rows_cols};
use crate::diag::{Error, Result, did_you_mean};
use crate::num::FormatRef;

/// How codes are kept where they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A layout of one size whatever the values.
    Fixed(Layout),
    /// Entropy-coded tiles of whole rows.
    Entropy,
    /// Non-zero codes and their places, by rows or columns.
    Sparse(Order),
}

impl Default for Store {
    fn default() -> Self {
        Store::Fixed(Layout::Dense)
    }
}

impl Store {
    /// Every store.
    pub const ALL: [Store; 7] = [
        Store::Fixed(Layout::Dense),
        Store::Fixed(Layout::Planes),
        Store::Fixed(Layout::Trits5),
        Store::Fixed(Layout::Quints3),
        Store::Entropy,
        Store::Sparse(Order::Rows),
        Store::Sparse(Order::Columns),
    ];

    /// Name in policies and reports.
    pub fn name(self) -> &'static str {
        match self {
            Store::Fixed(layout) => layout.name(),
            Store::Entropy => "entropy",
            Store::Sparse(Order::Rows) => "csr",
            Store::Sparse(Order::Columns) => "csc",
        }
    }

    /// The store called `name`.
    ///
    /// # Errors
    /// BadInput for an unknown name.
    pub fn by_name(name: &str) -> Result<Store> {
        Store::ALL.into_iter().find(|store| store.name() == name).ok_or_else(|| {
            let names = Store::ALL.map(Store::name);
            let near = did_you_mean(name, names).map_or(String::new(), |near| format!("did you mean `{near}`? "));
            Error::bad_input(format!("unknown layout `{name}`")).help(format!("{near}one of {}", names.join(", ")))
        })
    }

    /// Bytes that the codes of `rows` x `cols` dense packed elements take.
    ///
    /// # Errors
    /// Unsupported where the layout does not serve the format.
    pub fn bytes(self, format: FormatRef, (rows, cols): (usize, usize), dense: &[u8]) -> Result<usize> {
        match self {
            Store::Fixed(layout) => layout.bytes(&Matrix { format, rows, cols }),
            Store::Entropy => Ok(coded(format, (rows, cols), dense)?.stored_bytes()),
            Store::Sparse(order) => Ok(Sparse::of_rows(order, format, rows, cols, dense)?.stored_bytes()),
        }
    }
}

/// The entropy-coded form of dense packed rows, in tiles of whole rows.
///
/// # Errors
/// Unsupported for codes of more than 8 bits.
pub fn coded(format: FormatRef, (rows, cols): (usize, usize), dense: &[u8]) -> Result<Coded> {
    Coded::of_rows(format, rows, cols, dense, Coded::tile_of_rows(cols))
}

impl Tensor {
    /// The same tensor, its codes kept in another layout. Planes of signs are stored dense only.
    ///
    /// # Errors
    /// Unsupported, naming type and layout.
    pub fn stored(mut self, store: Store) -> Result<Tensor> {
        let (rows, cols) = rows_cols(&self.shape);
        if self.ty.planes > 1 && store != Store::default() {
            return Err(Error::unsupported(format!(
                "{} has no layout {}: it is planes already",
                self.ty,
                store.name()
            )));
        }
        if store == Store::default() {
            self.store = (store, self.payload.len());
        } else {
            self.store = (store, store.bytes(self.ty.format, (rows, cols), &self.payload)?);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorType;

    #[test]
    fn stores_are_named_and_counted() {
        let ty = TensorType::parse("ternary").unwrap();
        let values: Vec<f32> = (0..640).map(|i| if i % 7 == 0 { 1.0 } else { 0.01 }).collect();
        let dense = Tensor::quantise(vec![10, 64], &values, ty).unwrap();
        assert_eq!(dense.bytes(), 10 * 16 + 4);
        for store in Store::ALL {
            assert_eq!(Store::by_name(store.name()).unwrap(), store);
        }
        let bytes = |name: &str| dense.clone().stored(Store::by_name(name).unwrap()).map(|t| t.bytes());
        assert_eq!(bytes("trits5").unwrap(), 10 * 13 + 4);
        assert_eq!(bytes("planes").unwrap(), 10 * 16 + 4);
        assert!(bytes("entropy").unwrap() < bytes("dense").unwrap());
        assert_eq!(bytes("quints3").unwrap_err().kind(), crate::diag::Kind::Unsupported);
        assert!(Store::by_name("zip").unwrap_err().help_text().unwrap().contains("entropy"));
        let colour = Tensor::quantise(vec![10, 64], &values, TensorType::parse("colour2").unwrap()).unwrap();
        assert!(colour.stored(Store::Entropy).unwrap_err().message().contains("colour2 has no layout entropy"));
    }
}
