//! Where packages are fetched from.

use super::{Error, Suite};

/// Base addresses of a suite's archives.
#[derive(Clone, Debug)]
pub struct Mirror {
    _private: (),
}

impl Mirror {
    /// The mirror for a suite: `option` (`--mirror`), else `CORRAL_MIRROR`, else what the host's apt is
    /// configured with, else deb.debian.org. Option and variable are `URL[,SECURITY-URL]`.
    ///
    /// # Errors
    /// [`Error::Mirror`] if an address is malformed.
    pub fn configured(_option: Option<&str>, _suite: Suite) -> Result<Self, Error> {
        todo!()
    }
}
