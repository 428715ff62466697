//! Part `server`: hello through the example server, on SQLite.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::{
    Result,
    example::{self, Running},
    turns::{Entry, HELLO, bare, in_turns},
};

/// Nobody tells a client when the next sandbox is ready: long enough for it, outside of what is measured.
const REFILL: Duration = Duration::from_millis(60);

pub(crate) fn server(rounds: usize) -> Result<()> {
    println!("{HELLO} by POST /executions?wait_ms=10000, SQLite, one at a time");
    let Some(program) = example::program()? else {
        println!("  not measured, run it by cargo, which builds the server");
        return Ok(());
    };
    let mut servers = ["off", "single-use", "fork"].map(|way| Server::start(&program, way));
    let [off, single_use, fork] = &mut servers;
    let mut entries = vec![Entry::command("bare /usr/bin/python3 -c", 1, bare())];
    for (name, server) in
        [("server, cold", off), ("server, warm, single use", single_use), ("server, warm, fork", fork)]
    {
        let server = server.as_mut().map_err(|error| error.to_string())?;
        for _ in 0..2 {
            server.hello()?;
        }
        thread::sleep(10 * REFILL);
        let entry = Entry::new(name, 1, Box::new(|| server.hello())).settled_by(|| {
            thread::sleep(REFILL);
            Ok(())
        });
        entries.push(if name.ends_with("single use") { entry.bound(0.50) } else { entry });
    }
    in_turns(rounds, &mut entries)?;
    entries.iter().for_each(Entry::print);
    Ok(())
}

/// A server and one connection to it, which stays open.
struct Server {
    _running: Running,
    connection: BufReader<TcpStream>,
    request: String,
}

impl Server {
    fn start(program: &std::path::Path, way: &str) -> Result<Self> {
        let running = Running::start(program, &[("WARM", way), ("RUST_LOG", "error")])?;
        let address = &running.address;
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let body = format!("{{\"language\":\"python\",\"source_code\":{HELLO:?}}}");
        let request = format!(
            "POST /executions?wait_ms=10000 HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Ok(Self { _running: running, connection: BufReader::new(stream), request })
    }

    fn hello(&mut self) -> Result<()> {
        self.connection.get_mut().write_all(self.request.as_bytes())?;
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let before = head.len();
            if self.connection.read_line(&mut head)? == 0 {
                return Err("the server hung up".into());
            }
            if let Some((name, value)) = head[before..].split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body)?;
        let body = String::from_utf8(body)?;
        if body.contains("\"stdout\":\"hi\\n\"") { Ok(()) } else { Err(format!("{head}{body}").into()) }
    }
}
