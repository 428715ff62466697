//! What a compile cache asks of the sandbox behind it, and what it leaves alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use livecode_core::{
    Artifact, Capabilities, CompileCache, Error, ErrorKind, ExecutionSpec, Io, Limits, Outcome, Owner,
    Program, Result, Reuse, Runner, Sandbox, SourceFile, Step, Termination,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A sandbox whose compiler says something and leaves something. It notes what it's given.
#[derive(Debug, Default)]
struct Compiler {
    given: Mutex<Vec<Program>>,
    /// None where it can't tell.
    identity: Mutex<Option<String>>,
    is_missing: bool,
    /// Zeros beside the rest of what it leaves.
    zeros: usize,
}

#[async_trait]
impl Sandbox for Compiler {
    fn capabilities(&self) -> Capabilities {
        Capabilities { name: "compiler".into(), enforced: Vec::new(), missing: Vec::new() }
    }

    async fn run(&self, program: &Program, _io: Io, _cancel: &CancellationToken) -> Result<Outcome> {
        self.given.lock().unwrap().push(program.clone());
        let keeps = matches!(program.reuse, Reuse::Keep { .. });
        Ok(Outcome {
            compile_output: program.compile.as_ref().map(|_| "a warning".into()),
            artifact: keeps.then(|| Artifact::new([&b"left"[..], &vec![0; self.zeros]].concat())),
            ..Outcome::new(Termination::Exited { code: 0 })
        })
    }

    async fn compiler(&self, _program: &Program) -> Result<Option<String>> {
        if self.is_missing {
            return Err(Error::unsupported("cc is not installed"));
        }
        Ok(self.identity.lock().unwrap().clone())
    }
}

impl Compiler {
    fn new(identity: &str) -> Arc<Self> {
        Arc::new(Self { identity: Mutex::new(Some(identity.into())), ..Self::default() })
    }

    /// What became of the compile steps of all programs so far.
    fn reuses(&self) -> Vec<Reuse> {
        self.given.lock().unwrap().iter().map(|program| program.reuse.clone()).collect()
    }
}

fn program() -> Program {
    let step = |command: &str| Step {
        command: vec![command.into()],
        env: [("LEVEL".into(), "1".into())].into(),
        limits: Limits::RUN,
    };
    Program {
        language: "c".into(),
        files: vec![SourceFile::new("main.c", "int main;")],
        compile: Some(step("cc")),
        run: step("./main"),
        collect: vec!["made".into()],
        owner: Owner::new("alice").unwrap(),
        reuse: Reuse::Nothing,
        name: String::new(),
    }
}

async fn run(sandbox: &dyn Sandbox, program: &Program) -> Result<Outcome> {
    let io = Io { stdin: Bytes::new(), more: None, output: mpsc::channel(1).0 };
    sandbox.run(program, io, &CancellationToken::new()).await
}

#[tokio::test]
async fn a_later_run_is_the_same_but_for_its_compile_step() {
    let compiler = Compiler::new("1");
    let cache = CompileCache::shared(compiler.clone());
    let first = run(&cache, &program()).await.unwrap();
    let second = run(&cache, &program()).await.unwrap();
    assert_eq!(first.compile_output.as_deref(), Some("a warning"));
    assert_eq!((&first, first.artifact.as_ref()), (&second, None));
    let given = compiler.given.lock().unwrap().clone();
    let keep = Reuse::Keep { max_bytes: CompileCache::MAX_BYTES / 4 };
    let begin = Reuse::Begin(Artifact::new(&b"left"[..]));
    assert_eq!(given[0], Program { reuse: keep, ..program() });
    assert_eq!(given[1], Program { reuse: begin, compile: None, ..program() });
}

#[tokio::test]
async fn another_compiler_compiles_again() {
    let compiler = Compiler::new("1");
    let cache = CompileCache::shared(compiler.clone());
    for (identity, hits) in [("1", 0), ("1", 1), ("2", 1), ("2", 2), ("1", 3)] {
        *compiler.identity.lock().unwrap() = Some(identity.into());
        run(&cache, &program()).await.unwrap();
        assert_eq!(cache.stats().hits, hits);
    }
}

#[tokio::test]
async fn a_sandbox_that_cannot_tell_is_asked_for_nothing() {
    let compiler = Arc::new(Compiler::default());
    let cache = CompileCache::shared(compiler.clone());
    for _ in 0..2 {
        run(&cache, &program()).await.unwrap();
    }
    run(&cache, &Program { compile: None, ..program() }).await.unwrap();
    assert_eq!(compiler.reuses(), vec![Reuse::Nothing; 3]);
    assert_eq!(cache.stats(), Default::default());
    let missing = CompileCache::new(Compiler { is_missing: true, ..Compiler::default() });
    assert_eq!(run(&missing, &program()).await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_large_program_is_compiled_once_as_well() {
    let compiler = Compiler::new("1");
    let cache = CompileCache::shared(compiler.clone());
    for (last, hits) in [(0, 0), (1, 0), (0, 1), (1, 2)] {
        let mut content = vec![0; 2_000_000];
        content.push(last);
        let program = Program { files: vec![SourceFile::new("main.c", content)], ..program() };
        run(&cache, &program).await.unwrap();
        assert_eq!(cache.stats().hits, hits);
    }
}

#[tokio::test]
async fn a_cache_before_another_asks_it_once() {
    let inner = Arc::new(CompileCache::shared(Compiler::new("1")));
    let outer = CompileCache::shared(inner.clone());
    for _ in 0..3 {
        run(&outer, &program()).await.unwrap();
    }
    assert_eq!((outer.stats().hits, inner.stats().hits, inner.stats().misses), (2, 0, 1));
}

#[tokio::test]
async fn who_asks_for_an_artifact_gets_it_whether_it_was_kept_or_made() {
    let keep = |max_bytes| Program { reuse: Reuse::Keep { max_bytes }, ..program() };
    let left = Some(Artifact::new(&b"left"[..]));
    let compiler = Compiler::new("1");
    let cache = CompileCache::shared(compiler.clone());
    for (program, artifact) in
        [(keep(4), left.clone()), (keep(4), left.clone()), (keep(3), None), (program(), None)]
    {
        assert_eq!(run(&cache, &program).await.unwrap().artifact, artifact);
    }
    assert_eq!((cache.stats().hits, cache.stats().misses), (3, 1));
    // A cache that keeps nothing passes it on.
    let cache = CompileCache::shared(compiler.clone()).max_bytes(0);
    assert_eq!(run(&cache, &keep(4)).await.unwrap().artifact, left);
    assert_eq!((cache.stats().entries, compiler.reuses().pop()), (0, Some(Reuse::Keep { max_bytes: 4 })));
    // So does one for which it's too large.
    let identity = Mutex::new(Some("1".into()));
    let cache = CompileCache::new(Compiler { identity, zeros: 4096, ..Compiler::default() }).max_bytes(8192);
    assert!(run(&cache, &keep(1 << 20)).await.unwrap().artifact.is_some());
    assert_eq!(cache.stats().entries, 0);
}

#[tokio::test]
async fn a_cache_for_nothing_keeps_nothing() {
    let compiler = Compiler::new("1");
    for cache in [
        CompileCache::shared(compiler.clone()).max_bytes(0),
        CompileCache::shared(compiler.clone()).max_entries(0),
    ] {
        for _ in 0..2 {
            run(&cache, &program()).await.unwrap();
        }
        assert_eq!((cache.stats().hits, cache.stats().entries, cache.stats().bytes), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_runners_programs_are_its_owners() {
    let compiler = Compiler::new("1");
    let cache = Arc::new(CompileCache::shared(compiler.clone()));
    let runner = Runner::shared(cache.clone());
    let spec = ExecutionSpec::new("c", "int main;");
    for (owner, hits) in [("alice", 0), ("bob", 0), ("alice", 1), ("", 1), ("", 2)] {
        let owner = Owner::new(owner).unwrap();
        runner.clone().owner(owner.clone()).run(&spec).await.unwrap();
        assert_eq!(compiler.given.lock().unwrap().last().unwrap().owner, owner);
        assert_eq!(cache.stats().hits, hits);
    }
    runner.run(&spec).await.unwrap();
    assert_eq!(cache.stats().hits, 3, "no owner is the anonymous one");
}
