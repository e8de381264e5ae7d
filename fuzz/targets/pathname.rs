//! Pathnames and names in text form: what is read prints as it was written.
#![no_main]

use ipc::{InterfaceName, Pathname, ServiceName, VrName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match text.parse::<Pathname>() {
        Ok(pathname) => assert_eq!(pathname.to_string(), text),
        Err(error) => drop(error.to_string()),
    }
    if let Ok(name) = ServiceName::new(text) {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(name) = VrName::new(text) {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(name) = InterfaceName::new(text) {
        assert_eq!(name.as_str(), text);
    }
});
