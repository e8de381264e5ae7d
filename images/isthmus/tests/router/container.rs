//! The container archive, unpacked and run without a container engine: as a user without privileges, in a file system of
//! its own, as the first process of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::namespace::{can_run, find, run};
use crate::support::{Router, TWO_VRS, assert_fails, stderr, wait_until};
use crate::vm::image_command;

/// What an engine does: mounts, and the entry point as the image's user in the image's root.
const ENGINE: &str = "cd \"$0\" && mount --rbind /dev dev && mount -t proc proc proc \
    && exec setpriv --no-new-privs chroot --userspec=\"$USER\" . \"$@\"";

/// An unpacked image.
pub struct Image {
    root: TempDir,
    config: Value,
}

impl Image {
    /// Writes an archive with arguments of `isthmus image oci`, and unpacks it.
    pub fn build(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("isthmus.tar");
        let mut args = vec!["oci", "-o", archive.to_str().unwrap()];
        args.extend(more);
        let output = image_command(args);
        assert!(output.status.success(), "{}", stderr(&output));
        accepted_by_skopeo(&archive);
        let unpack = |file: &Path, into: &Path| {
            run(Command::new("tar").args(["--numeric-owner", "-xf"]).arg(file).arg("-C").arg(into));
        };
        unpack(&archive, folder.path());
        let blob = |descriptor: &Value| {
            folder.path().join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
        };
        let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let manifest = read(&blob(&read(&folder.path().join("index.json"))["manifests"][0]));
        let root = tempfile::tempdir().unwrap();
        // The folder itself is read by the image's user too.
        run(Command::new("chmod").arg("755").arg(root.path()));
        unpack(&blob(&manifest["layers"][0]), root.path());
        Self { root, config: read(&blob(&manifest["config"]))["config"].clone() }
    }

    /// Where its files are.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    fn words(&self, key: &str) -> Vec<String> {
        self.config[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    }

    /// `program` with the image's environment and user, and nothing else of the host's.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(find(program).unwrap());
        let variables = self.words("Env");
        let variables = variables.iter().map(|variable| variable.split_once('=').unwrap());
        command.env_clear().envs(variables).env("USER", self.config["User"].as_str().unwrap());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
        command
    }

    fn start(&self, configuration: Option<&str>) -> Container<'_> {
        let mut command = self.command("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENGINE]).arg(self.root.path());
        command.args(self.words("Entrypoint")).args(self.words("Cmd"));
        command.envs(configuration.map(|text| ("ISTHMUS_CONFIG", text)));
        Container { image: self, engine: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap() }
    }
}

/// Where it is installed: it follows the hashes from the index to the layer.
fn accepted_by_skopeo(archive: &Path) {
    let Some(skopeo) = find("skopeo") else { return };
    let copy = tempfile::tempdir().unwrap();
    let from = format!("oci-archive:{}", archive.display());
    let to = format!("dir:{}", copy.path().display());
    run(Command::new(skopeo).args(["--insecure-policy", "copy", &from, &to]));
}

/// A running container, gone when it is dropped.
struct Container<'a> {
    image: &'a Image,
    engine: Child,
}

impl Container<'_> {
    fn await_up(&mut self) {
        let mut lines = BufReader::new(self.engine.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("router default is up")), "it did not come up");
        std::thread::spawn(move || lines.for_each(drop));
    }

    /// The router's first process, as the host knows it.
    fn first_process(&self) -> i32 {
        self.engine_child().unwrap()
    }

    fn engine_child(&self) -> Option<i32> {
        let engine = self.engine.id();
        let children = fs::read_to_string(format!("/proc/{engine}/task/{engine}/children")).ok()?;
        children.trim().parse().ok()
    }

    /// A command inside, as an engine executes one.
    fn execute(&self, words: &[String]) -> Output {
        let mut command = self.image.command("nsenter");
        command.args(["--target", &self.first_process().to_string(), "--mount", "--pid", "chroot"]);
        command.arg(format!("--userspec={}", self.image.config["User"].as_str().unwrap()));
        command.arg(self.image.root.path()).args(words).output().unwrap()
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // With the first process go all others. It would outlive its parent: a change of user clears the order to die.
        if let Some(first) = self.engine_child() {
            let _ = kill(Pid::from_raw(first), Signal::SIGKILL);
        }
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

#[test]
fn the_archive_runs_as_a_user_without_privileges_says_how_it_is_and_stops_in_order() {
    let name = "the_archive_runs_as_a_user_without_privileges_says_how_it_is_and_stops_in_order";
    if !can_run(name, &["unshare", "nsenter", "setpriv", "chroot", "tar"]) {
        return;
    }
    let image = Image::build(&[]);
    let mut container = image.start(Some(TWO_VRS));
    container.await_up();
    let status = fs::read_to_string(format!("/proc/{}/status", container.first_process())).unwrap();
    for line in ["Uid:\t65532\t65532", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let health = &image.config["Healthcheck"]["Test"];
    let health: Vec<String> =
        health.as_array().unwrap().iter().skip(1).map(|word| word.as_str().unwrap().to_owned()).collect();
    assert!(container.execute(&health).status.success());
    let summary = ["/isthmus", "sh", "-c", "show bgp summary"].map(str::to_owned);
    let up = wait_until(|| {
        let output = container.execute(&summary);
        (String::from_utf8_lossy(&output.stdout).matches("Established").count() == 2).then_some(())
    });
    assert!(up.is_some(), "{}", String::from_utf8_lossy(&container.execute(&summary).stdout));
    // It is the first process of its own, for which a signal without a handler would mean nothing.
    kill(Pid::from_raw(container.first_process()), Signal::SIGTERM).unwrap();
    assert_eq!(container.engine.wait().unwrap().code(), Some(0));
}

#[test]
fn an_archive_without_a_configuration_says_where_it_looked() {
    if !can_run("an_archive_without_a_configuration_says_where_it_looked", &["unshare", "setpriv", "chroot", "tar"]) {
        return;
    }
    let image = Image::build(&[]);
    let mut container = image.start(None);
    let mut said = String::new();
    std::io::Read::read_to_string(container.engine.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(container.engine.wait().unwrap().code(), Some(1));
    assert!(said.contains("neither /etc/isthmus/startup.conf nor ISTHMUS_CONFIG"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("router.conf");
    fs::write(&config, "vr red\nconnect red blue\n").unwrap();
    let archive = folder.path().join("x.tar");
    let args = ["oci", "-o", archive.to_str().unwrap(), "--config", config.to_str().unwrap()];
    assert_fails(&image_command(args), "there is no VR `blue`");
    fs::write(&config, TWO_VRS).unwrap();
    let image = Image::build(&["--config", config.to_str().unwrap()]);
    image.start(None).await_up();
}

#[test]
fn a_saved_configuration_goes_before_the_environment_and_up_says_which_it_takes() {
    let router = Router::new("chosen");
    let up = || {
        let mut up = router.command(["up", "-d", "--name", "chosen"]);
        let output = up.env("ISTHMUS_CONFIG", "hostname environment\n").output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let says = |text: &str| {
        let output = router.command(["sh", "--name", "chosen", "-c", "show running-config"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().contains(text)
    };
    assert_eq!(up().lines().next(), Some("starting with ISTHMUS_CONFIG"));
    assert!(says("hostname environment"));
    router.sh("configure hostname saved");
    router.sh("copy running-config startup-config");
    assert!(router.down().status.success());
    let saved = router.folder().join("chosen/startup.conf");
    let first = format!("starting with {}; not used: ISTHMUS_CONFIG", saved.display());
    assert_eq!(up().lines().next(), Some(first.as_str()));
    assert!(says("hostname saved"));
}
