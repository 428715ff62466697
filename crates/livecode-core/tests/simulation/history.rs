//! What took effect and what clients were told, and whether all of it is as it was promised.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use livecode_core::{
    Event, EventKind, Execution, ExecutionId, Follow, Outcome, Revision, Seq, SessionId, State, Stdio, Store,
    Termination,
};

use crate::sandbox::{Kind, Script};

/// How long the end of a program that is asked to end takes at most, where nothing goes wrong.
const SOON: Duration = Duration::from_secs(2);

/// Why a process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    ByChance,
    /// By a program that it ran.
    Poisoned(ExecutionId),
}

/// A change of a record that took effect.
#[derive(Debug)]
pub(crate) struct Deed(pub(crate) Execution);

/// A request that was accepted, as its client was told.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: ExecutionId,
    pub(crate) key: Option<String>,
    pub(crate) session: Option<SessionId>,
    pub(crate) new: bool,
}

/// A save of which its client was told that it's in the history.
#[derive(Debug)]
pub(crate) struct Save {
    pub(crate) session: SessionId,
    pub(crate) revision: Revision,
    pub(crate) source: String,
}

/// What holds in this run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) max_attempts: u32,
    pub(crate) nothing_goes_wrong: bool,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    processes: usize,
    pub(crate) deeds: Vec<Deed>,
    /// Programs in a sandbox now: the process and the run.
    playing: Vec<(usize, usize)>,
    /// Runs whose process another program has killed.
    taken_along: Vec<usize>,
    /// What took effect of what was sent.
    pub(crate) inputs: BTreeMap<ExecutionId, Vec<Bytes>>,
    pub(crate) accepted: Vec<Asked>,
    /// Wishes to cancel, with the answer, once there was one.
    pub(crate) cancels: BTreeMap<ExecutionId, Option<Execution>>,
    pub(crate) followed: Vec<(ExecutionId, Vec<Event>)>,
    pub(crate) waited: Vec<Execution>,
    pub(crate) saves: Vec<Save>,
    inserted: Vec<Execution>,
    numbers: HashMap<ExecutionId, usize>,
    /// Of which execution and which attempt.
    runs: Vec<(ExecutionId, u32)>,
    violations: Vec<String>,
}

impl History {
    pub(crate) fn begin_process(&mut self) -> usize {
        self.processes += 1;
        self.processes
    }

    pub(crate) fn die(&mut self, who: usize, death: Death) {
        if let Death::Poisoned(by) = death {
            let others = self.playing.iter().filter(|(of, run)| *of == who && self.runs[*run].0 != by);
            self.taken_along.extend(others.map(|(_, run)| *run));
        }
    }

    pub(crate) fn begin_run(&mut self, who: usize, id: ExecutionId, attempt: u32) -> usize {
        let run = self.runs.len();
        self.playing.push((who, run));
        self.runs.push((id, attempt));
        run
    }

    pub(crate) fn end_run(&mut self, run: usize) {
        self.playing.retain(|(_, playing)| *playing != run);
    }

    pub(crate) fn playing(&self) -> usize {
        self.playing.len()
    }

    pub(crate) fn insert(&mut self, execution: &Execution) {
        self.inserted.push(execution.clone());
        self.numbers.insert(execution.id, self.inserted.len());
    }

    /// The number that stands for it in traces.
    pub(crate) fn number(&self, id: ExecutionId) -> Option<usize> {
        self.numbers.get(&id).copied()
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violation(what());
        }
    }

    /// Says what isn't as it was promised.
    pub(crate) async fn check(mut self, store: &dyn Store, rules: Rules) -> Vec<String> {
        for execution in std::mem::take(&mut self.inserted) {
            let number = self.numbers[&execution.id];
            if !self.check_changes(number, &execution, rules) {
                continue;
            }
            let record = store.get(execution.id).await.unwrap();
            let spec = store.spec(execution.id).await.unwrap();
            let script = Script::of(&spec.source_code);
            let captured = store.output(execution.id).await.unwrap();
            self.check_end(number, &record, script, rules);
            self.check_output(number, &record, script, [captured.stdout, captured.stderr]);
            let log = store.events(record.id, Seq::START, Follow::Everything).try_collect::<Vec<_>>().await;
            self.check_log(number, &record, &log.unwrap());
            if let (Some(session), Some(revision)) = (record.session_id, record.revision) {
                let kept = store.revision(session, revision).await.map(|kept| kept.source.source_code);
                self.require(kept.as_ref().ok() == Some(&spec.source_code), || {
                    format!("#{number} is at revision {revision}, which isn't what it runs: {kept:?}")
                });
            }
        }
        self.check_keys();
        for Save { session, revision, source } in std::mem::take(&mut self.saves) {
            let kept = store.revision(session, revision).await.map(|kept| kept.source.source_code);
            self.require(kept.as_ref().ok() == Some(&source), || {
                format!("a save was told to be revision {revision}, which is another: {kept:?}")
            });
        }
        self.violations
    }

    /// Goes through the changes of one record. Says whether it has ended.
    fn check_changes(&mut self, number: usize, first: &Execution, rules: Rules) -> bool {
        let deeds: Vec<Deed> = self.deeds.extract_if(.., |deed| deed.0.id == first.id).collect();
        let (mut started, mut given_back) = (Vec::new(), 0);
        let mut current = first.clone();
        for Deed(after) in deeds {
            self.require(!current.state.is_terminal(), || {
                format!("#{number} had ended as {} and is {} then", current.state, after.state)
            });
            match (current.state, after.state) {
                (State::Queued, State::Running) => {
                    self.require(!started.contains(&after.attempt), || {
                        format!("attempt {} of #{number} is started twice", after.attempt)
                    });
                    self.require(after.cancel_requested_at.is_none(), || {
                        format!("#{number} is started after a wish to cancel it")
                    });
                    started.push(after.attempt);
                }
                (State::Running, State::Queued) => {
                    given_back += usize::from(after.failures == current.failures);
                }
                _ => {}
            }
            current = after;
        }
        let most = rules.max_attempts as usize;
        self.require(current.failures as usize <= most && started.len() <= most + given_back, || {
            format!(
                "#{number} was started {} times, given back {given_back} times, failed {} times: at most {most}",
                started.len(),
                current.failures
            )
        });
        self.require(!rules.nothing_goes_wrong || current.failures == 0, || {
            format!("#{number} failed where nothing went wrong: {:?}", current.failure)
        });
        for attempt in &started {
            let runs = self.runs.iter().filter(|run| **run == (first.id, *attempt)).count();
            self.require(runs <= 1, || format!("attempt {attempt} of #{number} was run {runs} times"));
        }
        let has_ended = current.state.is_terminal();
        self.require(has_ended, || format!("#{number} has no end: it's {}", current.state));
        has_ended
    }

    fn check_end(&mut self, number: usize, record: &Execution, script: Script, rules: Rules) {
        match (&record.outcome, record.state) {
            (Some(Outcome { termination, .. }), _) => {
                let is_own = *termination == script.end() && *termination != Termination::Cancelled;
                let is_asked = *termination == Termination::Cancelled && record.cancel_requested_at.is_some();
                self.require(is_own || is_asked, || {
                    format!("#{number} of {script:?} ended with {termination}")
                });
            }
            (None, State::Failed) => {
                self.require(record.failures == rules.max_attempts, || {
                    format!("#{number} was given up after {} failures", record.failures)
                });
                // Where it has one attempt, that one may have had company.
                let last = |run: &usize| self.runs[*run] == (record.id, record.attempt);
                let taken_along = rules.max_attempts > 1 && self.taken_along.iter().any(last);
                self.require(!taken_along, || {
                    format!("#{number} was given up because another program killed its worker")
                });
            }
            (None, State::Cancelled) => {}
            (None, state) => self.violation(format!("#{number} is {state} without an outcome")),
        }
        self.require(record.state != State::Cancelled || self.cancels.contains_key(&record.id), || {
            format!("#{number} was cancelled and nobody had asked")
        });
        if let Some(Some(answer)) = self.cancels.get(&record.id) {
            let asked = answer.cancel_requested_at;
            let kept = asked.is_none_or(|at| record.cancel_requested_at == Some(at));
            self.require(kept, || format!("the wish to cancel #{number} is gone"));
            let asked = asked.filter(|_| rules.nothing_goes_wrong);
            let late = asked.and_then(|asked| Some(record.completed_at?.duration_since(asked)));
            self.require(late.is_none_or(|late| late <= SOON), || {
                format!("#{number} ended {late:?} after the wish to cancel it")
            });
        }
        let waited =
            self.waited.extract_if(.., |waited| waited.id == record.id).all(|waited| waited == *record);
        self.require(waited, || format!("who waited for #{number} was told of another end"));
    }

    fn check_output(&mut self, number: usize, record: &Execution, script: Script, captured: [Bytes; 2]) {
        let sent = self.inputs.remove(&record.id).unwrap_or_default();
        let writes = |run: usize| {
            let mut written = [Vec::new(), Vec::new()];
            for line in 0..script.lines {
                let (stdio, text) = Script::line(run, line);
                written[usize::from(stdio == Stdio::Stderr)].extend_from_slice(text.as_bytes());
            }
            if script.kind == Kind::Echoes {
                sent.iter().for_each(|piece| written[0].extend_from_slice(piece));
            }
            written
        };
        let may_be = |run: usize, whole: bool| {
            let written = writes(run);
            self.runs.get(run) == Some(&(record.id, record.attempt))
                && captured.iter().zip(&written).all(|(captured, written)| {
                    if whole { captured == written } else { written.starts_with(captured) }
                })
        };
        let is_right = match &record.outcome {
            Some(outcome) => {
                let run = outcome.compile_output.as_ref().map(|run| run.parse().unwrap());
                let whole = outcome.termination != Termination::Cancelled;
                run.is_some_and(|run| may_be(run, whole))
            }
            None => {
                captured.iter().all(Bytes::is_empty) || (0..self.runs.len()).any(|run| may_be(run, false))
            }
        };
        self.require(is_right, || {
            format!(
                "#{number}, attempt {}, of {script:?} has output that isn't its own: {captured:?}",
                record.attempt
            )
        });
    }

    fn check_log(&mut self, number: usize, record: &Execution, log: &[Event]) {
        let mut running = None;
        for (index, Event { seq, kind }) in log.iter().enumerate() {
            self.require(*seq == Seq(index as u64 + 1), || {
                format!("the log of #{number} has a gap at {seq}")
            });
            let is_last = index + 1 == log.len();
            match kind {
                EventKind::Status { state, attempt, .. } => {
                    running = (*state == State::Running).then_some(*attempt);
                    self.require(!is_last, || format!("the log of #{number} has no end"));
                }
                EventKind::Output { attempt, .. } => self.require(running == Some(*attempt), || {
                    format!("the log of #{number} has output of attempt {attempt} in {running:?}")
                }),
                EventKind::End(end) => self.require(is_last && **end == *record, || {
                    format!(
                        "the log of #{number} has an end that isn't its only one, or another than the record"
                    )
                }),
            }
        }
        let same = self.followed.extract_if(.., |(id, _)| *id == record.id).all(|(_, seen)| seen == log);
        self.require(same, || format!("who followed #{number} saw another log"));
    }

    fn check_keys(&mut self) {
        let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Asked { id, key, session, new } in std::mem::take(&mut self.accepted) {
            self.require(self.numbers.contains_key(&id), || {
                format!("{id} was accepted and isn't in the store")
            });
            if let Some(key) = key {
                by_key.entry((session, key)).or_default().push((id, new));
            }
        }
        for ((_, key), answers) in by_key {
            let one = answers.iter().all(|(id, _)| *id == answers[0].0);
            let new = answers.iter().filter(|(_, new)| *new).count();
            self.require(one && new <= 1, || format!("'{key}' made more than one execution: {answers:?}"));
        }
    }
}
