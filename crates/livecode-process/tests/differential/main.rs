//! A program can't tell a warm sandbox from a cold one but by the clock: a corpus of short programs, each about one thing that
//! might give it away, is run in every way, and everything that can be seen of a run is compared.
//!
//! What differs by nature (times, inodes, addresses but those that Python writes itself) the programs mask themselves.
//! `DIFFERENTIAL=text` in the environment chooses programs by a part of their name.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod corpus;
#[path = "../ordinary_user/mod.rs"]
mod ordinary_user;
mod ways;

use livecode_core::Languages;
use livecode_process::Warm;

use crate::ways::{Corpus, Inherent, compare};

/// What can't be helped. Next to nothing belongs here.
const INHERENT: &[Inherent] = &[
    Inherent {
        ways: &[Warm::SingleUse, Warm::Fork],
        programs: &[
            "python/files-libraries-loaded",
            "python/files-library-of-the-symbols",
            "python/proc-maps",
            "python/proc-status-libraries",
            "javascript/libraries",
            "java/files-and-descriptors",
        ],
        reason: "a library of ours is in its address space, for who looks through that",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::Fork],
        programs: &[
            "python/random-addresses",
            "python/random-auxiliary-bytes",
            "python/random-hash",
            "python/random-hash-order",
            "python/random-stack-and-libraries",
        ],
        reason: "what an interpreter draws when it begins is the same in all its copies, until it's replaced",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::Fork],
        programs: &["python/proc-stat-flags"],
        reason: "the kernel notes of a process that it hasn't executed anything since it was forked",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::Fork],
        programs: &["python/proc-auxiliary-vector"],
        reason: "what the kernel said to it when it was executed, as another user",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::Fork],
        programs: &["python/proc-mounts"],
        reason: "beneath its work directory is the one that it booted in, empty and read by nobody",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::Fork],
        programs: &["python/proc-others"],
        reason: "init's command line is as long as the interpreter's, of which init is a copy",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::SingleUse],
        programs: &["python/files-inodes"],
        reason: "files that are there while it boots take two numbers",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::SingleUse, Warm::Fork],
        programs: &[
            "python/del-attached-to-a-class-of-the-start",
            "python/del-attached-to-a-codec",
            "python/del-removes-a-module-of-the-start",
        ],
        reason: "the collector leaves alone what was there before the program, and what the program hangs on that",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::Fork],
        programs: &[
            "python/del-by-automatic-collection",
            "python/del-by-automatic-collections",
            "python/del-by-full-collection",
            "python/gc-callbacks",
            "python/gc-count-of-the-youngest",
            "python/gc-objects",
            "python/trace-at-exit",
        ],
        reason: "one that imports `random` or `threading` at its start has something to do in each copy",
        sometimes: true,
    },
    Inherent {
        ways: &[Warm::SingleUse],
        programs: &["javascript/module-list"],
        reason: "the module that `console` prints by is loaded before the program; after its first print the list is the same",
        sometimes: false,
    },
    Inherent {
        ways: &[Warm::SingleUse],
        programs: &["java/status"],
        reason: "it has a lower pid than the threads of the compiler, which ran after it had booted",
        sometimes: false,
    },
];

/// The machine's own Python: what comes first on the path may be another one.
fn machines_python() -> Languages {
    let mut languages = Languages::builtin();
    let table = "[[language]]\nname = \"python\"\nfile_name = \"main.py\"\n\
        run = [\"/usr/bin/python3\", \"-s\", \"-u\", \"-B\", \"main.py\"]";
    languages.add_toml(table).unwrap();
    languages
}

macro_rules! ways {
    ($($(#[$attribute:meta])* $name:ident: $directory:literal / $one_of:literal, $way:ident, $languages:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$attribute])*
        async fn $name() {
            let corpus = Corpus { directory: $directory, one_of: $one_of };
            compare(corpus, Warm::$way, $languages, INHERENT).await;
        }
    )*};
}

ways! {
    python_cannot_tell_that_it_was_booted_ahead: "python" / 3, SingleUse, machines_python();
    python_cannot_tell_that_it_was_forked: "python" / 3, Fork, machines_python();
    another_python_cannot_tell_that_it_was_booted_ahead: "python" / 3, SingleUse, Languages::builtin();
    another_python_cannot_tell_that_it_was_forked: "python" / 3, Fork, Languages::builtin();
    javascript_cannot_tell_that_it_was_booted_ahead: "javascript" / 1, SingleUse, Languages::builtin();
    typescript_cannot_tell_that_it_was_booted_ahead: "typescript" / 1, SingleUse, Languages::builtin();
    java_cannot_tell_that_it_was_booted_ahead: "java" / 1, SingleUse, Languages::builtin();
    ruby_cannot_tell_that_it_was_booted_ahead: "ruby" / 1, SingleUse, Languages::builtin();
    perl_cannot_tell_that_it_was_booted_ahead: "perl" / 1, SingleUse, Languages::builtin();
    php_cannot_tell_that_it_was_booted_ahead: "php" / 1, SingleUse, Languages::builtin();
    bash_cannot_tell_that_it_was_booted_ahead: "bash" / 1, SingleUse, Languages::builtin();
}

/// That the programs are of use at all: cold runs are no different from each other.
mod cold {
    use super::{Corpus, INHERENT, Languages, Warm, compare, machines_python};

    ways! {
        #[ignore = "for whoever adds a program"]
        python_says_the_same_each_time: "python" / 3, Off, machines_python();
        #[ignore = "for whoever adds a program"]
        another_python_says_the_same_each_time: "python" / 3, Off, Languages::builtin();
        #[ignore = "for whoever adds a program"]
        javascript_says_the_same_each_time: "javascript" / 1, Off, Languages::builtin();
        #[ignore = "for whoever adds a program"]
        typescript_says_the_same_each_time: "typescript" / 1, Off, Languages::builtin();
        #[ignore = "for whoever adds a program"]
        java_says_the_same_each_time: "java" / 1, Off, Languages::builtin();
        #[ignore = "for whoever adds a program"]
        ruby_says_the_same_each_time: "ruby" / 1, Off, Languages::builtin();
        #[ignore = "for whoever adds a program"]
        perl_says_the_same_each_time: "perl" / 1, Off, Languages::builtin();
        #[ignore = "for whoever adds a program"]
        php_says_the_same_each_time: "php" / 1, Off, Languages::builtin();
        #[ignore = "for whoever adds a program"]
        bash_says_the_same_each_time: "bash" / 1, Off, Languages::builtin();
    }
}

/// A fifth of all programs.
#[test]
fn no_program_of_an_ordinary_user_can_tell_either() {
    let _copy = ordinary_user::own_cgroup().is_none().then(corpus::for_another_user);
    ordinary_user::run_this_binary_again();
}

#[test]
fn the_corpus_is_large_enough() {
    for (language, least) in [("python", 200), ("javascript", 20), ("java", 20)] {
        let read = corpus::read(language);
        assert!(read.len() >= least, "{language}: {}", read.len());
    }
}
