//! The same programs, loaded into this kernel: a filter binds one thread and what it starts, so each
//! test gives one to a thread of its own.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::{env, fs, process, thread};

use super::*;
use crate::sys;

const EPERM: Option<i32> = Some(1);
const ENOSYS: Option<i32> = Some(38);
const EAFNOSUPPORT: Option<i32> = Some(97);
const EPROTONOSUPPORT: Option<i32> = Some(93);

/// Runs `act` under a profile's own filter.
fn confined(name: ProfileName, act: impl FnOnce() + Send + 'static) {
    let profile = confinement(name);
    let native = Arch::NATIVE.expect("tests run where filters are supported");
    let program = compile(&profile.syscalls(profile.capabilities), native).expect("compiles");
    let bound = move || {
        rustix::thread::set_no_new_privs(true).expect("no_new_privs");
        sys::install_seccomp(&sys::filter(&program)).expect("the kernel takes the program");
        act();
    };
    thread::spawn(bound).join().expect("the confined thread");
}

/// The errno of a call by name, none if it was let through and succeeded.
fn errno(name: &str, args: [u64; 3]) -> Option<i32> {
    let number = Arch::NATIVE.and_then(|arch| arch.number(name)).expect(name);
    sys::attempt(i64::from(number), args).err().and_then(|error| error.raw_os_error())
}

#[test]
fn attacks_are_denied_by_the_filter_itself() {
    // Arguments that fault or are invalid: as root and without a filter, none of these says EPERM.
    const NOTHING: [u64; 3] = [u64::MAX, 0, 0];
    const CALLS: [&str; 22] = [
        "setns",
        "mount",
        "fsopen",
        "fsconfig",
        "fsmount",
        "fspick",
        "open_tree",
        "move_mount",
        "mount_setattr",
        "pivot_root",
        "umount2",
        "bpf",
        "perf_event_open",
        "io_uring_setup",
        "userfaultfd",
        "keyctl",
        "add_key",
        "request_key",
        "reboot",
        "swapon",
        "open_by_handle_at",
        "acct",
    ];
    if !rustix::process::geteuid().is_root() {
        println!(
            "SKIP: seccomp::tests::kernel::attacks_are_denied_by_the_filter_itself: compares with what root may do"
        );
        return;
    }
    for name in CALLS {
        // acct(NULL) and the like would change the host; what would is only called under the filter.
        if !matches!(name, "acct" | "reboot" | "swapon") {
            assert_ne!(errno(name, NOTHING), EPERM, "{name} without a filter");
        }
    }
    for profile in [ProfileName::Standard, ProfileName::Agent] {
        confined(profile, || {
            for name in CALLS {
                assert_eq!(errno(name, NOTHING), EPERM, "{name}");
            }
            assert_eq!(errno("unshare", [0x1000_0000, 0, 0]), EPERM);
            assert_eq!(errno("clone", [0x1000_0000 | 17, 0, 0]), EPERM);
            assert_eq!(errno("clone3", NOTHING), ENOSYS);
            assert_eq!(errno("ioctl", [u64::MAX, 0xffff_ffff_0000_5412, 0]), EPERM);
            assert_eq!(errno("ioctl", [u64::MAX, 0x5401, 0]), Some(9), "EBADF: TCGETS is let through");
            assert_eq!(errno("personality", [0x40_0000, 0, 0]), EPERM);
            assert_eq!(errno("personality", [0xffff_ffff, 0, 0]), None);
            let unknown = sys::attempt(600, [0; 3]).expect_err("no such call");
            assert_eq!(unknown.raw_os_error(), ENOSYS);
        });
    }
}

#[test]
fn socket_families_are_those_of_the_profile() {
    confined(ProfileName::Agent, || {
        for (call, expect) in [
            ([38, 5, 0], EAFNOSUPPORT),
            ([40, 1, 0], EAFNOSUPPORT),
            ([17, 3, 0], EAFNOSUPPORT),
            ([15, 3, 2], EAFNOSUPPORT),
            ([16, 3, 6], EPROTONOSUPPORT),
            ([16, 3, 12], EPROTONOSUPPORT),
            ([2, 3, 1], EPERM),
            ([2, 1, 132], EPROTONOSUPPORT),
            ([16, 3, 0], None),
        ] {
            assert_eq!(errno("socket", call), expect, "{call:?}");
        }
    });
}

#[test]
fn ordinary_programs_go_on() {
    for profile in [ProfileName::Standard, ProfileName::Agent] {
        confined(profile, || {
            TcpListener::bind("127.0.0.1:0").expect("TCP");
            UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0")).expect("UDP");
            UnixStream::pair().expect("unix");
            assert_eq!(thread::spawn(|| 7).join().expect("a thread"), 7);
            let pipeline = Command::new("/bin/sh").args(["-c", "echo one two | wc -w"]).output().expect("sh");
            assert_eq!(String::from_utf8_lossy(&pipeline.stdout).trim(), "2");
        });
    }
}

#[test]
fn debuggers_work_on_their_own_child() {
    const DEBUGGERS: [(&str, &[&str], &str); 2] = [
        ("strace", &["-f", "-e", "trace=execve", "/bin/true"], "exited with 0"),
        ("gdb", &["-batch", "-ex", "run", "-ex", "info inferiors", "/bin/true"], "exited normally"),
    ];
    for (program, arguments, expect) in DEBUGGERS {
        if Command::new(program).arg("--version").output().is_err() {
            println!(
                "SKIP: seccomp::tests::kernel::debuggers_work_on_their_own_child: {program} is not installed"
            );
            continue;
        }
        confined(ProfileName::Agent, move || {
            let output = Command::new(program).args(arguments).output().expect("run");
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(said.contains(expect), "{program}: {said}");
            assert!(!said.contains("Operation not permitted"), "{program}: {said}");
        });
    }
}

/// An x86-64 program of two calls: `exit(7)` through the 32-bit gate, then `exit(9)`.
#[cfg(target_arch = "x86_64")]
fn thirty_two_bit_caller() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code = [
        0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80, // mov eax,1; mov ebx,7; int 0x80
        0xb8, 60, 0, 0, 0, 0xbf, 9, 0, 0, 0, 0x0f, 0x05, // mov eax,60; mov edi,9; syscall
    ];
    let size = HEADERS + code.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_32_bit_gate_kills() {
    const SIGSYS: i32 = 31;
    let path = env::temp_dir().join(format!("corral-seccomp-i386-{}", process::id()));
    fs::write(&path, thirty_two_bit_caller()).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("chmod");
    let run = {
        let path = path.clone();
        // Another test's fork may hold the file open for writing for a moment (ETXTBSY).
        move || {
            loop {
                match Command::new(&path).status() {
                    Err(error) if error.raw_os_error() == Some(26) => thread::yield_now(),
                    status => return status.expect("run"),
                }
            }
        }
    };
    let free = run();
    // A kernel without IA32_EMULATION faults there; then the filter has nothing to prove.
    assert!(free.code() == Some(7) || free.signal() == Some(11), "{free:?}");
    if free.code() == Some(7) {
        confined(ProfileName::Standard, move || assert_eq!(run().signal(), Some(SIGSYS)));
    }
    fs::remove_file(&path).expect("remove");
    confined(ProfileName::Agent, || {
        let x32_getpid = sys::attempt(0x4000_0000 + 39, [0; 3]).expect_err("x32");
        assert_eq!(x32_getpid.raw_os_error(), ENOSYS);
    });
}
