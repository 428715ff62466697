//! The page at `/`: an editor, Run, and the live output. Three files, nothing from elsewhere.

use axum::{
    Router,
    http::{HeaderName, header},
    routing::get,
};

use crate::app::Shared;

/// Only what this server itself serves may load, and nobody may frame the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Asset = ([(HeaderName, &'static str); 4], &'static str);

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/page.js", get(async || asset("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route("/page.css", get(async || asset("text/css; charset=utf-8", include_str!("page.css"))))
}

fn asset(content_type: &'static str, content: &'static str) -> Asset {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, content)
}
