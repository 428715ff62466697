//! Who waits for what in this process, and how it hears of what other processes change.
//!
//! A waiting party subscribes first and looks second, so a change is either in what it sees or wakes it. Changes of this
//! process wake at once. For those of others one connection listens to the notifications of all, and a poll stands behind
//! it: a notification is lost with the connection, and where a process dies between a change and telling of it.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use livecode_core::{ExecutionId, Seq};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    connections::{CONNECT_TIMEOUT, Connections, in_time},
    rows,
};
use crate::follower::Reach;

/// How often those who wait look for themselves.
const POLL: Duration = Duration::from_secs(1);

/// How long nothing is heard before the server is asked whether it's still there.
const SILENCE: Duration = Duration::from_secs(30);

/// How long between two tries to listen.
const RECONNECT: Duration = Duration::from_millis(100);

/// How long between two notifications: what happens meanwhile is told together. At each one's commit the server lets no other
/// transaction with one commit, so they are apart from the changes that they tell of, and few.
const GATHER: Duration = Duration::from_millis(2);

/// The most that a notification holds, less than PostgreSQL's 8,000 bytes.
const PAYLOAD: usize = 7_900;

/// Behind how far a log reaches.
const GOES_ON: &str = "+";

/// Behind how far what was sent to an execution reaches. A process that doesn't know of it looks by itself.
const INPUT: &str = "<";

#[derive(Debug)]
pub(super) struct Waiters {
    shared: Arc<Shared>,
    teller: AbortHandle,
    listener: OnceLock<AbortHandle>,
    options: PgConnectOptions,
    /// Where they run: a caller's runtime may end before ours.
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    connections: Arc<Connections>,
    channel: String,
    /// Tells this process's own notifications from those of others.
    sender: String,
    /// Some job may be claimable that wasn't.
    jobs: watch::Sender<()>,
    /// How far each log reaches that somebody follows, as far as they have been told.
    logs: Mutex<HashMap<ExecutionId, watch::Sender<Reach>>>,
    /// The same of what is sent to executions.
    inputs: Mutex<HashMap<ExecutionId, watch::Sender<Seq>>>,
    /// What other processes are to be told.
    news: Mutex<News>,
    has_news: Notify,
}

#[derive(Debug, Default)]
struct News {
    jobs: bool,
    logs: HashMap<ExecutionId, Reach>,
    inputs: HashMap<ExecutionId, Seq>,
}

impl Waiters {
    /// `sender` names this process among those who use `channel`.
    pub(super) fn new(
        connections: &Arc<Connections>,
        options: PgConnectOptions,
        channel: String,
        sender: String,
    ) -> Self {
        let shared = Arc::new(Shared {
            connections: connections.clone(),
            channel,
            sender,
            jobs: watch::Sender::default(),
            logs: Mutex::default(),
            inputs: Mutex::default(),
            news: Mutex::default(),
            has_news: Notify::default(),
        });
        let teller = tokio::spawn(shared.clone().tell_forever()).abort_handle();
        Self { shared, teller, listener: OnceLock::new(), options, runtime: Handle::current() }
    }

    /// Tells the followers of a log that it reaches to `last` now.
    pub(super) fn log_grew(&self, id: ExecutionId, last: Seq, may_have_ended: bool) {
        self.shared.log_grew(id, last, may_have_ended);
        lock(&self.shared.news).logs.entry(id).or_default().grow(last, may_have_ended);
        self.shared.has_news.notify_one();
    }

    /// Tells the followers of what is sent to an execution that it reaches to `last` now.
    pub(super) fn input_grew(&self, id: ExecutionId, last: Seq) {
        self.shared.input_grew(id, last);
        {
            let mut news = lock(&self.shared.news);
            let told = news.inputs.entry(id).or_default();
            *told = last.max(*told);
        }
        self.shared.has_news.notify_one();
    }

    /// Tells claimers to look.
    pub(super) fn jobs_came(&self) {
        self.shared.jobs.send_replace(());
        lock(&self.shared.news).jobs = true;
        self.shared.has_news.notify_one();
    }

    /// Hears of everything added to a log from now on, and perhaps more often.
    pub(super) fn log(&self, id: ExecutionId) -> watch::Receiver<Reach> {
        self.listen();
        lock(&self.shared.logs).entry(id).or_default().subscribe()
    }

    /// Hears of everything sent to an execution from now on, and perhaps more often.
    pub(super) fn input(&self, id: ExecutionId) -> watch::Receiver<Seq> {
        self.listen();
        lock(&self.shared.inputs).entry(id).or_default().subscribe()
    }

    /// Hears of every job from now on, and perhaps more often.
    pub(super) fn jobs(&self) -> watch::Receiver<()> {
        self.listen();
        self.shared.jobs.subscribe()
    }

    /// Begins to listen with the first who waits.
    fn listen(&self) {
        self.listener.get_or_init(|| {
            self.runtime.spawn(self.shared.clone().hear_forever(self.options.clone())).abort_handle()
        });
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        self.teller.abort();
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

impl Shared {
    fn log_grew(&self, id: ExecutionId, last: Seq, may_have_ended: bool) {
        if let Some(log) = lock(&self.logs).get(&id) {
            log.send_if_modified(|known| known.grow(last, may_have_ended));
        }
    }

    fn input_grew(&self, id: ExecutionId, last: Seq) {
        if let Some(input) = lock(&self.inputs).get(&id) {
            input.send_if_modified(|known| mem::replace(known, last.max(*known)) < last);
        }
    }

    async fn tell_forever(self: Arc<Self>) {
        loop {
            self.has_news.notified().await;
            let payloads = mem::take(&mut *lock(&self.news)).payloads(&self.sender);
            let tell = sqlx::query("SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload")
                .bind(&self.channel)
                .bind(payloads);
            // Whom it doesn't reach looks within a second.
            if let Err(error) = self.connections.rows(tell).await {
                tracing::debug!(%error, "other processes can't be told of changes");
            }
            sleep(GATHER).await;
        }
    }

    async fn hear_forever(self: Arc<Self>, options: PgConnectOptions) {
        tokio::join!(self.listen_forever(options), self.look_forever());
    }

    async fn listen_forever(&self, options: PgConnectOptions) {
        // The listener takes its connection out of a pool, for good.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        loop {
            if let Ok(mut listener) = self.begin(&pool).await {
                // What was told before is lost.
                self.wake_all();
                loop {
                    match timeout(SILENCE, listener.try_recv()).await {
                        Ok(Ok(Some(notification))) => self.told(notification.payload()),
                        Ok(Ok(None) | Err(_)) => break,
                        // Nothing to tell, or nobody there any more.
                        Err(_) if in_time(listener.listen(&self.channel)).await.is_ok() => {}
                        Err(_) => break,
                    }
                }
            }
            sleep(RECONNECT).await;
        }
    }

    async fn begin(&self, pool: &PgPool) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.eager_reconnect(false);
        listener.listen(&self.channel).await?;
        Ok(listener)
    }

    /// Passes on what another process tells. Whatever isn't understood comes from a newer one, and the poll does for it.
    fn told(&self, payload: &str) {
        let mut words = payload.split(' ');
        if words.next() == Some(&self.sender) {
            return;
        }
        for word in words {
            match word.split_once(':') {
                None => {
                    self.jobs.send_replace(());
                }
                Some((id, reach)) if reach.ends_with(INPUT) => {
                    if let (Ok(id), Ok(last)) = (id.parse(), reach.trim_end_matches(INPUT).parse()) {
                        self.input_grew(id, Seq(last));
                    }
                }
                Some((id, reach)) => {
                    let goes_on = reach.strip_suffix(GOES_ON);
                    if let (Ok(id), Ok(last)) = (id.parse(), goes_on.unwrap_or(reach).parse()) {
                        self.log_grew(id, Seq(last), goes_on.is_none());
                    }
                }
            }
        }
    }

    async fn look_forever(&self) {
        loop {
            sleep(POLL).await;
            self.look().await;
        }
    }

    /// Tells those who wait what there is. Forgets those who have gone.
    async fn look(&self) {
        if self.jobs.receiver_count() > 0 {
            self.jobs.send_replace(());
        }
        let followed: Vec<Uuid> = {
            let mut logs = lock(&self.logs);
            logs.retain(|_, log| log.receiver_count() > 0);
            logs.keys().map(|id| id.as_uuid()).collect()
        };
        self.look_for_input().await;
        if followed.is_empty() {
            return;
        }
        let select = sqlx::query("SELECT id, last_seq FROM execution WHERE id = ANY($1)").bind(followed);
        match self.connections.rows(select).await {
            Ok(rows) => {
                for row in &rows {
                    if let (Ok(id), Ok(last)) = (rows::column::<Uuid>(row, "id"), rows::seq(row, "last_seq"))
                    {
                        self.log_grew(id.into(), last, true);
                    }
                }
            }
            // Everybody looks for themselves, and whoever meets the same error reports it.
            Err(_) => self.wake_all(),
        }
    }

    async fn look_for_input(&self) {
        let followed: Vec<Uuid> = {
            let mut inputs = lock(&self.inputs);
            inputs.retain(|_, input| input.receiver_count() > 0);
            inputs.keys().map(|id| id.as_uuid()).collect()
        };
        if followed.is_empty() {
            return;
        }
        let select = sqlx::query("SELECT execution_id, last_seq FROM stdin WHERE execution_id = ANY($1)");
        match self.connections.rows(select.bind(followed)).await {
            Ok(rows) => {
                for row in &rows {
                    let id = rows::column::<Uuid>(row, "execution_id");
                    if let (Ok(id), Ok(last)) = (id, rows::seq(row, "last_seq")) {
                        self.input_grew(id.into(), last);
                    }
                }
            }
            // As of logs.
            Err(_) => self.wake_all(),
        }
    }

    fn wake_all(&self) {
        self.jobs.send_replace(());
        for log in lock(&self.logs).values() {
            log.send_modify(|known| known.may_have_ended = true);
        }
        for input in lock(&self.inputs).values() {
            input.send_modify(|_| {});
        }
    }
}

impl News {
    /// As words after the sender's name: `jobs`, of each log `id:seq`, or `id:seq+` where it goes on, and of what was sent `id:seq<`.
    fn payloads(self, sender: &str) -> Vec<String> {
        let jobs = self.jobs.then(|| "jobs".to_owned());
        let logs = self.logs.into_iter().map(|(id, Reach { last: Seq(last), may_have_ended })| {
            format!("{id}:{last}{}", if may_have_ended { "" } else { GOES_ON })
        });
        let inputs = self.inputs.into_iter().map(|(id, Seq(last))| format!("{id}:{last}{INPUT}"));
        let mut payloads: Vec<String> = Vec::new();
        for word in jobs.into_iter().chain(logs).chain(inputs) {
            match payloads.last_mut().filter(|payload| payload.len() + word.len() < PAYLOAD) {
                Some(payload) => {
                    payload.push(' ');
                    payload.push_str(&word);
                }
                None => payloads.push(format!("{sender} {word}")),
            }
        }
        payloads
    }
}

/// No section under these locks stops halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use livecode_core::{Clock, Execution, ExecutionSpec, Owner, Seq, Store, SystemClock};
    use tokio::time::timeout;

    use super::*;
    use crate::{Postgres, postgres_server};

    /// Longer than any wait takes that ends.
    const LONG: Duration = Duration::from_secs(30);

    async fn two() -> [Postgres; 2] {
        let url = postgres_server::fresh();
        [Postgres::open(&url).await.unwrap(), Postgres::open(&url).await.unwrap()]
    }

    fn execution() -> Execution {
        Execution::new(Owner::anonymous(), "python", SystemClock.now())
    }

    /// Who hears, and a log that another process has begun; nothing is listened to and nobody looks yet.
    async fn heard(databases: &[Postgres; 2]) -> (Arc<Shared>, Execution, watch::Receiver<Reach>) {
        let execution = execution();
        let spec = ExecutionSpec::new("python", "1");
        databases[1].store_and_queue().0.insert(&execution, &spec).await.unwrap();
        let shared = databases[0].database.waiters.shared.clone();
        let log = lock(&shared.logs).entry(execution.id).or_default().subscribe();
        (shared, execution, log)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_another_process_changes_is_told_without_a_look() {
        let databases = two().await;
        let (shared, execution, mut log) = heard(&databases).await;
        let mut jobs = shared.jobs.subscribe();
        let mut input = lock(&shared.inputs).entry(execution.id).or_default().subscribe();
        let listening = shared.listen_forever(databases[0].database.waiters.options.clone());
        let told = async {
            // As soon as it listens, everybody looks.
            log.changed().await.unwrap();
            jobs.changed().await.unwrap();
            for (last, may_have_ended) in [(7, false), (8, true)] {
                databases[1].database.waiters.log_grew(execution.id, Seq(last), may_have_ended);
                let told = log.wait_for(|reach| reach.last == Seq(last)).await.unwrap();
                assert_eq!(told.may_have_ended, may_have_ended);
            }
            databases[1].database.waiters.input_grew(execution.id, Seq(3));
            input.wait_for(|last| *last == Seq(3)).await.unwrap();
            databases[1].database.waiters.jobs_came();
            jobs.changed().await.unwrap();
            // The connection is cut: what is told meanwhile is lost, so everybody looks again.
            log.mark_unchanged();
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = $1";
            let listen = format!("LISTEN \"{}\"", shared.channel);
            shared.connections.rows(sqlx::query(cut).bind(listen)).await.unwrap();
            log.changed().await.unwrap();
        };
        tokio::select! {
            () = listening => {}
            told = timeout(LONG, told) => assert!(told.is_ok(), "nothing was told"),
        }
    }

    #[tokio::test]
    async fn what_was_not_told_is_found_by_a_look() {
        let databases = two().await;
        let (shared, _, mut log) = heard(&databases).await;
        let mut jobs = shared.jobs.subscribe();
        assert!(!log.has_changed().unwrap() && !jobs.has_changed().unwrap());
        shared.look().await;
        assert_eq!(log.borrow_and_update().last, Seq(1));
        assert!(jobs.has_changed().unwrap());
        jobs.mark_unchanged();
        drop((log, jobs));
        shared.look().await;
        assert!(lock(&shared.logs).is_empty(), "who has gone is forgotten");
    }

    #[test]
    fn news_is_told_in_as_many_payloads_as_it_takes() {
        let logs: HashMap<_, _> =
            (1..=500).map(|seq| (execution().id, Reach { last: Seq(seq), may_have_ended: true })).collect();
        let inputs = HashMap::from([(execution().id, Seq(7))]);
        let payloads = News { jobs: true, logs: logs.clone(), inputs }.payloads("me");
        assert!(payloads.len() > 1 && payloads.iter().all(|payload| payload.len() < 8_000));
        let words: Vec<&str> = payloads.iter().flat_map(|payload| payload.split(' ').skip(1)).collect();
        assert_eq!(words.len(), 502);
        assert_eq!(words.iter().filter(|word| word.ends_with(":7<")).count(), 1);
        assert!(words.contains(&"jobs"));
        assert!(payloads.iter().all(|payload| payload.starts_with("me ")));
    }
}
