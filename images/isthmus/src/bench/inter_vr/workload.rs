//! What is done over a connection: the side that drives and measures, and the side that serves it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::report::percentile;

use super::transport::Connection;

/// Room of a reader, for all subjects.
const READ_BUFFER: usize = 64 * 1024;

/// Bytes after which a writer looks at the clock: a look costs as much as a few small writes.
const BYTES_PER_LOOK: usize = 4096;

/// What to do over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// A message goes there and comes back; then the next one.
    PingPong {
        /// Its size.
        message_bytes: usize,
        /// Round trips that are measured; a tenth of them comes before, unmeasured.
        round_trips: usize,
        /// The measurement ends by then even with fewer.
        limit: Duration,
    },
    /// Messages follow one another in one direction, each in a write of its own.
    Stream {
        /// Their size.
        message_bytes: usize,
        /// How long.
        duration: Duration,
    },
}

/// What the driving side found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Measurement {
    /// Of [`Workload::PingPong`], in seconds.
    RoundTrips {
        /// The median.
        p50: f64,
        /// All but the slowest hundredth are no slower.
        p99: f64,
    },
    /// Of [`Workload::Stream`], from the first write until the receiver had everything.
    Rate {
        /// Messages of the workload's size.
        messages_per_second: f64,
    },
}

impl Workload {
    /// The side that measures.
    pub fn drive(self, connection: &mut dyn Connection) -> Result<Measurement> {
        match self {
            Self::PingPong { message_bytes, round_trips, limit } => {
                drive_ping_pong(connection, message_bytes, round_trips, limit)
            }
            Self::Stream { message_bytes, duration } => drive_stream(connection, message_bytes, duration),
        }
    }

    /// The other side.
    pub fn serve(self, connection: &mut dyn Connection) -> Result<()> {
        match self {
            Self::PingPong { message_bytes, .. } => serve_ping_pong(connection, message_bytes),
            Self::Stream { .. } => serve_stream(connection),
        }
    }
}

fn drive_ping_pong(
    connection: &mut dyn Connection,
    message_bytes: usize,
    round_trips: usize,
    limit: Duration,
) -> Result<Measurement> {
    let (message, mut answer) = (vec![0x5A; message_bytes], vec![0; message_bytes]);
    let mut round_trip = || -> Result<Instant> {
        connection.write_all(&message)?;
        connection.read_exact(&mut answer)?;
        Ok(Instant::now())
    };
    for _ in 0..round_trips / 10 {
        round_trip()?;
    }
    let mut seconds = Vec::with_capacity(round_trips);
    let start = Instant::now();
    let mut before = start;
    while seconds.len() < round_trips && before - start < limit {
        let after = round_trip()?;
        seconds.push((after - before).as_secs_f64());
        before = after;
    }
    ensure!(answer == message, "an echo of {message_bytes} bytes differs from what was sent");
    connection.finish_writing()?;
    let percentile = |percent| percentile(&seconds, percent).unwrap_or_default();
    Ok(Measurement::RoundTrips { p50: percentile(50), p99: percentile(99) })
}

fn serve_ping_pong(connection: &mut dyn Connection, message_bytes: usize) -> Result<()> {
    let mut message = vec![0; message_bytes];
    loop {
        let mut filled = 0;
        while let Some(rest) = message.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match connection.read(rest)? {
                0 if filled == 0 => return Ok(()),
                0 => anyhow::bail!("a message ended after {filled} of {message_bytes} bytes"),
                read => filled += read,
            }
        }
        connection.write_all(&message)?;
    }
}

fn drive_stream(connection: &mut dyn Connection, message_bytes: usize, duration: Duration) -> Result<Measurement> {
    let message = vec![0x5A; message_bytes];
    let per_look = (BYTES_PER_LOOK / message_bytes.max(1)).max(1);
    let mut sent = 0u64;
    let start = Instant::now();
    while start.elapsed() < duration {
        for _ in 0..per_look {
            connection.write_all(&message)?;
        }
        sent += per_look as u64;
    }
    connection.finish_writing()?;
    let mut received = [0; size_of::<u64>()];
    connection.read_exact(&mut received)?;
    let elapsed = start.elapsed();
    let (received, sent_bytes) = (u64::from_be_bytes(received), sent * message_bytes as u64);
    ensure!(received == sent_bytes, "{sent_bytes} bytes were sent, {received} arrived");
    Ok(Measurement::Rate { messages_per_second: sent as f64 / elapsed.as_secs_f64() })
}

/// Counts what comes and tells the number in the end.
fn serve_stream(connection: &mut dyn Connection) -> Result<()> {
    let mut buffer = vec![0; READ_BUFFER];
    let mut received = 0u64;
    loop {
        match connection.read(&mut buffer)? {
            0 => break,
            read => received += read as u64,
        }
    }
    connection.write_all(&received.to_be_bytes())?;
    connection.finish_writing()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    fn run(workload: Workload) -> Measurement {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || workload.serve(&mut theirs));
        let measurement = workload.drive(&mut ours).unwrap();
        drop(ours);
        server.join().unwrap().unwrap();
        measurement
    }

    #[test]
    fn round_trips_are_measured_until_their_number_or_time_is_reached() {
        for limit in [Duration::from_secs(20), Duration::from_micros(200)] {
            let found = run(Workload::PingPong { message_bytes: 64, round_trips: 200, limit });
            let Measurement::RoundTrips { p50, p99 } = found else { panic!("{found:?}") };
            assert!(0.0 < p50 && p50 <= p99 && p99 < 10.0, "{found:?}");
        }
    }

    #[test]
    fn a_stream_is_measured_whatever_its_messages() {
        for message_bytes in [64, 1024, 100_000] {
            let found = run(Workload::Stream { message_bytes, duration: Duration::from_millis(5) });
            assert!(
                matches!(found, Measurement::Rate { messages_per_second } if messages_per_second > 0.0),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_server_notices_a_message_that_is_cut_short() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0; 100]).unwrap();
        ours.finish_writing().unwrap();
        let workload = Workload::PingPong { message_bytes: 64, round_trips: 1, limit: Duration::ZERO };
        let error = workload.serve(&mut theirs).unwrap_err().to_string();
        assert!(error.contains("36 of 64"), "{error}");
    }
}
