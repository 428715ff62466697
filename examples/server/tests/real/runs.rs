//! Programs, sessions, their ends and what is kept of them.

use std::{collections::HashSet, fs, thread, time::Duration};

use livecode::{
    Change, Clock, Execution, ExecutionId, ExecutionSpec, Owner, Store, SystemClock, sqlx::Sqlite,
};
use serde_json::{Value, json};

use crate::server::{Server, python, until};

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
