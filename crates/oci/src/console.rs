//! What is sent over sockets of the configuration: a terminal's master side, a seccomp listener.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with,
};
use serde_json::json;

use crate::Error;
use crate::config::Seccomp;
use crate::state::Container;

/// Sends the master side to whoever listens at `--console-socket`, named as it is there.
pub(crate) fn send(socket: &Path, master: BorrowedFd<'_>) -> Result<(), Error> {
    send_fd(socket, b"/dev/ptmx", master)
        .map_err(|errno| Error::file("send the terminal to", socket)(errno.into()))
}

/// Whose filter is listened to, and the status of the container meanwhile.
pub(crate) struct Listener {
    pub(crate) pid: i32,
    pub(crate) status: &'static str,
}

/// config-linux.md, "The Container Process State".
pub(crate) fn send_listener(
    container: &Container,
    seccomp: &Seccomp,
    Listener { pid, status }: Listener,
    listener: BorrowedFd<'_>,
) -> Result<(), Error> {
    let state = json!({
        "ociVersion": container.record.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": seccomp.listener_metadata,
        "state": container.record.state(container.pid(), status),
    });
    let path = Path::new(&seccomp.listener_path);
    send_fd(path, state.to_string().as_bytes(), listener)
        .map_err(|errno| Error::file("send the seccomp listener to", path)(errno.into()))
}

fn send_fd(path: &Path, text: &[u8], fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let to = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&to, &SocketAddrUnix::new(path)?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::INVAL);
    }
    let sent = sendmsg(&to, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == text.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
}
