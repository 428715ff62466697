//! The connection that all calls share, made again when it breaks.

use std::{
    fmt,
    sync::{Mutex as StdMutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::SentinelClient,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// How long to wait for a connection, and for an answer: a call is a matter of milliseconds at most.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a server can't be reached it's tried again after so long, each time twice as long; calls fail at once meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Which servers.
pub(crate) enum Servers {
    One(Box<Client>),
    /// The master that these Sentinels name.
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster {
        client: Box<ClusterClient>,
        /// Those that the URL names, each by itself: what is published at one is heard at all.
        nodes: Vec<Client>,
    },
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is in them may hold a password.
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Sentinel(_) => "Sentinel",
            Self::Cluster { .. } => "Cluster",
        })
    }
}

#[derive(Debug)]
pub(crate) struct Server {
    servers: Servers,
    state: StdMutex<State>,
    /// Locked by who makes a connection.
    connecting: Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// None before the first call, and when it broke.
    open: Option<Open>,
    /// How many there have been.
    opened: u64,
    /// Why there is none, and until when that is believed.
    failed: Option<(RedisError, Instant)>,
    pause: Duration,
}

#[derive(Clone, Debug)]
struct Open {
    connection: Connection,
    number: u64,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// Whether another one may do better. A replica that was the master is left as well. A cluster's looks for other nodes by itself,
    /// and to make a new one takes more of them than it may need.
    fn is_broken(&self, error: &RedisError) -> bool {
        match self {
            Self::One(_) => {
                error.is_io_error() || error.is_unrecoverable_error() || error.code() == Some("READONLY")
            }
            Self::Cluster(_) => error.kind() == ErrorKind::ClusterConnectionNotFound,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(_) => "One",
            Self::Cluster(_) => "Cluster",
        })
    }
}

impl Server {
    pub(crate) fn new(servers: Servers) -> Self {
        let state = State { open: None, opened: 0, failed: None, pause: FIRST_PAUSE };
        Self { servers, state: StdMutex::new(state), connecting: Mutex::new(()) }
    }

    /// What the server answers.
    pub(crate) async fn call(&self, command: &Cmd) -> Result<Value, RedisError> {
        let mut open = self.open().await?;
        let answer = match &mut open.connection {
            Connection::One(connection) => connection.req_packed_command(command).await,
            Connection::Cluster(connection) => connection.req_packed_command(command).await,
        };
        let answer = answer.and_then(Value::extract_error);
        if let Err(error) = &answer
            && open.connection.is_broken(error)
        {
            self.state().open.take_if(|latest| latest.number == open.number);
        }
        answer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self) -> Result<Open, RedisError> {
        if let Some(known) = self.known() {
            return known;
        }
        let failed = self.state().failed.as_ref().map(|(error, _)| error.clone());
        let _connecting = match failed {
            None => self.connecting.lock().await,
            // One tries whether the server is back; the others needn't wait for that.
            Some(error) => self.connecting.try_lock().map_err(|_| error)?,
        };
        if let Some(known) = self.known() {
            return known;
        }
        let connected = in_time(self.servers.connect()).await;
        let mut state = self.state();
        match connected {
            Ok(connection) => {
                state.opened += 1;
                let open = Open { connection, number: state.opened };
                (state.open, state.failed, state.pause) = (Some(open.clone()), None, FIRST_PAUSE);
                Ok(open)
            }
            Err(error) => {
                state.failed = Some((error.clone(), Instant::now() + state.pause));
                state.pause = (state.pause * 2).min(LONGEST_PAUSE);
                Err(error)
            }
        }
    }

    /// The connection that there is, or why there is none; nothing where it's time to try.
    fn known(&self) -> Option<Result<Open, RedisError>> {
        let state = self.state();
        match (&state.open, &state.failed) {
            (Some(open), _) => Some(Ok(open.clone())),
            (None, Some((error, until))) if Instant::now() < *until => Some(Err(error.clone())),
            (None, _) => None,
        }
    }

    /// A connection of its own that hears what is published to `channel`.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<PubSub, RedisError> {
        in_time(async {
            let mut connection = self.servers.listen().await?;
            connection.subscribe(channel).await?;
            Ok(connection)
        })
        .await
    }
}

impl Servers {
    async fn connect(&self) -> Result<Connection, RedisError> {
        let client = match self {
            Self::One(client) => Client::clone(client),
            Self::Sentinel(client) => client.lock().await.async_get_client().await?,
            Self::Cluster { client, .. } => {
                return Ok(Connection::Cluster(client.get_async_connection().await?));
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        Ok(Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    async fn listen(&self) -> Result<PubSub, RedisError> {
        match self {
            Self::One(client) => client.get_async_pubsub().await,
            Self::Sentinel(client) => {
                let client = client.lock().await.async_get_client().await?;
                client.get_async_pubsub().await
            }
            Self::Cluster { nodes, .. } => {
                let mut failed = RedisError::from((ErrorKind::Io, "no node of the cluster can be reached"));
                for node in nodes {
                    match timeout(ANSWER_TIMEOUT / 3, node.get_async_pubsub()).await {
                        Ok(Ok(connection)) => return Ok(connection),
                        Ok(Err(error)) => failed = error,
                        Err(_) => {}
                    }
                }
                Err(failed)
            }
        }
    }
}

pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    timeout(ANSWER_TIMEOUT, answer)
        .await
        .unwrap_or_else(|_| Err(RedisError::from((ErrorKind::Io, "no answer in time"))))
}
