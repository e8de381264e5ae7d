//! What a router is made of: the one place that knows all classes of processes.
//!
//! procmgr, the configuration and the shell get these as data and know none of them by name.

use std::path::Path;

use anyhow::{Context, Result};
use ipc::{NameError, ServiceName};
use procmgr::class::{ClassSpec, Privileges, ReadyWhen, Scope};
use vr::shell::ShellOptions;
use vr_api::command::Declaration;
use vr_api::show::ShowTable;

use crate::console;
use crate::paths::Places;

/// Keeps the configuration.
pub const CONFIG: &str = "config";
/// The socket server and the line cards.
pub const STACK: &str = "stack";
/// The VR connection manager.
pub const VRMGR: &str = "vrmgr";
/// The routing information base of a VR.
pub const RIB: &str = "rib";
/// BGP of a VR.
pub const BGP: &str = "bgp";
/// OSPF of a VR.
pub const OSPF: &str = "ospf";

/// The process classes of a router. `config_args` go to the role [`CONFIG`].
pub fn table(config_args: Vec<String>) -> Result<Vec<ClassSpec>, NameError> {
    let class = |name: &str, scope, needs: &[&str]| -> Result<ClassSpec, NameError> {
        let needs = needs.iter().map(|need| ServiceName::new(need)).collect::<Result<_, _>>()?;
        Ok(ClassSpec { needs, ..ClassSpec::role(ServiceName::new(name)?, scope) })
    };
    Ok(vec![
        ClassSpec { args: config_args, ..class(CONFIG, Scope::Router, &[])? },
        class(STACK, Scope::Router, &[CONFIG])?,
        ClassSpec {
            // It asks which VRs an earlier one has set up, and orders their processes.
            privileges: Privileges { manage: true, ask: true },
            ..class(VRMGR, Scope::Router, &[CONFIG])?
        },
        class(RIB, Scope::PerVr, &[CONFIG, STACK, VRMGR])?,
        class(BGP, Scope::PerVr, &[RIB])?,
        class(OSPF, Scope::PerVr, &[RIB])?,
    ])
}

/// Parameters of the role [`CONFIG`]: what it starts with, and the router's folders.
pub fn config_args(file: &str, runtime: &Path, state: Option<&Path>) -> Result<Vec<String>> {
    let folders = std::iter::once(runtime).chain(state);
    let text = |folder: &Path| folder.to_str().map(str::to_owned).context("a path that is not UTF-8");
    std::iter::once(Ok(file.to_owned())).chain(folders.map(text)).collect()
}

/// The class of the shell on a machine's own console, the terminal `terminal`.
pub fn console(terminal: &Path) -> Result<ClassSpec> {
    let terminal = terminal.to_str().context("a path that is not UTF-8")?.to_owned();
    let class = ClassSpec::role(ServiceName::new(console::ROLE)?, Scope::Router);
    Ok(ClassSpec { args: vec![terminal], session: true, ready_when: ReadyWhen::Started, ..class })
}

/// What the classes that run in VRs say about themselves.
pub fn declarations() -> Vec<Declaration> {
    vec![rib::declaration(), bgp::declaration(), ospf::declaration()]
}

/// Tables of the router's own services.
pub fn router_tables() -> Result<Vec<(ServiceName, Vec<ShowTable>)>, NameError> {
    Ok(vec![(ServiceName::new(STACK)?, stack::run::tables()), (ServiceName::new(VRMGR)?, vr::manager::show::tables())])
}

/// What the shell of a router needs to know.
pub fn shell_options(places: &Places, json: bool) -> Result<ShellOptions, NameError> {
    Ok(ShellOptions {
        control_socket: places.control_socket(),
        declarations: declarations(),
        router_tables: router_tables()?,
        json,
    })
}

#[cfg(test)]
mod tests {
    use procmgr::class::ClassTable;

    use super::*;

    #[test]
    fn the_table_is_one_that_procmgr_takes() {
        ClassTable::new(table(vec!["a".to_owned()]).unwrap()).unwrap();
    }

    #[test]
    fn every_declared_class_is_one_that_runs_in_vrs() {
        let table = ClassTable::new(table(Vec::new()).unwrap()).unwrap();
        for declaration in declarations() {
            let class = table.get(declaration.class.as_str());
            assert_eq!(class.map(|class| class.scope), Some(Scope::PerVr), "{}", declaration.class);
        }
    }

    #[test]
    fn no_table_is_answered_by_two() {
        let router = router_tables().unwrap().into_iter().flat_map(|(_, tables)| tables);
        let mut words: Vec<_> =
            router.chain(declarations().into_iter().flat_map(|class| class.tables)).map(|table| table.words).collect();
        words.sort();
        let all = words.len();
        words.dedup();
        assert_eq!(words.len(), all);
    }
}
