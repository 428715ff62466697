//! Part `requests`: POST run and GET of an execution, on PostgreSQL, by `wrk`.

use std::{fs, path::Path, process::Command};

use crate::{
    Result,
    example::Running,
    figures::{at_least, setting},
    postgres_server,
};

/// The most of any earlier service, per CPU second: 1.3 ms for a POST run, 0.65 ms for a GET.
const POSTS: f64 = 770.0;
const GETS: f64 = 1_540.0;

pub(crate) fn requests(program: &Path) -> Result<()> {
    let seconds = setting("SECONDS", 10)?;
    println!("requests: a server that answers and runs nothing, PostgreSQL, 64 connections, {seconds} s");
    let database = postgres_server::fresh();
    // Nothing runs: what is measured is what a request costs, and the queue only grows.
    let environment = [("ROLE", "api"), ("DATABASE_URL", database.as_str()), ("MAX_QUEUED", "100000000")];
    let server = Running::start(program, &environment)?;
    let session = server.make("/code-sessions", "{}", "session_id")?;
    let run = format!("/code-sessions/{session}/run");
    let execution = server.make(&run, "{}", "execution_id")?;
    for (what, method, path, earlier, bound) in [
        ("POST run", "POST", run, POSTS, Some(10.0)),
        ("GET execution", "GET", format!("/executions/{execution}"), GETS, None),
    ] {
        let before = Spent::now(&server)?;
        let (requests, rate) = wrk(&server, method, &path, seconds)?;
        let after = Spent::now(&server)?;
        let [own, databases] = [after.server - before.server, after.postgres - before.postgres];
        let per_cpu_second = requests / own;
        println!(
            "  {what:14} {rate:7.0} a second; CPU of the server {:4.0} µs, of PostgreSQL {:4.0} µs",
            own / requests * 1e6,
            databases / requests * 1e6,
        );
        let ratio = per_cpu_second / earlier;
        println!(
            "  {:14} {per_cpu_second:7.0} a CPU second of the server, {ratio:.1} times {earlier:.0}{}; {:.0} with PostgreSQL's",
            "",
            bound.map(|bound| format!(", {}", at_least(ratio, bound))).unwrap_or_default(),
            requests / (own + databases),
        );
    }
    Ok(())
}

/// How many were answered, and how many a second. Fails where any was refused.
fn wrk(server: &Running, method: &str, path: &str, seconds: usize) -> Result<(f64, f64)> {
    let directory = tempfile::tempdir()?;
    let script = directory.path().join("request.lua");
    let body = if method == "POST" { "wrk.body = \"{}\"\n" } else { "" };
    fs::write(
        &script,
        format!("wrk.method = \"{method}\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\n{body}"),
    )?;
    let output = Command::new("wrk")
        .args(["-t1", "-c64", &format!("-d{seconds}s"), "-s"])
        .arg(&script)
        .arg(format!("http://{}{path}", server.address))
        .output()
        .map_err(|error| format!("wrk can't be started ({error}): install it (Debian: wrk)"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || said.contains("Non-2xx") || said.contains("Socket errors") {
        return Err(format!("not every request was answered:\n{said}").into());
    }
    let requests = said.lines().find_map(|line| line.split_once(" requests in ")).map(|(number, _)| number);
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let (Some(requests), Some(rate)) = (requests, rate) else {
        return Err(format!("wrk speaks another language:\n{said}").into());
    };
    Ok((requests.trim().parse()?, rate.trim().parse()?))
}

/// CPU time, in seconds, until now.
struct Spent {
    server: f64,
    postgres: f64,
}

impl Spent {
    fn now(server: &Running) -> Result<Self> {
        let mut postgres = 0.0;
        for process in fs::read_dir("/proc")? {
            let directory = process?.path();
            // It may have ended since.
            if fs::read_to_string(directory.join("comm")).is_ok_and(|name| name.trim() == "postgres") {
                postgres += cpu_seconds(&directory).unwrap_or(0.0);
            }
        }
        Ok(Self { server: cpu_seconds(Path::new(&format!("/proc/{}", server.pid())))?, postgres })
    }
}

/// User and system time of a process. Linux counts it in hundredths of a second.
fn cpu_seconds(process: &Path) -> Result<f64> {
    let stat = fs::read_to_string(process.join("stat"))?;
    let (_, members) = stat.rsplit_once(") ").ok_or("a process has no state")?;
    let mut ticks = members.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok((ticks.next().ok_or("no user time")?? + ticks.next().ok_or("no system time")??) as f64 / 100.0)
}
