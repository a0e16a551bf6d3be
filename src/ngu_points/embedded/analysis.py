"""A copy of the record for analysis: Parquet files by UTC day, for DuckDB, Athena and others.

A day is written once it is over and final, and never again. What changes with every copy (the
holdings that are open, the days, the rates) are files of their own; the list of days is written
last and says how far the copy reaches, so that a reader sees all of it or the copy before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import groupby, pairwise
from math import lcm
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ngu_points.embedded import datasets
from ngu_points.embedded.database import writer_lock
from ngu_points.embedded.datasets import (
    COUNTS,
    DAYS,
    ENDED,
    EVENTS,
    FEASTS,
    OPEN,
    RATES,
    Dataset,
    Rows,
    day_text,
    hexed,
    times,
    wide,
    writing,
)
from ngu_points.embedded.history import History
from ngu_points.embedded.rebuild import end_below
from ngu_points.embedded.statements import checked, statements
from ngu_points.engine import facts
from ngu_points.engine.events import TYPES, U8, Events, Ints, Kind, empty, ids
from ngu_points.engine.feast import FeastDay
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.holdings import Holdings, ended
from ngu_points.engine.hot import Hot
from ngu_points.engine.rules import COUNTS as COUNTED
from ngu_points.engine.rules import DAY, MICRO, Rules
from ngu_points.engine.runs import NOBODY, Runs, Staking
from ngu_points.engine.state import State, advance, among, no_state
from ngu_points.errors import StoreError
from ngu_points.pipeline.process import moves_of
from ngu_points.pipeline.query import EVENTS_MAX

FORMAT = 1
MANIFEST = "manifest.json"
NO_END = 2**40
"""Stands for the end of the last tier, in seconds."""
Seen = Callable[[str], None]


def write_analysis(
    history: History, folder: Path, location: str | None = None, seen: Seen = lambda _: None
) -> dict[str, Any]:
    """Bring the copy in a folder up to the last day that is over and final; what it is now.

    `location` is where the folder will lie on S3: statements for Athena name it. `seen` is told
    each day that is written.
    """
    datasets.arrow()
    if location is not None:
        checked(location)
    with writer_lock(folder / MANIFEST, "-o"):
        for left in folder.glob(".*.parquet"):
            left.unlink()
        copy = _Copy(history, folder)
        new = copy.new_days()
        for day in new:
            copy.write(day)
            seen(day_text(day))
        if copy.manifest["days"]:
            copy.finish(location)
        return copy.told(len(new))


class _Copy:
    """The copy in one folder, and the state at the end of its last day."""

    def __init__(self, history: History, folder: Path) -> None:
        self.history, self.folder = history, folder
        self.store, self.rules = history.store, history.store.rules
        self.manifest = self._opened()
        days = list(self.manifest["days"])
        self.last = _finished(history)
        self.hot = Hot(self._state(days[-1]) if days else no_state(self.rules), self.rules)
        self.chunks = groupby(self._chunks(self.hot.state.block), itemgetter(0))
        self._next = next(self.chunks, None)

    def _opened(self) -> dict[str, Any]:
        """The manifest, new where there is none; StoreError if it is of something else."""
        path, identity = self.folder / MANIFEST, self.store.identity()
        of = {"chainId": identity.chain_id, "contract": identity.contract, "kind": identity.kind}
        fresh = {"format": FORMAT, "of": of, "rules": self.rules.fold_key(), "days": {}}
        if not path.exists():
            return fresh
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            told = {name: found[name] for name in ("format", "of", "rules")}
            gone = [name for day in found["days"].values() for name, file in day["files"].items()
                    if _size(self.folder / name) != file["bytes"]]  # fmt: skip
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreError(f"{path} is no manifest that was written here: write into a new"
                             " folder with -o") from error  # fmt: skip
        for name, what in (("format", "in another format"), ("of", "of another collection"),
                           ("rules", "made by other rules (weights, tiers, exclusions, season "
                                     "borders, staking or feast)")):  # fmt: skip
            if told[name] != fresh[name]:
                raise StoreError(f"{self.folder} holds a copy {what}: write into a new folder"
                                 " with -o")  # fmt: skip
        if gone:
            raise StoreError(f"{self.folder / gone[0]} is missing or cut off: bring it back, or"
                             " write into a new folder with -o")  # fmt: skip
        return found

    def _state(self, last: str) -> State:
        """The state at the end of a day; StoreError if the copy was made of another one."""
        until = (int(np.datetime64(last, "D").astype(np.int64)) + 1) * DAY
        state = self.history.state_at(self.rules, until - 1).state
        hot = Hot(state, self.rules)
        _close(hot, until)
        if self._mark(hot.state) != self.manifest["days"][last]["state"]:
            raise StoreError(
                f"the record of days up to {last} has been repaired since {self.folder} was"
                " written: write into a new folder with -o"
            )
        return hot.state

    def _mark(self, state: State) -> str:
        """The state at a day's end: its fingerprint without block and feast days."""
        return fingerprint(replace(state, block=0), (), self.rules, self.store.chain_id)

    def _chunks(self, after: int) -> Iterator[tuple[int, Events]]:
        """The events behind a block of days that are over, each chunk of one day."""
        for covered in self.history.covered(after):
            events, days = covered.events, covered.events.timestamp // DAY
            cuts = {0, len(events), *(np.flatnonzero(np.diff(days)) + 1).tolist()}
            cuts |= set(range(0, len(events), EVENTS_MAX))
            for low, high in pairwise(sorted(cuts)):
                if days[low] > self.last:
                    return
                yield int(days[low]), events.take(slice(low, high))

    def new_days(self) -> range:
        """The days that are over and not in the copy; none before the first event."""
        begun = self.hot.state.day
        if begun is None:
            begun = self._next[0] if self._next else self.last + 1
        return range(begun, self.last + 1)

    def write(self, day: int) -> None:
        """Write the files of the next day, and then say in the manifest that they are there."""
        text, before = day_text(day), self.hot.state.wallets.facts.copy()
        names = {dataset: f".{dataset.name}.parquet" for dataset in (EVENTS, ENDED, COUNTS, FEASTS)}
        paths = {dataset: self.folder / name for dataset, name in names.items()}
        with (
            writing(EVENTS, paths[EVENTS]) as events,
            writing(ENDED, paths[ENDED]) as holdings,
            writing(COUNTS, paths[COUNTS]) as counts,
            writing(FEASTS, paths[FEASTS]) as feasts,
        ):
            if self._next and self._next[0] == day:
                for _, chunk in self._next[1]:
                    events.add(_event_rows(chunk))
                    self._fold(chunk, holdings)
                self._next = next(self.chunks, None)
            for feast in _close(self.hot, (day + 1) * DAY):
                feasts.add(self._feast_rows(feast))
            counts.add(self._count_rows(before))
            number = events.count
        files = {}
        for dataset, path in paths.items():
            place = Path(dataset.name, f"day={text}", f"{dataset.name}.parquet")
            files[str(place)] = {"bytes": path.stat().st_size, "sha256": datasets.sha256(path)}
            datasets.put(path, self.folder / place)
        entry = {"events": number, "state": self._mark(self.hot.state), "files": files}
        self.manifest["days"][text] = entry
        self._write_text(MANIFEST, json.dumps(self.manifest, indent=1))

    def _fold(self, events: Events, holdings: Rows) -> None:
        """Apply events of one day; what they end becomes rows."""
        address, moves = moves_of(events)
        timestamp = int(events.timestamp[-1])
        part = self.hot.take(moves.first, moves.end, address, timestamp)
        known = part.state.wallets.address
        staking = Staking(among(known, self.rules.staking_contracts), self.rules.custody)
        rows = ended(part.state.runs, moves, staking)
        until = {"until": times(rows.until)}
        holdings.add(self._holding_rows(rows, known) | until)
        after = advance(part.state, moves, self.rules, int(events.block[-1]), timestamp)
        self.hot.put(part, after.state)

    # Rows -----------------------------------------------------------------------------------

    def _holding_rows(self, rows: Holdings | Runs, address: U8) -> dict[str, Any]:
        names: list[str | None] = [*hexed(address), None]
        earns = np.append(~among(address, self.rules.earns_nothing), False)
        staked, owned = rows.staker != NOBODY, rows.owner != NOBODY
        earner = np.where(staked, rows.staker, rows.owner)
        size = rows.end - rows.first
        return {
            **wide("first_token_id", rows.first),
            **wide("last_token_id", rows.end - 1),
            **wide("quantity", size),
            **wide("weight", self.rules.weights.of(rows.first, rows.end)),
            "owner": [names[w] for w in rows.owner.tolist()],
            "staker": [names[w] for w in rows.staker.tolist()],
            "earns": earns[earner].tolist(),
            "owned_since": _where(owned, times(rows.owned_since)),
            "staked_since": _where(staked, times(rows.since)),
            "since": times(np.maximum(rows.owned_since, rows.since)),
        }

    def _count_rows(self, before: Ints) -> dict[str, Any]:
        """What a day has added to the wallets' counts, by address, season, kind."""
        wallets = self.hot.state.wallets
        counted = slice(1, facts.FEAST)
        gained = wallets.facts[:, counted].copy()
        gained[..., : before.shape[2]] -= before[:, counted]
        by_address = np.lexsort(wallets.address.T[::-1])
        at, season, what = np.nonzero(gained[..., by_address].transpose(2, 0, 1))
        wallet = by_address[at]
        return {
            "wallet": hexed(wallets.address[wallet]),
            "season": [self.rules.seasons[s].name for s in season.tolist()],
            "what": [COUNTED[w] for w in what.tolist()],
            **wide("amount", gained[season, what, wallet]),
        }

    def _feast_rows(self, feast: FeastDay) -> dict[str, Any]:
        """One row a share; a day without shares has one row without a wallet."""
        some = np.flatnonzero(feast.share)
        address = self.hot.state.wallets.address[feast.wallet[some]]
        n = max(len(some), 1)
        name = None if feast.season is None else self.rules.seasons[feast.season].name
        shares: list[int | None] = feast.share[some].tolist() or [None]
        return {
            **wide("carry_in_micro", [feast.carry_in] * n),
            **wide("emission_micro", [feast.emission] * n),
            **wide("contribution_micro", [feast.contribution] * n),
            **wide("pool_micro", [feast.pool] * n),
            **wide("staked_token_seconds", [feast.seconds] * n),
            **wide("carry_out_micro", [feast.carry_out] * n),
            "season": [name] * n,
            "wallet": hexed(address) or [None],
            **wide("share_micro", shares),
        }

    # What every copy writes anew --------------------------------------------------------------

    def finish(self, location: str | None) -> None:
        """Write what is open, rates, statements, and at last the days, which show it all."""
        days = self.manifest["days"]
        through = list(days)[-1]
        runs, address = self.hot.state.runs, self.hot.state.wallets.address
        with writing(OPEN, self.folder / ".open.parquet") as rows:
            for low in range(0, len(runs), EVENTS_MAX):
                some = runs.take(slice(low, low + EVENTS_MAX))
                rows.add(self._holding_rows(some, address) | {"through": [through] * len(some)})
        datasets.put(self.folder / ".open.parquet", self.folder / OPEN.name / f"{through}.parquet")
        self._put(RATES, rate_rows(self.rules))
        for name, text in statements(location, next(iter(days))).items():
            self._write_text(name, text)
        begins = np.array(list(days), "datetime64[D]").astype(np.int64) * DAY
        self._put(DAYS, {"day": list(days), "begins": times(begins), "ends": times(begins + DAY),
                         "events": [day["events"] for day in days.values()]})  # fmt: skip
        position = self.store.position()
        self.manifest["through"] = through
        self.manifest["madeOf"] = {
            "block": position.block,
            "hash": "0x" + position.hash.hex(),
            "timestamp": position.timestamp,
            "fingerprint": self.store.fingerprint(),
        }
        self._write_text(MANIFEST, json.dumps(self.manifest, indent=1))
        for path in sorted((self.folder / OPEN.name).glob("*.parquet"))[:-2]:
            path.unlink()  # the one before stays for who is reading it

    def _put(self, dataset: Dataset, columns: dict[str, Any]) -> None:
        temporary = self.folder / f".{dataset.name}.parquet"
        with writing(dataset, temporary) as rows:
            rows.add(columns)
        datasets.put(temporary, self.folder / dataset.name / f"{dataset.name}.parquet")

    def _write_text(self, name: str, text: str) -> None:
        temporary = self.folder / ".text.parquet"
        temporary.write_text(text, encoding="utf-8")
        datasets.put(temporary, self.folder / name)

    def told(self, written: int) -> dict[str, Any]:
        """What the command answers."""
        days = self.manifest["days"]
        return {
            "folder": str(self.folder),
            "newDays": written,
            "days": len(days),
            "through": next(reversed(days), None),
            "events": sum(day["events"] for day in days.values()),
            "state": days[next(reversed(days))]["state"] if days else None,
        }


def _finished(history: History) -> int:
    """The last UTC day that is over by a final block; before all days where none is."""
    store = history.store
    final = min(int(store.meta("final", -1)), store.position().block)
    return end_below(store, history, final).timestamp // DAY - 1


def _close(hot: Hot, midnight: int) -> list[FeastDay]:
    """Close the days before a midnight; wallets of the feasts are numbers in `hot`."""
    if hot.state.day is None:
        return []
    address, moves = moves_of(empty())
    part = hot.take(moves.first, moves.end, address, midnight)
    after = advance(part.state, moves, hot.rules, part.state.block, midnight)
    numbers = hot.put(part, after.state)
    return [replace(feast, wallet=numbers[feast.wallet]) for feast in after.days]


def _event_rows(events: Events) -> dict[str, Any]:
    kinds = events.kind.tolist()
    sender, recipient = hexed(events.sender), hexed(events.recipient)
    return {
        "id": ids(events),
        "type": [TYPES[kind] for kind in kinds],
        "block": events.block,
        "block_time": times(events.timestamp),
        "transaction_hash": hexed(events.tx_hash),
        "transaction_index": events.tx_index,
        "log_index": events.log_index,
        "from_address": [None if k == Kind.MINT else a for k, a in zip(kinds, sender, strict=True)],
        "to_address": [
            None if k >= Kind.STAKE else a for k, a in zip(kinds, recipient, strict=True)
        ],
        **wide("first_token_id", events.first),
        **wide("quantity", events.quantity),
        "contract": hexed(events.contract),
        "block_hash": hexed(events.block_hash),
    }


def rate_rows(rules: Rules) -> dict[str, Any]:
    """What a unit of each fact is worth in each season: numerator / per_micro micro-points."""
    worth = [facts.coefficients(season, rules) for season in rules.seasons]
    denominator = lcm(MICRO, *(c.denominator for row in worth for c in row))
    starts = [*rules.tier_starts, NO_END]
    tiers = [("staked_seconds", start, end) for start, end in pairwise(starts)]
    whats = [("held_seconds", 0, NO_END), *((name, 0, NO_END) for name in COUNTED),
             ("feast_micro", 0, NO_END), *tiers]  # fmt: skip
    rows = [
        (season, what, value)
        for season, row in zip(rules.seasons, worth, strict=True)
        for what, value in zip(whats, row, strict=True)
    ]
    return {
        "season": [s.name for s, _, _ in rows],
        "season_begins": times([s.begins for s, _, _ in rows]),
        "season_ends": times([s.ends for s, _, _ in rows]),
        "what": [what for _, (what, _, _), _ in rows],
        "tier_begins": [begins for _, (_, begins, _), _ in rows],
        "tier_ends": [ends for _, (_, _, ends), _ in rows],
        "numerator": [str(Fraction(value * denominator).numerator) for _, _, value in rows],
        "per_micro": [str(denominator // MICRO)] * len(rows),
    }


def _where(rows: Any, values: Any) -> list[int | None]:
    """The values of the rows that are chosen, None for the others."""
    return [value if yes else None for yes, value in zip(rows, values.tolist(), strict=True)]


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None
