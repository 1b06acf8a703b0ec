//! Containers of an ordinary user, who is made for the test: the same commands, and no more rights than before.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corral_tests::{Said, binary, busybox_archive, eventually};
use tempfile::TempDir;

/// A user with a home, a run directory and a copy of the binary; gone with the value.
struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: TempDir,
    /// Of every command; a test changes it.
    groups: &'static str,
}

/// None, and a line that is counted, where no user can be made.
fn user(test: &str) -> Option<User> {
    let missing =
        ["/usr/sbin/useradd", "/usr/bin/newuidmap"].into_iter().find(|path| !Path::new(path).exists());
    if !rustix::process::geteuid().is_root() || missing.is_some() {
        println!("SKIP: {test}: needs root, useradd and newuidmap (apt-get install uidmap)");
        return None;
    }
    Some(User::new())
}

impl User {
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("corral-user-").tempdir().expect("a home");
        let mut random = [0; 4];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).expect("random");
        let name = format!("ct{:08x}", u32::from_ne_bytes(random));
        let mut make = Command::new("/usr/sbin/useradd");
        make.args(["-M", "-s", "/bin/sh", "-d"]).arg(home.path()).arg(&name);
        assert!(succeeds(&mut make), "useradd {name}");
        let passwd = fs::read_to_string("/etc/passwd").expect("passwd");
        let line = passwd.lines().find(|line| line.split(':').next() == Some(&name)).expect("a line");
        let number = |at: usize| line.split(':').nth(at).expect("a field").parse().expect("a number");
        let user = Self { uid: number(2), gid: number(3), name, home, groups: "disabled" };
        for dir in ["", "run", "project", "bin"] {
            fs::create_dir_all(user.path(dir)).expect("a directory");
            user.give(&user.path(dir));
        }
        fs::set_permissions(user.path("run"), fs::Permissions::from_mode(0o700)).expect("mode");
        fs::copy(binary(), user.path("bin/corral")).expect("a copy of the binary");
        user
    }

    /// As [`User::new`], with the image `busybox`.
    fn with_image(self) -> Self {
        let tar = self.path("busybox.tar");
        fs::write(&tar, busybox_archive()).expect("an archive");
        self.give(&tar);
        self.ok(&["import", "busybox.tar", "busybox"]);
        self
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn give(&self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).expect("chown");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/corral"));
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("CORRAL_CGROUPS", self.groups)
            .current_dir(self.home.path())
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null());
        command
    }

    fn say(&self, words: &[&str]) -> Said {
        Said::from(self.command(words).output().expect("corral runs"))
    }

    fn ok(&self, words: &[&str]) -> String {
        let said = self.say(words);
        assert_eq!(said.code, 0, "{words:?}: {} {}", said.out, said.err);
        said.out
    }

    /// A refusal, whose words hold all of these.
    fn refused(&self, words: &[&str], parts: &[&str]) {
        let said = self.say(words);
        assert!(said.code != 0 && parts.iter().all(|part| said.err.contains(part)), "{words:?}: {said:?}");
    }

    /// The processes of the user, by what they execute.
    fn processes(&self) -> Vec<(i32, String)> {
        let numbers = fs::read_dir("/proc").expect("proc").flatten();
        let own = numbers.filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == self.uid));
        let named = own.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            // What has ended and is not waited for yet has no words.
            (!text.is_empty()).then(|| (pid, text.replace('\0', " ")))
        });
        named.collect()
    }

    /// The process whose command line holds this.
    fn process(&self, part: &str) -> i32 {
        let found = self.processes().into_iter().find(|(_, line)| line.contains(part));
        found.unwrap_or_else(|| panic!("no process with {part}: {:?}", self.processes())).0
    }
}

impl Drop for User {
    /// What a failed test left running ends; the home goes with the value.
    fn drop(&mut self) {
        for id in self.say(&["ps", "-aq"]).out.split_whitespace() {
            self.say(&["rm", "-f", id]);
        }
        if !succeeds(Command::new("/usr/sbin/userdel").args(["-f", &self.name])) {
            println!("userdel {} failed", self.name);
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    // Others who make users on this machine hold the lock of /etc/passwd for a moment.
    (0..100).any(|_| {
        let done =
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !done {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        done
    })
}

#[test]
fn a_container_lives_as_roots_would() {
    let Some(user) = user("a_container_lives_as_roots_would") else { return };
    let user = user.with_image();
    let said = user.say(&["run", "--rm", "busybox", "sh", "-c", "id -u; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "0\n", "err\n"));
    assert_eq!(user.ok(&["run", "--rm", "-u", "agent", "busybox", "id", "-u"]), "1000\n");
    user.ok(&["run", "-d", "--name", "web", "busybox", "sh", "-c", "echo ready; sleep 1000"]);
    eventually("the log has the line", || user.ok(&["logs", "web"]) == "ready\n");
    assert_eq!(user.ok(&["exec", "-u", "agent", "web", "id", "-un"]), "agent\n");
    user.ok(&["exec", "-d", "web", "sleep", "1001"]);
    fs::write(user.path("note"), "from outside").expect("a file");
    user.ok(&["cp", "note", "web:/tmp/note"]);
    assert_eq!(user.ok(&["exec", "web", "cat", "/tmp/note"]), "from outside");
    let top = user.ok(&["top", "web"]);
    assert!(top.contains("sleep 1000") && top.contains("sleep 1001"), "{top}");
    let stats = user.ok(&["stats", "--no-stream", "--format", "json", "web"]);
    assert!(stats.contains(r#""PIDs":"2""#), "{stats}");
    user.ok(&["stop", "-t", "0", "web"]);
    user.ok(&["start", "web"]);
    assert_eq!(user.ok(&["exec", "web", "cat", "/tmp/note"]), "from outside");
    user.ok(&["rm", "-f", "web"]);
    assert_eq!(user.ok(&["ps", "-aq"]), "");
    let left = fs::read_dir(user.path("run/corral/containers")).expect("run directory").count();
    assert_eq!(left, 0, "nothing is left of it");
    assert_eq!(user.processes(), []);
}

#[test]
fn layers_keep_owners_and_deletions() {
    let Some(user) = user("layers_keep_owners_and_deletions") else { return };
    let user = user.with_image();
    let change =
        "rm -r /home /etc/group; mkdir /home; echo new >/home/new; chown 7:8 /home/new; mkdir /tmp/a";
    user.ok(&["run", "--name", "base", "busybox", "sh", "-c", change]);
    let diff = user.ok(&["diff", "base"]);
    assert!(diff.contains("D /etc/group") && diff.contains("A /home/new"), "{diff}");
    user.ok(&["commit", "base", "changed"]);
    user.ok(&["save", "-o", "changed.tar", "changed"]);
    user.ok(&["rm", "base"]);
    user.ok(&["rmi", "changed"]);
    user.ok(&["load", "-i", "changed.tar"]);
    let look = "stat -c %u:%g /home/new; ls -A /home; ls /etc";
    let seen = user.ok(&["run", "--rm", "changed", "sh", "-c", look]);
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[..2], ["7:8", "new"], "{seen}");
    assert!(!lines.contains(&"group"), "{seen}");
}

#[test]
fn bound_directories_keep_their_owner() {
    let Some(user) = user("bound_directories_keep_their_owner") else { return };
    let user = user.with_image();
    let volume = format!("{}:/w", user.path("project").display());
    let owner = |file: &str| fs::metadata(user.path("project").join(file)).expect("made").uid();
    user.ok(&["run", "--rm", "-v", &volume, "busybox", "touch", "/w/root"]);
    assert_eq!(owner("root"), user.uid, "the container's root is the user");
    let uid = user.uid.to_string();
    let script = "id -u; stat -c %u /w /w/root; touch /w/mine; stat -c %u /bin";
    let seen = user.ok(&["run", "--rm", "--userns", "keep-id", "-v", &volume, "busybox", "sh", "-c", script]);
    assert_eq!(seen, format!("{uid}\n{uid}\n{uid}\n{uid}\n"), "busybox's root is the user inside");
    assert_eq!(owner("mine"), user.uid);
    let agent = [
        "run",
        "--rm",
        "--profile",
        "agent",
        "--userns",
        "keep-id",
        "-v",
        &volume,
        "busybox",
        "touch",
        "/w/agent",
    ];
    user.ok(&agent);
    assert_eq!(owner("agent"), user.uid);
    user.refused(
        &["run", "--rm", "-u", "agent", "-v", &volume, "busybox", "true"],
        &["user 1000", "--userns keep-id", ":ro"],
    );
    user.ok(&["run", "--rm", "-u", "agent", "-v", &format!("{volume}:ro"), "busybox", "cat", "/w/root"]);
    let said = user.say(&["run", "--rm", "-v", "/etc:/w", "busybox", "touch", "/w/x"]);
    assert!(said.code != 0 && said.err.contains("ermission denied"), "{said:?}");
    user.refused(&["run", "--rm", "--userns", "host", "busybox", "true"], &["keep-id"]);
    user.ok(&[
        "run",
        "--rm",
        "-v",
        "data:/home",
        "busybox",
        "sh",
        "-c",
        "echo kept >/home/f; chown 5:5 /home/f",
    ]);
    assert_eq!(
        user.ok(&["run", "--rm", "-v", "data:/home", "busybox", "stat", "-c", "%u", "/home/f"]),
        "5\n"
    );
}

#[test]
fn a_user_without_ranges_has_one_id_and_is_told() {
    let Some(user) = user("a_user_without_ranges_has_one_id_and_is_told") else { return };
    assert!(succeeds(Command::new("/usr/sbin/usermod").args([
        "-V",
        "0-4294967294",
        "-W",
        "0-4294967294",
        &user.name
    ])));
    let user = user.with_image();
    let said = user.say(&["run", "--rm", "busybox", "id", "-u"]);
    assert_eq!((said.code, said.out.as_str()), (0, "0\n"), "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
    assert!(said.err.contains("only your own id") && said.err.contains("--add-subuids"), "{said:?}");
    user.refused(&["run", "--rm", "-u", "agent", "busybox", "true"], &["1000:1000", "/etc/subuid"]);
    user.refused(&["run", "--rm", "--userns", "keep-id", "busybox", "true"], &["/etc/subuid"]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_uid(5);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    tar.append_data(&mut header, "f", std::io::empty()).expect("an entry");
    fs::write(user.path("owned.tar"), tar.into_inner().expect("an archive")).expect("written");
    user.refused(&["import", "owned.tar", "owned"], &["has no id in your user namespace"]);
}

#[test]
fn what_cannot_be_bounded_is_refused_unless_it_is_named() {
    let Some(mut user) = user("what_cannot_be_bounded_is_refused_unless_it_is_named") else { return };
    user.groups = "";
    let user = user.with_image();
    user.refused(
        &["run", "--rm", "busybox", "true"],
        &["no control group", "--cgroups disabled", "Delegate=yes"],
    );
    user.refused(
        &["run", "--rm", "--cgroups", "disabled", "-m", "64m", "busybox", "true"],
        &["--cgroups disabled"],
    );
    user.refused(&["run", "--rm", "--cgroups", "on", "busybox", "true"], &["enabled or disabled"]);
    user.ok(&["run", "-d", "--name", "open", "--cgroups", "disabled", "busybox", "sleep", "1000"]);
    assert!(user.ok(&["ps"]).contains("[cgroups=disabled]"));
    user.refused(&["pause", "open"], &["no control group"]);
    user.refused(&["update", "-m", "64m", "open"], &["no control group"]);
    user.ok(&["rm", "-f", "open"]);
}

/// A group of each hierarchy that is the user's, with a group below it for the command.
struct Delegated(Vec<PathBuf>);

impl Delegated {
    fn to(user: &User) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let own = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
        let mut made = Self(Vec::new());
        for line in mounts.lines() {
            let (left, right) = line.split_once(" - ").expect("a separator");
            let (mut left, mut right) = (left.split(' ').skip(3), right.split(' '));
            let (root, mount) = (left.next().expect("root"), PathBuf::from(left.next().expect("mount")));
            let (kind, options) = (right.next().expect("kind"), right.nth(1).expect("options"));
            let controller =
                ["memory", "pids", "cpu"].into_iter().find(|name| options.split(',').any(|o| o == *name));
            let path = own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (names, path) = (fields.next()?, fields.next()?);
                let same = if kind == "cgroup2" {
                    names.is_empty()
                } else {
                    names.split(',').any(|n| Some(n) == controller)
                };
                same.then(|| path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').to_owned())
            });
            let usable = kind == "cgroup2" || (kind == "cgroup" && controller.is_some());
            let Some(path) = path.filter(|_| usable) else { continue };
            // On cgroup2 only the root, or a group without processes, has children with controllers.
            let above = if kind == "cgroup2" { mount } else { mount.join(path) };
            let top = above.join(&user.name);
            fs::create_dir(&top).ok()?;
            fs::create_dir(top.join("command")).ok()?;
            made.0.push(top.clone());
            for dir in [top.clone(), top.join("command")] {
                user.give(&dir);
                for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "tasks"] {
                    if dir.join(file).exists() {
                        user.give(&dir.join(file));
                    }
                }
            }
        }
        Some(made)
    }

    /// The same command, begun in the groups.
    fn enter(&self, command: &Command) -> Command {
        let dirs: Vec<String> = self.0.iter().map(|dir| format!("{}/command", dir.display())).collect();
        let uid = command_owner(command);
        let script = format!(
            "for d in {}; do echo $$ >$d/cgroup.procs || exit 99; done; exec setpriv --reuid={uid} --regid={uid} \
             --clear-groups \"$@\"",
            dirs.join(" ")
        );
        let mut entered = Command::new("/bin/sh");
        entered.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args()).env_clear();
        entered
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null());
        entered.current_dir(command.get_current_dir().expect("a directory"));
        entered
    }
}

/// The user whose home the command has.
fn command_owner(command: &Command) -> u32 {
    fs::metadata(command.get_current_dir().expect("a directory")).expect("a home").uid()
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for top in &self.0 {
            for dir in [top.join("command"), top.clone()] {
                eventually("the group is empty", || !dir.exists() || fs::remove_dir(&dir).is_ok());
            }
        }
    }
}

#[test]
fn limits_hold_in_groups_that_are_the_users() {
    let test = "limits_hold_in_groups_that_are_the_users";
    let Some(mut user) = user(test) else { return };
    let Some(groups) = Delegated::to(&user) else {
        println!("SKIP: {test}: no control group can be made and given away here");
        return;
    };
    user.groups = "";
    let user = user.with_image();
    let say = |words: &[&str]| {
        let output = groups.enter(&user.command(words)).output().expect("a shell");
        Said::from(output)
    };
    let said = say(&["run", "--rm", "-m", "32m", "busybox", "tail", "/dev/zero"]);
    assert_eq!(said.code, 137, "{said:?}");
    let fork = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait";
    let said = say(&["run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", fork]);
    assert!(said.err.contains("can't fork"), "{said:?}");
    let said = say(&[
        "run",
        "-d",
        "--name",
        "bounded",
        "--profile",
        "agent",
        "-u",
        "1000",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(said.code, 0, "an agent's bounds are there: {said:?}");
    let said = say(&["pause", "bounded"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(say(&["ps"]).out.contains("(Paused)"));
    assert_eq!(say(&["rm", "-f", "bounded"]).code, 0);
}

#[test]
fn directories_of_others_are_not_used() {
    let Some(user) = user("directories_of_others_are_not_used") else { return };
    let with = |variable: &str, value: &Path| {
        let output = user.command(&["images"]).env(variable, value).output().expect("corral runs");
        Said::from(output)
    };
    let refuse = |said: Said, part: &str| assert!(said.code != 0 && said.err.contains(part), "{said:?}");
    // What su leaves behind.
    let foreign = tempfile::tempdir().expect("a directory of root's");
    refuse(with("XDG_RUNTIME_DIR", foreign.path()), "belongs to user 0");
    let link = user.path("link");
    symlink(user.path("run"), &link).expect("a link");
    refuse(with("XDG_RUNTIME_DIR", &link), "is no directory");
    let open = user.path("open");
    fs::create_dir(&open).expect("a directory");
    user.give(&open);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("mode");
    refuse(with("CORRAL_RUN", &open), "can be written by others");
    refuse(with("CORRAL_ROOT", Path::new("/etc")), "belongs to user 0");
    refuse(with("CORRAL_ROOT", Path::new("/etc/corral-of-a-test")), "cannot make");
    assert_eq!(fs::read_dir(foreign.path()).expect("read").count(), 0);
}

/// Two users: nothing of the one's is the other's, and nobody gains what they had not.
#[test]
fn a_user_gains_nothing() {
    let Some(first) = user("a_user_gains_nothing") else { return };
    let first = first.with_image();
    let second = User::new();
    first.ok(&["run", "-d", "--name", "own", "busybox", "sleep", "1234"]);
    let monitor = first.process("__monitor");
    // A file that names another's process is no member, however it is written.
    let dir = second.path("run/corral/namespace");
    second.ok(&["ps"]);
    let namespace = fs::metadata(format!("/proc/{monitor}/ns/user")).expect("root may look").ino();
    fs::write(dir.join(monitor.to_string()), namespace.to_string()).expect("a file");
    second.give(&dir.join(monitor.to_string()));
    assert_eq!(second.ok(&["ps", "-aq"]), "");
    second.refused(
        &["--run-root", &first.path("run/corral").display().to_string(), "ps"],
        &["ermission denied"],
    );
    // The helpers are not looked up, and have nothing of the caller's environment.
    let trap = first.path("bin/newuidmap");
    fs::write(&trap, "#!/bin/sh\ntouch \"$HOME/trapped\"\n").expect("a trap");
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).expect("mode");
    let path = format!("{}:/usr/bin:/bin", first.path("bin").display());
    let said = second.command(&["ps"]).env("PATH", path).output().expect("corral runs");
    assert!(said.status.success() && !first.path("trapped").exists() && !second.path("trapped").exists());
    // The container sees neither the host's processes nor its files, and has no power over what is the kernel's.
    let script = "ls /proc | grep -c '^[0-9]'; kill -0 2 && echo signalled; echo x >/proc/sys/kernel/domainname; \
                  mount -t tmpfs none /tmp; mknod /tmp/sda b 8 0; cat /etc/shadow";
    let said = first.say(&["run", "--rm", "busybox", "sh", "-c", script]);
    assert!(
        said.out.lines().next().is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count < 8)),
        "{said:?}"
    );
    assert!(!said.out.contains("signalled"), "{said:?}");
    for part in ["domainname", "mount", "mknod", "shadow"] {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
    let devices = first.ok(&["run", "--rm", "busybox", "sh", "-c", "find /dev -type b -o -type c | sort"]);
    assert!(!devices.contains("mem") && devices.contains("/dev/null"), "{devices}");
    // Root inside is the user outside: it shares nothing in which that counts.
    for mode in ["--pid", "--ipc"] {
        first.refused(&["run", "--rm", mode, "host", "busybox", "true"], &["your own processes"]);
    }
    first.ok(&["rm", "-f", "own"]);
}

#[test]
fn a_killed_monitor_leaves_nothing() {
    let Some(user) = user("a_killed_monitor_leaves_nothing") else { return };
    let user = user.with_image();
    user.ok(&["run", "-d", "--name", "gone", "busybox", "sleep", "1235"]);
    user.ok(&["run", "-d", "--name", "stays", "busybox", "sleep", "1236"]);
    let monitors: Vec<i32> = user
        .processes()
        .into_iter()
        .filter(|(_, line)| line.contains("__monitor"))
        .map(|(pid, _)| pid)
        .collect();
    assert_eq!(monitors.len(), 2);
    let namespaces =
        monitors.iter().map(|pid| fs::read_link(format!("/proc/{pid}/ns/user")).expect("a link"));
    let namespaces: std::collections::BTreeSet<PathBuf> = namespaces.collect();
    assert_eq!(namespaces.len(), 1, "one namespace for all of a user");
    let ids = user.ok(&["inspect", "--format", "{{.Id}}", "gone"]);
    let gone = user.process(&format!("containers/{}", ids.trim()));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(gone).expect("a pid"),
        rustix::process::Signal::KILL,
    )
    .expect("killed");
    eventually("its container ends with it", || {
        !user.processes().iter().any(|(_, line)| line.contains("1235"))
    });
    assert_eq!(user.ok(&["exec", "stays", "echo", "alive"]), "alive\n", "who joins finds the other");
    user.ok(&["rm", "-f", "gone", "stays"]);
    eventually("nobody is left", || user.processes().is_empty());
    user.ok(&["ps"]);
    let members = fs::read_dir(user.path("run/corral/namespace")).expect("members").count();
    assert!(members <= 2, "the lock, and the last command's file");
}

#[test]
fn the_doctor_says_what_rootless_is() {
    let Some(user) = user("the_doctor_says_what_rootless_is") else { return };
    let said = user.say(&["doctor"]);
    assert_eq!(said.code, 0, "{said:?}");
    for part in [
        "not separated from each other by uid",
        "65536 ids beside your own",
        "marks of deletion",
        "Delegate=yes",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
}
