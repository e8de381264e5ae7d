//! The words by which a protocol passes on routes of others: `redistribute` blocks and the prefix sets that they name.
//!
//! ```text
//! prefix-set CUSTOMERS
//!  192.0.2.0/24
//!  198.51.100.0/22 ge 24 le 28
//! end-set
//! router ospf 1
//!  redistribute static
//!   match prefix-set CUSTOMERS
//!   match tag 7
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::{IpNet, Ipv4Net};
use vr_api::command::{Command, ParameterType};
use vr_api::config::Node;

use crate::core::ConfigError;
use crate::rib::{PrefixMatch, Redistributed, RedistributedChange, Redistribution};

/// Leading word of a prefix set, for the declaration of a class that reads them.
pub const PREFIX_SET: &str = "prefix-set";

/// Lines within every `redistribute` block.
pub fn match_words() -> Vec<Command> {
    let tag = ParameterType::Number { name: "tag".into(), min: 1, max: u32::MAX.into() };
    vec![
        Command::line(
            "match prefix-set <>",
            "Only prefixes that the set takes",
            vec![ParameterType::Name(PREFIX_SET.into())],
        ),
        Command::line("match tag <>", "Only routes with this tag", vec![tag]),
    ]
}

/// The prefix sets of a VR by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrefixSets(HashMap<String, Vec<PrefixMatch>>);

impl PrefixSets {
    /// Reads the blocks `prefix-set NAME`.
    pub fn read(blocks: &[Node]) -> Result<Self, ConfigError> {
        let sets = blocks.iter().filter(|block| block.starts_with(PREFIX_SET));
        let read = |block: &Node| {
            Ok((block.value(1)?, block.children.iter().map(read_entry).collect::<Result<Vec<_>, ConfigError>>()?))
        };
        Ok(Self(sets.map(read).collect::<Result<_, ConfigError>>()?))
    }
}

/// `P`, `P ge N`, `P le N` or `P ge N le M`: without bounds the prefix itself, with a lower one only those within it that
/// are as long or longer.
fn read_entry(line: &Node) -> Result<PrefixMatch, ConfigError> {
    let prefix: Ipv4Net = line.value(0)?;
    let bound = |word: &str| {
        let at = line.words.iter().position(|other| other == word);
        at.map(|at| line.value::<u8>(at + 1)).transpose()
    };
    let (least, most) = (bound("ge")?, bound("le")?);
    let own = prefix.prefix_len();
    let min_length = least.unwrap_or(own);
    let max_length = most.unwrap_or(if least.is_some() { prefix.max_prefix_len() } else { own });
    if min_length < own || max_length < min_length {
        let reason = format!("lengths {min_length} to {max_length} are none of prefixes within {prefix}");
        return Err(ConfigError::Nonsense { line: line.named(), reason });
    }
    Ok(PrefixMatch { prefix: IpNet::V4(prefix), min_length, max_length })
}

/// Reads a block `redistribute PROTOCOL`: which routes it takes.
pub fn read(block: &Node, sets: &PrefixSets) -> Result<Redistribution, ConfigError> {
    let set = block.find("match prefix-set").map(|line| {
        let name: String = line.value(2)?;
        let missing = || ConfigError::Nonsense { line: line.named(), reason: "there is no such prefix-set".to_owned() };
        sets.0.get(&name).cloned().ok_or_else(missing)
    });
    let tag = block.find("match tag").map(|line| line.value(2)).transpose()?;
    Ok(Redistribution { protocol: block.value(1)?, prefixes: set.transpose()?, tag })
}

/// Routes of other protocols, as the RIB told them. What a RIB told holds until its successor has told everything.
#[derive(Debug, Default)]
pub struct RedistributedRoutes {
    routes: BTreeMap<IpNet, Redistributed>,
    /// Those that an earlier RIB told, and the present one not yet.
    stale: BTreeSet<IpNet>,
}

impl RedistributedRoutes {
    /// The route to a prefix.
    pub fn get(&self, prefix: IpNet) -> Option<&Redistributed> {
        self.routes.get(&prefix)
    }

    /// All routes.
    pub fn iter(&self) -> impl Iterator<Item = &Redistributed> {
        self.routes.values()
    }

    /// The RIB is new and tells everything again.
    pub fn rib_restarted(&mut self) {
        self.stale = self.routes.keys().copied().collect();
    }

    /// The RIB told a change; of which prefix.
    pub fn change(&mut self, change: RedistributedChange) -> IpNet {
        match change {
            RedistributedChange::Set(route) => {
                let prefix = route.prefix;
                self.stale.remove(&prefix);
                self.routes.insert(prefix, route);
                prefix
            }
            RedistributedChange::Withdraw(prefix) => {
                self.routes.remove(&prefix);
                prefix
            }
        }
    }

    /// The RIB told everything: prefixes that are gone.
    pub fn complete(&mut self) -> Vec<IpNet> {
        let gone = std::mem::take(&mut self.stale);
        gone.into_iter().filter(|prefix| self.routes.remove(prefix).is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(line: &str, children: &[&str]) -> Node {
        Node::new(line, children.iter().map(|line| Node::new(line, Vec::new())).collect())
    }

    fn lengths(line: &str) -> Result<(u8, u8), String> {
        let entry = read_entry(&Node::new(line, Vec::new())).map_err(|error| error.to_string())?;
        Ok((entry.min_length, entry.max_length))
    }

    #[test]
    fn an_entry_without_bounds_is_the_prefix_and_with_bounds_what_lies_within() {
        assert_eq!(lengths("10.0.0.0/8"), Ok((8, 8)));
        assert_eq!(lengths("10.0.0.0/8 le 24"), Ok((8, 24)));
        assert_eq!(lengths("10.0.0.0/8 ge 16"), Ok((16, 32)));
        assert_eq!(lengths("10.0.0.0/8 ge 16 le 24"), Ok((16, 24)));
        let error = "10.0.0.0/8 ge 25 le 24: lengths 25 to 24 are none of prefixes within 10.0.0.0/8";
        assert_eq!(lengths("10.0.0.0/8 ge 25 le 24"), Err(error.to_owned()));
        assert!(lengths("10.0.0.0/16 le 8").is_err());
    }

    #[test]
    fn what_a_rib_told_holds_until_its_successor_has_told_everything() {
        let set = |prefix: &str, metric| {
            let (prefix, protocol) = (prefix.parse().unwrap(), "static".to_owned());
            RedistributedChange::Set(Redistributed {
                prefix,
                protocol,
                metric,
                tag: 0,
                interface: None,
                next_hop: None,
            })
        };
        let mut routes = RedistributedRoutes::default();
        for prefix in ["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"] {
            routes.change(set(prefix, 1));
        }
        routes.change(RedistributedChange::Withdraw("12.0.0.0/8".parse().unwrap()));
        assert_eq!(routes.complete(), []);
        routes.rib_restarted();
        routes.change(set("10.0.0.0/8", 2));
        assert_eq!(routes.iter().count(), 2);
        assert_eq!(routes.complete(), ["11.0.0.0/8".parse().unwrap()]);
        assert_eq!(routes.iter().map(|route| route.metric).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_block_names_its_protocol_and_what_of_it_is_taken() {
        let sets = PrefixSets::read(&[node("prefix-set A", &["10.0.0.0/8 le 24"])]).unwrap();
        let all = read(&node("redistribute static", &["metric 5"]), &sets).unwrap();
        assert_eq!(all, Redistribution { protocol: "static".to_owned(), prefixes: None, tag: None });
        let some = read(&node("redistribute bgp", &["match prefix-set A", "match tag 7"]), &sets).unwrap();
        assert_eq!((some.prefixes.map(|list| list.len()), some.tag), (Some(1), Some(7)));
        let error = read(&node("redistribute bgp", &["match prefix-set B"]), &sets).unwrap_err();
        assert_eq!(error.to_string(), "match prefix-set B: there is no such prefix-set");
    }
}
