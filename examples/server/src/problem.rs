//! Errors as clients see them: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use livecode::{Error, ErrorKind};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{Header, ObjectBuilder, schema::Type},
};

/// How long a client that was told 503 waits.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An answer that isn't a success.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    /// What is wrong with the request, one sentence each; empty where it isn't about its content.
    details: Vec<String>,
    /// How long to wait, where that is known.
    retry_after: Option<Duration>,
    /// Members beside the standard ones.
    extra: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            details: Vec::new(),
            retry_after: None,
            extra: serde_json::Map::new(),
        }
    }

    /// 400, with everything that is wrong.
    pub(crate) fn invalid(details: Vec<String>) -> Self {
        Self { details: details.clone(), ..Self::new(StatusCode::BAD_REQUEST, details.join("; ")) }
    }

    /// 401: the request says not, or not convincingly, who sends it.
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// What is told where there is no answer to put it in: a member `status`, and `error` as in one.
    pub(crate) fn told(&self) -> serde_json::Value {
        serde_json::json!({ "status": self.status.as_u16(), "error": self.detail })
    }

    /// 429: the sentence says how long to wait.
    pub(crate) fn too_many(wait: Duration, detail: impl Into<String>) -> Self {
        Self { retry_after: Some(wait), ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 503.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// The same with another member.
    pub(crate) fn with(mut self, member: &str, value: serde_json::Value) -> Self {
        self.extra.insert(member.to_owned(), value);
        self
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidArgument => Self::invalid(vec![error.to_string()]),
            ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            ErrorKind::Conflict => Self::new(StatusCode::CONFLICT, error.to_string()),
            ErrorKind::PreconditionFailed => Self::new(StatusCode::PRECONDITION_FAILED, error.to_string()),
            ErrorKind::RateLimited => {
                Self::too_many(error.retry_after().unwrap_or_default(), error.to_string())
            }
            ErrorKind::QueueFull | ErrorKind::Unsupported => Self::unavailable(error.to_string()),
            // What a driver or the system says is for the log alone.
            ErrorKind::Unavailable => {
                tracing::warn!(%error, "a request failed: a part is unavailable");
                Self::unavailable("a part of this service is overloaded or can't be reached: try again")
            }
            // `Internal`, and every kind that this server doesn't know yet.
            _ => {
                tracing::error!(%error, "a request failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "an error on our side, it is in the server's log: try again or report it",
                )
            }
        }
    }
}

/// An answer that isn't a success (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// Always `about:blank`: the status says it all.
    #[serde(rename = "type")]
    kind: &'a str,
    /// What the status means.
    title: &'a str,
    /// The status.
    status: u16,
    /// A sentence that names the thing, the reason and the remedy.
    detail: &'a str,
    /// `detail`, by the name of older services.
    error: &'a str,
    /// `status`, by the name of older services.
    #[serde(rename = "statusCode")]
    status_code: u16,
    /// `detail`, by the name of older services.
    message: &'a str,
    /// What is wrong with the request, one sentence each; absent where it isn't about its content.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    details: &'a [String],
    #[serde(flatten)]
    #[schema(ignore)]
    extra: &'a serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body, where it's part of another.
    pub(crate) fn into_json(self) -> serde_json::Value {
        serde_json::to_value(self.body()).unwrap_or_default()
    }

    fn body(&self) -> Body<'_> {
        let status = self.status.as_u16();
        Body {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status,
            detail: &self.detail,
            error: &self.detail,
            status_code: status,
            message: &self.detail,
            details: &self.details,
            extra: &self.extra,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"livecode\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        let refused = self.status == StatusCode::SERVICE_UNAVAILABLE;
        let wait = self.retry_after.or(refused.then_some(RETRY_AFTER));
        if let Some(wait) = wait {
            // Whole seconds, and never too few.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// What the description says of the header by that name.
pub(crate) fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
    let mut header = Header::new(seconds);
    header.description = Some("How long to wait before asking again, in seconds".into());
    header
}
