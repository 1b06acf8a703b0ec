//! A container's side of a warm start.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corral_spec::record::{Launch, Warm};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, open, openat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::{SOCKET, look};
use crate::cgroup::hierarchy::Hierarchies;
use crate::channel::{Channel, Message, Word};
use crate::{Error, Io, confine};

/// How long a program may take from its release to saying its number: a read, a fork.
const PATIENCE: Duration = Duration::from_secs(10);
/// In the order in which they are entered: the user namespace gives the right to enter the others.
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// A template that answers.
pub(crate) struct Nursery {
    run_dir: PathBuf,
    /// Its process.
    pub(crate) process: OwnedFd,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    entry: usize,
}

/// What is to be joined once the container's first process is ready.
#[derive(Debug)]
pub(crate) struct Joining {
    run_dir: PathBuf,
    launch: Launch,
    entry: usize,
    streams: [OwnedFd; 3],
}

/// Whether a template's imports are done: waits until they are. None if so, or what it said.
///
/// # Errors
/// [`Error::Template`] when it is gone.
pub fn is_ready(run_dir: &Path) -> Result<(), Error> {
    ask(run_dir).map(drop)
}

/// The template's process.
fn ask(run_dir: &Path) -> Result<OwnedFd, Error> {
    let channel = reach(run_dir)?;
    let sent = channel.send(Word::Ready, &[], &[]);
    sent.map_err(|error| Error::inside("talk to the template's monitor", error))?;
    let message = channel.answer("importing")?;
    let failure = message.failure();
    message.fds.into_iter().next().ok_or(failure.unwrap_or(Error::Died { act: "importing" }))
}

fn reach(run_dir: &Path) -> Result<Channel, Error> {
    let fail = |errno| match errno {
        rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED => Error::Template("it has ended".into()),
        errno => Error::inside("talk to the template's monitor", errno),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, run_dir, flags, Mode::empty()).map_err(fail)?;
    // By descriptor, because a socket address has room for 107 bytes only.
    let address = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
    let address = SocketAddrUnix::new(address).map_err(fail)?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(fail)?;
    connect(&socket, &address).map_err(fail)?;
    Ok(Channel::from_fd(socket))
}

impl Nursery {
    /// The template of a launch, if it has one.
    pub(crate) fn of(launch: &Launch) -> Result<Option<Self>, Error> {
        let Some(Warm::Forked { template, uid, gid, entry }) = &launch.warm else { return Ok(None) };
        let (run_dir, uid, gid, entry) = (template.clone(), *uid, *gid, *entry);
        Ok(Some(Self { process: ask(template)?, run_dir, uid, gid, entry }))
    }

    /// Keeps what the join needs, the streams among it.
    pub(crate) fn joining(&self, launch: &Launch, io: &Io) -> Result<Joining, Error> {
        let Io::Pipes { stdin, stdout, stderr } = io else {
            return Err(Error::Launch("a program with a terminal is not forked from a template".into()));
        };
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| Error::inside("copy a stream", error));
        let streams = [copy(stdin)?, copy(stdout)?, copy(stderr)?];
        Ok(Joining { run_dir: self.run_dir.clone(), launch: launch.clone(), entry: self.entry, streams })
    }
}

impl Joining {
    /// Has the program forked, looks at it, lets it go, and hands its number to the first process.
    pub(crate) fn join(self, channel: &Channel, init: i32) -> Result<(), Error> {
        let talk = |error| Error::inside("talk to the template's monitor", error);
        if let Some(failure) = channel.answer("setting up")?.failure() {
            return Err(failure);
        }
        let job = self.job()?;
        let (said, announce) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| talk(errno.into()))?;
        let places = places(init)?;
        let [stdin, stdout, stderr] = &self.streams;
        let streams = [&job, &announce, stdin, stdout, stderr];
        let fds: Vec<BorrowedFd<'_>> = streams.into_iter().chain(&places).map(AsFd::as_fd).collect();
        let process = &self.launch.process;
        let ids = [process.uid, process.gid].into_iter().chain(process.groups.iter().copied());
        let body: Vec<u8> = ids.flat_map(u32::to_ne_bytes).collect();
        let template = reach(&self.run_dir)?;
        template.send(Word::Fork, &body, &fds).map_err(talk)?;
        let pid = match template.answer("forking the template")? {
            Message { word: Word::Pid, body, .. } if body.len() == 4 => {
                i32::from_ne_bytes([body[0], body[1], body[2], body[3]])
            }
            message => return Err(message.failure().unwrap_or(Error::Died { act: "forking the template" })),
        };
        look::at_program(pid, &self.launch, init, [stdin, stdout, stderr, &job, &announce])?;
        confine::inherit_limits(pid)?;
        confine::limit(Pid::from_raw(pid), &process.ulimits)?;
        confine::adjust_oom_score(pid, process)?;
        template.send(Word::Go, &[], &[]).map_err(talk)?;
        if let Some(failure) = template.answer("releasing the program")?.failure() {
            return Err(failure);
        }
        drop(announce);
        let number = number(said)?;
        channel.send(Word::Go, &number.to_ne_bytes(), &[]).map_err(talk)?;
        match channel.receive().map_err(talk)?.and_then(|message| message.failure()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// What the program is told: its directory, how many arguments, each of them, and its environment; NUL ends each.
    fn job(&self) -> Result<OwnedFd, Error> {
        let process = &self.launch.process;
        let arguments = process.argv.get(self.entry..).unwrap_or_default();
        let count = arguments.len().to_string();
        let workdir = process.workdir.to_string();
        let words = [workdir.as_str(), &count].into_iter();
        let words =
            words.chain(arguments.iter().map(String::as_str)).chain(process.env.iter().map(String::as_str));
        let text: String = words.flat_map(|word| [word, "\0"]).collect();
        let write = || {
            let mut file = File::from(memfd_create("corral-job", MemfdFlags::CLOEXEC)?);
            file.write_all(text.as_bytes())?;
            file.rewind()?;
            Ok(file.into())
        };
        write().map_err(|error: std::io::Error| Error::inside("write down what is to be run", error))
    }
}

/// The namespaces of a container's first process, and the entrances of its control groups.
fn places(init: i32) -> Result<Vec<OwnedFd>, Error> {
    let open = |path: PathBuf, flags: OFlags| {
        open(&path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::Host {
            act: "open",
            path,
            source: errno.into(),
        })
    };
    let namespaces =
        NAMESPACES.map(|name| (PathBuf::from(format!("/proc/{init}/ns/{name}")), OFlags::RDONLY));
    // In hierarchies that the container does not use, too, the template is where its own monitor was started.
    let groups = Hierarchies::of(&format!("/proc/{init}/cgroup"))?;
    let v1 = groups.v1.iter().map(|(_, place)| (place.own.join("tasks"), OFlags::WRONLY));
    let v2 = groups.v2.iter().map(|place| (place.own.join("cgroup.procs"), OFlags::WRONLY));
    namespaces.into_iter().chain(v1).chain(v2).map(|(path, flags)| open(path, flags)).collect()
}

/// The number that the program says it has in its pid namespace. If it is not true, it is the program's loss.
fn number(said: OwnedFd) -> Result<i32, Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = File::from(said);
    let mut text = [0; 16];
    let mut length = 0;
    while length < text.len() && !text[..length].contains(&b'\n') {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) as _ };
        let ready = poll(&mut [PollFd::new(&said, PollFlags::IN)], Some(&timeout));
        match ready
            .map_err(std::io::Error::from)
            .and_then(|ready| if ready > 0 { said.read(&mut text[length..]) } else { Ok(0) })
        {
            Ok(0) => return Err(Error::Died { act: "the fork from its template" }),
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::inside("hear from the program", error)),
        }
    }
    let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
    let number = text.trim_end().parse().ok().filter(|number| *number > 1);
    number.ok_or_else(|| Error::Template("its program said a number that cannot be".into()))
}
