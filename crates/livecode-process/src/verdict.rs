//! From what the kernel counted to what became of the program.

use std::time::Duration;

use livecode_core::{Error, Outcome, Program, Result, Reuse, Step, Termination, Usage};

use crate::{
    protocol::{End, Report},
    streams::Brought,
};

/// What became of `program`.
///
/// # Errors
///
/// Our own failures: the sandbox failed, or a command isn't executable on this machine.
pub(crate) fn outcome(
    program: &Program,
    report: &Report,
    compile_output: Option<String>,
    (artifact, files): Brought,
    unprotected: &[String],
) -> Result<Outcome> {
    let compiling = program.compile.is_some() && report.step == 0;
    let step = match &program.compile {
        Some(compile) if compiling => compile,
        Some(_) | None => &program.run,
    };
    // One whose compile step was an earlier run's as well.
    let has_compiler = program.compile.is_some() || matches!(program.reuse, Reuse::Begin(_));
    let termination = match termination(step, report, has_compiler, unprotected.is_empty())? {
        ended @ (Termination::Exited { code: 0 } | Termination::Cancelled) => ended,
        ended if compiling => Termination::CompileFailed {
            message: ended.to_string().replacen("the program", "the compiler", 1),
        },
        ended => ended,
    };
    Ok(Outcome {
        usage: if compiling {
            Usage::default()
        } else {
            Usage {
                wall_time: Duration::from_nanos(report.wall_ns),
                cpu_time: Duration::from_nanos(report.cpu_ns),
                memory_peak_bytes: report.memory_peak_bytes,
            }
        },
        compile_output,
        unprotected: unprotected.to_vec(),
        files,
        artifact,
        ..Outcome::new(termination)
    })
}

fn termination(step: &Step, report: &Report, has_compiler: bool, counted: bool) -> Result<Termination> {
    let limits = &step.limits;
    // Of the resource limit: exact where a cgroup counts as well, else by the kernel's ticks. Where others run between these, a program
    // may be charged for a good part more than it's told of afterwards.
    let used_up = if counted {
        Duration::from_nanos(report.cpu_ns) >= limits.cpu_time
    } else {
        Duration::from_nanos(report.cpu_ns).saturating_mul(2) >= limits.cpu_time
    };
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
        End::Status(0) => Termination::Exited { code: 0 },
        End::Status(status) if status & 0x7F == 0 => {
            verdict(Termination::Exited { code: status >> 8 & 0xFF })
        }
        // A program may send itself such a signal, too.
        End::Status(status)
            if used_up && (status & 0x7F == libc::SIGXCPU || !counted && status & 0x7F == libc::SIGKILL) =>
        {
            Termination::CpuTimeExceeded { limit: limits.cpu_time }
        }
        End::Status(status) => verdict(Termination::Signaled { signal: status & 0x7F }),
        End::WallTime => Termination::WallTimeExceeded { limit: limits.wall_time },
        End::CpuTime => Termination::CpuTimeExceeded { limit: limits.cpu_time },
        End::Killed => Termination::Cancelled,
        End::NotStarted => {
            let command = step.command.first().map_or("", String::as_str);
            // What is in the work directory is the program's doing, not a lack of this machine's.
            let is_in_work_directory = command.contains('/') && !command.starts_with('/');
            if is_in_work_directory && has_compiler {
                let message =
                    format!("the compiler left no {command} that can be executed: {}", report.message);
                Termination::CompileFailed { message }
            } else if is_in_work_directory {
                // As a shell says it.
                Termination::Exited { code: 126 }
            } else {
                return Err(Error::unsupported(format!(
                    "{command} can't be executed here: {}",
                    report.message
                )));
            }
        }
        End::NoWorld => {
            return Err(Error::unavailable(format!("no run can begin now: {}", report.message)));
        }
        End::Failed => return Err(Error::internal(format!("the sandbox failed: {}", report.message))),
    })
}
