//! `isthmus new protocol`: a crate to begin a protocol with.
//!
//! What it writes is the example `protocols/examples/hello` under another name, so it is built and tested with
//! everything else. It depends on the SDK by path, in the sources that this executable was built from, and gets their
//! `Cargo.lock`: what built Isthmus builds it, without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use ipc::ServiceName;

use crate::{classes, console, launch};

/// The name that shells attach under.
const SHELL: &str = "shell";

/// What `isthmus new` makes.
#[derive(Debug, Subcommand)]
pub enum New {
    /// A routing protocol of your own: a crate that builds, runs in a VR, and has configuration, `show` and a test.
    Protocol {
        /// Its name: of the crate, of the folder, and in `router NAME` and `show NAME`.
        name: String,
        /// The sources of Isthmus, where they are no longer where this executable was built.
        #[arg(long, value_name = "FOLDER")]
        sources: Option<PathBuf>,
    },
}

/// Name of the example in its own files.
const EXAMPLE: &str = "hello";

/// Files of the example that are copied, with what they hold.
const FILES: [(&str, &str); 7] = [
    ("src/main.rs", include_str!("../../../protocols/examples/hello/src/main.rs")),
    ("src/lib.rs", include_str!("../../../protocols/examples/hello/src/lib.rs")),
    ("tests/recorded.rs", include_str!("../../../protocols/examples/hello/tests/recorded.rs")),
    ("lab.conf", include_str!("../../../protocols/examples/hello/lab.conf")),
    (
        "tests/cases/a-neighbor-comes-and-goes/config",
        include_str!("../../../protocols/examples/hello/tests/cases/a-neighbor-comes-and-goes/config"),
    ),
    (
        "tests/cases/a-neighbor-comes-and-goes/in.txt",
        include_str!("../../../protocols/examples/hello/tests/cases/a-neighbor-comes-and-goes/in.txt"),
    ),
    (
        "tests/cases/a-neighbor-comes-and-goes/out.txt",
        include_str!("../../../protocols/examples/hello/tests/cases/a-neighbor-comes-and-goes/out.txt"),
    ),
];

/// Words of Rust, and crates that every crate sees: a crate of such a name does not build.
const TAKEN: [&str; 53] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "sdk",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
    "where",
    "while",
];

/// Makes what was asked for in the present folder.
pub fn run(new: New) -> Result<ExitCode> {
    let New::Protocol { name, sources } = new;
    check_name(&name)?;
    let sources = sources_of_isthmus(sources)?;
    let folder = PathBuf::from(&name);
    if folder.exists() {
        bail!("{name} is there already: choose another name, or remove it");
    }
    write(&folder, &name, &sources).with_context(|| format!("write {name}"))?;
    println!("{}", next_steps(&name));
    Ok(ExitCode::SUCCESS)
}

/// A name that is good for a crate, a word of the configuration and a process.
fn check_name(name: &str) -> Result<()> {
    let letters = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if !letters || !name.starts_with(|first: char| first.is_ascii_lowercase()) || ServiceName::new(name).is_err() {
        bail!("{name:?} is no name for a protocol: small letters, digits, `-` and `_`, with a letter first");
    }
    if TAKEN.contains(&name) {
        bail!("{name} is a word of Rust: choose another name");
    }
    let classes = classes::table(Vec::new())?;
    if [SHELL, console::ROLE, launch::ROLE].contains(&name) || classes.iter().any(|class| class.name.as_str() == name) {
        bail!("{name} is one of the router's own processes: choose another name");
    }
    Ok(())
}

/// The folder that holds the SDK.
fn sources_of_isthmus(named: Option<PathBuf>) -> Result<PathBuf> {
    let sources = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    match sources.canonicalize() {
        Ok(found) if found.join("protocols/sdk/Cargo.toml").is_file() => Ok(found),
        Ok(_) | Err(_) => bail!(
            "{} does not hold the sources of Isthmus, which a protocol is built with: name their folder with --sources",
            sources.display()
        ),
    }
}

fn write(folder: &Path, name: &str, sources: &Path) -> Result<()> {
    for (file, text) in FILES {
        let path = folder.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, renamed(text, name))?;
    }
    fs::write(folder.join("Cargo.toml"), manifest(name, &sources.join("protocols/sdk")))?;
    fs::write(folder.join(".gitignore"), "/target\n")?;
    // The versions that Isthmus was built with lie in cargo's cache.
    fs::copy(sources.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    Ok(())
}

/// A file of the example under another name: its crate, its type, and what it is called.
fn renamed(text: &str, name: &str) -> String {
    let krate = name.replace('-', "_");
    let parts = krate.split('_').filter(|part| !part.is_empty());
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    let type_name: String = parts.map(capital).collect();
    // A new name may hold the old one: what is a path is marked first.
    let marked = text.replace(&format!("{EXAMPLE}::"), "\0::").replace("Hello", &type_name);
    marked.replace(EXAMPLE, name).replace('\0', &krate)
}

fn manifest(name: &str, sdk: &Path) -> String {
    let sdk = toml_string(&sdk.to_string_lossy());
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

# Not part of a workspace around this folder.
[workspace]

[dependencies]
sdk = {{ package = "isthmus-sdk", path = {sdk} }}

[lints.rust]
unsafe_code = "deny"
"#
    )
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn next_steps(name: &str) -> String {
    format!(
        "{name} is written. To see it on two virtual routers:

  cargo build --manifest-path {name}/Cargo.toml
  isthmus up {name}/lab.conf -d
  for vr in red blue; do isthmus run --vr $vr -d -- {name}/target/debug/{name}; done
  isthmus sh -c 'show {name}'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_example_is_copied() {
        fn files(folder: &Path, into: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { files(&path, into) } else { into.push(path) }
            }
        }
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocols/examples/hello");
        let mut found = Vec::new();
        files(&example, &mut found);
        for path in found {
            let name = path.strip_prefix(&example).unwrap().to_str().unwrap().to_owned();
            assert!(name == "Cargo.toml" || FILES.iter().any(|(file, _)| *file == name), "{name}");
        }
    }

    #[test]
    fn a_name_becomes_that_of_crate_type_and_class() {
        let text = "use hello::Hello; // router hello";
        assert_eq!(renamed(text, "my-rip2"), "use my_rip2::MyRip2; // router my-rip2");
    }

    #[test]
    fn names_that_would_not_build_or_not_run_are_refused_in_one_sentence() {
        for name in ["", "Hello", "1st", "a b", "../x", "-x", "bgp", "stack", "console", "shell", "type", "core", "sdk"]
        {
            let said = check_name(name).unwrap_err().to_string();
            assert!(said.contains(name) && !said.contains('\n'), "{said}");
        }
        for name in ["rip", "my-protocol", "x2_y"] {
            check_name(name).unwrap();
        }
    }
}
