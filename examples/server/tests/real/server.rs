//! A server, as the binary is started, and what it's asked.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A running server. Killed on drop.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(directory: &Path, environment: &[(&str, &str)]) -> Self {
        Self::logging(directory, environment, Stdio::inherit())
    }

    pub(crate) fn logging(directory: &Path, environment: &[(&str, &str)], log: Stdio) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_livecode-server"))
            .current_dir(directory)
            .envs([("LISTEN", "127.0.0.1:0"), ("LEASE_MS", "1000"), ("A_SECRET_OF_THE_HOST", "hunter2")])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.map(|line| line.unwrap()).find_map(|line| {
            line.split_whitespace()
                .find(|word| word.starts_with("http://"))
                .map(|url| url.trim_end_matches('/').into())
        });
        Self { process, url: url.unwrap() }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.post_with(path, body, &[])
    }

    pub(crate) fn post_with(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = agent().post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send_json(body))
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(agent().patch(format!("{}{path}", self.url)).send_json(body))
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        answer(agent().get(format!("{}{path}", self.url)).call())
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, body: &Value) -> Value {
        let (status, accepted) = self.post("/executions", body);
        assert_eq!(status, 202, "{accepted}");
        self.end(&accepted)
    }

    /// The value on the line of `GET /metrics` that begins so.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let mut response = agent().get(format!("{}/metrics", self.url)).call().unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    pub(crate) fn end(&self, accepted: &Value) -> Value {
        let id = accepted["execution_id"].as_str().unwrap();
        // A wait of the server's has a bound, which a hundred programs on a busy machine take longer than.
        let began = Instant::now();
        loop {
            let (status, record) = self.get(&format!("/executions/{id}?wait_ms=30000"));
            assert_eq!(status, 200, "{record}");
            if !record["completed_at"].is_null() {
                return record;
            }
            assert!(began.elapsed() < Duration::from_secs(300), "no end: {record}");
        }
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into()
}

pub(crate) fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut response = response.unwrap();
    (response.status().as_u16(), response.body_mut().read_json().unwrap_or(Value::Null))
}

pub(crate) fn python(source: &str) -> Value {
    json!({ "language": "python", "source_code": source })
}

/// Waits until that holds; what is awaited takes milliseconds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what} did not come about");
        thread::yield_now();
    }
}
