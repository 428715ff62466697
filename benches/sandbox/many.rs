//! Parts `forkrate` and `burst`: many at a time.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use livecode::process::Warm;
use tokio::runtime::Runtime;

use crate::{
    Result,
    figures::{at_least, median, milliseconds, setting},
    started::Started,
    turns::{HELLO, bare, hello},
};

pub(crate) const AT_A_TIME: usize = 8;
/// Those that are compared take turns of this length.
const SLICE: Duration = Duration::from_secs(2);

pub(crate) fn fork_rate(runtime: &Runtime) -> Result<()> {
    let seconds = setting("SECONDS", 30)?;
    let slices = seconds.div_ceil(SLICE.as_secs() as usize);
    println!("{HELLO}, {AT_A_TIME} at a time, {seconds} s each in slices of {} s", SLICE.as_secs());
    let ways = [
        ("livecode, cold", Warm::Off, None),
        ("livecode, warm, single use", Warm::SingleUse, None),
        ("livecode, warm, fork", Warm::Fork, Some(3.0)),
    ];
    let mut bare_rates = Vec::new();
    let mut rates = Vec::new();
    for (_, way, _) in ways {
        let started = Arc::new(Started::new("python", way)?);
        runtime.block_on(started.seen())?;
        rates.push((started, Vec::new(), Vec::new()));
    }
    for _ in 0..slices {
        let bare = bare_slice()?;
        bare_rates.push(bare);
        for (started, rates, ratios) in &mut rates {
            let rate = runtime.block_on(slice(started, |started| async move { started.run().await }))?;
            rates.push(rate);
            ratios.push(rate / bare);
            // What it refills isn't the next one's.
            runtime.block_on(started.warmed())?;
        }
    }
    println!("  bare /usr/bin/python3 -c: {:.0} a second", median(&mut bare_rates));
    for ((name, _, least), (started, rates, ratios)) in ways.iter().zip(&mut rates) {
        let ratio = median(ratios);
        let promise = least.map_or_else(String::new, |least| format!(" ({})", at_least(ratio, least)));
        println!("  {name}: {:.0} a second, {ratio:.2} of bare, n = {slices}{promise}", median(rates));
        started.print_stats(name);
    }
    Ok(())
}

fn bare_slice() -> Result<f64> {
    let began = Instant::now();
    let until = began + SLICE;
    let done = thread::scope(|scope| {
        let work = || {
            let mut done = 0;
            while Instant::now() < until {
                hello(&mut bare()).map_err(|error| error.to_string())?;
                done += 1;
            }
            Ok::<usize, String>(done)
        };
        let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?).sum()
    });
    let done: std::result::Result<usize, String> = done;
    Ok(done? as f64 / began.elapsed().as_secs_f64())
}

/// How many a second where as many at a time run all the while.
pub(crate) async fn slice<T, F>(
    place: &Arc<T>,
    run: impl Fn(Arc<T>) -> F + Copy + Send + 'static,
) -> Result<f64>
where
    T: Send + Sync + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let began = Instant::now();
    let until = began + SLICE;
    let runs = (0..AT_A_TIME).map(|_| {
        let place = place.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                run(place.clone()).await.map_err(|error| error.to_string())?;
                done += 1;
            }
            Ok::<usize, String>(done)
        })
    });
    let done: usize = try_join_all(runs).await?.into_iter().sum::<std::result::Result<_, _>>()?;
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// Programs that come at once to a sandbox that has never seen one.
pub(crate) fn burst(runtime: &Runtime, rounds: usize) -> Result<()> {
    const AT_ONCE: usize = 200;
    const NOTHING_WAITS: usize = AT_ONCE;
    println!("{AT_ONCE} times {HELLO} at once, a new sandbox each, n = {rounds} pairs");
    for (name, bound) in
        [("as many at a time as a runner lets by itself", None), ("all at a time", Some(NOTHING_WAITS))]
    {
        let (mut cold, mut warm, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let mut pair = [0.0; 2];
            for turn in 0..2 {
                let index = (round + turn) % 2;
                let started = Started::new("python", [Warm::Off, Warm::SingleUse][index])?;
                let started = match bound {
                    Some(bound) => started.concurrency(bound),
                    None => started,
                };
                pair[index] = runtime.block_on(at_once(AT_ONCE, started))?;
                thread::sleep(Duration::from_millis(100));
            }
            cold.push(pair[0]);
            warm.push(pair[1]);
            ratios.push(pair[1] / pair[0]);
        }
        let ratio = median(&mut ratios);
        println!(
            "  {name}: cold {:.0} ms, warm {:.0} ms, {ratio:.2} of cold",
            median(&mut cold),
            median(&mut warm)
        );
    }
    Ok(())
}

async fn at_once(programs: usize, started: Started) -> Result<f64> {
    let started = Arc::new(started);
    let began = Instant::now();
    let runs = (0..programs).map(|_| {
        let started = started.clone();
        tokio::spawn(async move { started.run().await.map_err(|error| error.to_string()) })
    });
    for run in try_join_all(runs).await? {
        run?;
    }
    Ok(milliseconds(began.elapsed()))
}
