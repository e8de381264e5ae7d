//! NOTIFICATION: why a session ends. RFC 4271 sections 4.5 and 6, RFC 4486 (Cease), RFC 6608 (state machine).

use std::fmt;

use super::{MAX_MESSAGE, MessageKind, encode_message};

/// A NOTIFICATION message: also the error type of everything that reads what a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Code and subcode.
    pub error: ErrorCode,
    /// What the code's section says that it carries.
    pub data: Vec<u8>,
}

/// Code and subcode of a [`Notification`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// 1, Message Header Error.
    Header(HeaderError),
    /// 2, OPEN Message Error.
    Open(OpenError),
    /// 3, UPDATE Message Error.
    Update(UpdateError),
    /// 4.
    HoldTimerExpired,
    /// 5, Finite State Machine Error.
    FiniteStateMachine(FsmError),
    /// 6.
    Cease(Cease),
    /// A code or subcode that we have no name for.
    Unknown {
        /// The code.
        code: u8,
        /// The subcode.
        subcode: u8,
    },
}

/// Declares the subcodes of one code: their enum, number and words from one table.
macro_rules! subcodes {
    ($(#[$doc:meta])* $name:ident, $variant:path { $($(#[$sub:meta])* $subcode:ident = $number:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$sub])* $subcode,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[$name] = &[$($name::$subcode),*];

            /// The subcode on the wire.
            pub fn subcode(self) -> u8 {
                match self {
                    $($name::$subcode => $number,)*
                }
            }

            fn words(self) -> &'static str {
                match self {
                    $($name::$subcode => $text,)*
                }
            }

            fn from_subcode(subcode: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.subcode() == subcode)
            }
        }

        impl From<$name> for ErrorCode {
            fn from(error: $name) -> ErrorCode {
                $variant(error)
            }
        }

        impl From<$name> for Notification {
            fn from(error: $name) -> Notification {
                Notification::new(error, &[])
            }
        }
    };
}

subcodes! {
    /// RFC 4271 section 6.1.
    HeaderError, ErrorCode::Header {
        /// The marker is not all ones.
        ConnectionNotSynchronized = 1, "Connection Not Synchronized";
        /// Data: the length field.
        BadMessageLength = 2, "Bad Message Length";
        /// Data: the type field.
        BadMessageType = 3, "Bad Message Type";
    }
}

subcodes! {
    /// RFC 4271 section 6.2.
    OpenError, ErrorCode::Open {
        /// An optional parameter or capability that cannot be read.
        Unspecific = 0, "Unspecific";
        /// Data: the largest version that we speak, two octets.
        UnsupportedVersionNumber = 1, "Unsupported Version Number";
        /// Not the `remote-as` of the configuration, or 0 (RFC 7607).
        BadPeerAs = 2, "Bad Peer AS";
        /// 0, or our own from an internal peer (RFC 6286).
        BadBgpIdentifier = 3, "Bad BGP Identifier";
        /// An optional parameter that we do not know.
        UnsupportedOptionalParameter = 4, "Unsupported Optional Parameter";
        /// 1 or 2 seconds.
        UnacceptableHoldTime = 6, "Unacceptable Hold Time";
        /// Data: the capabilities that the sender misses (RFC 5492).
        UnsupportedCapability = 7, "Unsupported Capability";
    }
}

subcodes! {
    /// RFC 4271 section 6.3. Data of the attribute errors: the attribute with its flags, type and length.
    UpdateError, ErrorCode::Update {
        /// Lengths that contradict each other, an attribute twice.
        MalformedAttributeList = 1, "Malformed Attribute List";
        /// A well-known attribute that does not exist.
        UnrecognizedWellKnownAttribute = 2, "Unrecognized Well-known Attribute";
        /// Data: the type of the missing attribute.
        MissingWellKnownAttribute = 3, "Missing Well-known Attribute";
        /// The flags are not those of the attribute's type.
        AttributeFlagsError = 4, "Attribute Flags Error";
        /// The length is not that of the attribute's type.
        AttributeLengthError = 5, "Attribute Length Error";
        /// Neither IGP nor EGP nor INCOMPLETE.
        InvalidOriginAttribute = 6, "Invalid ORIGIN Attribute";
        /// Not the address of a host.
        InvalidNextHopAttribute = 8, "Invalid NEXT_HOP Attribute";
        /// An optional attribute with a wrong value.
        OptionalAttributeError = 9, "Optional Attribute Error";
        /// A prefix longer than its family's addresses, or cut off.
        InvalidNetworkField = 10, "Invalid Network Field";
        /// Segments that do not add up.
        MalformedAsPath = 11, "Malformed AS_PATH";
    }
}

subcodes! {
    /// RFC 6608: in which state an unexpected message came.
    FsmError, ErrorCode::FiniteStateMachine {
        /// Unspecified.
        Unspecified = 0, "Unspecified Error";
        /// In OpenSent.
        InOpenSent = 1, "Receive Unexpected Message in OpenSent State";
        /// In OpenConfirm.
        InOpenConfirm = 2, "Receive Unexpected Message in OpenConfirm State";
        /// In Established.
        InEstablished = 3, "Receive Unexpected Message in Established State";
    }
}

subcodes! {
    /// RFC 4486.
    Cease, ErrorCode::Cease {
        /// No reason given (RFC 4271).
        Unspecific = 0, "Unspecific";
        /// More prefixes than agreed.
        MaximumNumberOfPrefixesReached = 1, "Maximum Number of Prefixes Reached";
        /// The operator shut the session or the router down.
        AdministrativeShutdown = 2, "Administrative Shutdown";
        /// The neighbor is no longer configured.
        PeerDeConfigured = 3, "Peer De-configured";
        /// The operator cleared the session.
        AdministrativeReset = 4, "Administrative Reset";
        /// The peer does not want the connection.
        ConnectionRejected = 5, "Connection Rejected";
        /// The configuration of the session changed.
        OtherConfigurationChange = 6, "Other Configuration Change";
        /// Another connection with the same peer won (RFC 4271 section 6.8).
        ConnectionCollisionResolution = 7, "Connection Collision Resolution";
        /// The peer lacks memory or the like.
        OutOfResources = 8, "Out of Resources";
    }
}

impl ErrorCode {
    /// Code and subcode on the wire.
    pub fn wire(self) -> (u8, u8) {
        match self {
            ErrorCode::Header(error) => (1, error.subcode()),
            ErrorCode::Open(error) => (2, error.subcode()),
            ErrorCode::Update(error) => (3, error.subcode()),
            ErrorCode::HoldTimerExpired => (4, 0),
            ErrorCode::FiniteStateMachine(error) => (5, error.subcode()),
            ErrorCode::Cease(error) => (6, error.subcode()),
            ErrorCode::Unknown { code, subcode } => (code, subcode),
        }
    }

    /// The name of a code and subcode from the wire.
    pub fn from_wire(code: u8, subcode: u8) -> Self {
        let known = match code {
            1 => HeaderError::from_subcode(subcode).map(ErrorCode::Header),
            2 => OpenError::from_subcode(subcode).map(ErrorCode::Open),
            3 => UpdateError::from_subcode(subcode).map(ErrorCode::Update),
            4 if subcode == 0 => Some(ErrorCode::HoldTimerExpired),
            5 => FsmError::from_subcode(subcode).map(ErrorCode::FiniteStateMachine),
            6 => Cease::from_subcode(subcode).map(ErrorCode::Cease),
            _ => None,
        };
        known.unwrap_or(ErrorCode::Unknown { code, subcode })
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, words) = match self {
            ErrorCode::Header(error) => ("Message Header Error", error.words()),
            ErrorCode::Open(error) => ("OPEN Message Error", error.words()),
            ErrorCode::Update(error) => ("UPDATE Message Error", error.words()),
            ErrorCode::HoldTimerExpired => return f.write_str("Hold Timer Expired"),
            ErrorCode::FiniteStateMachine(error) => ("Finite State Machine Error", error.words()),
            ErrorCode::Cease(error) => ("Cease", error.words()),
            ErrorCode::Unknown { code, subcode } => return write!(f, "code {code}, subcode {subcode}"),
        };
        write!(f, "{name}/{words}")
    }
}

impl Notification {
    /// A notification; data beyond what a message holds is cut off.
    pub fn new(error: impl Into<ErrorCode>, data: &[u8]) -> Self {
        let room = MAX_MESSAGE - super::HEADER_LEN - 2;
        Self { error: error.into(), data: data[..data.len().min(room)].to_vec() }
    }

    /// The peer was silent for the hold time.
    pub fn hold_timer_expired() -> Self {
        Self { error: ErrorCode::HoldTimerExpired, data: Vec::new() }
    }

    /// Reads the body of a NOTIFICATION. Nothing in it is wrong: an error in an error cannot be answered.
    pub(super) fn decode(body: &[u8]) -> Self {
        let (code, subcode, data) = match *body {
            [code, subcode, ref data @ ..] => (code, subcode, data),
            [code] => (code, 0, &[][..]),
            [] => (0, 0, &[][..]),
        };
        Self { error: ErrorCode::from_wire(code, subcode), data: data.to_vec() }
    }

    /// Appends the whole message.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let (code, subcode) = self.error.wire();
        encode_message(MessageKind::Notification, into, |body| {
            body.extend_from_slice(&[code, subcode]);
            body.extend_from_slice(&self.data);
        });
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, subcode) = self.error.wire();
        write!(f, "{} ({code}/{subcode})", self.error)?;
        if !self.data.is_empty() {
            f.write_str(", data ")?;
            // The log needs to recognise an attribute, not to hold 4 KiB.
            for byte in self.data.iter().take(16) {
                write!(f, "{byte:02x}")?;
            }
            if self.data.len() > 16 {
                write!(f, "… of {} bytes", self.data.len())?;
            }
        }
        Ok(())
    }
}
