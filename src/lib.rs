//! x
pub use livecode_core::*;
