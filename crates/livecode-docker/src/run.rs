//! A run in a container of its own, from the program's files to its report.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use livecode_core::{CollectedFile, Error, ExecutionSpec, Io, Outcome, Output, Program, Result, Stdio, Step};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    container::{CgroupLimits, Container, parse},
    protocol::{CHUNK, End, Kind, Report, Request, Step as Order},
    verdict,
};

/// So much longer than its wall time a step may take before its container is given up.
const GRACE: Duration = Duration::from_secs(5);

/// Steps in their order.
pub(crate) fn steps(program: &Program) -> impl Iterator<Item = &Step> {
    program.compile.iter().chain([&program.run])
}

/// A run that is under way.
pub(crate) struct Run<'a> {
    pub(crate) container: &'a mut Container,
    pub(crate) program: &'a Program,
    pub(crate) io: Io,
    pub(crate) cancel: &'a CancellationToken,
    /// What was lowered, for the record.
    pub(crate) unprotected: Vec<String>,
}

/// What came of it so far.
#[derive(Default)]
struct Heard {
    step: usize,
    /// How much of what is there to be read was given.
    input: usize,
    /// Whether the runner asks for more.
    asks: bool,
    compile_output: Vec<u8>,
    files: Vec<CollectedFile>,
    part: BytesMut,
}

impl Run<'_> {
    /// Runs it to its end; nothing of it is alive then but the runner, which ends by itself.
    pub(crate) async fn finish(mut self) -> Result<Outcome> {
        let mut heard = Heard::default();
        let report = match self.report(&mut heard).await? {
            Some(report) => report,
            None => self.without_report(heard.step).await?,
        };
        let missing = "the run ended before it could be read";
        for path in self.program.collect.iter().skip(heard.files.len()) {
            heard.files.push(CollectedFile { path: path.clone(), content: Err(missing.into()) });
        }
        let compile_output = self
            .program
            .compile
            .is_some()
            .then(|| String::from_utf8_lossy(&heard.compile_output).into_owned());
        verdict::outcome(self.program, &report, compile_output, heard.files, self.unprotected)
    }

    /// What the runner reports; nothing where it's gone.
    async fn report(&mut self, heard: &mut Heard) -> Result<Option<Report>> {
        let gives_up = || Error::unavailable("a container doesn't end its run: it's thrown away");
        let cancel = self.cancel;
        let mut is_cancelled = false;
        let mut deadline = Instant::now() + self.longest();
        timeout_at(deadline, self.send()).await.map_err(|_| gives_up())??;
        loop {
            let next = tokio::select! {
                biased;
                // First, so that a program that never stops writing is heard no longer than others.
                () = cancel.cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    deadline = deadline.min(Instant::now() + GRACE);
                    // Where it's over already, its report is on its way.
                    self.container.say(Kind::Kill, &[]).await.ok();
                    continue;
                }
                next = self.container.next() => next?,
                part = next_part(&mut self.io, &mut heard.input), if heard.asks => {
                    heard.asks = false;
                    // Where the container is gone, that is heard.
                    self.container.say(Kind::Input, &part).await.ok();
                    continue;
                }
                () = sleep_until(deadline) => return Err(gives_up()),
            };
            let Some((kind, bytes)) = next else { return Ok(None) };
            match kind {
                Kind::Stdout => self.pass_on(Stdio::Stdout, bytes, is_cancelled, &mut deadline).await,
                Kind::Stderr => self.pass_on(Stdio::Stderr, bytes, is_cancelled, &mut deadline).await,
                Kind::Compiler => self.keep(heard, &bytes),
                Kind::More => heard.asks = true,
                Kind::NoMore => self.io.more = None,
                Kind::Compiled => {
                    heard.step = 1;
                    let limits = CgroupLimits::of(&self.program.run.limits);
                    if !self.container.limit(limits).await? {
                        return Ok(Some(out_of_memory(heard.step)));
                    }
                    self.container.say(Kind::Go, &[]).await?;
                }
                Kind::Brought | Kind::NotBrought => self.bring(heard, kind, &bytes)?,
                Kind::End => return parse(&bytes).map(Some),
                _ => return Err(Error::internal("a container's runner says what it can't mean")),
            }
        }
    }

    /// As long as its steps may take, and what the engine needs between them.
    fn longest(&self) -> Duration {
        let walls: Duration = steps(self.program).map(|step| step.limits.wall_time).sum();
        walls.saturating_add(GRACE).saturating_add(GRACE)
    }

    async fn send(&mut self) -> Result<()> {
        let program = self.program;
        let request = Request {
            files: program.files.iter().map(|file| (file.path.clone(), file.content.len() as u64)).collect(),
            steps: steps(program).map(order).collect(),
            has_input: !self.io.stdin.is_empty() || self.io.more.is_some(),
            collect: program.collect.clone(),
            collect_bytes: ExecutionSpec::MAX_TOTAL_BYTES as u64,
        };
        self.container.tell(Kind::Request, &request).await?;
        for part in program.files.iter().flat_map(|file| file.content.chunks(CHUNK)) {
            self.container.say(Kind::Files, part).await?;
        }
        Ok(())
    }

    /// Where nobody listens any more, the program goes on unheard. One who is slow makes the program wait, and that is not the
    /// container's fault.
    async fn pass_on(&mut self, stdio: Stdio, bytes: Bytes, is_cancelled: bool, deadline: &mut Instant) {
        let began = Instant::now();
        let sent = self.io.output.send(Output::new(stdio, bytes));
        if is_cancelled {
            sent.await.ok();
        } else {
            tokio::select! { sent = sent => { sent.ok(); } () = self.cancel.cancelled() => {} }
        }
        *deadline += began.elapsed();
    }

    fn keep(&self, heard: &mut Heard, bytes: &[u8]) {
        let most = self.program.compile.as_ref().map_or(0, |step| step.limits.output_bytes);
        let left = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(heard.compile_output.len());
        heard.compile_output.extend_from_slice(&bytes[..bytes.len().min(left)]);
    }

    fn bring(&self, heard: &mut Heard, kind: Kind, bytes: &[u8]) -> Result<()> {
        let damaged = || Error::internal("a container's runner brings back what nobody asked for");
        let path = self.program.collect.get(heard.files.len()).ok_or_else(damaged)?.clone();
        let content = if kind == Kind::NotBrought {
            Err(String::from_utf8_lossy(bytes).into_owned())
        } else if bytes.is_empty() {
            Ok(heard.part.split().freeze())
        } else if heard.part.len() + bytes.len() > ExecutionSpec::MAX_TOTAL_BYTES {
            return Err(damaged());
        } else {
            heard.part.extend_from_slice(bytes);
            return Ok(());
        };
        heard.files.push(CollectedFile { path, content });
        Ok(())
    }

    /// The runner is gone: the kernel may have ended it for the program's hunger; else it's ours to try again.
    async fn without_report(&mut self, step: usize) -> Result<Report> {
        if self.container.was_out_of_memory().await {
            return Ok(out_of_memory(step));
        }
        Err(self.container.ended("before its program did"))
    }
}

/// The next part of the program's input, empty at its end. What comes later takes the place of what was given.
async fn next_part(io: &mut Io, given: &mut usize) -> Bytes {
    loop {
        let first = (*given).min(io.stdin.len());
        *given = first.saturating_add(CHUNK).min(io.stdin.len());
        if first < *given {
            return io.stdin.slice(first..*given);
        }
        let Some(more) = &mut io.more else { return Bytes::new() };
        match more.recv().await {
            Some(piece) => (io.stdin, *given) = (piece, 0),
            None => return Bytes::new(),
        }
    }
}

/// What the kernel would have made of it.
fn out_of_memory(step: usize) -> Report {
    Report { end: End::Signaled(9), step, oom_kills: 1, ..Report::default() }
}

fn order(step: &Step) -> Order {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    Order {
        command: step.command.clone(),
        env: step.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        wall_ns: nanos(step.limits.wall_time),
        cpu_ns: nanos(step.limits.cpu_time),
        file_bytes: step.limits.file_bytes,
        files: u64::from(step.limits.files),
        open_files: u64::from(step.limits.open_files),
        stack_bytes: step.limits.stack_bytes,
    }
}
