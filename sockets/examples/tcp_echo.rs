//! A TCP echo over a router's own sockets.
//!
//! ```text
//! isthmus run --vr blue -- target/debug/examples/tcp_echo serve 7
//! isthmus run --vr red  -- target/debug/examples/tcp_echo ask 10.0.0.1:7 hello
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::time::Duration;

use ipc::link::Link;
use sockets::Shutdown;
use sockets::blocking::Process;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let process = Process::new(Link::inherited()?)?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", port] => serve(&process, port.parse()?),
        ["ask", address, text] => ask(&process, address, text),
        _ => Err("tcp_echo serve PORT | ask ADDRESS:PORT TEXT".into()),
    }
}

fn serve(process: &Process, port: u16) -> Result<(), Box<dyn Error>> {
    let listener = process.listen(([0, 0, 0, 0], port).into(), 16)?;
    process.ready()?;
    println!("listening on {}", listener.local_addr());
    for connection in listener.incoming() {
        let connection = connection?;
        let bytes = io::copy(&mut &connection, &mut &connection)?;
        println!("{} bytes of {}", bytes, connection.peer_addr());
    }
    Ok(())
}

fn ask(process: &Process, address: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let mut connection = process.connect(address.parse()?)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)));
    connection.write_all(text.as_bytes())?;
    connection.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    println!("{} answers {answer}", connection.peer_addr());
    Ok(())
}
