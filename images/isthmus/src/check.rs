//! What can be said about a configuration before anything runs: by the language, and by each class that reads a part.

use std::path::Path;

use ipc::VrName;
use sdk::config_client::subscription;
use sdk::core::ProtocolCore;
use stack::control::config::StackConfig;
use vr::config::view::{objected, view};
use vr::config::{Tree, Words, check};
use vr::error::ConfigError;
use vr_api::config::{Node, Objection, Subscribe};

use crate::classes;

/// Whether a class could run its blocks; why not.
type Read = fn(&[Node]) -> Result<(), Objection>;

/// Of each VR, what these classes subscribe to.
const IN_VRS: [(&str, Read); 3] = [
    (classes::RIB, |blocks| rib::config::read(blocks).map(drop).map_err(|error| error.objection())),
    (classes::BGP, |blocks| bgp::Bgp::read_config(blocks).map(drop).map_err(|error| error.objection())),
    (classes::OSPF, |blocks| ospf::Ospf::read_config(blocks).map(drop).map_err(|error| error.objection())),
];

/// Validates a configuration file; says what it holds, or all that is wrong with it.
pub fn check_file(path: &Path) -> Result<String, String> {
    let programs = vr::config::startup::programs(path);
    let words =
        Words::new(classes::declarations().into_iter().chain(programs).collect()).map_err(|error| error.to_string())?;
    let tree = check::load(path, &words).map_err(|errors| lines(&errors))?;
    let errors = objections(&tree);
    if errors.is_empty() { Ok(check::summary(&tree, &words).to_string()) } else { Err(lines(&errors)) }
}

/// What the processes would say about their blocks, each under its name.
fn objections(tree: &Tree<'_>) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut ask = |who: String, vr: Option<&VrName>, subscribe: &Subscribe, read: Read| {
        let blocks = view(tree, vr, subscribe);
        if let Err(objection) = read(&blocks) {
            errors.push(objected(tree, &blocks, who, &objection));
        }
    };
    let blocks = stack::control::config::BLOCKS.iter().map(|block| (*block).to_owned()).collect();
    let stack: Read = |blocks| StackConfig::read(blocks).map(drop).map_err(|error| error.objection());
    ask(classes::STACK.to_owned(), None, &Subscribe { blocks }, stack);
    for line in tree.vrs() {
        let vr = line.node();
        let Some(name) = vr.words.get(1).and_then(|name| VrName::new(name).ok()) else { continue };
        for declaration in classes::declarations().iter().filter(|class| class.runs_in(&vr)) {
            let class = declaration.class.as_str();
            if let Some((_, read)) = IN_VRS.iter().find(|(name, _)| *name == class) {
                ask(format!("{name}/{class}"), Some(&name), &subscription(declaration), *read);
            }
        }
    }
    errors
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_that_runs_in_vrs_reads_its_blocks_here() {
        for declaration in classes::declarations() {
            assert!(IN_VRS.iter().any(|(name, _)| *name == declaration.class.as_str()), "{}", declaration.class);
        }
    }

    #[test]
    fn the_examples_are_valid() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut checked = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                check_file(&path).unwrap_or_else(|errors| panic!("{errors}"));
                checked += 1;
            }
        }
        assert!(checked >= 3, "{checked}");
    }

    #[test]
    fn what_only_the_protocol_knows_is_found_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conf");
        std::fs::write(&path, "vr red\n router bgp 64501\n  neighbor 10.0.0.1\n").unwrap();
        let error = check_file(&path).unwrap_err();
        let said = error.replace(&format!("{}/", folder.path().display()), "");
        let expected = [
            "x.conf:3:3: red/bgp: neighbor 10.0.0.1: `remote-as` is missing",
            " 3 |   neighbor 10.0.0.1",
            "   |   ^^^^^^^^^^^^^^^^^",
        ];
        assert_eq!(said, expected.join("\n"));
    }
}
