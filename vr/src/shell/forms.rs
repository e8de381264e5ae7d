//! The commands of the shell, in the order in which help lists them.

use ipc::ServiceName;
use vr_api::command::ParameterType;
use vr_api::show::ShowTable;

use super::ShellOptions;
use super::grammar::{Form, Setting, Slot, Value};
use super::show::tables;

/// What a command does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Print a table.
    Show(ShowTable),
    /// List the tables.
    ListTables,
    /// Echo requests.
    Ping,
    /// The routers on the way.
    Traceroute,
    /// A line of the configuration: `connect` and `no connect`.
    Line,
    /// Lines of the configuration.
    Configure,
    /// What a class declares: `clear bgp`.
    Class(ServiceName),
    /// Keep the configuration for the next start.
    Save,
    /// Forget what was kept.
    Erase,
    /// Stop the router and start its machine anew.
    Reload,
    /// Stop the router.
    Shutdown,
    /// Everything that may be typed.
    Help,
    /// Leave the shell.
    Exit,
}

/// Longest payload of an echo request: an IPv4 packet without its header and that of ICMP.
const MAX_PING_BYTES: u64 = 65_507;

/// All commands.
pub fn forms(options: &ShellOptions) -> Vec<Form<Action>> {
    let mut forms = vec![Form::new("show", "List all tables", Action::ListTables)];
    forms.extend(tables(options).into_iter().map(|table| {
        let form = Form::new(&format!("show {}", table.words), &table.help, Action::Show(table.clone()));
        let form = form.arguments(&table.arguments);
        if table.columns.iter().any(|column| column == "vr") { form.setting(vr(false)) } else { form }
    }));
    forms.extend(operations());
    forms.extend(options.declarations.iter().flat_map(|class| {
        class.commands.iter().map(|command| {
            let form = Form::new("", &command.help, Action::Class(class.class.clone())).declared(&command.words);
            form.setting(vr(false))
        })
    }));
    forms.extend([
        Form::new("help", "Everything that may be typed", Action::Help),
        Form::new("exit", "Leave the shell", Action::Exit),
        Form::new("quit", "Leave the shell", Action::Exit),
        Form::new(
            "copy running-config startup-config",
            "Save the configuration: the router starts with it",
            Action::Save,
        ),
        Form::new("erase startup-config", "Forget what was saved: a factory reset, after a `reload`", Action::Erase)
            .in_full(),
        Form::new("reload", "Stop the whole router and start its machine anew", Action::Reload).in_full(),
        Form::new("shutdown", "Stop the whole router; a machine of its own goes off", Action::Shutdown).in_full(),
    ]);
    forms
}

fn operations() -> [Form<Action>; 5] {
    let address = || Value::of("address", ParameterType::IpAddress);
    let vr_name = || Slot::Value(Value::of("VR", ParameterType::VrName));
    let source = Setting { word: "source", value: address(), required: false, help: "From this address of the VR" };
    let interface = Setting {
        word: "interface",
        value: Value::of("interface", ParameterType::InterfaceName),
        required: false,
        help: "Where a link-local address is",
    };
    let probe = |word: &str, help: &str, action| {
        let form = Form::new(word, help, action).with(Slot::Value(address())).setting(vr(true));
        form.setting(source.clone()).setting(interface.clone())
    };
    [
        probe("ping", "Send echo requests", Action::Ping)
            .setting(number("count", "number", 1, u32::MAX.into(), "How many; 5 unless given"))
            .setting(number("size", "bytes", 0, MAX_PING_BYTES, "Payload; 56 bytes unless given")),
        probe("traceroute", "The routers on the way", Action::Traceroute),
        Form::new("connect", "Join two virtual routers", Action::Line).with(vr_name()).with(vr_name()),
        Form::new("no connect", "Take the connection of two virtual routers away", Action::Line)
            .with(vr_name())
            .with(vr_name()),
        Form::new(
            "configure",
            "Change the configuration: `configure vr red; interface blue; shutdown`",
            Action::Configure,
        )
        .with(Slot::Rest("line; line; ...")),
    ]
}

fn vr(required: bool) -> Setting {
    let help = if required { "From this virtual router" } else { "Of this virtual router only" };
    Setting { word: "vr", value: Value::of("VR", ParameterType::VrName), required, help }
}

fn number(word: &'static str, name: &'static str, min: u64, max: u64, help: &'static str) -> Setting {
    let value = Value::of(name, ParameterType::Number { name: name.into(), min, max });
    Setting { word, value, required: false, help }
}
