//! Ports and their media: each port one medium, each medium one port.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::tree::{Line, Tree};
use crate::error::{ConfigError, Problem};

/// All ports that line cards define, by rack, slot and port.
pub(super) fn ports(tree: &Tree<'_>, errors: &mut Vec<ConfigError>) -> BTreeSet<String> {
    let mut media: BTreeMap<(&str, &str), (String, &Line<'_>)> = BTreeMap::new();
    let mut ports = BTreeSet::new();
    for (name, port) in super::all_ports(tree) {
        let drivers: Vec<&Line<'_>> = port.inside.lines().iter().filter(|line| line.is(&["driver"])).collect();
        match drivers[..] {
            [] => errors.push(ConfigError::at(port.source.place(), Problem::NoDriver { port: name.clone() })),
            [driver] => one_driver(&name, driver, &mut media, errors),
            [first, second, ..] => {
                let error = ConfigError::at(second.source.place(), Problem::TwoDrivers { port: name.clone() });
                errors.push(error.beside(first.source.place()));
            }
        }
        ports.insert(name);
    }
    ports
}

/// `driver cable local PATH remote PATH` or `driver af-packet device NAME`: the word at 3 is what only one port can
/// use.
fn one_driver<'t>(
    name: &str,
    driver: &'t Line<'_>,
    media: &mut BTreeMap<(&'t str, &'t str), (String, &'t Line<'t>)>,
    errors: &mut Vec<ConfigError>,
) {
    let medium = driver.word(3);
    if driver.is(&["driver", "cable"]) && medium == driver.word(5) {
        errors.push(ConfigError::at(driver.source.word(5), Problem::CableToItself { path: medium.to_owned() }));
    }
    match media.get(&(driver.word(1), medium)) {
        Some((other, at)) => {
            let problem =
                Problem::MediumTwice { port: name.to_owned(), other: other.clone(), medium: medium.to_owned() };
            errors.push(ConfigError::at(driver.source.word(3), problem).beside(at.source.place()));
        }
        None => {
            media.insert((driver.word(1), medium), (name.to_owned(), driver));
        }
    }
}
