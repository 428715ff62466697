//! Those who save, run, send input, follow, wait and cancel, and repeat what failed.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use livecode_core::{
    Edit, Engine, ErrorKind, EventKind, ExecutionId, ExecutionSpec, Owner, Result, RunOptions, Seq, SessionId,
};
use tokio::time::sleep;

use crate::{
    history::{Asked, Save},
    sandbox::{Kind, Script},
    sim::Sim,
};

/// How long somebody waits for an end before they wait anew.
const WAIT: Duration = Duration::from_secs(3);

/// Calls until it works: only what is temporary, or broken for now, may fail.
async fn until_it_works<T, F: Future<Output = Result<T>>>(
    sim: &Sim,
    what: &str,
    mut call: impl FnMut() -> F,
) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal) => {}
            Err(error) => sim.history().violation(format!("{what} failed for good: {error:?}")),
        }
        sleep(sim.millis(1_000)).await;
    }
}

fn script(sim: &Sim) -> Script {
    let kind = match sim.chance(|chance| chance.u32(0..16)) {
        0..6 => Kind::Succeeds,
        6..8 => Kind::Fails,
        8 => Kind::UsesTooMuchMemory,
        9 => Kind::UsesUpItsTime,
        10..12 => Kind::Stays,
        12..14 => Kind::Echoes,
        // Where nothing is to go wrong it isn't there.
        _ if sim.faults.deaths => Kind::Poison,
        _ => Kind::Succeeds,
    };
    // Many are short, some take longer than a lease.
    let long = sim.chance(fastrand::Rng::bool);
    let (lines, pause_millis) =
        sim.chance(|chance| (chance.u64(0..5), if long { chance.u64(0..1_500) } else { chance.u64(0..30) }));
    Script { kind, lines, pause_millis }
}

/// Has one program run, by its session or without one, maybe twice with one idempotency key.
pub(crate) async fn runner(sim: Arc<Sim>, engine: Engine, session: Option<SessionId>, key: Option<String>) {
    sleep(sim.millis(8_000)).await;
    let owner = Owner::new(sim.chance(|chance| ["a", "b", "c"][chance.usize(0..3)])).unwrap();
    let engine = if session.is_some() { engine } else { engine.for_owner(owner) };
    let script = script(&sim);
    let delay = if sim.chance(fastrand::Rng::bool) { Duration::ZERO } else { sim.millis(3_000) };
    let priority = sim.chance(|chance| chance.i16(0..2));
    let options = RunOptions { idempotency_key: key.clone(), delay, priority };
    let mut spec = ExecutionSpec::new("python", script.source());
    spec.stdin_open = script.kind == Kind::Echoes;
    let run = || async {
        match session {
            // What it holds at this moment.
            Some(session) => engine.run_session(session, Edit::default(), |_| (), options.clone()).await,
            None => engine.run(spec.clone(), options.clone()).await,
        }
    };
    // Who repeats without a key has it run once more: that one ends as well.
    let repeats = if key.is_some() { sim.chance(|chance| chance.usize(1..4)) } else { 1 };
    let asked = futures_util::future::join_all((0..repeats).map(|_| async {
        let accepted = until_it_works(&sim, "run", run).await;
        let id = accepted.execution.id;
        sim.history().accepted.push(Asked { id, key: key.clone(), session, new: accepted.new });
        id
    }));
    let id = asked.await[0];
    let cancels = async {
        let stays = session.is_none() && script.kind == Kind::Stays;
        if stays || sim.chance(|chance| chance.u32(0..8)) == 0 {
            sleep(sim.millis(6_000)).await;
            sim.history().cancels.entry(id).or_default();
            let answer = until_it_works(&sim, "cancel", || engine.cancel(id)).await;
            sim.history().cancels.insert(id, Some(answer));
        }
    };
    let sends = async {
        if session.is_none() && spec.stdin_open {
            send(&sim, &engine, id).await;
        }
    };
    let follows = async {
        if sim.chance(fastrand::Rng::bool) {
            follow(&sim, &engine, id).await;
        } else {
            wait(&sim, &engine, id).await;
        }
    };
    tokio::join!(cancels, sends, follows);
}

async fn send(sim: &Sim, engine: &Engine, id: ExecutionId) {
    // A piece whose sending failed may have been sent: it's there twice then, which the history knows.
    for piece in 0..sim.chance(|chance| chance.u32(0..4)) {
        sleep(sim.millis(2_000)).await;
        while let Err(error) = engine.send_input(id, format!("piece {piece}\n")).await {
            if error.kind() == ErrorKind::Conflict {
                return;
            }
        }
    }
    sleep(sim.millis(2_000)).await;
    while let Err(error) = engine.end_input(id).await {
        if error.kind() == ErrorKind::Conflict {
            return;
        }
    }
}

/// Reads the log as a browser does: where it's cut off, on from the last event.
async fn follow(sim: &Sim, engine: &Engine, id: ExecutionId) {
    let (mut seen, mut after) = (Vec::new(), Seq::START);
    loop {
        let mut events = until_it_works(sim, "events", || engine.events(id, after)).await;
        while let Some(Ok(event)) = events.next().await {
            after = event.seq;
            let is_end = matches!(event.kind, EventKind::End(_));
            seen.push(event);
            if is_end {
                sim.history().followed.push((id, seen));
                return;
            }
        }
        sleep(sim.millis(100)).await;
    }
}

async fn wait(sim: &Sim, engine: &Engine, id: ExecutionId) {
    loop {
        let execution = until_it_works(sim, "wait", || engine.wait(id, WAIT)).await;
        if execution.state.is_terminal() {
            sim.history().waited.push(execution);
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Makes a session, and saves in it from two places at a time.
pub(crate) async fn editor(sim: Arc<Sim>, engine: Engine) -> SessionId {
    let first = Script { kind: Kind::Succeeds, lines: 2, pause_millis: 10 }.source();
    let edit = Edit { source_code: Some(first), ..Edit::default() };
    let session = until_it_works(&sim, "create", || engine.create_session(edit.clone())).await.id;
    for place in 0..2 {
        let (sim, engine) = (sim.clone(), engine.clone());
        tokio::spawn(async move {
            for save in 0..3 {
                sleep(sim.millis(3_000)).await;
                let source =
                    Script { kind: Kind::Succeeds, lines: place * 3 + save, pause_millis: 5 }.source();
                let edit = Edit { source_code: Some(source.clone()), ..Edit::default() };
                let saved = until_it_works(&sim, "save", || engine.save(session, edit.clone())).await;
                sim.history().saves.push(Save { session, revision: saved.revision, source });
            }
        });
    }
    session
}
