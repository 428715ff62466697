//! What the process sandbox promises, beside the alternatives: `cargo bench --features process,docker --bench sandbox`.
//!
//! | part | promise |
//! | --- | --- |
//! | `cold` | a run costs at most 1.25 times bare python, and less than bwrap although more is done |
//! | `size` | it costs the same in a host with 4 GiB resident and 200 threads |
//! | `cancel` | within 50 ms of the wish everything is dead and gone, whatever the program does |
//! | `mix` | beside four hostile programs an honest one finishes, within twice its time alone at equal shares |
//! | `rate` | runs per second, eight at a time |
//! | `warm`, `node`, `java` | where the interpreter has booted ahead: 0.15, 0.30 and 0.15 times the bare one |
//! | `server` | the same through the example server, on SQLite: 0.50 times bare python |
//! | `forkrate` | eight at a time for `SECONDS` (default 30): a fork server does 3 times as many as bare python |
//! | `burst` | 200 at once where nothing waits: booting ahead makes them no slower |
//! | `memory` | what a waiting interpreter holds: Python 12 MiB of its own |
//! | `docker` | in containers that wait: 10 times faster than `docker run`, 3 times faster than `docker exec` |
//! | `load` | latency by arrival rate, drawn in `docs/warm-latency.svg`; only where it's named |
//!
//! All of them, or those that are named: `… --bench sandbox -- cold rate`. The first five start each program cold. What is compared takes turns, so that a machine whose
//! speed drifts slows both: quote the ratios, which are medians of pairs. `ROUNDS` sets how many (default 200). No figure here
//! is a test.
//!
//! bwrap takes part where it's installed, Docker where an engine runs (`dockerd &`) and `scripts/docker-images` has made its images.

#[path = "sandbox/chart.rs"]
mod chart;
#[path = "sandbox/docker.rs"]
mod docker;
mod example;
mod figures;
#[path = "sandbox/load.rs"]
mod load;
#[path = "sandbox/many.rs"]
mod many;
#[path = "sandbox/memory.rs"]
mod memory;
#[path = "sandbox/server.rs"]
mod server;
#[path = "sandbox/started.rs"]
mod started;
#[path = "sandbox/turns.rs"]
mod turns;
#[path = "sandbox/warm.rs"]
mod warm;

use std::{
    env,
    error::Error,
    fs,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::future::{join_all, try_join_all};
use livecode::{
    ExecutionSpec, Language, Languages, LimitRequest, Outcome, Runner, Termination,
    process::{ProcessSandbox, Warm},
};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    figures::{median, milliseconds, setting},
    turns::{Entry, HELLO, PYTHON, bare, hello, in_turns},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Each is at it when it says `ready`.
const UNWILLING: [(&str, &str); 7] = [
    ("sleeps", "import time\nprint('ready', flush=True)\ntime.sleep(60)"),
    ("spins", "print('ready', flush=True)\nwhile True: pass"),
    ("is deaf, with children in other sessions", DEAF),
    ("forks up to its 64 processes", FORK_STORM),
    (
        "has 100 MiB resident",
        "b = b'x' * (100 << 20)\nprint('ready', flush=True)\nimport time\ntime.sleep(60)",
    ),
    ("floods its output", FLOOD),
    ("fills its disk", DISK),
];

const DEAF: &str = "
import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: os.setsid()
        while True: time.sleep(1)
print('ready', flush=True)
while True: time.sleep(1)
";
const FORK_STORM: &str = "
import os
told = False
while True:
    try: os.fork()
    except OSError:
        if not told: os.write(1, b'ready')
        told = True
";
const FLOOD: &str = "import os\nwhile True: os.write(1, b'ready' * 10000)";
const DISK: &str = "
import os
told = False
while True:
    with open('full', 'wb', buffering=0) as file:
        try:
            while True: file.write(b'x' * (1 << 20))
        except OSError: pass
    if not told: os.write(1, b'ready')
    told = True
";
const MEMORY: &str = "kept = []\nwhile True: kept.append(b'x' * (1 << 20))";
/// More than half a second of one processor.
const HONEST: &str = "x = 0\nfor i in range(9_000_000): x += i * i\nprint(x)";

fn main() -> Result<()> {
    let rounds = setting("ROUNDS", 200)?;
    let named: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let bench = Bench {
        runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        runner: runner()?,
    };
    if wanted("cold") {
        bench.cold(rounds)?;
    }
    if wanted("size") {
        bench.size(rounds)?;
    }
    if wanted("cancel") {
        bench.cancel(rounds.div_ceil(10))?;
    }
    if wanted("mix") {
        bench.mix(rounds.div_ceil(40))?;
    }
    if wanted("rate") {
        bench.rate(rounds)?;
    }
    let Bench { runtime, .. } = bench;
    // Who runs one at a time needs no second thread, which the first would wake for each piece of news.
    let alone = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if wanted("warm") {
        warm::python(&alone, rounds)?;
    }
    if wanted("node") {
        warm::node(&alone, rounds)?;
    }
    if wanted("java") {
        warm::java(&alone, rounds)?;
    }
    if wanted("server") {
        server::server(rounds)?;
    }
    if wanted("forkrate") {
        many::fork_rate(&runtime)?;
    }
    if wanted("burst") {
        many::burst(&runtime, rounds.div_ceil(10))?;
    }
    if wanted("memory") {
        memory::memory(&runtime)?;
    }
    if wanted("docker") {
        docker::docker(&runtime, rounds.div_ceil(5))?;
    }
    if named.iter().any(|name| name == "load") {
        load::load(&runtime)?;
    }
    Ok(())
}

fn runner() -> Result<Runner> {
    let mut languages = Languages::none();
    languages.add(Language::new("python", "main.py", [PYTHON, "main.py"]))?;
    Ok(Runner::new(cold()?).languages(languages))
}

fn cold() -> livecode::Result<ProcessSandbox> {
    ProcessSandbox::builder().warm("python", Warm::Off).build()
}

struct Bench {
    runtime: Runtime,
    runner: Runner,
}

impl Bench {
    fn cold(&self, rounds: usize) -> Result<()> {
        println!("{HELLO}, cold");
        let mut entries = self.bare_and_ours();
        for other in [turns::bwrap(), turns::docker()] {
            match other {
                Ok(entry) => entries.push(entry),
                Err(reason) => println!("  {reason}"),
            }
        }
        in_turns(rounds, &mut entries)?;
        entries.iter().for_each(Entry::print);
        Ok(())
    }

    fn size(&self, rounds: usize) -> Result<()> {
        const RESIDENT: usize = 4 << 30;
        const THREADS: usize = 200;
        const TURNS: usize = 4;
        println!("{HELLO}, cold, by the host's size");
        if available_bytes().is_some_and(|available| available < 2 * RESIDENT as u64) {
            println!("  not measured, less than 8 GiB are free here");
            return Ok(());
        }
        let (mut small, mut large) = (Host::default(), Host::default());
        for _ in 0..TURNS {
            self.measure(rounds.div_ceil(TURNS), &mut small)?;
            let memory = vec![1u8; RESIDENT];
            let (parked, over) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| (parked.wait(), over.wait()));
                }
                parked.wait();
                let measured = self.measure(rounds.div_ceil(TURNS), &mut large);
                over.wait();
                measured
            })?;
            drop(std::hint::black_box(memory));
        }
        let small = small.print("small");
        let large = large.print("4 GiB resident, 200 threads");
        println!("  large to small, each by the bare python beside it: {:.2}", large / small);
        Ok(())
    }

    fn measure(&self, rounds: usize, host: &mut Host) -> Result<()> {
        for _ in 0..5 {
            let began = Instant::now();
            let sandbox = cold()?;
            host.builds.push(milliseconds(began.elapsed()));
            drop(sandbox);
        }
        let mut entries = self.bare_and_ours();
        in_turns(rounds, &mut entries)?;
        host.times.extend(&entries[1].times);
        host.ratios.extend(&entries[1].ratios);
        Ok(())
    }

    fn cancel(&self, rounds: usize) -> Result<()> {
        println!(
            "from the wish to cancel to the report that all is gone (promise: 50 ms), n = {rounds} each"
        );
        for (name, source) in UNWILLING {
            let mut times = Vec::with_capacity(rounds);
            for _ in 0..rounds {
                times.push(milliseconds(self.runtime.block_on(self.cancel_once(source))?));
            }
            let (middle, most) = (median(&mut times), times.iter().copied().fold(0.0, f64::max));
            println!("  {name}: p50 {middle:.1} ms, max {most:.1} ms");
        }
        Ok(())
    }

    async fn cancel_once(&self, source: &str) -> Result<Duration> {
        let (spec, cancel) = (ExecutionSpec::new("python", source), CancellationToken::new());
        let (sender, mut receiver) = mpsc::channel(16);
        let running = {
            let (runner, cancel) = (self.runner.clone(), cancel.clone());
            tokio::spawn(async move {
                let outcome = runner.stream(&spec, sender, &cancel).await;
                (outcome, Instant::now())
            })
        };
        let first = receiver.recv().await;
        assert!(first.is_some_and(|output| output.bytes.starts_with(b"ready")), "{source}");
        let reading = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
        // Let it rage.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let wished = Instant::now();
        cancel.cancel();
        let (outcome, ended) = running.await?;
        reading.await?;
        assert_eq!(outcome?.termination, Termination::Cancelled, "{source}");
        Ok(ended - wished)
    }

    fn mix(&self, rounds: usize) -> Result<()> {
        println!(
            "an honest program, each program with 400 thousandths of a processor, n = {rounds} (promise: twice)"
        );
        let (mut alone, mut beside, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let first = self.runtime.block_on(self.honest())?;
            let second = self.runtime.block_on(self.honest_beside_hostile())?;
            alone.push(first);
            beside.push(second);
            ratios.push(second / first);
        }
        println!("  alone: p50 {:.0} ms", median(&mut alone));
        println!(
            "  beside a fork storm, growing memory, an output flood and a full disk: p50 {:.0} ms, {:.2} of alone",
            median(&mut beside),
            median(&mut ratios)
        );
        Ok(())
    }

    async fn honest(&self) -> Result<f64> {
        let run = self.runner.run(&share(HONEST)).await?;
        assert!(run.outcome.is_success(), "{run:?}");
        Ok(milliseconds(run.outcome.usage.wall_time))
    }

    async fn honest_beside_hostile(&self) -> Result<f64> {
        let (cancel, over) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let hostile: Vec<_> = [FORK_STORM, MEMORY, FLOOD, DISK]
            .into_iter()
            .map(|source| {
                let (runner, cancel, over) = (self.runner.clone(), cancel.clone(), over.clone());
                tokio::spawn(async move {
                    // One that is ended by a limit begins again.
                    let mut outcomes: Vec<Outcome> = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let (sender, mut receiver) = mpsc::channel(16);
                        let spec = share(source);
                        let read = async { while receiver.recv().await.is_some() {} };
                        let (outcome, ()) = tokio::join!(runner.stream(&spec, sender, &cancel), read);
                        outcomes.push(outcome?);
                    }
                    Ok::<_, livecode::Error>(outcomes)
                })
            })
            .collect();
        // They are at it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let time = self.honest().await;
        over.store(true, Ordering::Relaxed);
        cancel.cancel();
        for outcomes in join_all(hostile).await {
            assert!(!outcomes??.is_empty());
        }
        time
    }

    fn rate(&self, rounds: usize) -> Result<()> {
        const AT_A_TIME: usize = 8;
        const TURNS: usize = 5;
        let each = rounds.div_ceil(AT_A_TIME * TURNS);
        println!("{HELLO}, {AT_A_TIME} at a time");
        let mut per_second = [Vec::new(), Vec::new()];
        let total = (each * AT_A_TIME) as f64;
        for _ in 0..TURNS {
            let began = Instant::now();
            thread::scope(|scope| -> Result<()> {
                let threads: Vec<_> = (0..AT_A_TIME)
                    .map(|_| scope.spawn(|| (0..each).all(|_| hello(&mut bare()).is_ok())))
                    .collect();
                assert!(threads.into_iter().all(|thread| thread.join().unwrap_or(false)));
                Ok(())
            })?;
            per_second[0].push(total / began.elapsed().as_secs_f64());
            let began = Instant::now();
            self.runtime.block_on(async {
                let runs = (0..AT_A_TIME).map(|_| {
                    let runner = self.runner.clone();
                    tokio::spawn(async move {
                        for _ in 0..each {
                            let run = runner.run(&ExecutionSpec::new("python", HELLO)).await;
                            assert!(run.is_ok_and(|run| run.captured.stdout == "hi\n"));
                        }
                    })
                });
                try_join_all(runs).await
            })?;
            per_second[1].push(total / began.elapsed().as_secs_f64());
        }
        let mut ratios: Vec<f64> =
            per_second[1].iter().zip(&per_second[0]).map(|(ours, bare)| ours / bare).collect();
        let [bare, ours] = &mut per_second;
        println!("  bare {PYTHON} -c: {:.0} a second", median(bare));
        println!(
            "  livecode, process sandbox, cold: {:.0} a second, {:.2} of bare",
            median(ours),
            median(&mut ratios)
        );
        Ok(())
    }

    fn bare_and_ours(&self) -> Vec<Entry<'_>> {
        let spec = ExecutionSpec::new("python", HELLO);
        let ours = move || {
            let run = self.runtime.block_on(self.runner.run(&spec))?;
            assert_eq!(run.captured.stdout, "hi\n");
            Ok(())
        };
        vec![
            Entry::command("bare /usr/bin/python3 -c", 1, bare()),
            Entry::new("livecode, process sandbox", 1, Box::new(ours)),
        ]
    }
}

fn share(source: &str) -> ExecutionSpec {
    let limits =
        LimitRequest { cpu_millis: Some(400), wall_time_ms: Some(10_000), ..LimitRequest::default() };
    ExecutionSpec::new("python", source).limits(limits)
}

/// What a host of one size has measured.
#[derive(Default)]
struct Host {
    builds: Vec<f64>,
    times: Vec<f64>,
    ratios: Vec<f64>,
}

impl Host {
    fn print(mut self, what: &str) -> f64 {
        let (build, time, ratio) =
            (median(&mut self.builds), median(&mut self.times), median(&mut self.ratios));
        println!("  {what}: a run {time:.2} ms, {ratio:.2} of bare; a sandbox is built in {build:.2} ms");
        ratio
    }
}

fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
