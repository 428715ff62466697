//! Who is told of an execution's end, by what, how often, and who never is.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::http::StatusCode;
use clap::Parser;
use livecode::{MemoryStore, Owner};
use livecode_server::{Config, WebhookSecret, Webhooks};
use serde_json::{Value, json};
use tokio::task::yield_now;

use crate::{
    receiver::Receiver,
    server::{Server, Setup},
};

const SECRET: &str = "an example of a secret, in 32 bytes and more";

/// Webhooks with these arguments beside a secret.
fn webhooks(arguments: &[&str]) -> Option<Webhooks> {
    let usual = ["livecode-server", "--webhook-secret", SECRET, "--webhook-retry-ms", "1"];
    let config = Config::parse_from(usual.iter().chain(arguments));
    Some(Webhooks::open(&config.webhooks).unwrap().unwrap())
}

/// A server that tells receivers on this machine.
fn telling(arguments: &[&str]) -> Server {
    let inside = ["--webhook-allow", "127.0.0.0/8,::1/128"];
    Setup { webhooks: webhooks(&[&inside, arguments].concat()), ..Setup::default() }.start()
}

fn program(source: &str, url: &str) -> Value {
    json!({ "language": "python", "source_code": source, "callback_url": url })
}

impl Server {
    /// Accepts a program of whose end that URL is told: its id.
    async fn tell(&self, source: &str, url: &str) -> String {
        let answer = self.post("/executions", program(source, url)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        answer.text("execution_id")
    }

    async fn callback(&self, id: &str) -> Value {
        self.get(&format!("/executions/{id}")).await.json()["callback"].clone()
    }

    /// Where it stands when that holds, which is a matter of moments.
    async fn callback_when(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let callback = self.callback(id).await;
                if holds(&callback) {
                    return callback;
                }
                yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.expect("that within a minute")
    }

    async fn settled(&self, id: &str) -> Value {
        self.callback_when(id, |callback| callback["status"] != "PENDING").await
    }
}

#[tokio::test]
async fn an_end_is_told_and_signed_for_its_owner() {
    let server = telling(&[]);
    let mut receiver = Receiver::answering([]).await;
    let id = server.tell("out hi\nwait\nexit 3", &receiver.url()).await;
    let waiting = json!({
        "url": receiver.url(), "status": "PENDING", "attempts": 0, "last_error": null, "next_attempt_at": null,
        "delivered_at": null,
    });
    assert_eq!(server.callback(&id).await, waiting);
    server.fake.release();
    let got = receiver.next().await;
    assert_eq!((got.path.as_str(), got.header("content-type")), ("/ended?token=hush", "application/json"));
    assert_eq!(got.header("webhook-id"), id);
    assert!(got.header("webhook-timestamp").parse::<u64>().unwrap() > 1_700_000_000);
    let secret = |owner| WebhookSecret::read(SECRET).unwrap().of_owner(&owner);
    assert!(got.is_signed_by(&secret(Owner::anonymous())));
    assert!(!got.is_signed_by(&secret(Owner::new("bob").unwrap())), "each owner has a secret of their own");
    let told = server.settled(&id).await;
    assert_eq!((&told["status"], &told["attempts"]), (&json!("DELIVERED"), &json!(1)));
    assert_eq!((&told["last_error"], &told["next_attempt_at"]), (&Value::Null, &Value::Null));
    let mut record = server.get(&format!("/executions/{id}")).await.json();
    let mut body = got.json();
    assert_eq!((&body["type"], &body["timestamp"]), (&json!("execution.ended"), &record["completed_at"]));
    assert!(told["delivered_at"].as_str() >= record["completed_at"].as_str());
    (body["data"]["callback"], record["callback"]) = (Value::Null, Value::Null);
    assert_eq!((&body["data"], &record["stdout"]), (&record, &json!("hi\n")));
    assert!(receiver.has_nothing_more());
}

#[tokio::test]
async fn every_way_to_run_tells() {
    let server = telling(&[]);
    let mut receiver = Receiver::answering([]).await;
    let url = receiver.url();
    let session = server.session("out 1").await;
    let run = json!({ "callback_url": url });
    let queued = [
        server.post(&format!("/code-sessions/{session}/run"), run).await.text("execution_id"),
        server.post("/submit-code", json!({ "code": "out 2", "callback_url": url })).await.text("jobId"),
        server.post("/executions/batch", json!([program("out 3", &url)])).await.json()[0]["execution"]
            ["execution_id"]
            .as_str()
            .unwrap()
            .to_owned(),
    ];
    let cancelled = server.tell("wait", &url).await;
    server.fake.waits().await;
    server.post(&format!("/executions/{cancelled}/cancel"), json!({})).await;
    let mut told = HashSet::new();
    for _ in 0..4 {
        let data = receiver.next().await.json()["data"].clone();
        told.insert(data["id"].as_str().unwrap().to_owned());
        let expected = if data["id"] == *cancelled { "CANCELLED" } else { "COMPLETED" };
        assert_eq!(data["status"], expected);
    }
    assert_eq!(told, HashSet::from_iter([&queued[..], &[cancelled]].concat()));
    server.settled(&queued[0]).await;
    let history = server.get(&format!("/code-sessions/{session}/executions")).await.json();
    assert_eq!(history[0]["callback"]["status"], "DELIVERED");
    let (_, mut events) = server.follow(&queued[0], None).await;
    assert_eq!(events.until("end").await.data["callback"]["url"], url);
}

#[tokio::test]
async fn who_is_not_well_is_told_again() {
    let server = telling(&[]);
    let mut receiver = Receiver::answering([503, 500, 408]).await;
    let id = server.tell("out 1", &receiver.url()).await;
    let secret = WebhookSecret::read(SECRET).unwrap().of_owner(&Owner::anonymous());
    for status in [503, 500, 408] {
        let got = receiver.next().await;
        assert_eq!(got.header("webhook-id"), id, "the name by which receivers tell repetitions");
        assert!(got.is_signed_by(&secret));
        let error = format!("the receiver answered with status {status}");
        server.callback_when(&id, |callback| callback["last_error"] == *error).await;
    }
    receiver.next().await;
    let told = server.settled(&id).await;
    assert_eq!((&told["status"], &told["attempts"]), (&json!("DELIVERED"), &json!(4)));
    assert_eq!(told["last_error"], Value::Null);
}

#[tokio::test]
async fn who_refuses_is_told_once() {
    let server = telling(&[]);
    for status in [400, 404, 410, 302, 307] {
        let mut receiver = Receiver::answering([status]).await;
        let id = server.tell("out 1", &receiver.url()).await;
        let told = server.settled(&id).await;
        assert_eq!((&told["status"], &told["attempts"]), (&json!("FAILED"), &json!(1)), "{status}");
        assert!(told["last_error"].as_str().unwrap().contains(&status.to_string()), "{told}");
        assert_eq!((&told["next_attempt_at"], &told["delivered_at"]), (&Value::Null, &Value::Null));
        assert_eq!(receiver.next().await.path, "/ended?token=hush");
        assert!(receiver.has_nothing_more(), "no redirect is followed");
    }
}

#[tokio::test]
async fn who_never_gets_well_is_given_up() {
    let server = telling(&["--webhook-attempts", "3"]);
    let mut receiver = Receiver::answering([503; 9]).await;
    let id = server.tell("out 1", &receiver.url()).await;
    let told = server.settled(&id).await;
    assert_eq!((&told["status"], &told["attempts"]), (&json!("FAILED"), &json!(3)));
    assert_eq!(told["last_error"], "given up after try 3: the receiver answered with status 503");
    for _ in 0..3 {
        receiver.next().await;
    }
    assert!(receiver.has_nothing_more());
}

/// As it asks for itself, but for no longer than an hour, and half of that.
#[tokio::test]
async fn who_asks_for_time_is_given_some() {
    let server = telling(&[]);
    let receiver = Receiver::answering([429]).await;
    let id = server.tell("out 1", &receiver.url()).await;
    let asked = server.callback_when(&id, |callback| callback["last_error"] != Value::Null).await;
    let record = server.get(&format!("/executions/{id}")).await.json();
    let moment = |at: &Value| at.as_str().unwrap().parse::<livecode::Timestamp>().unwrap();
    let pause = moment(&asked["next_attempt_at"]).duration_since(moment(&record["completed_at"]));
    assert!((3_600..7_200).contains(&pause.as_secs()), "{pause:?}");
}

/// A name that leads inside reads like one that leads nowhere, and nothing is sent.
#[tokio::test]
async fn a_name_that_leads_inside_is_not_followed() {
    let arguments = ["--webhook-attempts", "1"];
    let server = Setup { webhooks: webhooks(&arguments), ..Setup::default() }.start();
    let mut receiver = Receiver::answering([]).await;
    let mut errors = HashSet::new();
    for host in ["localhost", "LOCALHOST.", "nowhere.invalid"] {
        let url = format!("http://{host}:{}/", receiver.address.port());
        let told = server.settled(&server.tell("out 1", &url).await).await;
        assert_eq!(told["status"], "FAILED", "{url}");
        errors.insert(told["last_error"].as_str().unwrap().to_owned());
    }
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(receiver.has_nothing_more());
    // It's the operator who lets it through.
    let server = telling(&arguments);
    let url = format!("http://localhost:{}/", receiver.address.port());
    assert_eq!(server.settled(&server.tell("out 1", &url).await).await["status"], "DELIVERED");
    receiver.next().await;
}

#[tokio::test]
async fn no_spelling_of_an_address_inside_is_accepted() {
    let server = Setup { webhooks: webhooks(&[]), worker: false, ..Setup::default() }.start();
    for host in [
        // Loopback: as it is, in other bases, with parts left out, at the end of the network, with a dot.
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "127.255.255.254",
        "127.0.0.1.",
        "１２７.0.0.1",
        "%31%32%37.0.0.1",
        "127。0。0。1",
        // This host, private, shared, link-local (where clouds keep credentials), of protocols, benchmarks and examples.
        "0.0.0.0",
        "0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "169.254.169.254",
        "0xa9fea9fe",
        "168.63.129.16",
        "0xa83f8110",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        // Multicast, reserved, broadcast.
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        // The same of version 6, and version 4 within it: mapped, compatible, translated, by tunnels.
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd12:3456::1]",
        "[ff02::1]",
        "[fec0::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
        "[5f00::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:169.254.169.254]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001:0:4136:e378::1]",
        "[2001:10::1]",
        "[4000::1]",
    ] {
        for url in [format!("http://{host}/"), format!("HTTPS://{host}:8443/x?y")] {
            if !url.is_ascii() {
                // Such a host has to be percent-encoded, and is read as what it looks like.
                let bytes = |c: char| c.to_string().bytes().map(|b| format!("%{b:02x}")).collect::<String>();
                let host: String = host.chars().map(bytes).collect();
                let refused = server.post("/executions", program("out 1", &format!("http://{host}/"))).await;
                assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{host}");
            }
            let refused = server.post("/executions", program("out 1", &url)).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{url}");
            assert!(refused.text("detail").starts_with("callback_url "), "{refused:?}");
        }
    }
    for host in [
        "1.1.1.1",
        "100.63.255.255",
        "172.32.0.1",
        "[2606:4700:4700::1111]",
        "[64:ff9b::101:101]",
        "example.org",
    ] {
        server.tell("out 1", &format!("https://{host}/")).await;
    }
}

#[tokio::test]
async fn the_operator_lets_networks_through() {
    let allow = ["--webhook-allow", "10.1.0.0/16,fd00::/8"];
    let server = Setup { webhooks: webhooks(&allow), worker: false, ..Setup::default() }.start();
    for host in ["10.1.2.3", "[fd00::1]", "[::ffff:10.1.2.3]", "[64:ff9b::10.1.2.3]"] {
        server.tell("out 1", &format!("http://{host}/")).await;
    }
    for host in ["10.2.0.1", "127.0.0.1", "[fc00::1]"] {
        let refused = server.post("/executions", program("out 1", &format!("http://{host}/"))).await;
        assert!(refused.text("detail").contains("WEBHOOK_ALLOW"), "{refused:?}");
    }
}

#[tokio::test]
async fn without_a_secret_nobody_is_told() {
    let server = Server::idle();
    let session = server.session("out 1").await;
    let url = "https://example.org/";
    for (path, body) in [
        ("/executions", program("out 1", url)),
        (&format!("/code-sessions/{session}/run"), json!({ "callback_url": url })),
        ("/submit-code", json!({ "code": "out 1", "callback_url": url })),
    ] {
        let refused = server.post(path, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(refused.text("detail").contains("WEBHOOK_SECRET"), "{refused:?}");
    }
    let batch = server.post("/executions/batch", json!([program("out 1", url)])).await.json();
    assert_eq!(batch[0]["status_code"], 400);
    // What isn't there isn't described.
    let asks = |description: &Value| description.to_string().contains("\"callback_url\"");
    assert!(!asks(&server.get("/openapi.json").await.json()));
    assert!(asks(&telling(&[]).get("/openapi.json").await.json()));
}

/// Though there are more of its own than it may have at a time. Each of its tries is broken off.
#[tokio::test]
async fn who_does_not_answer_holds_up_nobody() {
    let server = telling(&[]);
    let (mut silent, mut well) = (Receiver::answering([0; 99]).await, Receiver::answering([]).await);
    let mut stuck = Vec::new();
    for _ in 0..40 {
        stuck.push(server.tell("out 1", &silent.url()).await);
    }
    silent.next().await;
    let id = server.tell("out 2", &well.url()).await;
    assert_eq!(well.next().await.header("webhook-id"), id);
    assert!(silent.left.try_recv().is_err(), "it's told while all of those are still waited for");
    assert_eq!(server.settled(&id).await["status"], "DELIVERED");
    silent.left.recv().await.unwrap();
    let mut errors = Vec::new();
    for id in &stuck {
        errors.push(server.callback(id).await["last_error"].clone());
    }
    while !errors.iter().any(|error| error == "the receiver gave no answer within 10 s") {
        errors.clear();
        for id in &stuck {
            errors.push(server.callback(id).await["last_error"].clone());
        }
    }
}

/// Those who share a store: nobody is told twice, as long as nobody dies.
#[tokio::test]
async fn of_several_processes_one_tells() {
    let store = Arc::new(MemoryStore::default());
    let start = |worker| {
        let allow = ["--webhook-allow", "127.0.0.0/8"];
        Setup { store: store.clone(), worker, webhooks: webhooks(&allow), ..Setup::default() }.start()
    };
    let (server, _others) = (start(true), [start(false), start(false)]);
    let mut receiver = Receiver::answering([]).await;
    let mut expected = HashSet::new();
    for n in 0..50 {
        expected.insert(server.tell(&format!("out {n}"), &receiver.url()).await);
    }
    let mut told = HashSet::new();
    for _ in 0..50 {
        let id = receiver.next().await.header("webhook-id").to_owned();
        assert!(told.insert(id), "told twice");
    }
    assert_eq!(told, expected);
    for id in &expected {
        assert_eq!(server.settled(id).await["attempts"], 1);
    }
    assert!(receiver.has_nothing_more());
}

/// What is under way at the end is broken off after a while, and is another process's at once, even if it was the last try.
#[tokio::test]
async fn the_end_of_a_process_loses_nothing() {
    let store = Arc::new(MemoryStore::default());
    let start = || {
        let arguments = ["--webhook-allow", "127.0.0.0/8", "--webhook-attempts", "1"];
        Setup { store: store.clone(), webhooks: webhooks(&arguments), ..Setup::default() }.start()
    };
    let first = start();
    let mut receiver = Receiver::answering([0]).await;
    let id = first.tell("out 1", &receiver.url()).await;
    receiver.next().await;
    first.shutdown.draining().cancel();
    receiver.left.recv().await.unwrap();
    let second = start();
    assert_eq!(receiver.next().await.header("webhook-id"), id);
    let told = second.settled(&id).await;
    assert_eq!((&told["status"], &told["attempts"]), (&json!("DELIVERED"), &json!(2)));
}

#[test]
fn a_secret_is_long_or_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let owner = Owner::new("alice").unwrap();
    let of_file = WebhookSecret::read(&format!("file:{}", file.display())).unwrap().of_owner(&owner);
    assert_eq!(of_file, WebhookSecret::read(SECRET).unwrap().of_owner(&owner));
    for (text, reason) in [("short", "has 5 bytes"), ("file:/nowhere", "/nowhere, which can't be read")] {
        let error = WebhookSecret::read(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
