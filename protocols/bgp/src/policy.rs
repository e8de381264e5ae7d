//! Route policies: which routes are taken and given. The statements are `pass` and `drop`.

use std::collections::HashMap;

use sdk::config::Node;

/// What a policy does with a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Takes it as it is.
    Pass,
    /// Does without it; also what a policy that says nothing does.
    Drop,
}

/// The policies of a VR by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policies(HashMap<String, Policy>);

impl Policies {
    /// Reads the blocks `route-policy NAME`.
    pub fn read(blocks: &[Node]) -> Self {
        let policies = blocks.iter().filter(|block| block.starts_with("route-policy"));
        Self(policies.filter_map(|block| Some((block.words.get(1)?.clone(), read_policy(block)))).collect())
    }

    /// The policy of a name.
    pub fn get(&self, name: &str) -> Option<Policy> {
        self.0.get(name).copied()
    }
}

/// `drop` ends a policy; without it the route passes if some statement said so, as IOS-XR has it.
fn read_policy(block: &Node) -> Policy {
    match block.find("drop").is_none() && block.find("pass").is_some() {
        true => Policy::Pass,
        false => Policy::Drop,
    }
}
