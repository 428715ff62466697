//! Sessions: make, read, autosave, close, and the autosave history.

use axum::{
    Json,
    extract::OriginalUri,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use livecode::{Edit, Revision, Session, SessionId, SessionStatus, SourceFile, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::Shared,
    auth::Caller,
    extract::{Body, Id, Number, Paging},
    openapi,
    problem::Problem,
};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(read, save, close))
        .routes(routes!(revisions))
        .routes(routes!(revision))
}

/// A source to put into a session.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct SourceRequest {
    /// The name of a language or one of its aliases; `python` where it isn't said.
    #[schema(value_type = Option<openapi::Language>)]
    language: Option<String>,
    /// The entry file; the language's template where it isn't said.
    #[serde(alias = "sourceCode", alias = "template_code", alias = "templateCode", alias = "code")]
    #[schema(value_type = Option<openapi::SavedSource>)]
    source_code: Option<String>,
    /// All other files.
    #[schema(value_type = Option<openapi::Files>)]
    files: Option<Vec<FileMember>>,
}

impl SourceRequest {
    fn edit(self, if_revision: Option<Revision>) -> Result<Edit, Problem> {
        Ok(Edit {
            language: self.language,
            source_code: self.source_code,
            files: self.files.map(files).transpose()?,
            if_revision,
        })
    }
}

/// A file beside the entry file: its content as text, or as base64 where it isn't UTF-8.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct FileMember {
    #[schema(value_type = openapi::FilePath)]
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
}

impl From<SourceFile> for FileMember {
    fn from(SourceFile { path, content }: SourceFile) -> Self {
        let (content, content_base64) = match std::str::from_utf8(&content) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(BASE64_STANDARD.encode(&content))),
        };
        Self { path, content, content_base64 }
    }
}

/// The files of a request; a problem names each one that can't be taken.
pub(crate) fn files(members: Vec<FileMember>) -> Result<Vec<SourceFile>, Problem> {
    let mut details = Vec::new();
    let mut files = Vec::with_capacity(members.len());
    for (at, member) in members.into_iter().enumerate() {
        let content = match (member.content, member.content_base64) {
            (Some(text), None) => Ok(text.into_bytes()),
            (None, Some(base64)) => BASE64_STANDARD
                .decode(base64)
                .map_err(|error| format!("files[{at}].content_base64 is not base64: {error}")),
            (None, None) | (Some(_), Some(_)) => {
                Err(format!("files[{at}] needs one of content and content_base64"))
            }
        };
        match content {
            Ok(content) => files.push(SourceFile::new(member.path, content)),
            Err(detail) => details.push(detail),
        }
    }
    if details.is_empty() { Ok(files) } else { Err(Problem::invalid(details)) }
}

#[derive(Serialize, ToSchema)]
struct Created {
    #[schema(value_type = openapi::Id)]
    session_id: SessionId,
    #[schema(value_type = openapi::SessionStatus)]
    status: SessionStatus,
    language: String,
    #[schema(value_type = u64)]
    revision: Revision,
    #[schema(value_type = openapi::Moment)]
    created_at: Timestamp,
}

/// Make a session
///
/// The body is optional.
#[utoipa::path(
    post,
    path = "/code-sessions",
    tag = "sessions",
    request_body = Option<SourceRequest>,
    responses(
        (status = 201, description = "The session is active", body = Created),
    ),
)]
async fn create(Caller(app): Caller, Body(body): Body<SourceRequest>) -> Result<Response, Problem> {
    let session = app.engine.create_session(body.edit(None)?).await?;
    let tag = etag(session.revision);
    let body = Created {
        session_id: session.id,
        status: session.status,
        language: session.source.language,
        revision: session.revision,
        created_at: session.created_at,
    };
    Ok((StatusCode::CREATED, tag, Json(body)).into_response())
}

#[derive(Serialize, ToSchema)]
struct Whole {
    #[schema(value_type = openapi::Id)]
    session_id: SessionId,
    #[schema(value_type = openapi::SessionStatus)]
    status: SessionStatus,
    language: String,
    source_code: String,
    files: Vec<FileMember>,
    #[schema(value_type = u64)]
    revision: Revision,
    #[schema(value_type = openapi::Moment)]
    created_at: Timestamp,
    #[schema(value_type = openapi::Moment)]
    updated_at: Timestamp,
}

/// Read a session
///
/// With its source and revision, which is its `ETag` as well.
#[utoipa::path(
    get,
    path = "/code-sessions/{id}",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session")),
    responses(
        (status = 200, description = "The session", body = Whole),
    ),
)]
async fn read(Caller(app): Caller, Id(id): Id<SessionId>) -> Result<Response, Problem> {
    let session = app.engine.session(id).await?;
    let tag = etag(session.revision);
    let body = Whole {
        session_id: session.id,
        status: session.status,
        language: session.source.language,
        source_code: session.source.source_code,
        files: session.source.files.into_iter().map(FileMember::from).collect(),
        revision: session.revision,
        created_at: session.created_at,
        updated_at: session.updated_at,
    };
    Ok((tag, Json(body)).into_response())
}

#[derive(Serialize, ToSchema)]
struct Saved {
    #[schema(value_type = openapi::Id)]
    session_id: SessionId,
    #[schema(value_type = openapi::SessionStatus)]
    status: SessionStatus,
    #[schema(value_type = u64)]
    revision: Revision,
    #[schema(value_type = openapi::Moment)]
    updated_at: Timestamp,
}

impl From<Session> for Saved {
    fn from(session: Session) -> Self {
        Self {
            session_id: session.id,
            status: session.status,
            revision: session.revision,
            updated_at: session.updated_at,
        }
    }
}

/// Autosave
///
/// At least one of the members. Never executes.
#[utoipa::path(
    patch,
    path = "/code-sessions/{id}",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session"), ("If-Match" = Option<String>, Header, description = "The revision that it must still be at, in double quotes", pattern = "^\"[0-9]{1,18}\"$")),
    request_body = openapi::SaveRequest,
    responses(
        (status = 200, description = "Saved; where nothing differs the revision stays", body = Saved),
        (status = 409, description = "The session is closed"),
        (status = 412, description = "The session is at another revision than If-Match says"),
    ),
)]
async fn save(
    Caller(app): Caller,
    Id(id): Id<SessionId>,
    headers: HeaderMap,
    Body(body): Body<SourceRequest>,
) -> Result<Response, Problem> {
    let edit = body.edit(if_match(&headers)?)?;
    if edit.language.is_none() && edit.source_code.is_none() && edit.files.is_none() {
        return Err(Problem::invalid(vec!["one of source_code, language and files is required".into()]));
    }
    let session = app.engine.save(id, edit).await?;
    Ok((etag(session.revision), Json(Saved::from(session))).into_response())
}

#[derive(Serialize, ToSchema)]
struct Closed {
    #[schema(value_type = openapi::Id)]
    session_id: SessionId,
    #[schema(value_type = openapi::SessionStatus)]
    status: SessionStatus,
}

/// Close a session
///
/// It and its history stay readable. Again: the same answer.
#[utoipa::path(
    delete,
    path = "/code-sessions/{id}",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session")),
    responses(
        (status = 200, description = "The session is inactive", body = Closed),
    ),
)]
async fn close(Caller(app): Caller, Id(id): Id<SessionId>) -> Result<Json<Closed>, Problem> {
    let session = app.engine.close_session(id).await?;
    Ok(Json(Closed { session_id: session.id, status: session.status }))
}

#[derive(Serialize, ToSchema)]
struct RevisionEntry {
    #[schema(value_type = u64)]
    revision: Revision,
    language: String,
    #[schema(value_type = openapi::Moment)]
    saved_at: Timestamp,
}

/// List a session's revisions
///
/// The autosave history, newest first; the header `Link` names the next page.
#[utoipa::path(
    get,
    path = "/code-sessions/{id}/revisions",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session"), openapi::RevisionPage),
    responses(
        (status = 200, description = "A page of revisions", body = Vec<RevisionEntry>),
    ),
)]
async fn revisions(
    Caller(app): Caller,
    OriginalUri(uri): OriginalUri,
    Id(id): Id<SessionId>,
    page: Paging<Number>,
) -> Result<Response, Problem> {
    let before = page.before.map(|Number(n)| Revision(n));
    // One more than asked for tells whether another page follows.
    let mut revisions = app.engine.revisions(id, before, page.limit + 1).await?;
    let more = revisions.len() > page.limit;
    revisions.truncate(page.limit);
    let link = revisions.last().filter(|_| more).map(|last| page.next(uri.path(), Number(last.revision.0)));
    let entries: Vec<_> = revisions
        .into_iter()
        .map(|entry| RevisionEntry {
            revision: entry.revision,
            language: entry.language,
            saved_at: entry.saved_at,
        })
        .collect();
    Ok(match link {
        Some(link) => (link, Json(entries)).into_response(),
        None => Json(entries).into_response(),
    })
}

#[derive(Serialize, ToSchema)]
struct RevisionWhole {
    #[schema(value_type = openapi::Id)]
    session_id: SessionId,
    #[schema(value_type = u64)]
    revision: Revision,
    language: String,
    source_code: String,
    files: Vec<FileMember>,
    #[schema(value_type = openapi::Moment)]
    saved_at: Timestamp,
}

/// Read a revision
///
/// With its source.
#[utoipa::path(
    get,
    path = "/code-sessions/{id}/revisions/{n}",
    tag = "sessions",
    params(("id" = openapi::Id, Path, description = "The session"), ("n" = u64, Path, description = "The revision", minimum = 0)),
    responses(
        (status = 200, description = "The revision", body = RevisionWhole),
    ),
)]
async fn revision(
    Caller(app): Caller,
    Id(id): Id<SessionId>,
    Number(n): Number,
) -> Result<Json<RevisionWhole>, Problem> {
    let found = app.engine.revision(id, Revision(n)).await?;
    Ok(Json(RevisionWhole {
        session_id: id,
        revision: found.revision,
        language: found.source.language,
        source_code: found.source.source_code,
        files: found.source.files.into_iter().map(FileMember::from).collect(),
        saved_at: found.saved_at,
    }))
}

fn etag(revision: Revision) -> [(HeaderName, String); 1] {
    [(header::ETAG, format!("\"{revision}\""))]
}

/// The revision that `If-Match` insists on; none without the header and for `*`.
fn if_match(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let text = text.trim();
    if text == "*" {
        return Ok(None);
    }
    // Clients forget the quotes, and what they mean is plain.
    let bare = text.parse().ok().map(|revision| Ok(Some(Revision(revision))));
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        // A tag that we never gave matches nothing: revisions begin at 1.
        Some(tag) => Ok(Some(Revision(tag.parse().unwrap_or(0)))),
        None => bare.unwrap_or_else(|| {
            Err(Problem::invalid(vec![format!("If-Match is {text}: it is a revision in double quotes")]))
        }),
    }
}
