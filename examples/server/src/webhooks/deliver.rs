//! The loop that tells receivers.

use std::{collections::HashMap, time::Duration};

use livecode::{Delivery, DeliveryChange, ErrorKind, ExecutionId, Result, Timestamp};
use serde::Serialize;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Webhooks,
    policy::{LEASE, Tried},
    turns::Turns,
};
use crate::{
    App, metrics,
    record::{Record, record},
};

/// How often there is a look for what has become due. Where nothing is, it's a look at the end of an index.
const POLL: Duration = Duration::from_millis(500);

/// How many are read at a time, and how often in one look.
const PAGE: usize = 100;
const PAGES: usize = 20;

/// How long the tries under way may take at the end, before they are broken off and left to other processes.
const GRACE: Duration = Duration::from_secs(5);

/// Tells receivers of the ends of executions until `stop` fires, and a little longer what has been begun; returns at `stop` where
/// nobody is told here. Any number of processes may do so on one store: a delivery is one's at a time, and where that one dies
/// another's.
pub async fn deliver_webhooks(app: App, stop: CancellationToken) {
    let Some(webhooks) = app.webhooks.clone() else {
        return stop.cancelled().await;
    };
    Deliverer {
        app,
        webhooks,
        turns: Turns::default(),
        after: None,
        tries: JoinSet::new(),
        under_way: HashMap::new(),
        cut: CancellationToken::new(),
    }
    .run(stop)
    .await;
}

struct Deliverer {
    app: App,
    webhooks: Webhooks,
    turns: Turns,
    /// Where the next look goes on, if not at the beginning.
    after: Option<(Timestamp, ExecutionId)>,
    tries: JoinSet<()>,
    under_way: HashMap<Id, Delivery>,
    cut: CancellationToken,
}

impl Deliverer {
    async fn run(mut self, stop: CancellationToken) {
        let mut is_down = false;
        while !stop.is_cancelled() {
            let began = Instant::now();
            let looked = tokio::select! {
                () = stop.cancelled() => break,
                looked = self.look() => looked,
            };
            match looked {
                Ok(()) => is_down = false,
                Err(error) => {
                    if !std::mem::replace(&mut is_down, true) {
                        tracing::warn!(%error, "what is to be delivered can't be read: trying on");
                    }
                }
            }
            // Where so much is due that it takes a while to read, it's read less often.
            let next = sleep((began.elapsed() * 4).clamp(POLL, 10 * POLL));
            tokio::pin!(next);
            loop {
                self.begin();
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = &mut next => break,
                    Some(ended) = self.tries.join_next_with_id() => self.ended(ended),
                }
            }
        }
        let rest = async { while self.tries.join_next().await.is_some() {} };
        if timeout(GRACE, rest).await.is_err() {
            self.cut.cancel();
            while self.tries.join_next().await.is_some() {}
        }
    }

    /// Lets what is due wait here, as much of it as may. Where more is due than is read in one look, the next one goes on there: what
    /// may not wait hides nothing behind it for good. After an error it's from the beginning.
    async fn look(&mut self) -> Result<()> {
        let mut after = self.after.take();
        for _ in 0..PAGES {
            let page = self.app.engine.deliveries_due(after, PAGE).await?;
            let is_last = page.len() < PAGE;
            for delivery in page {
                if self.turns.is_full() {
                    self.after = after;
                    return Ok(());
                }
                after = delivery.due_at.map(|at| (at, delivery.execution_id));
                self.turns.add(delivery);
            }
            if is_last {
                return Ok(());
            }
        }
        self.after = after;
        Ok(())
    }

    /// Begins as many tries as may be.
    fn begin(&mut self) {
        while let Some(delivery) = self.turns.next() {
            let (app, webhooks, cut) = (self.app.clone(), self.webhooks.clone(), self.cut.clone());
            let due = delivery.clone();
            let task = self.tries.spawn(async move {
                let id = due.execution_id;
                if let Err(error) = deliver(&app, &webhooks, due, &cut).await {
                    // It's begun again when its lease is over.
                    tracing::warn!(execution = %id, %error, "where a delivery stands can't be told");
                }
            });
            self.under_way.insert(task.id(), delivery);
        }
    }

    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        if let Some(delivery) = self.under_way.remove(&id) {
            self.turns.end(&delivery);
        }
    }
}

/// One try, unless another process began it, and what follows on it.
async fn deliver(app: &App, webhooks: &Webhooks, due: Delivery, cut: &CancellationToken) -> Result<()> {
    let tries = &webhooks.0.tries;
    let change = match tries.before(due.attempts, due.last_error.as_deref()) {
        Some(given_up) => given_up,
        None => DeliveryChange::Begin { lease: LEASE },
    };
    let is_begun = matches!(change, DeliveryChange::Begin { .. });
    let Some(begun) = app.engine.change_delivery(&due, change).await? else {
        return Ok(());
    };
    if !is_begun {
        metrics::webhook("failed");
        return Ok(());
    }
    let tried = match message(app, &begun).await {
        Ok(Some(body)) => tokio::select! {
            tried = webhooks.post(&begun, body) => tried,
            () = cut.cancelled() => Tried::CutOff,
        },
        // It was deleted meanwhile, and the delivery with it.
        Ok(None) => return Ok(()),
        Err(error) => {
            tracing::warn!(execution = %begun.execution_id, %error, "what is to be delivered can't be read");
            Tried::NotNow { error: "an error on our side, it is in the server's log".into(), wish: None }
        }
    };
    let change = tries.after(tried, begun.attempts);
    let result = match &change {
        DeliveryChange::Deliver => "delivered",
        DeliveryChange::Fail { .. } => "failed",
        DeliveryChange::Begin { .. } | DeliveryChange::Retry { .. } => "retried",
    };
    metrics::webhook(result);
    tracing::debug!(execution = %begun.execution_id, attempt = begun.attempts, result, "a webhook was sent");
    app.engine.change_delivery(&begun, change).await.map(drop)
}

/// What is sent.
#[derive(Serialize)]
struct Message {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Option<Timestamp>,
    data: Record,
}

/// The body; none where the execution is no longer there.
async fn message(app: &App, delivery: &Delivery) -> Result<Option<Vec<u8>>> {
    let read = async {
        let execution = app.engine.execution(delivery.execution_id).await?;
        let timestamp = execution.completed_at;
        let data = record(app, execution).await?;
        serde_json::to_vec(&Message { kind: "execution.ended", timestamp, data }).map_err(|error| {
            livecode::Error::internal("a record can't be written as JSON").with_source(error)
        })
    };
    match read.await {
        Ok(body) => Ok(Some(body)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use livecode::{Engine, ExecutionSpec, MemoryQueue, MemoryStore, Owner, RunOptions};

    use super::*;
    use crate::{Config, Shutdown};

    #[tokio::test]
    async fn a_backlog_hides_nothing_behind_it_for_good() {
        let engine = Engine::new(Arc::new(MemoryStore::default()), Arc::new(MemoryQueue::default()));
        let spec = ExecutionSpec::new("python", "1").callback_url("https://silent.example/");
        for (owner, count) in [("mallory", (PAGES + 1) * PAGE), ("alice", 1)] {
            let engine = engine.for_owner(Owner::new(owner).unwrap());
            for _ in 0..count {
                let ran = engine.run(spec.clone(), RunOptions::default()).await.unwrap();
                engine.cancel(ran.execution.id).await.unwrap();
            }
        }
        let secret = "an example of a secret, in 32 bytes and more";
        let config = Config::parse_from(["livecode-server", "--webhook-secret", secret]);
        let mut deliverer = Deliverer {
            app: App::new(engine, None, Shutdown::default()),
            webhooks: Webhooks::open(&config.webhooks).unwrap().unwrap(),
            turns: Turns::default(),
            after: None,
            tries: JoinSet::new(),
            under_way: HashMap::new(),
            cut: CancellationToken::new(),
        };
        let is_alices_next = |deliverer: &mut Deliverer| {
            std::iter::from_fn(|| deliverer.turns.next()).any(|next| next.owner.as_str() == "alice")
        };
        deliverer.look().await.unwrap();
        assert!(!is_alices_next(&mut deliverer), "a look has an end");
        deliverer.look().await.unwrap();
        assert!(is_alices_next(&mut deliverer));
    }
}
