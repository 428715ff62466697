//! The languages on offer: names, templates, limits, and the versions found.

use std::collections::BTreeMap;

use axum::{Json, Router, extract::State, routing::get};
use futures_util::future::join_all;
use livecode::{Languages, LimitRequest, Runner};
use serde::Serialize;
use tokio::sync::OnceCell;

use crate::App;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/languages", get(list))
}

/// What every language said when it was asked for its version, once.
#[derive(Debug)]
pub(crate) struct Toolchains {
    runner: Option<Runner>,
    found: OnceCell<BTreeMap<String, Result<String, String>>>,
}

impl Toolchains {
    pub(crate) fn new(runner: Option<Runner>) -> Self {
        Self { runner, found: OnceCell::new() }
    }

    /// The version of each language by its name, or why it isn't available here.
    pub(crate) async fn probe(&self, languages: &Languages) -> &BTreeMap<String, Result<String, String>> {
        let ask = || async {
            let Some(runner) = &self.runner else {
                return BTreeMap::new();
            };
            let answers = languages.iter().map(|language| async move {
                let version = runner.version(language).await;
                let answer = version.map_err(|error| {
                    tracing::warn!(language = language.name, %error, "a language is not available");
                    error.to_string()
                });
                (language.name.clone(), answer)
            });
            join_all(answers).await.into_iter().collect()
        };
        self.found.get_or_init(ask).await
    }
}

#[derive(Serialize)]
struct Entry {
    name: String,
    aliases: Vec<String>,
    file_name: String,
    template: String,
    /// Whether programs of it run here; null where this process doesn't run programs and can't know.
    available: Option<bool>,
    version: Option<String>,
    unavailable_reason: Option<String>,
    limits: LimitRequest,
    /// Null where nothing is compiled.
    compile_limits: Option<LimitRequest>,
}

async fn list(State(app): State<App>) -> Json<Vec<Entry>> {
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
