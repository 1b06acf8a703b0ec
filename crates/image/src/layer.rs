use corral_spec::Digest;

/// What is known of a stored layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// sha256 over the uncompressed tar.
    pub diff_id: Digest,
    /// Bytes of the uncompressed tar.
    pub size: u64,
    /// Bytes of all regular files' contents.
    pub content: u64,
    /// Number of entries.
    pub files: u64,
}
