//! Part `load`: latency against arrival rate, and the picture of it in `docs/`.

use std::{
    fs,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use livecode::process::Warm;
use tokio::{runtime::Runtime, sync::Semaphore};

use crate::{
    Result,
    chart::{self, Curve, Point},
    figures::{milliseconds, setting},
    many::{AT_A_TIME, slice},
    started::Started,
    turns::{HELLO, bare, hello},
};

/// Arrivals for each point, in parts of what can be borne.
const LOADS: [f64; 12] = [0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0];
/// Where they are rare it takes as long as for so many, up to four times the time of others.
const ARRIVALS: f64 = 100.0;
const SEED: u64 = 4;
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/warm-latency.svg");

/// What programs come to.
#[derive(Clone)]
enum Place {
    /// As many interpreters at a time as programs are let in.
    Bare(Arc<Semaphore>),
    Sandbox(Arc<Started>),
}

impl Place {
    async fn run(&self) -> Result<()> {
        match self {
            Self::Bare(places) => {
                let _place = places.acquire().await?;
                let run =
                    tokio::task::spawn_blocking(|| hello(&mut bare()).map_err(|error| error.to_string()));
                Ok(run.await??)
            }
            Self::Sandbox(started) => started.run().await,
        }
    }

    async fn settle(&self) -> Result<()> {
        match self {
            Self::Bare(_) => Ok(()),
            Self::Sandbox(started) => started.warmed().await,
        }
    }
}

pub(crate) fn load(runtime: &Runtime) -> Result<()> {
    let seconds = setting("SECONDS", 8)? as f64;
    println!("{HELLO}, as it comes by chance, for {seconds} s a point, at most {AT_A_TIME} at a time");
    let ways = [
        ("bare python3 -c", "#777777", None),
        ("livecode, cold", "#1f5fbf", Some(Warm::Off)),
        ("livecode, warm, single use", "#d1610f", Some(Warm::SingleUse)),
        ("livecode, warm, fork", "#178a3e", Some(Warm::Fork)),
    ];
    let mut curves = Vec::new();
    for (name, colour, way) in ways {
        let place = match way {
            None => Place::Bare(Arc::new(Semaphore::new(AT_A_TIME))),
            Some(way) => {
                let started = Started::new("python", way)?.concurrency(AT_A_TIME);
                runtime.block_on(started.seen())?;
                Place::Sandbox(Arc::new(started))
            }
        };
        let capacity =
            runtime.block_on(slice(&Arc::new(place.clone()), |place| async move { place.run().await }))?;
        runtime.block_on(place.settle())?;
        println!("  {name}: {capacity:.0} a second, {AT_A_TIME} at a time");
        curves.push((place, Curve { name, colour, capacity, points: Vec::new() }));
    }
    for load in LOADS {
        for (place, curve) in &mut curves {
            let rate = load * curve.capacity;
            let mut latencies =
                arrivals(runtime, place, rate, (ARRIVALS / rate).clamp(seconds, 4.0 * seconds))?;
            latencies.sort_by(f64::total_cmp);
            let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
            let point = Point { rate, p50: at(50), p95: at(95) };
            println!(
                "  {}, {rate:.1} a second, {load:.2} of capacity: p50 {:.1} ms, p95 {:.1} ms, n = {}",
                curve.name,
                point.p50,
                point.p95,
                latencies.len()
            );
            curve.points.push(point);
            runtime.block_on(place.settle())?;
            thread::sleep(Duration::from_millis(200));
        }
    }
    for (place, curve) in &curves {
        if let Place::Sandbox(started) = place {
            started.print_stats(curve.name);
        }
    }
    let curves: Vec<Curve> = curves.into_iter().map(|(_, curve)| curve).collect();
    let caption = format!(
        "Python hello, at most {AT_A_TIME} at a time; Poisson arrivals for {seconds} s at 3 % to twice what each bears (dotted line). {}",
        machine()
    );
    fs::write(PICTURE, chart::draw(&curves, &caption))?;
    println!("  drawn in {PICTURE}");
    Ok(())
}

/// How long each took from when it should have come, in milliseconds; nobody waits for an earlier one to end.
fn arrivals(runtime: &Runtime, place: &Place, rate: f64, seconds: f64) -> Result<Vec<f64>> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut at = 0.0;
    let mut runs = Vec::new();
    let began = Instant::now();
    loop {
        at -= (1.0 - random.f64()).ln() / rate;
        if at > seconds {
            break;
        }
        let due = began + Duration::from_secs_f64(at);
        // The runtime's own clock goes by milliseconds.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let place = place.clone();
        runs.push(runtime.spawn(async move {
            place.run().await.map_err(|error| error.to_string())?;
            Ok::<f64, String>(milliseconds(due.elapsed()))
        }));
    }
    let latencies = runtime.block_on(try_join_all(runs))?;
    Ok(latencies.into_iter().collect::<std::result::Result<_, _>>()?)
}

/// What it was measured on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let release = read("/proc/sys/kernel/osrelease");
    let version: Vec<&str> = release.trim().split('.').take(2).collect();
    format!(
        "{} processors{}, Linux {}.",
        thread::available_parallelism().map_or(1, usize::from),
        model.map_or_else(String::new, |(_, model)| format!(" ({})", model.trim())),
        version.join(".")
    )
}
