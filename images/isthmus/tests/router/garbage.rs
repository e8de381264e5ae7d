//! What a neighbor outside can send that is no BGP: it is told so, the log says it, and nobody else notices.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::lab::{Lab, NEIGHBOR, NEIGHBOR_OUTSIDE};
use crate::namespace::can_run;
use crate::support::{matching, wait_until};

/// RFC 4271 section 4.1.
const HEADER_BYTES: usize = 19;
const OPEN: u8 = 1;
const NOTIFICATION: u8 = 3;

#[test]
fn a_neighbor_that_sends_garbage_is_told_so_and_the_log_says_it() {
    if !can_run("a_neighbor_that_sends_garbage_is_told_so_and_the_log_says_it", &[]) {
        return;
    }
    let lab = Lab::up("garbage", NEIGHBOR_OUTSIDE);
    let router = &lab.router;
    let up_for = |rows: &[serde_json::Value]| rows.first().and_then(|row| row["up_for"].as_f64());
    let between_vrs = [("vr", "red"), ("neighbor", "10.0.0.1"), ("state", "Established")];
    router.wait_for_row("show bgp summary", &between_vrs);
    let before = up_for(&router.rows("show bgp summary", &between_vrs));

    // A marker that is none; a length that cannot be; a type that there is not (RFC 4271 section 6.1).
    let mut too_short = [0xff; HEADER_BYTES];
    too_short[16..].copy_from_slice(&[0, 18, 1]);
    let mut unknown_type = [0xff; HEADER_BYTES];
    unknown_type[16..].copy_from_slice(&[0, 19, 77]);
    let cases: [(&[u8], &[u8], &str); 3] = [
        (&[0x5a; 64], &[1, 1], "Connection Not Synchronized"),
        (&too_short, &[1, 2, 0, 18], "Bad Message Length"),
        (&unknown_type, &[1, 3, 77], "Bad Message Type"),
    ];
    for (garbage, notification, name) in cases {
        let answer = lab.answer_to(garbage);
        assert_eq!(answer.len(), 2, "an OPEN and a NOTIFICATION: {answer:?}");
        assert_eq!((answer[0].0, answer[1].0), (OPEN, NOTIFICATION), "{answer:?}");
        assert_eq!(answer[1].1, notification, "{answer:?}");
        router.wait_for("show log", |log| {
            let of_bgp = matching(log, &[("vr", "red"), ("process", "bgp")]);
            of_bgp
                .iter()
                .filter_map(|line| line["text"].as_str())
                .any(|text| text.contains(NEIGHBOR) && text.contains(name))
        });
    }
    let rows = router.rows("show bgp summary", &between_vrs);
    assert!(up_for(&rows) > before, "the session between the VRs stood still: {rows:?}");
    let processes = router.sh("show processes");
    assert_eq!(matching(&processes, &[("restarts", "0")]).len(), processes.as_array().unwrap().len(), "{processes}");
}

#[test]
fn a_stranger_is_not_spoken_to() {
    if !can_run("a_stranger_is_not_spoken_to", &[]) {
        return;
    }
    let lab = Lab::up("stranger", NEIGHBOR_OUTSIDE);
    lab.outside.ip("address add 10.1.0.3/24 dev eth0");
    lab.outside.ip("route add 10.1.0.1/32 dev eth0 src 10.1.0.3");
    let heard = lab.outside.within(|| {
        let mut heard = Vec::new();
        let mut stream = connect()?;
        stream.read_to_end(&mut heard).map(|_| heard)
    });
    assert!(heard.as_ref().is_err() || heard.as_ref().is_ok_and(|heard| is_refusal(heard)), "{heard:?}");
}

/// Nothing, or no more than a Cease (RFC 4486).
fn is_refusal(heard: &[u8]) -> bool {
    messages(heard).iter().all(|(kind, body)| *kind == NOTIFICATION && body.first() == Some(&6))
}

impl Lab {
    /// The messages that red sends to who connects from the neighbor's address and says `garbage`.
    fn answer_to(&self, garbage: &[u8]) -> Vec<(u8, Vec<u8>)> {
        // A neighbor that failed is not listened to for a while: then the connection closes at once.
        let answer = self.outside.within(|| {
            wait_until(|| {
                let mut stream = connect().ok()?;
                stream.write_all(garbage).ok()?;
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).ok()?;
                let messages = messages(&heard);
                (!messages.is_empty() && messages[0].0 == OPEN).then_some(messages)
            })
        });
        answer.unwrap_or_else(|| panic!("red never answered\n{}", self.router.log()))
    }
}

fn connect() -> std::io::Result<TcpStream> {
    let red = SocketAddr::from(([10, 1, 0, 1], 179));
    let stream = TcpStream::connect_timeout(&red, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Type and body of each message.
fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) {
        assert_eq!(header[..16], [0xff; 16], "marker");
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let (body, after) = rest.split_at(length - HEADER_BYTES);
        found.push((header[18], body.to_vec()));
        bytes = after;
    }
    assert!(bytes.is_empty(), "the rest is no message: {bytes:?}");
    found
}
