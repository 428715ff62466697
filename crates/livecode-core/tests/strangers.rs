//! What strangers send, made up at random: nothing of it makes us panic, what is accepted keeps its rules, what is refused is
//! refused in few words. More than usual: `PROPTEST_CASES=100000`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use livecode_core::{
    Ceiling, Engine, Error, ErrorKind, ExecutionId, ExecutionSpec, Language, Languages, LimitRequest, Limits,
    MemoryQueue, MemoryStore, Owner, RunOptions, SessionId, SourceFile, State, Timestamp,
};
use proptest::{collection::vec, option, prelude::*, sample::Index};

/// Nobody is sent more than this because of what they sent.
const FEW_WORDS: usize = 1_000;

/// That it's the caller's fault, and said in few words.
fn is_refusal(error: &Error) -> bool {
    error.kind() == ErrorKind::InvalidArgument && error.message().len() < FEW_WORDS
}

/// Text with more of what means something than there would be by chance.
fn text() -> BoxedStrategy<String> {
    let piece = prop_oneof![
        "[a-z]{1,3}",
        Just(String::from("..")),
        // Capitals and others that aren't what they are in lower case.
        "[AĀǅİẞΣ]",
        "[./\\\\ =\"'\\[\\]{}\0\n\t]",
        "\\PC{1,3}",
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat()).boxed()
}

/// Of any length, up to beyond every bound.
fn lengthy() -> BoxedStrategy<String> {
    (text(), prop_oneof![4 => Just(1), 1 => 1..200_usize])
        .prop_map(|(text, times)| text.repeat(times))
        .boxed()
}

fn language() -> BoxedStrategy<Language> {
    let command = || vec(text(), 0..3);
    (text(), vec(text(), 0..3), text(), option::of(command()), command())
        .prop_map(|(name, aliases, file_name, compile, run)| Language {
            aliases,
            compile,
            ..Language::new(name, file_name, run)
        })
        .boxed()
}

/// The languages that come with livecode as an operator would write them, which is then damaged.
const LANGUAGES: &str = r#"
[[language]]
name = "c"
aliases = ["gcc", "c99"]
file_name = "main.c"
template = "int main(void) { return 0; }"
compile = ["gcc", "-O2", "-o", "main", "main.c"]
run = ["./main"]
version = ["gcc", "--version"]
env = { LANG = "C" }

[[language]]
name = "python"
file_name = "main.py"
run = ["python3", "main.py"]
"#;

fn limits() -> BoxedStrategy<LimitRequest> {
    let long = || option::of(prop_oneof![0..3_u64, 0..20_000_u64, any::<u64>()]).boxed();
    let short = || option::of(prop_oneof![0..3_u32, 0..2_000_u32, any::<u32>()]).boxed();
    ((long(), long(), long(), long(), long(), long()), (short(), short(), short(), short()))
        .prop_map(|((wall, cpu, memory, output, bytes, stack), (processes, files, open, millis))| {
            LimitRequest {
                wall_time_ms: wall,
                cpu_time_ms: cpu,
                memory_bytes: memory,
                processes,
                output_bytes: output,
                file_bytes: bytes,
                files,
                open_files: open,
                stack_bytes: stack,
                cpu_millis: millis,
            }
        })
        .boxed()
}

prop_compose! {
    fn spec()(
        source in lengthy(),
        paths in vec(text(), 0..5),
        content in vec(any::<u8>(), 0..50),
        stdin in vec(any::<u8>(), 0..50),
        args in vec(lengthy(), 0..3),
        env in vec((text(), text()), 0..3),
        limits in limits(),
        compile_limits in limits(),
        language in prop_oneof![Just(String::from("python")), Just(String::from("C")), text()],
        stdin_open: bool,
    ) -> ExecutionSpec {
        ExecutionSpec {
            files: paths.into_iter().map(|path| SourceFile::new(path, content.clone())).collect(),
            stdin: stdin.into(),
            stdin_open,
            args,
            env: env.into_iter().collect::<BTreeMap<_, _>>(),
            limits,
            compile_limits,
            ..ExecutionSpec::new(language, source)
        }
    }
}

proptest! {
    #[test]
    fn a_text_of_languages_is_read_or_refused(noise in text(), at: Index, cut in 0..12_usize) {
        let mut damaged: Vec<char> = LANGUAGES.chars().collect();
        let at = at.index(damaged.len());
        damaged.splice(at..(at + cut).min(LANGUAGES.len()), noise.chars());
        for text in [noise, damaged.into_iter().collect::<String>()] {
            let mut languages = Languages::builtin();
            match languages.add_toml(&text) {
                Ok(()) => prop_assert!(languages.iter().all(|language| languages.get(&language.name).is_ok())),
                Err(error) => prop_assert!(is_refusal(&error), "{error}"),
            }
        }
    }

    #[test]
    fn a_language_that_is_accepted_is_found_by_all_its_names(language in language()) {
        let mut languages = Languages::builtin();
        match languages.add(language.clone()) {
            Ok(()) => {
                for name in language.aliases.iter().chain([&language.name]) {
                    prop_assert_eq!(&**languages.get(name).unwrap(), &language, "{}", name);
                }
                prop_assert!(Path::new(&language.file_name).components().eq([Component::Normal(language.file_name.as_ref())]));
            }
            Err(error) => prop_assert!(is_refusal(&error), "{error}"),
        }
    }

    #[test]
    fn files_that_are_accepted_can_stand_beside_each_other_and_nowhere_else(paths in vec(text(), 0..6)) {
        let files: Vec<_> = paths.iter().map(|path| SourceFile::new(path.clone(), "")).collect();
        match SourceFile::check_all(&files, "main.py") {
            Ok(()) => {
                let (mut taken, mut directories) = (BTreeSet::new(), BTreeSet::new());
                for path in paths.iter().map(Path::new).chain([Path::new("main.py")]) {
                    prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
                    // As it's written, or a file system would have it twice.
                    let plain: PathBuf = path.components().collect();
                    prop_assert_eq!(plain.as_os_str(), path.as_os_str());
                    prop_assert!(taken.insert(path), "{path:?} is there twice");
                    directories.extend(path.ancestors().skip(1));
                }
                prop_assert!(taken.is_disjoint(&directories), "a file is a directory");
            }
            Err(error) => prop_assert!(is_refusal(&error), "{error}"),
        }
    }

    #[test]
    fn limits_that_are_accepted_are_within_the_ceiling(limits in limits()) {
        let top = LimitRequest::from(Limits::RUN);
        let clamped = limits.clamp(&Limits::RUN);
        prop_assert_eq!(LimitRequest::from(clamped).clamp(&Limits::RUN), clamped);
        match limits.resolve(&Limits::RUN, "limits") {
            Ok(resolved) => {
                prop_assert_eq!(resolved, clamped, "nothing had to be lowered");
                prop_assert_eq!(limits.or(&top), resolved.into());
                prop_assert_eq!(LimitRequest::from(resolved).resolve(&Limits::RUN, "limits").unwrap(), resolved);
            }
            Err(error) => prop_assert!(is_refusal(&error), "{error}"),
        }
    }

    #[test]
    fn a_program_that_is_accepted_is_complete_and_can_be_kept(spec in spec()) {
        let (languages, ceiling) = (Languages::builtin(), Ceiling::default());
        let kept: ExecutionSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        prop_assert_eq!(&kept, &spec);
        match spec.complete(&languages, &ceiling) {
            Ok(complete) => {
                prop_assert_eq!(complete.clone().complete(&languages, &ceiling).unwrap(), complete.clone());
                let bytes = complete.args.iter().map(String::len).sum::<usize>();
                prop_assert!(bytes <= ExecutionSpec::MAX_ARGUMENT_BYTES);
                let no_nul = |text: &String| !text.contains('\0');
                prop_assert!(complete.args.iter().chain(complete.env.keys()).chain(complete.env.values()).all(no_nul));
            }
            Err(error) => prop_assert!(is_refusal(&error), "{error}"),
        }
    }

    #[test]
    fn a_key_is_the_same_key_every_time_or_none(key in lengthy(), other in text()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let engine = Engine::new(Arc::new(MemoryStore::new()), Arc::new(MemoryQueue::new()));
        let run = |key: &str| {
            let options = RunOptions { idempotency_key: Some(key.into()), ..RunOptions::default() };
            runtime.block_on(engine.run(ExecutionSpec::new("python", "1"), options))
        };
        let may_be = (1..=255).contains(&key.len()) && !key.chars().any(char::is_control);
        match run(&key) {
            Ok(accepted) => {
                prop_assert!(may_be && accepted.new);
                let id = accepted.execution.id;
                prop_assert_eq!(run(&key).unwrap().execution.id, id);
                if let Ok(second) = run(&other) {
                    prop_assert_eq!(second.execution.id == id, other == key);
                }
            }
            Err(error) => prop_assert!(!may_be && is_refusal(&error), "{error}"),
        }
    }

    #[test]
    fn names_moments_and_states_are_read_or_refused(text in lengthy()) {
        let refusals = [
            text.parse::<ExecutionId>().map(drop),
            text.parse::<SessionId>().map(drop),
            text.parse::<Timestamp>().map(drop),
            text.parse::<State>().map(drop),
            Owner::new(text.clone()).map(drop),
        ];
        for error in refusals.into_iter().filter_map(Result::err) {
            prop_assert!(is_refusal(&error), "{error}");
        }
    }

    #[test]
    fn a_moment_is_read_as_it_was_written(millis in any::<i64>()) {
        if let Ok(at) = Timestamp::from_millis(millis) {
            prop_assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        }
    }
}
