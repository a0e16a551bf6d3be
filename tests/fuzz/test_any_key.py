"""The key in a node's address stays secret: in every answer, error, export, log and file."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from chain.nodelogs import CONTRACTS, MINT, log, wallet
from chain.scripted_node import ALL, Naps, answer
from cli.faulty import serving
from cli.program import Ended, address, busy_chain, ngu
from fuzz.anything import assert_one_line
from ngu_points.chain import reader
from ngu_points.chain.reader import Reader
from ngu_points.chain.rpc import Rpc
from ngu_points.demo.blocks import Log
from ngu_points.demo.node import SimNode
from ngu_points.errors import NguError

ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
KEYS = st.text(ALPHABET + "-_%+~", min_size=16, max_size=32).filter(lambda k: k.isascii())
PLACES = ("path", "path's end", "query", "password")


def url_with(key: str, place: str, host: str) -> str:
    """An address of `host` with the key where some provider wants it."""
    safe = quote(key, safe="")
    return {
        "path": f"http://{host}/v3/{safe}",
        "path's end": f"http://{host}/{safe}/rpc/",
        "query": f"http://{host}/?network=base&apikey={safe}",
        "user": f"http://{safe}@{host}/",
        "password": f"http://me:{safe}@{host}/",
    }[place]


def shown_in(text: str, key: str) -> bool:
    """Whether a text holds the key, as it is or as it stands in an address."""
    return key in text or quote(key, safe="") in text


ECHOES = ("url", "key", "quoted", "json", "upper", "html", "split", "twice")


def echoed(how: str, key: str, url: str) -> str:
    """How a node may repeat what it was sent."""
    return {
        "url": f"request to {url} failed",
        "key": f"unknown project {key}",
        "quoted": f"unknown project {quote(key, safe='')}",
        "json": json.dumps({"url": url}).replace("/", "\\/"),
        "upper": f"request to {url.replace('http', 'HTTP')} failed",
        "html": f"<html><a href='{url}'>gone</a></html>",
        "split": f"request to\n{url}\nfailed",
        "twice": f"{url} {url}",
    }[how]


Spoil = Callable[[dict[str, Any], str], dict[str, Any]]


def spoiled_block(right: dict[str, Any], text: str) -> dict[str, Any]:
    """A block with text for a hash; other results become the text itself."""
    block = right["result"]
    return right | {"result": block | {"hash": text} if isinstance(block, dict) else text}


SPOILS: dict[str, Spoil] = {
    "message": lambda a, t: {"id": a["id"], "error": {"code": -32000, "message": t}},
    "limit": lambda a, t: {"id": a["id"], "error": {"code": -32005, "message": f"limit: {t}"}},
    "data": lambda a, t: {"id": a["id"], "error": {"code": -32000, "data": {"why": t}}},
    "error": lambda a, t: {"id": a["id"], "error": t},
    "result": lambda a, t: a | {"result": t},
    "block": spoiled_block,
    "log": lambda a, t: a | {"result": [log(MINT, [wallet(1)], [1, 1]) | {"data": t}]},
}
STATUSES = st.sampled_from([200, 200, 200, 401, 403, 429, 500])
QUESTIONS: dict[str, Callable[[Rpc], Awaitable[Any]]] = {
    "eth_chainId": lambda c: c.chain_id(),
    "eth_getBlockByNumber": lambda c: c.headers([5, 6]),
    "eth_getLogs": lambda c: c.logs(ALL, 5, 9),
    "eth_getCode": lambda c: c.code(bytes(20)),
    "range": lambda c: Reader(c, CONTRACTS["ngu"], 0).read(5, 6),
}


ASKED = st.sampled_from(sorted(QUESTIONS))


class Kept(logging.Handler):
    """Everything that is logged, fields and all."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += f"{record.getMessage()} {getattr(record, 'fields', '')}\n"


async def told(question: str, key: str, place: str, how: str, spoil: str, status: int) -> str:
    """All that the client says, in an error, in the log and in an endpoint's last error."""

    async def handle(http: web.Request) -> web.StreamResponse:
        url = url_with(key, place, http.host)
        asked = await http.json()
        text = echoed(how, key, url)
        calls = asked if isinstance(asked, list) else [asked]
        if spoil == "body":
            return web.Response(status=status, text=text)
        bad = [SPOILS[spoil](answer(call), text) for call in calls]
        return web.json_response(bad if isinstance(asked, list) else bad[0], status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    kept, logger = Kept(), logging.getLogger("ngu")
    before = logger.level, logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [kept], False
    logger.setLevel(logging.DEBUG)
    try:
        async with TestServer(app) as server:
            url = url_with(key, place, f"127.0.0.1:{server.port}")
            settings: dict[str, Any] = {"sleep": Naps(), "max_retries": 1, "rng": random.Random(1)}
            async with Rpc([url], **settings) as client:
                line = await complaint(QUESTIONS[question](client))
                errors = [end.last_error for end in client.endpoints]
                return f"{line}\n{errors}\n{client.endpoints}\n{kept.text}"
    finally:
        logger.level, logger.handlers, logger.propagate = before


async def complaint(question: Awaitable[Any]) -> str:
    """The one line that a question ends in; nothing where it is answered."""
    try:
        with patch.object(reader, "ATTEMPTS", 1):
            await question
    except NguError as error:
        assert_one_line(str(error))
        return str(error)
    return ""


def assert_not_quoted(question: str, key: str, *scene: Any) -> None:
    """Whatever the client says of an answer, the key that it may hold is not in it."""
    text = asyncio.run(told(question, key, *scene))
    assert not shown_in(text, key), text


@pytest.mark.parametrize("spoil", ["body", "message", "limit", "data", "error"])
@given(ASKED, KEYS, st.sampled_from(PLACES), st.sampled_from(ECHOES), STATUSES)
def test_an_error_that_repeats_the_address_is_not_quoted(
    spoil: str, question: str, key: str, place: str, how: str, status: int
) -> None:
    """However an error answer repeats the key, no error, log line or statistic of ours does."""
    assert_not_quoted(question, key, place, how, spoil, status)


@pytest.mark.parametrize("how", ["key", "quoted", "upper"])
def test_a_key_that_is_a_user_name_is_not_quoted(how: str) -> None:
    """Some providers take the key as the user of basic authentication; it is no less secret."""
    assert_not_quoted("eth_chainId", "user-key-0123456789", "user", how, "message", 200)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("spoil", "question"),
    [
        ("result", "eth_chainId"),
        ("result", "eth_getCode"),
        ("block", "eth_getBlockByNumber"),
        ("log", "range"),
    ],
)
def test_a_result_that_repeats_the_address_is_not_quoted(
    spoil: str, question: str, place: str
) -> None:
    """Where a hash or a number should stand, a proxy may put a message with the key in it."""
    assert_not_quoted(question, "some-key-0123456789", place, "key", spoil, 200)


SECRETS = ("pathkey0123456789", "querykey0123456789", "userkey0123456789", "passkey0123456789")
FORMATS = ("csv", "json", "parquet")


def with_keys(url: str) -> str:
    """An address with a secret in every place that has room for one."""
    path, query, user, password = SECRETS
    return url.replace("//", f"//{user}:{password}@") + f"/v3/{path}?apikey={query}"


def chain_with_a_dead_letter() -> SimNode:
    """A busy chain, and a log that cannot be an event."""
    node = busy_chain(40, per_block=4)
    topics = (bytes.fromhex(MINT[2:]), bytes(12) + b"\x11" * 20)
    node.mine([Log(node.contract, topics, bytes(64))])
    node.mine()
    return node


def reading_commands(folder: Path) -> list[list[object]]:
    """Every command that shows something, in words and as JSON, and every export."""
    first = "0x" + "11" * 20
    shown: list[list[object]] = [
        ["status"], ["points", first], ["token", 1], ["leaderboard"], ["fingerprint"], ["gaps"],
        ["dead-letters"], ["points", first, "--at", "5"], ["recalc"], ["rewind", 12], ["rebuild"],
    ]  # fmt: skip
    files = [
        ["export", table, "--format", form, "-o", folder / f"{table}.{form}"]
        for table in ("tokens", "points", "events", "feast")
        for form in FORMATS
    ]
    return [*shown, *([*words, "--json"] for words in shown), *files]


def test_nothing_that_is_shown_or_kept_holds_a_key(tmp_path: Path) -> None:
    """Status, exports, job results, archive, snapshots and the bytes of the database: no key."""
    node = chain_with_a_dead_letter()
    config = tmp_path / "secret.toml"
    ended: list[Ended] = []
    with serving(node) as served:
        config.write_text(
            f'[chain]\nrpc = ["{with_keys(served.url)}"]\nfinality = 1\n'
            f'[contract]\naddress = "{address(node)}"\n[store]\ndb = "{tmp_path / "ngu.db"}"\n'
        )
        for words in (["sync"], *reading_commands(tmp_path), ["sync", "--json"]):
            ended.append(ngu(*words, "--config", config, env={"LOG_LEVEL": "debug"}))
            assert ended[-1].code in (0, 1, 2, 3), ended[-1].err
    assert sum(one.code in (0, 3) for one in ended) > 20
    config.unlink()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {".db", ".npz", ".csv", ".json"} <= {path.suffix for path in files}
    shown = "".join(one.out + one.err for one in ended).encode()
    for secret in map(str.encode, SECRETS):
        assert secret not in shown
        assert [path.name for path, data in files.items() if secret in data] == []
