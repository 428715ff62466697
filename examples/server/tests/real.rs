//! The binary as it's shipped: SQLite, PostgreSQL and Redis, the process sandbox, real programs; and what is left when it's killed.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../../../crates/livecode-sqlx/tests/postgres_server/mod.rs"]
mod postgres_server;
#[path = "../../../crates/livecode-redis/tests/redis_server/mod.rs"]
mod redis_server;

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use livecode::{
    Change, Clock, Execution, ExecutionId, ExecutionSpec, Owner, Store, SystemClock, sqlx::Sqlite,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

/// A running server. Killed on drop.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(directory: &Path, environment: &[(&str, &str)]) -> Self {
        Self::logging(directory, environment, Stdio::inherit())
    }

    fn logging(directory: &Path, environment: &[(&str, &str)], log: Stdio) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_livecode-server"))
            .current_dir(directory)
            .envs([("LISTEN", "127.0.0.1:0"), ("LEASE_MS", "1000"), ("A_SECRET_OF_THE_HOST", "hunter2")])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.map(|line| line.unwrap()).find_map(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with("http://"))
                .map(|url| url.trim_end_matches('/').into())
        });
        Self { process, url: url.unwrap() }
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_with(path, body, &[])
    }

    fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = agent().post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send_json(body))
    }

    fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(agent().patch(format!("{}{path}", self.url)).send_json(body))
    }

    fn get(&self, path: &str) -> (u16, Value) {
        answer(agent().get(format!("{}{path}", self.url)).call())
    }

    /// Runs a program to its end.
    fn run(&self, body: &Value) -> Value {
        let (status, accepted) = self.post("/executions", body);
        assert_eq!(status, 202, "{accepted}");
        self.end(&accepted)
    }

    /// The value on the line of `GET /metrics` that begins so.
    fn metric(&self, series: &str) -> Option<f64> {
        let mut response = agent().get(format!("{}/metrics", self.url)).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    fn end(&self, accepted: &Value) -> Value {
        let id = accepted["execution_id"].as_str().unwrap();
        let (status, record) = self.get(&format!("/executions/{id}?wait_ms=30000"));
        assert_eq!(status, 200, "{record}");
        record
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut response = response.unwrap();
    (response.status().as_u16(), response.body_mut().read_json().unwrap_or(Value::Null))
}

fn python(source: &str) -> Value {
    json!({ "language": "python", "source_code": source })
}

#[test]
fn a_program_is_compiled_once_unless_the_operator_says_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let languages = directory.path().join("languages.toml");
    // Never leaves the same.
    let lottery = r#"
        [[language]]
        name = "lottery"
        file_name = "numbers"
        compile = ["sh", "-c", "mktemp -u XXXXXXXXXXXXXXXX >drawn"]
        run = ["cat", "drawn"]
    "#;
    fs::write(&languages, lottery).unwrap();
    let languages = ("LANGUAGES", languages.to_str().unwrap());
    for (environment, draws) in [(vec![languages], 1), (vec![languages, ("COMPILE_CACHE_BYTES", "0")], 3)] {
        let server = Server::start(directory.path(), &environment);
        let draw =
            |_| server.run(&json!({ "language": "lottery", "source_code": "x" }))["stdout"].to_string();
        let drawn: HashSet<String> = (0..3).map(draw).collect();
        assert_eq!(drawn.len(), draws, "{drawn:?}");
        // Test cases of one program are drawn once in any case.
        let tests = json!([{ "expected_stdout": "" }, { "expected_stdout": "" }, { "expected_stdout": "" }]);
        let record = server.run(&json!({ "language": "lottery", "source_code": "y", "tests": tests }));
        let drawn: HashSet<_> = verdicts(&record).into_iter().collect();
        assert_eq!(drawn.len(), 1, "{record}");
        server.kill();
    }
}

/// Puts in an execution that ended so many days ago.
async fn ended_days_ago(store: &impl Store, days: u64) -> ExecutionId {
    let at = SystemClock.now().saturating_sub(Duration::from_secs(days * 24 * 60 * 60));
    let mut execution = Execution::new(Owner::anonymous(), "python", at);
    store.insert(&execution, &ExecutionSpec::new("python", "1")).await.unwrap();
    execution.apply(Change::RequestCancel, at).unwrap();
    store.update(&execution, &[]).await.unwrap();
    execution.id
}

#[test]
fn what_ended_before_the_days_to_retain_is_deleted_and_the_rest_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/livecode.db", directory.path().display());
    let [old, recent] = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let store = Sqlite::open(&url).await.unwrap().store();
        [ended_days_ago(&store, 3).await, ended_days_ago(&store, 1).await]
    });
    let server = Server::start(directory.path(), &[("RETAIN_DAYS", "2")]);
    while server.get(&format!("/executions/{old}")).0 != 404 {
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.get(&format!("/executions/{recent}")).0, 200);
}

#[test]
fn a_session_is_saved_and_run() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let (status, session) = server.post("/code-sessions", &json!({}));
    assert_eq!((status, &session["status"]), (201, &json!("ACTIVE")));
    let path = format!("/code-sessions/{}", session["session_id"].as_str().unwrap());
    let (status, saved) = server.patch(&path, &json!({ "source_code": "print('Hello', input())" }));
    assert_eq!((status, &saved["revision"]), (200, &json!(2)));
    let (status, accepted) = server.post(&format!("{path}/run"), &json!({ "stdin": "World\n" }));
    assert_eq!((status, &accepted["status"]), (202, &json!("QUEUED")));
    let record = server.end(&accepted);
    assert_eq!((&record["status"], &record["stdout"]), (&json!("COMPLETED"), &json!("Hello World\n")));
    assert_eq!((&record["exit_code"], &record["error_type"]), (&json!(0), &Value::Null));

    let record = server
        .run(&json!({ "language": "javascript", "source_code": "console.log([1, 2].map(n => n * 2))" }));
    assert_eq!(record["stdout"], "[ 2, 4 ]\n");
}

#[test]
fn failures_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[("LIMIT_WALL_MS", "2000")]);
    let record = server.run(&python("def f(:"));
    assert_eq!((&record["status"], &record["error_type"]), (&json!("FAILED"), &json!("RuntimeError")));
    assert!(record["stderr"].as_str().unwrap().contains("SyntaxError"), "{record}");

    let record = server.run(&python("print('before')\nwhile True: pass"));
    assert_eq!((&record["status"], &record["stdout"]), (&json!("TIMEOUT"), &json!("before\n")));
    assert_eq!(record["error_type"], "TimeoutError");
}

/// The verdicts of a record, with what each case's program wrote.
fn verdicts(record: &Value) -> Vec<(&str, &str)> {
    let cases = record["tests"].as_array().unwrap().iter();
    cases.map(|case| (case["verdict"].as_str().unwrap(), case["stdout"].as_str().unwrap())).collect()
}

#[test]
fn a_program_is_graded_by_its_test_cases() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[("LIMIT_WALL_MS", "3000")]);
    let in_python = "
import os, sys
open('trace', 'x').close()
a, b = map(int, input().split())
if a == 7: os.abort()
while a == 8: pass
print(a + b if a < 9 else 'nine')
";
    let in_c = r#"
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    int a, b;
    if (!fopen("trace", "wx") || scanf("%d %d", &a, &b) != 2) return 2;
    if (a == 7) abort();
    while (a == 8);
    if (a < 9) printf("%d\n", a + b); else puts("nine");
}
"#;
    let tests = json!([
        { "stdin": "1 2\n", "expected_stdout": "3" },
        { "stdin": "7 2\n", "expected_stdout": "9" },
        { "stdin": "8 2\n", "expected_stdout": "10" },
        { "stdin": "9 2\n", "expected_stdout": "11", "points": 5 },
        { "stdin": "20\n", "expected_stdout": "11", "hidden": true },
        { "stdin": "2 2\n", "expected_stdout": "4\n", "points": 3, "hidden": true },
    ]);
    for (language, source) in [("python", in_python), ("c", in_c)] {
        let record = server.run(&json!({ "language": language, "source_code": source, "tests": tests }));
        let expected = [
            ("accepted", "3\n"),
            ("runtime_error", ""),
            ("time_limit_exceeded", ""),
            ("wrong_answer", "nine\n"),
            ("runtime_error", ""),
            ("accepted", ""),
        ];
        assert_eq!(verdicts(&record), expected, "{language}");
        assert_eq!((&record["status"], &record["error_type"]), (&json!("COMPLETED"), &Value::Null));
        assert_eq!((&record["points"], &record["max_points"]), (&json!(4), &json!(12)));
        assert_eq!((&record["tests"][1]["signal"], &record["stdout"]), (&json!(6), &json!("")));
    }
    let record = server.run(&json!({ "language": "c", "source_code": "int main(", "tests": tests }));
    assert_eq!((&record["status"], &record["error_type"]), (&json!("FAILED"), &json!("CompileError")));
    assert_eq!(verdicts(&record), [("skipped", ""); 6]);
    assert!(record["compile_output"].as_str().unwrap().contains("error"), "{record}");
}

#[test]
fn one_key_makes_one_execution() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let answers: Vec<(u16, Value)> = thread::scope(|scope| {
        let post = || server.post_with("/executions", &python("print(1)"), &[("Idempotency-Key", "once")]);
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(post)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ids: HashSet<_> =
        answers.iter().map(|(_, answer)| answer["execution_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|(status, _)| *status == 202).count(), 1);
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 49);
}

#[test]
fn the_host_is_out_of_reach() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let port = server.url.rsplit_once(':').unwrap().1;
    let attempts = [
        format!("import socket; socket.create_connection(('127.0.0.1', {port}), 2)"),
        "open('/etc/shadow').read()".into(),
        "open('/proc/1/environ').read()".into(),
        format!("open('/proc/{}/environ').read()", server.process.id()),
        format!("open('{}/livecode.db', 'rb').read()", directory.path().display()),
        "import os; os.environ['A_SECRET_OF_THE_HOST']".into(),
    ];
    for attempt in attempts {
        let record = server.run(&python(&attempt));
        assert_eq!(
            (&record["status"], &record["exit_code"]),
            (&json!("FAILED"), &json!(1)),
            "{attempt}: {record}"
        );
        assert!(!record.to_string().contains("hunter2"), "{record}");
    }
}

/// Processes that the process `pid` started, and theirs.
fn descendants(pid: u32) -> HashSet<(u32, String)> {
    let parent_of = |pid: u32| -> Option<(u32, String)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some((fields[1].parse().ok()?, fields[19].into()))
    };
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all: Vec<(u32, u32, String)> =
        pids.filter_map(|pid| parent_of(pid).map(|(parent, began)| (pid, parent, began))).collect();
    let (mut found, mut parents) = (HashSet::new(), vec![pid]);
    while let Some(parent) = parents.pop() {
        for (pid, _, began) in all.iter().filter(|(_, of, _)| *of == parent) {
            parents.push(*pid);
            found.insert((*pid, began.clone()));
        }
    }
    found
}

fn is_alive((pid, began): &(u32, String)) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(&format!(" {began} ")))
}

fn cgroups_of(pid: u32) -> usize {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    let entries = hierarchies.flat_map(|path| fs::read_dir(path).into_iter().flatten().flatten());
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with("livecode-") && name.split('-').nth(2) == Some(&pid.to_string()))
        .count()
}

/// Waits until that holds; what is awaited takes milliseconds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not come about");
        thread::yield_now();
    }
}

#[test]
fn a_killed_server_loses_nothing_and_leaves_nothing() {
    const EXECUTIONS: usize = 100;
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    let accepted: Vec<Value> = (0..EXECUTIONS)
        .map(|n| {
            let (status, accepted) = server.post("/executions", &python(&format!("print({n})")));
            assert_eq!(status, 202, "{accepted}");
            accepted
        })
        .collect();
    // In the middle of it: some have ended, some run, most wait.
    server.end(&accepted[5]);
    let pid = server.process.id();
    let started = descendants(pid);
    assert!(!started.is_empty());
    server.kill();
    until("the end of all that the server started", || !started.iter().any(is_alive));
    until("the removal of its cgroups", || cgroups_of(pid) == 0);

    let server = Server::start(directory.path(), &[]);
    let mut again = 0;
    for (n, accepted) in accepted.iter().enumerate() {
        let record = server.end(accepted);
        assert_eq!(record["status"], "COMPLETED", "{record}");
        assert_eq!(record["stdout"], format!("{n}\n"), "{record}");
        again += usize::from(record["attempt"] != 1);
        // One end, and nothing after it.
        let id = accepted["execution_id"].as_str().unwrap();
        let mut events = agent().get(format!("{}/executions/{id}/events", server.url)).call().unwrap();
        let events = events.body_mut().read_to_string().unwrap();
        assert_eq!(events.matches("event: end").count(), 1, "{events}");
        assert!(events.trim_end().lines().rev().take(4).any(|line| line == "event: end"), "{events}");
    }
    // Only what was running then was begun again.
    let workers = thread::available_parallelism().unwrap().get();
    assert!(again <= workers, "{again} were begun again by {workers} workers");
}

#[test]
fn sigterm_finishes_what_runs_and_gives_back_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path(), &[("WORKERS", "1")]);
    let (_, short) =
        server.post("/executions", &python("import time\nprint('began')\ntime.sleep(1)\nprint('ended')"));
    let (_, waiting) = server.post("/executions", &python("print('later')"));
    let id = short["execution_id"].as_str().unwrap().to_owned();
    until("the beginning", || server.get(&format!("/executions/{id}")).1["stdout"] == "began\n");
    Command::new("kill").args(["-TERM", &server.process.id().to_string()]).status().unwrap();
    assert!(server.process.wait().unwrap().success());
    drop(server);

    let server = Server::start(directory.path(), &[]);
    let record = server.end(&short);
    assert_eq!((&record["stdout"], &record["attempt"]), (&json!("began\nended\n"), &json!(1)));
    assert_eq!(server.end(&waiting)["stdout"], "later\n");
}

/// Two processes that answer requests and two that run programs, on one database: each run is executed once, and followed
/// live where it wasn't accepted.
fn processes_share_a_database(directory: &Path, database: &str, queue: &str) {
    const RUNS: usize = 200;
    const CLIENTS: usize = 8;
    let start = |role| {
        let urls = [("DATABASE_URL", database), ("QUEUE_URL", queue)];
        Server::start(directory, &[&urls[..], &[("ROLE", role), ("WORKERS", "2")]].concat())
    };
    let apis = [start("api"), start("api")];
    let _workers = [start("worker"), start("worker")];
    let client = |client: usize| {
        for n in (client..RUNS).step_by(CLIENTS) {
            let source = format!("import time\nprint({n}, flush=True)\ntime.sleep(0.02)\nprint('end')");
            let (status, accepted) = apis[n % 2].post("/executions", &python(&source));
            assert_eq!(status, 202, "{accepted}");
            let id = accepted["execution_id"].as_str().unwrap();
            let events = agent().get(format!("{}/executions/{id}/events", apis[(n + 1) % 2].url)).call();
            let events = events.unwrap().body_mut().read_to_string().unwrap();
            let of =
                |name: &str| events.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>();
            let seqs = (1..=of("id: ").len()).map(|seq| seq.to_string());
            assert_eq!(of("id: "), seqs.collect::<Vec<_>>(), "{events}");
            assert_eq!(of("data: ").iter().filter(|data| data.contains("RUNNING")).count(), 1, "{events}");
            assert_eq!(of("event: ").last(), Some(&"end"), "{events}");
            let record: Value = serde_json::from_str(of("data: ").last().unwrap()).unwrap();
            let ended = (&record["status"], &record["stdout"], &record["attempt"]);
            assert_eq!(ended, (&json!("COMPLETED"), &json!(format!("{n}\nend\n")), &json!(1)));
        }
    };
    thread::scope(|scope| {
        let client = &client;
        (0..CLIENTS).for_each(|n| drop(scope.spawn(move || client(n))));
    });
}

fn sqlite_in(directory: &Path) -> String {
    format!("sqlite://{}/livecode.db", directory.display())
}

#[test]
fn a_request_id_finds_the_lines_of_two_processes() {
    let directory = tempfile::tempdir().unwrap();
    let start = |role: &str| {
        let log = directory.path().join(role);
        let environment =
            [("ROLE", role), ("DATABASE_URL", &sqlite_in(directory.path())), ("LOG_FORMAT", "json")];
        let server = Server::logging(directory.path(), &environment, fs::File::create(&log).unwrap().into());
        (server, log)
    };
    let ((api, api_log), (_worker, worker_log)) = (start("api"), start("worker"));
    let (_, accepted) =
        api.post_with("/executions", &python("print(1)"), &[("x-request-id", "over-there-7")]);
    assert_eq!(api.end(&accepted)["status"], "COMPLETED");
    for (log, said) in [(api_log, "answered"), (worker_log, "ended")] {
        until("the line of each", || {
            let text = fs::read_to_string(&log).unwrap();
            text.lines().any(|line| line.contains("\"over-there-7\"") && line.contains(said))
        });
    }
}

#[test]
fn metrics_tell_how_programs_were_started() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    until("a program that finds a world booted ahead", || {
        assert_eq!(server.run(&python("print(1)"))["status"], "COMPLETED");
        server.metric("livecode_warm_hits_total").unwrap() >= 1.0
    });
    assert!(server.metric("livecode_warm_misses_total").unwrap() >= 1.0, "the first ones found none");
    let compiled = json!({ "language": "c", "source_code": "int main(void) { return 0; }" });
    (0..2).for_each(|_| assert_eq!(server.run(&compiled)["status"], "COMPLETED"));
    assert_eq!(server.metric("livecode_compile_cache_hits_total"), Some(1.0));
    assert_eq!(server.metric("livecode_compile_cache_entries"), Some(1.0));
}

#[test]
fn a_program_that_another_process_runs_reads_a_line_answers_and_reads_again() {
    let directory = tempfile::tempdir().unwrap();
    let database = sqlite_in(directory.path());
    let [api, _worker] = ["api", "worker"]
        .map(|role| Server::start(directory.path(), &[("DATABASE_URL", &*database), ("ROLE", role)]));
    let source = "
print('name?')
name = input()
print('hello', name, flush=True)
print('again?', input(), flush=True)
import sys
print(repr(sys.stdin.read()))
";
    let mut program = python(source);
    program["stdin_open"] = json!(true);
    let (status, accepted) = api.post("/executions", &program);
    assert_eq!(status, 202, "{accepted}");
    let host = api.url.trim_start_matches("http://").to_owned();
    let url = format!("ws://{host}/executions/{}/ws", accepted["execution_id"].as_str().unwrap());
    let stream = TcpStream::connect(&host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    let (mut written, mut end) = (String::new(), Value::Null);
    let mut answers = [
        ("hello Ada\n", json!({ "stdin": "yes\n" })),
        ("again? yes\n", json!({ "stdin": "the rest", "stdin_eof": true })),
    ]
    .into_iter()
    .peekable();
    socket.send(tungstenite::Message::text(json!({ "stdin": "Ada\n" }).to_string())).unwrap();
    while end.is_null() {
        let tungstenite::Message::Text(text) = socket.read().unwrap() else { continue };
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["event"].as_str().unwrap() {
            "stdout" => written += message["data"]["text"].as_str().unwrap(),
            "end" => end = message["data"].clone(),
            event => assert_eq!(event, "status", "{message}"),
        }
        if let Some((_, answer)) = answers.next_if(|(question, _)| written.ends_with(question)) {
            socket.send(tungstenite::Message::text(answer.to_string())).unwrap();
        }
    }
    assert_eq!(end["status"], "COMPLETED", "{end}");
    assert_eq!(end["stdout"], "name?\nhello Ada\nagain? yes\n'the rest'\n");
    assert_eq!(written, end["stdout"].as_str().unwrap());
}

#[test]
fn processes_share_a_sqlite_file() {
    let directory = tempfile::tempdir().unwrap();
    processes_share_a_database(directory.path(), &sqlite_in(directory.path()), "database");
}

#[test]
fn processes_share_a_postgres_database() {
    let directory = tempfile::tempdir().unwrap();
    processes_share_a_database(directory.path(), &postgres_server::fresh(), "database");
}

#[test]
fn processes_share_a_postgres_database_and_a_redis() {
    let directory = tempfile::tempdir().unwrap();
    processes_share_a_database(directory.path(), &postgres_server::fresh(), &redis_server::fresh());
}

#[test]
fn what_is_accepted_while_redis_is_away_runs_when_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let redis = redis_server::Server::with(&[]);
    let (database, queue) = (sqlite_in(directory.path()), redis.queue("livecode"));
    let [api, _worker] = ["api", "worker"].map(|role| {
        let environment = [("DATABASE_URL", &*database), ("QUEUE_URL", &*queue), ("ROLE", role)];
        Server::start(directory.path(), &environment)
    });
    assert_eq!(api.run(&python("print(1)"))["stdout"], "1\n");
    redis.kill();
    let (status, accepted) = api.post("/executions", &python("print(2)"));
    assert_eq!(status, 202, "{accepted}");
    let (status, health) = api.get("/health/ready");
    assert_eq!((status, &health["detail"]), (503, &json!("the queue (Redis) is down")));
    redis.start();
    assert_eq!(api.end(&accepted)["stdout"], "2\n");
    assert_eq!(api.get("/health/ready").0, 200);
}
