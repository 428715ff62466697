//! From the program's output to the store: in order, in batches, never dropped.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use crate::{Error, Execution, Output, Result, Stdio, Store};

/// A batch that has grown this large is written at once.
const BATCH_BYTES: usize = 64 * 1024;

/// What a chunk counts in a batch, however short it is: so a batch has at most 1,024.
const CHUNK_BYTES: usize = 64;

/// How long output waits for more. A program that takes no longer than this from its first output to its end costs the
/// store no write of its own.
const FLUSH_AFTER: Duration = Duration::from_millis(20);

/// Writes what comes from `program` to the log of the attempt that `execution` is at, and gives back what is left for the
/// finishing update when the program has ended. While the store is slow or can't be reached, nothing more is taken, so the
/// program's writes wait.
///
/// # Errors
///
/// [`Conflict`](crate::ErrorKind::Conflict) or [`NotFound`](crate::ErrorKind::NotFound) where the attempt isn't ours any
/// more; [`Unavailable`](crate::ErrorKind::Unavailable) where `stop` fired first; the store's other failures.
pub(super) async fn record(
    store: &dyn Store,
    execution: &Execution,
    mut program: mpsc::Receiver<Output>,
    stop: &CancellationToken,
) -> Result<Vec<Output>> {
    let mut written = Written::default();
    let mut batch = Batch::default();
    loop {
        let full = select! {
            // What there is first: it fills a batch before a timer is needed.
            biased;
            output = program.recv() => match output {
                Some(output) => {
                    batch.add(output);
                    batch.size >= BATCH_BYTES
                }
                None => return Ok(batch.take()),
            },
            () = sleep_until(batch.since + FLUSH_AFTER), if batch.size > 0 => true,
        };
        if full {
            let output = batch.take();
            let flushed = stop.run_until_cancelled(flush(store, execution, &output, &mut written));
            flushed.await.unwrap_or_else(|| Err(stopped()))?;
        }
    }
}

/// How many bytes of this attempt are surely in the store.
#[derive(Default)]
struct Written {
    stdout: usize,
    stderr: usize,
}

async fn flush(
    store: &dyn Store,
    execution: &Execution,
    output: &[Output],
    written: &mut Written,
) -> Result<()> {
    let mut backoff = Backoff::default();
    let mut unsure = false;
    loop {
        // An append that failed may have taken effect all the same. Nobody else writes to this attempt, so whether it has
        // can be seen from how much there is.
        let tried = if unsure {
            store.output(execution.id).await.map(|captured| {
                captured.stdout.len() > written.stdout || captured.stderr.len() > written.stderr
            })
        } else {
            store.append(execution.id, execution.attempt, output).await.map(|()| true)
        };
        match tried {
            Ok(true) => break,
            Ok(false) => unsure = false,
            Err(error) if error.is_temporary() => {
                tracing::debug!(%error, "output could not be written, trying again");
                unsure = true;
                sleep(backoff.next()).await;
            }
            Err(error) => return Err(error),
        }
    }
    for Output { stdio, bytes } in output {
        match stdio {
            Stdio::Stdout => written.stdout += bytes.len(),
            Stdio::Stderr => written.stderr += bytes.len(),
        }
    }
    Ok(())
}

fn stopped() -> Error {
    Error::unavailable("the attempt was stopped before its output was written")
}

/// Output that isn't written yet.
struct Batch {
    chunks: Vec<(Stdio, BytesMut)>,
    size: usize,
    /// Since when the oldest of it waits.
    since: Instant,
}

impl Default for Batch {
    fn default() -> Self {
        Self { chunks: Vec::new(), size: 0, since: Instant::now() }
    }
}

impl Batch {
    fn add(&mut self, Output { stdio, bytes }: Output) {
        if self.size == 0 {
            self.since = Instant::now();
        }
        match self.chunks.last_mut() {
            // A program that writes a line at a time isn't worth an event for each.
            Some((last, chunk)) if *last == stdio => {
                self.size += bytes.len();
                chunk.extend_from_slice(&bytes);
            }
            Some(_) | None => {
                self.size += bytes.len().max(CHUNK_BYTES);
                self.chunks.push((stdio, BytesMut::from(bytes)));
            }
        }
    }

    fn take(&mut self) -> Vec<Output> {
        self.size = 0;
        self.chunks.drain(..).map(|(stdio, chunk)| Output::new(stdio, chunk)).collect()
    }
}
