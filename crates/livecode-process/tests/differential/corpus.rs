//! The programs: one file each, in a directory for each language. Its first lines may say what it's given; they begin with
//! the language's comment and `=`, and are no part of the program:
//!
//! | line | |
//! | --- | --- |
//! | `#= stdin: text` | its standard input |
//! | `#= stdin-repeat: 1000 text` | the same, so many times |
//! | `#= arg: text` | one argument more |
//! | `#= env: NAME=text` | one variable more |
//! | `#= limit: name=number` | one limit, by the name that it has in requests |
//! | `#= file: path text` | a file beside it |
//! | `#= collect: path` | brought back |
//! | `#= text: text` | the program itself, in place of what follows |
//! | `#= repeat: 1000 text` | appended to the program, so many times |
//! | `#= differs` | each run writes something else to its standard output |
//! | `#= any-temperature` | it may be given to a sandbox that isn't warm, as one with variables may |
//!
//! In a text `\n`, `\r`, `\t`, `\\`, `\xNN` (a byte) and `\u{N}` stand for what they stand for in Rust. A line `#== path`
//! further down begins a file beside it.

use std::{
    env, fs,
    iter::Peekable,
    os::unix::{fs::PermissionsExt, process::parent_id},
    path::Path,
    str::Chars,
};

use livecode_core::{ExecutionSpec, LimitRequest, SourceFile};
use tempfile::TempDir;

use crate::ordinary_user;

/// One program, and what it's given.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) spec: ExecutionSpec,
    pub(crate) collect: Vec<String>,
    pub(crate) differs: bool,
    pub(crate) any_temperature: bool,
}

/// All programs of that directory, in order. `DIFFERENTIAL` in the environment chooses those whose name contains it.
pub(crate) fn read(language: &str) -> Vec<Case> {
    let directory = match ordinary_user::own_cgroup() {
        Some(_) => Path::new("/tmp").join(name_of_copy(parent_id())),
        None => Path::new(HERE).to_owned(),
    };
    let directory = directory.join(language);
    let chosen = env::var("DIFFERENTIAL").unwrap_or_default();
    let mut cases: Vec<Case> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| name.contains(&chosen))
        .map(|(name, path)| parse(name, language, &fs::read_to_string(path).unwrap()))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/differential");

fn name_of_copy(of: u32) -> String {
    format!("livecode-differential-{of}")
}

/// A copy of all programs for an ordinary user whom we start, who may not get as far as to where these are.
pub(crate) fn for_another_user() -> TempDir {
    let mode = PermissionsExt::from_mode(0o755);
    let name = name_of_copy(std::process::id());
    let copy =
        tempfile::Builder::new().prefix(&name).rand_bytes(0).permissions(mode).tempdir_in("/tmp").unwrap();
    for language in fs::read_dir(HERE).unwrap().map(|entry| entry.unwrap()) {
        if language.file_type().unwrap().is_dir() {
            let to = copy.path().join(language.file_name());
            fs::create_dir(&to).unwrap();
            for program in fs::read_dir(language.path()).unwrap().map(|entry| entry.unwrap()) {
                fs::copy(program.path(), to.join(program.file_name())).unwrap();
            }
        }
    }
    copy
}

fn parse(name: String, language: &str, text: &str) -> Case {
    let mut case = Case {
        name,
        spec: ExecutionSpec::new(language, ""),
        collect: Vec::new(),
        differs: false,
        any_temperature: false,
    };
    let (mut stdin, mut appended) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some((line, after)) = rest.split_once('\n')
        && let Some(said) = line.strip_prefix("#= ").or(line.strip_prefix("//= "))
    {
        rest = after;
        let (what, value) = said.split_once(": ").unwrap_or((said.trim_end_matches(':'), ""));
        let pair = |by: char| value.split_once(by).unwrap_or((value, ""));
        let repeated = || {
            let (times, text) = pair(' ');
            unescaped(text).repeat(times.parse().unwrap())
        };
        match what {
            "stdin" => stdin = unescaped(value),
            "stdin-repeat" => stdin = repeated(),
            "arg" => case.spec.args.push(string(value)),
            "env" => {
                let (name, value) = pair('=');
                case.spec.env.insert(name.into(), string(value));
                case.any_temperature = true;
            }
            "limit" => {
                let (name, number) = pair('=');
                limit(&mut case.spec.limits, name, number.parse().unwrap());
            }
            "file" => {
                let (path, text) = pair(' ');
                case.spec.files.push(SourceFile::new(path, unescaped(text)));
            }
            "collect" => case.collect.push(value.into()),
            "text" => case.spec.source_code = string(value),
            "repeat" => appended += &String::from_utf8(repeated()).unwrap(),
            "differs" => case.differs = true,
            "any-temperature" => case.any_temperature = true,
            unknown => panic!("{}: {unknown} is not known", case.name),
        }
    }
    let mut parts = files(rest);
    let (_, program) = parts.remove(0);
    if case.spec.source_code.is_empty() {
        case.spec.source_code = program + &appended;
    }
    case.spec.files.extend(parts.into_iter().map(|(path, text)| SourceFile::new(path, text)));
    case.spec.stdin = stdin.into();
    case
}

/// The text up to the first line that begins a file, with no path; then each file.
fn files(text: &str) -> Vec<(String, String)> {
    let mut parts = vec![(String::new(), String::new())];
    for line in text.split_inclusive('\n') {
        match line.strip_prefix("#== ").or(line.strip_prefix("//== ")) {
            Some(path) => parts.push((path.trim_end().into(), String::new())),
            None => parts.last_mut().unwrap().1 += line,
        }
    }
    parts
}

fn limit(limits: &mut LimitRequest, name: &str, value: u64) {
    let narrow = Some(u32::try_from(value).unwrap_or(u32::MAX));
    let wide = Some(value);
    match name {
        "wall_time_ms" => limits.wall_time_ms = wide,
        "cpu_time_ms" => limits.cpu_time_ms = wide,
        "memory_bytes" => limits.memory_bytes = wide,
        "processes" => limits.processes = narrow,
        "output_bytes" => limits.output_bytes = wide,
        "file_bytes" => limits.file_bytes = wide,
        "files" => limits.files = narrow,
        "open_files" => limits.open_files = narrow,
        "stack_bytes" => limits.stack_bytes = wide,
        "cpu_millis" => limits.cpu_millis = narrow,
        unknown => panic!("{unknown} is no limit"),
    }
}

fn string(escaped: &str) -> String {
    String::from_utf8(unescaped(escaped)).unwrap()
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut chars) = (Vec::new(), text.chars().peekable());
    while let Some(char) = chars.next() {
        if char != '\\' {
            bytes.extend(char.to_string().bytes());
            continue;
        }
        match chars.next().unwrap() {
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            '\\' => bytes.push(b'\\'),
            'x' => bytes.push(u8::try_from(number(&mut chars, 2)).unwrap()),
            'u' => {
                assert_eq!(chars.next(), Some('{'));
                let code = number(&mut chars, 6);
                bytes.extend(char::from_u32(code).unwrap().to_string().bytes());
                assert_eq!(chars.next(), Some('}'));
            }
            other => panic!("\\{other} stands for nothing"),
        }
    }
    bytes
}

fn number(chars: &mut Peekable<Chars<'_>>, most: usize) -> u32 {
    let mut digits = String::new();
    while digits.len() < most
        && let Some(digit) = chars.next_if(char::is_ascii_hexdigit)
    {
        digits.push(digit);
    }
    u32::from_str_radix(&digits, 16).unwrap()
}

#[test]
fn a_case_says_what_it_is_given() {
    let case = parse(
        "x".into(),
        "python",
        "#= stdin: a\\n\\xff\n#= arg:\n#= env: A=b=c\n#= limit: processes=3\n#= differs\n1\n2\n#== p/q\n3\n#== r\n",
    );
    assert_eq!(&case.spec.stdin[..], b"a\n\xff");
    assert_eq!(case.spec.args, [""]);
    assert_eq!(case.spec.env["A"], "b=c");
    assert_eq!(case.spec.limits.processes, Some(3));
    assert!(case.differs && case.any_temperature);
    assert_eq!(case.spec.source_code, "1\n2\n");
    assert_eq!(case.spec.files, [SourceFile::new("p/q", "3\n"), SourceFile::new("r", "")]);
}
