"""Coverage-guided fuzzing, on demand: `python -m bench.fuzz decode --minutes 5`.

It needs atheris, which is no dependency of this project (it wraps libFuzzer, and there are wheels
for Linux and Python 3.11 to 3.13 only): `pip install atheris` into an environment that has the
project. Inputs that reach new code are kept under bench/results/fuzz, so that the next run goes on
from there; an input that breaks something is written beside them, its name is printed, and
`python -m bench.fuzz decode FILE` runs it once more. The bounded tests are in tests/fuzz.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results" / "fuzz"
LONGEST = 16_384  # bytes of an input
KEY = "pathkey0123456789"
Target = Callable[[bytes], None]


def decode_target() -> Target:
    """Pages of logs: the first byte picks the contract's kind, both paths must agree."""
    import numpy as np

    from ngu_points.chain.contract import erc721, ngu
    from ngu_points.chain.decode import Decoded, decode, decode_exactly
    from ngu_points.errors import BadInput

    token = bytes.fromhex("6e6775" * 6 + "0001")
    contracts = (ngu(token), ngu(token, [bytes(20)]), erc721(token))

    def outcome(read: Callable[..., Decoded], raw: bytes, kind: int) -> Decoded | None:
        try:
            return read(raw, contracts[kind], 0, 2**40)
        except BadInput as error:
            one_line(str(error))
            return None

    def target(data: bytes) -> None:
        kind, raw = data[:1], data[1:]
        number = ord(kind or b"\0") % len(contracts)
        fast, exact = (outcome(read, raw, number) for read in (decode, decode_exactly))
        assert (fast is None) == (exact is None), "one path refuses what the other reads"
        if fast is None or exact is None:
            return
        assert fast.rejected == exact.rejected
        for name in fast.events.__dataclass_fields__:
            one, two = getattr(fast.events, name), getattr(exact.events, name)
            assert one.dtype == two.dtype and np.array_equal(one, two), name  # noqa: PT018

    return target


def answer_target() -> Target:
    """Bodies of JSON-RPC answers: the first byte picks status and method."""
    from ngu_points.chain import answers
    from ngu_points.chain.endpoint import Endpoint, Span
    from ngu_points.chain.limits import Action

    endpoint = Endpoint(f"http://node.example/v3/{KEY}", "node.example", Span(2_000))
    statuses = (200, 200, 204, 301, 400, 403, 413, 429, 500, 503)
    methods = ("eth_getLogs", "eth_getBlockByNumber", "eth_call", "eth_chainId")
    readers: tuple[Callable[[bytes], object], ...] = (
        answers.log_array, answers.quantity, answers.hex_data, answers.decoded,
        lambda raw: answers.block_header(raw, 5), lambda raw: answers.block_header(raw, None),
    )  # fmt: skip

    def target(data: bytes) -> None:
        picked, body = ord(data[:1] or b"\0"), data[1:]
        method, status = methods[picked % 4], statuses[picked // 4 % len(statuses)]
        asked = answers.Asked(endpoint, method, 5, 900)
        try:
            (raw,) = answers.results(asked, status, None, body, [1])
        except answers.Refusal as refusal:
            verdict = refusal.verdict
            one_line(verdict.reason)
            if verdict.action in (Action.RANGE, Action.SPAN, Action.HALVE):
                assert verdict.to_block is not None
                assert 5 <= verdict.to_block < 900, "a range that does not shrink"
            return
        for read in readers:
            try:
                read(raw)
            except answers.Refusal as refusal:
                one_line(refusal.verdict.reason)

    return target


def config_target() -> Target:
    """Settings files."""
    from ngu_points.config import load
    from ngu_points.errors import UsageError

    file = Path(tempfile.mkdtemp(prefix="ngu-fuzz-")) / "ngu.toml"

    def target(data: bytes) -> None:
        file.write_bytes(data)
        try:
            load(file, {}, {})
        except UsageError as error:
            one_line(str(error))

    return target


def segment_target() -> Target:
    """Archive files whose checksum is right, whatever they hold."""
    from ngu_points.embedded.archive import read_segment
    from ngu_points.errors import StoreError

    file = Path(tempfile.mkdtemp(prefix="ngu-fuzz-")) / "000000000000-000000000012.npz"

    def target(data: bytes) -> None:
        file.write_bytes(data + hashlib.sha256(data).digest())
        try:
            read_segment(file)
        except StoreError as error:
            one_line(str(error))

    return target


TARGETS: dict[str, Callable[[], Target]] = {
    "decode": decode_target,
    "answer": answer_target,
    "config": config_target,
    "segment": segment_target,
}


def one_line(text: str) -> None:
    """What a person reads has one line, no key and nothing that a terminal acts upon."""
    assert len(text.splitlines()) == 1, ascii(text)
    assert KEY not in text, ascii(text)
    assert len(text) <= 2_000, len(text)


def seeds(name: str) -> list[bytes]:
    """A few right inputs to begin with."""
    from ngu_points.chain import contract
    from ngu_points.demo.blocks import block_json
    from ngu_points.demo.node import SimNode
    from ngu_points.demo.traffic import Traffic, events_of, wallets

    node = SimNode()
    traffic = Traffic(1, wallets(4))
    for _ in range(4):
        node.mine([event for action in traffic.take(3) for event in events_of(action)])
    page = b"[" + b",".join(block.logs for block in node.blocks[1:]) + b"]"
    if name == "decode":
        return [bytes([kind]) + page for kind in range(3)] + [b"\0[]"]
    if name == "answer":
        head = b'{"jsonrpc":"2.0","id":1,"result":'
        error = {
            "code": -32005,
            "message": "query returned more than 10000 results, try [0x5, 0x9]",
        }
        wrong = json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode()
        bodies = [
            head + page + b"}",
            head + block_json(node.head) + b"}",
            wrong,
            b"[" + wrong + b"]",
        ]
        return [bytes([picked]) + body for picked, body in enumerate(bodies)]
    if name == "config":
        text = Path(contract.__file__).parent.with_name("cli").joinpath("ngu.toml").read_bytes()
        return [text, text.replace(b"\n# ", b"\n"), b'[chain]\nrpc = ["http://a"]\n']
    return [_segment(page)]


def _segment(page: bytes) -> bytes:
    from ngu_points.chain.contract import ngu
    from ngu_points.chain.decode import decode
    from ngu_points.demo.node import CONTRACT
    from ngu_points.embedded.archive import write_segment
    from ngu_points.engine.coverage import Covered
    from ngu_points.pipeline.pack import DIGEST
    from ngu_points.pipeline.segments import Identity

    events = decode(page, ngu(CONTRACT), 0, 12).events
    with tempfile.TemporaryDirectory() as folder:
        covered = Covered(0, 12, bytes(32), bytes(32), 1, events)
        name = write_segment(Path(folder), covered, Identity(1, "0x" + CONTRACT.hex(), "ngu"))
        return (Path(folder) / name).read_bytes()[:-DIGEST]


def fuzz(name: str, minutes: float, atheris: Any) -> None:
    """Fuzz one target; ends the process, with libFuzzer's exit code."""
    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(seeds(name)):
        (corpus / f"seed-{at}").write_bytes(seed)
    for module in [m for m in sys.modules if m.split(".")[0] == "ngu_points"]:
        del sys.modules[module]  # what the seeds have loaded is not instrumented
    with atheris.instrument_imports(include=["ngu_points"]):
        target = TARGETS[name]()
    # instrumented big-integer code keeps some kilobytes a run; without atheris nothing grows
    limits = [f"-max_total_time={round(minutes * 60)}", f"-max_len={LONGEST}", "-timeout=20",
              "-rss_limit_mb=8192"]  # fmt: skip
    words = [
        sys.argv[0],
        *limits,
        f"-artifact_prefix={corpus}-",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(words, target)
    atheris.Fuzz()


def main(words: Sequence[str]) -> int:
    """Fuzz a target, or run single files through it; 0 where nothing breaks."""
    parser = argparse.ArgumentParser("python -m bench.fuzz", description="See bench/fuzz.py.")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("files", nargs="*", type=Path, help="inputs to run once, without atheris")
    parser.add_argument("--minutes", type=float, default=5.0)
    given = parser.parse_args(words)
    if given.files:
        target = TARGETS[given.target]()
        for file in given.files:
            target(file.read_bytes())
        print(f"{len(given.files)} inputs: nothing broke")
        return 0
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        print("bench.fuzz: atheris is not installed here: `pip install atheris`", file=sys.stderr)
        return 2
    fuzz(given.target, given.minutes, atheris)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
