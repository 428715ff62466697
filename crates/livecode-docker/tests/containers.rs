//! Containers and images on an engine of the test's own, which is stopped and started again: what is left, what is refused, what waits.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod engine;

use std::time::Duration;

use engine::Engine;
use livecode_core::{ErrorKind, ExecutionSpec, LimitRequest, Run, Runner};
use livecode_docker::{Builder, DockerSandbox, Isolation};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

const PYTHON: &str = "livecode-test/python";

/// Longer than anything here takes.
const HANGS: Duration = Duration::from_secs(120);

fn builder(engine: &Engine, group: &str) -> Builder {
    let builder = DockerSandbox::builder().host(engine.host()).group(group).image("python", PYTHON);
    builder.sweep(Duration::from_millis(200), Duration::from_secs(2))
}

async fn run(sandbox: &DockerSandbox, spec: ExecutionSpec) -> livecode_core::Result<Run> {
    Runner::new(sandbox.clone()).run(&spec).await
}

fn hello() -> ExecutionSpec {
    ExecutionSpec::new("python", "print('hello')")
}

async fn says_hello(sandbox: &DockerSandbox) {
    assert_eq!(run(sandbox, hello()).await.unwrap().captured.stdout, "hello\n");
}

/// Waits until so many wait.
async fn filled(sandbox: &DockerSandbox, waiting: u64) {
    let until = async {
        while sandbox.pool_stats().waiting < waiting {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANGS, until).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_needs_the_interpreter_and_nothing_else() {
    let engine = Engine::shared();
    let sandbox = builder(engine, "bare").image("python", "livecode-test/bare").build().await.unwrap();
    says_hello(&sandbox).await;
    let error = run(&sandbox, ExecutionSpec::new("bash", "echo 1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("no image for bash") && error.to_string().contains("python"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_had_is_refused_with_reason_and_remedy() {
    let engine = Engine::shared();
    let refused = |builder: Builder| async move {
        let sandbox = builder.waiting(0).build().await?;
        run(&sandbox, hello()).await.map(drop)
    };
    let nowhere = builder(engine, "refused").host("unix:///nowhere/docker.sock");
    let image = builder(engine, "refused").image("python", "127.0.0.1:1/no-such-image:3");
    let runtime = builder(engine, "refused").runtime("runsc");
    let address = builder(engine, "refused").host("somewhere");
    for (builder, kind, reason, remedy) in [
        (nowhere, ErrorKind::Unavailable, "can't be reached", "DOCKER_HOST"),
        (
            image,
            ErrorKind::Unsupported,
            "127.0.0.1:1/no-such-image:3 is not on the container engine",
            "pull or build it",
        ),
        (runtime, ErrorKind::Unsupported, "no runtime runsc", "install it"),
        (address, ErrorKind::InvalidArgument, "address", "unix:///PATH"),
    ] {
        let error = refused(builder).await.unwrap_err();
        let said = error.to_string();
        assert_eq!(error.kind(), kind, "{said}");
        assert!(said.contains(reason) && said.contains(remedy), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_finds_a_container_that_waits_and_no_other_run_does() {
    let engine = Engine::shared();
    let sandbox = builder(engine, "waits").waiting(2).build().await.unwrap();
    says_hello(&sandbox).await;
    filled(&sandbox, 2).await;
    let before = engine.containers("waits");
    says_hello(&sandbox).await;
    filled(&sandbox, 2).await;
    let stats = sandbox.pool_stats();
    assert_eq!((stats.hits, stats.misses, stats.failures), (1, 1, 0), "{stats:?}");
    // The one that was used is thrown away.
    let used = |after: &[String]| before.iter().any(|id| !after.contains(id));
    timeout(HANGS, async {
        while !used(&engine.containers("waits")) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    // Limits that it wasn't made for are put in force.
    let limits = LimitRequest { memory_bytes: Some(48 << 20), ..LimitRequest::default() };
    let hungry = ExecutionSpec::new("python", "bytearray(60_000_000)").limits(limits);
    let outcome = run(&sandbox, hungry).await.unwrap().outcome;
    assert!(matches!(outcome.termination, livecode_core::Termination::MemoryExceeded { .. }), "{outcome:?}");
    assert_eq!(sandbox.pool_stats().adjusted, 1);
    sandbox.drain().await.unwrap();
    says_hello(&sandbox).await;
    assert_eq!(sandbox.pool_stats().waiting, 0);
    engine.is_emptied("waits").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_and_die_are_not_given_to_anybody() {
    let engine = Engine::shared();
    let sandbox = builder(engine, "dies").waiting(2).build().await.unwrap();
    says_hello(&sandbox).await;
    filled(&sandbox, 2).await;
    for id in engine.containers("dies") {
        engine.docker(&["rm", "--force", &id]);
    }
    says_hello(&sandbox).await;
    assert!(sandbox.pool_stats().failures > 0, "{:?}", sandbox.pool_stats());
    filled(&sandbox, 2).await;
    says_hello(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_away_is_unavailable_and_is_used_again() {
    let engine = Engine::new();
    let sandbox = builder(&engine, "away").waiting(1).build().await.unwrap();
    says_hello(&sandbox).await;
    let (output, mut begun) = tokio::sync::mpsc::channel(1);
    let long = ExecutionSpec::new("python", "print('begun', flush=True)\nimport time; time.sleep(60)");
    let runner = Runner::new(sandbox.clone());
    let cut_off = tokio::spawn(async move { runner.stream(&long, output, &Default::default()).await });
    begun.recv().await.unwrap();
    let stopped = engine.containers("away");
    assert!(!stopped.is_empty());
    tokio::task::block_in_place(|| engine.stop());
    let error = cut_off.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = run(&sandbox, hello()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    tokio::task::block_in_place(|| engine.start());
    says_hello(&sandbox).await;
    filled(&sandbox, 1).await;
    timeout(HANGS, async {
        while engine.containers("away").iter().any(|id| stopped.contains(id)) {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_gives_no_answer_is_unavailable_and_nothing_is_left() {
    let engine = Engine::shared();
    let proxy = Proxy::before(engine);
    let slow = builder(engine, "slow").host(proxy.host()).patience(Duration::from_secs(2)).waiting(1);
    let sandbox = slow.build().await.unwrap();
    says_hello(&sandbox).await;
    filled(&sandbox, 1).await;
    proxy.stalls(true);
    // The one that waits is used up, or can't be reached.
    for _ in 0..2 {
        let limits = LimitRequest { wall_time_ms: Some(500), ..LimitRequest::default() };
        let ended = timeout(HANGS, run(&sandbox, hello().limits(limits))).await.unwrap();
        assert!(ended.is_err_and(|error| error.kind() == ErrorKind::Unavailable));
    }
    proxy.stalls(false);
    says_hello(&sandbox).await;
    sandbox.drain().await.unwrap();
    engine.is_emptied("slow").await;
}

/// What passes everything on to an engine, or for a while nothing.
struct Proxy {
    directory: tempfile::TempDir,
    stalls: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    fn before(engine: &Engine) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = tokio::net::UnixListener::bind(directory.path().join("docker.sock")).unwrap();
        let stalls = tokio::sync::watch::Sender::new(false);
        let (stalled, behind) = (stalls.subscribe(), engine.host().replace("unix://", ""));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_engine, to_engine) =
                    tokio::net::UnixStream::connect(&behind).await.unwrap().into_split();
                tokio::spawn(pass_on(from_client, to_engine, stalled.clone()));
                tokio::spawn(pass_on(from_engine, to_client, stalled.clone()));
            }
        });
        Self { directory, stalls }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("docker.sock").display())
    }

    fn stalls(&self, stalls: bool) {
        self.stalls.send_replace(stalls);
    }
}

async fn pass_on(
    mut from: tokio::net::unix::OwnedReadHalf,
    mut to: tokio::net::unix::OwnedWriteHalf,
    mut stalled: tokio::sync::watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        if stalled.wait_for(|stalled| !stalled).await.is_err() || to.write_all(&buffer[..len]).await.is_err()
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_left_is_removed_and_what_others_have_is_not() {
    let engine = Engine::shared();
    let other = builder(engine, "other").waiting(1).build().await.unwrap();
    says_hello(&other).await;
    filled(&other, 1).await;
    let create = ["create", "--label", "livecode.group=ours", PYTHON, "python3"];
    let left = [engine.docker(&create), engine.docker(&create)];
    engine.docker(&["start", left[0].trim()]);
    let strange = engine.docker(&["create", "--label", "livecode.group=strangers", PYTHON, "python3"]);
    let ours = builder(engine, "ours").waiting(0).build().await.unwrap();
    engine.is_emptied("ours").await;
    assert_eq!(engine.containers("strangers").len(), 1, "{strange}");
    assert_eq!(engine.containers("other").len(), 1);
    says_hello(&ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_removed_is_made_again() {
    let engine = Engine::new();
    let sandbox = builder(&engine, "removed").waiting(0).build().await.unwrap();
    says_hello(&sandbox).await;
    engine.is_emptied("removed").await;
    for id in engine.docker(&["images", "--quiet", "livecode/prepared"]).lines() {
        engine.docker(&["rmi", "--force", id]);
    }
    assert_eq!(run(&sandbox, hello()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    says_hello(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_images_volumes_are_no_directories_of_the_host() {
    let engine = Engine::shared();
    let change = "VOLUME /data";
    let container = engine.docker(&["create", PYTHON, "python3"]);
    engine.docker(&["commit", "--change", change, container.trim(), "with-volume"]);
    let sandbox = builder(engine, "volumes")
        .isolation(Isolation::Strict)
        .image("python", "with-volume")
        .build()
        .await
        .unwrap();
    let source = "
try: open('/data/x', 'w')
except OSError as error: print(error.errno)
";
    assert_eq!(run(&sandbox, ExecutionSpec::new("python", source)).await.unwrap().captured.stdout, "30\n");
    assert_eq!(engine.docker(&["volume", "ls", "--quiet"]), "");
}
