//! A UDP ping over a router's own sockets.
//!
//! ```text
//! isthmus run --vr blue -- target/debug/examples/udp_ping answer 7
//! isthmus run --vr red  -- target/debug/examples/udp_ping ask 10.0.0.1:7
//! ```

use std::error::Error;
use std::time::Duration;

use ipc::link::Link;
use sockets::blocking::Process;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let process = Process::new(Link::inherited()?)?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["answer", port] => answer(&process, port.parse()?),
        ["ask", address] => ask(&process, address),
        _ => Err("udp_ping answer PORT | ask ADDRESS:PORT".into()),
    }
}

fn answer(process: &Process, port: u16) -> Result<(), Box<dyn Error>> {
    let socket = process.udp(([0, 0, 0, 0], port).into())?;
    process.ready()?;
    println!("listening on {}", socket.local_addr()?);
    loop {
        let question = socket.receive()?;
        let payload = question.payload.clone();
        socket.send_message(question.answer(payload))?;
    }
}

fn ask(process: &Process, address: &str) -> Result<(), Box<dyn Error>> {
    let socket = process.udp(([0, 0, 0, 0], 0).into())?;
    socket.connect(address.parse()?)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)));
    for number in 1..=3 {
        socket.send(format!("ping {number}").as_bytes())?;
        let mut buffer = [0; 64];
        let answer = socket.recv_msg(&mut buffer)?;
        let interface = answer.interface.map(|name| name.to_string()).unwrap_or_default();
        println!("{} bytes from {}: ttl={} over {interface}", answer.length, answer.source, answer.ttl);
    }
    Ok(())
}
