//! Bundles for `corral oci`: a busybox, a configuration, a state directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Said, binary};

/// A bundle of busybox and a state directory of its own.
pub struct World(TempDir);

impl World {
    /// A fresh one.
    ///
    /// # Panics
    /// When the machine lacks a static busybox, which the set-up installs.
    pub fn new() -> Self {
        let world = Self(tempfile::Builder::new().prefix("corral-oci-").tempdir().unwrap());
        let root = world.rootfs();
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("tmp")).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("apt-get install busybox-static");
        for name in [
            "sh", "cat", "id", "sleep", "ls", "echo", "true", "grep", "mount", "stat", "hostname", "mkdir",
            "touch", "awk", "readlink", "uname", "dd", "wc", "sed",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        world
    }

    /// The bundle.
    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    /// Its root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.dir().join("rootfs")
    }

    /// `corral oci` with these words, in the bundle.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("oci").arg("--root").arg(self.dir().join("state")).args(words);
        command.current_dir(self.dir()).stdin(Stdio::null());
        command
    }

    /// What it said.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn say(&self, words: &[&str]) -> Said {
        Said::from(self.command(words).output().unwrap())
    }

    /// Output to a file: what a detached container holds open does not keep the reader waiting.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn quietly(&self, words: &[&str]) -> Said {
        let (out, err) = (self.dir().join("out"), self.dir().join("err"));
        let mut command = self.command(words);
        command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        let code = command.status().unwrap().code().unwrap_or(-1);
        let read = |path| fs::read_to_string(path).unwrap();
        Said { code, out: read(out), err: read(err) }
    }

    /// Writes config.json: the one that `spec` gives, with this program and this change.
    ///
    /// # Panics
    /// When `spec` fails.
    pub fn configure(&self, script: &str, change: impl Fn(&mut Value)) {
        drop(fs::remove_file(self.dir().join("config.json")));
        assert_eq!(self.say(&["spec"]).code, 0);
        let path = self.dir().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        change(&mut config);
        fs::write(path, config.to_string()).unwrap();
    }

    /// The status of a container that must be there.
    ///
    /// # Panics
    /// When it is not.
    pub fn status(&self, id: &str) -> String {
        let said = self.say(&["state", id]);
        assert_eq!(said.code, 0, "{}", said.err);
        serde_json::from_str::<Value>(&said.out).unwrap()["status"].as_str().unwrap().to_owned()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for id in self.say(&["list", "-q"]).out.split_whitespace() {
            self.say(&["delete", "-f", id]);
        }
    }
}

/// Whether a test can run; says so if not.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP: oci::{test}: needs root");
    }
    root
}

/// Appends to a list of the configuration.
///
/// # Panics
/// When there is no such list.
pub fn push(config: &mut Value, path: &str, value: Value) {
    config.pointer_mut(path).and_then(Value::as_array_mut).expect("a list").push(value);
}

/// Gives the configuration a user namespace.
pub fn userns(config: &mut Value) {
    push(config, "/linux/namespaces", json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}
