//! What stands between sockets and packets: TCP as a state machine without input or output, and the port space of a VR.

pub mod ports;
pub mod tcp;
