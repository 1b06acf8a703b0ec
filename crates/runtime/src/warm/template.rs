//! The template: a process that was stopped for good after its imports, and of which children are made.
//!
//! ```text
//! template ─ clone(VM) ─▶ bearer                       shares the template's memory, and never runs by itself
//!  (stopped               │ receives descriptors, enters the container's control groups and namespaces
//!   for ever)             └─ clone ─▶ program           in the container's pid namespace, on a copy of the memory
//!                          ended       │ streams, ids, no capability, only descriptors 0 to 4
//!                                      │ looked at by the container's monitor
//!                                      └ released: filters hold again, the first byte is read
//! ```
//!
//! Every system call up to the release is the tracer's ([`Tracee`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use corral_spec::record::ProcessName;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::tracee::{Memory, Tracee};
use super::{FIXED, look};
use crate::channel::{Channel, Message, Word};
use crate::sys::ptrace::{Registers, Rseq};
use crate::{ControlGroup, Error, kernel_file};

/// How long a monitor is waited for that wants a process and says nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// The page of the template's that calls find their arguments in, and where they are there.
const PAGE: u64 = 4096;
const HEADER: u64 = 0;
const VECTOR: u64 = 64;
const DATA: u64 = 128;
const CONTROL: u64 = 256;
const CONTROL_ROOM: u64 = 1024;
const ZERO: u64 = 1536;
const ACTION: u64 = 1600;
const OLD_ACTION: u64 = 1664;
const CAPABILITIES: u64 = 1728;
const GROUPS: u64 = 2048;

/// A process that containers' programs are forked from.
pub struct Template {
    tracee: Tracee,
    memory: Memory,
    pidfd: OwnedFd,
    /// Our end of the socket that is its standard input.
    socket: Channel,
    page: u64,
    rseq: Option<Rseq>,
}

/// What a monitor asks for.
struct Wanted {
    uid: u32,
    gid: u32,
    groups: Vec<u8>,
    /// In the order of [`super::Handed`].
    fds: Vec<OwnedFd>,
}

impl Template {
    /// Stops a container's only process, which has done its imports and waits for a byte on its standard input: the
    /// other end of `socket`, whose inode number is `inode`.
    ///
    /// # Errors
    /// [`Error::Template`] if it is not fit to be forked.
    pub fn capture(
        name: ProcessName,
        socket: OwnedFd,
        inode: u64,
        group: &ControlGroup,
    ) -> Result<Self, Error> {
        let pid = name.pid;
        let pidfd = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
        let pidfd = pidfd
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(|errno| Error::Process { pid, act: "open it", source: errno.into() })?;
        let tracee = Tracee::seize(pid)?;
        // From here on nothing of it runs: what is seen now stays so.
        look::at_template(pid, inode, group)?;
        let memory = Memory::of(pid)?;
        if memory.read(tracee.instruction())? != Registers::INSTRUCTION {
            return Err(Error::Template("its system call is done by an unknown instruction".into()));
        }
        let map = [0, PAGE, (libc::PROT_READ | libc::PROT_WRITE) as u64, MAP_FLAGS, u64::MAX, 0];
        let page = tracee.call("map a page", libc::SYS_mmap, &map)?;
        let rseq = tracee.rseq();
        let template = Self { tracee, memory, pidfd, socket: Channel::from_fd(socket), page, rseq };
        template.write_page()?;
        // Nobody waits for its children.
        let action = [libc::SIGCHLD as u64, page + ACTION, page + OLD_ACTION, 8];
        template.tracee.call("ignore the end of children", libc::SYS_rt_sigaction, &action)?;
        template.use_large_pages()?;
        Ok(template)
    }

    /// Answers one monitor that has connected: tells which process this is, or forks.
    ///
    /// # Errors
    /// What it was told, too, if it still listened.
    pub fn serve(&self, client: OwnedFd) -> Result<(), Error> {
        let talk = |error| Error::inside("talk to a container's monitor", error);
        set_socket_timeout(&client, Timeout::Recv, Some(PATIENCE)).map_err(|errno| talk(errno.into()))?;
        let client = Channel::from_fd(client);
        match client.receive().map_err(talk)? {
            Some(Message { word: Word::Ready, .. }) => {
                client.send(Word::Ready, &[], &[self.pidfd.as_fd()]).map_err(talk)
            }
            Some(Message { word: Word::Fork, body, fds }) => {
                let made = Wanted::parse(&body, fds).and_then(|wanted| self.fork(&wanted));
                made.and_then(|program| hand_over(program, &client))
                    .inspect_err(|error| client.send_failure(error))
            }
            _ => Ok(()),
        }
    }

    /// A fork copies the template's page tables, and an end takes them apart: with large pages both have little to do.
    /// A kernel that cannot (before Linux 6.1) leaves them small.
    fn use_large_pages(&self) -> Result<(), Error> {
        for (start, end) in look::at_memory(self.tracee.pid)? {
            let advise = [start, end - start, MADV_COLLAPSE];
            // A part that cannot be joined is no failure of the rest.
            let _ = self.tracee.call("join pages", libc::SYS_madvise, &advise);
        }
        Ok(())
    }

    /// What the calls find there, as far as it is always the same.
    fn write_page(&self) -> Result<(), Error> {
        let page = self.page;
        // struct msghdr: no name; one vector; control data.
        let header = [0, 0, page + VECTOR, 1, page + CONTROL, CONTROL_ROOM, 0];
        self.write(HEADER, &header)?;
        self.write(VECTOR, &[page + DATA, 8])?;
        self.memory.write(page + ZERO, b"0")?;
        // struct sigaction of the kernel: SIG_IGN.
        self.write(ACTION, &[1, 0, 0, 0])?;
        // _LINUX_CAPABILITY_VERSION_3, this process; no capability.
        self.write(CAPABILITIES, &[0x2008_0522, 0, 0, 0])
    }

    fn write(&self, offset: u64, words: &[u64]) -> Result<(), Error> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.memory.write(self.page + offset, &bytes)
    }

    fn fork(&self, wanted: &Wanted) -> Result<Tracee, Error> {
        self.memory.write(self.page + GROUPS, &wanted.groups)?;
        let bearer = self.tracee.fork("fork a template", libc::CLONE_VM)?;
        let fds = self.hand_in(&bearer, &wanted.fds)?;
        let [job, announce, stdin, stdout, stderr, namespaces @ ..] = &fds[..] else {
            return Err(Error::Template("descriptors are missing".into()));
        };
        let (namespaces, entrances) = namespaces.split_at(NAMESPACES.len());
        for &entrance in entrances {
            let write = [entrance, self.page + ZERO, 1];
            bearer.call("join the control group", libc::SYS_write, &write)?;
        }
        for (&fd, kind) in namespaces.iter().zip(NAMESPACES) {
            bearer.call("join the container's namespaces", libc::SYS_setns, &[fd, kind as u64])?;
        }
        let program = bearer.fork("fork in the container", 0)?;
        drop(bearer);
        for (from, to) in [(stdin, 0), (stdout, 1), (stderr, 2), (job, 3), (announce, 4)] {
            if *from != to {
                let flags = if to > 2 { libc::O_CLOEXEC } else { 0 };
                let dup = [*from, to, flags as u64];
                program.call("put its streams in place", libc::SYS_dup3, &dup)?;
            }
        }
        program.call("close descriptors", libc::SYS_close_range, &[5, u64::from(u32::MAX), 0])?;
        self.confine(&program, wanted)?;
        Ok(program)
    }

    /// What a program that is executed has, and this one not yet. To join a user namespace gives all capabilities.
    fn confine(&self, program: &Tracee, wanted: &Wanted) -> Result<(), Error> {
        const DROP: u64 = libc::PR_CAPBSET_DROP as u64;
        for capability in 0..=last_capability()? {
            program.call("drop the bounding set", libc::SYS_prctl, &[DROP, capability, 0, 0, 0])?;
        }
        let (uid, gid) = (u64::from(wanted.uid), u64::from(wanted.gid));
        let groups = [wanted.groups.len() as u64 / 4, self.page + GROUPS];
        program.call("set the groups", libc::SYS_setgroups, &groups)?;
        program.call("set the group id", libc::SYS_setresgid, &[gid; 3])?;
        program.call("set the user id", libc::SYS_setresuid, &[uid; 3])?;
        let capabilities = [self.page + CAPABILITIES, self.page + CAPABILITIES + 8];
        program.call("drop the capabilities", libc::SYS_capset, &capabilities)?;
        program.call("set the umask", libc::SYS_umask, &[0o022])?;
        let action = [libc::SIGCHLD as u64, self.page + OLD_ACTION, 0, 8];
        program.call("hear of children's end again", libc::SYS_rt_sigaction, &action)?;
        if let Some(rseq) = self.rseq {
            // The bearer shared its memory, so the kernel took its registration away.
            let rseq = [rseq.address, u64::from(rseq.size), 0, u64::from(rseq.signature)];
            program.call("register restartable sequences", libc::SYS_rseq, &rseq)?;
        }
        program.call("unmap a page", libc::SYS_munmap, &[self.page, PAGE])?;
        // A change of ids takes this away, and execve gives it.
        program.call("become dumpable", libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0])?;
        Ok(())
    }

    /// Sends descriptors to its standard input, and has them received there: their numbers.
    fn hand_in(&self, bearer: &Tracee, fds: &[OwnedFd]) -> Result<Vec<u64>, Error> {
        let talk = |error| Error::inside("hand descriptors to a template", error);
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        self.socket.send(Word::Mounts, &[], &borrowed).map_err(talk)?;
        // recvmsg(2) writes the room that it used there.
        self.write(HEADER + 40, &[CONTROL_ROOM, 0])?;
        let receive = [0, self.page + HEADER, libc::MSG_CMSG_CLOEXEC as u64];
        bearer.call("receive descriptors", libc::SYS_recvmsg, &receive)?;
        // struct cmsghdr: length, SOL_SOCKET, SCM_RIGHTS.
        let expected: Vec<u8> = (16 + 4 * fds.len() as u64)
            .to_ne_bytes()
            .into_iter()
            .chain(libc::SOL_SOCKET.to_ne_bytes())
            .chain(libc::SCM_RIGHTS.to_ne_bytes())
            .collect();
        let control: [u8; CONTROL_ROOM as usize] = self.memory.read(self.page + CONTROL)?;
        let (head, rest) = control.split_at(16);
        if head != expected || rest.len() < 4 * fds.len() {
            return Err(Error::Template("it received something else than was sent".into()));
        }
        let numbers = rest.chunks_exact(4).take(fds.len());
        Ok(numbers
            .map(|bytes| u64::from(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
            .collect())
    }
}

/// Tells a caller why there is nothing to be forked.
pub fn refuse(client: OwnedFd, reason: &str) {
    Channel::from_fd(client).send_failure(&Error::Template(reason.to_owned()));
}

/// What the program that the descriptors are for is made in, by the order of [`super::Handed`].
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];
/// linux/mman.h.
const MADV_COLLAPSE: u64 = 25;
const MAP_FLAGS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;

/// Tells the monitor which process it is, and releases it once the monitor has looked at it.
fn hand_over(program: Tracee, client: &Channel) -> Result<(), Error> {
    let talk = |error| Error::inside("talk to a container's monitor", error);
    client.send(Word::Pid, &program.pid.to_ne_bytes(), &[]).map_err(talk)?;
    match client.receive().map_err(talk)? {
        Some(Message { word: Word::Go, .. }) => {
            program.release(3)?;
            client.send(Word::Ready, &[], &[]).map_err(talk)
        }
        // It was not what the monitor had expected, or the monitor is gone: the process ends here.
        _ => Ok(()),
    }
}

/// The kernel's last one.
fn last_capability() -> Result<u64, Error> {
    let path = "/proc/sys/kernel/cap_last_cap";
    let text = kernel_file::read_single(path);
    text.and_then(|text| text.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData.into()))
        .map_err(|source| Error::Host { act: "read", path: path.into(), source })
}

impl Wanted {
    fn parse(body: &[u8], fds: Vec<OwnedFd>) -> Result<Self, Error> {
        let number = |at: usize| {
            body.get(at..at + 4).map(|bytes| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        match (number(0), number(4)) {
            (Some(uid), Some(gid)) if body.len().is_multiple_of(4) && fds.len() >= FIXED => {
                Ok(Self { uid, gid, groups: body[8..].to_vec(), fds })
            }
            _ => Err(Error::Template("a monitor asked for it in unknown words".into())),
        }
    }
}
