//! What stands between sockets and packets: TCP as a state machine without input or output, UDP and raw IP, and the port
//! space of a VR.

pub mod ports;
pub mod raw;
pub mod tcp;
pub mod udp;
