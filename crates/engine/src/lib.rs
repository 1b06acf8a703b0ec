//! The use-cases: what `corral` can do with containers, each verb a file. The only room that sees the
//! image store, the state on disk and the runtime together.
//!
//! ```text
//!                 create                start                        end
//!  (nothing) ───────────────▶ created ─────────▶ running ────────────────────▶ exited ──remove──▶ (nothing)
//!                                                 │ ▲  ▲ pause/unpause           │  ▲
//!                                                 │ │  └───────▶ paused          │  │ stop
//!                                                 │ └──────── start ─────────────┘  │
//!                                             end │                                 │
//!                                                 ▼       back-off is over          │
//!                                             restarting ────────▶ running          │
//!                                                 └─────────────────────────────────┘
//!  dead: the monitor was killed; a collection makes it exited, or takes it away (--rm)
//! ```
//!
//! The state of a container is never stored: it follows from who holds its lock and which files are
//! there ([`State`]). A process that was killed leaves a lock that nobody holds; [`Engine::collect`] finds it.
//!
//! What runs a container is another process: [`Engine::start`] re-executes this binary as `__monitor`,
//! hands it the lock and one end of a socket, and returns the other end to wait on. Engine knows nothing
//! of what travels there.
//!
//! Not here: decisions about what is allowed (`policy`), kernel calls (`runtime`), talk to people (`cli`).
#![forbid(unsafe_code)]

mod bind;
mod boot;
mod collect;
mod commit;
mod copy;
mod create;
mod device;
mod disk;
mod error;
mod etc;
mod exec;
mod export;
mod find;
mod guest;
mod health;
mod host;
mod images;
mod info;
mod journal;
mod limits;
mod log;
mod mounts;
mod name;
mod own_seccomp;
mod plan;
mod prune;
mod remove;
mod rename;
mod repair;
mod sealed;
mod signal;
mod size;
mod start;
mod stats;
mod step;
mod top;
mod update;
mod usage;
mod view;
mod volume;
mod wait;
mod warm;

use corral_image::Store;
use corral_runtime::rootless::Shared;
use corral_state::Layout;

pub use collect::Collected;
pub use commit::CommitRequest;
pub use copy::CopyOptions;
pub use create::{Prepared, Wanted, Watch};
pub use error::Error;
pub use exec::ExecRequest;
pub use host::architecture;
pub use info::Info;
pub use journal::ExecNote;
pub use limits::LimitChange;
pub use prune::Pruned;
pub use remove::Removal;
pub use size::Size;
pub use start::{MONITOR_CLIENT_FD, MONITOR_LOCK_FD, Started};
pub use stats::Sample;
pub use step::{Step, StepMount, StepOutcome};
pub use top::ProcessEntry;
pub use update::Updating;
pub use usage::{Share, Usage};
pub use view::{State, View};
pub use volume::VolumeRequest;
pub use warm::{TemplateRequest, Warmth};

/// The label by which an image asks for a profile; it can only narrow.
pub const PROFILE_LABEL: &str = "dev.corral.profile";

/// Which commands of ours are inside an ordinary user's namespace already: those that another has started there.
pub const INSIDE: &str = "CORRAL_USER_NAMESPACE";

/// What containers are made with, beside what each is asked to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ground {
    /// The user's namespace that this process is in; none for the host's root.
    pub shared: Option<Shared>,
    /// The user has named the mode without control groups for every container.
    pub no_groups: bool,
}

/// The store and the state of one root directory.
pub struct Engine {
    layout: Layout,
    store: Store,
    ground: Ground,
}

impl Engine {
    /// Opens the directories, making them if they are not there.
    ///
    /// # Errors
    /// When a directory cannot be made or used.
    pub fn open(layout: Layout, ground: Ground) -> Result<Self, Error> {
        layout.prepare()?;
        let store = Store::open(layout.root())?;
        Ok(Self { layout, store, ground })
    }

    /// The image store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What containers are made with.
    pub fn ground(&self) -> Ground {
        self.ground
    }

    /// Where things are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}
