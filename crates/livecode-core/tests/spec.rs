//! What is accepted as a program, and what is refused with which words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{iter, time::Duration};

use livecode_core::{
    Ceiling, Compare, ErrorKind, ExecutionSpec, Grading, Language, Languages, LimitRequest, Limits, Result,
    SourceFile, TestCase, Trace,
};

fn spec() -> ExecutionSpec {
    ExecutionSpec::new("python", "print(1)")
}

fn complete(spec: ExecutionSpec) -> Result<ExecutionSpec> {
    spec.complete(&Languages::builtin(), &Ceiling::default())
}

/// Asserts that `spec` is refused as the caller's fault, in words that have all of `words` in them.
#[track_caller]
fn refused(spec: ExecutionSpec, words: &[&str]) {
    let error = complete(spec).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let said = error.to_string();
    for word in words {
        assert!(said.contains(word), "{said:?} doesn't say {word:?}");
    }
    assert!(said.len() < 500, "an answer isn't as long as what it answers: {} bytes", said.len());
}

fn with_files<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> ExecutionSpec {
    ExecutionSpec {
        files: paths.into_iter().map(|path| SourceFile::new(path, "content")).collect(),
        ..spec()
    }
}

fn with_env(name: &str, value: &str) -> ExecutionSpec {
    ExecutionSpec { env: [(name.into(), value.into())].into(), ..spec() }
}

#[test]
fn a_spec_is_completed_with_the_canonical_language_and_every_limit() {
    let mut asked = ExecutionSpec::new("PY", "print(1)");
    asked.limits.memory_bytes = Some(1_000_000);
    let completed = complete(asked).unwrap();
    assert_eq!(completed.language, "python");
    let limits = Limits { memory_bytes: 1_000_000, ..Limits::RUN };
    assert_eq!(completed.limits, limits.into());
    assert_eq!(completed.compile_limits, Limits::COMPILE.into());
    assert_eq!(complete(completed.clone()).unwrap(), completed, "complete is complete");
}

#[test]
fn an_unknown_language_is_refused_with_the_known_ones() {
    refused(ExecutionSpec::new("cobol", "1"), &["'cobol'", "javascript", "python"]);
    refused(ExecutionSpec::new("", "1"), &["language", "python"]);
    refused(ExecutionSpec::new("x".repeat(1_000_000), "1"), &["language", "python"]);
}

#[test]
fn a_source_is_neither_empty_nor_longer_than_the_ceiling_in_characters() {
    for empty in ["", " ", "\n\t \r\n"] {
        refused(ExecutionSpec::new("python", empty), &["source_code", "empty"]);
    }
    let ceiling = Ceiling::default().source_chars;
    assert!(complete(ExecutionSpec::new("python", "é".repeat(ceiling))).is_ok());
    let long = "a".repeat(ceiling + 1);
    refused(ExecutionSpec::new("python", long), &["source_code", "65537", "65536"]);
    assert!(complete(ExecutionSpec::new("python", "a\0b")).is_ok(), "a file may have a NUL");
}

#[test]
fn a_limit_of_zero_is_refused_by_name() {
    let none = LimitRequest::default();
    for (limits, name) in [
        (LimitRequest { wall_time_ms: Some(0), ..none }, "wall_time_ms"),
        (LimitRequest { cpu_time_ms: Some(0), ..none }, "cpu_time_ms"),
        (LimitRequest { memory_bytes: Some(0), ..none }, "memory_bytes"),
        (LimitRequest { processes: Some(0), ..none }, "processes"),
        (LimitRequest { output_bytes: Some(0), ..none }, "output_bytes"),
        (LimitRequest { file_bytes: Some(0), ..none }, "file_bytes"),
        (LimitRequest { files: Some(0), ..none }, "files"),
        (LimitRequest { open_files: Some(0), ..none }, "open_files"),
        (LimitRequest { stack_bytes: Some(0), ..none }, "stack_bytes"),
        (LimitRequest { cpu_millis: Some(0), ..none }, "cpu_millis"),
    ] {
        refused(spec().limits(limits), &[&format!("limits.{name} is 0"), "at least 1"]);
        let compile = ExecutionSpec { compile_limits: limits, ..spec() };
        refused(compile, &[&format!("compile_limits.{name} is 0")]);
    }
}

#[test]
fn a_limit_above_the_ceiling_is_refused_by_name_with_the_ceiling() {
    for (ceiling, of_run) in [(Limits::RUN, true), (Limits::COMPILE, false)] {
        let top = LimitRequest::from(ceiling);
        let none = LimitRequest::default();
        let more = |value: Option<u64>| value.map(|value| value + 1);
        let more_of = |value: Option<u32>| value.map(|value| value + 1);
        for (limits, name, most) in [
            (LimitRequest { wall_time_ms: more(top.wall_time_ms), ..none }, "wall_time_ms", top.wall_time_ms),
            (LimitRequest { cpu_time_ms: more(top.cpu_time_ms), ..none }, "cpu_time_ms", top.cpu_time_ms),
            (LimitRequest { memory_bytes: more(top.memory_bytes), ..none }, "memory_bytes", top.memory_bytes),
            (
                LimitRequest { processes: more_of(top.processes), ..none },
                "processes",
                top.processes.map(u64::from),
            ),
            (LimitRequest { output_bytes: more(top.output_bytes), ..none }, "output_bytes", top.output_bytes),
            (LimitRequest { file_bytes: more(top.file_bytes), ..none }, "file_bytes", top.file_bytes),
            (LimitRequest { files: more_of(top.files), ..none }, "files", top.files.map(u64::from)),
            (
                LimitRequest { open_files: more_of(top.open_files), ..none },
                "open_files",
                top.open_files.map(u64::from),
            ),
            (LimitRequest { stack_bytes: more(top.stack_bytes), ..none }, "stack_bytes", top.stack_bytes),
            (
                LimitRequest { cpu_millis: more_of(top.cpu_millis), ..none },
                "cpu_millis",
                top.cpu_millis.map(u64::from),
            ),
            (LimitRequest { wall_time_ms: Some(u64::MAX), ..none }, "wall_time_ms", top.wall_time_ms),
            (LimitRequest { memory_bytes: Some(u64::MAX), ..none }, "memory_bytes", top.memory_bytes),
        ] {
            let most = format!("at most {} is", most.unwrap());
            if of_run {
                refused(spec().limits(limits), &[&format!("limits.{name} is"), &most]);
            } else {
                let compile = ExecutionSpec { compile_limits: limits, ..spec() };
                refused(compile, &[&format!("compile_limits.{name} is"), &most]);
            }
        }
        let at_the_top =
            if of_run { spec().limits(top) } else { ExecutionSpec { compile_limits: top, ..spec() } };
        assert!(complete(at_the_top).is_ok(), "the ceiling itself is accepted");
    }
}

#[test]
fn the_least_limits_are_accepted() {
    let least = LimitRequest {
        wall_time_ms: Some(1),
        cpu_time_ms: Some(1),
        memory_bytes: Some(1),
        processes: Some(1),
        output_bytes: Some(1),
        // The program's own file has a page.
        file_bytes: Some(4096),
        files: Some(1),
        open_files: Some(1),
        stack_bytes: Some(1),
        cpu_millis: Some(1),
    };
    assert_eq!(complete(spec().limits(least)).unwrap().limits, least);
    let limits = least.resolve(&Limits::RUN, "limits").unwrap();
    assert_eq!(limits.wall_time, Duration::from_millis(1));
}

#[test]
fn directories_are_files_and_a_compiler_needs_room_as_well() {
    let deep = vec![SourceFile::new("a/b/c", "x"), SourceFile::new("a/b/d", "x")];
    let with = |files, limits| ExecutionSpec { files, limits, ..spec() };
    let limits = |files| LimitRequest { files: Some(files), ..LimitRequest::default() };
    assert!(complete(with(deep.clone(), limits(5))).is_ok());
    refused(with(deep.clone(), limits(4)), &["are 5", "limits.files allows 4"]);
    let compiled = |compile_limits| ExecutionSpec {
        compile_limits,
        files: vec![SourceFile::new("a.h", vec![b' '; 9000])],
        ..ExecutionSpec::new("c", "int main() {}")
    };
    refused(compiled(limits(1)), &["compile_limits.files allows 1"]);
    let small = LimitRequest { file_bytes: Some(8192), ..LimitRequest::default() };
    refused(compiled(small), &["compile_limits.file_bytes allows 8192"]);
}

#[test]
fn a_program_whose_own_files_do_not_fit_is_refused() {
    let small = LimitRequest { file_bytes: Some(8192), ..LimitRequest::default() };
    let with = |bytes: usize| ExecutionSpec {
        files: vec![SourceFile::new("data", vec![0; bytes])],
        ..spec().limits(small)
    };
    assert!(complete(with(4096)).is_ok());
    let error = complete(with(4097)).unwrap_err().to_string();
    assert!(error.contains("limits.file_bytes"), "{error}");
}

#[test]
fn a_path_that_is_not_plainly_relative_is_refused() {
    for path in ["/etc/passwd", "/", "a//b", "a/", "./a", "a/./b", "..", "../a", "a/../b", "a/..", "."] {
        refused(with_files([path]), &[&format!("{path:?}"), "relative and plain"]);
    }
    for path in ["a\\b", "a\0b", "a\nb", "\u{7f}", "\u{85}"] {
        refused(with_files([path]), &[&format!("{path:?}"), "control character or a backslash"]);
    }
    refused(with_files([""]), &["\"\"", "empty"]);
    refused(with_files(["a".repeat(256)]), &["aaa", "255 bytes"]);
    refused(with_files(["é".repeat(1_000_000)]), &["ééé", "255 bytes"]);
    refused(with_files([iter::repeat_n("d", 17).collect::<Vec<_>>().join("/")]), &["\"d/d/", "16"]);
}

#[test]
fn plain_paths_are_accepted() {
    let deep = iter::repeat_n("d", 16).collect::<Vec<_>>().join("/");
    let longest = "a".repeat(SourceFile::MAX_PATH);
    for path in
        ["a", "a.b.c", "...", "..a", ".hidden", "a b", "é/漢.txt", "-rf", "~", "$HOME", &deep, &longest]
    {
        assert!(complete(with_files([path])).is_ok(), "{path}");
    }
    assert!(complete(with_files(["data/a", "data/b", "data/deep/c", "main.js"])).is_ok());
}

#[test]
fn a_path_is_there_once() {
    refused(with_files(["a", "b", "a"]), &["\"a\"", "twice"]);
    refused(with_files(["main.py"]), &["\"main.py\"", "twice"]);
    assert!(complete(with_files(["a", "A"])).is_ok(), "case tells paths apart");
}

#[test]
fn a_path_is_not_a_file_and_a_directory_at_once() {
    refused(with_files(["a", "a/b"]), &["\"a\"", "file and a directory"]);
    refused(with_files(["a/b/c", "a/b"]), &["\"a/b\"", "file and a directory"]);
    refused(with_files(["main.py/x"]), &["\"main.py\"", "file and a directory"]);
    assert!(complete(with_files(["a.d/b", "a", "a.d2"])).is_ok());
}

#[test]
fn files_are_few_and_all_together_not_too_large() {
    let paths = |count: usize| (0..count).map(|n| format!("f{n}"));
    assert!(complete(with_files(paths(ExecutionSpec::MAX_FILES))).is_ok());
    refused(with_files(paths(ExecutionSpec::MAX_FILES + 1)), &["files", "101", "100"]);

    let half = vec![0; ExecutionSpec::MAX_TOTAL_BYTES / 2];
    let rest = half[..half.len() - spec().source_code.len()].to_vec();
    let full = ExecutionSpec { files: vec![SourceFile::new("half", half)], ..spec() };
    assert!(complete(full.clone().stdin(rest.clone())).is_ok());
    let over = full.stdin([rest, vec![0]].concat());
    refused(over, &["16777217", "16777216", "source, files, stdin and tests"]);
}

#[test]
fn what_the_kernel_would_cut_short_is_refused() {
    let args = ExecutionSpec { args: vec!["fine".into(), "a\0b".into()], ..spec() };
    refused(args, &["args", "NUL"]);
    for name in ["", "A=B", "A\0", "="] {
        refused(with_env(name, "x"), &["env", &format!("{name:?}")]);
    }
    refused(with_env("NAME", "a\0b"), &["env", "\"NAME\"", "NUL"]);
    refused(with_env(&"=".repeat(1_000_000), ""), &["env", "==="]);
    assert!(complete(with_env("A.b-c é", "=\n")).is_ok());
}

#[test]
fn arguments_and_environment_are_bounded_as_the_kernel_counts_them() {
    let most = ExecutionSpec::MAX_ARGUMENT_BYTES;
    let with = |args: Vec<String>| ExecutionSpec { args, ..with_env("A", "b") };
    let left = most - "A=b\0".len();
    assert!(complete(with(vec!["x".repeat(left - 1)])).is_ok());
    refused(with(vec!["x".repeat(left)]), &["args and env", "65537", "65536"]);
    assert!(complete(with(vec![String::new(); left])).is_ok());
    refused(with(vec![String::new(); left + 1]), &["args and env", "65537", "65536"]);
}

#[test]
fn any_standard_input_is_accepted() {
    assert!(complete(spec().stdin(&b"\0\xff\xfe"[..])).is_ok());
}

#[test]
fn a_host_sets_its_own_ceiling_and_languages() {
    let mut languages = Languages::none();
    languages.add(Language::new("shell", "main.sh", ["sh", "main.sh"])).unwrap();
    let ceiling = Ceiling {
        run: Limits { wall_time: Duration::from_secs(60), ..Limits::RUN },
        source_chars: 3,
        ..Ceiling::default()
    };
    let completed = ExecutionSpec::new("shell", "ls").complete(&languages, &ceiling).unwrap();
    assert_eq!(completed.limits.wall_time_ms, Some(60_000));
    assert!(ExecutionSpec::new("shell", "ls -l").complete(&languages, &ceiling).is_err());
    assert!(spec().complete(&languages, &ceiling).is_err());
}

#[test]
fn a_spec_is_read_from_json_with_bytes_as_base64() {
    let json = r#"{"language": "python", "source_code": "1", "stdin": "AP8=",
        "files": [{"path": "a", "content": "/w=="}], "limits": {"processes": 3}, "unheard_of": 1}"#;
    let read: ExecutionSpec = serde_json::from_str(json).unwrap();
    assert_eq!(read.stdin, &b"\0\xff"[..]);
    assert!(!read.stdin_open, "an older version didn't write it");
    let open = serde_json::to_string(&read.clone().stdin_open()).unwrap();
    assert!(serde_json::from_str::<ExecutionSpec>(&open).unwrap().stdin_open);
    assert_eq!(read.files, [SourceFile::new("a", &b"\xff"[..])]);
    assert_eq!(read.limits.processes, Some(3));
    let written = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<ExecutionSpec>(&written).unwrap(), read);
    for limits in [r#"{"processes": -1}"#, r#"{"processes": 4294967296}"#, r#"{"memory_bytes": 1.5}"#] {
        assert!(serde_json::from_str::<LimitRequest>(limits).is_err(), "{limits}");
    }
    assert!(serde_json::from_str::<SourceFile>(r#"{"path": "a", "content": "%"}"#).is_err());
}

#[test]
fn test_cases_are_some_and_bring_their_own_input() {
    let graded = |count| spec().grading(Grading::new(vec![TestCase::new("1", "1"); count]));
    refused(graded(0), &["tests is empty"]);
    assert!(complete(graded(Grading::MAX_TESTS)).is_ok());
    refused(graded(Grading::MAX_TESTS + 1), &["tests has 101 cases", "at most 100"]);
    refused(graded(1).stdin("1"), &["stdin", "tests"]);
    refused(graded(1).stdin_open(), &["stdin_open", "tests"]);
}

#[test]
fn test_cases_count_with_all_that_is_sent() {
    let half = vec![b'x'; ExecutionSpec::MAX_TOTAL_BYTES / 2];
    let rest = half.len() - spec().source_code.len();
    let graded = |rest: usize| {
        spec().grading(Grading::new([TestCase::new(half.clone(), "1"), TestCase::new(vec![0; rest - 1], "")]))
    };
    assert!(complete(graded(rest)).is_ok());
    refused(graded(rest + 1), &["16777217", "16777216"]);
}

#[test]
fn an_answer_that_no_program_may_write_is_refused_by_its_case() {
    let limits = LimitRequest { output_bytes: Some(3), ..LimitRequest::default() };
    let expects = |text: &'static str| {
        spec().limits(limits).grading(Grading::new([TestCase::new("", ""), TestCase::new("", text)]))
    };
    assert!(complete(expects("123 \n")).is_ok());
    refused(expects("1234"), &["tests[1].expected_stdout has 4 bytes", "limits.output_bytes", "3"]);
}

#[test]
fn a_tolerance_is_a_number_of_at_least_zero() {
    let graded = |compare| spec().grading(Grading { compare, ..Grading::new([TestCase::new("", "")]) });
    assert!(complete(graded(Compare::Tolerance { absolute: 0.0, relative: 1e-6 })).is_ok());
    refused(graded(Compare::Tolerance { absolute: 0.0, relative: 0.0 }), &["compare.tolerance", "above 0"]);
    for bad in [-1e-9, f64::NAN, f64::INFINITY] {
        refused(
            graded(Compare::Tolerance { absolute: bad, relative: 0.0 }),
            &["compare.tolerance.absolute is"],
        );
        refused(
            graded(Compare::Tolerance { absolute: 0.0, relative: bad }),
            &["compare.tolerance.relative is"],
        );
    }
}

#[test]
fn a_trace_is_one_or_is_refused() {
    let traced = |request_id: Option<&str>, traceparent: Option<&str>| ExecutionSpec {
        trace: Trace {
            request_id: request_id.map(str::to_owned),
            traceparent: traceparent.map(str::to_owned),
        },
        ..spec()
    };
    let longest = "x".repeat(Trace::MAX_REQUEST_ID);
    for id in ["a", "~!\"\\{}", &longest] {
        assert_eq!(complete(traced(Some(id), None)).unwrap().trace.request_id.as_deref(), Some(id));
    }
    for id in ["", "two words", "line\nbreak", "é", "\u{7f}", &format!("{longest}x")] {
        refused(traced(Some(id), None), &["request id", "128"]);
    }
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(complete(traced(None, Some(parent))).unwrap().trace.traceparent.as_deref(), Some(parent));
    for parent in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b-011",
    ] {
        refused(traced(None, Some(parent)), &["traceparent", "00-TRACE-SPAN-FLAGS"]);
    }
}

#[test]
fn a_spec_of_an_older_version_has_no_test_cases() {
    let old = r#"{"language": "python", "source_code": "1", "limits": {}, "compile_limits": {}}"#;
    let read: ExecutionSpec = serde_json::from_str(old).unwrap();
    assert_eq!(read.grading, None);
    assert!(!serde_json::to_string(&read).unwrap().contains("grading"), "and older versions read ours");
    let least =
        r#"{"language": "python", "source_code": "1", "grading": {"tests": [{"expected_stdout": "MQ=="}]}}"#;
    let read: ExecutionSpec = serde_json::from_str(least).unwrap();
    assert_eq!(read.grading, Some(Grading::new([TestCase::new("", "1")])));
}

#[test]
fn a_spec_that_was_kept_before_there_were_traces_is_read_and_one_without_is_written_as_then() {
    let before = r#"{"language":"python","source_code":"print(1)","limits":{},"compile_limits":{}}"#;
    let read: ExecutionSpec = serde_json::from_str(before).unwrap();
    assert_eq!(read, spec());
    assert!(!serde_json::to_string(&read).unwrap().contains("trace"));
}

#[test]
fn a_callback_url_is_one_that_somebody_can_be_told_at() {
    let told = |url: &str| spec().callback_url(url);
    let longest = format!("https://example.org/{}", "x".repeat(ExecutionSpec::MAX_URL - 20));
    for url in ["http://a", "HTTPS://Example.org:8443/ended?token=a@b&c=%20", "http://[::1]/", &longest] {
        assert_eq!(complete(told(url)).unwrap().callback_url.as_deref(), Some(url));
    }
    for (url, reason) in [
        ("", "https://example.org/ended"),
        ("example.org/ended", "http or https"),
        ("ftp://example.org/", "http or https"),
        ("https:/example.org", "http or https"),
        ("https:///ended", "no host"),
        ("https://?x", "no host"),
        ("https://user@example.org/", "a user or a password"),
        ("https://user:hush@example.org", "a user or a password"),
        ("https://example.org\\@example.com/#", "a fragment"),
        ("https://example.org/#part", "leave out the '#'"),
        ("https://example.org/a b", "percent-encode"),
        ("https://example.org/\r\nx: y", "percent-encode"),
        ("https://ex\u{e4}mple.org/", "percent-encode"),
        (&format!("{longest}x"), "longer than 2048 bytes"),
    ] {
        refused(told(url), &["callback_url ", reason]);
    }
}
