//! The other process: this test's executable once more, told by its environment whom to play.

use std::env;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread;

use ipc::channel::{Channel, ChannelParts, Side};
use ipc::error::ChannelError;
use ipc::fd::{receive_with_fds, send_with_fds, seqpacket_pair, take_link_descriptor};
use ipc::memory::Memory;
use ipc::ring::CHANNEL_BYTES;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, ftruncate, write};

use crate::LONG;

const ROLE: &str = "ISTHMUS_TEST_ROLE";

/// Whom the other process plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Honest: sends back what it gets, on every channel.
    Echo,
    /// Honest, endless: writes [`pattern`] and reads whatever comes.
    Stream,
    /// The same in records.
    Records,
    /// Tells one lie on each channel: a word of the header, as its message says.
    Lie,
    /// Writes at random all over the memory, and rings.
    Scribble,
    /// Rings without end.
    Ring,
    /// Rings without end, while a flag comes and goes.
    RingAndFlicker,
    /// Tries to change the memory's size and seals, then takes its pages away.
    Resize,
}

const ROLES: [Role; 8] = [
    Role::Echo,
    Role::Stream,
    Role::Records,
    Role::Lie,
    Role::Scribble,
    Role::Ring,
    Role::RingAndFlicker,
    Role::Resize,
];

/// A running process with a socket to it; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    link: OwnedFd,
}

impl Process {
    pub fn start(role: Role) -> Self {
        let (link, theirs) = seqpacket_pair().unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "process::the_role_that_the_environment_names_is_played"])
            .env(ROLE, format!("{role:?}"))
            .stdin(theirs)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, link }
    }

    /// Opens a channel to it, with a message.
    pub fn open(&self, message: &[u8]) -> Channel {
        let (opener, listener) = ChannelParts::pair().unwrap();
        send_with_fds(self.link.as_fd(), message, &listener.as_fds()).unwrap();
        Channel::from_parts(opener).unwrap()
    }

    /// Waits until it has said something.
    pub fn answer(&self) -> Vec<u8> {
        let mut fds = [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(LONG).unwrap();
        assert_eq!(poll(&mut fds, timeout), Ok(1), "the other process hangs");
        let mut into = [0; 256];
        let length = receive_with_fds(self.link.as_fd(), &mut into).unwrap().length;
        into[..length].to_vec()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Returns once it stands still.
    pub fn stop(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        let status = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(status, WaitStatus::Stopped(self.pid(), Signal::SIGSTOP));
    }

    pub fn go_on(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The byte at a position of a stream that does not repeat within a window.
pub fn pattern(position: u64) -> u8 {
    (position ^ (position >> 8) ^ (position >> 16)) as u8
}

/// Record number `n`: its length and bytes follow from it.
pub fn record(n: u64) -> Vec<u8> {
    (n..n + n * 7919 % 3000).map(pattern).collect()
}

/// Random numbers (xorshift64).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// No test of its own: what the processes that the tests start run.
#[test]
fn the_role_that_the_environment_names_is_played() {
    let Ok(name) = env::var(ROLE) else { return };
    let role = ROLES.into_iter().find(|role| format!("{role:?}") == name).unwrap();
    let link = take_link_descriptor().unwrap();
    loop {
        let mut message = [0; 64];
        let received = receive_with_fds(link.as_fd(), &mut message).unwrap();
        if received.length == 0 {
            return;
        }
        let parts = ChannelParts::from_fds(received.fds, Side::Listener).unwrap();
        match role {
            Role::Echo => drop(thread::spawn(move || echo(Channel::from_parts(parts).unwrap()))),
            Role::Stream => pump(Channel::from_parts(parts).unwrap(), None),
            Role::Records => pump(Channel::from_parts(parts).unwrap(), Some(1)),
            Role::Lie => lie(&parts, &message, &link),
            Role::Scribble => scribble(&parts, u64::from(message[0])),
            Role::Ring => ring_for_ever(&parts, false),
            Role::RingAndFlicker => ring_for_ever(&parts, true),
            Role::Resize => resize(&parts, &link),
        }
    }
}

/// An end of its own for the honest part of an adversary.
fn honest_end(parts: &ChannelParts) -> Channel {
    let fds = parts.as_fds().map(|fd| fd.try_clone_to_owned().unwrap());
    Channel::from_parts(ChannelParts::from_fds(fds.into(), Side::Listener).unwrap()).unwrap()
}

fn map(parts: &ChannelParts) -> Memory {
    Memory::map(parts.memory.as_fd(), CHANNEL_BYTES).unwrap()
}

fn echo(mut channel: Channel) {
    let mut buffer = [0; 4096];
    loop {
        let Ok(read) = channel.read(&mut buffer) else { return };
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let Ok(written) = channel.write(rest) else { return };
            rest = &rest[written..];
            if written == 0 && channel.wait_writable(1, None).is_err() {
                return;
            }
        }
        if read == 0 && channel.wait_readable(None).is_err() {
            return;
        }
    }
}

/// Writes a stream, or records from a number on, until the other side is gone.
fn pump(mut channel: Channel, mut number: Option<u64>) {
    let mut position = 0;
    while pump_once(&mut channel, &mut position, number.as_mut()).is_ok() {}
}

fn pump_once(channel: &mut Channel, position: &mut u64, number: Option<&mut u64>) -> Result<(), ChannelError> {
    let full = match number {
        Some(number) => {
            let written = channel.write_record(&record(*number))?;
            *number += u64::from(written);
            !written
        }
        None => {
            let bytes: Vec<u8> = (*position..*position + 1 + *position % 5000).map(pattern).collect();
            let written = channel.write(&bytes)?;
            *position += written as u64;
            written == 0
        }
    };
    while channel.read(&mut [0; 4096])? > 0 {}
    if full && channel.arm_read()? && channel.arm_write_record(5000)? {
        channel.wait_bell(None)?;
    }
    Ok(())
}

/// The message holds offset and value of a word. Before, 100 bytes go each way.
fn lie(parts: &ChannelParts, message: &[u8; 64], link: &OwnedFd) {
    let mut honest = honest_end(parts);
    assert_eq!(honest.write(&[1; 100]).unwrap(), 100);
    assert!(honest.wait_readable(Some(LONG)).unwrap());
    assert_eq!(honest.consume(100).unwrap(), 100);
    let offset = u64::from_le_bytes(message[..8].try_into().unwrap());
    map(parts).copy_in(offset as usize, &message[8..16]);
    write(&parts.bell_out, &[1]).unwrap();
    send_with_fds(link.as_fd(), b"told", &[]).unwrap();
    // Holds its end until it is killed or told to tell another.
    let mut fds = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).unwrap();
}

fn scribble(parts: &ChannelParts, seed: u64) {
    let (memory, mut random) = (map(parts), Random::new(seed));
    loop {
        let value = match random.below(3) {
            0 => random.next(),
            1 => random.below(10_000),
            _ => random.below(10_000) << 3 | random.below(8),
        };
        match random.below(8) {
            0 => {
                let _ = write(&parts.bell_out, &[1]);
            }
            1 => memory.copy_in(random.below(CHANNEL_BYTES as u64 / 8 - 1) as usize * 8, &value.to_le_bytes()),
            2 => memory.copy_in(random.below(20_000) as usize, &[value as u8; 64]),
            _ => memory.copy_in(random.below(128) as usize * 8, &value.to_le_bytes()),
        }
    }
}

fn ring_for_ever(parts: &ChannelParts, flicker: bool) {
    /// Of ring 1, which this side writes.
    const FLAGS: usize = 512 + 272;
    let memory = map(parts);
    for round in 0.. {
        if flicker {
            memory.copy_in(FLAGS, &u64::to_le_bytes((round % 2) << 40));
        }
        match write(&parts.bell_out, &[1]) {
            Ok(_) | Err(Errno::EAGAIN) => {}
            Err(_) => return,
        }
    }
}

/// Answers with what each attempt was refused with.
fn resize(parts: &ChannelParts, link: &OwnedFd) {
    let size = CHANNEL_BYTES as i64;
    let attempts = [
        ftruncate(&parts.memory, 0),
        ftruncate(&parts.memory, size - 4096),
        ftruncate(&parts.memory, 2 * size),
        fallocate(&parts.memory, FallocateFlags::empty(), size, 4096),
        fcntl(&parts.memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).map(drop),
    ];
    let errors: Vec<u8> = attempts.iter().map(|attempt| attempt.err().map_or(0, |error| error as u8)).collect();
    let mut honest = honest_end(parts);
    assert_eq!(honest.write(&[1; 100]).unwrap(), 100);
    send_with_fds(link.as_fd(), &errors, &[]).unwrap();
    assert!(honest.wait_readable(Some(LONG)).unwrap());
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&parts.memory, punch, 0, size).unwrap();
    send_with_fds(link.as_fd(), b"punched", &[]).unwrap();
    let mut fds = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).unwrap();
}
