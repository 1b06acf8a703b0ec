//! Devices of the host that are asked for by path: looked at once, when the container is made.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corral_spec::{BlockDevice, ContainerSpec, DeviceKind, DeviceNumber, DeviceRequest, HostDevice, Limits};

use crate::Error;
use crate::limits::device_kind;

/// The devices of a request, in its order.
pub(crate) fn resolve(limits: &Limits) -> Result<Vec<HostDevice>, Error> {
    limits.devices.iter().map(host_device).collect()
}

/// Fills in the number of each block device whose I/O is bounded.
pub(crate) fn number_block_devices(spec: &mut ContainerSpec) -> Result<(), Error> {
    let more = &mut spec.limits.more;
    let weights = more.blkio_weight_devices.iter_mut().map(|of| &mut of.device);
    weights.chain(more.throttles.iter_mut().map(|of| &mut of.device)).try_for_each(
        |device: &mut BlockDevice| match look(&device.path)? {
            (DeviceKind::Block, number, _) => {
                device.number = Some(number);
                Ok(())
            }
            (DeviceKind::Char, ..) => {
                Err(Error::Invalid(format!("{}: not a block device", device.path.display())))
            }
        },
    )
}

fn host_device(request: &DeviceRequest) -> Result<HostDevice, Error> {
    let gather = |reason: String| {
        Error::Invalid(format!(
            "error gathering device information while adding custom device {:?}: {reason}",
            request.source.to_string()
        ))
    };
    // A link such as /dev/cdrom means what it names now.
    let source =
        std::fs::canonicalize(request.source.as_path()).map_err(|error| gather(error.to_string()))?;
    let (kind, number, metadata) = look(&source).map_err(|error| gather(error.to_string()))?;
    let (mode, uid, gid) = (metadata.mode() & 0o777, metadata.uid(), metadata.gid());
    Ok(HostDevice { source, target: request.target.clone(), kind, number, mode, uid, gid })
}

fn look(path: &Path) -> Result<(DeviceKind, DeviceNumber, std::fs::Metadata), Error> {
    let metadata = std::fs::metadata(path).map_err(Error::io(format!("look at {}", path.display())))?;
    if metadata.is_dir() {
        let text = format!("{} is a directory: name each device of it", path.display());
        return Err(Error::Invalid(text));
    }
    let kind = device_kind(metadata.mode())
        .ok_or_else(|| Error::Invalid(format!("{} is not a device node", path.display())))?;
    let number =
        DeviceNumber { major: rustix::fs::major(metadata.rdev()), minor: rustix::fs::minor(metadata.rdev()) };
    Ok((kind, number, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_spec::{AbsPath, DeviceAccess};

    #[test]
    fn only_device_nodes() {
        let path = |text: &str| AbsPath::new(text).expect("absolute");
        let ask = |source: &str| {
            host_device(&DeviceRequest {
                source: path(source),
                target: path("/dev/x"),
                access: DeviceAccess::ALL,
            })
        };
        let null = ask("/dev/null").expect("there");
        assert_eq!((null.kind, null.number), (DeviceKind::Char, DeviceNumber { major: 1, minor: 3 }));
        for (bad, part) in [
            ("/etc/passwd", "is not a device node"),
            ("/dev", "is a directory"),
            ("/dev/no-such-device", "No such file or directory"),
        ] {
            let said = ask(bad).expect_err(bad).to_string();
            assert!(said.starts_with("error gathering device information") && said.contains(part), "{said}");
        }
    }
}
