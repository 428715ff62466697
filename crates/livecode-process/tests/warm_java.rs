//! Java's compiler and its programs wait in sandboxes made ahead, and nothing tells them from those that are started cold.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;

use livecode_core::{ExecutionSpec, LimitRequest, Run, Runner, SourceFile};
use livecode_process::{ProcessSandbox, Warm};

fn runner(way: Warm) -> (ProcessSandbox, Runner) {
    let sandbox = ProcessSandbox::builder().warm("java", way).build().unwrap();
    (sandbox.clone(), Runner::new(sandbox))
}

const HELLO: &str =
    r#"public class Main { public static void main(String[] a) { System.out.println("hi"); } }"#;

/// Runs it until there are sandboxes for its kind, and then in one of them.
async fn warm(sandbox: &ProcessSandbox, runner: &Runner, spec: &ExecutionSpec) -> Run {
    let like = ExecutionSpec { source_code: HELLO.into(), files: Vec::new(), ..spec.clone() };
    while sandbox.warm_stats().waiting == 0 {
        runner.run(&like).await.unwrap();
        sandbox.warmed().await.unwrap();
        assert_eq!(sandbox.warm_stats().failures, 0, "{:?}", sandbox.warm_stats());
    }
    sandbox.warmed().await.unwrap();
    let hits = sandbox.warm_stats().hits;
    let run = runner.run(spec).await.unwrap();
    assert_eq!(sandbox.warm_stats().hits, hits + 1, "{:?}", sandbox.warm_stats());
    run
}

/// All that a program can ask about itself and where it is.
const SELF: &str = r#"
import java.io.File;
import java.io.FileInputStream;
import java.util.*;

public class Main {
    public static void main(String[] args) throws Exception {
        new TreeMap<>(System.getProperties()).forEach((name, value) -> System.out.println(name + "=" + value));
        new TreeMap<>(System.getenv()).forEach((name, value) -> System.out.println(name + "=" + value));
        System.out.println(new String(new FileInputStream("/proc/self/cmdline").readAllBytes()).replace('\0', ' '));
        for (String place : new String[] {"/", "/work", "/tmp", "/dev/shm", "/proc/self/fd"}) {
            System.out.println(place + new TreeSet<>(Arrays.asList(new File(place).list())));
        }
        Runtime runtime = Runtime.getRuntime();
        System.out.println(runtime.maxMemory() + " " + runtime.availableProcessors());
        System.out.println(ModuleLayer.boot().modules().size() + " " + Main.class.getClassLoader().getClass());
        Thread.getAllStackTraces().keySet().stream().map(Thread::getName).sorted().forEach(System.out::println);
        new Throwable().printStackTrace();
    }
}
"#;

fn programs() -> Vec<(&'static str, ExecutionSpec)> {
    let program = |source: &str| ExecutionSpec::new("java", source);
    let with = |mut spec: ExecutionSpec, path: &str, content: &str| {
        spec.files.push(SourceFile::new(path, content.to_owned()));
        spec
    };
    let main = |body: &str| {
        let head = "import java.util.*;\npublic class Main {\npublic static void main(String[] args) throws Throwable";
        program(&format!("{head} {{\n{body}\n}}\n}}\n"))
    };
    let input = "System.out.println(new Scanner(System.in).nextLine());";
    let hook = "Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println(\"bye\")));";
    vec![
        ("what it is", program(SELF)),
        ("a syntax error", program("public class Main { void x( }")),
        ("types that don't fit", main("int x = \"a\"; String y = 1; undefined();")),
        ("warnings", main("List l = new ArrayList(); l.add(1); new Date(1, 2, 3); System.out.println(l);")),
        ("only a comment", program("// nothing")),
        ("another file", with(main("System.out.println(new Other());"), "Other.java", "class Other { }")),
        ("an error in it", with(main("new Other();"), "Other.java", "class Other { int x = true; }")),
        ("other letters", main("String grüße = \"日本語 ü\"; System.out.println(grüße);")),
        ("an exception", main("System.out.println(1); Object o = null; o.toString();")),
        ("a status", main(&format!("{hook} System.exit(7);"))),
        ("input", ExecutionSpec { stdin: "typed\n".into(), ..main(input) }),
        ("much memory", main("List<byte[]> l = new ArrayList<>(); while (true) l.add(new byte[1 << 20]);")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_tells_no_difference() {
    let ((sandbox, warm_runner), (_, cold_runner)) = (runner(Warm::SingleUse), runner(Warm::Off));
    let mut differences = BTreeSet::new();
    for (name, spec) in programs() {
        let cold = cold_runner.run(&spec).await.unwrap();
        let warm = warm(&sandbox, &warm_runner, &spec).await;
        let seen = |run: &Run| {
            let compiled = run.outcome.compile_output.as_ref().map(ToString::to_string).unwrap_or_default();
            (
                run.outcome.termination.to_string(),
                compiled,
                String::from_utf8_lossy(&run.captured.stdout).into_owned(),
                String::from_utf8_lossy(&run.captured.stderr).into_owned(),
            )
        };
        if seen(&cold) != seen(&warm) {
            differences.insert(format!("{name}:\ncold {:?}\nwarm {:?}", seen(&cold), seen(&warm)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.into_iter().collect::<Vec<_>>().join("\n\n"));
}

#[tokio::test]
async fn a_program_finds_its_compiler_warm_whatever_its_limits_are() {
    let (sandbox, runner) = runner(Warm::SingleUse);
    let limits =
        LimitRequest { wall_time_ms: Some(9_000), cpu_time_ms: Some(8_000), ..LimitRequest::default() };
    let run = warm(&sandbox, &runner, &ExecutionSpec::new("java", HELLO).limits(limits)).await;
    assert_eq!(run.captured.stdout, "hi\n", "{run:?}");
    assert_eq!(sandbox.warm_stats().failures, 0);
}

#[tokio::test]
async fn a_sandbox_that_is_dropped_while_a_compiler_is_made_ready_leaves_nothing() {
    let (sandbox, runner) = runner(Warm::SingleUse);
    for _ in 0..2 {
        runner.run(&ExecutionSpec::new("java", HELLO)).await.unwrap();
    }
    drop((sandbox, runner));
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    for child in children.split_whitespace() {
        // Whoever made it ready reaps it, which is another task's turn.
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}
