//! How a helper comes to know kinds of programs.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use livecode_core::{Io, Program, Result, Sandbox};
use tokio::sync::{mpsc, watch};

use super::{
    Seen, Warm,
    java::{self, Compiler},
    way_of,
};
use crate::{
    ProcessSandbox,
    helper::Helper,
    protocol::{Booted, Command, Kind, Limits},
};

impl ProcessSandbox {
    /// The kind of a program, where one that is like it came before.
    pub(crate) async fn kind(
        &self,
        program: &Program,
        limits: &[Limits],
        commands: &[Command],
        helper: &Arc<Helper>,
    ) -> Result<Option<u64>> {
        let way = way_of(&self.inner.warm, &program.language);
        // What boots ahead does so before there is a program for whose limits it counts, and a fork server outside of any
        // world. Interpreters do by their environment whatever they are told, and what stands behind the program's file is the
        // program's to read: so nothing that a request says has a part in it.
        let mut steps = program.compile.iter().chain([&program.run]);
        let is_bare = steps.all(|step| step.env.is_empty());
        let names_its_file =
            program.files.first().is_some_and(|entry| program.run.command.contains(&entry.path));
        let is_archive = program.files.first().is_some_and(|entry| is_archive(&entry.content));
        if !is_bare || is_archive || way == Warm::Fork && !names_its_file {
            return Ok(None);
        }
        let seen = helper.kinds.lock().unwrap_or_else(PoisonError::into_inner).see(way, limits, commands);
        let (kind, booted) = match seen {
            Seen::Rarely => return Ok(None),
            Seen::Known(id) => return Ok(Some(id)),
            Seen::Again(kind, booted) => (kind, booted),
        };
        let id = kind.id;
        let jdk = commands.first().and_then(java::home).zip(program.compile.as_ref());
        if let Some((home, step)) = jdk {
            let making = java::making(&commands[0], &home, step)?;
            self.learn_java(home, making, commands[0].clone(), (kind, booted), helper.clone());
        } else {
            helper.learn(kind, &booted, None).await?;
        }
        Ok(Some(id))
    }

    /// Makes a Java compiler ready to boot ahead, which takes seconds, and tells the helper of the kind only then: its programs go
    /// the cold way meanwhile.
    fn learn_java(
        &self,
        home: PathBuf,
        making: Program,
        cold: Command,
        (kind, mut booted): (Kind, Booted),
        helper: Arc<Helper>,
    ) {
        let sandbox = Self { inner: self.inner.clone(), last: None };
        let unfinished = Unfinished::new(&self.inner.making);
        tokio::spawn(async move {
            let mut archive = None;
            match sandbox.make(home, &making).await {
                Ok(compiler) => {
                    booted.steps[0] = Some(compiler.command(&cold));
                    booted.files.push((java::JAR.into(), compiler.jar));
                    archive = compiler.archive;
                }
                Err(error) => tracing::warn!(%error, "Java's compiler is not made ready ahead"),
            }
            // Where the helper is gone there is nobody to be told.
            helper.learn(kind, &booted, archive).await.ok();
            drop(unfinished);
        });
    }

    async fn make(&self, home: PathBuf, making: &Program) -> Result<Compiler> {
        let (output, mut heard) = mpsc::channel(1);
        let io = Io { stdin: Bytes::new(), more: None, output };
        let hearing = async { while heard.recv().await.is_some() {} };
        let (outcome, ()) = tokio::join!(self.run(making, io, &self.inner.over), hearing);
        Compiler::from_files(home, outcome?.files)
    }
}

/// Whether it may be a zip archive, which Python runs as one, and knows before it reads it: by its end
/// (<https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, 4.3.16).
fn is_archive(content: &[u8]) -> bool {
    const END: &[u8] = b"PK\x05\x06";
    const WITHIN: usize = 22 + u16::MAX as usize;
    content[content.len().saturating_sub(WITHIN)..].windows(END.len()).any(|part| part == END)
}

/// Counts what is being made, however that ends.
struct Unfinished(watch::Sender<usize>);

impl Unfinished {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
