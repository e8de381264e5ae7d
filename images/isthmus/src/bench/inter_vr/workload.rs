//! What is done over a connection: the side that drives and measures, and the side that serves it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::bench::report::percentile;

use super::transport::{Connection, FILLING, Waiting};

/// Room of a reader, for all subjects.
const READ_BUFFER: usize = 64 * 1024;

/// Bytes after which a writer looks at the clock: a look costs as much as a few small writes.
const BYTES_PER_LOOK: usize = 4096;

/// Round trips between two looks at the clock, where the median is measured: a look takes 20 to 60 ns, up to a third of
/// the shortest round trip. What that is compared with, the line's round trip, has no look at the clock in it either.
const TRIPS_PER_LOOK: usize = 16;

/// What to do over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// A message goes there and comes back; then the next one.
    PingPong {
        /// Its size.
        message_bytes: usize,
        /// Round trips that are measured for each of the two percentiles; a tenth of them comes before, unmeasured.
        round_trips: usize,
        /// The measurement ends by then even with fewer.
        limit: Duration,
        /// How both sides wait for a message.
        waiting: Waiting,
    },
    /// Messages follow one another in one direction, each in a write of its own.
    Stream {
        /// Their size.
        message_bytes: usize,
        /// How long.
        duration: Duration,
    },
    /// Datagrams in one direction.
    Datagrams {
        /// Their size.
        message_bytes: usize,
        /// How long.
        duration: Duration,
    },
    /// Connections, one after the other: from the call until the first byte of the accepting side has arrived.
    Open {
        /// How many.
        connections: usize,
    },
}

/// What the driving side found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Measurement {
    /// Of [`Workload::PingPong`], in seconds.
    RoundTrips {
        /// The median of means of 16 trips each.
        p50: f64,
        /// All but the slowest hundredth are no slower, each measured by itself.
        p99: f64,
    },
    /// Of [`Workload::Stream`], from the first write until the receiver had everything.
    Rate {
        /// Messages of the workload's size.
        messages: u64,
        /// How long they took.
        seconds: f64,
    },
    /// Of [`Workload::Datagrams`]: how many were sent. The other side knows how many came.
    Sent(u64),
    /// Of [`Workload::Datagrams`]: so many came in a second.
    Datagrams(f64),
    /// Of [`Workload::Open`], in seconds.
    Opens {
        /// The median.
        p50: f64,
    },
}

impl Workload {
    /// How the sides wait for each other.
    pub fn waiting(self) -> Waiting {
        match self {
            Self::PingPong { waiting, .. } => waiting,
            Self::Stream { .. } | Self::Datagrams { .. } | Self::Open { .. } => Waiting::Spinning,
        }
    }

    /// The side that measures. `connect` connects once more with each call.
    pub fn drive(self, mut connect: impl FnMut() -> Result<Box<dyn Connection>>) -> Result<Measurement> {
        match self {
            Self::PingPong { message_bytes, round_trips, limit, .. } => {
                drive_ping_pong(&mut *connect()?, message_bytes, round_trips, limit)
            }
            Self::Stream { message_bytes, duration } => drive_stream(&mut *connect()?, message_bytes, duration),
            Self::Open { connections } => drive_opens(connect, connections),
            Self::Datagrams { .. } => bail!("datagrams have no connection"),
        }
    }

    /// The other side.
    pub fn serve(self, mut accept: impl FnMut() -> Result<Box<dyn Connection>>) -> Result<()> {
        match self {
            Self::PingPong { message_bytes, .. } => serve_ping_pong(&mut *accept()?, message_bytes),
            Self::Stream { .. } => serve_stream(&mut *accept()?),
            Self::Open { connections } => serve_opens(accept, connections),
            Self::Datagrams { .. } => bail!("datagrams have no connection"),
        }
    }
}

fn drive_ping_pong(
    connection: &mut dyn Connection,
    message_bytes: usize,
    round_trips: usize,
    limit: Duration,
) -> Result<Measurement> {
    let (message, mut answer) = (vec![FILLING; message_bytes], vec![0; message_bytes]);
    // Seconds a trip, each measured over `trips` of them.
    let mut measure = |count: usize, trips: usize| -> Result<Vec<f64>> {
        let mut seconds = Vec::with_capacity(count);
        let start = Instant::now();
        let mut before = start;
        while seconds.len() < count && before - start < limit / 2 {
            for _ in 0..trips {
                connection.write_all(&message)?;
                connection.read_exact(&mut answer)?;
            }
            let after = Instant::now();
            seconds.push((after - before).as_secs_f64() / trips as f64);
            before = after;
        }
        Ok(seconds)
    };
    measure(round_trips / 10, 1)?;
    let batches = measure(round_trips / TRIPS_PER_LOOK, TRIPS_PER_LOOK)?;
    let singles = measure(round_trips, 1)?;
    ensure!(answer == message, "an echo of {message_bytes} bytes differs from what was sent");
    connection.finish_writing()?;
    let p50 = percentile(&batches, 50).unwrap_or_default();
    Ok(Measurement::RoundTrips { p50, p99: percentile(&singles, 99).unwrap_or_default() })
}

fn serve_ping_pong(connection: &mut dyn Connection, message_bytes: usize) -> Result<()> {
    let mut message = vec![0; message_bytes];
    loop {
        let mut filled = 0;
        while let Some(rest) = message.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match connection.read(rest)? {
                0 if filled == 0 => return Ok(()),
                0 => bail!("a message ended after {filled} of {message_bytes} bytes"),
                read => filled += read,
            }
        }
        connection.write_all(&message)?;
    }
}

fn drive_stream(connection: &mut dyn Connection, message_bytes: usize, duration: Duration) -> Result<Measurement> {
    let message = vec![FILLING; message_bytes];
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
    Ok(Measurement::Rate { messages: sent, seconds: elapsed.as_secs_f64() })
}

fn drive_opens(mut connect: impl FnMut() -> Result<Box<dyn Connection>>, connections: usize) -> Result<Measurement> {
    let mut seconds = Vec::with_capacity(connections);
    for _ in 0..connections {
        let start = Instant::now();
        let mut connection = connect()?;
        connection.read_exact(&mut [0])?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(Measurement::Opens { p50: percentile(&seconds, 50).unwrap_or_default() })
}

fn serve_opens(mut accept: impl FnMut() -> Result<Box<dyn Connection>>, connections: usize) -> Result<()> {
    for _ in 0..connections {
        let mut connection = accept()?;
        connection.write_all(&[FILLING])?;
        // It is the peer who closes first, when it has its byte.
        ensure!(connection.read(&mut [0])? == 0, "more than the end of a connection that was only opened");
    }
    Ok(())
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
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread;

    use super::*;

    fn run(workload: Workload) -> Measurement {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || workload.serve(|| Ok(Box::new(listener.accept()?.0))));
        let measurement = workload.drive(|| Ok(Box::new(UnixStream::connect(&path)?))).unwrap();
        server.join().unwrap().unwrap();
        measurement
    }

    #[test]
    fn round_trips_are_measured_until_their_number_or_time_is_reached() {
        for limit in [Duration::from_secs(20), Duration::from_micros(200)] {
            let waiting = Waiting::Spinning;
            let found = run(Workload::PingPong { message_bytes: 64, round_trips: 200, limit, waiting });
            let Measurement::RoundTrips { p50, p99 } = found else { panic!("{found:?}") };
            assert!(0.0 < p50 && p50 < 10.0 && 0.0 < p99 && p99 < 10.0, "{found:?}");
        }
    }

    #[test]
    fn a_stream_is_measured_whatever_its_messages() {
        for message_bytes in [64, 1024, 100_000] {
            let found = run(Workload::Stream { message_bytes, duration: Duration::from_millis(5) });
            assert!(matches!(found, Measurement::Rate { messages: 1.., seconds } if seconds >= 0.005), "{found:?}");
        }
    }

    #[test]
    fn opens_are_measured_until_the_first_byte() {
        let found = run(Workload::Open { connections: 20 });
        assert!(matches!(found, Measurement::Opens { p50 } if p50 > 0.0), "{found:?}");
    }

    #[test]
    fn a_server_notices_a_message_that_is_cut_short() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0; 100]).unwrap();
        ours.finish_writing().unwrap();
        let error = serve_ping_pong(&mut theirs, 64).unwrap_err().to_string();
        assert!(error.contains("36 of 64"), "{error}");
    }
}
