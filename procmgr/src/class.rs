//! What can run: the table of process classes.
//!
//! A class says what its processes execute, whether each VR has one, what they wait for and how they are restarted.
//! The table is data, given to procmgr when it starts; procmgr knows no class by name.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use ipc::ServiceName;

use crate::role::SEPARATOR;

/// What a process executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A role of the router's own executable, which reads its name with [`role::from_environment`](crate::role).
    Role(String),
    /// Somebody else's program, with its own arguments.
    Executable {
        /// Absolute path.
        path: PathBuf,
        /// Without the program's name.
        args: Vec<String>,
    },
}

/// How many processes of a class there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One, which starts with the router.
    Router,
    /// One in each VR that the VR connection manager orders it for.
    PerVr,
}

/// When a process counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyWhen {
    /// It says so on its link.
    Said,
    /// As soon as it runs: a program that knows nothing of the link. It is asked to stop with SIGTERM.
    Started,
}

/// How a class comes back after one of its processes ended. It always does; only the pause grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Pause after the first end. Doubled with each further one.
    pub first_delay: Duration,
    /// The pause grows no further.
    pub longest_delay: Duration,
    /// A process that was ready for so long starts again with the first pause.
    pub forgiven_after: Duration,
}

impl Default for RestartPolicy {
    /// 100 ms, doubled up to 10 s, forgiven after 30 s: an operator who looks sees a failing process come back, and a
    /// core is not busy with starting it.
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(10),
            forgiven_after: Duration::from_secs(30),
        }
    }
}

/// What the processes of a class may ask of procmgr beyond publishing and opening.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Give [orders](ipc::protocol::Order): the VR connection manager.
    pub manage: bool,
    /// Ask [questions](ipc::protocol::Question), and stop the router: an operator's process.
    pub ask: bool,
}

/// A class of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassSpec {
    /// Its name, also that of the service that only its processes may publish.
    pub name: ServiceName,
    /// What they execute.
    pub program: Program,
    /// How many there are.
    pub scope: Scope,
    /// Classes that must be ready before a process of this one is started, and that are stopped after it. A class of
    /// the same VR, or of the router.
    pub needs: Vec<ServiceName>,
    /// How they come back.
    pub restart: RestartPolicy,
    /// When they count as ready.
    pub ready_when: ReadyWhen,
    /// Killed, and started again, if not ready by then.
    pub start_timeout: Duration,
    /// Killed if it takes longer to stop in order.
    pub stop_timeout: Duration,
    /// What they may do.
    pub privileges: Privileges,
    /// Parameters of a [`Program::Role`], which reads them with [`role::from_environment`](crate::role).
    pub args: Vec<String>,
    /// Variables added to the environment.
    pub environment: Vec<(String, String)>,
    /// Whether it leads a session of its own, so that a terminal that it opens becomes its own.
    pub session: bool,
}

impl ClassSpec {
    /// A class that runs the role of its own name, with usual time limits and no privileges.
    ///
    /// ```
    /// # fn main() -> Result<(), ipc::NameError> {
    /// use procmgr::class::{ClassSpec, Scope};
    /// let bgp = ClassSpec {
    ///     needs: vec!["stack".parse()?, "rib".parse()?],
    ///     ..ClassSpec::role("bgp".parse()?, Scope::PerVr)
    /// };
    /// # assert!(!bgp.privileges.manage); Ok(()) }
    /// ```
    pub fn role(name: ServiceName, scope: Scope) -> Self {
        let program = Program::Role(name.as_str().to_owned());
        Self { program, ready_when: ReadyWhen::Said, ..Self::executable(name, scope, PathBuf::new(), Vec::new()) }
    }

    /// A class that runs a program which knows nothing of the link.
    pub fn executable(name: ServiceName, scope: Scope, path: PathBuf, args: Vec<String>) -> Self {
        Self {
            name,
            program: Program::Executable { path, args },
            scope,
            needs: Vec::new(),
            restart: RestartPolicy::default(),
            ready_when: ReadyWhen::Started,
            start_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(5),
            privileges: Privileges::default(),
            args: Vec::new(),
            environment: Vec::new(),
            session: false,
        }
    }
}

/// Why classes do not make a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// Two of one name.
    #[error("class {0} is defined twice")]
    Twice(ServiceName),
    /// procmgr's own name.
    #[error("class {0}: the name is procmgr's own")]
    Reserved(ServiceName),
    /// Needs something that is not there.
    #[error("class {class} needs {need}, which is not defined")]
    UnknownNeed {
        /// Who needs.
        class: ServiceName,
        /// What.
        need: ServiceName,
    },
    /// There is no one such process for it.
    #[error("class {class} runs once in the router, but needs {need}, which runs once in each VR")]
    NeedsPerVr {
        /// Who needs.
        class: ServiceName,
        /// What.
        need: ServiceName,
    },
    /// Needs itself through others.
    #[error("class {0} needs itself, directly or through others")]
    Circle(ServiceName),
    /// A NUL, or the character that separates parameters.
    #[error("class {0}: a parameter or variable contains a character that an environment cannot carry")]
    BadParameter(ServiceName),
}

/// All classes, checked.
#[derive(Debug, Clone, Default)]
pub struct ClassTable {
    classes: HashMap<ServiceName, ClassSpec>,
    dependents: HashMap<ServiceName, Vec<ServiceName>>,
    order: Vec<ServiceName>,
}

/// Name of procmgr's own row in `show processes` and of its own log lines.
pub const PROCMGR: &str = "procmgr";

impl ClassTable {
    /// Checks that names are unique, needs are there, and nothing waits for itself.
    pub fn new(specs: Vec<ClassSpec>) -> Result<Self, ClassError> {
        let mut table = Self::default();
        for spec in specs {
            check_parameters(&spec)?;
            if spec.name.as_str() == PROCMGR {
                return Err(ClassError::Reserved(spec.name));
            }
            if table.classes.contains_key(&spec.name) {
                return Err(ClassError::Twice(spec.name));
            }
            table.order.push(spec.name.clone());
            table.classes.insert(spec.name.clone(), spec);
        }
        table.check_needs()?;
        table.check_circles()?;
        Ok(table)
    }

    /// A class by name.
    pub fn get(&self, name: &str) -> Option<&ClassSpec> {
        self.classes.get(name)
    }

    /// Classes of the router, in the order given.
    pub fn router_classes(&self) -> impl Iterator<Item = &ClassSpec> {
        self.order.iter().filter_map(|name| self.classes.get(name)).filter(|c| c.scope == Scope::Router)
    }

    /// Classes that need `name`.
    pub fn dependents(&self, name: &str) -> &[ServiceName] {
        self.dependents.get(name).map_or(&[], Vec::as_slice)
    }

    fn check_needs(&mut self) -> Result<(), ClassError> {
        for class in self.order.iter().filter_map(|name| self.classes.get(name)) {
            for need in &class.needs {
                let fault = || (class.name.clone(), need.clone());
                let Some(needed) = self.classes.get(need) else {
                    let (class, need) = fault();
                    return Err(ClassError::UnknownNeed { class, need });
                };
                if class.scope == Scope::Router && needed.scope == Scope::PerVr {
                    let (class, need) = fault();
                    return Err(ClassError::NeedsPerVr { class, need });
                }
                self.dependents.entry(need.clone()).or_default().push(class.name.clone());
            }
        }
        Ok(())
    }

    /// Takes away classes whose needs are all taken away; what stays waits for itself.
    fn check_circles(&self) -> Result<(), ClassError> {
        let mut settled: HashSet<&ServiceName> = HashSet::new();
        let mut rest: Vec<&ClassSpec> = self.order.iter().filter_map(|name| self.classes.get(name)).collect();
        while !rest.is_empty() {
            let before = rest.len();
            rest.retain(|class| {
                let free = class.needs.iter().all(|need| settled.contains(need));
                if free {
                    settled.insert(&class.name);
                }
                !free
            });
            match rest.first() {
                Some(class) if rest.len() == before => return Err(ClassError::Circle(class.name.clone())),
                _ => {}
            }
        }
        Ok(())
    }
}

fn check_parameters(spec: &ClassSpec) -> Result<(), ClassError> {
    let good = |text: &str| !text.contains('\0');
    let role = match &spec.program {
        Program::Role(role) => good(role),
        Program::Executable { path, args } => {
            !path.as_os_str().as_encoded_bytes().contains(&0) && args.iter().all(|arg| good(arg))
        }
    };
    let args = spec.args.iter().all(|arg| good(arg) && !arg.contains(SEPARATOR));
    let environment = spec
        .environment
        .iter()
        .all(|(name, value)| good(name) && good(value) && !name.contains('=') && !name.is_empty());
    if role && args && environment { Ok(()) } else { Err(ClassError::BadParameter(spec.name.clone())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    fn class(text: &str, scope: Scope, needs: &[&str]) -> ClassSpec {
        ClassSpec { needs: needs.iter().map(|n| name(n)).collect(), ..ClassSpec::role(name(text), scope) }
    }

    #[test]
    fn a_table_knows_who_needs_a_class() {
        let table = ClassTable::new(vec![
            class("bgp", Scope::PerVr, &["stack", "rib"]),
            class("rib", Scope::PerVr, &["stack"]),
            class("stack", Scope::Router, &[]),
        ])
        .unwrap();
        assert_eq!(table.dependents("stack"), [name("bgp"), name("rib")]);
        assert_eq!(table.dependents("bgp"), []);
        assert_eq!(table.router_classes().count(), 1);
    }

    #[test]
    fn wrong_tables_are_refused_with_the_class_named() {
        let refused = |specs: Vec<ClassSpec>| ClassTable::new(specs).unwrap_err();
        let (a, b) =
            (|needs: &[&str]| class("a", Scope::Router, needs), |needs: &[&str]| class("b", Scope::PerVr, needs));
        assert_eq!(refused(vec![a(&[]), a(&[])]), ClassError::Twice(name("a")));
        assert_eq!(refused(vec![a(&["x"])]), ClassError::UnknownNeed { class: name("a"), need: name("x") });
        assert_eq!(refused(vec![a(&["b"]), b(&[])]), ClassError::NeedsPerVr { class: name("a"), need: name("b") });
        assert_eq!(refused(vec![a(&["a"])]), ClassError::Circle(name("a")));
        assert_eq!(refused(vec![class("procmgr", Scope::Router, &[])]), ClassError::Reserved(name("procmgr")));
        let mut bad = a(&[]);
        bad.args = vec![format!("x{SEPARATOR}y")];
        assert_eq!(refused(vec![bad]), ClassError::BadParameter(name("a")));
    }
}
