//! Runs a file in the sandbox, streams its output as it comes, and exits with its status.
//!
//! It is also the page that shows how little a host needs: a sandbox, a [`Runner`], a channel for the output.

#![forbid(unsafe_code)]

use std::{
    fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use livecode::{
    ErrorType, ExecutionSpec, LimitRequest, Outcome, Output, Runner, Stdio,
    process::{Isolation, ProcessSandbox},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Runs a program in livecode's sandbox and exits with its status.
///
/// Other exit statuses: 124 for a time limit, 128 + n for signal n, 125 where it could not be run.
#[derive(Parser)]
struct Arguments {
    /// The program: a file, or `-` for standard input
    file: PathBuf,
    /// Its language; else by the file's extension, else python
    #[arg(long)]
    language: Option<String>,
    /// A file that it reads as standard input; else ours, unless the program came that way
    #[arg(long)]
    stdin: Option<PathBuf>,
    /// Wall time in seconds
    #[arg(long)]
    timeout: Option<f64>,
    /// Memory in MiB
    #[arg(long)]
    memory: Option<u64>,
    /// Collect the output and print one JSON object
    #[arg(long)]
    json: bool,
    /// Run even where no cgroup can be had
    #[arg(long)]
    best_effort: bool,
    /// The program's own arguments
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(outcome) => ExitCode::from(status(&outcome)),
        Err(error) => {
            eprintln!("livecode-runner: {error}");
            ExitCode::from(125)
        }
    }
}

async fn run(arguments: Arguments) -> Result<Outcome, Box<dyn std::error::Error>> {
    let isolation = if arguments.best_effort { Isolation::BestEffort } else { Isolation::Strict };
    let runner = Runner::new(ProcessSandbox::builder().isolation(isolation).build()?);
    let (sender, receiver) = mpsc::channel::<Output>(16);
    let cancel = CancellationToken::new();
    let spec = spec(&arguments)?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let outcome = {
        let running = runner.stream(&spec, sender, &cancel);
        // Takes the receiver along: where our own output is closed, the program goes on unheard and doesn't wait for us.
        let printing = async {
            let mut receiver = receiver;
            while let Some(Output { stdio, bytes }) = receiver.recv().await {
                match (stdio, arguments.json) {
                    (Stdio::Stdout, true) => stdout.extend_from_slice(&bytes),
                    (Stdio::Stderr, true) => stderr.extend_from_slice(&bytes),
                    (Stdio::Stdout, false) => print(&mut io::stdout(), &bytes)?,
                    (Stdio::Stderr, false) => print(&mut io::stderr(), &bytes)?,
                }
            }
            Ok::<_, io::Error>(())
        };
        let interrupted = async {
            tokio::signal::ctrl_c().await.ok();
            cancel.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            both = async { tokio::join!(running, printing) } => { both.1?; both.0? }
            () = interrupted => return Err("interrupted".into()),
        }
    };
    if arguments.json {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        println!(
            "{}",
            serde_json::json!({ "stdout": text(&stdout), "stderr": text(&stderr), "outcome": outcome })
        );
    } else if let Some(compiler) = outcome.compile_output.as_ref().filter(|_| !outcome.is_success()) {
        eprint!("{compiler}");
    }
    if !outcome.is_success() {
        eprintln!("livecode-runner: {}", outcome.termination);
    }
    Ok(outcome)
}

fn spec(arguments: &Arguments) -> io::Result<ExecutionSpec> {
    let from_stdin = arguments.file.as_os_str() == "-";
    let mut input = Vec::new();
    if from_stdin || arguments.stdin.is_none() {
        io::stdin().read_to_end(&mut input)?;
    }
    let source = if from_stdin { std::mem::take(&mut input) } else { fs::read(&arguments.file)? };
    let source = String::from_utf8(source).map_err(|_| io::Error::other("the program is not UTF-8"))?;
    let language =
        match (&arguments.language, arguments.file.extension().and_then(|extension| extension.to_str())) {
            (Some(language), _) => language,
            (None, Some(extension)) => extension,
            (None, None) => "python",
        };
    let mut spec = ExecutionSpec::new(language, source);
    spec.stdin = match &arguments.stdin {
        Some(file) => fs::read(file)?.into(),
        None => input.into(),
    };
    spec.args.clone_from(&arguments.arguments);
    Ok(spec.limits(LimitRequest {
        wall_time_ms: arguments.timeout.map(|seconds| (seconds * 1000.0) as u64),
        memory_bytes: arguments.memory.map(|mib| mib.saturating_mul(1024 * 1024)),
        ..LimitRequest::default()
    }))
}

fn print(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn status(outcome: &Outcome) -> u8 {
    let termination = &outcome.termination;
    match (termination.exit_code(), termination.signal(), termination.error_type()) {
        (Some(code), _, _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal), _) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        (None, None, Some(ErrorType::TimeoutError)) => 124,
        (None, None, _) => 1,
    }
}
