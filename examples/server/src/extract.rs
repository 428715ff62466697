//! What requests bring: ids, query parameters and JSON bodies, refused with a [`Problem`].

use std::{fmt, str::FromStr};

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use livecode::{Error, ExecutionSpec};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::{connections::Bounds, problem::Problem};

/// The most bytes of a request's body: the largest program as base64, and the JSON around it.
pub(crate) const MAX_BODY_BYTES: usize = ExecutionSpec::MAX_TOTAL_BYTES / 3 * 4 + 1024 * 1024;

/// The most entries on one page of a list.
const MAX_PAGE: usize = 200;

/// How many entries a page has where the request doesn't say.
const DEFAULT_PAGE: usize = 50;

/// The path's `{id}`.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<S: Send + Sync, T: FromStr<Err = Error>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(segment(parts, state, "id").await?.parse()?))
    }
}

/// The path's `{n}`: a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(pub(crate) u64);

impl FromStr for Number {
    type Err = Error;

    fn from_str(text: &str) -> livecode::Result<Self> {
        let number = text.parse();
        number.map(Self).map_err(|_| Error::invalid(format!("'{text}' is not a number")))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(segment(parts, state, "n").await?.parse()?)
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<String, Problem> {
    let segments = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|rejection| Problem::invalid(vec![format!("the path can't be read: {rejection}")]))?;
    segments
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
        .ok_or_else(|| Error::internal(format!("a route has no {{{name}}}")).into())
}

/// The query parameters; those that `T` doesn't know are ignored.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                Err(Problem::invalid(vec![format!("the query can't be read: {}", cause(&rejection))]))
            }
        }
    }
}

/// The body: a JSON object whose members `T` doesn't know are ignored; no body is an empty object.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = read(request, state).await?;
        parse(if body.is_empty() { b"{}" } else { &body })
    }
}

/// The body as JSON, whatever its kind.
pub(crate) async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    match Json::from_bytes(&read(request, &()).await?) {
        Ok(Json(value)) => Ok(value),
        Err(rejection) => {
            Err(Problem::invalid(vec![format!("the body can't be read: {}", cause(&rejection))]))
        }
    }
}

/// The bytes of a body that says to be JSON, or is empty.
async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let content_type = content_type(request.headers());
    let within = request.extensions().get::<Bounds>().copied().unwrap_or_default().body_timeout();
    let Ok(read) = timeout(within, Bytes::from_request(request, state)).await else {
        return Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body didn't come within {} ms: send it faster", within.as_millis()),
        ));
    };
    let bytes = read.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {MAX_BODY_BYTES} bytes"),
        ),
        status => Problem::new(status, format!("the body can't be read: {}", cause(&rejection))),
    })?;
    match content_type {
        _ if bytes.is_empty() => Ok(bytes),
        Some(media) if is_json(&media) => Ok(bytes),
        other => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "the body's content type is {}: send application/json",
                other.as_deref().unwrap_or("absent")
            ),
        )),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Body<T>, Problem> {
    // An array would fill the members in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid(vec!["the body can't be read: it is not a JSON object".into()]));
    }
    match Json::from_bytes(bytes) {
        Ok(Json(body)) => Ok(Body(body)),
        Err(rejection) => whole_numbers(bytes)
            .map(Body)
            .ok_or_else(|| Problem::invalid(vec![format!("the body can't be read: {}", cause(&rejection))])),
    }
}

/// What was refused at first, where that was for whole numbers that were written with a fraction: `5.0` is an integer in JSON Schema,
/// and all that some clients can write.
fn whole_numbers<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    fn mend(value: &mut Value) {
        match value {
            // Above 2^53 it's no one number.
            Value::Number(number) => {
                let whole =
                    number.as_f64().filter(|it| number.is_f64() && it.fract() == 0.0 && it.abs() < 9e15);
                if let Some(whole) = whole {
                    *value = Value::from(whole as i64);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(mend),
            Value::Object(members) => members.values_mut().for_each(mend),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    let mut value = serde_json::from_slice(bytes).ok()?;
    mend(&mut value);
    serde_json::from_value(value).ok()
}

/// The media type without its parameters, in lower case.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    Some(text.split(';').next().unwrap_or_default().trim().to_lowercase())
}

fn is_json(media: &str) -> bool {
    media == "application/json" || media.starts_with("application/") && media.ends_with("+json")
}

/// What a rejection says itself names types of ours; its cause names the member.
fn cause(rejection: &dyn std::error::Error) -> String {
    rejection.source().map_or_else(|| rejection.to_string(), ToString::to_string)
}

/// How much of a list, and from where.
#[derive(Debug)]
pub(crate) struct Paging<T> {
    /// At most so many entries.
    pub(crate) limit: usize,
    /// Those before this one.
    pub(crate) before: Option<T>,
}

impl<S: Send + Sync, T: FromStr<Err = Error>> FromRequestParts<S> for Paging<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[derive(serde::Deserialize)]
        struct Raw {
            limit: Option<usize>,
            before: Option<String>,
        }
        let Params(Raw { limit, before }) = Params::from_request_parts(parts, state).await?;
        let limit = limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Problem::invalid(vec![format!("limit is {limit}: it is between 1 and {MAX_PAGE}")]));
        }
        let before = before.map(|before| before.parse()).transpose()?;
        Ok(Self { limit, before })
    }
}

impl<T: fmt::Display> Paging<T> {
    /// The `Link` header to the page after the entry `last`.
    pub(crate) fn next(&self, path: &str, last: T) -> [(header::HeaderName, String); 1] {
        let limit = self.limit;
        [(header::LINK, format!("<{path}?limit={limit}&before={last}>; rel=\"next\""))]
    }
}
