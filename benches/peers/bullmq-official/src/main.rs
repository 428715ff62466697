//! bullmq-official on Redis: `livecode-bench-bullmq-official URL MEASURE IN_FLIGHT SECONDS JOBS`. benches/peers/README.md
//! says what is measured.

use std::{
    env,
    error::Error,
    future::ready,
    process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bullmq::{
    BulkJob, Job, Queue, QueueOptions, Worker, WorkerOptions, options::RedisConnectionOptions,
    types::RemoveOnFinish, worker::WorkerEvent,
};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc::unbounded_channel},
    task::JoinSet,
    time::sleep,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const WARM_UP: Duration = Duration::from_secs(1);
const QUEUE: &str = "bench";
const BULK: usize = 1000;
const PICK_UP_EVERY: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, measure, in_flight, seconds, jobs] = arguments.as_slice() else {
        return Err("usage: livecode-bench-bullmq-official URL MEASURE IN_FLIGHT SECONDS JOBS".into());
    };
    let connection = RedisConnectionOptions::new().url(url);
    let bench = Bench {
        queue: Queue::with_options(QUEUE, QueueOptions::new().connection(connection.clone())).await?,
        connection,
        in_flight: in_flight.parse()?,
        time: Duration::from_secs(seconds.parse()?),
        jobs: jobs.parse()?,
        added: Arc::default(),
        done: Arc::default(),
    };
    let figures = match measure.as_str() {
        "add" => vec![bench.rate(&bench.added, bench.add(usize::MAX)).await?],
        "bulk" => vec![bench.rate(&bench.added, bench.add_bulk(usize::MAX)).await?],
        "fill" => {
            bench.add_bulk(bench.jobs).await?;
            vec![bench.jobs as f64]
        }
        "processed" => vec![bench.processed().await?],
        "flow" => vec![bench.flow().await?],
        "counted" => vec![bench.counted().await?],
        "pickup" => bench.pick_up().await?,
        other => return Err(format!("no such measure: {other}").into()),
    };
    println!("{}", figures.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    process::exit(0);
}

#[derive(Clone)]
struct Bench {
    queue: Queue,
    connection: RedisConnectionOptions,
    in_flight: usize,
    time: Duration,
    jobs: usize,
    added: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}

impl Bench {
    /// How many a second, of what `count` counts while that goes on.
    async fn rate(&self, count: &AtomicUsize, work: impl Future<Output = Result<()>>) -> Result<f64> {
        let measure = async {
            sleep(WARM_UP).await;
            let (before, began) = (count.load(Ordering::Relaxed), Instant::now());
            sleep(self.time).await;
            (count.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64()
        };
        tokio::select! {
            rate = measure => Ok(rate),
            ended = work => Err(format!("the jobs ran out: {ended:?}").into()),
        }
    }

    /// Callers who each add one after another, until so many have been.
    async fn add(&self, jobs: usize) -> Result<()> {
        let mut callers = JoinSet::new();
        for _ in 0..self.in_flight {
            let bench = self.clone();
            callers.spawn(async move {
                while bench.added.fetch_add(1, Ordering::Relaxed) < jobs {
                    bench.add_one().await?;
                }
                Ok(())
            });
        }
        callers.join_all().await.into_iter().collect()
    }

    async fn add_bulk(&self, jobs: usize) -> Result<()> {
        for first in (0..jobs).step_by(BULK) {
            let bulk = (first..jobs).take(BULK).map(|_| BulkJob::new("job", data()));
            let added = self.queue.add_bulk(bulk.collect()).await?.len();
            self.added.fetch_add(added, Ordering::Relaxed);
        }
        Ok(())
    }

    /// All have been added before.
    async fn processed(&self) -> Result<f64> {
        self.add_bulk(self.jobs).await?;
        let worker = self.worker(|| {}).await?;
        self.rate(&self.done, self.work_off(&worker)).await
    }

    /// Every one of a known number is added, and then worked off.
    async fn counted(&self) -> Result<f64> {
        self.add(self.jobs).await?;
        let worker = self.worker(|| {}).await?;
        self.work_off(&worker).await?;
        Ok(self.jobs as f64)
    }

    /// The next is added when one has ended.
    async fn flow(&self) -> Result<f64> {
        let worker = self.worker(|| {}).await?;
        let free = Arc::new(Semaphore::new(self.in_flight));
        let mut adders = JoinSet::new();
        for _ in 0..self.in_flight {
            let (bench, free) = (self.clone(), free.clone());
            adders.spawn(async move {
                loop {
                    free.acquire().await?.forget();
                    bench.add_one().await?;
                }
            });
        }
        let work = async {
            loop {
                self.ended(&worker).await?;
                free.add_permits(1);
            }
        };
        let flow = async {
            tokio::select! {
                ended = adders.join_next() => ended.map_or(Ok(()), |ended| ended?),
                ended = work => ended,
            }
        };
        self.rate(&self.done, flow).await
    }

    /// Milliseconds from before one is added until it begins, where nothing else is to be done: the median and the 99th percentile.
    async fn pick_up(&self) -> Result<Vec<f64>> {
        let (begun, mut begins) = unbounded_channel();
        let worker = self.worker(move || _ = begun.send(Instant::now())).await?;
        let measured_from = Instant::now() + WARM_UP;
        let mut times = Vec::new();
        while measured_from.elapsed() < self.time {
            let began = Instant::now();
            self.add_one().await?;
            let begun = begins.recv().await.ok_or("the worker is gone")?;
            self.ended(&worker).await?;
            if began > measured_from {
                times.push((begun - began).as_secs_f64() * 1e3);
            }
            sleep(PICK_UP_EVERY).await;
        }
        times.sort_by(f64::total_cmp);
        Ok([50, 99].map(|percent| times[(times.len() - 1) * percent / 100]).to_vec())
    }

    async fn add_one(&self) -> Result<()> {
        self.queue.add("job", data()).await?;
        Ok(())
    }

    async fn worker(&self, run: impl Fn() + Send + Sync + 'static) -> Result<Worker> {
        let options = WorkerOptions {
            connection: self.connection.clone(),
            concurrency: self.in_flight,
            // Nothing of what has ended is kept, as livecode does.
            remove_on_complete: Some(RemoveOnFinish::Bool(true)),
            ..WorkerOptions::default()
        };
        let processor = move |_: Job, _| {
            run();
            ready(Ok(Value::Null))
        };
        Ok(Worker::with_options(QUEUE, processor, options).await?)
    }

    async fn work_off(&self, worker: &Worker) -> Result<()> {
        for _ in 0..self.jobs {
            self.ended(worker).await?;
        }
        Ok(())
    }

    /// When the next one has.
    async fn ended(&self, worker: &Worker) -> Result<()> {
        loop {
            match worker.next_event().await {
                Some(WorkerEvent::Completed { .. }) => break,
                Some(WorkerEvent::Failed { error, .. } | WorkerEvent::Error(error)) => {
                    return Err(error.into());
                }
                Some(_) => {}
                None => return Err("the worker is gone".into()),
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// 200 bytes as JSON.
fn data() -> Value {
    json!({ "text": "x".repeat(189) })
}
