//! Containers with everything that ours have from the engine, but for what is left out; their first process makes attempts.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock, Mutex},
};

use crate::attempt::IMAGE;

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layer {
    Capabilities,
    Network,
    NoNewPrivs,
    ReadOnly,
    Seccomp,
    User,
}

/// A program on each line, as hexadecimal digits; so is what comes of it.
const SERVER: &str = "
import subprocess, sys
for line in sys.stdin:
    made = subprocess.run([sys.executable, '-c', bytes.fromhex(line)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    print(made.stdout.hex(), flush=True)
";

/// Ends with this process, which is its standard input's end.
struct Plain(Child, BufReader<std::process::ChildStdout>);

type Shared = Arc<Mutex<Plain>>;
static ALL: LazyLock<Mutex<HashMap<Vec<Layer>, Shared>>> = LazyLock::new(Mutex::default);

impl Plain {
    fn start(left_out: &[Layer]) -> Self {
        let unless = |layer: Layer, options: &[&'static str]| {
            if left_out.contains(&layer) { Vec::new() } else { options.to_vec() }
        };
        let profile = concat!("seccomp=", env!("CARGO_MANIFEST_DIR"), "/src/seccomp.json");
        let seccomp = if left_out.contains(&Layer::Seccomp) { "seccomp=unconfined" } else { profile };
        let network = if left_out.contains(&Layer::Network) { "host" } else { "none" };
        let mut child = Command::new("docker")
            .args(["run", "--interactive", "--rm", "--log-driver=none", "--ipc=private", "--pids-limit=64"])
            .args(["--memory=256m", "--tmpfs=/tmp:rw,exec,nosuid,nodev,size=64m,mode=1777"])
            .args(["--security-opt", seccomp, "--network", network])
            .args(unless(Layer::User, &["--user=61999:61999"]))
            .args(unless(Layer::ReadOnly, &["--read-only"]))
            .args(unless(Layer::Capabilities, &["--cap-drop=ALL"]))
            .args(unless(Layer::NoNewPrivs, &["--security-opt=no-new-privileges"]))
            .args([&IMAGE, "python3", "-c", SERVER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker is needed");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output)
    }
}

/// What a program says there.
pub(crate) fn run(left_out: &[Layer], program: &str) -> String {
    let container = ALL
        .lock()
        .unwrap()
        .entry(left_out.to_vec())
        .or_insert_with(|| Arc::new(Mutex::new(Plain::start(left_out))))
        .clone();
    let mut container = container.lock().unwrap();
    let digits: String = program.bytes().map(|byte| format!("{byte:02x}")).collect();
    writeln!(container.0.stdin.as_mut().unwrap(), "{digits}").unwrap();
    let mut line = String::new();
    container.1.read_line(&mut line).unwrap();
    let digit = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..line.trim_end().len()).step_by(2).map(digit).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
