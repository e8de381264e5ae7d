//! Kernel modules that the image brings along, in the order in which they need each other.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// Folder of the modules; [`ORDER`] lists their file names, one a line.
const FOLDER: &str = "/lib/modules";
/// The list.
const ORDER: &str = "order";

/// Loads what the image brings along.
pub(super) fn load() -> Result<String, String> {
    load_from(Path::new(FOLDER), |file| match finit_module(file, c"", ModuleInitFlags::empty()) {
        // Built in, or loaded already.
        Err(Errno::EEXIST) => Ok(()),
        result => Ok(result?),
    })
}

fn load_from(folder: &Path, load: impl Fn(&File) -> io::Result<()>) -> Result<String, String> {
    let order = match fs::read_to_string(folder.join(ORDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok("no kernel modules in the image: its kernel is taken to have all drivers".to_owned());
        }
        result => result.map_err(|error| format!("{FOLDER}/{ORDER}: {error}"))?,
    };
    let one = |name: &str| File::open(folder.join(name)).and_then(|file| load(&file));
    let results: Vec<(&str, io::Result<()>)> = order.lines().map(|name| (name, one(name))).collect();
    let failed: Vec<String> =
        results.iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.as_ref().err()?))).collect();
    match failed.is_empty() {
        true => Ok(format!("loaded {} kernel modules", results.len())),
        false => Err(format!("kernel modules that cannot be loaded: {}", failed.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Read;

    use super::*;

    #[test]
    fn modules_are_loaded_in_the_order_of_the_list_and_failures_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.ko", "A");
        write("b.ko", "B");
        write("order", "b.ko\nmissing.ko\na.ko\n");
        let loaded = RefCell::new(String::new());
        let load = |mut file: &File| file.read_to_string(&mut loaded.borrow_mut()).map(drop);
        let said = load_from(folder.path(), load).unwrap_err();
        assert_eq!(*loaded.borrow(), "BA");
        assert!(said.contains("missing.ko: No such file") && !said.contains("a.ko:"), "{said}");
        write("order", "a.ko\n");
        assert_eq!(load_from(folder.path(), |_| Ok(())).unwrap(), "loaded 1 kernel modules");
        fs::remove_file(folder.path().join("order")).unwrap();
        assert!(load_from(folder.path(), |_| Ok(())).unwrap().starts_with("no kernel modules"));
    }
}
