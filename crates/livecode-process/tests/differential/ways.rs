//! The ways to run a program, and what is seen of it.

use std::{
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::available_parallelism,
};

use livecode_core::{Ceiling, Languages, Outcome, Run, Runner, Usage};
use livecode_process::{Builder, ProcessSandbox, Warm};

use crate::corpus::{self, Case};

/// So often a program is given to a warm sandbox until it's to have found it warm: its kind is known by then.
const UNTIL_WARM: usize = 4;

/// How much of a difference is shown.
const SHOWN: usize = 600;

/// A difference that's in the nature of a way, and why. The specification names each of them.
pub(crate) struct Inherent {
    pub(crate) ways: &'static [Warm],
    /// Directory and name.
    pub(crate) programs: &'static [&'static str],
    pub(crate) reason: &'static str,
    /// Whether it depends on the interpreter.
    pub(crate) sometimes: bool,
}

impl Inherent {
    fn is_of(&self, way: Warm, directory: &str, name: &str) -> bool {
        let is_program = |program: &&str| program.split_once('/') == Some((directory, name));
        self.ways.contains(&way) && self.programs.iter().any(is_program)
    }
}

/// Which programs are run: those in `directory`, or as many of them.
pub(crate) struct Corpus {
    pub(crate) directory: &'static str,
    pub(crate) one_of: usize,
}

/// All that a client sees of a run but for what it used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    outcome: Result<Outcome, String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// One sandbox, used by one program at a time, so that what it counts is that program's.
struct Lane {
    sandbox: ProcessSandbox,
    runner: Runner,
}

impl Lane {
    fn new(language: &str, way: Warm, languages: &Languages) -> Self {
        let builder: Builder = crate::ordinary_user::own_cgroup()
            .into_iter()
            .fold(ProcessSandbox::builder(), |builder, path| builder.cgroup(path));
        let sandbox = builder.warm(language, way).build().unwrap();
        let ceiling = Ceiling { source_chars: 4 << 20, ..Ceiling::default() };
        let runner = Runner::new(sandbox.clone()).languages(languages.clone()).ceiling(ceiling);
        Self { sandbox, runner }
    }

    async fn run(&self, case: &Case) -> Seen {
        let runner = self.runner.clone().collect(case.collect.clone());
        match runner.run(&case.spec).await {
            Ok(Run { outcome, captured }) => Seen {
                outcome: Ok(Outcome { usage: Usage::default(), ..outcome }),
                stdout: without_addresses(&captured.stdout),
                stderr: without_addresses(&captured.stderr),
            },
            Err(error) => Seen { outcome: Err(error.to_string()), stdout: Vec::new(), stderr: Vec::new() },
        }
    }

    /// What is seen until it was warm, that time included; and whether it was.
    async fn run_until_warm(&self, case: &Case) -> (Vec<Seen>, bool) {
        let mut all = Vec::new();
        for _ in 0..UNTIL_WARM {
            self.sandbox.warmed().await.unwrap();
            let before = self.sandbox.warm_stats().hits;
            all.push(self.run(case).await);
            if self.sandbox.warm_stats().hits > before {
                return (all, true);
            }
        }
        (all, false)
    }
}

/// Runs programs cold and in that way, and fails where anything can be seen of it.
pub(crate) async fn compare(
    Corpus { directory, one_of }: Corpus,
    way: Warm,
    languages: Languages,
    inherent: &'static [Inherent],
) {
    let one_of = one_of * if crate::ordinary_user::own_cgroup().is_some() { 5 } else { 1 };
    let cases = Arc::new(corpus::read(directory).into_iter().step_by(one_of).collect::<Vec<_>>());
    let (next, found) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let lanes = available_parallelism().map_or(2, usize::from).clamp(2, 8);
    let lanes: Vec<_> = (0..lanes)
        .map(|_| {
            let (cases, next, found) = (cases.clone(), next.clone(), found.clone());
            let language = cases.first().map_or(directory, |case| &case.spec.language).to_owned();
            let (cold, other) =
                (Lane::new(&language, Warm::Off, &languages), Lane::new(&language, way, &languages));
            tokio::spawn(async move {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let known = inherent.iter().find(|known| known.is_of(way, directory, &case.name));
                    match (difference(&cold, &other, way, case).await, known) {
                        (Some(text), None) => found.lock().unwrap().push((case.name.clone(), text)),
                        // What is drawn at random is drawn anew now and then.
                        (None, Some(known)) if !case.differs && !known.sometimes => {
                            found.lock().unwrap().push((
                                case.name.clone(),
                                format!("is not different, though it should be: {}\n", known.reason),
                            ))
                        }
                        (Some(_) | None, Some(_)) | (None, None) => {}
                    }
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let mut found = Arc::into_inner(found).unwrap().into_inner().unwrap();
    found.sort();
    let text: String = found.iter().map(|(name, text)| format!("== {name}\n{text}")).collect();
    assert!(
        found.is_empty(),
        "{} of {} {directory} programs see how they are run:\n{text}",
        found.len(),
        cases.len()
    );
}

async fn difference(cold: &Lane, other: &Lane, way: Warm, case: &Case) -> Option<String> {
    let (all, was_warm) =
        if way == Warm::Off { (vec![other.run(case).await], true) } else { other.run_until_warm(case).await };
    if !was_warm && !case.any_temperature {
        return Some("never found a warm sandbox\n".into());
    }
    let expected = cold.run(case).await;
    if case.differs {
        let again = if way == Warm::Off {
            other.run(case).await
        } else {
            other.run_until_warm(case).await.0.pop()?
        };
        let seen = all.last()?;
        return (seen.stdout == again.stdout)
            .then(|| format!("the same twice: {}\n", shown(&again.stdout)))
            .or_else(|| described(&without_output(&expected), &without_output(seen)));
    }
    if let Err(error) = &expected.outcome {
        return Some(format!("cold: {error}\n"));
    }
    let differing = all.iter().find_map(|seen| described(&expected, seen))?;
    let told = if described(&expected, &cold.run(case).await).is_some() {
        "(as do cold runs among themselves)\n"
    } else {
        ""
    };
    Some(differing + told)
}

fn without_output(seen: &Seen) -> Seen {
    Seen { stdout: Vec::new(), ..seen.clone() }
}

/// With `0x` alone in place of a number of eight digits and more behind it.
fn without_addresses(bytes: &[u8]) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    while let Some(at) = rest.windows(2).position(|two| two == b"0x") {
        let (before, number) = rest.split_at(at + 2);
        kept.extend(before);
        let digits = number.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        rest = if digits < 8 { number } else { &number[digits..] };
    }
    kept.extend(rest);
    kept
}

/// How they differ, where they do.
fn described(cold: &Seen, other: &Seen) -> Option<String> {
    let mut text = String::new();
    for (what, cold, other) in
        [("stdout", &cold.stdout, &other.stdout), ("stderr", &cold.stderr, &other.stderr)]
    {
        if cold != other {
            let common = cold.iter().zip(other).take_while(|(a, b)| a == b).count();
            let line = cold[..common].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let from = line.max(common.saturating_sub(120));
            writeln!(
                text,
                "{what} from byte {from} on\n  cold:  {}\n  other: {}",
                shown(&cold[from..]),
                shown(&other[from..])
            )
            .unwrap();
        }
    }
    if cold.outcome != other.outcome {
        writeln!(text, "  cold:  {:?}\n  other: {:?}", cold.outcome, other.outcome).unwrap();
    }
    (!text.is_empty()).then_some(text)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)])
        .escape_debug()
        .to_string()
        .replace("\\n", "\n         ")
}

#[test]
fn addresses_are_no_difference() {
    assert_eq!(without_addresses(b"<a at 0x7f0011223344> 0x1f 0x 0x123456789"), b"<a at 0x> 0x1f 0x 0x");
}
