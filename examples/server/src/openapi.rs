//! The API's description, OpenAPI 3.1: made from the handlers, completed with what all of them share.

use std::collections::BTreeMap;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::IntoResponse,
    routing::get,
};
use livecode::LimitRequest;
use serde::Serialize;
use serde_json::json;
use utoipa::{
    IntoParams, OpenApi, ToSchema,
    openapi::{
        Content, Ref, RefOr, Required, Response, ResponseBuilder,
        path::{Operation, ParameterIn},
        schema::{AdditionalProperties, AnyOfBuilder, Schema, SchemaType, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    App,
    executions::{Receipt, RunRequest},
    problem,
    record::Record,
    webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "livecode",
        description = "Sessions whose source is autosaved, executions queued and run in a sandbox, followed live, kept as history.\n\n\
                       Every path also answers under `/api`. Unknown members and query parameters are ignored. Errors are \
                       `application/problem+json` (RFC 9457)."
    ),
    components(schemas(problem::Body)),
    tags(
        (name = "sessions", description = "Source that is autosaved, and run"),
        (name = "executions", description = "Programs: run, read, followed, cancelled"),
        (name = "jobs", description = "The style of older services: submit, then ask"),
        (name = "service", description = "Languages and health"),
        (name = "operations", description = "For who runs the service"),
    ),
)]
struct Base;

/// What isn't any one route's.
pub(crate) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

/// The description, under its two paths.
pub(crate) fn routes(description: &utoipa::openapi::OpenApi) -> Router<App> {
    let text = description.to_json().unwrap_or_default();
    Router::new().route(
        "/openapi.json",
        get(async move || ([(header::CONTENT_TYPE, "application/json")], text.clone())),
    )
}

/// Swagger UI, all of which is in this binary.
pub(crate) fn viewer(description: utoipa::openapi::OpenApi) -> Router {
    // The viewer asks for a description of its own path; the one that people are told of has the same content.
    let ui = |prefix: &str| {
        SwaggerUi::new(format!("{prefix}/api-docs"))
            .url(format!("{prefix}/api-docs/openapi.json"), description.clone())
            .config(Config::from(format!("{prefix}/api-docs/openapi.json")).try_it_out_enabled(true))
    };
    Router::new().merge(ui("")).merge(ui("/api")).layer(axum::middleware::map_response(
        async |mut response: axum::response::Response| {
            for (name, value) in [
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::X_FRAME_OPTIONS, "DENY"),
                (header::REFERRER_POLICY, "no-referrer"),
                // Swagger UI sets styles as it goes, and draws icons from data.
                (
                    HeaderName::from_static("content-security-policy"),
                    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                ),
            ] {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response.into_response()
        },
    ))
}

/// Adds what goes without saying: which languages there are, who may ask, and the refusals that the shape of a request brings with it.
pub(crate) fn complete(mut description: utoipa::openapi::OpenApi, app: &App) -> utoipa::openapi::OpenApi {
    let signs_in = app.auth.is_required();
    let components = description.components.get_or_insert_default();
    if signs_in {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        if app.auth.has_keys() {
            let key = ApiKey::Header(ApiKeyValue::new("X-Api-Key"));
            components.add_security_scheme("key", SecurityScheme::ApiKey(key));
        }
    }
    if let Some(RefOr::T(Schema::Object(language))) = components.schemas.get_mut("Language") {
        let known = app.engine.known_languages();
        let names =
            known.iter().flat_map(|language| std::iter::once(&language.name).chain(&language.aliases));
        language.enum_values = Some(names.map(|name| json!(name)).collect());
    }
    if app.webhooks.is_none() {
        webhooks::leave_out(components);
    }
    // A record has all that a receipt has.
    if let Some(RefOr::T(Schema::OneOf(one))) = components.schemas.get("ReceiptOrRecord") {
        let any = one.items.iter().cloned().fold(AnyOfBuilder::new(), AnyOfBuilder::item);
        let any = any.description(one.description.clone()).build();
        components.schemas.insert("ReceiptOrRecord".into(), RefOr::T(Schema::AnyOf(any)));
    }
    // A way of comparing that has members is told by the name of the one that it has.
    if let Some(RefOr::T(Schema::OneOf(ways))) = components.schemas.get_mut("Compare") {
        for way in &mut ways.items {
            if let RefOr::T(Schema::Object(way)) = way
                && !way.properties.is_empty()
            {
                way.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
    let ceiling = app.engine.limits();
    if let Some(limits) = components.schemas.get("Limits").cloned() {
        components.schemas.insert("CompileLimits".into(), limits);
    }
    for (name, most) in [("Limits", ceiling.run), ("CompileLimits", ceiling.compile)] {
        let most = serde_json::to_value(LimitRequest::from(most)).unwrap_or_default();
        if let Some(RefOr::T(Schema::Object(limits))) = components.schemas.get_mut(name) {
            for (member, limit) in &mut limits.properties {
                if let (RefOr::T(Schema::Object(limit)), Some(most)) = (limit, most[member].as_u64()) {
                    limit.maximum = Some(utoipa::Number::UInt(usize::try_from(most).unwrap_or(usize::MAX)));
                }
            }
        }
    }
    for name in ["SourceCode", "SavedSource"] {
        if let Some(RefOr::T(Schema::Object(source))) = components.schemas.get_mut(name) {
            source.max_length = Some(app.engine.limits().source_chars);
        }
    }
    for item in description.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            complete_operation(operation, signs_in, app.auth.has_keys());
        }
    }
    description
}

fn complete_operation(operation: &mut Operation, signs_in: bool, has_keys: bool) {
    let has = |place: ParameterIn| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|it| matches!(it, RefOr::T(parameter) if parameter.parameter_in == place))
    };
    let (in_path, in_query) = (has(ParameterIn::Path), has(ParameterIn::Query));
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
            && let SchemaType::Array(types) = &schema.schema_type
            && let [kind, Type::Null] = types.as_slice()
        {
            // One that may be left out is no null.
            schema.schema_type = SchemaType::Type(kind.clone());
        }
    }
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        for content in body.content.values_mut() {
            if let RefOr::T(content) = content
                && let Some(RefOr::T(Schema::OneOf(one))) = &content.schema
                && let [schema @ RefOr::Ref(_), _] = one.items.as_slice()
            {
                // An optional body is one that may be absent, and no null either.
                body.required = Some(Required::False);
                content.schema = Some(schema.clone());
            }
        }
    }
    let mut refusals = BTreeMap::new();
    if in_path {
        refusals
            .insert("404", "There is none of this id, or it is another owner's: the two can't be told apart");
    }
    if in_path || in_query || operation.request_body.is_some() {
        refusals.insert("400", "Malformed, or beyond a limit: `details` names everything that is wrong");
    }
    if operation.request_body.is_some() {
        refusals.insert("413", "The body is too large");
        refusals.insert("415", "The body is not JSON");
    }
    // What the health of the service is, and which languages it has, is for everybody.
    let has_tag = |name: &str| operation.tags.iter().flatten().any(|tag| tag == name);
    let is_public = has_tag("service");
    if has_tag("operations") && signs_in {
        refusals.insert("403", "The role is not admin");
    }
    if !is_public {
        if !has_tag("operations") {
            refusals.insert(
                "503",
                "The queue is full, the server is ending, or a part is down: Retry-After says when to come back",
            );
        }
        if signs_in {
            refusals.insert("401", "No credential, or one that isn't valid");
            let names = ["bearer"].into_iter().chain(has_keys.then_some("key"));
            operation.security =
                Some(names.map(|name| SecurityRequirement::new(name, [] as [&str; 0])).collect());
        }
    }
    for (status, description) in refusals {
        let absent = || RefOr::T(ResponseBuilder::new().description(description).build());
        operation.responses.responses.entry(status.to_owned()).or_insert_with(absent);
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
        {
            *response = problem(std::mem::take(&mut response.description));
        }
    }
}

fn problem(description: String) -> Response {
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", Content::new(Some(schema)))
        .build()
}

/// The header of requests that may be repeated.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header")]
pub(crate) struct IdempotencyKey {
    /// Two requests of one owner and session with one key make one execution.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        required = false
    )]
    key: Option<String>,
}

/// A page of a list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes parameters")]
pub(crate) struct Page {
    /// At most so many entries; 50 where it isn't said.
    #[param(minimum = 1, maximum = 200, required = false)]
    limit: Option<u16>,
    /// Those before this execution.
    #[param(value_type = Option<Id>, required = false)]
    before: Option<Id>,
}

/// A page of the autosave history.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes parameters")]
pub(crate) struct RevisionPage {
    /// At most so many entries; 50 where it isn't said.
    #[param(minimum = 1, maximum = 200, required = false)]
    limit: Option<u16>,
    /// Those before this revision.
    #[param(minimum = 0, required = false)]
    before: Option<u64>,
}

/// An id of a session or an execution: a UUID of version 7.
#[derive(Debug, ToSchema)]
#[schema(format = "uuid")]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Id(String);

/// A moment: RFC 3339, in UTC, with milliseconds.
#[derive(Debug, ToSchema)]
#[schema(format = DateTime)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Moment(String);

/// The name of a language or one of its aliases.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Language(String);

/// The entry file: not blank.
#[derive(Debug, ToSchema)]
#[schema(min_length = 1, pattern = r"\S")]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct SourceCode(String);

/// The entry file of a session: it may be blank as long as it isn't run.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct SavedSource(String);

/// Whether a session can be saved and run.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum SessionStatus {
    Active,
    Inactive,
}

/// An argument: no NUL, which would end it for the kernel.
#[derive(Debug, ToSchema)]
#[schema(pattern = r"^[^\x00]*$")]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Argument(String);

/// Variables by their names.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Environment(BTreeMap<String, Argument>);

/// A path relative to the entry file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(min_length = 1, max_length = 255, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
pub(crate) struct FilePath(String);

/// The files beside the entry file.
#[derive(Debug, ToSchema)]
#[schema(max_items = 100)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Files(Vec<File>);

/// A file: its content as text, or as base64 where it isn't UTF-8.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes the choice")]
pub(crate) enum File {
    Text { path: FilePath, content: String },
    Binary { path: FilePath, content_base64: Base64 },
}

/// Bytes as base64.
#[derive(Debug, Serialize, ToSchema)]
#[schema(pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$")]
pub(crate) struct Base64(String);

/// Where an execution stands.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Timeout,
    Cancelled,
}

/// Why an execution isn't a success.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum ErrorType {
    CompileError,
    RuntimeError,
    TimeoutError,
    MemoryLimitError,
    OutputLimitError,
    ProcessLimitError,
    Cancelled,
    InternalError,
}

/// What became of a test case.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum Verdict {
    Accepted,
    WrongAnswer,
    TimeLimitExceeded,
    MemoryLimitExceeded,
    OutputLimitExceeded,
    RuntimeError,
    Skipped,
}

/// When what a program wrote is what was expected.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum Compare {
    /// Every byte is the same.
    Exact,
    /// The lines are, but for white space at their ends, and for blank lines at the end.
    TrimmedLines,
    /// The words are, whatever white space is between them.
    Tokens,
    /// As `tokens`, but numbers may differ: by so much, or by such a part of the expected one.
    Tolerance {
        #[schema(minimum = 0.0, required = false)]
        absolute: f64,
        #[schema(minimum = 0.0, required = false)]
        relative: f64,
    },
}

/// What may be asked of a program's limits; what is absent is the server's default, which is the most as well.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct Limits {
    /// From the first instruction to the end.
    #[schema(minimum = 1)]
    wall_time_ms: Option<u64>,
    /// User and system time of all processes together.
    #[schema(minimum = 1)]
    cpu_time_ms: Option<u64>,
    /// Memory of all processes and of the files in memory together.
    #[schema(minimum = 1)]
    memory_bytes: Option<u64>,
    /// Processes and threads at a time.
    #[schema(minimum = 1)]
    processes: Option<u32>,
    /// Output that is kept, for each of the two streams.
    #[schema(minimum = 1)]
    output_bytes: Option<u64>,
    /// What all files may hold.
    #[schema(minimum = 1)]
    file_bytes: Option<u64>,
    /// Files and directories at a time.
    #[schema(minimum = 1)]
    files: Option<u32>,
    /// Files that a process may have open at a time.
    #[schema(minimum = 1)]
    open_files: Option<u32>,
    /// The stack of the main thread.
    #[schema(minimum = 1)]
    stack_bytes: Option<u64>,
    /// Thousandths of a processor.
    #[schema(minimum = 1)]
    cpu_millis: Option<u32>,
}

/// As `Limits`, for the compiler.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct CompileLimits(#[schema(inline)] Limits);

/// A program, and all it's given.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct ProgramRequest {
    #[schema(inline)]
    language: Language,
    source_code: SourceCode,
    #[serde(flatten)]
    #[schema(inline)]
    rest: RunRequest,
}

/// Programs of a batch, each as for `POST /executions`: one that isn't is refused alone.
#[derive(Debug, ToSchema)]
#[schema(max_items = 100)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Programs(Vec<serde_json::Value>);

/// An event of a stream.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct StreamEvent {
    /// Its number, for `Last-Event-ID`.
    id: String,
    /// `status`, `stdout`, `stderr` or `end`.
    event: String,
    /// JSON: what is new of the status, a text, or the record.
    data: String,
}

/// A receipt, or the finished record where it was waited for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes the choice")]
pub(crate) enum ReceiptOrRecord {
    Record(Box<Record>),
    Receipt(Receipt),
}
