//! Where an execution comes from, for logs and traces.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The request that an execution comes from, so that the lines and spans of whoever runs it, wherever that is, can be found
/// from the request and the other way round. Kept with what was asked; it changes nothing of what is run, and no part in
/// whether a repeated request is the same.
///
/// ```
/// use livecode_core::{ExecutionSpec, Trace};
///
/// let mut spec = ExecutionSpec::new("python", "print(1)");
/// spec.trace = Trace { request_id: Some("7f3a".into()), ..Trace::default() };
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// What the request is called: see [`Trace::is_request_id`]. The field `request_id` of the span of each attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The span that each attempt belongs under, as the `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/):
    /// see [`Trace::is_traceparent`]. [`Worker::join_traces`](crate::Worker::join_traces) hands it to the host's tracer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl Trace {
    /// The most characters of a request id.
    pub const MAX_REQUEST_ID: usize = 128;

    /// Whether this can be a request id: 1 to 128 characters of visible ASCII, so that it's one word of one line.
    ///
    /// ```
    /// use livecode_core::Trace;
    ///
    /// assert!(Trace::is_request_id("01J-7f3a/2"));
    /// assert!(!Trace::is_request_id("two words") && !Trace::is_request_id(""));
    /// ```
    pub fn is_request_id(text: &str) -> bool {
        (1..=Self::MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// Whether this is a `traceparent` of version 00: `00-TRACE-SPAN-FLAGS`, 32, 16 and 2 hexadecimal digits in lower case, of
    /// which trace and span aren't zero.
    ///
    /// ```
    /// use livecode_core::Trace;
    ///
    /// assert!(Trace::is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    /// assert!(!Trace::is_traceparent("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
    /// ```
    pub fn is_traceparent(text: &str) -> bool {
        let is_hex = |part: &str, digits| {
            part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |part: &str, digits| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
        let mut parts = text.split('-');
        let mut next = || parts.next().unwrap_or_default();
        let is_valid = next() == "00" && is_id(next(), 32) && is_id(next(), 16) && is_hex(next(), 2);
        is_valid && parts.next().is_none()
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what isn't what it's said to be.
    pub(crate) fn check(&self) -> Result<()> {
        if self.request_id.as_deref().is_some_and(|id| !Self::is_request_id(id)) {
            return Err(Error::invalid(format!(
                "the request id isn't one: it has 1 to {} characters of visible ASCII",
                Self::MAX_REQUEST_ID
            )));
        }
        if self.traceparent.as_deref().is_some_and(|parent| !Self::is_traceparent(parent)) {
            return Err(Error::invalid(
                "the traceparent isn't one: it has the form 00-TRACE-SPAN-FLAGS of W3C Trace Context",
            ));
        }
        Ok(())
    }
}
