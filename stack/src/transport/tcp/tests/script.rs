//! Scripts: one line an event, with its time in milliseconds. Sequence numbers are relative to each side's own SYN.
//!
//! ```text
//!   0    connect                       we open; `listen` instead: the next segment in is given to `accept`
//!   0    > S 0                         a segment of ours, at exactly this time
//!   10   < S. 0 ack 1 win 1000 mss 1460    a segment of the peer
//!   10   > P. 1..4 ack 1               flags as tcpdump writes them, then first..end of the payload
//! ```
//!
//! `win`, `mss`, `ws`, `sack`, `ecr` (the echoed timestamp) are compared where a line has them. Every segment of ours must be in the script: one that is not
//! fails the test with what was sent.

use std::collections::VecDeque;
use std::time::Duration;

use super::{PatternSink, PatternSource, pattern};
use crate::time::Time;
use crate::transport::tcp::{Config, Connection, KeepAlive, SegmentDrop, SegmentOut, Unreachability};
use crate::wire::tcp::{SeqNumber, TcpFlags, TcpRepr, TcpSegment};
use crate::wire::tcp_options::{SackBlock, Timestamps};

const ISS: SeqNumber = SeqNumber(u32::MAX - 1);
const IRS: SeqNumber = SeqNumber(5_000);

/// Plain options, so that scripts are short.
pub fn plain() -> Config {
    Config { timestamps: false, sack: false, window_scaling: false, receive_bytes: 10_000, ..Config::default() }
}

/// Runs a script; returns the connection as it stands at its end.
pub fn run(config: Config, script: &str) -> Connection {
    let mut player = Player {
        now: Time::ZERO,
        config,
        connection: None,
        source: PatternSource::default(),
        sink: PatternSink { capacity: config.receive_bytes, ..PatternSink::default() },
        sent: VecDeque::new(),
        last_drop: None,
    };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        player.play(line);
    }
    player.expect_silence("the end");
    player.connection.unwrap()
}

struct Player {
    now: Time,
    config: Config,
    connection: Option<Connection>,
    source: PatternSource,
    sink: PatternSink,
    sent: VecDeque<(Time, SegmentOut)>,
    last_drop: Option<SegmentDrop>,
}

impl Player {
    fn play(&mut self, line: &str) {
        let (time, action) = line.split_once(char::is_whitespace).expect("time and action");
        self.advance(Time::from_millis(time.parse().expect("milliseconds")));
        let action = action.trim();
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        if verb == ">" {
            return self.expect_segment(line, rest);
        }
        let looks = ["event", "state", "dropped", "delivered", "acknowledged", "end-of-file"];
        if !looks.contains(&verb) {
            self.expect_silence(line);
        }
        match verb {
            "connect" => self.connection = Some(Connection::connect(self.now, self.config, local(), remote(), ISS)),
            "listen" => {}
            "<" => self.receive(rest),
            "write" => self.source.written += rest.parse::<usize>().unwrap(),
            "finish" => self.source.finished = true,
            "read" => {
                self.sink.read += rest.parse::<usize>().unwrap();
                self.connection.as_mut().unwrap().handle_drained(self.now, &mut self.sink);
            }
            "close" => self.connection.as_mut().unwrap().close(),
            "orphan" => self.connection.as_mut().unwrap().orphan(self.now),
            "abort" => self.connection.as_mut().unwrap().abort(),
            "set" => self.set(rest),
            "mtu" => {
                let (mtu, seq) = rest.split_once(" seq ").unwrap();
                let quoted = ISS + seq.parse::<usize>().unwrap();
                self.connection.as_mut().unwrap().handle_path_mtu(mtu.parse().unwrap(), quoted);
            }
            "unreachable" => {
                let what = match rest.split_once(" seq ").unwrap() {
                    ("port", seq) => (Unreachability::Port, seq),
                    ("host", seq) => (Unreachability::Host, seq),
                    other => panic!("{other:?}"),
                };
                let quoted = ISS + what.1.parse::<usize>().unwrap();
                self.connection.as_mut().unwrap().handle_unreachable(what.0, quoted);
            }
            "event" => {
                let event = self.connection.as_mut().unwrap().poll_event();
                assert_eq!(event.map_or("none".to_owned(), |event| format!("{event:?}")), rest, "{line}");
            }
            "state" => assert_eq!(self.connection.as_ref().unwrap().state().to_string(), rest, "{line}"),
            "dropped" => assert_eq!(format!("{:?}", self.last_drop.unwrap()), rest, "{line}"),
            "delivered" => assert_eq!(self.sink.delivered.to_string(), rest, "{line}"),
            "acknowledged" => assert_eq!(self.source.acknowledged.to_string(), rest, "{line}"),
            "end-of-file" => assert!(self.sink.finished, "{line}"),
            "silence" => {}
            _ => panic!("unknown action: {line}"),
        }
        self.collect();
    }

    /// `nodelay`, `keepalive IDLE INTERVAL PROBES` or `user-timeout LIMIT`, times in milliseconds: the rest as configured.
    fn set(&mut self, option: &str) {
        let words: Vec<&str> = option.split(' ').collect();
        let milliseconds = |at: usize| Duration::from_millis(words[at].parse().unwrap());
        match words[0] {
            "nodelay" => self.config.nodelay = true,
            "user-timeout" => self.config.user_timeout = Some(milliseconds(1)),
            "keepalive" => {
                let (idle, interval, probes) = (milliseconds(1), milliseconds(2), words[3].parse().unwrap());
                self.config.keepalive = Some(KeepAlive { idle, interval, probes });
            }
            _ => panic!("unknown option: {option}"),
        }
        let Config { nodelay, user_timeout, keepalive, .. } = self.config;
        self.connection.as_mut().unwrap().set_options(self.now, nodelay, user_timeout, keepalive);
    }

    /// Lets every timer expire that is due until `to`, each at its own time.
    fn advance(&mut self, to: Time) {
        while let Some(connection) = &mut self.connection
            && let Some(at) = connection.poll_timeout().filter(|at| *at <= to)
        {
            self.now = self.now.max(at);
            connection.handle_timeout(self.now);
            self.collect();
        }
        assert!(self.now <= to, "the script's clock runs backwards");
        self.now = to;
    }

    fn collect(&mut self) {
        let mut payload = vec![0; 65_000];
        while let Some(connection) = &mut self.connection
            && let Some(out) = connection.poll_transmit(self.now, &self.source, &mut payload)
        {
            assert!(self.sent.len() < 1_000, "sends without end");
            if out.payload_bytes > 0 {
                let first = out.repr.sequence.bytes_past(ISS + 1);
                let right: Vec<u8> = (first..first + out.payload_bytes).map(pattern).collect();
                assert_eq!(payload[..out.payload_bytes], right, "payload of {out:?}");
            }
            self.sent.push_back((self.now, out));
        }
    }

    fn expect_silence(&mut self, before: &str) {
        let sent: Vec<String> = self.sent.drain(..).map(|(at, out)| describe(at, &out, "win mss ws sack")).collect();
        assert!(sent.is_empty(), "not in the script, before `{before}`: {sent:#?}");
    }

    fn expect_segment(&mut self, line: &str, expected: &str) {
        let Some((at, out)) = self.sent.pop_front() else { panic!("nothing was sent: {line}") };
        let wanted =
            format!("{} > {}", self.now.as_millis(), expected.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(describe(at, &out, expected), wanted, "full: {}", describe(at, &out, "win mss ws sack"));
    }

    fn receive(&mut self, text: &str) {
        let (repr, payload) = parse(text);
        let segment = TcpSegment { repr, payload: &payload };
        match &mut self.connection {
            None => {
                let accepted = Connection::accept(self.now, self.config, local(), remote(), &segment, ISS);
                self.connection = Some(accepted.expect("a SYN"));
            }
            Some(connection) => {
                let taken = connection.handle_segment(self.now, &segment, &mut self.source, &mut self.sink);
                self.last_drop = taken.err();
            }
        }
    }
}

pub fn local() -> std::net::SocketAddr {
    "10.0.0.1:40000".parse().unwrap()
}

pub fn remote() -> std::net::SocketAddr {
    "10.0.0.2:179".parse().unwrap()
}

/// Writes a segment of ours the way scripts do, with those of the optional words that stand in `like`.
fn describe(at: Time, out: &SegmentOut, like: &str) -> String {
    let repr = &out.repr;
    let first = repr.sequence.0.wrapping_sub(ISS.0);
    let mut text = format!("{} > {:?} {first}", at.as_millis(), repr.flags);
    if out.payload_bytes > 0 {
        text += &format!("..{}", first + out.payload_bytes as u32);
    }
    if repr.flags.contains(TcpFlags::ACK) && !repr.flags.contains(TcpFlags::RST) {
        text += &format!(" ack {}", repr.acknowledgment.0.wrapping_sub(IRS.0));
    }
    let wants = |word: &str| like.split_whitespace().any(|other| other == word);
    if wants("win") {
        text += &format!(" win {}", repr.window);
    }
    if let Some(size) = repr.options.max_segment.filter(|_| wants("mss")) {
        text += &format!(" mss {size}");
    }
    if let Some(shift) = repr.options.window_scale.filter(|_| wants("ws")) {
        text += &format!(" ws {shift}");
    }
    for block in repr.options.sack.as_slice().iter().filter(|_| wants("sack")) {
        text += &format!(" sack {}..{}", block.start.0.wrapping_sub(IRS.0), block.end.0.wrapping_sub(IRS.0));
    }
    if let Some(timestamps) = repr.options.timestamps.filter(|_| wants("ecr")) {
        text += &format!(" ecr {}", timestamps.echo);
    }
    if let Some(size) = out.segment_bytes {
        text += &format!(" cut {size}");
    }
    text
}

/// Reads a segment of the peer.
pub fn parse(text: &str) -> (TcpRepr, Vec<u8>) {
    let mut words = text.split_whitespace();
    let (flags, range) = (words.next().unwrap(), words.next().unwrap());
    let (first, end) = range.split_once("..").unwrap_or((range, range));
    let (first, end): (usize, usize) = (first.parse().unwrap(), end.parse().unwrap());
    let mut repr = TcpRepr {
        source_port: remote().port(),
        destination_port: local().port(),
        sequence: IRS + first,
        flags: flags.chars().map(flag).fold(TcpFlags::NONE, |all, bit| all | bit),
        window: 10_000,
        ..TcpRepr::default()
    };
    while let (Some(word), Some(value)) = (words.next(), words.next()) {
        match word {
            "ack" => repr.acknowledgment = ISS + value.parse().unwrap(),
            "win" => repr.window = value.parse().unwrap(),
            "mss" => repr.options.max_segment = Some(value.parse().unwrap()),
            "ws" => repr.options.window_scale = Some(value.parse().unwrap()),
            "sackok" => repr.options.sack_permitted = value == "yes",
            "ts" => repr.options.timestamps = Some(Timestamps { value: value.parse().unwrap(), echo: 0 }),
            "sack" => {
                let (start, end) = value.split_once("..").unwrap();
                let block = SackBlock { start: ISS + start.parse().unwrap(), end: ISS + end.parse().unwrap() };
                assert!(repr.options.sack.push(block));
            }
            _ => panic!("unknown word {word} in {text}"),
        }
    }
    (repr, (first..end).map(|sequence| pattern(sequence - 1)).collect())
}

fn flag(letter: char) -> TcpFlags {
    match letter {
        'S' => TcpFlags::SYN,
        'F' => TcpFlags::FIN,
        'R' => TcpFlags::RST,
        'P' => TcpFlags::PSH,
        '.' => TcpFlags::ACK,
        _ => panic!("no flag {letter}"),
    }
}

#[test]
#[should_panic(expected = "not in the script")]
fn a_segment_that_is_not_in_the_script_fails_it() {
    run(plain(), "0 connect");
}

#[test]
#[should_panic(expected = "full: 0 > S 0 win 10000 mss 1460")]
fn a_segment_at_another_time_fails_the_script() {
    run(plain(), "0 connect\n 5 > S 0");
}

/// A minute, for scripts that wait.
pub const MINUTE: Duration = Duration::from_secs(60);
