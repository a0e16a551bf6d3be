"""The configuration: defaults, ngu.toml, NGU_… variables and command-line options, in that order.

Values only; nothing is opened here but the file itself and the CSV of weights it names. What is
wrong is a UsageError that names the file, the key, and what is allowed.
"""

from __future__ import annotations

import csv
import datetime as dt
import difflib
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from ngu_points.chain import contract as kinds
from ngu_points.chain.address import address_of
from ngu_points.chain.contract import Contract, EventText, selector
from ngu_points.engine.events import MAX_TOKEN
from ngu_points.engine.rules import COUNTS, MICRO, Rules, Season, Tier, Weights
from ngu_points.errors import UsageError
from ngu_points.pipeline.moment import seconds_of

Number = int | float | str
RATE_LENGTH = 64  # characters of a number
LONGEST = 86_400.0  # seconds: of a timeout or a pause
Whole = Annotated[int, msgspec.Meta(ge=0, le=2**60)]


class EventSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An event of a `custom` contract, or a Stake-like event of any kind."""

    signature: str
    fields: dict[str, str]
    effect: str = ""


class ChainSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where the chain is read, and how far."""

    rpc: list[str] = []
    chain_id: Whole | None = None
    finality: str | int = "finalized"
    requests_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0, le=LONGEST)] = 30.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=20)] = 8
    poll_interval: Annotated[float, msgspec.Meta(gt=0, le=LONGEST)] = 1.0


class ContractSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which collection."""

    address: str = ""
    kind: Literal["ngu", "erc721", "custom"] = "ngu"
    from_block: Whole | None = None
    events: dict[str, EventSettings] = {}


class StakingSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How staking shows on the chain."""

    contracts: list[str] = []
    custody: bool = False
    stake: EventSettings | None = None
    unstake: EventSettings | None = None
    view: str = ""


class StoreSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where it is kept: a database with its archive beside it, or the tables of a stage on AWS."""

    db: str = "ngu-data/ngu.db"
    kind: Literal["sqlite", "dynamodb"] = "sqlite"
    service: str = ""
    stage: Literal["", "prod", "staging"] = ""


class TierSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    days: Annotated[int, msgspec.Meta(ge=1, le=36_500)]
    multiplier: Number


class WeightSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    first: Whole | str
    weight: Whole
    last: Whole | str | None = None


class PointsSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What changes the facts of wallets: a change here needs `ngu rebuild`."""

    tiers: list[TierSettings] = []
    excluded: list[str] = []
    default_weight: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 1
    weights: list[WeightSettings] = []
    weights_csv: str = ""


class SeasonSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A season and its rates, in points per token-day."""

    name: str
    start: str | int | None = None
    end: str | int | None = None
    held: Number = 1
    staked: Number = 2
    awards: dict[str, Number] = {}


class WebSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where `ngu run` serves the API and the dashboard, and what one client may ask of it."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8080
    cors: list[str] = []
    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 50.0


class FeastSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The daily pool: points a day, points per unit of weight burned."""

    emission: Number = 1000
    burn: Number = 1


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Everything that can be set; `docs` of each table stand in the file `ngu init` writes."""

    chain: ChainSettings = ChainSettings()
    contract: ContractSettings = ContractSettings()
    staking: StakingSettings = StakingSettings()
    store: StoreSettings = StoreSettings()
    points: PointsSettings = PointsSettings()
    season: list[SeasonSettings] = msgspec.field(default_factory=lambda: [SeasonSettings("1")])
    feast: FeastSettings = FeastSettings()
    web: WebSettings = WebSettings()

    @property
    def db(self) -> Path:
        return Path(self.store.db)


def load(path: Path | None, env: Mapping[str, str], options: Mapping[str, Any]) -> Config:
    """The configuration from a file (if any), the environment and `options`, the last winning.

    `options` maps dotted keys ("chain.rpc") to values; None means not given.
    """
    where = str(path) if path else "the command line"
    tree = _beside(path, _read(path)) if path else {}
    if path:
        _check_keys(tree, Config, where, "", path.read_text(encoding="utf-8"))
    variables = _from_env(env)
    given = {key: value for key, value in options.items() if value is not None}
    for key, value in (variables | given).items():
        _set(tree, key, value)
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        key, text = _plain(str(error))
        place = variable(key) if key in variables.keys() - given.keys() else where
        raise UsageError(f"{place}: {text}") from error
    _check(config, where)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return _with_times_as_text(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: `ngu init` writes one") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error


def _with_times_as_text(tree: dict[str, Any]) -> dict[str, Any]:
    """TOML has times of its own; ours are text, so that a variable can hold them too."""
    seasons = tree.get("season")
    for season in seasons if isinstance(seasons, list) else ():
        for key in ("start", "end"):
            if isinstance(season, dict) and isinstance(season.get(key), dt.date):
                season[key] = season[key].isoformat()
    return tree


def _beside(path: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """A weights file named in a settings file lies relative to that file."""
    points = tree.get("points")
    if isinstance(points, dict) and isinstance(points.get("weights_csv"), str):
        points["weights_csv"] = str(path.parent / points["weights_csv"])
    return tree


def settings() -> dict[str, Any]:
    """Every single setting by its dotted key (lists of tables are set in the file only)."""
    found = {}
    for table in msgspec.structs.fields(Config):
        if isinstance(table.type, type) and issubclass(table.type, msgspec.Struct):
            for field in msgspec.structs.fields(table.type):
                found[f"{table.name}.{field.name}"] = field.type
    return found


def variable(key: str) -> str:
    """The environment variable of a setting: NGU_CHAIN_RPC for chain.rpc."""
    return "NGU_" + key.replace(".", "_").upper()


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    known = {variable(key): key for key in settings()}
    found: dict[str, Any] = {}
    for name, text in env.items():
        if name in known:
            key = known[name]
            found[key] = text.split(",") if "list" in str(settings()[key]) else text
        elif name.startswith("NGU_"):
            raise UsageError(f"{name} in the environment is no setting{_nearest(name, known)}")
    return found


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    table, _, name = key.partition(".")
    inner = tree.setdefault(table, {})
    if isinstance(inner, dict):
        inner[name] = value


def _check_keys(tree: Any, struct: Any, where: str, prefix: str, text: str) -> None:
    """Name the first unknown key with its line and what it may have been meant to be."""
    if isinstance(tree, list):
        for one in tree:
            _check_keys(one, struct, where, prefix, text)
    if not isinstance(tree, dict):
        return
    known = {f.name: f.type for f in msgspec.structs.fields(struct)}
    for key, value in tree.items():
        if key not in known:
            line = _line_of(text, key)
            names = ", ".join(sorted(known))
            raise UsageError(
                f"{where}{line}: unknown key {prefix}{key}{_nearest(key, known)}; "
                f"allowed here: {names}"
            )
        inner = _table_of(known[key])
        if inner is not None:
            _check_keys(value, inner, where, f"{prefix}{key}.", text)


def _table_of(kind: Any) -> Any:
    """The settings that a key's table, or each of its list of tables, holds; None for a value."""
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return None if get_origin(kind) is dict else candidate
    return None


def _line_of(text: str, key: str) -> str:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip().lstrip("[").startswith(key):
            return f", line {number}"
    return ""


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _plain(message: str) -> tuple[str, str]:
    """The key that msgspec complains about, and its complaint with what is allowed."""
    text, _, at = message.partition(" - at `$")
    key = at.rstrip("`").lstrip(".")
    allowed = get_args(settings().get(key))
    if text.startswith("Invalid enum value"):
        text += f"; allowed: {', '.join(allowed)}"
    return key.partition("[")[0], f"{key}: {text}" if key else text


# What the values mean --------------------------------------------------------------------


def _check(config: Config, where: str) -> None:
    """Turn everything into what it stands for once, so that errors come before work begins."""
    for url in config.chain.rpc:
        if not url.startswith(("http://", "https://", "ws://", "wss://")) or not _has_host(url):
            raise UsageError(f"{where}: chain.rpc must be http(s):// or ws(s):// addresses")
    if config.staking.view:
        selector(config.staking.view)
    if config.db.name in ("", "..") or "\0" in config.store.db:
        raise UsageError(f"{where}: store.db (--db) {config.store.db!r} names no file")
    finality_of(config)
    rules_of(config)
    if config.contract.address:
        contract_of(config)


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def finality_of(config: Config) -> str | int:
    """ "finalized", "safe", or a number of confirmations."""
    value = config.chain.finality
    if value in ("finalized", "safe"):
        return value
    try:
        confirmations = int(value)
    except ValueError:
        confirmations = -1
    if confirmations < 0:
        raise UsageError(
            f'chain.finality: {value!r} must be "finalized", "safe" or a number of confirmations'
        )
    return confirmations


def contract_of(config: Config) -> Contract:
    """What to read from the chain."""
    settings, staking = config.contract, config.staking
    if not settings.address:
        raise UsageError("no contract: give --contract 0x…, or contract.address in ngu.toml")
    token = address_of(settings.address, "contract.address")
    contracts = [address_of(a, "staking.contracts") for a in staking.contracts]
    stake, unstake = _text(staking.stake, "stake"), _text(staking.unstake, "unstake")
    if settings.kind == "ngu":
        if staking.custody or stake or unstake:
            raise UsageError("staking.custody, .stake and .unstake do not go with kind ngu: "
                             "use kind custom")  # fmt: skip
        return kinds.ngu(token, contracts)
    if settings.kind == "erc721":
        return kinds.erc721(
            token, staking=contracts, stake=stake, unstake=unstake, custody=staking.custody
        )
    events = {
        name: EventText(e.effect or name, e.signature, e.fields)
        for name, e in settings.events.items()
    }
    return kinds.custom(token, events, staking=contracts, custody=staking.custody)


def _text(event: EventSettings | None, effect: str) -> EventText | None:
    return EventText(effect, event.signature, event.fields) if event else None


def rules_of(config: Config) -> Rules:
    """The rules of the programme, exact."""
    points, staking = config.points, config.staking
    tiers = tuple(
        Tier(t.days, exact(t.multiplier, "points.tiers.multiplier"))
        for t in sorted(points.tiers, key=lambda t: t.days)
    )
    if len({t.days for t in tiers}) < len(tiers):
        raise UsageError("points.tiers: two tiers begin on the same day")
    seasons = tuple(sorted(map(_season, config.season), key=lambda s: s.begins))
    for one, two in pairwise(seasons):
        if one.ends > two.begins:
            raise UsageError(f"season {one.name!r} and season {two.name!r} overlap")
    if len({s.name for s in seasons}) < len(seasons):
        raise UsageError("season: two seasons have the same name")
    return Rules(
        seasons=seasons,
        weights=_weights(points),
        tiers=tiers,
        excluded=frozenset(address_of(a, "points.excluded") for a in points.excluded),
        staking_contracts=frozenset(address_of(a, "staking.contracts") for a in staking.contracts),
        custody=staking.custody,
        feast_emission=_micro(config.feast.emission, "feast.emission"),
        feast_burn=_micro(config.feast.burn, "feast.burn"),
    )


def _season(settings: SeasonSettings) -> Season:
    key = f"season {settings.name!r}"
    for name in settings.awards:
        if name not in COUNTS:
            raise UsageError(f"{key}: no award for {name!r}: allowed are {', '.join(COUNTS)}")
    season = Season(
        settings.name,
        None if settings.start is None else seconds_of(settings.start, f"{key} start"),
        None if settings.end is None else seconds_of(settings.end, f"{key} end"),
        exact(settings.held, f"{key} held"),
        exact(settings.staked, f"{key} staked"),
        {name: exact(rate, f"{key} awards.{name}") for name, rate in settings.awards.items()},
    )
    if season.begins >= season.ends:
        raise UsageError(f"{key} ends before it starts")
    return season


def exact(value: Number, key: str) -> Fraction:
    """A rate as an exact rational, 0 or more: 1, "0.25", "1/3". A TOML float means its digits."""
    text = repr(value) if isinstance(value, float) else str(value)
    bounds = f"{key}: {text[:RATE_LENGTH]} must be below 10^12 with at most 18 decimals"
    try:
        if len(text) > RATE_LENGTH:
            raise UsageError(bounds)
        if "/" not in text and abs(Decimal(text).adjusted()) > 18:
            raise UsageError(bounds)
        rate = Fraction(text) if "/" in text else Fraction(Decimal(text))
    except (ValueError, ArithmeticError):
        raise UsageError(
            f'{key}: {value!r} is not a number: it takes one like 1, "0.25" or "1/3"'
        ) from None
    if rate < 0:
        raise UsageError(f"{key}: {value!r} must be 0 or more")
    if rate >= 10**12 or rate.denominator > 10**18:
        raise UsageError(bounds)
    return rate


def _micro(value: Number, key: str) -> int:
    micro = exact(value, key) * MICRO
    if micro.denominator != 1:
        raise UsageError(f"{key}: {value!r} has more than 6 decimals")
    return int(micro)


def _weights(points: PointsSettings) -> Weights:
    ranges = [_range(w.first, w.last, w.weight, "points.weights") for w in points.weights]
    if points.weights_csv:
        ranges += _weights_file(Path(points.weights_csv))
    try:
        return Weights(ranges, default=points.default_weight)
    except ValueError as error:
        raise UsageError(f"points.weights: {error}") from error


def _range(first: Any, last: Any, weight: Any, key: str) -> tuple[int, int, int]:
    try:
        low, high, value = int(first), int(first if last in (None, "") else last), int(weight)
    except (TypeError, ValueError):
        raise UsageError(f"{key}: {first!r}, {last!r}, {weight!r} are not all integers") from None
    if not 0 <= low <= high <= MAX_TOKEN or not 0 <= value < 2**31:
        raise UsageError(f"{key}: range {low}-{high} with weight {value} is not possible")
    return low, high, value


def _weights_file(path: Path) -> list[tuple[int, int, int]]:
    """CSV with a header: first,last,weight (last may be empty)."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if not {"first", "weight"} <= set(table.fieldnames or ()):
                raise UsageError(f"{path}: the first line must name first,last,weight")
            return [
                _range(row["first"], row.get("last"), row["weight"], f"{path}, line {number}")
                for number, row in enumerate(table, 2)
            ]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror} (points.weights_csv)") from error
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8: {error}") from error
