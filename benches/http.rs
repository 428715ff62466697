//! What the example server's HTTP API takes: `cargo bench --features postgres --bench http`.
//!
//! | part | promise |
//! | --- | --- |
//! | `requests` | on PostgreSQL, 10 times as many POST run per CPU second as the best of five earlier services |
//! | `followers` | 10,000 idle followers of one server: what each of them holds, and that a new run is answered |
//!
//! All of them, or those that are named: `… --bench http -- followers`. The earlier services were measured once, on a machine like
//! this: 770 POST run and 1,540 GET of an execution per CPU second were the most of any. No figure here is a test.
//!
//! | setting | |
//! | --- | --- |
//! | `SECONDS` | of each kind of request: 10 |
//! | `FOLLOWERS` | 10,000; each takes a descriptor here and one in the server (`ulimit -n`) |
//! | `LIVECODE_TEST_POSTGRES` | a PostgreSQL server to take, by its superuser, on this machine; schemas stay behind there |
//!
//! Needs `wrk`, which makes the requests. The CPU time that is counted is that of the server and of all that is called `postgres`.

mod example;
mod figures;
#[path = "http/followers.rs"]
mod followers;
#[expect(clippy::unwrap_used, reason = "without a server there is nothing to measure")]
#[path = "../crates/livecode-sqlx/tests/postgres_server/mod.rs"]
mod postgres_server;
#[path = "http/requests.rs"]
mod requests;

use std::{env, error::Error};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let named: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let Some(program) = example::program()? else {
        return Err("run it by cargo, which builds the server".into());
    };
    if wanted("requests") {
        requests::requests(&program)?;
    }
    if wanted("followers") {
        tokio::runtime::Runtime::new()?.block_on(followers::followers(&program))?;
    }
    Ok(())
}
