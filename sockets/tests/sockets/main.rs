//! The socket library as its process sees it, in a router of which everything else is played by the test.

mod accept;
mod blocking;
mod connected_datagram;
mod datagram;
mod datagram_again;
mod deadline;
mod examples;
mod hostile;
mod ipv6;
mod open;
mod options;
mod progress;
mod restart;
mod stream;
mod terms;

use sockets_testing as harness;
