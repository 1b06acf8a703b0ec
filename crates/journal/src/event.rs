//! What can happen. The names are those of Docker's events, where Docker has the event.

use std::collections::BTreeMap;

/// What an event is about: Docker's `Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A container; the actor is its id.
    Container,
    /// An image; the actor is its id.
    Image,
    /// A volume; the actor is its name.
    Volume,
    /// The engine itself; the actor is what was refused.
    Daemon,
    /// The journal's own marks, which are no events.
    Journal,
}

impl Kind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Daemon => "daemon",
            Self::Journal => "journal",
        }
    }
}

/// What happened: a closed set for those who write. A reader keeps the words, so that it reads what a newer
/// version wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A container was made.
    Create,
    /// Its program runs.
    Start,
    /// A client watches its streams.
    Attach,
    /// A client stopped watching.
    Detach,
    /// A further process was made ready (detail: its command).
    ExecCreate,
    /// It runs.
    ExecStart,
    /// It ended.
    ExecDie,
    /// The kernel killed it for memory.
    Oom,
    /// Its first process ended.
    Die,
    /// It was sent a signal.
    Kill,
    /// It was frozen.
    Pause,
    /// It was thawed.
    Unpause,
    /// It ended because it was asked to.
    Stop,
    /// It was stopped and started again.
    Restart,
    /// It got another name.
    Rename,
    /// Its limits were changed.
    Update,
    /// It was removed.
    Destroy,
    /// Its processes were listed.
    Top,
    /// Its health was found to be another than before (detail: which).
    HealthStatus,
    /// Something was copied out of it.
    ArchivePath,
    /// Something was copied into it.
    ExtractToDir,
    /// An image was made of it.
    Commit,
    /// It was written out as an archive.
    Export,
    /// An image was made of an archive.
    ImageImport,
    /// An image came out of an archive of images.
    ImageLoad,
    /// An image got a name.
    ImageTag,
    /// An image lost a name.
    ImageUntag,
    /// An image was removed.
    ImageDelete,
    /// An image was written to an archive.
    ImageSave,
    /// An image came from a registry.
    ImagePull,
    /// An image went to a registry.
    ImagePush,
    /// A volume was made.
    VolumeCreate,
    /// A container that has it mounted started.
    VolumeMount,
    /// That container ended.
    VolumeUnmount,
    /// A volume was removed.
    VolumeDestroy,
    /// Something was not done: a rule forbids it, or it could not be recorded.
    Refuse,
}

impl Action {
    /// What it is about, and Docker's word for it.
    pub const fn words(self) -> (Kind, &'static str) {
        match self {
            Self::Create => (Kind::Container, "create"),
            Self::Start => (Kind::Container, "start"),
            Self::Attach => (Kind::Container, "attach"),
            Self::Detach => (Kind::Container, "detach"),
            Self::ExecCreate => (Kind::Container, "exec_create"),
            Self::ExecStart => (Kind::Container, "exec_start"),
            Self::ExecDie => (Kind::Container, "exec_die"),
            Self::Oom => (Kind::Container, "oom"),
            Self::Die => (Kind::Container, "die"),
            Self::Kill => (Kind::Container, "kill"),
            Self::Pause => (Kind::Container, "pause"),
            Self::Unpause => (Kind::Container, "unpause"),
            Self::Stop => (Kind::Container, "stop"),
            Self::Restart => (Kind::Container, "restart"),
            Self::Rename => (Kind::Container, "rename"),
            Self::Update => (Kind::Container, "update"),
            Self::Destroy => (Kind::Container, "destroy"),
            Self::Top => (Kind::Container, "top"),
            Self::HealthStatus => (Kind::Container, "health_status"),
            Self::ArchivePath => (Kind::Container, "archive-path"),
            Self::ExtractToDir => (Kind::Container, "extract-to-dir"),
            Self::Commit => (Kind::Container, "commit"),
            Self::Export => (Kind::Container, "export"),
            Self::ImageImport => (Kind::Image, "import"),
            Self::ImageLoad => (Kind::Image, "load"),
            Self::ImageTag => (Kind::Image, "tag"),
            Self::ImageUntag => (Kind::Image, "untag"),
            Self::ImageDelete => (Kind::Image, "delete"),
            Self::ImageSave => (Kind::Image, "save"),
            Self::ImagePull => (Kind::Image, "pull"),
            Self::ImagePush => (Kind::Image, "push"),
            Self::VolumeCreate => (Kind::Volume, "create"),
            Self::VolumeMount => (Kind::Volume, "mount"),
            Self::VolumeUnmount => (Kind::Volume, "unmount"),
            Self::VolumeDestroy => (Kind::Volume, "destroy"),
            Self::Refuse => (Kind::Daemon, "refuse"),
        }
    }
}

/// One thing that happened, to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub action: Action,
    /// To what: Docker's `Actor.ID`.
    pub id: String,
    /// What follows the action's word, as in `exec_create: sh`; mostly empty.
    pub detail: String,
    /// Docker's `Actor.Attributes`. Never the value of a variable or a secret.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// An event without attributes.
    pub fn new(action: Action, id: impl Into<String>) -> Self {
        Self { action, id: id.into(), detail: String::new(), attributes: BTreeMap::new() }
    }

    /// With one attribute more.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// With these attributes, where they do not stand yet.
    pub fn with_all<'a>(mut self, pairs: impl IntoIterator<Item = &'a (String, String)>) -> Self {
        for (name, value) in pairs {
            self.attributes.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// With what follows the action's word.
    pub fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}
