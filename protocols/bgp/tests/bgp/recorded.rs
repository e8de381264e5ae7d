//! Recorded cases: a folder each under `tests/cases`, as [`sdk::recorded`] describes. Messages of a neighbor are written
//! as fields:
//!
//! ```text
//! open AS ROUTER-ID HOLD                  keepalive | end-of-rib
//! announce NEXT-HOP PATH [pref=N] PREFIX… (the path as 64502,65000; N: LOCAL_PREF of an internal neighbor)
//! withdraw PREFIX…                        bytes HEX…
//! ```
//!
//! `ISTHMUS_REWRITE=1 cargo test -p isthmus-bgp --test bgp recorded` writes every `out.txt` anew, to be reviewed like
//! code.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

use isthmus_bgp::Bgp;
use isthmus_bgp::packet::{
    self, AsPath, AsWidth, Attributes, DecodeContext, DecodedAttributes, Message, Open, PeerKind,
};
use sdk::recorded::{Codec, check};

use crate::peer::written;

#[test]
fn every_recorded_case_gives_what_was_recorded() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let codec = Codec { encode: from_text, decode: to_text };
    check(&cases, Bgp::new, codec).unwrap_or_else(|difference| panic!("{difference}"));
}

/// A message written as fields.
fn from_text(text: &str) -> Result<Vec<u8>, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut bytes = Vec::new();
    match words[..] {
        ["open", as_number, id, hold] => {
            Open::ours(value(as_number)?, value(hold)?, value(id)?).encode(&mut bytes);
        }
        ["keepalive"] => packet::encode_keepalive(&mut bytes),
        ["end-of-rib"] => packet::encode_end_of_rib(&mut bytes),
        ["announce", next_hop, path, ref rest @ ..] => {
            let pref = rest.first().and_then(|word| word.strip_prefix("pref="));
            let prefixes = &rest[usize::from(pref.is_some())..];
            let attributes = Attributes {
                as_path: AsPath::sequence(&values(path.split(','))?),
                next_hop: value(next_hop)?,
                med: None,
                local_pref: pref.map(value).transpose()?,
                ..Attributes::originated(0)
            };
            let list = written(|into| attributes.encode(AsWidth::Four, into));
            let prefixes = values(prefixes.iter().copied())?;
            packet::encode_announcements(&list, &prefixes, &mut bytes).map_err(|error| error.to_string())?;
        }
        ["withdraw", ref prefixes @ ..] => {
            _ = packet::encode_withdrawals(&values(prefixes.iter().copied())?, &mut bytes)
        }
        ["bytes", ref digits @ ..] => return (Codec::HEX.encode)(&digits.concat()),
        _ => return Err(format!("`{text}` is no message")),
    }
    Ok(bytes)
}

fn value<T: FromStr<Err: Display>>(word: &str) -> Result<T, String> {
    word.parse().map_err(|error| format!("{word}: {error}"))
}

fn values<'a, T: FromStr<Err: Display>>(words: impl Iterator<Item = &'a str>) -> Result<Vec<T>, String> {
    words.map(value).collect()
}

/// Messages that were sent, a line each.
fn to_text(bytes: &[u8]) -> String {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some((frame, tail)) = packet::next_frame(rest).expect("a message") {
        rest = tail;
        lines.push(match Message::decode(frame).expect("a message that can be read") {
            Message::Open(open) => {
                format!("OPEN as {} id {} hold {}", open.as_number(), open.router_id, open.hold_time_seconds)
            }
            Message::Keepalive => "KEEPALIVE".to_owned(),
            Message::Notification(notification) => format!("NOTIFICATION {notification}"),
            Message::RouteRefresh(_) => "ROUTE-REFRESH".to_owned(),
            Message::Update(update) if update.is_end_of_rib() => "UPDATE end of RIB".to_owned(),
            Message::Update(update) => describe_update(update),
        });
    }
    lines.join("\n")
}

fn describe_update(update: packet::Update<'_>) -> String {
    // An internal peer's attributes include all that an external one's do, but for the mandatory LOCAL_PREF.
    let kinds = [PeerKind::Internal, PeerKind::External];
    let decode = |peer| {
        let context = DecodeContext { width: AsWidth::Four, peer };
        DecodedAttributes::decode(update.attributes, update.nlri, context).ok()?.routes?.ok()
    };
    let mut line = "UPDATE".to_owned();
    let list = |prefixes: packet::Nlri<'_>| prefixes.map(|prefix| prefix.to_string()).collect::<Vec<_>>().join(" ");
    if !update.withdrawn.is_empty() {
        line += &format!(" withdraw {}", list(update.withdrawn));
    }
    if let Some(attributes) = kinds.into_iter().find_map(decode) {
        let Attributes { as_path, next_hop, med, local_pref, .. } = &attributes;
        let next_hop: &Ipv4Addr = next_hop;
        line += &format!(" announce {} next-hop {next_hop} path [{as_path}]", list(update.nlri));
        line += &med.map(|med| format!(" med {med}")).unwrap_or_default();
        line += &local_pref.map(|local_pref| format!(" local-pref {local_pref}")).unwrap_or_default();
    }
    line
}
