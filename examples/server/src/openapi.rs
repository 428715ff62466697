//! The API's description, OpenAPI 3.1: made from the handlers, completed with what all of them share.

mod schemas;

use std::collections::BTreeMap;

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    response::IntoResponse,
    routing::get,
};
use livecode::LimitRequest;
use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{
        Content, Ref, RefOr, Required, Response, ResponseBuilder,
        path::{Operation, ParameterIn},
        schema::{AdditionalProperties, AnyOfBuilder, Schema, SchemaType, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

pub(crate) use self::schemas::*;
use crate::{App, app::Shared, problem, webhooks};

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
pub(crate) fn routes(description: &utoipa::openapi::OpenApi) -> Router<Shared> {
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
    // A record has all that a receipt has; whoever saves may save all at once.
    for name in ["ReceiptOrRecord", "SavedMember"] {
        if let Some(RefOr::T(Schema::OneOf(one))) = components.schemas.get(name) {
            let any = one.items.iter().cloned().fold(AnyOfBuilder::new(), AnyOfBuilder::item);
            let any = any.description(one.description.clone()).build();
            components.schemas.insert(name.into(), RefOr::T(Schema::AnyOf(any)));
        }
    }
    if let Some(RefOr::T(Schema::Array(files))) = components.schemas.get_mut("Files") {
        files.unique_items = true;
    }
    if app.webhooks.is_none() {
        webhooks::leave_out(components);
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
        refusals.insert("408", "The body did not come in time");
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
            if ["429", "503"].contains(&status.as_str()) {
                response.headers.insert("Retry-After".into(), RefOr::T(problem::retry_after()));
            }
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
