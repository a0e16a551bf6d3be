"""What rivals are held against, and the rules that their handlers share."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from bench.expected import replay
from bench.render import render
from bench.rivals import postgres
from bench.rivals.__main__ import RIVALS, failures, line, measured
from bench.rivals.answer import check
from bench.rivals.install import PROJECTS
from bench.rivals.interfaces import Outcome, Rival, Run, Task
from bench.workloads import FIRST_BLOCK, LOGS_PER_BLOCK, Workload, addresses, workload

from ngu_points.engine.events import Kind
from ngu_points.errors import NguError

EFFECTS = {
    Kind.MINT: "mint",
    Kind.TRANSFER: "transfer",
    Kind.BURN: "burn",
    Kind.STAKE: "stake",
    Kind.UNSTAKE: "unstake",
}
FOLD = """
import { advance, parts } from "%s";
const events = JSON.parse(await new Response(process.stdin).text());
const pages = new Map();
const wallets = {};
const earn = (who, staked, seconds) => ((wallets[who] ??= [0, 0])[staked ? 1 : 0] += seconds);
for (const [name, who, first, quantity, time] of events) {
  const effect = { mint: { mint: who }, transfer: { owner: who }, burn: { burn: true },
    stake: { staker: who }, unstake: { staker: null } }[name];
  for (const [page, from, to] of parts(first, quantity)) {
    pages.set(page, advance(pages.get(page) ?? [], from, to, effect, time, earn));
  }
}
console.log(JSON.stringify([[...pages.values()].flat(), wallets]));
"""


def events_of(work: Workload) -> Iterator[tuple[str, str | None, int, int, int]]:
    """Effect, the wallet that comes in, first id, quantity, time."""
    names = ["0x" + row.tobytes().hex() for row in addresses(work.wallets)]
    for effect, sender, recipient, first, quantity, time in zip(
        *(c.tolist() for c in (work.effect, work.sender, work.recipient, work.first,
                               work.quantity, work.timestamp)), strict=True,
    ):  # fmt: skip
        who = sender if effect >= Kind.STAKE else recipient
        yield EFFECTS[Kind(effect)], names[who] if who >= 0 else None, first, quantity, time


def in_python(work: Workload) -> tuple[list[Run], dict[str, Any]]:
    """The workload folded by the rules of DipDup's handlers."""
    path = PROJECTS / "dipdup" / "collection" / "runs.py"
    spec = importlib.util.spec_from_file_location("rival_runs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[int, list[Any]] = {}
    wallets: dict[str, list[int]] = {}

    def earn(wallet: str, staked: bool, seconds: int) -> None:
        wallets.setdefault(wallet, [0, 0])[staked] += seconds

    for effect, who, first, quantity, time in events_of(work):
        for page, low, high in module.parts(first, quantity):
            runs = pages.get(page, [])
            pages[page] = module.advance(runs, low, high, effect, who, time, earn)
    return [tuple(run) for runs in pages.values() for run in runs], wallets


def in_javascript(work: Workload) -> tuple[list[Run], dict[str, Any]]:
    """The workload folded by the rules of SQD's and Ponder's handlers."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    script = FOLD % (PROJECTS / "runs.mjs").as_uri()
    done = subprocess.run([node, "--input-type=module", "-e", script], check=True, text=True,
                          input=json.dumps(list(events_of(work))), capture_output=True)  # fmt: skip
    runs, wallets = json.loads(done.stdout)
    return [tuple(run) for run in runs], wallets


@pytest.mark.parametrize("fold", [in_python, in_javascript])
def test_the_rules_of_the_rivals_handlers_give_the_expected_answer(fold: Any) -> None:
    """Runs in pages must come to the replay's owners, stakers and seconds, to the last one."""
    work = workload("ngu", 3_000)
    runs, wallets = fold(work)
    check(work, replay(work), runs, wallets)


def test_a_wrong_answer_of_a_rival_is_found() -> None:
    """One second too many, another owner or a wallet from nowhere must not pass."""
    work = workload("ngu", 400)
    runs, wallets = in_python(work)
    first, last, owner, staker, since = runs[0]
    with pytest.raises(NguError, match="seconds of wallet"):
        check(work, replay(work), [(first, last, owner, staker, since - 1), *runs[1:]], wallets)
    other = next(name for name in wallets if name != owner)
    with pytest.raises(NguError, match="the owner of token"):
        check(work, replay(work), [(first, last, other, staker, since), *runs[1:]], wallets)
    with pytest.raises(NguError, match="does not have"):
        check(work, replay(work), runs, {**wallets, "0x" + "00" * 20: (1, 0)})


def test_the_node_serves_blocks_as_every_rival_checks_them() -> None:
    """Each block must name the one before it; a whole one has a transaction for every log."""
    from bench.node import Node

    node = Node(render(workload("erc721", 100), 3), 3)

    def ask(method: str, *params: Any) -> Any:
        call = json.dumps({"jsonrpc": "2.0", "id": "a", "method": method, "params": params})
        answer = json.loads(b"".join(node.answer(call.encode())))
        assert answer["id"] == "a"
        return answer.get("result", answer.get("error"))

    last = FIRST_BLOCK + 100 // LOGS_PER_BLOCK - 1
    assert ask("eth_getBlockByNumber", "finalized", False)["number"] == hex(last)
    assert ask("eth_blockNumber") == hex(last + 3)
    for number in range(FIRST_BLOCK, last + 4):
        block = ask("eth_getBlockByNumber", hex(number), True)
        before = ask("eth_getBlockByNumber", hex(number - 1), False)
        assert block["parentHash"] == before["hash"]
        assert ask("eth_getBlockByHash", block["hash"], True) == block
        logs = ask("eth_getLogs", {"blockHash": block["hash"]})
        assert logs == ask("eth_getLogs", {"fromBlock": hex(number), "toBlock": hex(number)})
        assert len(logs) == (LOGS_PER_BLOCK if number <= last else 0)
        hashes = [transaction["hash"] for transaction in block["transactions"]]
        assert [log["transactionHash"] for log in logs] == hashes
        assert (set(block["logsBloom"][2:]) == {"f"}) == bool(logs)
    assert ask("eth_mining")["code"] == -32601


def test_locks_hold_hashes_and_no_host() -> None:
    """Every package of a rival is locked by its hash; where it comes from is the client's."""
    for name in ("sqd", "ponder"):
        lock = json.loads((PROJECTS / name / "package-lock.json").read_text())
        packages = [p for path, p in lock["packages"].items() if path and not p.get("link")]
        assert all("integrity" in package and "resolved" not in package for package in packages)
    pinned = (PROJECTS / "dipdup" / "requirements.txt").read_text()
    assert pinned.count("==") <= pinned.count("--hash=")


def one_row(monkeypatch: Any, rival: Rival) -> dict[str, Any]:
    """What the runner makes of a rival."""
    monkeypatch.setitem(RIVALS, "one", rival)
    (row,) = measured(["one"], ["erc721"], 40, tuned=True)
    return row


def test_a_rival_that_cannot_be_had_is_a_line_with_a_reason(monkeypatch: Any) -> None:
    """Without PostgreSQL, or where nothing can be installed, the run goes on, and says so."""

    def unreachable() -> None:
        raise NguError("sqd: cannot be installed: no network")

    row = one_row(monkeypatch, replace(RIVALS["dipdup"], install=unreachable))
    assert "not measured: sqd: cannot be installed" in line(row)
    monkeypatch.setattr(postgres, "programs", lambda: None)
    row = one_row(monkeypatch, RIVALS["sqd"])
    assert "not measured: PostgreSQL is not installed" in line(row)
    assert not failures([row])


def test_a_rival_with_another_answer_has_failed(monkeypatch: Any) -> None:
    """A number without the right answer is no number, and the command's exit code tells."""

    def nothing(task: Task) -> Outcome:
        return Outcome(1.0, 1, [], {})

    row = one_row(monkeypatch, replace(RIVALS["dipdup"], install=lambda: None, measure=nothing))
    assert "rate" not in row
    assert "FAILED: the owner of token" in failures([row])[0]
