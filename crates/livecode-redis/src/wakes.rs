//! Hears of jobs, for claims that wait.

use std::{
    sync::{Arc, Once},
    time::Duration,
};

use futures_util::StreamExt;
use redis::{RedisError, aio::PubSub};
use tokio::{
    runtime::Handle,
    select,
    sync::watch::{self, Receiver, Sender},
    time::{sleep, timeout},
};

use crate::{connection::in_time, scripts::Scripts};

/// A connection that has said nothing for so long is asked whether it's still good.
const SILENCE: Duration = Duration::from_secs(10);

/// How long until a lost connection is made again, and the longest pause where that fails.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Tells claims that it's worth looking. A message may get lost on its way: who waits looks every now and then as well.
#[derive(Debug)]
pub(crate) struct Wakes {
    scripts: Arc<Scripts>,
    came: Sender<()>,
    /// As long as this is there somebody may want to know.
    _interest: Receiver<()>,
    listens: Once,
    runtime: Handle,
}

impl Wakes {
    pub(crate) fn new(scripts: &Arc<Scripts>) -> Self {
        let (came, interest) = watch::channel(());
        Self {
            scripts: scripts.clone(),
            came,
            _interest: interest,
            listens: Once::new(),
            runtime: Handle::current(),
        }
    }

    /// Changes with every message from now on. Who only pushes never asks, and needs no connection for it.
    pub(crate) fn subscribe(&self) -> Receiver<()> {
        self.listens.call_once(|| {
            self.runtime.spawn(listen_forever(self.scripts.clone(), self.came.clone()));
        });
        self.came.subscribe()
    }
}

/// Ends when nobody is interested any more.
async fn listen_forever(scripts: Arc<Scripts>, came: Sender<()>) {
    let listening = async {
        let mut pause = PAUSE;
        loop {
            match scripts.server().subscribe(scripts.channel()).await {
                Ok(connection) => {
                    pause = PAUSE;
                    // What came before isn't heard of.
                    came.send_replace(());
                    if let Err(error) = listen(connection, &came).await {
                        tracing::debug!(%error, "the connection that hears of jobs broke");
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "nothing is heard of jobs: claims look every second");
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
            sleep(pause).await;
        }
    };
    select! {
        () = listening => {}
        () = came.closed() => {}
    }
}

async fn listen(connection: PubSub, came: &Sender<()>) -> Result<(), RedisError> {
    let (mut sink, mut messages) = connection.split();
    loop {
        match timeout(SILENCE, messages.next()).await {
            Ok(Some(_)) => {
                came.send_replace(());
            }
            Ok(None) => return Ok(()),
            Err(_) => in_time(sink.ping::<redis::Value>()).await.map(drop)?,
        }
    }
}
