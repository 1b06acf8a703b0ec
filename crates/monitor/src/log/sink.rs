//! Where a container's output is kept: one of a closed set of drivers.

use std::path::Path;

use corral_spec::record::{Launch, LogDriver};

use super::journald::Journald;
use super::jsonfile::JsonFile;
use super::{Stream, Writer};
use crate::Error;

/// The writing side of a log.
#[derive(Debug)]
pub enum Sink {
    Local(Writer),
    JsonFile(JsonFile),
    Journald(Journald),
    None,
}

impl Sink {
    /// Of the container in this directory.
    pub fn new(container_dir: &Path, launch: &Launch) -> Self {
        let log = launch.log.clone();
        match log.driver {
            LogDriver::Local => Self::Local(Writer::new(container_dir, log)),
            LogDriver::JsonFile => Self::JsonFile(JsonFile::new(container_dir, &launch.id, log)),
            LogDriver::Journald => Self::Journald(Journald::new(&log)),
            LogDriver::None => Self::None,
        }
    }

    /// Keeps what one read of a stream brought, at most 64 KiB.
    pub fn append(&mut self, time_ns: u64, stream: Stream, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::Local(log) => log.append(time_ns, stream, bytes),
            Self::JsonFile(log) => log.append(time_ns, stream, bytes),
            Self::Journald(log) => log.append(stream, bytes),
            Self::None => Ok(()),
        }
    }

    /// Keeps what ended without a newline.
    pub fn finish(&mut self, time_ns: u64) -> Result<(), Error> {
        match self {
            Self::JsonFile(log) => log.finish(time_ns),
            Self::Journald(log) => log.finish(),
            Self::Local(_) | Self::None => Ok(()),
        }
    }
}
