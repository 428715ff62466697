//! The example server as it's now, built for release, and one that runs.
#![allow(dead_code, clippy::allow_attributes, reason = "each bench uses a part of it")]

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// None where this wasn't started by cargo, which builds it.
pub(crate) fn program() -> Result<Option<PathBuf>, Box<dyn Error>> {
    let Some(cargo) = env::var_os("CARGO") else {
        return Ok(None);
    };
    let built =
        Command::new(cargo).args(["build", "--quiet", "--release", "-p", "livecode-server"]).status()?;
    if !built.success() {
        return Err("livecode-server can't be built".into());
    }
    // target/release/deps/sandbox-…
    let own = env::current_exe()?;
    let directory = own.ancestors().nth(2).ok_or("this program is in no target directory")?;
    Ok(Some(directory.join("livecode-server")))
}

/// A server on a free port, in a directory of its own. Ends when it's dropped.
pub(crate) struct Running {
    process: Child,
    /// Where it listens, as `127.0.0.1:4711`.
    pub(crate) address: String,
    /// Its database.
    _directory: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(program: &Path, environment: &[(&str, &str)]) -> Result<Self, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let mut process = Command::new(program)
            .current_dir(directory.path())
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("LISTEN", "127.0.0.1:0")])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
        let address = line.trim().rsplit_once("//").ok_or("the server doesn't say where it listens")?.1;
        Ok(Self { process, address: address.trim_end_matches('/').into(), _directory: directory })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// One request, on a connection of its own, and the whole answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, Box<dyn Error>> {
        let mut stream = TcpStream::connect(&self.address)?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// What is posted makes something, of which this member is the name.
    pub(crate) fn make(&self, path: &str, body: &str, name: &str) -> Result<String, Box<dyn Error>> {
        let answer = self.ask("POST", path, body)?;
        let after = answer.split_once(&format!("\"{name}\":\"")).map(|(_, after)| after);
        let value = after.and_then(|after| after.split_once('"')).map(|(value, _)| value.to_owned());
        value.ok_or_else(|| format!("no {name} in {answer}").into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which what it was asked has told.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
