//! Who is known by what, and what becomes of others.

use std::{
    fs,
    io::{self, BufRead},
    process::{Command, Stdio},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Parser;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use livecode::{Clock, ErrorKind, Owner, SystemClock};
use livecode_server::{Auth, Config, KeyFile, KeyRole, Tiers};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Answer, Server, Setup, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn configured(arguments: &[&str]) -> livecode::Result<Auth> {
    Auth::open(&Config::parse_from(["livecode-server"].iter().chain(arguments)))
}

fn with(auth: Auth) -> Server {
    Setup { auth, ..Setup::default() }.start()
}

/// A server of API keys, and the file.
pub(crate) fn keyed() -> (Server, KeyFile, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let file = KeyFile::new(&path);
    file.create(Owner::new("first").unwrap(), KeyRole::User).unwrap();
    (of_keys(&directory), file, directory)
}

/// One more server of the keys in this directory.
pub(crate) fn of_keys(directory: &TempDir) -> Server {
    let path = directory.path().join("keys.json");
    with(configured(&["--auth", &format!("keys:{}", path.display())]).unwrap())
}

async fn ask(server: &Server, header: (&str, &str)) -> Answer {
    server.send(request(Method::POST, "/code-sessions", &[header], Some(json!({})))).await
}

async fn ask_as(server: &Server, token: &str) -> StatusCode {
    ask(server, ("authorization", &format!("Bearer {token}"))).await.status
}

/// What only its holder knows; there may be any number of `_` in it.
fn secret(key: &str) -> &str {
    key.splitn(3, '_').nth(2).unwrap()
}

#[tokio::test]
async fn a_key_is_good_until_it_is_revoked() {
    let (server, file, directory) = keyed();
    let key = file.create(Owner::new("alice").unwrap(), KeyRole::User).unwrap();
    let stored = fs::read_to_string(directory.path().join("keys.json")).unwrap();
    let own = secret(&key);
    assert!(!stored.contains(own) && stored.contains("alice"), "{stored}");
    // The server has read the file before; it looks again within a second.
    let start = std::time::Instant::now();
    while ask_as(&server, &key).await != StatusCode::CREATED {
        assert!(start.elapsed() < Duration::from_secs(60), "the new key isn't seen");
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&server, ("x-api-key", &key)).await.status, StatusCode::CREATED);
    assert_eq!(ask(&server, ("authorization", &format!("bearer {key}"))).await.status, StatusCode::CREATED);

    let id = &file.list().unwrap()[1].id;
    assert!(key.contains(id.as_str()));
    let other = file.create(Owner::new("bob").unwrap(), KeyRole::User).unwrap();
    let mixed = format!("lck_{id}_{}", secret(&other));
    for wrong in ["", "lck_", "lck_x_y", id, own, &key[..key.len() - 1], &format!("{key}A"), &mixed] {
        assert_eq!(ask_as(&server, wrong).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    file.revoke(id).unwrap();
    let start = std::time::Instant::now();
    while ask_as(&server, &key).await != StatusCode::UNAUTHORIZED {
        assert!(start.elapsed() < Duration::from_secs(60), "the revoked key stays good");
        tokio::task::yield_now().await;
    }
    assert_eq!(file.revoke(id).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        file.create(Owner::anonymous(), KeyRole::User).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}

#[tokio::test]
async fn who_does_not_say_who_it_is_is_told_how() {
    let (server, _file, _directory) = keyed();
    let answer = server.post("/executions", json!({})).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"livecode\"");
    assert!(answer.text("detail").contains("Authorization: Bearer"), "{answer:?}");
    for scheme in ["Basic YTpi", "Bearer", "lck_x_y"] {
        assert_eq!(ask(&server, ("authorization", scheme)).await.status, StatusCode::UNAUTHORIZED);
    }
    for public in ["/health", "/health/ready", "/languages", "/openapi.json", "/"] {
        assert_eq!(server.get(public).await.status, StatusCode::OK, "{public}");
    }
}

#[tokio::test]
async fn an_administrator_sees_what_is_everybodys() {
    let (_, file, directory) = keyed();
    let [alice, root] = [("alice", KeyRole::User), ("root", KeyRole::Admin)]
        .map(|(owner, role)| format!("Bearer {}", file.create(Owner::new(owner).unwrap(), role).unwrap()));
    let server = of_keys(&directory);
    let body = json!({ "language": "python", "source_code": "out 1" });
    let run = async |key: &str| {
        server.post_with("/executions", &[("authorization", key)], body.clone()).await.text("execution_id")
    };
    let (of_alice, of_root) = (run(&alice).await, run(&root).await);
    let see = async |key: &str, id: &str| {
        server
            .send(request(Method::GET, &format!("/executions/{id}"), &[("authorization", key)], None))
            .await
            .status
    };
    assert_eq!(see(&root, &of_alice).await, StatusCode::OK);
    assert_eq!(see(&alice, &of_alice).await, StatusCode::OK);
    assert_eq!(see(&alice, &of_root).await, StatusCode::NOT_FOUND);
}

fn in_seconds(seconds: i64) -> i64 {
    SystemClock.now().as_millis() / 1_000 + seconds
}

fn claims() -> Value {
    json!({ "sub": "alice", "exp": in_seconds(600), "iss": "us", "aud": "livecode" })
}

fn but(member: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[member] = value;
    claims
}

fn without(member: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(member);
    claims
}

fn signed(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, key).unwrap()
}

#[tokio::test]
async fn a_token_is_good_while_all_of_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    let setting = format!("jwt:{}", path.display());
    let server =
        with(configured(&["--auth", &setting, "--jwt-issuer", "us", "--jwt-audience", "livecode"]).unwrap());
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = |claims: &Value| signed(Algorithm::HS256, &key, claims);
    for good in [
        claims(),
        but("role", json!("admin")),
        but("aud", json!(["other", "livecode"])),
        but("nbf", json!(in_seconds(-5))),
    ] {
        assert_eq!(ask_as(&server, &token(&good)).await, StatusCode::CREATED, "{good}");
    }
    for bad in [
        without("exp"),
        without("sub"),
        without("iss"),
        without("aud"),
        but("exp", json!(in_seconds(-600))),
        but("exp", json!("9999999999")),
        but("nbf", json!(in_seconds(600))),
        but("nbf", json!("1")),
        but("iss", json!("them")),
        but("aud", json!("other")),
        but("sub", json!("")),
        but("sub", json!("x".repeat(256))),
        but("sub", json!(7)),
    ] {
        assert_eq!(ask_as(&server, &token(&bad)).await, StatusCode::UNAUTHORIZED, "{bad}");
    }
    let other = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    assert_eq!(ask_as(&server, &signed(Algorithm::HS256, &other, &claims())).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask_as(&server, &signed(Algorithm::HS512, &key, &claims())).await, StatusCode::UNAUTHORIZED);
    let good = token(&claims());
    let (_, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    for forged in [format!("{none}.{payload}."), format!("{none}.{payload}.{signature}"), format!("{good}x")]
    {
        assert_eq!(ask_as(&server, &forged).await, StatusCode::UNAUTHORIZED, "{forged}");
    }
}

#[tokio::test]
async fn a_token_of_a_tier_that_is_not_there_is_refused_where_there_are_any() {
    let directory = tempfile::tempdir().unwrap();
    let [path, file] = ["secret", "tiers.toml"].map(|name| directory.path().join(name));
    fs::write(&path, SECRET).unwrap();
    fs::write(&file, "[tiers.free]\n").unwrap();
    let auth = || configured(&["--auth", &format!("jwt:{}", path.display())]).unwrap();
    let tiers = Tiers::open(&Config::parse_from(["livecode-server", &format!("--tiers={}", file.display())]));
    let server = Setup { auth: auth(), tiers: tiers.unwrap(), ..Setup::default() }.start();
    let without = with(auth());
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    for (tier, status) in [
        (json!("gone"), StatusCode::FORBIDDEN),
        (json!("free"), StatusCode::CREATED),
        (json!("default"), StatusCode::CREATED),
        (Value::Null, StatusCode::CREATED),
        (json!(7), StatusCode::FORBIDDEN),
    ] {
        let token = signed(Algorithm::HS256, &key, &but("tier", tier.clone()));
        assert_eq!(ask_as(&server, &token).await, status, "{tier}");
        // Whatever it means to whoever signed it.
        assert_eq!(ask_as(&without, &token).await, StatusCode::CREATED, "{tier}");
    }
}

/// Of a new key pair, as DER.
fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[tokio::test]
async fn tokens_are_signed_by_a_key_of_the_set() {
    let rsa_der = openssl(&["genrsa", "-traditional", "2048"]);
    let rsa_der = pem(&rsa_der);
    let edwards_der = pem(&openssl(&["genpkey", "-algorithm", "ed25519"]));
    let rsa = EncodingKey::from_rsa_der(&rsa_der);
    let edwards = EncodingKey::from_ed_der(&edwards_der);
    let mut first = Jwk::from_encoding_key(&rsa, Algorithm::RS256).unwrap();
    first.common.key_id = Some("first".into());
    let second = Jwk::from_encoding_key(&edwards, Algorithm::EdDSA).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    fs::write(&path, json!({ "keys": [first, second] }).to_string()).unwrap();
    let server = with(configured(&["--auth", &format!("jwt:{}", path.display())]).unwrap());
    let named = |name: &str| {
        let header = Header { kid: Some(name.into()), ..Header::new(Algorithm::RS256) };
        encode(&header, &claims(), &rsa).unwrap()
    };
    for good in [
        signed(Algorithm::RS256, &rsa, &claims()),
        named("first"),
        signed(Algorithm::EdDSA, &edwards, &claims()),
    ] {
        assert_eq!(ask_as(&server, &good).await, StatusCode::CREATED, "{good}");
    }
    // What is public isn't a secret: the modulus and the whole key, as a key for HS256.
    let public = fs::read(&path).unwrap();
    let forged = EncodingKey::from_secret(&public);
    let stranger = EncodingKey::from_ed_der(&pem(&openssl(&["genpkey", "-algorithm", "ed25519"])));
    for bad in [
        named("second"),
        signed(Algorithm::RS512, &rsa, &claims()),
        signed(Algorithm::HS256, &forged, &claims()),
        signed(Algorithm::EdDSA, &stranger, &claims()),
    ] {
        assert_eq!(ask_as(&server, &bad).await, StatusCode::UNAUTHORIZED, "{bad}");
    }
}

/// The bytes between the lines of a PEM.
fn pem(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::prelude::BASE64_STANDARD.decode(lines).unwrap()
}

#[test]
fn what_cannot_be_right_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    for (setting, sentence) in [
        ("".to_owned(), "AUTH is not known"),
        ("keys".to_owned(), "AUTH is not known"),
        ("keys:".to_owned(), "AUTH is not known"),
        ("oauth:x".to_owned(), "AUTH is not known"),
        ("keys:/not/there".to_owned(), "make a key with"),
        (format!("keys:{}", file("a", "nonsense")), "not a file of keys"),
        ("jwt:/not/there".to_owned(), "/not/there"),
        (format!("jwt:{}", file("b", "short")), "openssl rand -hex 32"),
        (format!("jwt:{}", file("c", "{")), "not a set of JSON Web Keys"),
        (format!("jwt:{}", file("d", r#"{"keys":[]}"#)), "no key for RS256"),
        (format!("jwt:{}", file("e", r#"{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}"#)), "no key for RS256"),
    ] {
        let error = configured(&["--auth", &setting]).unwrap_err().to_string();
        assert!(error.contains(sentence), "{setting}: {error}");
    }
    let public = Config::parse_from(["livecode-server", "--listen", "0.0.0.0:3000", "--auth", "keys:x"]);
    public.check().unwrap();
    let error =
        Config::parse_from(["livecode-server", "--cors-origins", "https://a.example/"]).check().unwrap_err();
    assert!(error.to_string().contains("CORS_ORIGINS"), "{error}");
}

/// As the binary does it, from the subcommand to the log at its most talkative.
#[tokio::test]
async fn no_log_has_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let keys = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_livecode-server"))
            .args(["keys", "--file", &path("keys.json")])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let key = keys(&["create", "alice", "--role", "admin"]).trim().to_owned();
    let (id, secret) = key.strip_prefix("lck_").unwrap().split_once('_').unwrap();
    let listed = keys(&["list"]);
    assert!(listed.starts_with(&format!("{id}\tadmin\t")) && listed.ends_with("\talice\n"), "{listed}");
    assert!(!listed.contains(secret));
    fs::write(path("secret"), SECRET).unwrap();
    let hmac = EncodingKey::from_secret(SECRET.as_bytes());
    let (good, old) =
        (signed(Algorithm::HS256, &hmac, &claims()), signed(Algorithm::HS256, &hmac, &but("exp", json!(1))));
    let bad = format!("{key}x");
    for (auth, credentials) in [
        (format!("keys:{}", path("keys.json")), [&key, &bad]),
        (format!("jwt:{}", path("secret")), [&good, &old]),
    ] {
        let mut server = Command::new(env!("CARGO_BIN_EXE_livecode-server"))
            .env_clear()
            .envs([("ROLE", "api"), ("PORT", "0"), ("RUST_LOG", "trace"), ("AUTH", auth.as_str())])
            .env("DATABASE_URL", format!("sqlite://{}", path("records.db")))
            .stdout(Stdio::piped())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        io::BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim().rsplit(' ').next().unwrap().to_owned();
        let statuses = credentials.map(|credential| {
            let request = ureq::post(format!("{base}code-sessions"))
                .config()
                .http_status_as_error(false)
                .build()
                .header("authorization", format!("Bearer {credential}"));
            request.send_empty().unwrap().status().as_u16()
        });
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(statuses, [201, 401]);
        let log = fs::read_to_string(path("log")).unwrap();
        assert!(log.contains("answered"), "{log}");
        for secret in [secret, SECRET, good.rsplit('.').next().unwrap(), old.rsplit('.').next().unwrap()] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[tokio::test]
async fn pages_of_named_origins_may_ask() {
    let ours = "https://app.example";
    let server = Setup { origins: vec![ours.parse().unwrap()], ..Setup::default() }.start();
    let asked = async |origin: &str, method: Method, path: &str| {
        let headers = [("origin", origin), ("access-control-request-method", "POST")];
        server.send(request(method, path, &headers, None)).await
    };
    let preflight = asked(ours, Method::OPTIONS, "/executions").await;
    assert_eq!(preflight.status, StatusCode::OK);
    assert_eq!(preflight.header("access-control-allow-origin"), ours);
    assert!(preflight.header("access-control-allow-headers").contains("authorization"));
    assert_eq!(preflight.header("access-control-allow-credentials"), "");
    assert_eq!(asked(ours, Method::GET, "/languages").await.header("access-control-allow-origin"), ours);
    assert_eq!(
        asked("https://evil.example", Method::GET, "/languages").await.header("access-control-allow-origin"),
        ""
    );
    let server = Server::start();
    let answer = server.send(request(Method::GET, "/languages", &[("origin", ours)], None)).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert_eq!((answer.header("x-frame-options"), answer.header("referrer-policy")), ("DENY", "no-referrer"));
    assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
}

#[tokio::test]
async fn internals_are_told_where_that_is_switched_on_to_administrators_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let file = KeyFile::new(&path);
    let [alice, root] = [("alice", KeyRole::User), ("root", KeyRole::Admin)]
        .map(|(owner, role)| file.create(Owner::new(owner).unwrap(), role).unwrap());
    let server = |debug_routes| {
        let auth = configured(&["--auth", &format!("keys:{}", path.display())]).unwrap();
        Setup { auth, debug_routes, ..Setup::default() }.start()
    };
    let [off, on] = [false, true].map(server);
    let ask = async |server: &Server, key: &str| {
        server.send(request(Method::GET, "/debug/state", &[("x-api-key", key)], None)).await
    };
    assert_eq!(ask(&off, &root).await.status, StatusCode::NOT_FOUND);
    assert_eq!(on.get("/debug/state").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&on, &alice).await.status, StatusCode::FORBIDDEN);
    let told = ask(&on, &root).await;
    assert_eq!((told.status, told.text("store")), (StatusCode::OK, "memory".into()));
    let told = told.json().to_string();
    assert!(!told.contains("keys.json") && !told.contains(&root), "{told}");
    let description = on.get("/openapi.json").await.json();
    assert!(!description.to_string().contains("/debug"));
}
