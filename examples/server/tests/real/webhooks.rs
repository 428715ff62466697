//! Telling receivers, by processes that are killed and processes that share a database.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};

use crate::{
    postgres_server,
    server::{Server, python, until},
};

const SECRET: (&str, &str) = ("WEBHOOK_SECRET", "an example of a secret, in 32 bytes and more");

/// What tells on this machine, and soon again.
fn telling(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&[SECRET, ("WEBHOOK_ALLOW", "127.0.0.0/8"), ("WEBHOOK_RETRY_MS", "50")], more].concat()
}

/// What a receiver gets: headers by their names in lower case, and the body.
type Got = (HashMap<String, String>, Vec<u8>);

/// Accepts all that it's told.
fn receive(listener: TcpListener) -> mpsc::Receiver<Got> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut headers = HashMap::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.trim_end().split_once(": ") {
                    Some((name, value)) => drop(headers.insert(name.to_lowercase(), value.to_owned())),
                    None if line.trim_end().is_empty() => break,
                    None => {}
                }
            }
            let mut body = vec![0; headers["content-length"].parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            if sender.send((headers, body)).is_err() {
                return;
            }
        }
    });
    receiver
}

fn told(address: SocketAddr, source: &str) -> Value {
    let mut program = python(source);
    program["callback_url"] = json!(format!("http://{address}/ended"));
    program
}

fn id(accepted: &Value) -> &str {
    accepted["execution_id"].as_str().unwrap()
}

fn callback(server: &Server, accepted: &Value) -> Value {
    server.get(&format!("/executions/{}", id(accepted))).1["callback"].clone()
}

/// Whether it's signed by what the subcommand prints, as the README says to find out.
fn is_signed(directory: &Path, owner: Option<&str>, (headers, body): &Got) -> bool {
    let printed = Command::new(env!("CARGO_BIN_EXE_livecode-server"))
        .arg("webhook-secret")
        .args(owner)
        .env(SECRET.0, SECRET.1)
        .output()
        .unwrap();
    let secret = String::from_utf8(printed.stdout).unwrap();
    assert!(secret.starts_with("whsec_"), "{secret}");
    let readme = include_str!("../../../../README.md");
    let code = readme.split("```").find_map(|part| part.strip_prefix("python")).unwrap();
    assert!(code.contains("def is_genuine"));
    let ask = "\nimport json, sys\nheaders, body = json.load(open('headers')), open('body', 'rb').read()\n\
               sys.exit(0 if is_genuine(sys.argv[1], headers, body) else 3)\n";
    for (file, content) in [
        ("headers", &serde_json::to_vec(headers).unwrap()),
        ("body", body),
        ("genuine.py", &[code.as_bytes(), ask.as_bytes()].concat()),
    ] {
        fs::write(directory.join(file), content).unwrap();
    }
    let asked =
        Command::new("python3").args(["genuine.py", secret.trim_end()]).current_dir(directory).status();
    let status = asked.unwrap().code();
    assert!(matches!(status, Some(0 | 3)), "{status:?}");
    status == Some(0)
}

#[test]
fn a_killed_server_tells_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    // The address is taken, and nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start(directory.path(), &telling(&[]));
    let (status, accepted) = server.post("/executions", &told(address, "print(1)"));
    assert_eq!(status, 202, "{accepted}");
    assert_eq!(server.end(&accepted)["status"], "COMPLETED");
    until("a try that fails", || callback(&server, &accepted)["last_error"] != Value::Null);
    server.kill();

    let receiver = receive(TcpListener::bind(address).unwrap());
    let server = Server::start(directory.path(), &telling(&[]));
    let got = receiver.recv().unwrap();
    assert_eq!(got.0["webhook-id"], id(&accepted));
    assert!(is_signed(directory.path(), None, &got));
    assert!(!is_signed(directory.path(), Some("alice"), &got));
    let body: Value = serde_json::from_slice(&got.1).unwrap();
    assert_eq!((&body["type"], &body["data"]["stdout"]), (&json!("execution.ended"), &json!("1\n")));
    until("its end", || callback(&server, &accepted)["status"] == "DELIVERED");
}

/// What runs programs needs no secret, and of several that answer requests one tells.
#[test]
fn processes_that_share_a_postgres_database_tell_each_end_once() {
    const RUNS: usize = 40;
    let directory = tempfile::tempdir().unwrap();
    let database = postgres_server::fresh();
    let start = |environment: Vec<(&str, &str)>| {
        Server::start(directory.path(), &[&environment[..], &[("DATABASE_URL", &database)]].concat())
    };
    let apis = [0, 1].map(|_| start(telling(&[("ROLE", "api")])));
    let _worker = start(vec![("ROLE", "worker"), ("WORKERS", "2")]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = receive(listener);
    let accepted: Vec<Value> = (0..RUNS)
        .map(|n| apis[n % 2].post("/executions", &told(address, &format!("print({n})"))).1)
        .collect();
    let mut outputs: HashMap<String, Value> = HashMap::new();
    for _ in 0..RUNS {
        let (headers, body) = receiver.recv().unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let earlier = outputs.insert(headers["webhook-id"].clone(), body["data"]["stdout"].clone());
        assert_eq!(earlier, None, "told twice");
    }
    for (n, accepted) in accepted.iter().enumerate() {
        assert_eq!(outputs[id(accepted)], format!("{n}\n"));
        until("its end", || callback(&apis[0], accepted)["status"] == "DELIVERED");
        assert_eq!(callback(&apis[1], accepted)["attempts"], 1);
    }
    assert!(receiver.try_recv().is_err());
}
