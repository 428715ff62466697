//! The languages on offer: names, templates, limits, and the versions found.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use futures_util::future::join_all;
use livecode::{ErrorKind, Languages, LimitRequest, Runner};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::Shared, openapi};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// The version of each language by its name, or why it isn't available here.
type Versions = BTreeMap<String, Result<String, String>>;

/// What every language said when it was asked for its version.
#[derive(Debug)]
pub(crate) struct Toolchains {
    runner: Option<Runner>,
    /// What stays true as long as this process lives.
    lasting: Mutex<Versions>,
}

impl Toolchains {
    pub(crate) fn new(runner: Option<Runner>) -> Self {
        Self { runner, lasting: Mutex::default() }
    }

    /// Asks those languages that have given no lasting answer yet; empty where this process doesn't run programs.
    pub(crate) async fn probe(&self, languages: &Languages) -> Versions {
        let Some(runner) = &self.runner else {
            return Versions::new();
        };
        // Held while they are asked: whoever comes meanwhile waits for the same answers.
        let mut lasting = self.lasting.lock().await;
        let asked = languages.iter().filter(|language| !lasting.contains_key(&language.name));
        let asked = asked.map(|language| async { (language.name.clone(), runner.version(language).await) });
        let answers = join_all(asked).await;
        let mut passing = Versions::new();
        for (name, version) in answers {
            // A sandbox that was overloaded or broken may have recovered by the next time.
            let lasts =
                version.as_ref().map_or_else(|error| error.kind() == ErrorKind::Unsupported, |_| true);
            let version = version.map_err(|error| {
                tracing::warn!(language = name, %error, "a language is not available");
                // Its cause is for the log alone.
                error.message().to_owned()
            });
            if lasts { &mut *lasting } else { &mut passing }.insert(name, version);
        }
        passing.extend(lasting.clone());
        passing
    }
}

/// A language that requests may name.
#[derive(Serialize, ToSchema)]
#[schema(as = LanguageEntry)]
struct Entry {
    name: String,
    aliases: Vec<String>,
    file_name: String,
    template: String,
    /// Whether programs of it run here; null where this process doesn't run programs and can't know.
    available: Option<bool>,
    version: Option<String>,
    unavailable_reason: Option<String>,
    #[schema(value_type = openapi::Limits)]
    limits: LimitRequest,
    /// Null where nothing is compiled.
    #[schema(value_type = Option<openapi::CompileLimits>)]
    compile_limits: Option<LimitRequest>,
}

/// List the languages
#[utoipa::path(
    get,
    path = "/languages",
    tag = "service",
    responses((status = 200, description = "Each with the version found here, or why it's not available", body = Vec<Entry>)),
)]
async fn list(State(app): State<Shared>) -> Json<Vec<Entry>> {
    let languages = app.engine.known_languages();
    let ceiling = app.engine.limits();
    let found = app.toolchains.probe(languages).await;
    let entries = languages.iter().map(|language| {
        let answer = found.get(&language.name);
        Entry {
            name: language.name.clone(),
            aliases: language.aliases.clone(),
            file_name: language.file_name.clone(),
            template: language.template.clone(),
            available: answer.map(Result::is_ok),
            version: answer.and_then(|answer| answer.clone().ok()),
            unavailable_reason: answer.and_then(|answer| answer.clone().err()),
            limits: ceiling.run.into(),
            compile_limits: language.compile.as_ref().map(|_| ceiling.compile.into()),
        }
    });
    Json(entries.collect())
}
