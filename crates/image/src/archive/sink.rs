use std::io::Read;

use crate::{EntryHead, Error};

/// What takes the entries of a tree, parents first.
pub trait Sink {
    /// Takes one entry. `contents` is read for files only, exactly as many bytes as the head says.
    ///
    /// # Errors
    /// When the entry cannot be kept; the sink is of no more use then.
    fn put(&mut self, head: &EntryHead, contents: &mut dyn Read) -> Result<(), Error>;
}
