//! Types that stand for members in the description where the handlers' own types say less than clients may rely on.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    executions::{Receipt, RunRequest},
    record::Record,
    sessions::SourceRequest,
};

/// The header of requests that may be repeated.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a header")]
pub(crate) struct IdempotencyKey {
    /// Two requests of one owner and session with one key make one execution.
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$",
        required = false
    )]
    key: Option<String>,
}

/// A page of a list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes parameters")]
pub(crate) struct Page {
    /// At most so many entries; 50 where it isn't said.
    #[param(minimum = 1, maximum = 200, required = false)]
    limit: Option<u16>,
    /// Those before this execution.
    #[param(value_type = Option<Id>, required = false)]
    before: Option<Id>,
}

/// A page of the autosave history.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes parameters")]
pub(crate) struct RevisionPage {
    /// At most so many entries; 50 where it isn't said.
    #[param(minimum = 1, maximum = 200, required = false)]
    limit: Option<u16>,
    /// Those before this revision.
    #[param(minimum = 0, required = false)]
    before: Option<u64>,
}

/// An id of a session or an execution: a UUID of version 7.
#[derive(Debug, ToSchema)]
#[schema(format = "uuid")]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Id(String);

/// A moment: RFC 3339, in UTC, with milliseconds.
#[derive(Debug, ToSchema)]
#[schema(format = DateTime)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Moment(String);

/// The name of a language or one of its aliases.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Language(String);

/// The entry file: not blank.
#[derive(Debug, ToSchema)]
#[schema(min_length = 1, pattern = r"\S")]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct SourceCode(String);

/// The entry file of a session: it may be blank as long as it isn't run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SavedSource(String);

/// Whether a session can be saved and run.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum SessionStatus {
    Active,
    Inactive,
}

/// An argument: no NUL, which would end it for the kernel.
#[derive(Debug, ToSchema)]
#[schema(pattern = r"^[^\x00]*$")]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Argument(String);

/// A name of a variable.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(min_length = 1, pattern = r"^[^=\x00]*$")]
pub(crate) struct VariableName(String);

/// Variables by their names.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Environment(BTreeMap<VariableName, Argument>);

/// A path relative to the entry file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(min_length = 1, max_length = 255, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
pub(crate) struct FilePath(String);

/// The files beside the entry file, no two with one path.
#[derive(Debug, Serialize, ToSchema)]
#[schema(max_items = 100)]
pub(crate) struct Files(Vec<File>);

/// A file: its content as text, or as base64 where it isn't UTF-8.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes the choice")]
pub(crate) enum File {
    Text { path: FilePath, content: String },
    Binary { path: FilePath, content_base64: Base64 },
}

/// Bytes as base64.
#[derive(Debug, Serialize, ToSchema)]
#[schema(pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$")]
pub(crate) struct Base64(String);

/// Where an execution stands.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Timeout,
    Cancelled,
}

/// Why an execution isn't a success.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum ErrorType {
    CompileError,
    RuntimeError,
    TimeoutError,
    MemoryLimitError,
    OutputLimitError,
    ProcessLimitError,
    Cancelled,
    InternalError,
}

/// What became of a test case.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum Verdict {
    Accepted,
    WrongAnswer,
    TimeLimitExceeded,
    MemoryLimitExceeded,
    OutputLimitExceeded,
    RuntimeError,
    Skipped,
}

/// When what a program wrote is what was expected.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "it describes the values")]
pub(crate) enum Compare {
    /// Every byte is the same.
    Exact,
    /// The lines are, but for white space at their ends, and for blank lines at the end.
    TrimmedLines,
    /// The words are, whatever white space is between them.
    Tokens,
    /// As `tokens`, but numbers may differ: by so much, or by such a part of the expected one.
    Tolerance {
        #[schema(minimum = 0.0, required = false)]
        absolute: f64,
        #[schema(minimum = 0.0, required = false)]
        relative: f64,
    },
}

/// What may be asked of a program's limits; what is absent is the server's default, which is the most as well.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct Limits {
    /// From the first instruction to the end.
    #[schema(minimum = 1)]
    wall_time_ms: Option<u64>,
    /// User and system time of all processes together.
    #[schema(minimum = 1)]
    cpu_time_ms: Option<u64>,
    /// Memory of all processes and of the files in memory together.
    #[schema(minimum = 1)]
    memory_bytes: Option<u64>,
    /// Processes and threads at a time.
    #[schema(minimum = 1)]
    processes: Option<u32>,
    /// Output that is kept, for each of the two streams.
    #[schema(minimum = 1)]
    output_bytes: Option<u64>,
    /// What all files may hold.
    #[schema(minimum = 1)]
    file_bytes: Option<u64>,
    /// Files and directories at a time.
    #[schema(minimum = 1)]
    files: Option<u32>,
    /// Files that a process may have open at a time.
    #[schema(minimum = 1)]
    open_files: Option<u32>,
    /// The stack of the main thread.
    #[schema(minimum = 1)]
    stack_bytes: Option<u64>,
    /// Thousandths of a processor.
    #[schema(minimum = 1)]
    cpu_millis: Option<u32>,
}

/// As `Limits`, for the compiler.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct CompileLimits(#[schema(inline)] Limits);

/// A program, and all it's given.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct ProgramRequest {
    #[schema(inline)]
    language: Language,
    source_code: SourceCode,
    #[serde(flatten)]
    #[schema(inline)]
    rest: RunRequest,
}

/// Programs of a batch, each as for `POST /executions`: one that isn't is refused alone.
#[derive(Debug, ToSchema)]
#[schema(max_items = 100)]
#[expect(dead_code, reason = "it describes a value")]
pub(crate) struct Programs(Vec<serde_json::Value>);

/// An event of a stream.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct StreamEvent {
    /// Its number, for `Last-Event-ID`.
    id: String,
    /// `status`, `stdout`, `stderr` or `end`.
    event: String,
    /// JSON: what is new of the status, a text, or the record.
    data: String,
}

/// A receipt, or the finished record where it was waited for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes the choice")]
pub(crate) enum ReceiptOrRecord {
    Record(Box<Record>),
    Receipt(Receipt),
}

/// What is to be saved: one member at least.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it describes the members")]
pub(crate) struct SaveRequest {
    #[serde(flatten)]
    any: SavedMember,
    #[serde(flatten)]
    rest: SourceRequest,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it describes the choice")]
pub(crate) enum SavedMember {
    Source { source_code: SavedSource },
    Language { language: Language },
    Files { files: Files },
}
