//! Programs find sandboxes in which their interpreter has booted, and see no difference.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[expect(dead_code, reason = "other tests count more")]
mod census;
mod interpreters;

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use census::{descendants, name};
use interpreters::{interpreters, run, run_warm, stand, warmed};
use livecode_core::{ExecutionSpec, Language, Languages, LimitRequest, Runner, SourceFile, Termination};
use livecode_process::{ProcessSandbox, Warm};

const WAYS: [Warm; 2] = [Warm::SingleUse, Warm::Fork];

async fn finds_a_warm_one(way: Warm) {
    let (sandbox, runner) = stand(way).await;
    for expected in 0..2 {
        let before = run(&runner, "print('cold')").await;
        assert_eq!(before.captured.stdout, "cold\n", "{before:?}");
        assert_eq!(sandbox.warm_stats().hits, 0, "{expected}");
    }
    for expected in 1..5 {
        sandbox.warmed().await.unwrap();
        assert!(way == Warm::Fork || sandbox.warm_stats().waiting > 0, "{:?}", sandbox.warm_stats());
        let run = run(&runner, "import sys\nprint(sys.argv, __file__)").await;
        assert_eq!(run.captured.stdout, "['main.py'] /work/main.py\n", "{run:?}");
        assert_eq!(sandbox.warm_stats().hits, expected, "{:?}", sandbox.warm_stats());
    }
    assert_eq!(sandbox.warm_stats().failures, 0);
}

#[tokio::test]
async fn a_program_finds_an_interpreter_that_has_booted() {
    finds_a_warm_one(Warm::SingleUse).await;
}

#[tokio::test]
async fn a_program_gets_a_copy_of_an_interpreter() {
    finds_a_warm_one(Warm::Fork).await;
}

/// Variables by which Python executes a command when it starts. A fork server would do so outside of any world, and what waits
/// before there is a program that could run out of time.
#[tokio::test]
async fn nothing_that_a_program_asks_for_is_begun_before_it_comes() {
    for way in WAYS {
        let (sandbox, runner) = stand(way).await;
        let mut spec = ExecutionSpec::new("python", "print(1)");
        spec.env.insert("PYTHONWARNINGS".into(), "all:0:antigravity.x:0:0".into());
        spec.env.insert("BROWSER".into(), "perl -e 'sleep 20' %s &".into());
        for _ in 0..3 {
            assert_eq!(runner.run(&spec).await.unwrap().captured.stdout, "1\n");
            sandbox.warmed().await.unwrap();
        }
        let begun: Vec<_> = descendants(std::process::id())
            .into_iter()
            .filter(|(pid, _)| name(*pid) == "perl")
            .map(|(pid, _)| fs::read_to_string(format!("/proc/{pid}/status")))
            .collect();
        assert!(begun.is_empty(), "{begun:?}");
        assert_eq!(sandbox.warm_stats().boots, 0);
    }
}

/// One whose next program, which is like these, finds an interpreter.
/// One that ends at once, one that writes, one that is static and isn't stopped by any library.
#[tokio::test]
async fn what_cannot_wait_goes_the_cold_way() {
    for way in WAYS {
        for (command, said) in [
            (&["/usr/bin/true", "main.x"][..], ""),
            (&["/usr/bin/perl", "-e", "$| = 1; print 2; exec 'cat', 'main.x'", "main.x"], "2hi"),
            (&["/usr/bin/python3", "-Wnonsense", "main.x"], ""),
            (&["/usr/sbin/ldconfig", "-p", "main.x"], ""),
        ] {
            let sandbox = ProcessSandbox::builder().warm("x", way).build().unwrap();
            let mut languages = Languages::none();
            languages.add(Language::new("x", "main.x", command.iter().copied())).unwrap();
            let runner = Runner::new(sandbox.clone()).languages(languages);
            let spec = ExecutionSpec::new("x", if command.contains(&"-e") { "hi" } else { "#" });
            let first = runner.run(&spec).await.unwrap();
            for _ in 0..7 {
                let run = runner.run(&spec).await.unwrap();
                assert_eq!(run.outcome.termination, first.outcome.termination, "{way:?} {command:?}");
                assert_eq!(run.captured, first.captured, "{way:?} {command:?}");
                assert!(command.len() != 4 || run.captured.stdout == said, "{run:?}");
                sandbox.warmed().await.unwrap();
            }
            // What can't be forked may boot for each, which is tried as often.
            let tried = if way == Warm::Fork { 6 } else { 3 };
            let stats = sandbox.warm_stats();
            assert_eq!(
                (stats.hits, stats.waiting, stats.failures, stats.boots),
                (0, 0, tried, tried),
                "{way:?} {command:?}"
            );
        }
    }
}

/// However much CPU time it takes.
#[tokio::test]
async fn what_boots_for_seconds_waits() {
    const BUSY: &str = "1 while (($u, $s) = times) && $u + $s < 1.5; open F, 'main.x'; print <F>";
    let sandbox = ProcessSandbox::builder().warm("x", Warm::SingleUse).build().unwrap();
    let mut languages = Languages::none();
    languages.add(Language::new("x", "main.x", ["/usr/bin/perl", "-e", BUSY, "main.x"])).unwrap();
    let runner = Runner::new(sandbox.clone()).languages(languages);
    let spec = ExecutionSpec::new("x", "hi");
    let (mut failures, mut last) = (0, Instant::now());
    while sandbox.warm_stats().hits == 0 {
        assert_eq!(runner.run(&spec).await.unwrap().captured.stdout, "hi");
        if sandbox.warm_stats().failures > failures {
            // A machine that is busy with other things gives it next to nothing: then it's given up after a minute.
            assert!(last.elapsed() > Duration::from_secs(50), "{:?}", last.elapsed());
            (failures, last) = (sandbox.warm_stats().failures, Instant::now());
        }
    }
}

#[tokio::test]
async fn what_has_threads_boots_for_each_where_copies_were_asked_for() {
    let sandbox = ProcessSandbox::builder().warm("javascript", Warm::Fork).build().unwrap();
    let runner = Runner::new(sandbox.clone());
    for _ in 0..8 {
        let run = runner.run(&ExecutionSpec::new("javascript", "console.log('hi')")).await.unwrap();
        assert_eq!(run.captured.stdout, "hi\n", "{run:?}");
        sandbox.warmed().await.unwrap();
    }
    let stats = sandbox.warm_stats();
    assert!(stats.hits > 0 && stats.failures == 3, "{stats:?}");
}

/// No program waits for what hangs.
#[tokio::test]
async fn what_hangs_while_it_boots_holds_nobody_up() {
    for way in WAYS {
        let sandbox = ProcessSandbox::builder().warm("x", way).build().unwrap();
        let mut languages = Languages::none();
        languages.add(Language::new("x", "main.x", ["/usr/bin/tail", "-f", "/dev/null", "main.x"])).unwrap();
        let runner = Runner::new(sandbox.clone()).languages(languages);
        let limits = LimitRequest { wall_time_ms: Some(100), ..LimitRequest::default() };
        for _ in 0..4 {
            let run = runner.run(&ExecutionSpec::new("x", "#").limits(limits)).await.unwrap();
            assert!(matches!(run.outcome.termination, Termination::WallTimeExceeded { .. }), "{run:?}");
        }
    }
}

#[tokio::test]
async fn limits_are_those_of_the_program_that_came() {
    for way in WAYS {
        let (sandbox, runner) = warmed(way).await;
        let limited = |set: fn(&mut LimitRequest), source: &str| {
            let mut limits = LimitRequest::default();
            set(&mut limits);
            ExecutionSpec::new("python", source).limits(limits)
        };
        let memory = limited(|it| it.memory_bytes = Some(48 << 20), "x = bytearray(100_000_000)");
        let cpu = limited(|it| it.cpu_time_ms = Some(200), "while True: pass");
        let wall = limited(|it| it.wall_time_ms = Some(200), "import time; time.sleep(20)");
        for (spec, expected) in [
            (memory, Termination::MemoryExceeded { limit: 48 << 20 }),
            (cpu, Termination::CpuTimeExceeded { limit: Duration::from_millis(200) }),
            (wall, Termination::WallTimeExceeded { limit: Duration::from_millis(200) }),
        ] {
            let run = run_warm(&sandbox, &runner, &spec).await;
            assert_eq!(run.outcome.termination, expected, "{way:?}");
        }
        // More than others have.
        let more = limited(|it| it.memory_bytes = Some(120 << 20), "x = bytearray(90_000_000)");
        assert!(run_warm(&sandbox, &runner, &more).await.outcome.is_success());
    }
}

#[tokio::test]
async fn usage_is_the_programs_and_not_what_it_took_to_boot() {
    let (_, cold) = stand(Warm::Off).await;
    let least = run(&cold, "#").await.outcome.usage.cpu_time;
    for way in WAYS {
        let (sandbox, runner) = warmed(way).await;
        let mut usages = Vec::new();
        for _ in 0..5 {
            usages.push(
                run_warm(&sandbox, &runner, &ExecutionSpec::new("python", "#")).await.outcome.usage.cpu_time,
            );
        }
        usages.sort();
        assert!(usages[2] < least, "{way:?}: {usages:?}, cold {least:?}");
        let source = "
import time
held = bytearray(50_000_000)
start = time.thread_time() # what waited has booted on the same clock
while time.thread_time() - start < 0.3: pass
";
        let usage = run_warm(&sandbox, &runner, &ExecutionSpec::new("python", source)).await.outcome.usage;
        assert!(
            usage.cpu_time >= Duration::from_millis(250) && usage.wall_time >= usage.cpu_time,
            "{usage:?}"
        );
        assert!(usage.memory_peak_bytes.unwrap() > 50_000_000, "{usage:?}");
    }
}

/// By its PID namespace's number, and by what it finds in memory that it made itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_shares_what_waited() {
    for way in WAYS {
        let (sandbox, runner) = warmed(way).await;
        let source = "
import builtins, os
print(os.readlink('/proc/self/ns/pid'), os.stat('/tmp').st_ctime_ns, open('/proc/1/stat').read().split()[21], hasattr(builtins, 'left'), os.listdir('/tmp'), os.listdir('/work'))
builtins.left = open('/tmp/left', 'w')
";
        let mut said = BTreeSet::new();
        for _ in 0..5 {
            sandbox.warmed().await.unwrap();
            let runs = (0..6).map(|_| {
                let runner = runner.clone();
                tokio::spawn(async move { run(&runner, source).await })
            });
            for running in runs.collect::<Vec<_>>() {
                let line = String::from_utf8(running.await.unwrap().captured.stdout.to_vec()).unwrap();
                assert!(line.ends_with("False [] ['main.py']\n"), "{line}");
                said.insert(line);
            }
        }
        assert_eq!(said.len(), 30, "{said:?}");
        assert!(sandbox.warm_stats().hits >= 5, "{:?}", sandbox.warm_stats());
    }
}

/// Of a rush, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_server_serves_so_many_and_no_more() {
    let (sandbox, runner) = warmed(Warm::Fork).await;
    let boots = sandbox.warm_stats().boots;
    let runs = (0..8).map(|_| {
        let runner = runner.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                run(&runner, "#").await;
            }
        })
    });
    for running in runs.collect::<Vec<_>>() {
        running.await.unwrap();
    }
    let stats = sandbox.warm_stats();
    // One that a busy machine lets answer too late is lost, which no program sees.
    assert!(stats.hits < 1200 || stats.boots >= boots + 2, "{stats:?}");
}

#[tokio::test]
async fn the_pool_is_bounded_in_memory_and_in_kinds() {
    for way in WAYS {
        for bound in [0, 20 << 20] {
            let sandbox = ProcessSandbox::builder().warm("python", way).warm_bytes(bound).build().unwrap();
            let runner = Runner::new(sandbox.clone());
            for round in 0..2 {
                // Each is a kind of its own.
                for number in 0..18 {
                    let mut spec = ExecutionSpec::new("python", "import sys; print(sys.argv[1])");
                    spec.args = vec![number.to_string()];
                    let run = runner.run(&spec).await.unwrap();
                    assert_eq!(run.captured.stdout, format!("{number}\n"), "{round}: {run:?}");
                }
            }
            sandbox.warmed().await.unwrap();
            let stats = sandbox.warm_stats();
            assert!(stats.waiting <= 16 * 8, "{stats:?}");
            // What a fork server holds is known when it has booted.
            let one = if way == Warm::Fork && bound > 0 { 12 << 20 } else { 0 };
            assert!(stats.waiting_bytes <= bound + one, "{stats:?}");
            assert_eq!(stats.waiting_bytes > 0, bound > 0, "{stats:?}");
            assert!(interpreters("livecode-helper").len() <= 16);
        }
    }
}

/// The loader's own list among a program's files, and what it does to the memory of the library that waited.
#[tokio::test]
async fn what_a_program_does_to_what_waited_is_its_own_affair() {
    let spoil = "
import ctypes, os, signal
for line in list(open('/proc/self/maps')):
    if 'livecode-warm' in line:
        first, last = (int(it, 16) for it in line.split()[0].split('-'))
        try: os.open(f'/proc/self/map_files/{first:x}-{last:x}', os.O_RDWR); print('opened')
        except OSError: pass
        if ' rw' in line: ctypes.memset(first, 0, last - first)
for pid in (-1, 0, 1, os.getppid()):
    for number in (signal.SIGCONT, signal.SIGKILL):
        try: pid and os.kill(pid, number)
        except OSError: pass
os.write(1, b'done')
os._exit(0)
";
    for way in WAYS {
        let (sandbox, runner) = warmed(way).await;
        for _ in 0..3 {
            let mut spec = ExecutionSpec::new("python", spoil);
            spec.files.push(SourceFile::new(".livecode-preload", "/work/none.so\n"));
            let run = run_warm(&sandbox, &runner, &spec).await;
            assert_eq!(run.captured.stdout, "done", "{way:?} {run:?}");
            let next = run_warm(&sandbox, &runner, &ExecutionSpec::new("python", "print(1)")).await;
            assert_eq!((&next.captured.stdout[..], &next.captured.stderr[..]), (&b"1\n"[..], &b""[..]));
        }
        let stats = sandbox.warm_stats();
        assert_eq!((stats.failures, stats.restarts), (0, 0), "{stats:?}");
    }
}

#[tokio::test]
async fn what_a_program_finds_is_as_when_it_is_started_cold() {
    let source = "
import os, re, resource, signal
links = {}
for fd in sorted(map(int, os.listdir('/proc/self/fd'))):
    try: links[fd] = re.sub(r'\\d+', 'n', os.readlink(f'/proc/self/fd/{fd}'))
    except OSError: pass
print(links, os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), os.getcwd(), os.umask(0))
print([os.listdir(path) for path in ('/work', '/tmp', '/dev/shm')], oct(os.stat('/work').st_mode), os.listdir('/'))
print([resource.getrlimit(limit) for limit in range(16) if limit != resource.RLIMIT_CPU], dict(os.environ))
print(open('/proc/1/cmdline', 'rb').read().split(b'\\0')[0], open('/proc/1/comm').read(), open('/proc/self/cmdline').read())
kept = ('Uid', 'Gid', 'Groups', 'Threads', 'SigQ', 'SigBlk', 'SigIgn', 'SigCgt', 'Cap', 'NoNew', 'Seccomp', 'FDSize', 'Name')
print([line for line in open('/proc/self/status') if line.startswith(kept)], open('/proc/self/cgroup').read())
print(open('/proc/self/uid_map').read(), len(os.listdir('/proc/self/task')), open('/proc/self/oom_score_adj').read())
print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0), os.uname().nodename)
";
    let (_, cold) = stand(Warm::Off).await;
    let expected = String::from_utf8(run(&cold, source).await.captured.stdout.to_vec()).unwrap();
    assert_eq!(expected.lines().count(), expected.trim().lines().count(), "{expected}");
    for way in WAYS {
        let (sandbox, runner) = warmed(way).await;
        let run = run_warm(&sandbox, &runner, &ExecutionSpec::new("python", source)).await;
        let said = String::from_utf8(run.captured.stdout.to_vec()).unwrap();
        for (said, expected) in said.lines().zip(expected.lines()) {
            assert_eq!(said, expected, "{way:?}");
        }
        assert_eq!(said, expected, "{way:?}");
    }
}

/// What it's given must find room beside what it has.
#[tokio::test]
async fn who_may_open_few_files_is_heard() {
    let sandbox = ProcessSandbox::builder().build().unwrap();
    let runner = Runner::new(sandbox.clone());
    for open_files in [5, 8, 40] {
        let limits = LimitRequest { open_files: Some(open_files), ..LimitRequest::default() };
        for _ in 0..4 {
            let spec = ExecutionSpec::new("python", "print('heard')").limits(limits);
            assert_eq!(runner.run(&spec).await.unwrap().captured.stdout, "heard\n", "{open_files}");
            sandbox.warmed().await.unwrap();
        }
    }
}
