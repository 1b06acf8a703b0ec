//! How a container was asked for, as far as only `inspect` shows it.

use corral_state::Typed;

use crate::run_flags::RunFlags;
use crate::setting_flags::Streams;

impl RunFlags {
    /// What is kept of the flags beside the specification. Nobody attaches to what runs in the background.
    pub(crate) fn typed(&self, streams: Streams) -> Typed {
        let Streams { stdin, stdout, stderr } = streams;
        Typed {
            attached: [stdin, stdout, stderr].map(|stream| stream && !self.detach),
            cidfile: self.settings().cidfile().map_or_else(String::new, |path| path.display().to_string()),
            mounts: [self.volume.len(), self.mount.len(), self.tmpfs.len()],
        }
    }
}
