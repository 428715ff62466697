//! How much each caller may ask for.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::http::{Method, StatusCode};
use clap::Parser;
use livecode::{Clock, Owner, Timestamp};
use livecode_server::{Auth, Config, KeyFile, KeyRole, Tiers};
use serde_json::{Value, json};

use crate::server::{Answer, Setup, request};

/// In a test's hand.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Hand {
    fn clock() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_769_000_000_000)))
    }

    fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

fn tiers(arguments: &[String]) -> livecode::Result<Tiers> {
    Tiers::open(&Config::parse_from(["livecode-server".to_owned()].iter().chain(arguments)))
}

/// A server with these settings, by the names of their variables.
pub(crate) fn strict(settings: &[(&str, u32)]) -> Setup {
    let flag = |(name, value): &(&str, u32)| format!("--{}={value}", name.to_lowercase().replace('_', "-"));
    let tiers = tiers(&settings.iter().map(flag).collect::<Vec<_>>()).unwrap();
    Setup { tiers, ..Setup::default() }
}

fn program() -> Value {
    json!({ "language": "python", "source_code": "out 1" })
}

/// The seconds that a refused one is told to wait.
fn wait(answer: &Answer) -> u64 {
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!(answer.text("detail").contains(&format!("ask again in {seconds} s")), "{answer:?}");
    seconds
}

#[tokio::test]
async fn retry_after_is_true() {
    let clock = Hand::clock();
    let limited = [("RATE_RUNS_PER_MINUTE", 7), ("RATE_BURST", 2)];
    let server = Setup { clock: clock.clone(), ..strict(&limited) }.start();
    let run = format!("/sessions/{}/run", server.session("out 1").await);
    for _ in 0..2 {
        assert_eq!(server.post(&run, json!({})).await.status, StatusCode::ACCEPTED);
    }
    let refused = server.post(&run, json!({})).await;
    assert_eq!(wait(&refused), 9, "8,571.4 ms");
    clock.advance(8_571);
    assert_eq!(wait(&server.post(&run, json!({})).await), 1);
    clock.advance(1);
    assert_eq!(server.post(&run, json!({})).await.status, StatusCode::ACCEPTED);
    assert_eq!(wait(&server.post(&run, json!({})).await), 9);
}

#[tokio::test]
async fn every_way_to_run_counts_and_nothing_else_does() {
    let limited = [("RATE_RUNS_PER_MINUTE", 1), ("RATE_BURST", 8)];
    let server = strict(&limited).start();
    for prefix in ["", "/api"] {
        for (path, body) in [
            ("/executions", program()),
            ("/submit-code", json!({ "code": "out 1" })),
            ("/executions/batch", json!([program(), program()])),
        ] {
            let answer = server.post(&format!("{prefix}{path}"), body).await;
            assert!(answer.status.is_success(), "{answer:?}");
        }
    }
    wait(&server.post("/executions", program()).await);
    wait(&server.post("/submit-code", json!({ "code": "out 1" })).await);
    // Those in a session count by themselves, by whichever name and however often it's saved and read.
    let session = server.session("out 1").await;
    for n in 0..8 {
        let path = ["/code-sessions", "/sessions", "/api/code-sessions", "/api/sessions"][n % 4];
        let answer = server.post(&format!("{path}/{session}/run"), json!({})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let saved = json!({ "source_code": format!("out {n}") });
        assert_eq!(
            server.patch(&format!("/code-sessions/{session}"), &[], saved).await.status,
            StatusCode::OK
        );
        server.get(&format!("/code-sessions/{session}/executions")).await;
    }
    wait(&server.post(&format!("/sessions/{session}/run"), json!({})).await);
    let other = server.session("out 1").await;
    let run = format!("/sessions/{other}/run");
    assert_eq!(server.post(&run, json!({})).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn each_run_of_a_batch_is_refused_by_itself() {
    let limited = [("RATE_RUNS_PER_MINUTE", 1), ("RATE_BURST", 3)];
    let server = strict(&limited).start();
    let answer =
        server.post("/executions/batch", json!([program(), program(), program(), program(), 7])).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS);
    let mut statuses: Vec<_> = answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["status_code"].as_u64().unwrap())
        .collect();
    statuses.sort();
    assert_eq!(statuses, [202, 202, 202, 400, 429]);
}

#[tokio::test]
async fn a_day_and_what_is_open_have_their_sentences() {
    let server = Setup { worker: false, ..strict(&[("QUOTA_RUNS_PER_DAY", 1)]) }.start();
    server.program("out 1").await;
    let refused = server.post("/executions", program()).await;
    assert!((1..=86_400).contains(&wait(&refused)));
    assert!(refused.text("error").contains("1 a day"), "{refused:?}");
    let server = Setup { worker: false, ..strict(&[("MAX_OPEN_EXECUTIONS", 1)]) }.start();
    let session = server.session("out 1").await;
    let run = format!("/sessions/{session}/run");
    let open = server.post(&run, json!({})).await.text("execution_id");
    let refused = server.post(&run, json!({})).await;
    assert_eq!(wait(&refused), 5);
    assert!(refused.text("error").contains("one of them must end first"), "{refused:?}");
    server.post(&format!("/executions/{open}/cancel"), json!({})).await;
    assert_eq!(server.post(&run, json!({})).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_is_held_open_is_bounded_until_it_is_closed() {
    let server = strict(&[("MAX_OPEN_STREAMS", 2)]).start();
    let id = server.program("wait").await;
    let (_, events) = server.follow(&id, None).await;
    let held = server.follow(&id, None).await;
    let one_more = async || server.follow(&id, None).await.0;
    assert_eq!(one_more().await, StatusCode::TOO_MANY_REQUESTS);
    wait(&server.get(&format!("/executions/{id}?wait_ms=1000")).await);
    // What isn't held is answered, and a refused run leaves nothing behind.
    assert_eq!(server.get(&format!("/executions/{id}")).await.status, StatusCode::OK);
    let session = server.session("out 1").await;
    wait(&server.post(&format!("/sessions/{session}/run?wait_ms=1000"), json!({})).await);
    let history = server.get(&format!("/code-sessions/{session}/executions")).await.json();
    assert_eq!(history, json!([]));
    drop(held);
    assert_eq!(one_more().await, StatusCode::OK);
    server.fake.release();
    events.rest().await;
    assert_eq!(server.end(&id).await["status"], "COMPLETED");
}

fn written(directory: &tempfile::TempDir, text: &str) -> String {
    let path = directory.path().join("tiers.toml");
    fs::write(&path, text).unwrap();
    format!("--tiers={}", path.display())
}

#[tokio::test]
async fn a_tier_is_what_its_keys_may_ask_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = written(
        &directory,
        "[tiers.pro]\nburst = 3\n[tiers.free]\nruns_per_minute = 1\nlimits = { wall_time_ms = 2000 }\n\
         [tiers.any]\nruns_per_minute = 0\n[tiers.default]\nburst = 4\n",
    );
    let keys = KeyFile::new(directory.path().join("keys.json"));
    let key = |owner: &str, tier| keys.create_in(tier, Owner::new(owner).unwrap(), KeyRole::User).unwrap();
    let [pro, free, any, none, gone] = [
        key("pro", Some("pro")),
        key("free", Some("free")),
        key("any", Some("any")),
        key("none", None),
        key("gone", Some("gone")),
    ];
    let auth = format!("--auth=keys:{}", directory.path().join("keys.json").display());
    let server = Setup {
        tiers: tiers(&[file, "--rate-runs-per-minute=2".into(), "--rate-burst=2".into()]).unwrap(),
        auth: Auth::open(&Config::parse_from(["livecode-server", &auth])).unwrap(),
        ..Setup::default()
    }
    .start();
    let run = async |key: &str, body: Value| {
        let bearer = format!("Bearer {key}");
        server.send(request(Method::POST, "/executions", &[("authorization", &bearer)], Some(body))).await
    };
    for (key, burst) in [(&pro, 3), (&free, 2), (&none, 4)] {
        for _ in 0..burst {
            assert_eq!(run(key, program()).await.status, StatusCode::ACCEPTED);
        }
        wait(&run(key, program()).await);
    }
    for _ in 0..10 {
        assert_eq!(run(&any, program()).await.status, StatusCode::ACCEPTED);
    }
    let refused = run(&gone, program()).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text("detail").contains("tier"), "{refused:?}");
    // A tier's limits are its defaults and the most that it may ask for.
    let slow = json!({ "language": "python", "source_code": "limits", "limits": { "wall_time_ms": 5000 } });
    let refused = run(&free, slow.clone()).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text("detail").contains("at most 2000"), "{refused:?}");
    assert_eq!(run(&any, slow).await.status, StatusCode::ACCEPTED);
}

#[test]
fn a_file_of_tiers_that_cannot_be_right_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    for (text, sentences) in [
        ("[tiers.a]\nruns = 1", &["line 2", "unknown field `runs`", "runs_per_minute"][..]),
        ("[tier.a]\n", &["line 1", "unknown field `tier`"]),
        ("[tiers.a]\nburst = -1", &["line 2"]),
        ("[tiers.a]\n[tiers.a.limits]\nwall_ms = 1", &["line", "unknown limit `wall_ms`", "wall_time_ms"]),
        ("[tiers.a]\nlimits = { processes = 65 }", &["tiers.a.limits.processes is 65", "LIMIT_"]),
        ("[tiers.a]\nlimits = { processes = 0 }", &["tiers.a.limits.processes is 0"]),
        ("[tiers.a]\nruns_per_minute = 1\nburst = 0", &["tiers.a", "burst is 0"]),
        ("[tiers.a", &["line 1"]),
    ] {
        let error = tiers(&[written(&directory, text)]).unwrap_err().to_string();
        for sentence in sentences {
            assert!(error.contains("TIERS") && error.contains(sentence), "{text}: {error}");
        }
    }
    assert!(tiers(&["--tiers=/not/there".into()]).unwrap_err().to_string().contains("/not/there"));
}
