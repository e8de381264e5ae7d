//! The pages of the library: each type that a program meets has an example, and each example runs.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Types of which an example cannot run within one process, and the test that runs them.
const RUN_ELSEWHERE: [(&str, &str); 2] = [
    // They wait for procmgr, and go to a program that is executed.
    ("DatagramRecord", "images/isthmus/tests/router/exec.rs"),
    ("ListenerRecord", "images/isthmus/tests/router/exec.rs"),
];

/// Every `pub struct`, `pub enum` and `pub trait` of a source folder, with the lines of its documentation.
fn documented(folder: &Path, found: &mut HashMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            documented(&path, found);
            continue;
        }
        let mut documentation = String::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            match words(line)[..] {
                _ if line.starts_with("///") => documentation.extend([line, "\n"]),
                _ if line.starts_with("#[") => {}
                ["pub", "struct" | "enum" | "trait", name, ..] => {
                    found.insert(name.to_string(), std::mem::take(&mut documentation));
                }
                _ => documentation.clear(),
            }
        }
    }
}

/// Names of types that a file makes known with `pub use`, or has itself.
fn exported(file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).unwrap();
    let words = source.lines().flat_map(|line| match words(line)[..] {
        ["pub", "use", ref names @ ..] => names.to_vec(),
        ["pub", "struct" | "enum", name, ..] => vec![name],
        _ => vec![],
    });
    let is_type = |word: &&str| word.starts_with(char::is_uppercase) && word.contains(char::is_lowercase);
    words.filter(is_type).map(str::to_string).collect()
}

fn words(line: &str) -> Vec<&str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

#[test]
fn every_type_that_a_program_meets_has_an_example_that_runs() {
    let room = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = HashMap::new();
    documented(&room.join("src"), &mut pages);
    documented(&room.join("../stack/api/src"), &mut pages);
    let files = ["lib.rs", "blocking/mod.rs", "vrfib/mod.rs"];
    let types: Vec<String> = files.iter().flat_map(|file| exported(&room.join("src").join(file))).collect();
    assert!(types.len() > 35, "{types:?}");
    let has_example = |name: &String| {
        let fences = pages[name].lines().filter(|line| line.starts_with("/// ```"));
        // Of two, the second ends the block.
        fences.step_by(2).any(|fence| fence == "/// ```")
    };
    let without: Vec<&String> = types
        .iter()
        .filter(|name| !has_example(name) && !RUN_ELSEWHERE.iter().any(|(known, _)| known == name))
        .collect();
    assert!(without.is_empty(), "without an example that runs: {without:?}");
}
