"""The SQLite file: its schema, its lock, its errors. Nothing else opens it.

One process writes (an exclusive lock on FILE.lock says which), any number read.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ngu_points.errors import StoreError

VERSION = 2
BUSY_TIMEOUT = 10_000  # milliseconds
APPLICATION = 0x4E475550  # "NGUP"

SCHEMA = """
-- Columns carry the specification's names. Addresses are 20-byte blobs, hashes 32-byte blobs,
-- token ids 32-byte big-endian blobs (so that they sort); a quantity or an amount is an integer,
-- or decimal text where it needs more than 63 bits. Times are integer seconds.

CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE batch_events (            -- the working queue: rows expire at ttl once archived
    id TEXT PRIMARY KEY,               -- {blockNumber}-{transactionHash}-{logIndex}
    type TEXT NOT NULL,                -- BatchMint, BatchBurn, BatchTransfer
    startTokenId BLOB NOT NULL,
    quantity NOT NULL,
    "from" BLOB,                       -- absent on a mint
    "to" BLOB NOT NULL,                -- the zero address on a burn
    timestamp INTEGER NOT NULL,        -- block time
    blockNumber INTEGER NOT NULL,
    transactionHash BLOB NOT NULL,
    transactionIndex INTEGER NOT NULL,
    logIndex INTEGER NOT NULL,         -- block-wide
    processed INTEGER NOT NULL,
    processedAt INTEGER,
    error TEXT,                        -- what the event contradicted in our record
    ttl INTEGER NOT NULL,              -- far away until processed, then processedAt + 7 days
    chainId INTEGER NOT NULL,
    contract BLOB NOT NULL,
    blockHash BLOB NOT NULL
);
CREATE INDEX TypeBlockIndex ON batch_events (type, blockNumber);
CREATE INDEX batch_pending ON batch_events (blockNumber) WHERE processed = 0;

CREATE TABLE staking_events (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,                -- Stake, Unstake
    tokenId BLOB NOT NULL,
    staker BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    blockNumber INTEGER NOT NULL,
    transactionHash BLOB NOT NULL,
    transactionIndex INTEGER NOT NULL,
    logIndex INTEGER NOT NULL,
    processed INTEGER NOT NULL,
    processedAt INTEGER,
    error TEXT,
    ttl INTEGER NOT NULL,
    chainId INTEGER NOT NULL,
    contract BLOB NOT NULL,
    blockHash BLOB NOT NULL
);
CREATE INDEX StakerTokenIndex ON staking_events (staker, tokenId);
CREATE INDEX StakingBlockIndex ON staking_events (blockNumber);
CREATE INDEX staking_pending ON staking_events (blockNumber) WHERE processed = 0;

CREATE TABLE coverage (                -- block ranges read from the chain, per stream
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    fromBlock INTEGER NOT NULL,
    toBlock INTEGER NOT NULL,
    parentHash BLOB NOT NULL,          -- of fromBlock
    lastHash BLOB NOT NULL,            -- of toBlock
    timestamp INTEGER NOT NULL,        -- of toBlock
    count INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (stream, toBlock, sequence)
) WITHOUT ROWID;

CREATE TABLE dead_letters (            -- logs that cannot be events, for ever
    id TEXT PRIMARY KEY,
    stream TEXT NOT NULL,
    blockNumber INTEGER NOT NULL,
    logIndex INTEGER NOT NULL,
    transactionIndex INTEGER NOT NULL,
    transactionHash BLOB NOT NULL,
    blockHash BLOB NOT NULL,
    contract BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    reason TEXT NOT NULL,
    raw BLOB NOT NULL,                 -- the log as the node sent it
    receivedAt INTEGER NOT NULL
);

CREATE TABLE tokens (                  -- runs: consecutive ids that share all other columns
    first BLOB PRIMARY KEY,
    last BLOB NOT NULL,
    owner BLOB,
    staker BLOB,
    ownedSince INTEGER NOT NULL,
    since INTEGER NOT NULL             -- when the present earning began: stakedSince if staked
) WITHOUT ROWID;

CREATE TABLE points (                  -- facts of wallets; points are derived from them
    wallet BLOB PRIMARY KEY,
    facts TEXT NOT NULL,               -- JSON: per season, the facts in the order of docs/points.md
    currentHeld NOT NULL,
    currentStaked NOT NULL,
    totalStaked NOT NULL,
    stakeWeight NOT NULL,
    daySeconds NOT NULL,
    lastStakeAt INTEGER NOT NULL,
    lastUnstakeAt INTEGER NOT NULL,
    streakStart INTEGER NOT NULL,
    streakLast INTEGER NOT NULL,
    lastUpdateAt INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE feast_pool (              -- closed days; amounts in micro-points
    day INTEGER PRIMARY KEY,           -- days since 1970-01-01 UTC
    carryIn NOT NULL,
    emission NOT NULL,
    contribution NOT NULL,
    seconds NOT NULL,
    carryOut NOT NULL,
    season INTEGER,
    block INTEGER NOT NULL,            -- the block at which the day closed
    sharesDigest BLOB NOT NULL,
    shares BLOB NOT NULL               -- 20-byte address, 44-byte big-endian share, by address
);

CREATE TABLE anomalies (               -- events that contradict our record
    id TEXT PRIMARY KEY,
    blockNumber INTEGER NOT NULL,
    note TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE uncertain (wallet BLOB PRIMARY KEY, blockNumber INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE gaps (                    -- what is known to be missing, until it is there
    stream TEXT NOT NULL,
    fromBlock INTEGER NOT NULL,
    toBlock INTEGER NOT NULL,
    why TEXT NOT NULL,
    since INTEGER NOT NULL,            -- when it was noticed
    PRIMARY KEY (stream, fromBlock, toBlock, why)
) WITHOUT ROWID;

CREATE TABLE shown (                   -- everybody's points before a fork or a repair changed them
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,               -- when that was noticed
    why TEXT NOT NULL,
    block INTEGER NOT NULL,            -- the first block that changed
    through INTEGER NOT NULL,          -- the block and the block time that they were shown for
    timestamp INTEGER NOT NULL,
    totals BLOB NOT NULL               -- wallets and numerators, NumPy arrays
);
CREATE TABLE retractions (             -- points that were shown and taken back
    at INTEGER NOT NULL,
    why TEXT NOT NULL,
    block INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    wallet BLOB NOT NULL,
    shown TEXT NOT NULL,               -- total points at that block time, as they were shown
    now TEXT NOT NULL                  -- total points at the same block time, as they are since
);
CREATE TABLE corrections (             -- published feast days that a repair has changed
    day INTEGER NOT NULL,
    at INTEGER NOT NULL,
    why TEXT NOT NULL,
    before TEXT NOT NULL,              -- JSON: pool, seconds, carryOut, sharesDigest
    after TEXT                         -- absent until the day has closed again
);

CREATE TABLE certificates (            -- block ranges compared with the chain, block by block
    fromBlock INTEGER NOT NULL,
    toBlock INTEGER NOT NULL,
    at INTEGER NOT NULL,
    verdicts TEXT NOT NULL,            -- JSON: how many blocks are proven how
    PRIMARY KEY (fromBlock, toBlock)
) WITHOUT ROWID;

CREATE TABLE endpoints (               -- how the nodes have behaved; of a URL only the host is kept
    host TEXT PRIMARY KEY,
    requests INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    contradictions INTEGER NOT NULL,   -- answers that were shown to be wrong
    lastError TEXT,
    lastContradiction TEXT,
    at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE changes (                 -- before images of what is not final yet, to undo it
    toBlock INTEGER PRIMARY KEY,
    fromBlock INTEGER NOT NULL,
    image BLOB NOT NULL
);

CREATE TABLE segments (                -- the archive's files
    fromBlock INTEGER PRIMARY KEY,
    toBlock INTEGER NOT NULL,
    events INTEGER NOT NULL,
    name TEXT NOT NULL
);

CREATE TABLE leaderboard (             -- the ranked snapshot of Points Recalc
    rank INTEGER PRIMARY KEY,
    wallet BLOB NOT NULL,
    points TEXT NOT NULL,
    totalPoints TEXT NOT NULL
);
CREATE TABLE jobs (name TEXT PRIMARY KEY, lastRun INTEGER NOT NULL, result TEXT) WITHOUT ROWID;
CREATE TABLE metrics (at INTEGER PRIMARY KEY, measured TEXT NOT NULL); -- old ones are thinned
"""


def archive_of(db: Path) -> Path:
    """The archive's folder: beside the database, named after it."""
    return db.with_name(f"{db.name}.archive")


def open_database(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open the file, creating it if `write`; StoreError says what is wrong with it."""
    if not write and not path.exists():
        raise StoreError(f"{path} does not exist: run `ngu sync` or `ngu run` first")
    if path.is_dir():
        raise StoreError(f"{path} is a folder: name a file in it with --db")
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        else:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path} cannot be opened: {error}") from error
    try:
        with naming_errors(path):
            _prepare(db, path, write)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path, write: bool) -> None:
    db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    application = db.execute("PRAGMA application_id").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION:
        raise StoreError(f"{path} is not a database of ngu-points: name another with --db")
    if version > VERSION:
        raise StoreError(f"{path} was written by a newer ngu-points (schema {version}, this one "
                         f"knows {VERSION}): upgrade, or name another with --db")  # fmt: skip
    if not write:
        if not tables:
            raise StoreError(f"{path} is empty: run `ngu sync` or `ngu run` first")
        if version < VERSION:
            raise StoreError(f"{path} was written by an older ngu-points (schema {version}): "
                             "`ngu sync` or `ngu recalc` brings it up to date")  # fmt: skip
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA cache_size = -65536")
    db.execute("PRAGMA wal_autocheckpoint = 8192")
    db.execute("PRAGMA journal_size_limit = 67108864")
    if version < VERSION:  # a version only ever adds tables and indexes
        missing = SCHEMA.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")
        missing = missing.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS")
        db.executescript(
            f"BEGIN; {missing} PRAGMA application_id = {APPLICATION};"
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )


@contextmanager
def naming_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one line about this file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if "disk is full" in text or "disk I/O error" in text:
            hint = "the disk is full or failing: free some space and start again; nothing is lost"
            raise StoreError(f"{path}: {text}; {hint}") from error
        if "locked" in text:
            raise StoreError(f"{path} is locked by another program: {text}") from error
        if text.startswith("no such"):
            raise StoreError(_damaged(path, text)) from error
        raise StoreError(f"{path}: {text}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(_damaged(path, str(error))) from error


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """The same while rows are read: what cannot be a row of ours is damage too."""
    try:
        with naming_errors(path):
            yield
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise StoreError(_damaged(path, "a row that was not written here")) from error
    except AssertionError as error:
        raise StoreError(f"{path} contradicts itself ({error}): run `ngu rebuild`") from error


def _damaged(path: Path, how: str) -> str:
    hint = "move it away and run `ngu rebuild` (from the archive) or `ngu sync` (from the chain)"
    return f"{path} is damaged ({how}): {hint}"


@contextmanager
def writer_lock(path: Path, option: str = "--db") -> Iterator[None]:
    """Hold the right to write; StoreError naming the other process if there is one.

    `option` is the one that names another path.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {lock.parent}: {error.strerror}; name another with {option}"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise StoreError(
                f"{path} is in use by another ngu (process {holder}): "
                f"stop it, or name another {option}"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def in_use(path: Path) -> bool:
    """Whether some process holds the right to write."""
    try:
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def sql_int(value: Any) -> Any:
    """An integer as SQLite keeps it exactly: itself, or decimal text past 63 bits."""
    value = int(value)
    return value if -(2**63) <= value < 2**63 else str(value)
