//! Every language that comes with livecode, on the real sandbox and under the default limits: its template runs, a failure is
//! told as one, an endless loop is stopped, input is read; and what doesn't compile says why. A toolchain that isn't installed
//! fails its tests with the reason: `scripts/test` installs them.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use livecode_core::{ErrorType, ExecutionSpec, Languages, LimitRequest, Run, Runner, SourceFile};
use livecode_process::ProcessSandbox;

/// Programs in one language.
struct Programs {
    /// Says "boom" to its standard error and fails.
    fails: &'static str,
    loops: &'static str,
    /// Reads a line with two numbers and writes their sum.
    adds: &'static str,
}

fn runner() -> Runner {
    Runner::new(ProcessSandbox::builder().build().unwrap())
}

async fn run(spec: ExecutionSpec) -> Run {
    runner().run(&spec).await.unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn wrote(run: &Run, expected: &str) {
    assert!(run.outcome.is_success(), "{run:?}");
    assert_eq!(text(&run.captured.stdout), expected, "{run:?}");
    assert_eq!(text(&run.captured.stderr), "", "{run:?}");
}

async fn runs_its_template(language: &str) {
    let template = Languages::builtin().get(language).unwrap().template.clone();
    wrote(&run(ExecutionSpec::new(language, template)).await, "Hello World\n");
}

async fn tells_its_version(language: &str) {
    let languages = Languages::builtin();
    let version = runner().version(languages.get(language).unwrap()).await.unwrap();
    assert!(version.contains(|c: char| c.is_ascii_digit()), "{version}");
}

async fn fails(language: &str, program: &str) {
    let run = run(ExecutionSpec::new(language, program)).await;
    assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::RuntimeError), "{run:?}");
    assert!(text(&run.captured.stderr).contains("boom"), "{run:?}");
}

async fn times_out(language: &str, program: &str) {
    let limits = LimitRequest { wall_time_ms: Some(500), ..LimitRequest::default() };
    let run = run(ExecutionSpec::new(language, program).limits(limits)).await;
    assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::TimeoutError), "{run:?}");
}

async fn reads_its_input(language: &str, program: &str) {
    wrote(&run(ExecutionSpec::new(language, program).stdin("20 22\n")).await, "42\n");
}

/// `says` is the compiler's.
async fn does_not_compile(language: &str, program: &str, says: &str) {
    let run = run(ExecutionSpec::new(language, program)).await;
    assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::CompileError), "{run:?}");
    assert!(run.outcome.compile_output.as_ref().unwrap().contains(says), "{run:?}");
    assert_eq!(text(&run.captured.stdout), "", "{run:?}");
}

macro_rules! language {
    ($name:ident, $programs:expr $(, $broken:literal says $says:literal)?) => {
        mod $name {
            use super::*;

            const NAME: &str = stringify!($name);
            const PROGRAMS: Programs = $programs;

            #[tokio::test]
            async fn runs_its_template() {
                super::runs_its_template(NAME).await;
            }

            #[tokio::test]
            async fn tells_its_version() {
                super::tells_its_version(NAME).await;
            }

            #[tokio::test]
            async fn fails_with_a_runtime_error() {
                super::fails(NAME, PROGRAMS.fails).await;
            }

            #[tokio::test]
            async fn times_out_in_an_endless_loop() {
                super::times_out(NAME, PROGRAMS.loops).await;
            }

            #[tokio::test]
            async fn reads_its_input() {
                super::reads_its_input(NAME, PROGRAMS.adds).await;
            }

            $(#[tokio::test]
            async fn does_not_compile_and_says_why() {
                super::does_not_compile(NAME, $broken, $says).await;
            })?
        }
    };
}

language!(
    python,
    Programs {
        fails: "raise Exception('boom')",
        loops: "while True: pass",
        adds: "print(sum(map(int, input().split())))",
    }
);

language!(
    javascript,
    Programs {
        fails: "throw new Error('boom')",
        loops: "for (;;);",
        adds: "const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number); console.log(a + b)",
    }
);

language!(
    typescript,
    Programs {
        fails: "function f(): never { throw new Error('boom') }\nf();",
        loops: "let n: number = 0; for (;;) n++;",
        adds: r#"
            import { createInterface } from "readline";
            createInterface({ input: process.stdin }).on("line", (line: string) => {
                const [a, b]: number[] = line.split(" ").map(Number);
                console.log(a + b);
            });
        "#,
    },
    "const n: number = 'one'; console.log(n)" says "main.ts(1,7): error TS2322: Type 'string' is not assignable"
);

language!(
    java,
    Programs {
        fails: r#"class Main { public static void main(String[] a) { throw new RuntimeException("boom"); } }"#,
        loops: "class Main { public static void main(String[] a) { for (;;); } }",
        adds: "import java.util.Scanner; class Main { public static void main(String[] a) {
            Scanner in = new Scanner(System.in); System.out.println(in.nextInt() + in.nextInt()); } }",
    },
    "class Main { int n = true; }" says "incompatible types"
);

language!(
    c,
    Programs {
        fails: r#"#include <stdio.h>
            #include <stdlib.h>
            int main(void) { fputs("boom", stderr); abort(); }"#,
        loops: "int main(void) { for (volatile int i = 0;; i++); }",
        adds: r#"#include <stdio.h>
            int main(void) { int a, b; scanf("%d %d", &a, &b); printf("%d\n", a + b); }"#,
    },
    "int main(void) { return undeclared; }" says "main.c:1:25: error: ‘undeclared’ undeclared"
);

language!(
    cpp,
    Programs {
        fails: r#"#include <stdexcept>
            int main() { throw std::runtime_error("boom"); }"#,
        loops: "int main() { for (volatile int i = 0;; i = i + 1); }",
        adds: "#include <bits/stdc++.h>
            int main() { int a, b; std::cin >> a >> b; std::cout << std::array{a, b}[0] + b << std::endl; }",
    },
    "int main() { return undeclared; }" says "main.cpp:1:21: error: ‘undeclared’ was not declared"
);

language!(
    go,
    Programs {
        fails: r#"package main; func main() { panic("boom") }"#,
        loops: "package main; func main() { for {} }",
        adds: r#"package main
            import "fmt"
            func main() { var a, b int; fmt.Scan(&a, &b); fmt.Println(a + b) }"#,
    },
    "package main; func main() { return 2 }" says "main.go:1:36: too many return values"
);

language!(
    rust,
    Programs {
        fails: r#"fn main() { panic!("boom") }"#,
        loops: "fn main() { loop {} }",
        adds: r#"fn main() {
            let line = std::io::stdin().lines().next().unwrap().unwrap();
            println!("{}", line.split(' ').map(|n| n.parse::<i32>().unwrap()).sum::<i32>());
        }"#,
    },
    "fn main() { let n: i32 = true; }" says "error[E0308]: mismatched types"
);

language!(ruby, Programs { fails: "raise 'boom'", loops: "loop {}", adds: "puts gets.split.sum(&:to_i)" });

language!(
    php,
    Programs {
        fails: "<?php throw new Exception('boom');",
        loops: "<?php while (true);",
        adds: r#"<?php echo array_sum(explode(" ", fgets(STDIN))), "\n";"#,
    }
);

language!(
    perl,
    Programs {
        fails: "die 'boom'",
        loops: "1 while 1",
        adds: r#"my ($a, $b) = split ' ', <STDIN>; print $a + $b, "\n";"#,
    }
);

language!(
    bash,
    Programs {
        fails: "echo boom >&2; exit 3",
        loops: "while :; do :; done",
        adds: "read -r a b; echo $((a + b))",
    }
);

#[tokio::test]
async fn a_program_may_have_several_files() {
    for (language, entry, path, other) in [
        ("python", "from lib.two import two\nprint(two() + 40)", "lib/two.py", "def two(): return 2"),
        ("javascript", "console.log(require('./two') + 40)", "two.js", "module.exports = 2"),
        (
            "typescript",
            "import { two } from './two'; console.log(two + 40)",
            "two.ts",
            "export const two = 2",
        ),
        (
            "java",
            "class Main { public static void main(String[] a) { System.out.println(Two.two() + 40); } }",
            "Two.java",
            "class Two { static int two() { return 2; } }",
        ),
        (
            "c",
            "#include <stdio.h>\n#include \"two.h\"\nint main(void) { printf(\"%d\\n\", TWO + 40); }",
            "two.h",
            "#define TWO 2",
        ),
        (
            "go",
            "package main\nfunc main() { println2(two + 40) }",
            "two.go",
            "package main\nimport \"fmt\"\nconst two = 2\nfunc println2(n int) { fmt.Println(n) }",
        ),
        (
            "rust",
            "mod two; fn main() { println!(\"{}\", two::TWO + 40) }",
            "two.rs",
            "pub const TWO: i32 = 2;",
        ),
        ("ruby", "require_relative 'two'; puts TWO + 40", "two.rb", "TWO = 2"),
        ("php", "<?php require 'two.php'; echo TWO + 40, \"\\n\";", "two.php", "<?php const TWO = 2;"),
        ("bash", ". ./two.sh; echo $((two + 40))", "two.sh", "two=2"),
    ] {
        let mut spec = ExecutionSpec::new(language, entry);
        spec.files.push(SourceFile::new(path, other));
        wrote(&run(spec).await, "42\n");
    }
}

#[tokio::test]
async fn a_go_module_and_a_typescript_project_are_built_as_they_say() {
    let mut spec = ExecutionSpec::new("go", "package main\nimport \"mine/sub\"\nfunc main() { sub.Print() }");
    spec.files.push(SourceFile::new("go.mod", "module mine\ngo 1.18\n"));
    spec.files
        .push(SourceFile::new("sub/sub.go", "package sub\nimport \"fmt\"\nfunc Print() { fmt.Println(42) }"));
    wrote(&run(spec).await, "42\n");
    let mut spec = ExecutionSpec::new("typescript", "let nothing: string = null; console.log(42)");
    let project = r#"{"compilerOptions": {"strict": false, "noUnusedLocals": true}}"#;
    spec.files.push(SourceFile::new("tsconfig.json", project));
    wrote(&run(spec.clone()).await, "42\n");
    spec.source_code = "export {}; let unused: string = null;".into();
    let run = run(spec).await;
    let said = run.outcome.compile_output.as_ref().unwrap();
    assert!(said.contains("'unused' is declared but its value is never read"), "{run:?}");
}

#[tokio::test]
async fn java_says_that_its_heap_is_full() {
    let grows = "import java.util.*; class Main { public static void main(String[] a) {
        List<int[]> all = new ArrayList<>(); while (true) all.add(new int[10_000]); } }";
    for memory_bytes in [None, Some(96 * 1024 * 1024)] {
        let limits = LimitRequest { memory_bytes, ..LimitRequest::default() };
        let run = run(ExecutionSpec::new("java", grows).limits(limits)).await;
        assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::RuntimeError), "{run:?}");
        assert!(text(&run.captured.stderr).contains("java.lang.OutOfMemoryError"), "{run:?}");
    }
}

#[tokio::test]
async fn php_is_limited_by_the_sandbox_alone() {
    let grows = "<?php $all = []; while (true) $all[] = str_repeat('x', 1000);";
    let run = run(ExecutionSpec::new("php", grows)).await;
    assert_eq!(run.outcome.termination.error_type(), Some(ErrorType::MemoryLimitError), "{run:?}");
}

#[tokio::test]
async fn a_language_is_added_by_a_table_alone() {
    let mut languages = Languages::none();
    let tables = r#"
        [[language]]
        name = "sum"
        file_name = "numbers"
        run = ["sh", "-c", "echo $(($(tr '\n' + < numbers)0)) of $UNIT in {memory_bytes} bytes"]
        [language.env]
        UNIT = "apples"

        [[language]]
        name = "fortran-ish"
        aliases = ["c-with-lines"]
        file_name = "main.txt"
        compile = ["gcc", "-x", "c", "-include", "stdio.h", "-o", "program", "main.txt"]
        run = ["./program", "first"]
        version = ["gcc", "--version"]
    "#;
    languages.add_toml(tables).unwrap();
    let runner = runner().languages(languages.clone());
    let run = runner.run(&ExecutionSpec::new("sum", "1\n2\n3\n")).await.unwrap();
    wrote(&run, "6 of apples in 134217728 bytes\n");
    let mut spec =
        ExecutionSpec::new("c-with-lines", "int main(int n, char **a) { puts(a[1]); puts(a[2]); }");
    spec.args.push("second".into());
    wrote(&runner.run(&spec).await.unwrap(), "first\nsecond\n");
    runner.version(languages.get("fortran-ish").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_language_that_is_not_installed_is_refused_with_the_remedy() {
    let mut languages = Languages::none();
    let table =
        "[[language]]\nname = \"cobol\"\nfile_name = \"m\"\nrun = [\"cobc-x\"]\nversion = [\"cobc-x\"]\n";
    languages.add_toml(table).unwrap();
    let error = runner().version(languages.get("cobol").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), livecode_core::ErrorKind::Unsupported);
    assert!(error.to_string().contains("cobc-x is not installed"), "{error}");
    assert!(error.to_string().contains("install it"), "{error}");
}

/// As a version manager has it: a Python of its own, among other things of somebody's.
#[tokio::test]
async fn of_an_interpreter_outside_the_system_only_its_prefix_is_seen() {
    // Not beneath /tmp, which is the program's own.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = directory.path().canonicalize().unwrap();
    let prefix = root.join("versions/3");
    fs::create_dir_all(prefix.join("bin")).unwrap();
    fs::create_dir_all(prefix.join("lib")).unwrap();
    fs::write(root.join("secret"), "").unwrap();
    // By another process: what this one has open to write, and forks of other tests' inherit, can't be executed.
    let copied = Command::new("cp").arg("/usr/bin/python3").arg(prefix.join("bin/python3")).status().unwrap();
    assert!(copied.success());
    for entry in fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name().to_string_lossy().starts_with("python3") {
            symlink(entry.path(), prefix.join("lib").join(entry.file_name())).unwrap();
        }
    }
    symlink("versions/3/bin/python3", root.join("python")).unwrap();
    let mut languages = Languages::none();
    let table = format!(
        "[[language]]\nname = \"py\"\nfile_name = \"m.py\"\nrun = [\"{}/python\", \"m.py\"]",
        root.display()
    );
    languages.add_toml(&table).unwrap();
    let program = "
import os, shutil, sys
prefix = os.environ['EXPECTED']
assert sys.prefix == prefix, sys.prefix
root = os.path.dirname(os.path.dirname(prefix))
assert sorted(os.listdir(root)) == ['python', 'versions'], os.listdir(root)
assert os.listdir(os.path.dirname(root)) == [os.path.basename(root)], os.listdir(os.path.dirname(root))
assert shutil.which('python3') == prefix + '/bin/python3', shutil.which('python3')
for path in [prefix + '/new', root + '/new']:
    try:
        open(path, 'w')
        raise SystemExit(path + ' can be written')
    except OSError:
        pass
for path in ['/root', '/home', '/opt', '/var/lib']:
    assert not os.path.exists(path), path
print('only that')
";
    let mut spec = ExecutionSpec::new("py", program);
    spec.env.insert("EXPECTED".into(), prefix.to_str().unwrap().into());
    let run = runner().languages(languages).run(&spec).await.unwrap();
    wrote(&run, "only that\n");
}

#[tokio::test]
async fn an_interpreter_where_the_program_has_its_own_files_is_refused() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let path = directory.path().join("python3");
    fs::copy("/usr/bin/python3", &path).unwrap();
    let mut languages = Languages::none();
    let table = format!(
        "[[language]]\nname = \"py\"\nfile_name = \"m.py\"\nrun = [\"{}\", \"m.py\"]",
        path.display()
    );
    languages.add_toml(&table).unwrap();
    let error = runner().languages(languages).run(&ExecutionSpec::new("py", "print(1)")).await.unwrap_err();
    for part in [path.to_str().unwrap(), "beneath /tmp", "install it elsewhere"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
