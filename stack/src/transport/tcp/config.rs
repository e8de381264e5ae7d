//! What a connection is told at its birth.

use std::time::Duration;

pub use stack_api::options::KeepAlive;

/// Settings of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The MSS that is announced, and the most that is sent: the interface's MTU without IP and TCP headers.
    pub max_segment: u16,
    /// The most bytes that the receive sink ever takes: it decides the window scale, and is the first window.
    pub receive_bytes: usize,
    /// Send small segments at once (`TCP_NODELAY`). Off: Nagle's algorithm, RFC 9293 section 3.7.4.
    pub nodelay: bool,
    /// Offer window scaling (RFC 7323).
    pub window_scaling: bool,
    /// Offer selective acknowledgment (RFC 2018).
    pub sack: bool,
    /// Offer timestamps (RFC 7323).
    pub timestamps: bool,
    /// Segments bear an MD5 signature (RFC 2385), which whoever sends them makes: room is left for it, and there is none
    /// for timestamps beside it, as on Linux.
    pub signed: bool,
    /// The most payload that one [`super::SegmentOut`] may have. Above the MSS, the caller cuts it into segments (GSO).
    pub gso_bytes: Option<usize>,
    /// How long an acknowledgment may wait for company (RFC 9293 section 3.8.6.3: below 500 ms; Linux: 40 ms).
    pub delayed_ack: Duration,
    /// Lower bound of the retransmission timeout. RFC 6298 says 1 s; Linux and all its peers live with 200 ms.
    pub minimum_rto: Duration,
    /// How long an open may take: Linux's six SYN retries.
    pub connect_timeout: Duration,
    /// How long data may stay unacknowledged, or unsent before a closed window (`TCP_USER_TIMEOUT`). `None`: as long as
    /// [`Config::patience`] says, and where the peer answers that its window is closed, for ever (RFC 9293 section 3.8.6.1).
    pub user_timeout: Option<Duration>,
    /// Twice the maximum segment lifetime: the length of TIME-WAIT, and of an orphan's FIN-WAIT-2, as on Linux.
    pub time_wait: Duration,
    /// Probes on an idle connection; `None`: none.
    pub keepalive: Option<KeepAlive>,
}

impl Default for Config {
    /// Ethernet, a window of 256 KiB, no delay: what a routing protocol wants.
    fn default() -> Self {
        Config {
            max_segment: 1460,
            receive_bytes: 256 * 1024,
            nodelay: true,
            window_scaling: true,
            sack: true,
            timestamps: true,
            signed: false,
            gso_bytes: None,
            delayed_ack: Duration::from_millis(40),
            minimum_rto: Duration::from_millis(200),
            connect_timeout: Duration::from_secs(127),
            user_timeout: None,
            time_wait: Duration::from_secs(60),
            keepalive: None,
        }
    }
}

/// About Linux's `tcp_retries2`.
const USUAL_PATIENCE: Duration = Duration::from_secs(15 * 60);

impl Config {
    /// How long a peer may say nothing of what it was sent.
    pub fn patience(&self) -> Duration {
        self.user_timeout.unwrap_or(USUAL_PATIENCE)
    }
}
