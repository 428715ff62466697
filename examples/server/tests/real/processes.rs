//! What processes leave when they're killed or ended, and many of them that share a database.

use std::{
    collections::HashSet, fs, net::TcpStream, path::Path, process::Command, sync::Mutex, thread,
    time::Duration,
};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use crate::{
    postgres_server, redis_server,
    server::{Server, agent, python, until},
};

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

/// Runs are asked for until the listener is closed; who follows one that goes on is told to come back.
#[test]
fn sigterm_under_load_loses_nothing_that_was_accepted_and_sends_followers_back() {
    let directory = tempfile::tempdir().unwrap();
    let database = postgres_server::fresh();
    let environment = [("DATABASE_URL", database.as_str())];
    let mut server = Server::start(directory.path(), &environment);
    let (_, later) = server
        .post("/executions", &json!({ "language": "python", "source_code": "1", "delay_ms": 3_600_000 }));
    let events = format!("{}/executions/{}/events", server.url, later["execution_id"].as_str().unwrap());
    let accepted = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let follower =
            scope.spawn(|| agent().get(&events).call().unwrap().body_mut().read_to_string().unwrap());
        for client in 0..4 {
            let (accepted, url) = (&accepted, format!("{}/executions", server.url));
            scope.spawn(move || {
                for number in 0.. {
                    let said = format!("{client} {number}");
                    let Ok(mut response) = agent().post(&url).send_json(python(&format!("print('{said}')")))
                    else {
                        return;
                    };
                    if response.status() == 202 {
                        let receipt: Value = response.body_mut().read_json().unwrap();
                        accepted.lock().unwrap().push((said, receipt));
                    }
                }
            });
        }
        until("a load", || accepted.lock().unwrap().len() > 40);
        Command::new("kill").args(["-TERM", &server.process.id().to_string()]).status().unwrap();
        assert!(server.process.wait().unwrap().success());
        let followed = follower.join().unwrap();
        assert!(followed.contains("event: status") && followed.contains("\nretry: "), "{followed}");
        assert!(!followed.contains("event: end"), "{followed}");
    });
    drop(server);

    let server = Server::start(directory.path(), &environment);
    for (said, receipt) in accepted.into_inner().unwrap() {
        let record = server.end(&receipt);
        assert_eq!(
            (&record["status"], &record["stdout"]),
            (&json!("COMPLETED"), &json!(said + "\n")),
            "{record}"
        );
    }
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
