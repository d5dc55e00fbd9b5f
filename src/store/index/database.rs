//! The SQL of the index: one row for each inode, in a file that several processes share.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use super::IndexError;
use crate::digest::Md5Stream;
use crate::store::meta::nanoseconds;
use crate::store::{BootId, KnownDigest, Stamp};
use crate::wire::{Md5Digest, Timestamp};

/// One connection to the file of an index.
pub(super) struct Database {
    connection: Connection,
}

/// The key of a row: device and inode, as SQLite's signed integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    device: i64,
    inode: i64,
}

impl Key {
    /// Less than every other key.
    pub(super) const FIRST: Key = Key {
        device: i64::MIN,
        inode: i64::MIN,
    };

    pub(super) fn of(stamp: &Stamp) -> Key {
        Key {
            device: stamp.device.cast_signed(),
            inode: stamp.inode.cast_signed(),
        }
    }
}

/// Days since 1970.
pub(super) type Day = u32;

/// A change of a row.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// Set the row, last used on that day.
    Put(Stamp, KnownDigest, Day),
    /// Remove the row.
    Remove,
}

/// Changes in the order of their keys, so that each page is touched only once.
pub(super) type Batch = BTreeMap<Key, Change>;

impl Database {
    /// Opens an existing file for reading and writing, and makes an empty one an index. Fails if a
    /// write fails.
    pub(super) fn open(path: &Path, busy_timeout: Duration) -> Result<Database, IndexError> {
        let mut database = Database::connect(path, busy_timeout).map_err(index_error)?;
        let state = database.state()?;
        database.share()?;
        let transaction = database
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(index_error)?;
        if state == State::Empty {
            transaction.execute_batch(SCHEMA).map_err(index_error)?;
        }
        // These write even if nothing changes, so that a file that cannot be written fails now.
        transaction
            .pragma_update(None, "application_id", APPLICATION_ID)
            .and_then(|()| transaction.pragma_update(None, "user_version", VERSION))
            .and_then(|()| transaction.commit())
            .map_err(index_error)?;
        Ok(database)
    }

    /// The content of the file. A file that is no index is not changed.
    fn state(&self) -> Result<State, IndexError> {
        let number = |sql| {
            self.connection
                .query_row(sql, [], |row| row.get::<_, i64>(0))
        };
        let application = number("PRAGMA application_id").map_err(index_error)?;
        let version = number("PRAGMA user_version").map_err(index_error)?;
        let schema: Vec<String> = self
            .connection
            .prepare("SELECT coalesce(sql, name) FROM sqlite_schema")
            .and_then(|mut query| query.query_map([], |row| row.get(0))?.collect())
            .map_err(index_error)?;
        match (application, version, schema.as_slice()) {
            (0, 0, []) => Ok(State::Empty),
            (APPLICATION_ID, VERSION, [schema]) if schema == SCHEMA => Ok(State::Index),
            (APPLICATION_ID, found, _) if found > VERSION => {
                let known = VERSION;
                Err(IndexError::Newer { found, known })
            }
            (APPLICATION_ID, ..) => {
                let reason = "its tables are not those of an index";
                Err(IndexError::Damaged(reason.to_owned()))
            }
            _ => Err(IndexError::Foreign),
        }
    }

    /// Lets several programs read while one writes.
    fn share(&self) -> Result<(), IndexError> {
        let mode: String = self
            .connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(index_error)?;
        if mode != "wal" {
            let reason = format!("file system does not allow a shared log ({mode})");
            return Err(IndexError::Failed(reason.into()));
        }
        Ok(())
    }

    /// Opens an index for look-ups only.
    pub(super) fn open_reader(path: &Path) -> Result<Database, IndexError> {
        let database = Database::connect(path, READER_BUSY_TIMEOUT).map_err(index_error)?;
        // The first read also opens the log and the shared-memory file, while the caller prevents a
        // rename of them.
        database.rows_after(Key::FIRST, 1)?;
        Ok(database)
    }

    fn connect(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Database> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(busy_timeout)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        // Closing would delete the log by its name. If this index was deleted or renamed, that is
        // the log of another index.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // NORMAL: a power cut may lose the last rows, but never the index.
        connection.execute_batch(
            "PRAGMA synchronous = NORMAL; PRAGMA cell_size_check = ON; PRAGMA cache_size = -1024;
             PRAGMA journal_size_limit = 16777216",
        )?;
        Ok(Database { connection })
    }

    /// The digest under exactly this stamp, and the day of its row's last use.
    pub(super) fn look_up(&self, stamp: &Stamp) -> Result<Option<(KnownDigest, Day)>, IndexError> {
        let key = Key::of(stamp);
        let row = self
            .connection
            .prepare_cached(LOOK_UP)
            .and_then(|mut query| {
                query
                    .query_row([key.device, key.inode], |row| {
                        Ok((Fields::read(row)?, row.get::<_, i64>(DAY)?))
                    })
                    .optional()
            });
        match row {
            Ok(row) => Ok(row.and_then(|(fields, day)| {
                let known = fields.known(stamp)?;
                Some((known, Day::try_from(day).unwrap_or_default()))
            })),
            Err(error) => Err(index_error(error)),
        }
    }

    /// Applies all changes, or none.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), IndexError> {
        self.try_write(batch).map_err(index_error)
    }

    fn try_write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut put = transaction.prepare_cached(PUT)?;
            let mut remove = transaction.prepare_cached(REMOVE)?;
            for (key, change) in batch {
                let fields = match change {
                    Change::Put(stamp, known, day) => {
                        Fields::of(stamp, known).map(|fields| (fields, day))
                    }
                    Change::Remove => None,
                };
                let Some((fields, day)) = fields else {
                    remove.execute([key.device, key.inode])?;
                    continue;
                };
                put.execute(rusqlite::params![
                    key.device,
                    key.inode,
                    fields.size,
                    fields.mtime,
                    fields.ctime,
                    fields.made,
                    fields.boot,
                    fields.md5,
                    fields.proof(*key),
                    day
                ])?;
            }
        }
        transaction.commit()
    }

    /// The first rows after a key, at most `rows_max`, with their last-used days.
    pub(super) fn rows_after(
        &self,
        key: Key,
        rows_max: u32,
    ) -> Result<Vec<(Key, Day)>, IndexError> {
        let read = || {
            let mut query = self.connection.prepare_cached(ROWS_AFTER)?;
            let rows = query.query_map((key.device, key.inode, rows_max), |row| {
                let (device, inode) = (row.get(0)?, row.get(1)?);
                let day = Day::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
                Ok((Key { device, inode }, day))
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(index_error)
    }

    /// How long a write waits for other writers.
    pub(super) fn set_busy_timeout(&self, timeout: Duration) -> Result<(), IndexError> {
        self.connection.busy_timeout(timeout).map_err(index_error)
    }

    /// Moves rows from the log to the file, unless another process still reads the log.
    pub(super) fn checkpoint(&self) {
        // The next process that opens the index reads a log that stays.
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

#[derive(PartialEq, Eq)]
enum State {
    Empty,
    Index,
}

/// The fields of a row besides its key and day.
#[derive(Clone, Copy)]
struct Fields {
    size: i64,
    mtime: i64,
    ctime: i64,
    made: i64,
    /// 0 for none.
    boot: i64,
    md5: [u8; 16],
    /// As read from the file; [`Fields::proof`] computes the right value.
    proof: i64,
}

impl Fields {
    /// `None` if a time is out of range: before 1678 or after 2262.
    fn of(stamp: &Stamp, known: &KnownDigest) -> Option<Fields> {
        let fits = |time| i64::try_from(nanoseconds(time)).ok();
        Some(Fields {
            size: stamp.size.cast_signed(),
            mtime: fits(stamp.mtime)?,
            ctime: fits(stamp.ctime)?,
            made: fits(known.made)?,
            boot: known.quiet_in.map_or(0, |boot| boot.bits().cast_signed()),
            md5: *known.md5.as_bytes(),
            proof: 0,
        })
    }

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Fields> {
        Ok(Fields {
            size: row.get(0)?,
            mtime: row.get(1)?,
            ctime: row.get(2)?,
            made: row.get(3)?,
            boot: row.get(4)?,
            md5: row.get(5)?,
            proof: row.get(6)?,
        })
    }

    /// The digest, if the row is of this stamp and intact.
    fn known(&self, stamp: &Stamp) -> Option<KnownDigest> {
        let known = KnownDigest {
            md5: Md5Digest::from_bytes(self.md5),
            made: timestamp(self.made),
            quiet_in: BootId::from_bits(self.boot.cast_unsigned()),
        };
        let asked = Fields::of(stamp, &known)?;
        let same = self.size == asked.size
            && self.mtime == asked.mtime
            && self.ctime == asked.ctime
            && self.proof == asked.proof(Key::of(stamp));
        same.then_some(known)
    }

    /// A checksum of everything that a look-up uses, so that a flipped bit on the disk does not
    /// produce a wrong digest. SQLite checks only the structure of its pages.
    fn proof(&self, key: Key) -> i64 {
        let numbers = [
            key.device, key.inode, self.size, self.mtime, self.ctime, self.made, self.boot,
        ];
        let mut bytes = [0; 72];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes[56..].copy_from_slice(&self.md5);
        let digest = u128::from_le_bytes(*Md5Stream::digest(&bytes).as_bytes());
        (digest as u64).cast_signed()
    }
}

fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp {
        seconds: nanoseconds.div_euclid(1_000_000_000),
        nanoseconds: nanoseconds.rem_euclid(1_000_000_000) as u32,
    }
}

/// Maps an error of SQLite.
fn index_error(error: rusqlite::Error) -> IndexError {
    let rusqlite::Error::SqliteFailure(failure, _) = &error else {
        // Any other error here is a column of a wrong type or length.
        return IndexError::Damaged(error.to_string());
    };
    match failure.code {
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            IndexError::Damaged(error.to_string())
        }
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed => IndexError::Locked,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => IndexError::ReadOnly,
        ErrorCode::DiskFull => IndexError::Full,
        _ if failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => IndexError::Full,
        _ => IndexError::Failed(error.into()),
    }
}

/// "ftix" in the file's header, where `file` and SQLite's own tools show it.
pub(super) const APPLICATION_ID: i64 = 0x6674_6978;
/// Raise this with every change of the schema or of a row's meaning.
const VERSION: i64 = 2;
/// A row is about 100 bytes. Times are nanoseconds since 1970; `used` is a day since 1970.
const SCHEMA: &str = "CREATE TABLE digest (device INTEGER NOT NULL, inode INTEGER NOT NULL, \
    size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, made INTEGER NOT NULL, \
    boot INTEGER NOT NULL, md5 BLOB NOT NULL, proof INTEGER NOT NULL, used INTEGER NOT NULL, \
    PRIMARY KEY (device, inode)) STRICT, WITHOUT ROWID";
const LOOK_UP: &str = "SELECT size, mtime, ctime, made, boot, md5, proof, used FROM digest \
    WHERE device = ?1 AND inode = ?2";
/// The column of `used` in [`LOOK_UP`].
const DAY: usize = 7;
const PUT: &str = "REPLACE INTO digest VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const REMOVE: &str = "DELETE FROM digest WHERE device = ?1 AND inode = ?2";
const ROWS_AFTER: &str = "SELECT device, inode, used FROM digest \
    WHERE (device, inode) > (?1, ?2) ORDER BY device, inode LIMIT ?3";
/// Readers wait only for a moment, while another process recovers a log.
const READER_BUSY_TIMEOUT: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::index::tests::{known, stamp, time};

    fn database() -> (tempfile::TempDir, Database) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index");
        std::fs::write(&path, "").unwrap();
        let database = Database::open(&path, Duration::ZERO).unwrap();
        (directory, database)
    }

    fn put(database: &mut Database, stamp: &Stamp, known: KnownDigest, day: Day) {
        let change = Change::Put(*stamp, known, day);
        database
            .write(&Batch::from([(Key::of(stamp), change)]))
            .unwrap();
    }

    #[test]
    fn finds_a_digest_only_under_its_exact_stamp() {
        let (_directory, mut database) = database();
        let kept = stamp(u64::MAX - 1);
        put(&mut database, &kept, known(1), 9);
        assert_eq!(database.look_up(&kept).unwrap(), Some((known(1), 9)));
        let later = time(0, 77);
        for other in [
            Stamp { device: 2, ..kept },
            Stamp { inode: 8, ..kept },
            Stamp { size: 4, ..kept },
            Stamp {
                mtime: later,
                ..kept
            },
            Stamp {
                ctime: later,
                ..kept
            },
        ] {
            assert_eq!(database.look_up(&other).unwrap(), None, "{other:?}");
        }
    }

    #[test]
    fn a_time_out_of_range_is_not_kept() {
        let (_directory, mut database) = database();
        let far = time(1 << 40, 0);
        let odd = Stamp {
            mtime: far,
            ..stamp(1)
        };
        put(&mut database, &stamp(1), known(1), 0);
        put(&mut database, &odd, known(2), 0);
        assert_eq!(database.look_up(&odd).unwrap(), None);
        assert_eq!(database.look_up(&stamp(1)).unwrap(), None);
    }

    #[test]
    fn a_corrupt_row_is_ignored() {
        let columns = [
            ("size", "size + 1"),
            ("mtime", "mtime + 1"),
            ("made", "made + 1"),
            ("boot", "boot - 1"),
            ("md5", "x'00000000000000000000000000000001'"),
            ("proof", "proof + 1"),
        ];
        for (column, value) in columns {
            let (_directory, mut database) = database();
            put(&mut database, &stamp(3), known(1), 0);
            let sql = format!("UPDATE digest SET {column} = {value}");
            assert_eq!(database.connection.execute(&sql, []).unwrap(), 1);
            assert_eq!(database.look_up(&stamp(3)).unwrap(), None, "{column}");
        }
        // A row under another inode, as a damaged key would have it.
        let (_directory, mut database) = database();
        put(&mut database, &stamp(3), known(1), 0);
        database
            .connection
            .execute("UPDATE digest SET inode = 4", [])
            .unwrap();
        assert_eq!(database.look_up(&stamp(4)).unwrap(), None);
    }

    #[test]
    fn a_digest_of_another_length_is_damage() {
        let (_directory, mut database) = database();
        put(&mut database, &stamp(3), known(1), 0);
        database
            .connection
            .execute("UPDATE digest SET md5 = x'00'", [])
            .unwrap();
        let error = database.look_up(&stamp(3)).unwrap_err();
        assert!(matches!(error, IndexError::Damaged(_)), "{error}");
    }

    #[test]
    fn walks_the_rows_in_the_order_of_batches() {
        let (_directory, mut database) = database();
        let inodes = [3, 1, u64::MAX, 2, 1 << 63];
        for inode in inodes {
            put(&mut database, &stamp(inode), known(1), 5);
        }
        let all = database.rows_after(Key::FIRST, 10).unwrap();
        let mut keys: Vec<Key> = inodes.map(|inode| Key::of(&stamp(inode))).into();
        keys.sort();
        assert_eq!(all, keys.iter().map(|&key| (key, 5)).collect::<Vec<_>>());
        assert_eq!(database.rows_after(keys[1], 2).unwrap(), all[2..4]);
    }

    #[test]
    fn the_file_header_identifies_an_index() {
        let (directory, database) = database();
        let path = directory.path().join("index");
        drop(Database::open(&path, Duration::ZERO).unwrap());
        let version = |connection: &Connection, number: i64| {
            connection
                .pragma_update(None, "user_version", number)
                .unwrap();
        };
        version(&database.connection, 7);
        assert!(matches!(
            Database::open(&path, Duration::ZERO),
            Err(IndexError::Newer {
                found: 7,
                known: VERSION
            })
        ));
        version(&database.connection, VERSION);
        database
            .connection
            .execute("CREATE TABLE more (x)", [])
            .unwrap();
        assert!(matches!(
            Database::open(&path, Duration::ZERO),
            Err(IndexError::Damaged(_))
        ));
    }

    #[test]
    fn a_database_of_another_program_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other");
        let other = Connection::open(&path).unwrap();
        other.execute("CREATE TABLE photos (name)", []).unwrap();
        assert!(matches!(
            Database::open(&path, Duration::ZERO),
            Err(IndexError::Foreign)
        ));
    }
}
