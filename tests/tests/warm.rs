//! Warm starts: what is forked from a template behaves as what is executed, and is confined as much.
//!
//! The image is the host's own Python, from its distribution, with a small agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use corral_tests::{Corral, eventually};

const AGENT: &str = r#"
import json, os, random, signal, sys, time
import helper

def status():
    wanted = ("Cap", "NoNew", "Seccomp", "Uid", "Gid", "Groups", "Umask", "Threads", "SigBlk", "SigIgn", "SigCgt", "TracerPid")
    with open("/proc/self/status") as file:
        return [line.strip() for line in file if line.startswith(wanted)]

def mounts():
    with open("/proc/self/mountinfo") as file:
        return sorted(" ".join(line.split()[4:6]) for line in file)

def read(path):
    with open(path) as file:
        return file.read()

def report():
    print(json.dumps({
        "status": status(),
        "limits": read("/proc/self/limits").splitlines(),
        "mounts": mounts(),
        "cgroup": read("/proc/self/cgroup"),
        "fds": sorted(os.listdir("/proc/self/fd")),
        "cwd": os.getcwd(),
        "argv": sys.argv,
        "path0": sys.path[0],
        "name": __name__,
        "file": __file__,
        "environ": {name: value for name, value in os.environ.items() if name != "HOSTNAME"},
        "host": os.uname().nodename == os.environ["HOSTNAME"],
        "session": os.getsid(0) == os.getpid(),
        "links": [os.readlink(f"/proc/self/{link}") for link in ("root", "cwd")],
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "encoding": [sys.stdin.encoding, sys.stdout.encoding],
        "writable": os.access("/", os.W_OK),
        "score": read("/proc/self/oom_score_adj"),
        "denied": denied(),
    }, indent=1))

def denied():
    tried = {}
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    for name, call in {"setns": 308, "unshare": 272, "mount": 165, "bpf": 321, "ptrace": 101, "keyctl": 250}.items():
        tried[name] = [libc.syscall(call, 0x10000000, 0, 0, 0, 0), ctypes.get_errno()]
    return tried

if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "none"
    if what == "report":
        report()
    elif what == "exit":
        print("out"); print("err", file=sys.stderr); sys.exit(int(sys.argv[2]))
    elif what == "echo":
        sys.stdout.write(sys.stdin.read().upper())
    elif what == "random":
        import uuid
        print(random.random(), uuid.uuid4(), helper.GENERATOR.random() if len(sys.argv) > 2 else "")
    elif what == "others":
        found = [pid for pid in os.listdir("/proc") if pid.isdigit()]
        print(sorted(map(int, found)) == sorted({1, os.getpid()}))
    elif what == "sleep":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        print("ready", flush=True)
        time.sleep(float(sys.argv[2]))
    elif what == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
"#;

fn interpreter() -> String {
    fs::canonicalize("/usr/bin/python3").expect("python").display().to_string()
}

/// A Python image whose agent imports `helper`; none if this machine has no Python of its distribution's.
fn python(helper: &str) -> Option<Corral> {
    let corral = Corral::empty();
    let skip = |reason: &str| {
        println!("SKIP: warm: {reason}");
        None
    };
    let Ok(interpreter) = fs::canonicalize("/usr/bin/python3") else {
        return skip("there is no /usr/bin/python3");
    };
    let name = interpreter.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let modules = Path::new("/usr/lib").join(&name);
    if !modules.join("os.py").exists() {
        return skip("its modules are not where distributions have them");
    }
    let app = corral.dir().join("app");
    fs::create_dir(&app).expect("directory");
    fs::write(app.join("agent.py"), AGENT).expect("agent");
    fs::write(app.join("helper.py"), helper).expect("helper");
    let extensions =
        fs::read_dir(modules.join("lib-dynload")).expect("extensions").flatten().map(|entry| entry.path());
    let listed = Command::new("ldd").arg(&interpreter).args(extensions).output().expect("ldd");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut libraries: Vec<&str> = listed
        .split_ascii_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .collect();
    libraries.sort_unstable();
    libraries.dedup();
    let image = corral.dir().join("python.tar");
    let made = Command::new("tar")
        .args(["--dereference", "--exclude=test", "--exclude=__pycache__", "--exclude=config-*", "-cf"])
        .args([image.as_os_str(), interpreter.as_os_str(), modules.as_os_str()])
        .args(libraries)
        .args(["-C".as_ref(), corral.dir().as_os_str(), "app".as_ref()])
        .output()
        .expect("tar");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let entrypoint = format!("ENTRYPOINT [\"{}\", \"/app/agent.py\"]", interpreter.display());
    let image = image.display().to_string();
    let mut words = vec!["import"];
    for change in
        [&entrypoint, "USER 1000", "WORKDIR /app", "LABEL dev.corral.profile=agent", "ENV FROM_IMAGE=yes"]
    {
        words.extend(["--change", change]);
    }
    corral.ok(&[&words[..], &[&image, "agent"]].concat());
    Some(corral)
}

fn template(corral: &Corral) -> String {
    corral.ok(&["warm", "agent"]).trim().to_owned()
}

fn monitor(corral: &Corral, id: &str) -> i32 {
    let path = corral.run_root().join("containers").join(id).join("status.json");
    let status: serde_json::Value = serde_json::from_slice(&fs::read(path).expect("status")).expect("JSON");
    status["monitor"]["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("pid")
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
}

fn containers(corral: &Corral) -> Vec<PathBuf> {
    let dirs = [corral.root(), corral.run_root()];
    dirs.iter()
        .flat_map(|dir| fs::read_dir(dir.join("containers")).expect("directory").flatten())
        .map(|e| e.path())
        .collect()
}

#[test]
fn it_is_what_a_cold_start_is() {
    let Some(corral) = python("VALUE = 1\n") else { return };
    template(&corral);
    let work = corral.dir().join("work");
    fs::create_dir(&work).expect("directory");
    std::os::unix::fs::chown(&work, Some(1234), Some(1234)).expect("chown");
    let work = format!("{}:/work", work.display());
    let flags = [
        "--warm=never",
        "--rm",
        "-e",
        "SAID=here",
        "-w",
        "/work",
        "-v",
        &work,
        "-m",
        "256m",
        "-u",
        "1234:55",
    ];
    let more =
        ["--ulimit", "nofile=512:1024", "--oom-score-adj", "7", "--group-add", "77", "--hostname", "box"];
    let words = [&flags[..], &more, &["agent", "report", "--flag"]].concat();
    let run = |warm: &'static str| {
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "--warm=never" { warm } else { *word }).collect();
        let text = corral.ok(&[&["run"], &words[..]].concat());
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let (cold, warm) = (run("--warm=never"), run("--warm"));
    let cold = cold.as_object().expect("object");
    for (key, value) in cold {
        assert_eq!(&warm[key], value, "{key}");
    }
    assert!(cold["status"].to_string().contains("CapBnd:\\t0000000000000000"), "{cold:?}");
}

#[test]
fn streams_codes_and_signals_are_its_own() {
    let Some(corral) = python("VALUE = 1\n") else { return };
    template(&corral);
    let said = corral.say(&["run", "--rm", "--warm", "agent", "exit", "42"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (42, "out\n", "err\n"));
    let said =
        corral.feed(&["run", "--rm", "-i", "--warm", "agent", "echo"], "ab\n".repeat(100_000).as_bytes());
    assert_eq!((said.code, said.out.len()), (0, 300_000), "{}", said.err);
    assert_eq!(corral.say(&["run", "--rm", "--warm", "agent", "signal"]).code, 137);
    let said = corral.say(&["run", "--rm", "--warm", "-w", "/etc/hosts", "agent", "report"]);
    assert_eq!(said.code, 125, "a working directory that is none: {said:?}");
    // In the background: log, stop by its own handler, a second life without the template.
    corral.ok(&["run", "-d", "--name", "one", "--warm", "agent", "sleep", "1000"]);
    eventually("the program has begun", || corral.ok(&["logs", "one"]).contains("ready"));
    assert!(corral.ok(&["ps"]).contains("[warm]"));
    assert_eq!(corral.ok(&["exec", "one", &interpreter(), "-c", "print(1)"]), "1\n");
    corral.ok(&["stop", "one"]);
    assert_eq!(corral.inspect("one")["State"]["ExitCode"], 7);
    corral.ok(&["start", "one"]);
    eventually("it runs again", || corral.ok(&["logs", "one"]).matches("ready").count() == 2);
    corral.ok(&["rm", "-f", "one"]);
}

#[test]
fn each_has_randomness_and_processes_of_its_own() {
    let Some(corral) = python("import random\nGENERATOR = random.SystemRandom()\n") else { return };
    template(&corral);
    let run = || corral.ok(&["run", "--rm", "--warm", "agent", "random", "more"]);
    let (one, two) = (run(), run());
    for (one, two) in one.split_ascii_whitespace().zip(two.split_ascii_whitespace()) {
        assert_ne!(one, two);
    }
    for name in ["one", "two"] {
        corral.ok(&["run", "-d", "--name", name, "--warm", "agent", "sleep", "1000"]);
    }
    assert_eq!(corral.ok(&["run", "--rm", "--warm", "agent", "others"]), "True\n");
    let ids = |name: &str| {
        let pid = corral.inspect(name)["State"]["Pid"].as_i64().expect("pid");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        status.lines().find(|line| line.starts_with("Uid:")).expect("ids").to_owned()
    };
    assert_ne!(ids("one"), ids("two"), "two containers of one template have no host id in common");
    // What stands above them ends with force only, and then so do they.
    let said = corral.say(&["warm", "rm", "agent"]);
    assert!(said.code != 0 && said.err.contains("stop them first"), "{said:?}");
    corral.ok(&["warm", "rm", "-f", "agent"]);
    eventually("they have ended", || corral.inspect("one")["State"]["Status"] == "exited");
    assert_eq!(corral.inspect("two")["State"]["ExitCode"], 137);
    assert_eq!(corral.ok(&["warm", "ls", "-q"]), "");
}

#[test]
fn what_differs_starts_cold() {
    let helper = "import os\nMODEL = os.environ.get('MODEL', 'none')\nos.environ['SET_BY_IMPORT'] = 'yes'\n";
    let Some(corral) = python(helper) else { return };
    let said = corral.say(&["run", "--rm", "--warm", "agent", "report"]);
    assert!(said.code == 125 && said.err.contains("has no template"), "{said:?}");
    let id = template(&corral);
    let check = |flags: &[&str], reason: &str| {
        let said = corral.say(&[&["run", "--rm", "--warm"], flags, &["agent", "exit", "3"]].concat());
        if reason.is_empty() {
            assert_eq!(said.code, 3, "{flags:?} {said:?}");
        } else {
            assert!(said.code == 125 && said.err.contains(reason), "{flags:?} {said:?}");
            let said = corral.say(&[&["run", "--rm"], flags, &["agent", "exit", "3"]].concat());
            assert_eq!(said.code, 3, "cold: {flags:?} {said:?}");
        }
    };
    check(&["-e", "OTHER=x"], "");
    check(&["-e", "MODEL=x"], "the imports depend on the variable MODEL");
    check(&["-e", "PYTHONHASHSEED=1"], "PYTHONHASHSEED");
    check(&["--tmpfs", "/app/data"], "the mount at /app/data");
    check(&["--ulimit", "core=1:1"], "the limit core");
    let said = corral.say(&["run", "--rm", "--warm", "--entrypoint", "/bin/true", "agent"]);
    assert!(said.err.contains("another command"), "{said:?}");
    let said = corral.say(&["run", "--rm", "--warm", "--profile", "standard", "agent", "exit", "3"]);
    assert_eq!(said.code, 125, "{said:?}");
    let report = corral.ok(&["run", "--rm", "--warm", "agent", "report"]);
    assert!(report.contains("SET_BY_IMPORT"), "{report}");
    // Nothing but a fork ever comes out of it.
    for words in [["exec", &id[..12], "/bin/true"], ["pause", &id[..12], ""]] {
        let said = corral.say(&words[..if words[2].is_empty() { 2 } else { 3 }]);
        assert!(said.code != 0 && said.err.contains("template"), "{said:?}");
    }
    assert!(corral.say(&["warm", "agent"]).err.contains("has a template"));
    assert!(corral.ok(&["ps"]).contains("[template]"));
}

#[test]
fn what_cannot_be_forked_is_no_template() {
    let check = |helper: &str, reason: &str| {
        let Some(corral) = python(helper) else { return };
        let said = corral.say(&["warm", "agent"]);
        assert!(said.code == 125 && said.err.contains(reason), "{helper}: {said:?}");
        eventually("it is gone", || containers(&corral).is_empty());
        assert_eq!(corral.say(&["run", "--rm", "agent", "exit", "3"]).code, 3, "cold it runs");
    };
    let thread = "import threading, time\nthreading.Thread(target=lambda: time.sleep(9), name='ticker', daemon=True).start()\n";
    check(thread, "import helper starts threads when it is imported (ticker)");
    check("import mmap\nKEPT = mmap.mmap(-1, 4096)\n", "shared");
    check(
        "import subprocess, sys\nCHILD = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])\n",
        "other processes",
    );
    // Filters that let ids and capabilities be dropped in appearance only: prctl(PR_SET_SECCOMP) by the image itself.
    let filter = "
import ctypes, struct
class Program(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
KEPT = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
import sys
libc = ctypes.CDLL(None)
if sys.argv[0] == '/dev/corral-warm.py':
    libc.prctl(22, 2, ctypes.byref(Program(1, ctypes.addressof(KEPT))), 0, 0)
";
    check(filter, "filtered in another way");
    let Some(corral) = python("import nothing_of_that_name\n") else { return };
    let said = corral.say(&["warm", "agent"]);
    assert!(said.code == 125 && said.err.contains("No module named 'nothing_of_that_name'"), "{said:?}");
    eventually("it is gone", || containers(&corral).is_empty());
}

#[test]
fn nothing_is_left_of_what_was_killed() {
    let Some(corral) = python("VALUE = 1\n") else { return };
    let id = template(&corral);
    corral.ok(&["run", "-d", "--name", "one", "--warm", "agent", "sleep", "1000"]);
    let init = corral.inspect("one")["State"]["Pid"].as_i64().expect("pid");
    kill(monitor(&corral, &id));
    eventually("the container ended with its template", || !Path::new(&format!("/proc/{init}")).exists());
    eventually("its end is recorded", || corral.inspect("one")["State"]["Status"] == "exited");
    corral.ok(&["system", "repair"]);
    assert_eq!(fs::read_dir(corral.run_root().join("warm")).expect("directory").count(), 0);
    corral.ok(&["rm", "one"]);
    assert_eq!(corral.say(&["run", "--rm", "agent", "exit", "3"]).code, 3, "cold again");
    // A start that is killed at any moment harms nobody else.
    let id = template(&corral);
    for delay in 0..40 {
        let mut child = corral.spawn(&["run", "--rm", "--warm", "agent", "sleep", "1000"]);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
    assert_eq!(corral.say(&["run", "--rm", "--warm", "agent", "exit", "3"]).code, 3);
    assert_eq!(corral.ok(&["warm", "ls", "-q"]).trim(), &id[..12]);
    corral.ok(&["warm", "rm", "agent"]);
    corral.ok(&["system", "repair"]);
    eventually("nothing is left", || containers(&corral).is_empty());
    let leases =
        [corral.root(), corral.run_root()].map(|dir| fs::read_dir(dir.join("ids")).expect("ids").count());
    assert_eq!(leases, [0, 0]);
}
