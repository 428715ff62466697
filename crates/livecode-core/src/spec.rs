//! What was asked: the program, what it's given, and its limits.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Ceiling, Error, Grading, Languages, LimitRequest, Limits, Result, Trace};

/// A program and all it's given. Immutable once accepted: an [`Execution`](crate::Execution) keeps it as it was.
///
/// ```
/// use livecode_core::ExecutionSpec;
///
/// let spec = ExecutionSpec::new("python", "print(input())").stdin("hello\n");
/// assert_eq!(spec.language, "python");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionSpec {
    /// The name of a [`Language`](crate::Language) or one of its aliases.
    pub language: String,
    /// The entry file; the language names it.
    pub source_code: String,
    /// The files beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SourceFile>,
    /// What the program reads from its standard input, which then ends, unless it's open.
    #[serde(default, skip_serializing_if = "Bytes::is_empty", with = "base64_bytes")]
    pub stdin: Bytes,
    /// Whether more may come after `stdin` while the program runs, by [`Engine::send_input`](crate::Engine::send_input), until
    /// [`Engine::end_input`](crate::Engine::end_input): a program that reads waits for it, as long as its limits let it. A
    /// [`Runner`](crate::Runner) that is called directly goes by which of its methods was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stdin_open: bool,
    /// Its arguments, after its own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Added to the environment of our making. Nothing of the host's environment is ever in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The limits of the run step; what is absent is the host's default.
    #[serde(default)]
    pub limits: LimitRequest,
    /// The limits of the compile step, where the language has one.
    #[serde(default)]
    pub compile_limits: LimitRequest,
    /// Test cases, each of which brings its own standard input: the program is run once for each in place of once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grading: Option<Grading>,
    /// Who is told of its end, by a `POST` to this URL: [`Delivery`](crate::Delivery). A [`Runner`](crate::Runner) tells nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// The request that it comes from, for logs and traces.
    #[serde(default, skip_serializing_if = "Trace::is_empty")]
    pub trace: Trace,
}

impl ExecutionSpec {
    /// The most files beside the entry file.
    pub const MAX_FILES: usize = 100;
    /// The most bytes of all files together, the entry file, standard input and test cases included.
    pub const MAX_TOTAL_BYTES: usize = 16 * 1024 * 1024;
    /// The most bytes that can be sent to a program while it's there, all pieces together, of which each counts as
    /// [`ExecutionSpec::MIN_INPUT_BYTES`] at least.
    pub const MAX_INPUT_BYTES: usize = 16 * 1024 * 1024;
    /// What a piece of input counts at least: what it costs to keep it.
    pub const MIN_INPUT_BYTES: usize = 64;
    /// The most bytes of all arguments and environment variables together, each with the NUL that ends it.
    pub const MAX_ARGUMENT_BYTES: usize = 64 * 1024;
    /// The longest URL in bytes.
    pub const MAX_URL: usize = 2048;

    /// A program of one file, with no input, no arguments and the host's default limits.
    pub fn new(language: impl Into<String>, source_code: impl Into<String>) -> Self {
        Self {
            language: language.into(),
            source_code: source_code.into(),
            files: Vec::new(),
            stdin: Bytes::new(),
            stdin_open: false,
            args: Vec::new(),
            env: BTreeMap::new(),
            limits: LimitRequest::default(),
            compile_limits: LimitRequest::default(),
            grading: None,
            callback_url: None,
            trace: Trace::default(),
        }
    }

    /// The same with this standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Bytes>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// The same, to which more standard input may be sent while it runs: see [`ExecutionSpec::stdin_open`].
    #[must_use]
    pub fn stdin_open(mut self) -> Self {
        self.stdin_open = true;
        self
    }

    /// The same with these limits for the run step.
    #[must_use]
    pub fn limits(mut self, limits: LimitRequest) -> Self {
        self.limits = limits;
        self
    }

    /// The same, run once for each of these test cases.
    #[must_use]
    pub fn grading(mut self, grading: Grading) -> Self {
        self.grading = Some(grading);
        self
    }

    /// The same, of whose end this URL is told.
    #[must_use]
    pub fn callback_url(mut self, url: impl Into<String>) -> Self {
        self.callback_url = Some(url.into());
        self
    }

    /// Checks everything that can be checked without running it, and completes it: the language by its canonical name,
    /// every limit filled in.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an unknown language, an empty or oversized member, a
    /// path that is not plainly relative, a NUL where the kernel ends a string, a limit of zero or above the ceiling, test cases
    /// that are none, too many, or come with a standard input beside theirs, a URL that nobody can be told at, and a [`Trace`] that
    /// isn't one.
    pub fn complete(mut self, languages: &Languages, ceiling: &Ceiling) -> Result<Self> {
        let language = languages.get(&self.language)?;
        if self.source_code.trim().is_empty() {
            return Err(Error::invalid("source_code is empty: send the program to run"));
        }
        ceiling.check_source(&self.source_code)?;
        SourceFile::check_all(&self.files, &language.file_name)?;
        let tests = self.grading.as_ref().map_or(0, Grading::bytes);
        Self::check_total(&self.source_code, &self.files, self.stdin.len() + tests)?;
        self.check_arguments()?;
        self.check_callback_url()?;
        self.trace.check()?;
        self.language = language.name.clone();
        let limits = self.limits.resolve(&ceiling.run, "limits")?;
        let compile_limits = self.compile_limits.resolve(&ceiling.compile, "compile_limits")?;
        self.check_room(&limits, "limits")?;
        self.check_grading(&limits)?;
        if language.compile.is_some() {
            self.check_room(&compile_limits, "compile_limits")?;
        }
        self.limits = limits.into();
        self.compile_limits = compile_limits.into();
        Ok(self)
    }

    /// Refuses more than [`ExecutionSpec::MAX_TOTAL_BYTES`]: to be run, and to be saved for it.
    pub(crate) fn check_total(source_code: &str, files: &[SourceFile], input: usize) -> Result<()> {
        let files = files.iter().map(|file| file.content.len()).sum::<usize>();
        let total = source_code.len() + files + input;
        if total > Self::MAX_TOTAL_BYTES {
            return Err(Error::invalid(format!(
                "source, files, stdin and tests have {total} bytes together, at most {} are accepted",
                Self::MAX_TOTAL_BYTES
            )));
        }
        Ok(())
    }

    /// Refuses what doesn't leave room for the program's own files, as a file system counts: by whole pages, and directories
    /// as files.
    fn check_room(&self, limits: &Limits, member: &str) -> Result<()> {
        let pages = |bytes: usize| bytes.div_ceil(4096) as u64 * 4096;
        let bytes = pages(self.source_code.len())
            + self.files.iter().map(|file| pages(file.content.len())).sum::<u64>();
        if bytes > limits.file_bytes {
            return Err(Error::invalid(format!(
                "the program's own files need {bytes} bytes, {member}.file_bytes allows {}",
                limits.file_bytes
            )));
        }
        let paths = self.files.iter().map(|file| &file.path);
        let directories: HashSet<&str> =
            paths.flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at])).collect();
        let files = 1 + self.files.len() + directories.len();
        if files as u64 > u64::from(limits.files) {
            return Err(Error::invalid(format!(
                "the program's own files and their directories are {files}, {member}.files allows {}",
                limits.files
            )));
        }
        Ok(())
    }

    fn check_grading(&self, limits: &Limits) -> Result<()> {
        let Some(grading) = &self.grading else {
            return Ok(());
        };
        if self.stdin_open {
            return Err(Error::invalid(
                "stdin_open is set beside tests: what a case reads is said beforehand, so leave it out",
            ));
        }
        if !self.stdin.is_empty() {
            return Err(Error::invalid(
                "stdin is there beside tests: each case brings its own, so leave it out",
            ));
        }
        grading.check(limits.output_bytes)
    }

    /// What the URL looks like. Which receivers may be told is for whoever sends the word to know.
    fn check_callback_url(&self) -> Result<()> {
        let Some(url) = &self.callback_url else {
            return Ok(());
        };
        // It isn't repeated: it may hold a secret.
        let refuse = |reason: &str| Err(Error::invalid(format!("callback_url {reason}")));
        if url.len() > Self::MAX_URL {
            return refuse("is longer than 2048 bytes: send a shorter one");
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("has a space, a control character or one beyond ASCII: percent-encode it");
        }
        let scheme = url
            .split_once("://")
            .filter(|(scheme, _)| ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)));
        let Some((_, rest)) = scheme else {
            return refuse("is no URL of http or https: send one such as https://example.org/ended");
        };
        if rest.contains('#') {
            return refuse("has a fragment, which no receiver gets: leave out the '#' and what follows");
        }
        let authority = rest.split(['/', '\\', '?']).next().unwrap_or_default();
        if authority.is_empty() {
            return refuse("has no host: send one such as https://example.org/ended");
        }
        if authority.contains('@') {
            return refuse("has a user or a password in it: put a token into its query");
        }
        Ok(())
    }

    fn check_arguments(&self) -> Result<()> {
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(Error::invalid(format!(
                    "env has a variable {:?} that can't be set: a name is not empty and has no '=', neither name nor value has a NUL",
                    shown(name)
                )));
            }
        }
        if self.args.iter().any(|argument| argument.contains('\0')) {
            return Err(Error::invalid("args has an argument with a NUL: the kernel would cut it there"));
        }
        // As the kernel counts them, so that a million empty ones aren't free.
        let args = self.args.iter().map(|argument| argument.len() + 1);
        let env = self.env.iter().map(|(name, value)| name.len() + value.len() + 2);
        let bytes = args.chain(env).sum::<usize>();
        if bytes > Self::MAX_ARGUMENT_BYTES {
            return Err(Error::invalid(format!(
                "args and env have {bytes} bytes together, at most {} are accepted",
                Self::MAX_ARGUMENT_BYTES
            )));
        }
        Ok(())
    }
}

/// A file beside the entry file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it is, relative to the entry file.
    pub path: String,
    /// What is in it; any bytes.
    #[serde(with = "base64_bytes")]
    pub content: Bytes,
}

impl SourceFile {
    /// The longest path in bytes.
    pub const MAX_PATH: usize = 255;

    /// A file at `path`.
    pub fn new(path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        Self { path: path.into(), content: content.into() }
    }

    /// Checks that these are relative and plain paths, no one twice, and not too many.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), naming the path and the rule it breaks.
    pub fn check_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut taken = HashSet::new();
        for path in paths {
            let refuse =
                |reason: &str| Err(Error::invalid(format!("the file path {:?} {reason}", shown(path))));
            if path.is_empty() || path.len() > Self::MAX_PATH {
                return refuse("is empty or longer than 255 bytes");
            }
            if path.contains(['\0', '\\']) || path.chars().any(char::is_control) {
                return refuse("has a control character or a backslash");
            }
            if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
                return refuse("is not relative and plain: no leading or double '/', no '.' and no '..'");
            }
            if path.split('/').count() > 16 {
                return refuse("has more than 16 parts");
            }
            if !taken.insert(path) {
                return refuse("is there twice");
            }
        }
        Ok(())
    }

    /// Checks that `files` can stand beside an entry file of that name: relative and plain paths, no one twice.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), naming the path and the rule it breaks.
    pub fn check_all(files: &[Self], entry: &str) -> Result<()> {
        if files.len() > ExecutionSpec::MAX_FILES {
            return Err(Error::invalid(format!(
                "files has {} entries, at most {} are accepted",
                files.len(),
                ExecutionSpec::MAX_FILES
            )));
        }
        let paths = || std::iter::once(entry).chain(files.iter().map(|file| file.path.as_str()));
        Self::check_paths(paths())?;
        let taken: HashSet<&str> = paths().collect();
        let mut directories =
            taken.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| &path[..at]));
        match directories.find(|directory| taken.contains(directory)) {
            Some(path) => Err(Error::invalid(format!(
                "the file path {:?} is a file and a directory at once",
                shown(path)
            ))),
            None => Ok(()),
        }
    }
}

/// As much of a refused text as an error repeats.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Bytes as base64 in text formats.
pub(crate) mod base64_bytes {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::{Bytes, Deserialize, Deserializer, Serialize, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        BASE64_STANDARD.encode(bytes).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Bytes::from).map_err(de::Error::custom)
    }
}
