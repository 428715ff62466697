//! Compiled once and run often, on the real sandbox with real compilers.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod ordinary_user;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use livecode_core::{
    CompileCache, ExecutionSpec, Language, Languages, LimitRequest, Owner, Run, Runner, SourceFile,
    Termination,
};
use livecode_process::ProcessSandbox;
use tempfile::TempDir;

fn sandbox() -> ProcessSandbox {
    let builder =
        ordinary_user::own_cgroup().into_iter().fold(ProcessSandbox::builder(), |b, path| b.cgroup(path));
    builder.build().unwrap()
}

fn cache() -> Arc<CompileCache> {
    Arc::new(CompileCache::new(sandbox()))
}

async fn run(cache: &Arc<CompileCache>, spec: &ExecutionSpec) -> Run {
    Runner::shared(cache.clone()).run(spec).await.unwrap()
}

fn wrote(run: &Run, expected: &str) {
    assert_eq!(String::from_utf8_lossy(&run.captured.stdout), expected, "{run:?}");
}

/// How many began from what was kept, and how many were compiled.
fn counted(cache: &CompileCache) -> (u64, u64) {
    (cache.stats().hits, cache.stats().misses)
}

/// A C program that writes a number.
fn writes(number: u32) -> ExecutionSpec {
    let source = format!("#include <stdio.h>\nint main(void) {{ printf(\"%d\\n\", {number}); }}");
    ExecutionSpec::new("c", source)
}

/// A language whose compile step is a command of `sh`.
fn by_shell(compile: &str, run: &[&str]) -> Languages {
    let mut languages = Languages::none();
    let compile = Some(["sh", "-c", compile].map(String::from).to_vec());
    languages.add(Language { compile, ..Language::new("c", "main.c", run.iter().copied()) }).unwrap();
    languages
}

/// Compiles it, and runs it with one input and another.
async fn adds(language: &str, source: &str) {
    let cache = cache();
    let spec = ExecutionSpec::new(language, source);
    wrote(&run(&cache, &spec.clone().stdin("20 22\n")).await, "42\n");
    for (input, sum) in [("1 2\n", "3\n"), ("20 22\n", "42\n")] {
        wrote(&run(&cache, &spec.clone().stdin(input)).await, sum);
    }
    assert_eq!(counted(&cache), (2, 1));
}

#[tokio::test]
async fn c_is_compiled_once() {
    let source = "#include <stdio.h>
        int main(void) { int a, b; scanf(\"%d %d\", &a, &b); printf(\"%d\\n\", a + b); }";
    adds("c", source).await;
}

#[tokio::test]
async fn java_is_compiled_once_with_all_its_classes() {
    let source = "import java.util.*; import java.util.function.*;
        class Main {
            record Pair(int a, int b) { int sum() { return a + b; } }
            enum How { PLUS { int of(Pair pair) { return pair.sum(); } }; abstract int of(Pair pair); }
            public static void main(String[] arguments) {
                Scanner in = new Scanner(System.in);
                IntSupplier next = in::nextInt;
                System.out.println(How.PLUS.of(new Pair(next.getAsInt(), next.getAsInt())));
            }
        }";
    adds("java", source).await;
}

#[tokio::test]
async fn typescript_is_compiled_once() {
    let source = "import { readFileSync } from 'fs';
        const [a, b]: number[] = readFileSync(0, 'utf8').split(' ').map(Number); console.log(a + b)";
    adds("typescript", source).await;
}

#[tokio::test]
async fn go_is_compiled_once() {
    let source = "package main
        import \"fmt\"
        func main() { var a, b int; fmt.Scan(&a, &b); fmt.Println(a + b) }";
    adds("go", source).await;
}

/// Both a world that compiles and one that need not may hold an interpreter that has booted ahead.
#[tokio::test]
async fn an_interpreter_that_waits_runs_what_was_kept() {
    for language in ["java", "typescript"] {
        let sandbox = sandbox();
        let cache = Arc::new(CompileCache::new(sandbox.clone()));
        let template = Languages::builtin().get(language).unwrap().template.clone();
        let spec = ExecutionSpec::new(language, template);
        for owner in ["alice", "bob", "carol"] {
            let runner = Runner::shared(cache.clone()).owner(Owner::new(owner).unwrap());
            for _ in 0..3 {
                wrote(&runner.run(&spec).await.unwrap(), "Hello World\n");
                sandbox.warmed().await.unwrap();
            }
        }
        assert_eq!(counted(&cache), (6, 3));
        // Of those that begin, all but the first two; and a compiler may find one.
        assert!(sandbox.warm_stats().hits >= 4, "{:?}", sandbox.warm_stats());
    }
}

#[tokio::test]
async fn programs_are_told_apart() {
    let cache = cache();
    let with_header = |number: u32, path: &str| {
        let mut spec = ExecutionSpec::new("c", "#include \"number.h\"\nint main(void) { return NUMBER; }");
        spec.files = vec![SourceFile::new(path, format!("#define NUMBER {number}"))];
        spec.files.push(SourceFile::new("number.h", "#define NUMBER 9"));
        spec.files.retain(|file| path != "number.h" || file.content != "#define NUMBER 9");
        spec
    };
    let mut misses = 0;
    for (spec, code) in [
        (ExecutionSpec::new("c", "int main(void) { return 1; }"), 1),
        (ExecutionSpec::new("c", "int main(void) { return 2; }"), 2),
        (with_header(3, "number.h"), 3),
        (with_header(4, "number.h"), 4),
        (with_header(4, "other.h"), 9),
    ] {
        misses += 1;
        for hits in [misses - 1, misses] {
            assert_eq!(run(&cache, &spec).await.outcome.termination.exit_code(), Some(code));
            assert_eq!(counted(&cache), (hits, misses));
        }
    }
}

#[tokio::test]
async fn another_flag_is_another_program() {
    let cache = cache();
    let spec = ExecutionSpec::new("c", "int main(void) { return LEVEL; }");
    for (level, misses) in [(1, 1), (2, 2), (1, 2)] {
        let languages = by_shell(&format!("gcc -DLEVEL={level} -o main main.c"), &["./main"]);
        let run = Runner::shared(cache.clone()).languages(languages).run(&spec).await.unwrap();
        assert_eq!(run.outcome.termination, Termination::Exited { code: level });
        assert_eq!(cache.stats().misses, misses);
    }
}

#[tokio::test]
async fn a_compiler_that_was_replaced_compiles_again() {
    // Out of the way of a program's own `/tmp`, and laid out as a toolchain is.
    let directory = TempDir::with_prefix_in("livecode-compiler", "/var/tmp").unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let [bin, lib] = ["bin", "lib"].map(|name| directory.path().join(name));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&lib).unwrap();
    let compiler = bin.join("compile");
    let install = |says: &str, path: &Path| {
        let script = format!("#!/bin/sh\nprintf '#!/bin/sh\\necho {says}' >main; chmod +x main; echo {says}");
        fs::write(path, script).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    };
    install("one", &compiler);
    let mut languages = Languages::none();
    let compile = Some(vec![compiler.to_str().unwrap().to_owned()]);
    languages.add(Language { compile, ..Language::new("c", "main.c", ["./main"]) }).unwrap();
    let cache = cache();
    let runner = Runner::shared(cache.clone()).languages(languages);
    let compiles = async |says: &str, counts: (u64, u64)| {
        let run = runner.run(&ExecutionSpec::new("c", "x")).await.unwrap();
        assert_eq!(run.outcome.compile_output, Some(format!("{says}\n")), "{run:?}");
        wrote(&run, &format!("{says}\n"));
        assert_eq!(counted(&cache), counts);
    };
    compiles("one", (0, 1)).await;
    compiles("one", (1, 1)).await;
    // The same file, as large as before.
    install("two", &compiler);
    compiles("two", (1, 2)).await;
    compiles("two", (2, 2)).await;
    // Another one by its name, as packages are upgraded.
    install("six", &bin.join("new"));
    fs::rename(bin.join("new"), &compiler).unwrap();
    compiles("six", (2, 3)).await;
    // What it uses.
    fs::write(lib.join("library"), "").unwrap();
    compiles("six", (2, 4)).await;
    compiles("six", (3, 4)).await;
}

#[tokio::test]
async fn warnings_come_back() {
    let cache = cache();
    let spec = ExecutionSpec::new(
        "c",
        "int main(void) { return undeclared(); }\nint undeclared(void) { return 3; }",
    );
    let first = run(&cache, &spec).await.outcome;
    let second = run(&cache, &spec).await.outcome;
    assert!(first.compile_output.as_ref().unwrap().contains("implicit declaration"), "{first:?}");
    assert_eq!(second.compile_output, first.compile_output);
    assert_eq!((second.termination, counted(&cache)), (first.termination, (1, 1)));
}

#[tokio::test]
async fn owners_share_only_where_the_host_says_so() {
    let spec = writes(1);
    for shares in [false, true] {
        let cache = CompileCache::new(sandbox());
        let cache = Arc::new(if shares { cache.share_between_owners() } else { cache });
        let runner = Runner::shared(cache.clone());
        for owner in ["", "alice", "bob"] {
            let owned = runner.clone().owner(Owner::new(owner).unwrap());
            for _ in 0..2 {
                wrote(&owned.run(&spec).await.unwrap(), "1\n");
            }
        }
        assert_eq!(counted(&cache), if shares { (5, 1) } else { (3, 3) });
    }
}

#[tokio::test]
async fn a_program_does_not_reach_what_is_kept() {
    let source = r##"
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/stat.h>
        #include <unistd.h>
        int main(void) {
            printf("%d %d %d\n", access("poison", F_OK), access("/tmp/poison", F_OK), access("main.c", F_OK));
            fflush(stdout);
            unlink("main"); unlink("main.c");
            for (int n = 0; n < 3; n++) {
                const char *names[] = {"main", "poison", "/tmp/poison"};
                int file = open(names[n], O_CREAT | O_WRONLY, 0755);
                if (write(file, "#!/bin/sh\necho poison\n", 22) != 22) abort();
                close(file);
            }
            if (fork() == 0) for (;;) chmod("main", 0755);
            return 7;
        }"##;
    let (cache, spec) = (cache(), ExecutionSpec::new("c", source));
    for n in 0..5 {
        let run = run(&cache, &spec).await;
        wrote(&run, "-1 -1 0\n");
        assert_eq!(run.outcome.termination, Termination::Exited { code: 7 });
        assert_eq!(counted(&cache), (n, 1));
    }
}

#[tokio::test]
async fn what_a_step_leaves_is_carried_faithfully_or_not_at_all() {
    let carried = [
        "mkdir -p out/empty; chmod 555 out/empty; chmod 1777 out",
        "echo x >/tmp/kept; mkdir /dev/shm/d; echo y >/dev/shm/d/y",
        "ln -s main link; ln -s /etc/passwd host; ln -s nowhere/at/all dangling; ln -s /tmp tmp",
        "rm main.c; chmod 4751 main",
        "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo >file-$i; done",
        "truncate -s 100000 holes",
    ];
    let not_carried = [
        "ln main twice",
        "mkfifo fifo",
        "echo x >unreadable; chmod 0 unreadable",
        "mkdir closed; chmod 0 closed",
        "truncate -s 20000000 holes",
        "dd if=/dev/zero of=large bs=1M count=33 2>/dev/null",
        "i=0; while [ $i -lt 4200 ]; do i=$((i + 1)); echo >file-$i; done",
    ];
    let all = carried.map(|leaves| (leaves, 1)).into_iter().chain(not_carried.map(|leaves| (leaves, 0)));
    for (leaves, hits) in all {
        let cache = cache();
        let languages = by_shell(&format!("cp main.c main; chmod 755 main; {leaves}"), &["./main"]);
        let runner = Runner::shared(cache.clone()).languages(languages);
        let lists = "find /work /tmp /dev/shm -printf '%p %M %u %g %l %n %s\\n' | sort";
        let spec = ExecutionSpec::new("c", format!("#!/bin/sh\n{lists}"));
        let (first, second) = (runner.run(&spec).await.unwrap(), runner.run(&spec).await.unwrap());
        assert!(first.captured.stdout.starts_with(b"/dev/shm"), "{leaves}: {first:?}");
        assert_eq!(first.captured, second.captured, "{leaves}");
        assert_eq!(first.outcome.termination, second.outcome.termination);
        assert_eq!(cache.stats().hits, hits, "{leaves}");
    }
}

#[tokio::test]
async fn however_the_program_ends_its_compilation_is_kept() {
    let cache = cache();
    let limits = LimitRequest { wall_time_ms: Some(300), ..LimitRequest::default() };
    let spec = ExecutionSpec::new("c", "int main(void) { for (;;); }").limits(limits);
    for hits in 0..2 {
        let termination = run(&cache, &spec).await.outcome.termination;
        assert!(matches!(termination, Termination::WallTimeExceeded { .. }), "{termination:?}");
        assert_eq!(cache.stats().hits, hits);
    }
}

#[tokio::test]
async fn what_does_not_compile_or_leaves_nothing_is_tried_again() {
    let cache = cache();
    let spec = ExecutionSpec::new("c", "int main(void) { return undeclared; }");
    let first = run(&cache, &spec).await;
    assert_eq!(run(&cache, &spec).await.outcome, first.outcome);
    let languages = by_shell("echo done", &["./main"]);
    let runner = Runner::shared(cache.clone()).languages(languages);
    for _ in 0..2 {
        let termination = runner.run(&writes(1)).await.unwrap().outcome.termination;
        assert!(matches!(termination, Termination::CompileFailed { .. }), "{termination:?}");
    }
    assert_eq!((counted(&cache), cache.stats().entries), ((0, 4), 0));
    // What one compiler left is nothing that this one's run step can start: as if it had been compiled for it.
    let compile = "printf '#!/bin/sh\\necho 1' >main; chmod +x main";
    for (main, fails) in [("./main", false), ("./other", true)] {
        let runner = Runner::shared(cache.clone()).languages(by_shell(compile, &[main]));
        let termination = runner.run(&writes(1)).await.unwrap().outcome.termination;
        assert_eq!(matches!(termination, Termination::CompileFailed { .. }), fails, "{termination:?}");
    }
    assert_eq!(cache.stats().hits, 1);
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let cache = Arc::new(CompileCache::new(sandbox()).max_entries(2));
    for number in [1, 2, 1, 3, 1, 2] {
        wrote(&run(&cache, &writes(number)).await, &format!("{number}\n"));
    }
    // 2 had to go for 3.
    assert_eq!((counted(&cache), cache.stats().entries), ((2, 4), 2));
    let bytes = cache.stats().bytes;
    assert!((10_000..200_000).contains(&bytes), "{bytes}");
    // Room for one of them and a quarter, and each may have a quarter.
    let cache = Arc::new(CompileCache::new(sandbox()).max_bytes(bytes * 5 / 8));
    for _ in 0..2 {
        wrote(&run(&cache, &writes(1)).await, "1\n");
    }
    assert_eq!((counted(&cache), cache.stats().bytes), ((0, 2), 0));
    let cache = Arc::new(CompileCache::new(sandbox()).max_bytes(bytes * 5 / 2));
    for number in [1, 2, 3, 4, 5, 6, 1, 6] {
        wrote(&run(&cache, &writes(number)).await, &format!("{number}\n"));
        assert!(cache.stats().bytes <= bytes * 5 / 2, "{:?}", cache.stats());
    }
    assert_eq!(counted(&cache), (1, 7));
    cache.clear();
    assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
    wrote(&run(&cache, &writes(6)).await, "6\n");
    assert_eq!(counted(&cache), (1, 8));
}

#[tokio::test]
async fn the_same_program_many_times_at_once_succeeds_each_time() {
    let cache = cache();
    let runs = (0..20).map(|_| {
        let cache = cache.clone();
        tokio::spawn(async move { run(&cache, &writes(5)).await })
    });
    for running in runs.collect::<Vec<_>>() {
        wrote(&running.await.unwrap(), "5\n");
    }
    wrote(&run(&cache, &writes(5)).await, "5\n");
    assert_eq!(cache.stats().entries, 1);
}

#[test]
fn the_same_holds_for_an_ordinary_user() {
    ordinary_user::run_this_binary_again();
}
