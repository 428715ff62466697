//! What is kept when it's calm again, held against what clients were told.

use std::{collections::HashMap, fmt, io::BufReader, thread};

use serde_json::Value;

use crate::{
    clients::{Asked, Client, agent, next_event},
    place::Place,
};

/// As a row of a table is printed.
#[derive(Debug, Default)]
pub(crate) struct Found {
    accepted: usize,
    ended: usize,
    lost: usize,
    doubled: usize,
    /// Ended after more than one attempt.
    again: usize,
    given_up: usize,
    pub(crate) violations: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, ended, lost, doubled, again, given_up, .. } = self;
        write!(f, "{accepted} | {ended} | {again} | {given_up} | {lost} | {doubled}")
    }
}

/// Asks a process of ours for all of it.
pub(crate) fn check(place: &Place, clients: Vec<Client>) -> Found {
    let url = &place.urls()[0];
    let each =
        |client: Client| move || Checker { url, agent: agent(), found: Found::default() }.check(client);
    let mut all = Found::default();
    thread::scope(|scope| {
        let checkers: Vec<_> = clients.into_iter().map(|client| scope.spawn(each(client))).collect();
        for found in checkers.into_iter().map(|checker| checker.join().unwrap()) {
            all.accepted += found.accepted;
            all.ended += found.ended;
            all.lost += found.lost;
            all.doubled += found.doubled;
            all.again += found.again;
            all.given_up += found.given_up;
            all.violations.extend(found.violations);
        }
    });
    all
}

struct Checker<'a> {
    url: &'a str,
    agent: ureq::Agent,
    found: Found,
}

impl Checker<'_> {
    fn check(mut self, client: Client) -> Found {
        let mut kept = self.kept(&client.session);
        self.found.accepted = client.asked.len();
        self.found.violations = client.wrong;
        for asked in client.asked {
            match kept.remove(&asked.id) {
                Some(record) => self.check_one(&asked, &record),
                None => {
                    self.found.lost += 1;
                    self.found.violations.push(format!("{} was accepted and isn't there", asked.id));
                }
            }
        }
        // Each request had a key of its own: what there is more was made twice.
        self.found.doubled += kept.len();
        self.found
            .violations
            .extend(kept.keys().map(|id| format!("{id} was made beside another for one key")));
        self.found
    }

    /// All of a session, as they are when no page is read too often or left out.
    fn kept(&self, session: &str) -> HashMap<String, Value> {
        let mut kept = HashMap::new();
        let mut path = Some(format!("/code-sessions/{session}/executions?limit=100"));
        while let Some(page) = path {
            let mut answer = self.agent.get(format!("{}{page}", self.url)).call().unwrap();
            let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
            path = link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
            let records: Vec<Value> = answer.body_mut().read_json().unwrap();
            kept.extend(
                records.into_iter().map(|record| (record["id"].as_str().unwrap().to_owned(), record)),
            );
        }
        kept
    }

    fn check_one(&mut self, asked: &Asked, record: &Value) {
        let (id, program) = (&asked.id, &asked.program);
        self.found.again += usize::from(record["attempt"] != 1);
        if record["completed_at"].is_null() {
            self.found.lost += 1;
            return self.wrong(format!("no end: {record}"));
        }
        self.found.ended += 1;
        if asked.end.as_ref().is_some_and(|end| end != record) {
            self.found.doubled += 1;
            self.wrong(format!("{id} ended as {record}, and its client was told of {:?}", asked.end));
        }
        if record["error_type"] == "InternalError" {
            self.found.given_up += 1;
            return self.wrong(format!("given up: {record}"));
        }
        let status = if program.exit_code == 0 { "COMPLETED" } else { "FAILED" };
        let is_right = record["status"] == status && record["exit_code"] == program.exit_code;
        if !is_right || record["stdout"] != program.stdout {
            self.wrong(format!("not what {program:?} does: {record}"));
        }
        self.check_log(id, record);
    }

    /// No gap; each attempt begun once; its last attempt's output; one end, which is the last of it.
    fn check_log(&mut self, id: &str, record: &Value) {
        let answer = self.agent.get(format!("{}/executions/{id}/events", self.url)).call().unwrap();
        let mut reader = BufReader::new(answer.into_body().into_reader());
        let (mut last, mut ends, mut begun, mut stdout) = (0, 0, Vec::new(), String::new());
        while let Some(event) = next_event(&mut reader) {
            if event.id != last + 1 || ends > 0 {
                self.wrong(format!("the log of {id} has {} after {last}, {ends} ends", event.id));
            }
            last = event.id;
            match event.kind.as_str() {
                "status" if event.data["status"] == "RUNNING" => {
                    if begun.contains(&event.data["attempt"]) {
                        self.found.doubled += 1;
                        self.wrong(format!("attempt {} of {id} is begun twice", event.data["attempt"]));
                    }
                    begun.push(event.data["attempt"].clone());
                    stdout.clear();
                }
                "stdout" => stdout += event.data["text"].as_str().unwrap_or("?"),
                "end" => {
                    ends += 1;
                    if event.data != *record {
                        self.wrong(format!("the log of {id} ends as {}, it is {record}", event.data));
                    }
                }
                _ => {}
            }
        }
        if begun.last() != Some(&record["attempt"]) {
            self.found.doubled += 1;
            self.wrong(format!(
                "the attempts {begun:?} of {id} were begun, and another than the last ended it: {record}"
            ));
        }
        if ends != 1 || record["stdout"] != stdout {
            self.wrong(format!("the log of {id} has {ends} ends and the output {stdout:?}: {record}"));
        }
    }

    fn wrong(&mut self, what: String) {
        self.found.violations.push(what);
    }
}
