use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::{Error, Layout};

/// The shared facts that are queried and must change as one: volumes, and what the user granted to
/// projects. One file, many processes: write-ahead log, full synchronisation, immediate transactions.
pub struct Database {
    connection: Connection,
    path: std::path::PathBuf,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Nanoseconds since the epoch.
    pub created_ns: i64,
    /// Key to value.
    pub labels: BTreeMap<String, String>,
    /// What its driver was told.
    pub options: BTreeMap<String, String>,
}

impl Volume {
    /// The label of a volume that no user named, as Docker marks it.
    pub const ANONYMOUS: &str = "com.docker.volume.anonymous";
}

/// A request of a project that the user has granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who asks: a project directory or an image reference.
    pub subject: String,
    /// Hash of the request as it was when granted, in hexadecimal.
    pub request: String,
}

/// Each entry is one step; the number of steps done is SQLite's `user_version`.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE volumes (name TEXT PRIMARY KEY, created_ns INTEGER NOT NULL) STRICT;
    CREATE TABLE grants (subject TEXT NOT NULL, request TEXT NOT NULL, granted_ns INTEGER NOT NULL,
                         PRIMARY KEY (subject, request)) STRICT;
",
    "
    ALTER TABLE volumes ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';
    ALTER TABLE volumes ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
",
];

impl Database {
    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn open(layout: &Layout) -> Result<Self, Error> {
        let path = layout.database();
        let fail = |source| Error::Database { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(fail)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(fail)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            .map_err(fail)?;
        migrate(&mut connection).map_err(fail)?;
        Ok(Self { connection, path })
    }

    /// Records a volume; true if it is new.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn add_volume(&self, volume: &Volume) -> Result<bool, Error> {
        let Volume { name, created_ns, labels, options } = volume;
        self.connection
            .execute(
                "INSERT OR IGNORE INTO volumes (name, created_ns, labels, options) VALUES (?1, ?2, ?3, ?4)",
                params![name, created_ns, to_json(labels), to_json(options)],
            )
            .inspect(|_| corral_fault::step!(VolumeRecorded))
            .map(|rows| rows == 1)
            .map_err(|source| self.fail(source))
    }

    /// One volume, if it is there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn volume(&self, name: &str) -> Result<Option<Volume>, Error> {
        self.connection
            .query_row(
                "SELECT name, created_ns, labels, options FROM volumes WHERE name = ?1",
                params![name],
                of_row,
            )
            .optional()
            .map_err(|source| self.fail(source))
    }

    /// Forgets a volume; true if it was there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn remove_volume(&self, name: &str) -> Result<bool, Error> {
        self.connection
            .execute("DELETE FROM volumes WHERE name = ?1", params![name])
            .inspect(|_| corral_fault::step!(VolumeForgotten))
            .map(|rows| rows == 1)
            .map_err(|source| self.fail(source))
    }

    /// All volumes by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn volumes(&self) -> Result<Vec<Volume>, Error> {
        let query = || -> rusqlite::Result<Vec<Volume>> {
            self.connection
                .prepare("SELECT name, created_ns, labels, options FROM volumes ORDER BY name")?
                .query_map([], of_row)?
                .collect()
        };
        query().map_err(|source| self.fail(source))
    }

    /// Records that the user granted a request.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn grant(&self, grant: &Grant, granted_ns: i64) -> Result<(), Error> {
        self.connection
            .execute(
                "INSERT OR IGNORE INTO grants (subject, request, granted_ns) VALUES (?1, ?2, ?3)",
                params![grant.subject, grant.request, granted_ns],
            )
            .map(|_| ())
            .map_err(|source| self.fail(source))
    }

    /// Whether exactly this request was granted.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn is_granted(&self, grant: &Grant) -> Result<bool, Error> {
        self.connection
            .query_row(
                "SELECT 1 FROM grants WHERE subject = ?1 AND request = ?2",
                params![grant.subject, grant.request],
                |_| Ok(()),
            )
            .optional()
            .map(|row| row.is_some())
            .map_err(|source| self.fail(source))
    }

    fn fail(&self, source: rusqlite::Error) -> Error {
        Error::Database { path: self.path.clone(), source }
    }
}

fn of_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Volume> {
    let map = |column: usize| {
        let text: String = row.get(column)?;
        serde_json::from_str(&text).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        })
    };
    Ok(Volume { name: row.get(0)?, created_ns: row.get(1)?, labels: map(2)?, options: map(3)? })
}

/// A map of texts is always JSON.
fn to_json(map: &BTreeMap<String, String>) -> String {
    serde_json::to_string(map).unwrap_or_default()
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let done: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if done as usize >= MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Read again under the write lock: another process may have migrated meanwhile.
    let done: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for step in MIGRATIONS.iter().skip(done as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(created_ns: i64) -> Volume {
        let labels = BTreeMap::from([("k".to_owned(), "v \" w".to_owned())]);
        Volume { name: "data".into(), created_ns, labels, options: BTreeMap::new() }
    }

    #[test]
    fn volumes_of_the_first_schema_are_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        layout.prepare().expect("prepare");
        let old = Connection::open(layout.database()).expect("open");
        old.execute_batch(MIGRATIONS[0]).expect("first schema");
        old.execute_batch("INSERT INTO volumes VALUES ('old', 7); PRAGMA user_version = 1;")
            .expect("a volume");
        drop(old);
        let known = Database::open(&layout).expect("migrate").volumes().expect("list");
        assert_eq!(known, [Volume { name: "old".into(), created_ns: 7, ..Volume::default() }]);
    }

    #[test]
    fn facts_outlive_the_connection() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        layout.prepare().expect("prepare");
        let grant = Grant { subject: "/p".into(), request: "ab".into() };
        {
            let db = Database::open(&layout).expect("open");
            assert!(db.add_volume(&volume(5)).expect("add"));
            assert!(!db.add_volume(&volume(6)).expect("add twice"));
            db.grant(&grant, 1).expect("grant");
        }
        let db = Database::open(&layout).expect("open again");
        assert_eq!(db.volumes().expect("list"), [volume(5)]);
        assert_eq!(db.volume("data").expect("query"), Some(volume(5)));
        assert_eq!(db.volume("date").expect("query"), None);
        assert!(db.is_granted(&grant).expect("query"));
        assert!(
            !db.is_granted(&Grant { request: "cd".into(), ..grant }).expect("query"),
            "a changed request is not granted"
        );
        assert!(db.remove_volume("data").expect("remove"));
        assert!(!db.remove_volume("data").expect("remove twice"));
    }
}
