"""Whatever stands in a settings file, the environment or options: a Config, or one line."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.anything import EDITS, SCALARS, assert_one_line, edited, often
from fuzz.anything import TEXTS as ANY_TEXTS
from ngu_points import config as configuration
from ngu_points.chain.contract import Contract
from ngu_points.config import Config, contract_of, load, rules_of, settings, variable
from ngu_points.engine.rules import Rules
from ngu_points.errors import UsageError

TEMPLATE = (Path(configuration.__file__).parent / "cli/ngu.toml").read_bytes()
UNCOMMENTED = TEMPLATE.replace(b"\n# ", b"\n")
KEY = "pathkey0123456789"
URLS = st.sampled_from(
    [
        f"https://node.example/v3/{KEY}",
        f"https://user:{KEY}@node.example",
        f"wss://node.example/?key={KEY}",
        f"htps://node.example/{KEY}",
        f"https:///{KEY}",
        f"https://[::bad/{KEY}",
        f"https://node.example:99999999/{KEY}",
        f"https://node.example:x/{KEY}",
        f"//node.example/{KEY}",
        f" https://node.example/{KEY}\n",
        KEY,
    ]
)
ADDRESSES = st.sampled_from(["0x" + "ab" * 20, "0x" + "AB" * 20, "0x" + "aB" * 20, "0xab", "0x"])
TIMES = st.sampled_from(
    ["2026-01-01", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
     "2026-02-30", "10000-01-01", "1e9"]
)  # fmt: skip
RATES = st.sampled_from(
    ["1/3", "1/0", "1e-999999", "1e999999", "NaN", "Infinity", "-0", "٣", "1_0"]
)
SIGNATURES = st.sampled_from(
    ["Stake(address indexed account, uint256 tokenId)", "Stake(", "Stake()", "S(tuple x)",
     "(uint8)",
     "T(address indexed a, address indexed b, uint256 indexed c, uint256 indexed d)",
     "T(uint8[] ids, address who)", "T(" + "uint256 a," * 60 + "address b)"]
)  # fmt: skip
TEXTS = ANY_TEXTS.filter(str.isprintable)  # what is not printable has a test of its own
LEAVES = (
    SCALARS.filter(lambda value: str(value).isprintable())
    | ADDRESSES
    | TIMES
    | RATES
    | SIGNATURES
    | st.datetimes()
    | st.dates()
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def fitting(kind: Any) -> st.SearchStrategy[Any]:
    """Values of about the type that a setting has; lists and tables of settings inside."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return tables(kind)
    inner = [fitting(part) for part in get_args(kind) if not isinstance(part, msgspec.Meta | str)]
    if getattr(kind, "__origin__", None) is list:
        return st.lists(st.one_of(inner), max_size=3)
    if getattr(kind, "__origin__", None) is dict:
        names = TEXTS | st.sampled_from(
            ["minted", "burned", "Transfer", "tokenId", "account", "from"]
        )
        return st.dictionaries(names, inner[1], max_size=3)
    return st.one_of([*inner, LEAVES])


def tables(struct: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A table with some of the settings that it may have, now and then with another beside them."""
    known = {f.name: fitting(f.type) | LEAVES for f in msgspec.structs.fields(struct)}
    return st.builds(
        lambda table, more: table | more,
        st.fixed_dictionaries({}, optional=known),
        st.just({}) | st.just({}) | st.dictionaries(TEXTS, VALUES, max_size=1),
    )


TREES = tables(Config)


def toml(value: Any) -> str:
    """A value as TOML writes it, tables in braces; what TOML has no word for becomes text."""
    match value:
        case bool():
            return str(value).lower()
        case float() if not math.isfinite(value):
            return "nan"
        case int() | float():
            return repr(value)
        case Mapping():
            inner = ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items())
            return "{" + inner + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case None:
            return '""'
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return str(value.isoformat())


def document(tree: Mapping[str, Any]) -> str:
    """A settings file."""
    return "\n".join(f"{toml(str(key))} = {toml(value)}" for key, value in tree.items())


def loaded(text: bytes, env: Mapping[str, str], options: Mapping[str, Any]) -> Config | None:
    """What settings come to: a Config that can be used, or None and one line without the key."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ngu.toml"
        file.write_bytes(text)
        try:
            config = load(file, env, options)
            assert isinstance(rules_of(config), Rules)
            if config.contract.address:
                assert isinstance(contract_of(config), Contract)
        except UsageError as error:
            line = str(error).replace(folder, "")
            assert KEY not in line
            assert_one_line(line)
            return None
    return config


@often(6)
@given(TREES)
def test_any_tree_is_a_configuration_or_one_line(tree: dict[str, Any]) -> None:
    """Known settings with unfit values, unknown ones, wrong shapes: each is named in one line."""
    loaded(document(tree).encode("utf-8", "replace"), {}, {})


@often(2)
@given(st.sampled_from([TEMPLATE, UNCOMMENTED]), EDITS)
def test_a_damaged_template_is_a_configuration_or_one_line(
    text: bytes, edits: list[tuple[str, float, bytes]]
) -> None:
    """Bytes flipped, cut or repeated in the file that `ngu init` writes end in no traceback."""
    loaded(edited(text, edits), {}, {})


VARIABLES = st.sampled_from([variable(key) for key in settings()])
KEYS = st.sampled_from(sorted(settings()))


@often(4)
@given(
    st.dictionaries(
        VARIABLES | TEXTS.map(lambda t: "NGU_" + t), TEXTS | RATES | ADDRESSES, max_size=3
    ),
    st.dictionaries(KEYS, st.none() | TEXTS | ADDRESSES | st.lists(TEXTS, max_size=2), max_size=2),
)
def test_any_variables_and_options_are_settings_or_one_line(
    env: dict[str, str], options: dict[str, Any]
) -> None:
    """A variable or an option with any text in it sets what it names, or is refused by name."""
    config = loaded(b"", env, options)
    known = {variable(key) for key in settings()}
    assert config is None or env.keys() <= known


@often(4)
@given(URLS, st.sampled_from(["file", "text", "table", "variable", "option", "chain_id"]), TREES)
def test_no_error_shows_the_key_of_a_url(url: str, where: str, tree: dict[str, Any]) -> None:
    """A node's address in any place meant for it, well or badly formed, is never repeated."""
    env, options = {}, {}
    chain: dict[str, Any] = {}
    match where:
        case "file":
            chain = {"rpc": [url]}
        case "text":
            chain = {"rpc": url}
        case "table":
            chain = {"rpc": {"url": url}}
        case "variable":
            env = {"NGU_CHAIN_RPC": f"{url},{url}"}
        case "option":
            options = {"chain.rpc": [url, url]}
        case "chain_id":
            chain = {"rpc": [url], "chain_id": "x"}
    loaded(document(tree | {"chain": chain}).encode("utf-8", "replace"), env, options)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u2028", "\x00"])
@pytest.mark.parametrize("where", ["key", "table", "variable", "path"])
def test_a_name_that_is_no_text_breaks_no_line(name: str, where: str) -> None:
    """An unknown name with a line break or a terminal's command in it is shown escaped."""
    env = {f"NGU_{name}": "1"} if where == "variable" else {}
    points = {"points": {"weights_csv": name}}
    places = {"key": {name: 1}, "table": {"chain": {name: 1}}, "path": points}
    tree: dict[str, Any] = places.get(where, {})
    assert loaded(document(tree).encode(), env, {}) is None


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 100_000, "[chain]\nchain_id = " + "9" * 5_000], ids=["lists", "digits"]
)
def test_a_file_without_end_is_refused(text: str) -> None:
    """Brackets fill no stack and digits no integer: the file is named as any other bad one."""
    assert loaded(text.encode(), {}, {}) is None
