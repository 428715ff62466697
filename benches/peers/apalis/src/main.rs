//! Jobs a second through apalis on PostgreSQL: `livecode-bench-apalis URL IN_FLIGHT SECONDS BACKLOG`.

use std::{
    env,
    error::Error,
    process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use sqlx::postgres::PgPoolOptions;
use tokio::{sync::Semaphore, time::sleep};

const WARM_UP: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
const BULK: usize = 1000;

/// How many may be added, and how many have ended.
#[derive(Clone)]
struct Flight {
    free: Arc<Semaphore>,
    done: Arc<AtomicUsize>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, in_flight, seconds, backlog] = arguments.as_slice() else {
        return Err("usage: livecode-bench-apalis URL IN_FLIGHT SECONDS BACKLOG".into());
    };
    let (in_flight, backlog): (usize, usize) = (in_flight.parse()?, backlog.parse()?);
    let seconds = Duration::from_secs(seconds.parse()?);
    let pool = PgPoolOptions::new().max_connections(20).connect(url).await?;
    PostgresStorage::setup(&pool).await?;
    // What an earlier process left behind isn't this one's.
    let name = format!("bench-{}", process::id());
    let config = Config::default().queue(&name).batch_size(in_flight);
    let mut storage = PostgresStorage::<usize>::new(&pool).with_config(config);
    for _ in 0..backlog.div_ceil(BULK) {
        storage.push_bulk(vec![0; BULK]).await?;
    }
    let flight = Flight { free: Arc::new(Semaphore::new(in_flight)), done: Arc::default() };
    let worker = WorkerBuilder::new(name.as_str())
        .backend(storage.clone().with_pubsub().poll_with_interval(POLL))
        .data(flight.clone())
        .concurrency(in_flight)
        .build(end);
    let mut working = tokio::spawn(worker.run());
    let adders = if backlog == 0 { in_flight } else { 0 };
    for _ in 0..adders {
        tokio::spawn(add(storage.clone(), flight.free.clone()));
    }
    tokio::select! {
        ended = &mut working => return Err(format!("the worker ended: {ended:?}").into()),
        () = sleep(WARM_UP) => {}
    }
    let (done, began) = (flight.done.load(Ordering::Relaxed), Instant::now());
    tokio::select! {
        ended = &mut working => return Err(format!("the worker ended: {ended:?}").into()),
        () = sleep(seconds) => {}
    }
    let (all, time) = (flight.done.load(Ordering::Relaxed), began.elapsed());
    if backlog > 0 && all >= backlog {
        return Err("the backlog ran out".into());
    }
    println!("{}", (all - done) as f64 / time.as_secs_f64());
    process::exit(0);
}

/// The job.
async fn end(_: usize, flight: Data<Flight>) -> Result<(), BoxDynError> {
    flight.done.fetch_add(1, Ordering::Relaxed);
    flight.free.add_permits(1);
    Ok(())
}

/// Adds one whenever one has ended.
async fn add(mut storage: PostgresStorage<usize>, free: Arc<Semaphore>) -> Result<(), String> {
    loop {
        free.acquire().await.map_err(|error| error.to_string())?.forget();
        storage.push(0).await.map_err(|error| error.to_string())?;
    }
}
