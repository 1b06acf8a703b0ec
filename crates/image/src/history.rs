use crate::{Error, Image, Store};

/// One row of `history`, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// RFC 3339 time.
    pub created: Option<String>,
    /// The command.
    pub created_by: String,
    /// A remark.
    pub comment: String,
    /// Bytes of the files of the step's layer; 0 for a step without one.
    pub size: u64,
}

impl Store {
    /// How the image was made, newest step first.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn history(&self, image: &Image) -> Result<Vec<HistoryRow>, Error> {
        todo!("{image:?}")
    }
}
