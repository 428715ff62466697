//! Part `followers`: many event streams on which nothing happens.

use std::{
    fs,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Result,
    example::Running,
    figures::{median, milliseconds, setting},
};

/// Connections are made so many at a time, as a listener's backlog is short.
const AT_ONCE: usize = 100;

const ROUNDS: usize = 20;

pub(crate) async fn followers(program: &Path) -> Result<()> {
    let many = setting("FOLLOWERS", 10_000)?;
    println!("followers: {many} of one execution that waits, SQLite");
    let connections = (many + 100).to_string();
    let server = Running::start(program, &[("MAX_CONNECTIONS", &connections)])?;
    let address = server.address.as_str();
    let waiting = r#"{"language":"python","source_code":"1","delay_ms":86400000}"#;
    let id = server.make("/executions", waiting, "execution_id")?;
    let alone = run(&server)?;
    let before = resident(&server)?;
    let mut streams = Vec::with_capacity(many);
    while streams.len() < many {
        let next = AT_ONCE.min(many - streams.len());
        streams.extend(try_join_all((0..next).map(|_| follow(address, &id))).await?);
    }
    let beside = run(&server)?;
    let after = resident(&server)?;
    println!(
        "  the server holds {:.1} MiB without them, {:.1} MiB with them: {:.1} KiB each",
        before / 1024.0,
        after / 1024.0,
        (after - before) / many as f64
    );
    println!("  hello to its end, p50: {alone:.1} ms without them, {beside:.1} ms beside them");
    let began = Instant::now();
    server.ask("POST", &format!("/executions/{id}/cancel"), "{}")?;
    try_join_all(streams.iter_mut().map(|stream| until(stream, "event: end"))).await?;
    println!("  all of them heard of the end after {:.0} ms", milliseconds(began.elapsed()));
    Ok(())
}

/// The median of some runs, in milliseconds.
fn run(server: &Running) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let hello = r#"{"language":"python","source_code":"print('hi')","wait_ms":10000}"#;
        let answer = server.ask("POST", "/executions", hello)?;
        if !answer.contains("\"COMPLETED\"") {
            return Err(format!("a run was not answered: {answer}").into());
        }
        times.push(milliseconds(began.elapsed()));
        // What runs next finds an interpreter that has booted.
        sleep(Duration::from_millis(60));
    }
    Ok(median(&mut times))
}

/// A stream on which the first event has come.
async fn follow(address: &str, id: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /executions/{id}/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    until(&mut stream, "event: status").await?;
    Ok(stream)
}

async fn until(stream: &mut TcpStream, text: &str) -> Result<()> {
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(text) {
        if stream.read_buf(&mut said).await? == 0 {
            return Err(format!("a stream ended: {}", String::from_utf8_lossy(&said)).into());
        }
    }
    Ok(())
}

/// KiB of memory that a server holds, without those of the programs it has started.
fn resident(server: &Running) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
