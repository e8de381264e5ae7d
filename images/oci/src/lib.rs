//! The image that a container engine runs, written without one.
//!
//! ```text
//!   the executable, its libraries, folders of its own ──▶ layer.tar.gz ─┐
//!   user, entry point, health check ──▶ config.json ────────────────────┼──▶ blobs by their hashes ──▶ archive.tar
//!                                       manifest.json, index.json ──────┘
//! ```
//!
//! The archive is an OCI image layout (image-layout.md of the OCI image specification), and beside it has the list that
//! `docker load` of older engines reads. The same input makes the same bytes.

mod layer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use qemu::ImageError;
use qemu::executable;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use layer::Tar;

/// The user that everything runs as: nobody of the host.
const USER: u64 = 65_532;
/// Nothing of an image depends on when it was built.
const CREATED: &str = "1970-01-01T00:00:00Z";
/// Its name, until somebody gives it another one.
const NAME: &str = "isthmus";
/// Folders that an engine mounts on: where the image is read-only it cannot make them.
const MOUNT_POINTS: [&str; 3] = ["dev", "proc", "sys"];
/// By which an engine finds the users that it is asked for by name: `user: root`.
const PASSWD: &str = "root:x:0:0::/:/isthmus\nisthmus:x:65532:65532::/var/lib/isthmus:/isthmus\n";
const GROUP: &str = "root:x:0:\nisthmus:x:65532:\n";
/// Where a configuration is mounted.
const CONFIG: &str = "etc/isthmus/startup.conf";

/// What an image is made of.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// The router's executable.
    pub executable: PathBuf,
    /// The configuration that it starts with while none is mounted or saved.
    pub config: Option<PathBuf>,
}

/// Writes an archive; returns its size in bytes.
pub fn build(options: &ImageOptions, archive: &Path) -> Result<u64, ImageError> {
    let wrong = |error| ImageError::File { path: archive.to_owned(), error };
    let layer = layer(options)?;
    let packed = layer::compress(&layer).map_err(wrong)?;
    let config = config(&digest(&layer)).to_string().into_bytes();
    let manifest = manifest(&config, &packed).to_string().into_bytes();
    let mut tar = Tar::default();
    let add_all = move || -> io::Result<Vec<u8>> {
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar.file("index.json", 0o644, index(&manifest).to_string().as_bytes())?;
        tar.file("manifest.json", 0o644, for_docker(&config, &packed).to_string().as_bytes())?;
        for blob in [&config, &manifest, &packed] {
            tar.file(&blob_path(blob), 0o644, blob)?;
        }
        tar.finish()
    };
    let bytes = add_all().map_err(wrong)?;
    let new = archive.with_extension("new");
    fs::write(&new, &bytes).and_then(|()| fs::rename(&new, archive)).map_err(wrong)?;
    Ok(bytes.len() as u64)
}

/// The file system.
fn layer(options: &ImageOptions) -> Result<Vec<u8>, ImageError> {
    let wrong = |error| ImageError::File { path: options.executable.clone(), error };
    let (executable, libraries) = executable::read(&options.executable)?;
    let config = options
        .config
        .as_ref()
        .map(|path| fs::read(path).map_err(|error| ImageError::File { path: path.clone(), error }));
    let config = config.transpose()?;
    let mut tar = Tar::default();
    let add_all = move || -> io::Result<Vec<u8>> {
        MOUNT_POINTS.into_iter().try_for_each(|path| tar.folder(path, 0o755, 0))?;
        tar.folder("etc/isthmus", 0o755, 0)?;
        tar.file("etc/passwd", 0o644, PASSWD.as_bytes())?;
        tar.file("etc/group", 0o644, GROUP.as_bytes())?;
        tar.folder("tmp", 0o1777, 0)?;
        // The router's own: sockets, and what it keeps.
        tar.folder("run/isthmus", 0o700, USER)?;
        tar.folder("var/lib/isthmus", 0o700, USER)?;
        tar.file("isthmus", 0o755, &executable)?;
        for (path, bytes) in &libraries {
            tar.file(path.to_string_lossy().trim_start_matches('/'), 0o755, bytes)?;
        }
        if let Some(config) = &config {
            tar.file(CONFIG, 0o644, config)?;
        }
        tar.finish()
    };
    add_all().map_err(wrong)
}

/// How it is run: as a user without privileges, in the foreground, asked for its health by its own shell.
fn config(layer: &str) -> Value {
    let second = 1_000_000_000_u64;
    json!({
        "created": CREATED,
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": ["PATH=/", "XDG_RUNTIME_DIR=/run", "XDG_STATE_HOME=/var/lib"],
            "Entrypoint": ["/isthmus"],
            "Cmd": ["up"],
            "Volumes": { "/var/lib/isthmus": {} },
            "StopSignal": "SIGTERM",
            "Healthcheck": {
                "Test": ["CMD", "/isthmus", "sh", "-c", "show processes"],
                "Interval": 30 * second,
                "Timeout": 10 * second,
                "StartPeriod": 5 * second,
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer] },
        "history": [{ "created": CREATED, "created_by": "isthmus image oci" }],
    })
}

fn manifest(config: &[u8], layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    })
}

fn index(manifest: &[u8]) -> Value {
    let mut descriptor = descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
    descriptor["annotations"] = json!({
        "org.opencontainers.image.ref.name": "latest",
        "io.containerd.image.name": format!("docker.io/library/{NAME}:latest"),
    });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    })
}

fn for_docker(config: &[u8], layer: &[u8]) -> Value {
    json!([{
        "Config": blob_path(config),
        "RepoTags": [format!("{NAME}:latest")],
        "Layers": [blob_path(layer)],
    }])
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(blob), "size": blob.len() })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hash(bytes))
}

fn blob_path(blob: &[u8]) -> String {
    format!("blobs/sha256/{}", hash(blob))
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn entries(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(tar);
        let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn every_blob_is_found_by_its_hash_from_the_index_down_to_the_files() {
        let archive = std::env::temp_dir().join(format!("isthmus-oci-{}.tar", std::process::id()));
        let options = ImageOptions { executable: std::env::current_exe().unwrap(), config: None };
        build(&options, &archive).unwrap();
        let bytes = fs::read(&archive).unwrap();
        build(&options, &archive).unwrap();
        assert!(bytes == fs::read(&archive).unwrap(), "the same input makes the same bytes");
        fs::remove_file(&archive).unwrap();

        let outer = entries(&bytes);
        let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let bytes = &outer[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(super::digest(bytes), digest);
            assert_eq!(bytes.len() as u64, descriptor["size"].as_u64().unwrap());
            bytes.clone()
        };
        let manifest = json(&blob(&json(&outer["index.json"])["manifests"][0]));
        let config = json(&blob(&manifest["config"]));
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(&blob(&manifest["layers"][0])[..]).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer));
        let files = entries(&layer);
        assert!(files["isthmus"].starts_with(b"\x7fELF") && files.contains_key("run/isthmus/"), "{:?}", files.keys());
        assert_eq!(json(&outer["manifest.json"])[0]["Layers"][0], blob_path(&blob(&manifest["layers"][0])));
    }
}
