//! BGP cores among each other, and against a peer that a test plays byte by byte. Nothing here waits: time is a number.

mod errors;
mod network;
mod peer;
mod recorded;
mod routes;
mod sessions;
