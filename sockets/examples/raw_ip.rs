//! Raw IP over a router's own sockets: who says what by an IP protocol, to this VR or to a group.
//!
//! ```text
//! isthmus run --vr blue -- target/debug/examples/raw_ip listen 253 224.0.0.5 red
//! isthmus run --vr red  -- target/debug/examples/raw_ip say 253 224.0.0.5 hello blue
//! ```

use std::error::Error;
use std::net::IpAddr;

use ipc::IpProtocol;
use ipc::link::Link;
use sockets::blocking::{Process, RawSocket};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [action, protocol, rest @ ..] = &arguments[..] else { return Err(USAGE.into()) };
    let protocol = IpProtocol::new(protocol.parse()?).ok_or("TCP and UDP have sockets of their own")?;
    let process = Process::new(Link::inherited()?)?;
    let socket = process.raw(protocol)?;
    match (*action, rest) {
        ("listen", memberships) => listen(&process, &socket, memberships),
        ("say", [to, text, interface @ ..]) => say(&socket, to.parse()?, text, interface.first().copied()),
        _ => Err(USAGE.into()),
    }
}

const USAGE: &str = "raw_ip listen PROTOCOL [GROUP INTERFACE]… | say PROTOCOL ADDRESS TEXT [INTERFACE]";

fn listen(process: &Process, socket: &RawSocket, memberships: &[&str]) -> Result<(), Box<dyn Error>> {
    for membership in memberships.chunks_exact(2) {
        socket.join_multicast(membership[0].parse()?, &membership[1].parse()?)?;
    }
    process.ready()?;
    println!("listening");
    loop {
        let said = socket.receive()?;
        let interface = said.interface.as_ref().map(|name| name.to_string()).unwrap_or_default();
        let (from, to) = (said.addresses.source.ip(), said.addresses.destination.ip());
        println!("{from} to {to} over {interface}, ttl={}: {}", said.ttl, String::from_utf8_lossy(&said.payload));
    }
}

fn say(socket: &RawSocket, to: IpAddr, text: &str, interface: Option<&str>) -> Result<(), Box<dyn Error>> {
    let mut message = socket.message(Some((to, 0).into()), text.as_bytes())?;
    message.interface = interface.map(str::parse).transpose()?;
    socket.send_message(message)?;
    Ok(())
}
