//! Java's compiler, warmed up before there is a program: ten times as fast as one that has to be started.
//!
//! A JVM that has just booted interprets its compiler. So a class of ours has the compiler compile a sample a few times, waits as any
//! interpreter that boots ahead, and then is what `javac` would be: `src/java/WarmCompiler.java`. That class, and an archive of
//! what it loads, so that it boots in two thirds of the time, are made once for each command line, inside the sandbox, by the very JDK.

use std::{
    collections::BTreeMap,
    fs,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    time::Duration,
};

use livecode_core::{CollectedFile, Error, Owner, Program, Result, Reuse, SourceFile, Step};
use rustix::fs::MemfdFlags;

use crate::{helper::sealed, protocol::Command, streams::failed};

/// Where the class is while a compiler boots: nowhere else, and not for any program to see. The archive is only good for a class
/// at the place where it was when that was made, and of the same time.
pub(crate) const JAR: &str = "/tmp/livecode-javac.jar";

/// Where the archive is: a descriptor that is there while a compiler boots.
const ARCHIVE: &str = "/proc/self/fd/59";

/// What it's called where it's made.
const MADE: [&str; 2] = ["warm.jar", "warm.jsa"];

/// A language's name that no host has given a way to.
const LANGUAGE: &str = "livecode-javac";

/// How long it may take to make both: 3 s by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a compiler boots from.
#[derive(Debug)]
pub(crate) struct Compiler {
    home: PathBuf,
    pub(crate) jar: Vec<u8>,
    /// Sealed, in memory. None where the JDK made none, or one that is too large: it takes longer without.
    pub(crate) archive: Option<OwnedFd>,
}

/// The JDK whose `javac` a step begins with; nothing where it begins with something else.
pub(crate) fn home(step: &Command) -> Option<PathBuf> {
    let path = Path::new(std::ffi::OsStr::from_bytes(&step.path));
    if path.file_name()? != "javac" {
        return None;
    }
    let real = fs::canonicalize(path).ok()?;
    let home = real.parent()?.parent()?;
    (real.ends_with("bin/javac") && home.join("bin/java").is_file()).then(|| home.to_owned())
}

/// The JVM's options among a compiler's arguments.
fn options(step: &Command) -> impl Iterator<Item = &[u8]> {
    step.argv.iter().skip(1).filter_map(|argument| argument.strip_prefix(b"-J"))
}

/// What has to run in the sandbox for [`Compiler::from_files`].
///
/// # Errors
///
/// `Unsupported` where an option or the JDK's place isn't text.
pub(crate) fn making(step: &Command, home: &Path, like: &Step) -> Result<Program> {
    let not_text = |_| Error::unsupported("a Java compiler's option is not UTF-8");
    let options: std::result::Result<Vec<_>, _> =
        options(step).map(|option| String::from_utf8(option.to_vec())).collect();
    let options = options.map_err(not_text)?;
    let home = home.to_str().ok_or_else(|| Error::unsupported(format!("{} is not UTF-8", home.display())))?;
    let [jar, archive] = MADE;
    let script = format!(
        r#"
home=$1; shift
cp Sample.java classes/
"$home/bin/jar" --create --file {jar} -C classes .
cp {jar} {JAR} && touch -d @0 {JAR}
"$home/bin/java" "$@" -XX:ArchiveClassesAtExit={archive} -cp {JAR} WarmCompiler -d /tmp Sample.java || true
"#
    );
    let limits = livecode_core::Limits { wall_time: PATIENCE, cpu_time: PATIENCE, ..like.limits };
    let command = |words: Vec<&str>| Step {
        command: words.into_iter().map(str::to_owned).collect(),
        env: BTreeMap::new(),
        limits,
    };
    let of_launcher = of_launcher(home);
    let options = options.iter().chain(&of_launcher).map(String::as_str);
    Ok(Program {
        language: LANGUAGE.into(),
        files: vec![
            SourceFile::new("WarmCompiler.java", include_str!("../java/WarmCompiler.java")),
            SourceFile::new("Sample.java", include_str!("../java/Sample.java")),
        ],
        compile: Some(command(vec![&format!("{home}/bin/javac"), "-d", "classes", "WarmCompiler.java"])),
        run: command(["sh", "-ec", &script, "sh", home].into_iter().chain(options).collect()),
        collect: MADE.map(str::to_owned).to_vec(),
        owner: Owner::anonymous(),
        reuse: Reuse::default(),
        name: String::new(),
    })
}

/// What `javac` adds to its JVM's options. By the first its compiler knows that it's `javac`, and where classes are.
fn of_launcher(home: &str) -> [String; 2] {
    [format!("-Dapplication.home={home}"), "-Xms8m".into()]
}

impl Compiler {
    /// Takes over what was made.
    ///
    /// # Errors
    ///
    /// `Internal` where the class is missing.
    pub(crate) fn from_files(home: PathBuf, files: Vec<CollectedFile>) -> Result<Self> {
        let mut contents = files.into_iter().map(|file| file.content);
        let (jar, archive) = (contents.next(), contents.next());
        let jar = jar
            .and_then(std::result::Result::ok)
            .ok_or_else(|| Error::internal("what warms Java's compiler up did not compile"))?;
        let archive = archive.and_then(std::result::Result::ok).map(|archive| {
            sealed("archive", &[&archive], MemfdFlags::empty()).map_err(failed("make a memory file"))
        });
        Ok(Self { home, jar: jar.to_vec(), archive: archive.transpose()? })
    }

    /// What boots in the place of `step`.
    pub(crate) fn command(&self, step: &Command) -> Command {
        let path = self.home.join("bin/java").into_os_string().into_encoded_bytes();
        let mut argv = vec![path.clone()];
        argv.extend(options(step).map(<[u8]>::to_vec));
        argv.extend(of_launcher(&self.home.to_string_lossy()).map(String::into_bytes));
        // For nobody to read, and 2 ms.
        argv.push(b"-XX:-UsePerfData".to_vec());
        if self.archive.is_some() {
            argv.push(format!("-XX:SharedArchiveFile={ARCHIVE}").into_bytes());
        }
        argv.extend(["-cp", JAR, "WarmCompiler"].map(|word| word.as_bytes().to_vec()));
        let own = step.argv.iter().skip(1).filter(|argument| !argument.starts_with(b"-J"));
        argv.extend(own.cloned());
        Command { path, argv, env: step.env.clone() }
    }
}
