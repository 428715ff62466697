//! The page: what it loads, and that nothing else can be loaded.

use axum::http::StatusCode;

use crate::server::Server;

#[tokio::test]
async fn the_page_and_its_parts_are_served_with_a_strict_policy() {
    let server = Server::idle();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, content_type));
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn the_page_names_nothing_from_elsewhere_and_nothing_inline() {
    let server = Server::idle();
    for path in ["/", "/page.js", "/page.css"] {
        let text = String::from_utf8(server.get(path).await.body.to_vec()).unwrap();
        for forbidden in ["http://", "https://", "//cdn", "<style", "style=", " onclick", "eval("] {
            assert!(!text.contains(forbidden), "{path} has {forbidden}");
        }
    }
    let html = String::from_utf8(server.get("/").await.body.to_vec()).unwrap();
    assert_eq!(html.matches("<script").count(), 1);
    assert!(html.contains("src=\"page.js\"></script>"), "its script is not inline");
}
