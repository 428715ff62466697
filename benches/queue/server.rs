//! A Redis server of the bench's own.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use tempfile::TempDir;

use crate::Result;

#[derive(Clone, Copy)]
pub(crate) enum Persistence {
    Off,
    EverySecond,
}

impl Persistence {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "append-only file off",
            Self::EverySecond => "append-only file synced every second",
        }
    }

    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Off => &["--appendonly", "no"],
            Self::EverySecond => &["--appendonly", "yes", "--appendfsync", "everysec"],
        }
    }
}

/// Ends when it's dropped.
pub(crate) struct Server {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Server {
    pub(crate) fn start(persistence: Persistence) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
            .args(persistence.settings())
            .arg("--dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server doesn't start ({error}): have it in PATH"))?;
        let mut server = Self { process, port, _directory: directory };
        while server.ask(&["PING"]).is_err() {
            if let Some(status) = server.process.try_wait()? {
                return Err(format!("redis-server ended: {status}").into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn empty(&self) -> Result<()> {
        self.ask(&["FLUSHALL", "SYNC"]).map(drop)
    }

    /// In bytes.
    pub(crate) fn memory(&self) -> Result<f64> {
        self.info("memory", "used_memory")
    }

    /// What it has used of processors, in seconds.
    pub(crate) fn cpu(&self) -> Result<f64> {
        Ok(self.info("cpu", "used_cpu_user")? + self.info("cpu", "used_cpu_sys")?)
    }

    fn info(&self, section: &str, name: &str) -> Result<f64> {
        let text = self.ask(&["INFO", section])?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value.ok_or_else(|| format!("redis-server told no {name}: {text}"))?.trim().parse()?)
    }

    fn ask(&self, command: &[&str]) -> Result<String> {
        let output =
            Command::new("redis-cli").args(["-e", "-p", &self.port.to_string()]).args(command).output()?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            Err(format!("{command:?} failed: {output:?}").into())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to end.
        if self.process.kill().is_ok() {
            drop(self.process.wait());
        }
    }
}
