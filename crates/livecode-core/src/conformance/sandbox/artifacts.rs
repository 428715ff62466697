//! What compile steps leave, used again. A sandbox that can't keep it compiles each time, and holds all of this.

use std::sync::Arc;

use super::programs::compiled;
use crate::{CompileCache, ExecutionSpec, LimitRequest, Run, Runner, Sandbox, SourceFile, Termination};

/// Makes a language's compiler of a Python program, in a cache of its own; the first run compiles, each later one need not.
fn cached<S: Sandbox>(sandbox: Arc<S>, compiler: &str) -> (Runner, ExecutionSpec, Arc<CompileCache>) {
    let cache = Arc::new(CompileCache::shared(sandbox));
    let (runner, spec) = compiled(cache.clone(), compiler);
    (runner, spec, cache)
}

/// What a client sees, but what it used.
fn seen(run: &Run) -> impl PartialEq + std::fmt::Debug + use<> {
    let outcome = &run.outcome;
    assert_eq!(outcome.artifact, None, "it's the cache's");
    (
        outcome.termination.clone(),
        outcome.compile_output.clone(),
        outcome.files.clone(),
        outcome.unprotected.clone(),
        run.captured.clone(),
    )
}

/// Where the sandbox keeps anything at all.
fn hits(cache: &CompileCache, expected: u64) {
    let stats = cache.stats();
    assert!(stats.hits == expected || stats.hits + stats.entries == 0, "{stats:?}");
}

/// Lists all that it finds where a program may write, and what is in it.
const LISTS: &str = "
import os, stat
for place in ('/work', '/tmp', '/dev/shm'):
    paths = [place]
    for directory, names, files in os.walk(place):
        paths += [os.path.join(directory, name) for name in names + files]
    for path in sorted(paths):
        found = os.lstat(path)
        line = [ascii(path), oct(found.st_mode), found.st_uid == os.getuid(), found.st_gid == os.getgid()]
        if stat.S_ISLNK(found.st_mode): line.append(os.readlink(path))
        if stat.S_ISREG(found.st_mode):
            line += [found.st_nlink, found.st_size]
            if found.st_mtime < 1000: line.append(found.st_mtime)
            if found.st_mode & 0o400: line.append(sum(open(path, 'rb').read()))
        print(*line)
";

const COPIES: &str = "
import os, shutil
os.mkdir('out'); shutil.copy('main.src', 'out/program.py')
print('a warning')
";

pub async fn a_run_begins_from_what_a_compile_step_left<S: Sandbox>(sandbox: Arc<S>) {
    let (runner, mut spec, cache) = cached(sandbox, COPIES);
    spec.source_code = "import sys, os; print(input(), sys.argv[1:], os.environ.get('N'))".into();
    for n in 0..3 {
        let mut spec = spec.clone().stdin(format!("input {n}\n"));
        spec.args = vec![n.to_string()];
        spec.env = [("N".into(), n.to_string())].into();
        let run = runner.run(&spec).await.unwrap();
        assert_eq!(run.captured.stdout, format!("input {n} ['{n}'] {n}\n"), "{run:?}");
        assert_eq!(run.outcome.compile_output.as_deref(), Some("a warning\n"));
        hits(&cache, n);
    }
}

pub async fn whatever_a_compile_step_leaves_a_later_run_finds_the_same<S: Sandbox>(sandbox: Arc<S>) {
    // Some can't be carried to another run faithfully.
    for leaves in [
        "os.chmod('out/program.py', 0o700)",
        "os.chmod('out', 0o555)",
        "os.mkdir('out/empty'); os.mkdir('out/deep'); open('out/deep/\\u00fc \\udcff', 'w').write('x')",
        "open('/tmp/kept', 'w').write('x'); os.mkdir('/dev/shm/d', 0o1777); os.chmod('/dev/shm/d', 0o1777)",
        "os.symlink('program.py', 'out/link'); os.symlink('/nowhere', 'dangling'); os.symlink('/tmp', 'out/tmp')",
        "os.remove('compiler.py'); open('main.src', 'w').write('changed')",
        "os.link('out/program.py', 'twice')",
        "os.mkfifo('fifo')",
        "open('unreadable', 'w').write('x'); os.chmod('unreadable', 0)",
        "os.mkdir('closed'); os.chmod('closed', 0)",
        "open('holes', 'w').truncate(20_000_000)",
        "open('some holes', 'w').truncate(5_000)",
        "[open(f'file-{n}', 'w').write(str(n)) for n in range(6000)]",
        "os.makedirs('d/' * 300)",
        "os.chmod('/tmp', 0o700)",
        "os.utime('main.src', (1, 1.5))",
    ] {
        let (runner, mut spec, _) = cached(sandbox.clone(), &format!("{COPIES}\n{leaves}"));
        spec.source_code = LISTS.into();
        let first = runner.run(&spec).await.unwrap();
        assert!(first.outcome.is_success(), "{leaves}: {first:?}");
        let second = runner.run(&spec).await.unwrap();
        assert_eq!(seen(&first), seen(&second), "{leaves}");
    }
}

pub async fn what_a_program_does_is_not_kept<S: Sandbox>(sandbox: Arc<S>) {
    let (runner, mut spec, cache) = cached(sandbox, COPIES);
    spec.source_code = "
import os
print(sorted(os.listdir('.')), sorted(os.listdir('out')), os.listdir('/tmp'), open('main.src').read().count('poison'))
for path in ('main.src', 'compiler.py', 'out/program.py'):
    open(path, 'w').write('poison'); os.chmod(path, 0o777)
open('new', 'w'); open('out/new', 'w'); open('/tmp/new', 'w')
if os.fork() == 0:
    while True: open('out/program.py', 'w').write('print(\"poison\")')
"
    .into();
    let first = runner.run(&spec).await.unwrap();
    assert_eq!(
        first.captured.stdout, "['compiler.py', 'main.src', 'out'] ['program.py'] [] 3\n",
        "{first:?}"
    );
    for n in 1..4 {
        assert_eq!(seen(&runner.run(&spec).await.unwrap()), seen(&first));
        hits(&cache, n);
    }
}

pub async fn what_is_kept_is_what_the_finished_compile_step_left<S: Sandbox>(sandbox: Arc<S>) {
    // Goes on writing behind the compiler's back, until it's ended.
    let compiler = format!(
        "{COPIES}
import time
if os.fork() == 0:
    while True:
        open('next', 'w').write(str(time.monotonic_ns())); os.replace('next', 'state')
while not os.path.exists('state'): time.sleep(0.001)
"
    );
    let (runner, mut spec, cache) = cached(sandbox, &compiler);
    spec.source_code = "
import time
found = open('state').read(); time.sleep(0.05)
print(found, open('state').read() == found)
"
    .into();
    let first = runner.run(&spec).await.unwrap();
    assert!(first.captured.stdout.ends_with(b" True\n"), "{first:?}");
    let second = runner.run(&spec).await.unwrap();
    assert!(cache.stats().hits == 0 || seen(&second) == seen(&first), "{second:?}");
}

pub async fn a_compile_step_that_fails_is_not_kept<S: Sandbox>(sandbox: Arc<S>) {
    let (runner, spec, cache) = cached(sandbox.clone(), "print('line 1: no'); raise SystemExit(4)");
    let first = runner.run(&spec).await.unwrap();
    let failed = Termination::CompileFailed { message: "the compiler exited with status 4".into() };
    assert_eq!(first.outcome.termination, failed);
    assert_eq!(seen(&runner.run(&spec).await.unwrap()), seen(&first));
    assert_eq!((cache.stats().hits, cache.stats().entries), (0, 0));
}

pub async fn what_is_kept_has_its_limit<S: Sandbox>(sandbox: Arc<S>) {
    let compiler = format!("{COPIES}\nopen('large', 'wb').write(bytes(300_000))");
    let (_, spec) = compiled(sandbox.clone(), &compiler);
    for (max_bytes, is_kept) in [(0, false), (1_000_000, false), (2_000_000, true)] {
        let cache = Arc::new(CompileCache::shared(sandbox.clone()).max_bytes(max_bytes));
        let (runner, _) = compiled(cache.clone(), &compiler);
        for _ in 0..2 {
            assert_eq!(runner.run(&spec).await.unwrap().captured.stdout, "compiled\n");
        }
        hits(&cache, is_kept.into());
        assert!(cache.stats().bytes <= max_bytes, "{:?}", cache.stats());
    }
}

pub async fn what_is_kept_counts_as_files_of_the_program<S: Sandbox>(sandbox: Arc<S>) {
    let compiler = format!("{COPIES}\nopen('large', 'wb').write(bytes(3_000_000))");
    let (runner, spec, cache) = cached(sandbox, &compiler);
    assert!(runner.run(&spec).await.unwrap().outcome.is_success());
    let limits = [
        LimitRequest { file_bytes: Some(2_000_000), ..LimitRequest::default() },
        LimitRequest { files: Some(3), ..LimitRequest::default() },
    ];
    for (n, limits) in (1..).zip(limits) {
        let outcome = runner.run(&spec.clone().limits(limits)).await.unwrap().outcome;
        assert!(matches!(outcome.termination, Termination::FilesExceeded { .. }), "{outcome:?}");
        hits(&cache, n);
    }
}

pub async fn files_are_brought_back_from_a_run_that_begins_where_another_compiled<S: Sandbox>(
    sandbox: Arc<S>,
) {
    let (runner, mut spec, cache) = cached(sandbox, COPIES);
    spec.source_code = "open('made', 'w').write('by the program')".into();
    spec.files.push(SourceFile::new("brought", "along"));
    let runner = runner.collect(["made", "brought", "out/program.py", "not-there"]);
    let first = runner.run(&spec).await.unwrap();
    assert_eq!(first.outcome.files[0].content.as_deref(), Ok(&b"by the program"[..]), "{first:?}");
    assert_eq!(first.outcome.files[1].content.as_deref(), Ok(&b"along"[..]));
    assert!(first.outcome.files[3].content.is_err());
    assert_eq!(seen(&runner.run(&spec).await.unwrap()), seen(&first));
    hits(&cache, 1);
}
