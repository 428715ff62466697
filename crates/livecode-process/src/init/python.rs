//! What makes CPython's end cheaper and can't be seen.

/// Called before the wait.
pub(crate) fn prepare() {}
