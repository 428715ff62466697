//! Executions from acceptance to their end, through the facade: every store and queue with the real process sandbox.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../crates/livecode-sqlx/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use livecode::{
    Ceiling, Edit, Engine, ErrorKind, ErrorType, EventKind, Execution, ExecutionSpec, LimitRequest, Limits,
    MemoryQueue, MemoryStore, Owner, Queue, RunOptions, Runner, Seq, State, Store, Worker,
    process::ProcessSandbox,
    sqlx::{Postgres, Sqlite},
};
use tokio_util::sync::CancellationToken;

/// Longer than any case takes.
const LONG: Duration = Duration::from_secs(30);

/// An engine, and a worker beside it that ends with it.
struct Service {
    engine: Engine,
    shutdown: CancellationToken,
    worker: tokio::task::JoinHandle<()>,
    /// Removed at the end.
    _directory: Option<tempfile::TempDir>,
}

impl Service {
    fn new(store: Arc<dyn Store>, queue: Arc<dyn Queue>, directory: Option<tempfile::TempDir>) -> Self {
        let engine = Engine::new(store.clone(), queue.clone());
        let runner = Runner::new(ProcessSandbox::builder().build().unwrap());
        let worker = Worker::new(store, queue, runner).concurrency(4);
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let worker = tokio::spawn(async move { worker.run(token).await });
        Self { engine, shutdown, worker, _directory: directory }
    }

    async fn memory() -> Self {
        Self::new(Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()), None)
    }

    async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("livecode.db").display());
        let (store, queue) = Sqlite::open(&url).await.unwrap().store_and_queue();
        Self::new(Arc::new(store), Arc::new(queue), Some(directory))
    }

    async fn postgres() -> Self {
        let (store, queue) = Postgres::open(&postgres_server::fresh()).await.unwrap().store_and_queue();
        Self::new(Arc::new(store), Arc::new(queue), None)
    }

    async fn run(&self, spec: ExecutionSpec) -> (Execution, String, String) {
        let accepted = self.engine.run(spec, RunOptions::default()).await.unwrap();
        self.end(accepted.execution).await
    }

    async fn end(&self, execution: Execution) -> (Execution, String, String) {
        let ended = self.engine.wait(execution.id, LONG).await.unwrap();
        assert!(ended.state.is_terminal(), "{ended:?}");
        let output = self.engine.output(execution.id).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ended, text(&output.stdout), text(&output.stderr))
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.worker.await.unwrap();
    }
}

fn python(source: &str) -> ExecutionSpec {
    ExecutionSpec::new("python", source)
}

async fn a_saved_session_runs(service: &Service) {
    let session = service.engine.create_session(Edit::default()).await.unwrap();
    let source = Edit { source_code: Some("print(input() * 2)".into()), ..Edit::default() };
    let saved = service.engine.save(session.id, source).await.unwrap();
    let run = service.engine.run_session(
        session.id,
        Edit::default(),
        |spec| spec.stdin = "ab\n".into(),
        RunOptions::default(),
    );
    let accepted = run.await.unwrap();
    assert_eq!(accepted.execution.revision, Some(saved.revision));
    let (ended, stdout, _) = service.end(accepted.execution).await;
    assert_eq!((ended.state, stdout.as_str()), (State::Completed, "abab\n"));
    let history = service.engine.history(session.id, None, 10).await.unwrap();
    assert_eq!(history.iter().map(|execution| execution.id).collect::<Vec<_>>(), [ended.id]);
}

async fn every_end_is_told(service: &Service) {
    let (ended, _, stderr) = service.run(python("def f(:")).await;
    assert_eq!((ended.state, ended.error_type()), (State::Failed, Some(ErrorType::RuntimeError)));
    assert!(stderr.contains("SyntaxError"), "{stderr}");

    let short = LimitRequest { wall_time_ms: Some(700), ..LimitRequest::default() };
    let (ended, stdout, _) = service.run(python("print('before')\nwhile True: pass").limits(short)).await;
    assert_eq!((ended.state, ended.error_type()), (State::TimedOut, Some(ErrorType::TimeoutError)));
    assert_eq!(stdout, "before\n");

    let (ended, ..) = service.run(python("import os; os.kill(os.getpid(), 9)")).await;
    assert_eq!((ended.state, ended.error_type()), (State::Failed, Some(ErrorType::RuntimeError)));
    assert_eq!(ended.attempt, 1, "a program's failure is never retried");

    let (ended, ..) = service.run(python("held = [bytearray(1_000_000) for n in range(300)]")).await;
    assert_eq!((ended.state, ended.error_type()), (State::Failed, Some(ErrorType::MemoryLimitError)));

    let (ended, stdout, _) =
        service.run(python("import sys; sys.stdout.buffer.write(b'\\xff\\x00end')")).await;
    assert_eq!((ended.state, stdout.as_str()), (State::Completed, "\u{FFFD}\0end"));
}

async fn a_running_execution_is_cancelled(service: &Service) {
    let spec = python("import time\nprint('ready')\ntime.sleep(60)");
    let accepted = service.engine.run(spec, RunOptions::default()).await.unwrap();
    let id = accepted.execution.id;
    let mut events = service.engine.events(id, Seq::START).await.unwrap();
    let (mut written, mut cancelled, mut states) = (Vec::new(), false, Vec::new());
    let end = loop {
        match events.next().await.unwrap().unwrap().kind {
            EventKind::Status { state, .. } => states.push(state),
            EventKind::Output { output, .. } => {
                written.extend_from_slice(&output.bytes);
                if !cancelled {
                    cancelled = true;
                    service.engine.cancel(id).await.unwrap();
                }
            }
            EventKind::End(execution) => break execution,
        }
    };
    assert!(events.next().await.is_none());
    assert_eq!((end.state, &written[..]), (State::Cancelled, &b"ready\n"[..]));
    assert_eq!(states, [State::Queued, State::Running, State::Running]);
    assert_eq!(service.engine.cancel(id).await.unwrap(), *end, "cancelling what has ended changes nothing");
}

async fn one_key_makes_one_execution(service: &Service) {
    let options = RunOptions { idempotency_key: Some("once".into()), ..RunOptions::default() };
    let runs: Vec<_> = (0..50)
        .map(|_| {
            let (engine, options) = (service.engine.clone(), options.clone());
            tokio::spawn(async move { engine.run(python("print('once')"), options).await.unwrap() })
        })
        .collect();
    let mut accepted = Vec::new();
    for run in runs {
        accepted.push(run.await.unwrap());
    }
    assert_eq!(accepted.iter().filter(|accepted| accepted.new).count(), 1);
    assert!(accepted.iter().all(|other| other.execution.id == accepted[0].execution.id));
    let error = service.engine.run(python("print('other')"), options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    service.end(accepted.remove(0).execution).await;
}

async fn owners_do_not_see_each_other(service: &Service) {
    let [alice, bob] = ["alice", "bob"].map(|name| service.engine.for_owner(Owner::new(name).unwrap()));
    let session = alice.create_session(Edit::default()).await.unwrap();
    let run = alice.run(python("print('secret')"), RunOptions::default()).await.unwrap().execution;
    let refusals = [
        bob.session(session.id).await.unwrap_err(),
        bob.save(session.id, Edit::default()).await.unwrap_err(),
        bob.close_session(session.id).await.unwrap_err(),
        bob.history(session.id, None, 1).await.unwrap_err(),
        bob.run_session(session.id, Edit::default(), |_| (), RunOptions::default()).await.unwrap_err(),
        bob.execution(run.id).await.unwrap_err(),
        bob.output(run.id).await.unwrap_err(),
        bob.cancel(run.id).await.unwrap_err(),
        bob.wait(run.id, LONG).await.unwrap_err(),
        bob.events(run.id, Seq::START).await.map(drop).unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    assert_eq!(alice.wait(run.id, LONG).await.unwrap().state, State::Completed);
}

async fn many_at_a_time_all_end_once(service: &Service) {
    let mut ids = Vec::new();
    for n in 0..40 {
        let spec = python(&format!("print({n})"));
        ids.push(service.engine.run(spec, RunOptions::default()).await.unwrap().execution);
    }
    for (n, execution) in ids.into_iter().enumerate() {
        let (ended, stdout, _) = service.end(execution).await;
        assert_eq!((ended.state, ended.attempt, stdout), (State::Completed, 1, format!("{n}\n")));
    }
}

macro_rules! on_every_backend {
    ($($case:ident)*) => {
        mod memory { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let service = super::Service::memory().await;
                super::$case(&service).await;
                service.close().await;
            }
        )* }
        mod sqlite { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let service = super::Service::sqlite().await;
                super::$case(&service).await;
                service.close().await;
            }
        )* }
        mod postgres { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let service = super::Service::postgres().await;
                super::$case(&service).await;
                service.close().await;
            }
        )* }
    };
}

on_every_backend! {
    a_saved_session_runs
    every_end_is_told
    a_running_execution_is_cancelled
    one_key_makes_one_execution
    owners_do_not_see_each_other
    many_at_a_time_all_end_once
}

/// As after a restart with lower limits: what was accepted isn't refused any more, it runs under what is in force now.
#[tokio::test]
async fn what_was_accepted_under_higher_limits_still_runs() {
    let (store, queue) = (Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
    let engine = Engine::new(store.clone(), queue.clone());
    let accepted = engine.run(python("print('ran')\nwhile True: pass"), RunOptions::default()).await.unwrap();
    let run = Limits { wall_time: Duration::from_millis(700), ..Limits::RUN };
    let runner = Runner::new(ProcessSandbox::builder().build().unwrap());
    let worker = Worker::new(store, queue, runner.ceiling(Ceiling { run, ..Ceiling::default() }));
    let working = tokio::spawn(async move { worker.run(CancellationToken::new()).await });
    let ended = engine.wait(accepted.execution.id, LONG).await.unwrap();
    assert_eq!((ended.state, ended.attempt), (State::TimedOut, 1), "{ended:?}");
    assert_eq!(engine.output(ended.id).await.unwrap().stdout, "ran\n");
    working.abort();
}

#[tokio::test]
async fn a_language_from_toml_compiles_and_runs() {
    let mut languages = livecode::Languages::builtin();
    let c = r#"
        [[language]]
        name = "c"
        file_name = "main.c"
        compile = ["gcc", "-O1", "-o", "main", "main.c"]
        run = ["./main"]
        version = ["gcc", "--version"]
    "#;
    languages.add_toml(c).unwrap();
    let runner = Runner::new(ProcessSandbox::builder().build().unwrap()).languages(languages.clone());
    let program = "#include <stdio.h>\nint main(void) { puts(\"compiled\"); }";
    let run = runner.run(&ExecutionSpec::new("c", program)).await.unwrap();
    assert_eq!(run.captured.stdout, "compiled\n", "{:?}", run.outcome);
    let run = runner.run(&ExecutionSpec::new("c", "int main(void) { return x; }")).await.unwrap();
    assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::CompileError));
    let said = run.outcome.compile_output.unwrap();
    assert!(said.contains("undeclared"), "{said}");
    assert!(runner.version(languages.get("c").unwrap()).await.unwrap().contains("gcc"));
}
