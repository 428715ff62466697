//! Clients, who repeat what they weren't answered, by idempotency keys, and wait for what was accepted.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How many there are.
const CLIENTS: usize = 12;

/// A request takes no longer: then it's made again, elsewhere.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was asked, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) program: Program,
    /// The end, as its client was told; none where it didn't wait.
    pub(crate) end: Option<Value>,
}

/// What one client did, all in one session, and what was wrong with that.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) session: String,
    pub(crate) asked: Vec<Asked>,
    pub(crate) wrong: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) language: &'static str,
    pub(crate) source: String,
    pub(crate) stdout: String,
    pub(crate) exit_code: i64,
}

impl Program {
    fn made_up(token: &str, random: &mut fastrand::Rng) -> Self {
        let line = format!("{token}\n");
        let (language, source, stdout, exit_code) = match random.u32(..20) {
            0..12 => ("python", format!("print('{token}')"), line, 0),
            12..14 => ("javascript", format!("console.log('{token}')"), line, 0),
            14..18 => {
                // So long that whoever runs it may die or be frozen in the middle of it.
                let millis = random.u32(100..2_000);
                let source = format!(
                    "import time\nprint('{token}', flush=True)\ntime.sleep({millis} / 1000)\nprint('slept')"
                );
                ("python", source, line + "slept\n", 0)
            }
            18 => {
                let stdout = (0..300).map(|n| format!("{token} {n}\n")).collect();
                ("python", format!("for n in range(300): print('{token}', n, flush=True)"), stdout, 0)
            }
            _ => ("python", format!("print('{token}')\nexit(3)"), line, 3),
        };
        Self { language, source, stdout, exit_code }
    }
}

#[derive(Debug, Default)]
struct Shared {
    stops: AtomicBool,
    accepted: AtomicU64,
    ended: AtomicU64,
    /// Between two requests of one client.
    pause_micros: AtomicU64,
    /// What each waits for.
    waiting: Mutex<BTreeMap<usize, String>>,
}

#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Client>>,
}

impl Load {
    pub(crate) fn begin(urls: Vec<String>, random: &mut fastrand::Rng) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |number| {
            let (shared, urls, seed) = (shared.clone(), urls.clone(), random.u64(..));
            thread::spawn(move || Asking::new(number, urls, seed, &shared).run())
        };
        Self { clients: (0..CLIENTS).map(client).collect(), shared }
    }

    /// From now on half of what was run until now, which took so long.
    pub(crate) fn halve(&self, took: Duration) {
        let each = took.as_secs_f64() / self.accepted().max(1) as f64;
        let pause = Duration::from_secs_f64(2.0 * each * CLIENTS as f64);
        println!("{:.1} a second, half of that from now on", 1.0 / each);
        self.shared.pause_micros.store(pause.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// No new programs.
    pub(crate) fn stop(&self) {
        self.shared.stops.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.clients.iter().all(JoinHandle::is_finished)
    }

    pub(crate) fn waiting(&self) -> String {
        format!("{:#?}", self.shared.waiting.lock().unwrap())
    }

    /// What they all did, once they have stopped.
    pub(crate) fn end(&mut self) -> Vec<Client> {
        self.clients.drain(..).map(|client| client.join().unwrap()).collect()
    }
}

/// A client at work.
struct Asking<'a> {
    number: usize,
    urls: Vec<String>,
    random: fastrand::Rng,
    shared: &'a Shared,
    agent: ureq::Agent,
    wrong: Vec<String>,
}

impl<'a> Asking<'a> {
    fn new(number: usize, mut urls: Vec<String>, seed: u64, shared: &'a Shared) -> Self {
        let at = number % urls.len();
        urls.rotate_left(at);
        Self {
            number,
            urls,
            random: fastrand::Rng::with_seed(seed),
            shared,
            agent: agent(),
            wrong: Vec::new(),
        }
    }

    fn run(mut self) -> Client {
        self.waits_for("a session");
        let session =
            self.persist(|agent, url| agent.post(format!("{url}/code-sessions")).send_json(json!({})));
        let session = session["session_id"].as_str().unwrap().to_owned();
        let mut asked = Vec::new();
        let mut next = Instant::now();
        while !self.shared.stops.load(Ordering::Relaxed) {
            let token = format!("{}-{}", self.number, asked.len());
            let program = Program::made_up(&token, &mut self.random);
            self.waits_for(&format!("acceptance of {token}"));
            let body = json!({ "language": program.language, "source_code": program.source });
            let receipt = self.persist(|agent, url| {
                let request = agent.post(format!("{url}/code-sessions/{session}/run"));
                request.header("idempotency-key", &token).send_json(&body)
            });
            let id = receipt["execution_id"].as_str().unwrap().to_owned();
            self.shared.accepted.fetch_add(1, Ordering::Relaxed);
            self.waits_for(&format!("the end of {token}, {id}"));
            let end = match self.random.u32(..20) {
                0..12 => Some(self.wait(&id)),
                12..17 => Some(self.follow(&id)),
                _ => None,
            };
            self.shared.ended.fetch_add(u64::from(end.is_some()), Ordering::Relaxed);
            asked.push(Asked { id, program, end });
            // Whoever was late doesn't catch up.
            let pause = Duration::from_micros(self.shared.pause_micros.load(Ordering::Relaxed));
            next = (next + pause).max(Instant::now());
            while Instant::now() < next && !self.shared.stops.load(Ordering::Relaxed) {
                thread::sleep((next - Instant::now()).min(Duration::from_millis(100)));
            }
        }
        // All that nobody has waited for.
        for (id, end) in
            asked.iter_mut().filter(|asked| asked.end.is_none()).map(|asked| (&asked.id, &mut asked.end))
        {
            self.waits_for(&format!("the end of {id}"));
            *end = Some(self.wait(id));
            self.shared.ended.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.waiting.lock().unwrap().remove(&self.number);
        Client { session, asked, wrong: self.wrong }
    }

    fn waits_for(&self, what: &str) {
        self.shared.waiting.lock().unwrap().insert(self.number, what.into());
    }

    /// Asks one after the other until it's answered. What is refused for now is asked again; anything else is wrong.
    fn persist(
        &mut self,
        mut ask: impl FnMut(&ureq::Agent, &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Value {
        loop {
            let answer = ask(&self.agent, &self.urls[0]);
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            let body: Option<Value> = answer.ok().and_then(|mut answer| answer.body_mut().read_json().ok());
            match (status, body) {
                (200..300, Some(body)) => return body,
                (0 | 200..300 | 429 | 500.., _) => {
                    self.urls.rotate_left(1);
                    thread::sleep(Duration::from_millis(self.random.u64(10..100)));
                }
                (status, body) => {
                    self.wrong.push(format!("client {} was told {status}: {body:?}", self.number));
                    thread::sleep(Duration::from_secs(1));
                }
            }
        }
    }

    fn wait(&mut self, id: &str) -> Value {
        loop {
            let record =
                self.persist(|agent, url| agent.get(format!("{url}/executions/{id}?wait_ms=5000")).call());
            if !record["completed_at"].is_null() {
                return record;
            }
        }
    }

    /// Each event once and in order, through whatever cuts the stream.
    fn follow(&mut self, id: &str) -> Value {
        let mut last = 0;
        loop {
            let events = self.agent.get(format!("{}/executions/{id}/events", self.urls[0]));
            let events = events.header("last-event-id", last.to_string()).call();
            let lines = events.ok().filter(|answer| answer.status() == 200).map(|answer| answer.into_body());
            let mut reader = lines.map(|body| BufReader::new(body.into_reader()));
            while let Some(Some(event)) = reader.as_mut().map(next_event) {
                if event.id != last + 1 {
                    self.wrong.push(format!("a follower of {id} was told of {} after {last}", event.id));
                }
                last = event.id;
                if event.kind == "end" {
                    return event.data;
                }
            }
            self.urls.rotate_left(1);
            thread::sleep(Duration::from_millis(self.random.u64(10..100)));
        }
    }
}

pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) kind: String,
    pub(crate) data: Value,
}

/// None at the end of the stream, or where it's cut.
pub(crate) fn next_event(reader: &mut impl BufRead) -> Option<Event> {
    let (mut id, mut kind, mut data) = (None, None, None);
    for line in reader.lines() {
        let line = line.ok()?;
        match line.split_once(": ") {
            Some(("id", value)) => id = value.parse().ok(),
            Some(("event", value)) => kind = Some(value.to_owned()),
            Some(("data", value)) => data = serde_json::from_str(value).ok(),
            _ if line.is_empty() && kind.is_some() => {
                return Some(Event { id: id?, kind: kind?, data: data? });
            }
            _ => {}
        }
    }
    None
}
