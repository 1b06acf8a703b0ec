//! The moments at which a process can be made to die, so that a test shows what the next command makes of it.
//!
//! ```text
//! corral_fault::step!(LeaseTaken);       in the code, behind what has just been done
//!
//! CORRAL_FAULT=ROLE/STEP:N               dies there by SIGKILL: no destructor runs, nothing is flushed
//! CORRAL_FAULT_TRACE=FILE                appends ROLE/STEP:N for each step that is passed
//!
//! ROLE   command, monitor, reap or exec: what this process is        N   the N-th time that this process passes
//! ```
//!
//! A build with debug assertions is the fault-injection build. In any other, a step is an empty function and the names
//! of the variables are not in the program; a test of the repository holds that. The variables go from a command to the
//! container's monitor and no further: what a container gets is its launch's.
//!
//! A step says what is done, not what comes next, and is passed in the process of the engine, never in a container's.
//! The test that kills at each step fails if there is one that no use-case passes.
#![forbid(unsafe_code)]

#[cfg(debug_assertions)]
mod inject;

macro_rules! steps {
    ($($room:literal { $($(#[$done:meta])+ $step:ident),+ $(,)? })+) => {
        /// What has just been done when a process dies; by the room that does it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Step { $($($(#[$done])+ $step,)+)+ }

        impl Step {
            /// Every step there is.
            pub const ALL: &[Self] = &[$($(Self::$step,)+)+];

            /// Its name in the variables.
            pub const fn name(self) -> &'static str {
                match self { $($(Self::$step => stringify!($step),)+)+ }
            }

            /// The room that it is in.
            pub const fn room(self) -> &'static str {
                match self { $($(Self::$step => $room,)+)+ }
            }
        }
    };
}

steps! {
    "state" {
        /// One of the two roots has its directories.
        DirectoriesMade,
        /// A container's run directory is there, and its lock is ours.
        ContainerLocked,
        /// A name or a range of ids is leased in memory, and not on disk yet.
        LeaseClaimed,
        /// It is leased on disk, and still in memory.
        LeaseTaken,
        /// One lease is given back.
        LeaseReleased,
        /// A record is written under its other name.
        RecordStaged,
        /// A record is in its place.
        RecordPlaced,
        /// A container has no record any more, but leases and data.
        ContainerUnrecorded,
        /// It has data only.
        ContainerUnleased,
        /// It has its run directory only.
        ContainerErased,
        /// The run directory has the lock's file only.
        RunEmptied,
        /// The run directory has nothing in it.
        RunUnlocked,
        /// A container that is renamed has both names.
        RenameLeased,
        /// Its records have changed places.
        RenameExchanged,
        /// It has both names, and one record.
        RenameCleaned,
        /// A volume has its row.
        VolumeRecorded,
        /// A volume has no row any more.
        VolumeForgotten,
    }
    "image" {
        /// The store is whole, under another name.
        StoreDrafted,
        /// A directory for something half-made is there, and locked.
        StagingMade,
        /// A file of the store is written under its other name.
        FileStaged,
        /// A file of the store is in its place.
        FilePlaced,
        /// A layer is whole, in staging.
        LayerStaged,
        /// A layer is in its place.
        LayerPlaced,
        /// Layers are on the disk, and not marked so.
        LayersSynced,
        /// A name is taken from an image.
        NameRemoved,
        /// An image has no record any more.
        ImageForgotten,
        /// A blob is removed.
        BlobRemoved,
        /// A layer is in the trash.
        LayerTrashed,
    }
    "journal" {
        /// The key is written under another name.
        KeyStaged,
        /// The key is in its place.
        KeyPlaced,
        /// A segment is begun under a name that is none.
        SegmentStaged,
        /// The segment before it says that it is closed.
        SegmentClosed,
        /// A segment is in its place.
        SegmentPlaced,
        /// Records are appended, and the head does not know.
        EventsAppended,
        /// The head knows.
        HeadWritten,
        /// A segment too many is removed.
        SegmentTrimmed,
        /// The anchors are written under another name.
        AnchorsStaged,
        /// The anchors are in their place.
        AnchorsPlaced,
    }
    "engine" {
        /// A volume has its directory.
        VolumeDirMade,
        /// The image's files are being copied into a volume.
        VolumeFilling,
        /// They are all there.
        VolumeFilled,
        /// A volume's data is removed.
        VolumeEmptied,
        /// What a container mounts is found or made.
        MountsSettled,
        /// A container has its writable layer.
        WritableMade,
        /// The marks of a container's last run are gone.
        MarksRemoved,
        /// A container is marked as started.
        StartMarked,
        /// Its monitor is executed.
        MonitorSpawned,
        /// A container is marked as stopped.
        StopMarked,
        /// A signal is sent to a container's first process.
        SignalSent,
        /// A container that is to be removed is dead.
        KilledForRemoval,
        /// What a dead monitor left running is dead, and its groups are gone.
        ProcessesEnded,
        /// The reaper has collected its container.
        ReapCollected,
        /// A commit has its layer, and no image.
        CommitLayerMade,
        /// An image came into the store, and is not recorded.
        ImageTaken,
        /// A process in a container runs.
        ExecStarted,
        /// A process of ours is in a container, for its files.
        GuestStarted,
    }
    "monitor" {
        /// The lock is the monitor's, and the launch is read.
        PlaceTaken,
        /// Clients can connect.
        Listening,
        /// The container is there; its program does not run.
        ContainerMade,
        /// Its program runs.
        ContainerBegun,
        /// That is in the journal.
        StartRecorded,
        /// That is in its status, and the first client has been told.
        StartTold,
        /// A record of the monitor's is written under its other name.
        StatusStaged,
        /// It is in its place.
        StatusPlaced,
        /// Output is in the log.
        OutputLogged,
        /// One file of the log has been moved on.
        LogMoved,
        /// The log's files have all been moved on.
        LogRotated,
        /// The first process has ended.
        EndSeen,
        /// Its last output is in the log.
        OutputDrained,
        /// Its control groups are gone.
        GroupsRemoved,
        /// Its end is in the journal.
        EndRecorded,
        /// The monitor has given the lock back.
        LockDropped,
        /// The clients know of the end.
        EndTold,
        /// The container is frozen or thawed, and nobody knows.
        FrozenOrThawed,
        /// New bounds are in force.
        BoundsSet,
        /// That it restarts is in its records.
        RestartPlanned,
        /// Its wait is over.
        RestartRested,
        /// The last exit record is gone.
        ExitForgotten,
        /// A health check runs.
        CheckStarted,
        /// A health check has ended.
        CheckEnded,
    }
    "cli" {
        /// The file of `--cidfile` has the id.
        CidWritten,
        /// A container is made or started, and its id not printed.
        IdUnsaid,
        /// A container is frozen for a commit.
        CommitPaused,
        /// A commit is done, and its container still frozen.
        CommitMade,
        /// Bounds are in force and not recorded.
        BoundsUnrecorded,
        /// A process in a container has ended, which is not recorded.
        ExecEnded,
        /// A container that restarts by command is stopped.
        StoppedToRestart,
    }
}

/// Passes a step: `corral_fault::step!(LeaseTaken)`.
#[macro_export]
macro_rules! step {
    ($step:ident) => {
        $crate::pass($crate::Step::$step)
    };
}

/// What [`step!`] does: nothing, but in a fault-injection build.
#[inline(always)]
pub fn pass(step: Step) {
    #[cfg(debug_assertions)]
    inject::pass(step);
    #[cfg(not(debug_assertions))]
    let _ = step;
}

/// What a command hands on to the monitor that it starts; nothing, but in a fault-injection build.
#[inline(always)]
pub fn environment() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    #[cfg(debug_assertions)]
    let variables = inject::environment();
    #[cfg(not(debug_assertions))]
    let variables = std::iter::empty();
    variables
}
