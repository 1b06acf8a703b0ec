//! Trees of files on the move: from a directory or an archive to an archive, a layer or a directory.
//!
//! ```text
//! Walk      a directory, a writable layer ──┐           ┌──▶ ArchiveWriter   a canonical tar stream
//! Union     the layers of an image ─────────┼── Sink ───┼──▶ LayerWriter     a layer of the store
//! reader    a tar stream, compressed or not ┘           └──▶ TreeWriter      below a directory
//! ```
//!
//! Both ends may be in hostile hands while the files move: a running container swaps directories and links
//! under a walk, an archive names what it likes. So each directory is entered by descriptor, one component
//! at a time, and no link is ever followed; what an entry is, is asked of the descriptor that is then used.

mod node;
mod place;
mod reader;
mod sink;
mod stream;
mod union;
mod walk;

pub use node::Found;
pub(crate) use node::Node;
pub use place::{Owners, TreeWriter};
pub use reader::ArchiveReader;
pub use sink::Sink;
pub use stream::ArchiveWriter;
pub(crate) use union::{Place, all_names, step};
pub use union::{copy_union, union_paths};
pub use walk::{Upper, Walk};
pub(crate) use walk::{held, names};
