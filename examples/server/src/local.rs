//! Who may ask a server that only this machine reaches: not the web pages that somebody here has open.
//!
//! A browser reaches loopback addresses on behalf of every page. A page whose own name is made to point here (DNS
//! rebinding) is even of the same origin as this server, but gives itself away by that name in `Host`; any other page
//! can send, though not read, and tells its name in `Origin`.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::problem::Problem;

/// Refuses what is asked by another name than this machine's, and changes that another site's page asks for.
pub(crate) async fn only_this_machine(request: Request, next: Next) -> Response {
    match refusal(request.method(), request.headers()) {
        None => next.run(request).await,
        Some(reason) => {
            tracing::debug!(reason, "refused");
            let sniffing = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            ([sniffing], Problem::new(StatusCode::FORBIDDEN, reason)).into_response()
        }
    }
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST);
    if !host.is_some_and(is_local) {
        return Some(format!(
            "this server answers its own machine only, and Host is {}: ask it as localhost or 127.0.0.1; a proxy in \
             front of it has to send Host: localhost",
            shown(host)
        ));
    }
    let origin = headers.get(header::ORIGIN);
    if !method.is_safe() && origin.is_some_and(|origin| !is_local(origin)) {
        return Some(format!(
            "this server answers its own machine only, and a page of {} asked for a change: use a page from localhost \
             or 127.0.0.1; a proxy in front of it has to leave Origin out",
            shown(origin)
        ));
    }
    None
}

/// Whether a `Host` (`localhost:3000`) or an `Origin` (`http://localhost:3000`) is of this machine, whatever the port.
fn is_local(name: &HeaderValue) -> bool {
    let uri: Option<Uri> = name.to_str().ok().and_then(|name| name.parse().ok());
    let Some(host) = uri.as_ref().and_then(Uri::host) else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn shown(name: Option<&HeaderValue>) -> String {
    name.map_or_else(|| "absent".to_owned(), |name| format!("'{}'", String::from_utf8_lossy(name.as_bytes())))
}
