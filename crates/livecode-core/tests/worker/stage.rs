//! A sandbox whose programs are closures.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use livecode_core::{Capabilities, Io, Outcome, Output, Owner, Program, Result, Sandbox, Stdio, Termination};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

type Play = dyn Fn(Scene) -> BoxFuture<'static, Result<Outcome>> + Send + Sync;

/// Plays every program by one closure, and counts.
pub(crate) struct Stage {
    play: Box<Play>,
    begun: watch::Sender<usize>,
    alive: watch::Sender<usize>,
    most: AtomicUsize,
}

/// What a program has in its hands.
pub(crate) struct Scene {
    /// Which run of this stage it is, from 1.
    pub(crate) nth: usize,
    /// Its entry file.
    pub(crate) source: String,
    /// Whose it is.
    pub(crate) owner: Owner,
    /// What is sent to it, where it's open.
    pub(crate) input: Option<mpsc::Receiver<Bytes>>,
    output: mpsc::Sender<Output>,
    cancel: CancellationToken,
}

impl Stage {
    pub(crate) fn new<F>(play: impl Fn(Scene) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Outcome>> + Send + 'static,
    {
        Self {
            play: Box::new(move |scene| Box::pin(play(scene))),
            begun: watch::Sender::new(0),
            alive: watch::Sender::new(0),
            most: AtomicUsize::new(0),
        }
    }

    /// As soon as so many programs have begun.
    pub(crate) async fn begun(&self, programs: usize) {
        let mut begun = self.begun.subscribe();
        begun.wait_for(|begun| *begun >= programs).await.unwrap();
    }

    /// How many programs have begun so far.
    pub(crate) fn count(&self) -> usize {
        *self.begun.borrow()
    }

    /// How many programs are there now.
    pub(crate) fn alive(&self) -> usize {
        *self.alive.borrow()
    }

    /// As soon as no program is there.
    pub(crate) async fn empty(&self) {
        let mut alive = self.alive.subscribe();
        alive.wait_for(|alive| *alive == 0).await.unwrap();
    }

    /// The most programs that were there at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

struct Alive<'a>(&'a watch::Sender<usize>);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|alive| *alive -= 1);
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

#[async_trait]
impl Sandbox for Stage {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "stage".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, program: &Program, io: Io, cancel: &CancellationToken) -> Result<Outcome> {
        self.alive.send_modify(|alive| *alive += 1);
        let _alive = Alive(&self.alive);
        self.most.fetch_max(self.alive(), Ordering::SeqCst);
        let nth = *self.begun.borrow() + 1;
        self.begun.send_replace(nth);
        let scene = Scene {
            nth,
            source: String::from_utf8(program.files[0].content.to_vec()).unwrap(),
            owner: program.owner.clone(),
            input: io.more,
            output: io.output,
            cancel: cancel.clone(),
        };
        (self.play)(scene).await
    }
}

impl Scene {
    pub(crate) async fn print(&self, text: &str) {
        self.write(Stdio::Stdout, text).await;
    }

    pub(crate) async fn write(&self, stdio: Stdio, text: &str) {
        // Where nobody listens, a program goes on unheard.
        self.output.send(Output::new(stdio, text.to_owned())).await.ok();
    }

    /// The next piece of input; none at its end.
    pub(crate) async fn read(&mut self) -> Option<String> {
        let piece = self.input.as_mut().unwrap().recv().await?;
        Some(String::from_utf8(piece.to_vec()).unwrap())
    }

    /// Runs until it's cancelled.
    pub(crate) async fn last(self) -> Result<Outcome> {
        self.cancel.cancelled().await;
        Ok(Outcome::new(Termination::Cancelled))
    }
}

/// The program exits with status `code`.
pub(crate) fn exit(code: i32) -> Result<Outcome> {
    Ok(Outcome::new(Termination::Exited { code }))
}
