"""SQL for the copy for analysis: tables and views of it in DuckDB and in Athena.

The views are one text for both, in what their dialects share.
"""

from __future__ import annotations

from ngu_points.embedded.datasets import DATASETS, ENDED, OPEN, Dataset
from ngu_points.errors import UsageError

_COLUMNS = ", ".join(name for name, _ in ENDED.columns if name != "until")

HOLDINGS = f"""\
CREATE OR REPLACE VIEW holdings AS
SELECT {_COLUMNS}, until, day
FROM {ENDED.name} WHERE day <= (SELECT max(day) FROM days)
UNION ALL
SELECT {_COLUMNS}, CAST(NULL AS TIMESTAMP) AS until, CAST(NULL AS VARCHAR) AS day
FROM {OPEN.name} WHERE through = (SELECT max(day) FROM days)
"""

DAILY_POINTS = """\
CREATE OR REPLACE VIEW daily_points AS
WITH pieces AS (
  SELECT d.day, coalesce(h.staker, h.owner) AS wallet, h.weight, r.numerator, r.per_micro,
         r.tier_begins, r.tier_ends, coalesce(h.staked_since, h.since) AS clock,
         greatest(h.since, d.begins, r.season_begins) AS begins,
         least(coalesce(h.until, d.ends), d.ends, r.season_ends) AS ends
  FROM holdings h
  JOIN days d ON h.since < d.ends AND (h.until IS NULL OR h.until > d.begins)
  JOIN rates r
    ON r.what = CASE WHEN h.staker IS NULL THEN 'held_seconds' ELSE 'staked_seconds' END
  WHERE h.earns
), parts AS (
  SELECT day, wallet, per_micro, numerator, weight AS amount,
         greatest(least(date_diff('second', clock, ends), tier_ends)
                  - greatest(date_diff('second', clock, begins), tier_begins), 0) AS times
  FROM pieces WHERE begins < ends
  UNION ALL
  SELECT c.day, c.wallet, r.per_micro, r.numerator, c.amount, 1
  FROM counts c JOIN days d ON d.day = c.day
  JOIN rates r ON r.season = c.season AND r.what = c.what
  UNION ALL
  SELECT f.day, f.wallet, r.per_micro, r.numerator, f.share_micro, 1
  FROM feasts f JOIN days d ON d.day = f.day
  JOIN rates r ON r.season = f.season AND r.what = 'feast_micro'
  WHERE f.wallet IS NOT NULL
), worth AS (
  SELECT day, wallet, CAST(max(per_micro) AS DECIMAL(38, 0)) AS per_micro,
         sum(CAST(amount AS DECIMAL(38, 0)) * CAST(numerator AS DECIMAL(38, 0)) * times) AS worth
  FROM parts GROUP BY day, wallet
)
SELECT day, wallet, CAST((worth - mod(worth, per_micro)) / per_micro AS BIGINT) AS micro_points
FROM worth WHERE worth > 0
"""

VIEWS = {"holdings": HOLDINGS, "daily_points": DAILY_POINTS}


def statements(location: str | None, first_day: str) -> dict[str, str]:
    """Files of statements by name; those for Athena only if it is known where the files will lie.

    Raises UsageError if `location` is no place on S3.
    """
    files = {"duckdb.sql": "".join(f"{text};\n" for text in [*map(_duckdb, DATASETS), *_views()])}
    if location is not None:
        place = checked(location)
        made = {d.name: _athena(d, place, first_day) for d in DATASETS} | VIEWS
        for number, (name, text) in enumerate(made.items(), 1):
            files[f"athena/{number:02d}-{name}.sql"] = text
    return files


def checked(location: str) -> str:
    """A place like s3://bucket/prefix, without a slash at its end; else UsageError."""
    bucket, _, prefix = location.removeprefix("s3://").rstrip("/").partition("/")
    text = bucket + prefix.replace("/", "")
    if not location.startswith("s3://") or not bucket or not set(text) <= _NAMES:
        raise UsageError(f"--location {location!r}: give a place on S3 like s3://bucket/analysis")
    return location.rstrip("/")


_NAMES = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


def _views() -> list[str]:
    return [text.rstrip("\n") for text in VIEWS.values()]


def _duckdb(dataset: Dataset) -> str:
    files = f"{dataset.name}/{'*/' if dataset.daily else ''}*.parquet"
    partitions = ", hive_partitioning = true, hive_types_autocast = false" if dataset.daily else ""
    return (f"CREATE OR REPLACE VIEW {dataset.name} AS\n"
            f"SELECT * FROM read_parquet('{files}'{partitions})")  # fmt: skip


def _athena(dataset: Dataset, location: str, first_day: str) -> str:
    columns = ",\n".join(f"  `{name}` {kind}" for name, kind in dataset.columns)
    place = f"{location}/{dataset.name}/"
    text = f"CREATE EXTERNAL TABLE IF NOT EXISTS `{dataset.name}` (\n{columns}\n)\n"
    if not dataset.daily:
        return f"{text}STORED AS PARQUET\nLOCATION '{place}'\n"
    return f"""{text}PARTITIONED BY (`day` string)
STORED AS PARQUET
LOCATION '{place}'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.day.type' = 'date',
  'projection.day.format' = 'yyyy-MM-dd',
  'projection.day.range' = '{first_day},NOW',
  'storage.location.template' = '{place}day=${{day}}/'
)
"""
