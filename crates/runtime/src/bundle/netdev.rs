//! linux.netDevices: devices of the caller's network namespace go into the container's, by rtnetlink(7).
//!
//! ```text
//! caller's namespace      GETLINK name ─▶ index     GETADDR ─▶ its permanent global addresses
//! container's             GETLINK new name ─▶ must not be there
//! caller's                NEWLINK index, net_ns_fd, new name            moved, renamed, down
//! container's             NEWADDR each · NEWLINK up
//! ```
//!
//! Everything is asked before the first device is moved: a virtual device dies with the namespace it is in, so a
//! container that fails later would take it along.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// A device to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name in the caller's namespace.
    pub name: String,
    /// Its name in the container's.
    pub inside: String,
}

// linux/rtnetlink.h, linux/netlink.h, linux/if_link.h, linux/if_addr.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_F_PERMANENT: u8 = 0x80;
const IFF_UP: u32 = 1;
const RT_SCOPE_UNIVERSE: u8 = 0;

/// Moves the devices into the network namespace of `pid`.
pub(super) fn hand_over(devices: &[NetDevice], pid: i32) -> Result<(), Error> {
    if devices.is_empty() {
        return Ok(());
    }
    let namespace = |path: String| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let act = |act: &'static str| move |errno: Errno| Error::inside(act, errno);
    let own = namespace("/proc/self/ns/net".to_owned()).map_err(act("open the network namespace"))?;
    let theirs =
        namespace(format!("/proc/{pid}/ns/net")).map_err(act("open the container's network namespace"))?;
    let here = Link::open().map_err(act("talk to the kernel's network"))?;
    let there =
        within(theirs.as_fd(), own.as_fd(), Link::open).map_err(act("enter the container's network"))?;
    let fail = |device: &NetDevice, error: io::Error| {
        Error::inside(
            format!("move the network device {} to {} in the container", device.name, device.inside),
            error,
        )
    };
    let mut plan = Vec::new();
    for device in devices {
        let index = here.index(&device.name).map_err(|error| fail(device, error))?;
        if there.index(&device.inside).is_ok() {
            return Err(fail(device, io::Error::from_raw_os_error(libc::EEXIST)));
        }
        plan.push((device, index, here.addresses(index).map_err(|error| fail(device, error))?));
    }
    for (device, index, addresses) in plan {
        let go = || {
            here.set(
                index,
                0,
                &[(IFLA_NET_NS_FD, &theirs.as_raw_fd().to_ne_bytes()), (IFLA_IFNAME, &c(&device.inside))],
            )?;
            let index = there.index(&device.inside)?;
            addresses.iter().try_for_each(|address| there.add(index, address))?;
            there.set(index, IFF_UP, &[])
        };
        go().map_err(|error| fail(device, error))?;
    }
    Ok(())
}

/// Does something in another network namespace. This process has one thread.
fn within<T>(
    namespace: BorrowedFd<'_>,
    own: BorrowedFd<'_>,
    act: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
    let done = act();
    move_into_link_name_space(own, Some(LinkNameSpaceType::Network))?;
    done
}

fn c(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = [(data.len() as u16 + 4).to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// An address: family, length of its prefix, and the attributes that say it.
struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<u8>,
}

impl Address {
    /// A message of a dump, if it is one of this device's that is to be kept. What a router gave is not.
    fn of(body: &[u8], index: u32) -> Option<Self> {
        let [family, prefix, flags, scope, rest @ ..] = body else { return None };
        let (number, mut rest) = rest.split_first_chunk::<4>()?;
        if u32::from_ne_bytes(*number) != index || *scope != RT_SCOPE_UNIVERSE || flags & IFA_F_PERMANENT == 0
        {
            return None;
        }
        let mut attributes = Vec::new();
        while let [a, b, c, d, ..] = *rest {
            let (length, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
            if matches!(kind, IFA_ADDRESS | IFA_LOCAL | IFA_BROADCAST) {
                attributes.extend(attribute(kind, rest.get(4..length)?));
            }
            rest = rest.get(length.max(4).next_multiple_of(4)..).unwrap_or_default();
        }
        Some(Self { family: *family, prefix: *prefix, attributes })
    }
}

/// A socket of rtnetlink, which speaks of the namespace it was made in.
struct Link(OwnedFd);

impl Link {
    fn open() -> Result<Self, Errno> {
        // Protocol 0 is NETLINK_ROUTE.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Self)
    }

    fn index(&self, name: &str) -> io::Result<u32> {
        let body = [&[0; 16][..], &attribute(IFLA_IFNAME, &c(name))].concat();
        let answers = self.ask(RTM_GETLINK, NLM_F_ACK, &body)?;
        let index = answers.first().and_then(|body| body.get(4..8)).and_then(|bytes| bytes.try_into().ok());
        index.map(u32::from_ne_bytes).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn set(&self, index: u32, flags: u32, attributes: &[(u16, &[u8])]) -> io::Result<()> {
        let mut body = [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat();
        attributes.iter().for_each(|(kind, data)| body.extend(attribute(*kind, data)));
        self.ask(RTM_NEWLINK, NLM_F_ACK, &body).map(drop)
    }

    fn addresses(&self, index: u32) -> io::Result<Vec<Address>> {
        let answers = self.ask(RTM_GETADDR, NLM_F_DUMP, &[0; 8])?;
        Ok(answers.iter().filter_map(|body| Address::of(body, index)).collect())
    }

    fn add(&self, index: u32, address: &Address) -> io::Result<()> {
        let mut body = vec![address.family, address.prefix, IFA_F_PERMANENT, RT_SCOPE_UNIVERSE];
        body.extend(index.to_ne_bytes());
        body.extend(&address.attributes);
        self.ask(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &body).map(drop)
    }

    /// Asks and gives the bodies of what is answered, up to the word that this was all.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut message = (16 + body.len() as u32).to_ne_bytes().to_vec();
        message.extend([kind.to_ne_bytes(), (flags | NLM_F_REQUEST).to_ne_bytes()].concat());
        message.extend([0; 8]);
        message.extend(body);
        send(&self.0, &message, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let (length, _) = recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = &buffer[..length];
            while let Some((header, _)) = rest.split_first_chunk::<16>() {
                let size = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
                let body = rest.get(16..size).ok_or(io::ErrorKind::InvalidData)?;
                match u16::from_ne_bytes([header[4], header[5]]) {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR => {
                        let code = body.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                        return if code == 0 {
                            Ok(answers)
                        } else {
                            Err(io::Error::from_raw_os_error(-code))
                        };
                    }
                    _ => answers.push(body.to_vec()),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}
