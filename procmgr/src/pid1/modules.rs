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

/// Loads what the image brings along. Its files go then: they take memory, and nobody needs them again.
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
    let removed = fs::remove_dir_all(folder);
    let failed: Vec<String> =
        results.iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.as_ref().err()?))).collect();
    match (failed.is_empty(), removed) {
        (true, Ok(())) => Ok(format!("loaded {} kernel modules", results.len())),
        (true, Err(error)) => Err(format!("loaded {} kernel modules, whose files stay: {error}", results.len())),
        (false, _) => Err(format!("kernel modules that cannot be loaded: {}", failed.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Read;

    use super::*;

    #[test]
    fn modules_are_loaded_in_the_order_of_the_list_and_failures_are_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("modules");
        let write = |name: &str, text: &str| {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
        };
        write("a.ko", "A");
        write("b.ko", "B");
        write("order", "b.ko\nmissing.ko\na.ko\n");
        let loaded = RefCell::new(String::new());
        let load = |mut file: &File| file.read_to_string(&mut loaded.borrow_mut()).map(drop);
        let said = load_from(&folder, load).unwrap_err();
        assert_eq!(*loaded.borrow(), "BA");
        assert!(said.contains("missing.ko: No such file") && !said.contains("a.ko:"), "{said}");
        write("a.ko", "A");
        write("order", "a.ko\n");
        assert_eq!(load_from(&folder, |_| Ok(())).unwrap(), "loaded 1 kernel modules");
        assert!(!folder.exists(), "their files are gone");
        assert!(load_from(&folder, |_| Ok(())).unwrap().starts_with("no kernel modules"));
    }
}
