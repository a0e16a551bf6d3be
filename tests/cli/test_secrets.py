"""The key in a node's address is shown nowhere; settings come from the environment too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.faulty import FaultyNode, Reply, always, beyond, serving
from cli.program import address, busy_chain, ngu, started

SECRETS = ("pathkey0123456789", "querykey0123456789", "userkey0123456789", "passkey0123456789")


def with_keys(url: str) -> str:
    path, query, user, password = SECRETS
    host = url.removeprefix("http://")
    return f"http://{user}:{password}@{host}/v3/{path}?apikey={query}"


def found_in(text: bytes) -> list[str]:
    return [secret for secret in SECRETS if secret.encode() in text]


def echo(served: FaultyNode) -> Reply:
    """An error that repeats the whole address, as some providers' do."""
    message = f"request to {with_keys(served.url)} failed: key {SECRETS[0]} is over its limit"
    return Reply(json.dumps({"error": {"code": -32005, "message": message}}).encode(), 403)


def test_no_key_is_ever_shown_or_stored(tmp_path: Path) -> None:
    """Not in answers, errors, logs at any level, the database, the archive or exports."""
    node = busy_chain(60, per_block=5, max_span=10)
    shown: list[str] = []
    with serving(node) as served:
        common = ("--rpc", with_keys(served.url), "--contract", address(node),
                  "--db", tmp_path / "ngu.db", "--finality", 0)  # fmt: skip
        env = {"LOG_LEVEL": "debug", "NGU_CHAIN_RETRIES": "0"}
        for fault in (beyond(30, lambda _: echo(served)), always(lambda _: echo(served)),
                      always(lambda right: Reply(right[:20])), always(lambda _: Reply(b"", 500)),
                      None):  # fmt: skip
            served.fault = fault
            for more in ((), ("--json",)):
                ended = ngu("sync", *common, *more, env=env)
                assert ended.code == (0 if fault is None else 1), ended.err
                shown += [ended.out, ended.err]
        for words in (("status",), ("fingerprint",), ("recalc",), ("rebuild",), ("leaderboard",),
                      ("export", "events", "-o", tmp_path / "out.csv")):  # fmt: skip
            ended = ngu(*words, *common, "--json", env=env)
            assert ended.code == 0
            shown += [ended.out, ended.err]
        dead = ("--rpc", with_keys("http://127.0.0.1:1"), *common[2:])
        shown += [ngu("sync", *dead, env=env).err]
        shown += [ngu("sync", "--rpc", with_keys("http://127.0.0.1:x"), *common[2:]).err]
        shown += [ngu("sync", "--rpc", with_keys("htps://host"), *common[2:]).err]
    assert all("ngu: " in text for text in shown[-3:])
    assert found_in("".join(shown).encode()) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert {path.name: found_in(path.read_bytes()) for path in files} == {
        path.name: [] for path in files
    }


def test_a_running_program_logs_no_key(tmp_path: Path) -> None:
    """While it follows a node that breaks, the log names the host and nothing more."""
    node = busy_chain(10)
    with serving(node) as served:
        served.fault = lambda calls, _: (
            echo(served) if len(served.asked) > 30 and calls[0]["method"] != "eth_chainId" else None
        )
        words = ("run", "--rpc", with_keys(served.url), "--contract", address(node), "--db",
                 tmp_path / "ngu.db", "--finality", 0)  # fmt: skip
        env = {"LOG_LEVEL": "debug", "NGU_CHAIN_RETRIES": "0", "NGU_CHAIN_POLL_INTERVAL": "0.02"}
        with started(*words, env=env) as program:
            log = ""
            while "not readable" not in log and "ngu: " not in log:
                line = program.stderr.readline()
                assert line, log
                log += line
    assert served.url.removeprefix("http://") in log
    assert found_in(log.encode()) == []


@pytest.mark.parametrize("winner", ["variable", "option"])
def test_variables_set_what_the_file_does_not(winner: str, tmp_path: Path) -> None:
    """Every setting has a variable; it beats the file, and an option beats it."""
    node = busy_chain(20)
    with serving(node) as served:
        config = tmp_path / "ngu.toml"
        config.write_text('[chain]\nrpc = ["http://127.0.0.1:1"]\nfinality = 5\n')
        env = {
            "NGU_CHAIN_RPC": served.url,
            "NGU_CONTRACT_ADDRESS": address(node),
            "NGU_STORE_DB": str(tmp_path / "env.db"),
            "NGU_CHAIN_FINALITY": "3",
        }
        more = ("--finality", 1) if winner == "option" else ()
        ended = ngu("sync", "--config", config, "--json", *more, env=env)
    assert ended.code == 0, ended.err
    assert ended.json["block"] == node.head.number - (1 if winner == "option" else 3)
    assert (tmp_path / "env.db").exists()
