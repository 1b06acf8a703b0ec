use crate::{Error, Image, Store};

/// One row of `history`.
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
    /// How the image was made, newest step first. Layers that no history entry speaks of are not shown.
    ///
    /// # Errors
    /// What reading the store gives.
    pub fn history(&self, image: &Image) -> Result<Vec<HistoryRow>, Error> {
        let mut layers = image.layers.iter();
        let mut rows = Vec::new();
        for step in &image.config.history {
            let layer = if step.empty_layer { None } else { layers.next() };
            rows.push(HistoryRow {
                created: step.created.clone(),
                created_by: step.created_by.clone(),
                comment: step.comment.clone(),
                size: layer.map(|layer| self.layer_size(layer)).transpose()?.unwrap_or_default(),
            });
        }
        rows.reverse();
        Ok(rows)
    }
}
