//! Servers as they're shipped, under load, while processes, services, networks and machines fail at random: nothing is lost, nothing is
//! doubled, nothing is left behind. `cargo test -p livecode-server --test soak` takes a moment for each pair of backends; for hours:
//! `SOAK_SECONDS=3600 cargo test --release -p livecode-server --test soak postgres_and_redis -- --nocapture`.
//!
//! | setting | |
//! | --- | --- |
//! | `SOAK_SECONDS` | for how long: 30. From 300 on clients ask for half of what was run in the first 20 |
//! | `SOAK_SEED` | what goes wrong, in which order: 1. When that hits whom, each time differs |
//!
//! Logs and `samples.csv`, by which `scripts/plot-soak` draws, are in `target/tmp/soak`. Full disks and missing memory and processes
//! need root and cgroups of version 1; without these they're left out, and the line that is printed shows it.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod census;
mod clients;
mod faults;
mod history;
mod nodes;
mod place;
#[path = "../../../../crates/livecode-sqlx/tests/postgres_server/mod.rs"]
mod postgres_server;
#[path = "../../../../crates/livecode-redis/tests/faults/proxy.rs"]
mod proxy;
#[path = "../../../../crates/livecode-redis/tests/redis_server/mod.rs"]
mod redis_server;

use std::{
    collections::BTreeMap,
    env, thread,
    time::{Duration, Instant},
};

use crate::{census::Census, clients::Load, faults::Faults, place::Place};

/// Between two looks at what is there.
const TICK: Duration = Duration::from_millis(100);

/// Faults are this far apart, at most.
const CALM_MS: u64 = 1_500;

/// How long one lasts, at most.
const FAULT_MS: u64 = 2_500;

/// From so long on it's a soak, at half load.
const SOAK: Duration = Duration::from_secs(300);

#[test]
fn in_memory() {
    soak("memory", Place::in_memory());
}

#[test]
fn on_sqlite() {
    soak("SQLite", Place::on_sqlite());
}

#[test]
fn on_postgres() {
    soak("PostgreSQL", Place::on_postgres());
}

#[test]
fn on_postgres_and_redis() {
    soak("PostgreSQL with Redis", Place::on_postgres_and_redis());
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn soak(name: &str, mut place: Place) {
    let seed = setting("SOAK_SEED", 1);
    let lasting = Duration::from_secs(setting("SOAK_SECONDS", 30));
    println!("{name}: SOAK_SEED={seed}, {} s", lasting.as_secs());
    let mut random = fastrand::Rng::with_seed(seed);
    place.await_ready();
    let mut census = Census::begin(&place);
    let mut load = Load::begin(place.urls(), &mut random);
    if lasting >= SOAK {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            watch(&mut place, &mut census, &load, None);
        }
        load.halve(began.elapsed());
    }
    let mut faults = Faults::of(&place);
    let began = Instant::now();
    while began.elapsed() < lasting {
        let fault = faults.inject(&mut place, &mut random);
        pass(&mut place, &mut census, &load, Some(fault), random.u64(fault.least_ms()..FAULT_MS));
        faults.heal(&mut place, fault);
        pass(&mut place, &mut census, &load, None, random.u64(0..CALM_MS));
    }
    // Calm: whatever was accepted ends.
    load.stop();
    let calm = Instant::now();
    while !load.has_stopped() {
        watch(&mut place, &mut census, &load, None);
        assert!(calm.elapsed() < Duration::from_secs(600), "clients still wait:\n{}", load.waiting());
    }
    let found = history::check(&place, load.end());
    census.rest(&mut place, &load);
    let deaths = place.unasked_deaths();
    let left = census.end(place);
    let kinds: BTreeMap<_, _> = faults.counted();
    let kinds: Vec<String> = kinds.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
    println!("| {name} | {} | {found} |", kinds.join(", "));
    let wrong = [found.violations, deaths, left].concat();
    assert!(wrong.is_empty(), "SOAK_SEED={seed}, {} wrong:\n{}", wrong.len(), shown(&wrong));
}

/// Some of it: what is said of programs is long.
fn shown(wrong: &[String]) -> String {
    let short = |what: &String| what.chars().take(800).collect::<String>();
    wrong.iter().take(20).map(short).collect::<Vec<_>>().join("\n")
}

fn pass(place: &mut Place, census: &mut Census, load: &Load, fault: Option<faults::Fault>, millis: u64) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(millis) {
        watch(place, census, load, fault);
    }
}

/// Starts again what has ended, as whoever runs a service does, and counts.
fn watch(place: &mut Place, census: &mut Census, load: &Load, fault: Option<faults::Fault>) {
    thread::sleep(TICK);
    place.keep_alive();
    census.sample(place, load, fault);
}
