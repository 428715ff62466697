//! A language, and the way in which its programs are started.

use livecode::{
    ExecutionSpec, Languages, Runner,
    process::{ProcessSandbox, Warm, WarmStats},
};
use tokio::runtime::Runtime;

use crate::{
    Result,
    turns::{Entry, HELLO, PYTHON},
};

pub(crate) const HELLO_NODE: &str = "console.log(\"hi\")";
pub(crate) const HELLO_JAVA: &str =
    "public class Main { public static void main(String[] a) { System.out.println(\"hi\"); } }";

/// A sandbox of its own for hello in one language.
pub(crate) struct Started {
    sandbox: ProcessSandbox,
    runner: Runner,
    spec: ExecutionSpec,
    way: Warm,
}

impl Started {
    pub(crate) fn new(language: &str, way: Warm) -> Result<Self> {
        let hello = match language {
            "javascript" => HELLO_NODE,
            "java" => HELLO_JAVA,
            _ => HELLO,
        };
        let mut asked = (**Languages::builtin().get(language)?).clone();
        if language == "python" {
            PYTHON.clone_into(&mut asked.run[0]);
        }
        let mut languages = Languages::none();
        languages.add(asked)?;
        let sandbox = ProcessSandbox::builder().warm(language, way).build()?;
        let runner = Runner::new(sandbox.clone()).languages(languages);
        Ok(Self { sandbox, runner, spec: ExecutionSpec::new(language, hello), way })
    }

    /// With so many at a time.
    pub(crate) fn concurrency(mut self, programs: usize) -> Self {
        self.runner = self.runner.concurrency(programs);
        self
    }

    pub(crate) async fn run(&self) -> Result<()> {
        let run = self.runner.run(&self.spec).await?;
        if run.captured.stdout == "hi\n" { Ok(()) } else { Err(format!("{:?}: {run:?}", self.way).into()) }
    }

    /// It's known what is to wait, and all of it does.
    pub(crate) async fn seen(&self) -> Result<()> {
        for _ in 0..2 {
            self.run().await?;
        }
        self.warmed().await
    }

    pub(crate) async fn warmed(&self) -> Result<()> {
        Ok(self.sandbox.warmed().await?)
    }

    pub(crate) fn stats(&self) -> WarmStats {
        self.sandbox.warm_stats()
    }

    /// One program at a time; between turns it's waited until the next is ready for one.
    pub(crate) fn entry<'a>(&'a self, name: &'static str, every: usize, runtime: &'a Runtime) -> Entry<'a> {
        Entry::new(name, every, Box::new(|| runtime.block_on(self.run())))
            .settled_by(|| runtime.block_on(self.warmed()))
    }

    pub(crate) fn print_stats(&self, name: &str) {
        let WarmStats { hits, misses, boots, failures, restarts, .. } = self.stats();
        println!(
            "    {name}: found ready {hits}, not ready {misses}, booted {boots}, failed {failures}, restarted {restarts}"
        );
    }
}
