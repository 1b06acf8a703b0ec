//! The use-cases that are killed: what is there before, what is done, and what must be so once it was done again.

use corral_tests::Corral;

/// One use-case.
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// Commands that make what it needs, and must succeed.
    pub before: &'static [&'static str],
    /// The command that is killed at each of its steps, or whose monitor is.
    pub act: &'static str,
    /// Whether containers that were there may be gone after it.
    pub removes: bool,
    /// The root has not been used before.
    pub fresh: bool,
    /// It changes images or volumes, which are looked through afterwards.
    pub images: bool,
    pub volumes: bool,
    /// The journal has as many segments as are kept.
    pub long_journal: bool,
    /// What holds after the same command was given once more, unkilled.
    pub goal: fn(&Corral) -> bool,
}

const fn case(
    name: &'static str,
    before: &'static [&'static str],
    act: &'static str,
    goal: fn(&Corral) -> bool,
) -> Case {
    Case {
        name,
        before,
        act,
        removes: false,
        fresh: false,
        images: false,
        volumes: false,
        long_journal: false,
        goal,
    }
}

const fn removing(case: Case) -> Case {
    Case { removes: true, ..case }
}

const fn fresh(case: Case) -> Case {
    Case { fresh: true, images: true, volumes: true, ..case }
}

const fn images(case: Case) -> Case {
    Case { images: true, ..case }
}

const fn volumes(case: Case) -> Case {
    Case { volumes: true, ..case }
}

impl Case {
    /// What takes away what it made, beside its containers.
    pub fn cleans(&self) -> &'static [&'static str] {
        match (self.images, self.volumes) {
            (true, _) => &["rmi -f made", "rmi -f made2", "rmi -f other", "volume prune -af"],
            (false, true) => &["volume prune -af"],
            (false, false) => &[],
        }
    }
}

fn state(corral: &Corral, name: &str) -> String {
    let said = corral.say(&["inspect", "--format", "{{.State.Status}}", name]);
    if said.code == 0 { said.out.trim().to_owned() } else { "gone".to_owned() }
}

/// Whoever killed its monitor has killed it too.
fn lives_or_ended(corral: &Corral) -> bool {
    matches!(&*state(corral, "web"), "running" | "exited")
}

fn has(corral: &Corral, words: &[&str], line: &str) -> bool {
    corral.ok(words).lines().any(|found| found.trim() == line)
}

fn volume(corral: &Corral, name: &str) -> bool {
    has(corral, &["volume", "ls", "-q"], name)
}

fn image(corral: &Corral, name: &str) -> bool {
    has(corral, &["images", "--format", "{{.Repository}}"], name)
}

const UP: &str = "run -d --name web busybox sleep 1000";

/// No command, but what a clock that was set back leaves: the next event begins a segment of the journal.
pub const CLOCK: &str = "the clock is set back";

/// All of them.
pub const CASES: &[Case] = &[
    fresh(case("first import", &[], "import base.tar made", |corral| image(corral, "made"))),
    fresh(case("first create", &[], "volume create vol", |corral| volume(corral, "vol"))),
    case("create", &[], "create --name web --cidfile cid busybox true", |corral| {
        state(corral, "web") == "created"
    }),
    volumes(case(
        "create with volumes",
        &[],
        "create --name web -v vol:/etc -v /data busybox true",
        |corral| state(corral, "web") == "created" && volume(corral, "vol"),
    )),
    case("start", &["create --name web busybox sleep 1000"], "start web", |corral| {
        state(corral, "web") == "running"
    }),
    case("start again", &["run --name web busybox true"], "start -a web", |corral| {
        state(corral, "web") == "exited"
    }),
    case("run", &[], "run --name web busybox echo out", |corral| state(corral, "web") != "gone"),
    volumes(case("run --rm", &[], "run --rm --name web -v /data busybox echo out", |corral| {
        state(corral, "web") == "gone"
    })),
    case("run -d", &[], UP, |corral| state(corral, "web") != "gone"),
    case("run -d --rm", &[], "run -d --rm --name web busybox true", |_| true),
    case("run in the host's ids", &[], "run -d --userns host --name web busybox sleep 1000", |corral| {
        state(corral, "web") != "gone"
    }),
    case(
        "logs are rotated",
        &[],
        "run --name web --log-opt max-size=20k --log-opt max-file=3 busybox head -c 300000 /dev/zero",
        |corral| state(corral, "web") != "gone",
    ),
    case("restarts by itself", &[], "run -d --name web --restart on-failure:1 busybox false", |corral| {
        state(corral, "web") != "gone"
    }),
    case(
        "is checked",
        &[],
        "run -d --name web --health-cmd true --health-interval 100ms busybox sleep 1000",
        |corral| state(corral, "web") != "gone",
    ),
    case("restart", &[UP], "restart -t 0 web", |corral| state(corral, "web") == "running"),
    case("stop", &[UP], "stop -t 0 web", |corral| state(corral, "web") == "exited"),
    case(
        "stop for good",
        &["run -d --name web --restart always --stop-timeout 0 busybox sleep 1000"],
        "stop -t 0 web",
        |corral| state(corral, "web") == "exited",
    ),
    case("kill", &[UP], "kill web", |corral| state(corral, "web") == "exited"),
    case("pause", &[UP], "pause web", |corral| matches!(&*state(corral, "web"), "paused" | "exited")),
    case("unpause", &[UP, "pause web"], "unpause web", |corral| {
        matches!(&*state(corral, "web"), "running" | "exited")
    }),
    removing(volumes(case("rm", &["run --name web -v /data busybox true"], "rm -v web", |corral| {
        state(corral, "web") == "gone"
    }))),
    removing(case("rm -f", &[UP], "rm -f web", |corral| state(corral, "web") == "gone")),
    case("exec", &[UP], "exec web true", |corral| state(corral, "web") == "running"),
    case("exec -d", &[UP], "exec -d web sleep 0.05", |corral| state(corral, "web") == "running"),
    images(case("commit", &[UP], "commit web made", |corral| {
        lives_or_ended(corral) && image(corral, "made")
    })),
    images(case(
        "commit of one that rests",
        &["create --name web busybox true"],
        "commit web made",
        |corral| state(corral, "web") == "created" && image(corral, "made"),
    )),
    case("rename", &["create --name web busybox true"], "rename web new", |corral| {
        state(corral, "new") == "created" && state(corral, "web") == "gone"
    }),
    case("rename of one that runs", &[UP], "rename web new", |corral| {
        state(corral, "new") == "running" && state(corral, "web") == "gone"
    }),
    case("update", &[UP], "update --pids-limit 77 --cpus 0.5 --cpuset-cpus 0 web", |corral| {
        corral.ok(&["inspect", "--format", "{{.HostConfig.PidsLimit}}", "web"]).trim() == "77"
            || state(corral, "web") == "exited"
    }),
    case(
        "update of one that rests",
        &["create --name web busybox true"],
        "update --pids-limit 77 web",
        |corral| corral.ok(&["inspect", "--format", "{{.HostConfig.PidsLimit}}", "web"]).trim() == "77",
    ),
    case("cp in", &["create --name web busybox true"], "cp base.tar web:/tmp/", |corral| {
        state(corral, "web") == "created"
    }),
    case("cp in to one that runs", &[UP], "cp base.tar web:/tmp/", |corral| {
        state(corral, "web") == "running"
    }),
    case("cp out", &["create --name web busybox true"], "cp web:/etc/passwd out", |corral| {
        state(corral, "web") == "created"
    }),
    images(case("load", &[], "load -i saved.tar", |corral| image(corral, "other"))),
    images(case("import", &[], "import base.tar made", |corral| image(corral, "made"))),
    images(case("tag", &[], "tag busybox made", |corral| image(corral, "made"))),
    images(case("rmi", &["import other.tar made"], "rmi made", |corral| !image(corral, "made"))),
    volumes(case("volume create", &[], "volume create vol", |corral| volume(corral, "vol"))),
    volumes(case("volume rm", &["volume create vol"], "volume rm vol", |corral| !volume(corral, "vol"))),
    removing(case("container prune", &["create --name web busybox true"], "container prune -f", |corral| {
        state(corral, "web") == "gone"
    })),
    images(case("image prune", &["import other.tar made", "tag made made2"], "image prune -af", |corral| {
        !image(corral, "made")
    })),
    volumes(case("volume prune", &["volume create vol"], "volume prune -af", |corral| {
        !volume(corral, "vol")
    })),
    removing(volumes(images(case(
        "system prune",
        &["create --name web -v /data busybox true", "import other.tar made"],
        "system prune -af --volumes",
        |corral| state(corral, "web") == "gone" && !image(corral, "made"),
    )))),
    images(Case {
        long_journal: true,
        ..case("journal rotation", &[CLOCK], "tag busybox made", |corral| image(corral, "made"))
    }),
    case(
        "halt",
        &["run -d --name web --restart always --stop-timeout 0 busybox sleep 1000"],
        "system halt",
        |corral| state(corral, "web") == "exited",
    ),
    case(
        "boot",
        &["run -d --name web --restart always --stop-timeout 0 busybox sleep 1000", "system halt"],
        "system boot",
        |corral| state(corral, "web") == "running",
    ),
];
