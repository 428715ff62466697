//! One attempt: a body of a function in Python that returns whether it worked, or raises `OSError` where it's refused.

use std::{process::Command, sync::LazyLock, time::Duration};

use livecode_core::{Ceiling, ExecutionSpec, LimitRequest, Limits, Run, Runner};
use livecode_docker::{Builder, DockerSandbox};
use rustix::io::Errno;
use tokio::runtime::Runtime;

use crate::plain::{self, Layer};

const PREAMBLE: &str = "
import ctypes, errno, fcntl, os, platform, resource, signal, socket, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def checked(result):
    if result == -1: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def call(x86_64, arm64, *arguments):
    number = x86_64 if platform.machine() == 'x86_64' else arm64
    wide = [ctypes.c_long(it) if isinstance(it, int) else it for it in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *wide))
def attempt():
";

const EPILOGUE: &str = "
try: worked = attempt()
except OSError as error: print('refused:', error.errno)
else: print('escaped' if worked else 'contained')
";

/// The sandbox belongs to it, whichever test comes first.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

const BASE: &str = "livecode-test/python";

/// That, with what a careless image may have: an interpreter that is root's and set-user-id, and one with a capability.
pub(crate) static IMAGE: LazyLock<String> = LazyLock::new(|| {
    let base = docker(&["image", "inspect", "--format={{.Id}}", BASE]);
    let image = format!("livecode-test/careless:{}", base.trim().trim_start_matches("sha256:"));
    if !docker(&["image", "ls", "--quiet", &image]).is_empty() {
        return image;
    }
    let name = format!("livecode-escapes-{}", std::process::id());
    let make = "
import os, shutil, struct, sys
for path in ('/usr/bin/set-user-id', '/usr/bin/capable'): shutil.copy(os.path.realpath(sys.executable), path)
os.chmod('/usr/bin/set-user-id', 0o4755)
os.setxattr('/usr/bin/capable', 'security.capability', struct.pack('<5I', 0x2000001, 1 << 10, 0, 0, 0))
";
    docker(&["run", "--name", &name, "--network=none", BASE, "python3", "-c", make]);
    docker(&["commit", &name, &image]);
    docker(&["rm", &name]);
    image
});

fn docker(arguments: &[&str]) -> String {
    let made = Command::new("docker").args(arguments).output().expect("docker is needed");
    assert!(made.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

/// Requests have the usual limits, where they ask for no others.
static SANDBOX: LazyLock<DockerSandbox> = LazyLock::new(|| {
    let builder = DockerSandbox::builder().group("livecode-escapes").image("python", &*IMAGE).waiting(2);
    RUNTIME.block_on(Builder::build(builder)).unwrap()
});

/// Generous, so that a busy machine ends no attempt before it has been made, and one limit can be met without another.
pub(crate) fn runner() -> Runner {
    let minute = Duration::from_secs(60);
    let run = Limits {
        wall_time: minute,
        cpu_time: minute,
        file_bytes: 1 << 30,
        open_files: 20_000,
        ..Limits::RUN
    };
    Runner::new(SANDBOX.clone()).ceiling(Ceiling { run, ..Ceiling::default() })
}

pub(crate) fn limited(set: impl FnOnce(&mut LimitRequest)) -> LimitRequest {
    let mut limits = LimitRequest::default();
    set(&mut limits);
    limits
}

/// The whole program.
pub(crate) fn program(body: &str) -> String {
    let indented: Vec<String> = body.trim_matches('\n').lines().map(|line| format!("    {line}")).collect();
    [PREAMBLE, &indented.join("\n"), EPILOGUE].concat()
}

/// Runs what isn't an attempt as it is.
pub(crate) fn run(spec: &ExecutionSpec) -> Run {
    RUNTIME.block_on(runner().run(spec)).unwrap()
}

pub(crate) fn python(body: &str) -> ExecutionSpec {
    ExecutionSpec::new("python", program(body))
}

/// What an attempt says in the sandbox.
pub(crate) fn said(body: &str) -> String {
    let run = run(&python(body));
    assert!(run.outcome.is_success(), "{run:?}");
    String::from_utf8_lossy(&run.captured.stdout).into_owned()
}

pub(crate) fn is_refused(body: &str, reason: Errno) {
    assert_eq!(said(body), format!("refused: {}\n", reason.raw_os_error()));
}

/// It isn't refused, and finds nothing.
pub(crate) fn is_in_vain(body: &str) {
    assert_eq!(said(body), "contained\n");
}

pub(crate) fn works_without(layers: &[Layer], body: &str) {
    assert_eq!(plain::run(layers, &program(body)), "escaped\n", "without {layers:?}");
}

/// Makes a test of each attempt that is refused for that reason, and works where the layers are left out.
macro_rules! attempts {
    ($($(#[$doc:meta])* $name:ident $errno:ident $(without [$($layer:ident),*])? $source:literal;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            $crate::attempt::is_refused($source, rustix::io::Errno::$errno);
            $($crate::attempt::works_without(&[$($crate::plain::Layer::$layer),*], $source);)?
        }
    )*};
}
pub(crate) use attempts;
