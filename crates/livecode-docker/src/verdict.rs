//! From what the runner counted to what became of the program.

use std::time::Duration;

use livecode_core::{CollectedFile, Error, Limits, Outcome, Program, Result, Step, Termination, Usage};

use crate::{
    container::LEAST_MEMORY,
    protocol::{End, Report},
};

/// What became of `program`.
///
/// # Errors
///
/// Our own failures: the runner failed, or the image doesn't have the command.
pub(crate) fn outcome(
    program: &Program,
    report: &Report,
    compile_output: Option<String>,
    files: Vec<CollectedFile>,
    unprotected: Vec<String>,
) -> Result<Outcome> {
    let compiling = program.compile.is_some() && report.step == 0;
    let step = match &program.compile {
        Some(compile) if compiling => compile,
        Some(_) | None => &program.run,
    };
    let termination = match termination(step, report, program.compile.is_some())? {
        ended @ (Termination::Exited { code: 0 } | Termination::Cancelled) => ended,
        ended if compiling => Termination::CompileFailed {
            message: ended.to_string().replacen("the program", "the compiler", 1),
        },
        ended => ended,
    };
    let usage = Usage {
        wall_time: Duration::from_nanos(report.wall_ns),
        cpu_time: Duration::from_nanos(report.cpu_ns),
        memory_peak_bytes: report.memory_peak_bytes,
    };
    Ok(Outcome {
        usage: if compiling { Usage::default() } else { usage },
        compile_output,
        unprotected,
        files,
        ..Outcome::new(termination)
    })
}

/// The limit was too low for anything to run in.
fn fits_nobody(limits: &Limits, report: &Report) -> bool {
    limits.memory_bytes < LEAST_MEMORY
        && report.memory_peak_bytes.is_none_or(|peak| peak > limits.memory_bytes)
}

fn termination(step: &Step, report: &Report, has_compiler: bool) -> Result<Termination> {
    let limits = &step.limits;
    // What the kernel counted only matters to a program that didn't get by with it.
    let verdict = |ended: Termination| {
        if report.oom_kills > 0 {
            Termination::MemoryExceeded { limit: limits.memory_bytes }
        } else if report.fork_failures > 0 {
            Termination::ProcessesExceeded { limit: limits.processes }
        } else if report.files_full {
            Termination::FilesExceeded { bytes: limits.file_bytes, files: limits.files }
        } else {
            ended
        }
    };
    Ok(match report.end {
        End::Exited(_) if fits_nobody(limits, report) => {
            Termination::MemoryExceeded { limit: limits.memory_bytes }
        }
        End::Exited(0) => Termination::Exited { code: 0 },
        End::Exited(code) => verdict(Termination::Exited { code }),
        End::Signaled(signal) => verdict(Termination::Signaled { signal }),
        End::WallTime => Termination::WallTimeExceeded { limit: limits.wall_time },
        End::CpuTime => Termination::CpuTimeExceeded { limit: limits.cpu_time },
        End::Killed => Termination::Cancelled,
        End::FilesFull => Termination::FilesExceeded { bytes: limits.file_bytes, files: limits.files },
        End::NotStarted => not_started(step, report, has_compiler)?,
        End::Failed => {
            return Err(Error::internal(format!("the container's runner failed: {}", report.message)));
        }
    })
}

fn not_started(step: &Step, report: &Report, has_compiler: bool) -> Result<Termination> {
    let command = step.command.first().map_or("", String::as_str);
    // What is in the work directory is the program's doing, not a lack of the image's.
    let is_in_work_directory = command.contains('/') && !command.starts_with('/');
    if !is_in_work_directory {
        return Err(Error::unsupported(format!(
            "{command} can't be executed in the image: {}: name an image that has it",
            report.message
        )));
    }
    Ok(if has_compiler {
        let message = format!("the compiler left no {command} that can be executed: {}", report.message);
        Termination::CompileFailed { message }
    } else {
        // As a shell says it.
        Termination::Exited { code: 126 }
    })
}
