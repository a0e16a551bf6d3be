"""A header is believed when it hashes to its hash, and never when a field of it was changed."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngu_points.chain.encoding import EMPTY_TRIE
from ngu_points.chain.proof import (
    Break,
    Judgement,
    Verdict,
    header_doubt,
    header_hash,
    judge,
    linked,
    logs_outside_header,
)
from ngu_points.demo import headers as simulated

DATA = Path(__file__).parent.parent / "data"
Fields = dict[str, Any]


def of_mainnet(number: int) -> list[Fields]:
    """The blocks that shovel asked for, beginning with `number`."""
    file = DATA / "mainnet-blocks" / "shovel" / f"block-{number}.json.xz"
    return [answer["result"] for answer in json.loads(lzma.decompress(file.read_bytes()))]


def of_reference(name: str) -> Fields:
    """The block in an answer of the reference exchanges."""
    file = DATA / "execution-apis" / "eth_getBlockByNumber" / f"get-{name}.io"
    answer = next(line for line in file.read_text().splitlines() if line.startswith("<<"))
    block: Fields = json.loads(answer[3:])["result"]
    return block


def of_file(name: str) -> Fields:
    """A block of the folder for proofs."""
    block: Fields = json.loads((DATA / "proofs" / name).read_text())
    return block


REAL: dict[str, Fields] = {
    "mainnet 1,000,001, Frontier's header": of_mainnet(1_000_001)[0],
    "mainnet 18,000,000, Shanghai": of_mainnet(18_000_000)[0],
    "mainnet 18,000,001, Shanghai": of_mainnet(18_000_000)[1],
    "mainnet 21,925,176, Cancun": of_file("mainnet-21925176.json"),
    "OP stack, Isthmus": of_file("unichain-sepolia-35535698.json")["header"],
    **{f"reference, {name}": of_reference(name) for name in (
        "genesis", "block-london-fork", "block-merge-fork", "block-shanghai-fork",
        "block-cancun-fork", "block-prague-fork", "latest",
    )},
}  # fmt: skip
LATER = ["baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas"]
LATER += ["parentBeaconBlockRoot", "requestsHash"]
BESIDE = {"hash", "size", "totalDifficulty", "transactions", "uncles", "withdrawals"}

real = st.sampled_from(sorted(REAL)).map(REAL.__getitem__)


def committed(fields: Fields) -> list[str]:
    return sorted(fields.keys() - BESIDE)


@pytest.mark.parametrize("name", REAL)
def test_real_headers(name: str) -> None:
    """The hash of a real block of each fork is found again from its fields."""
    fields = REAL[name]
    found = header_hash(fields)
    assert found is not None
    assert "0x" + found.hex() == fields["hash"]
    assert header_doubt(fields) is None


def test_every_fork_is_tried() -> None:
    """The real headers have none, one, two, five and six of the fields that forks appended."""
    counts = {sum(name in fields for name in LATER) for fields in REAL.values()}
    assert counts == {0, 1, 2, 5, 6}


def changed(value: str, bit: int) -> str:
    """Another value of the same form: one bit of its digits is the other one."""
    digits = len(value) - 2
    if digits == 0:
        return "0x00"
    return f"0x{int(value, 16) ^ 1 << bit % (4 * digits):0{digits}x}"


@given(real, st.data(), st.integers(0, 4095))
def test_any_changed_field_is_found(fields: Fields, draw: st.DataObject, bit: int) -> None:
    """One bit changed in any field of a header gives another hash, and the header is doubted."""
    name = draw.draw(st.sampled_from(committed(fields)))
    altered = {**fields, name: changed(fields[name], bit)}
    found = header_hash(altered)
    assert found is not None
    assert "0x" + found.hex() != fields["hash"]
    doubt = header_doubt(altered)
    assert doubt is not None
    assert doubt.verdict is Verdict.MISMATCH


@given(real, st.sampled_from(LATER))
def test_added_and_missing_fork_fields_are_found(fields: Fields, name: str) -> None:
    """A header with a fork's field too many or too few is never taken for right."""
    with_field = {**fields, name: "0x" + "00" * 32}
    without = {key: value for key, value in fields.items() if key != name}
    other = without if name in fields else with_field
    doubt = header_doubt(other)
    assert doubt is not None
    assert doubt.verdict in (Verdict.MISMATCH, Verdict.UNPROVEN)


@given(real, st.data())
def test_missing_fields_are_named(fields: Fields, draw: st.DataObject) -> None:
    """Without a field that all headers have there is no hash, and the reason names the field."""
    name = draw.draw(st.sampled_from([*sorted(set(committed(fields)) - set(LATER)), "hash"]))
    for less in ({**fields, name: None}, {k: v for k, v in fields.items() if k != name}):
        assert name == "hash" or header_hash(less) is None
        doubt = header_doubt(less)
        expected = f"the hash cannot be recomputed: {name} is missing"
        assert doubt == Judgement(Verdict.UNPROVEN, expected)


def test_absent_fork_fields_may_be_null() -> None:
    """Nodes that write null for the fields of later forks are understood."""
    fields = {**REAL["mainnet 18,000,000, Shanghai"], "blobGasUsed": None, "requestsHash": None}
    assert header_doubt(fields) is None


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just([]) | (
    st.binary(max_size=40).map(lambda value: "0x" + value.hex())
)  # fmt: skip


def digits(value: object) -> str:
    """The value without what leading zeros may add to a number."""
    return str(value).removeprefix("0x").lstrip("0")


@given(real, st.dictionaries(st.sampled_from([*LATER, "hash", "miner", "number"]), json_values))
def test_garbage_is_a_doubt(fields: Fields, garbage: Fields) -> None:
    """Whatever stands in a header, the answer is a verdict in one short line."""
    altered = {**fields, **garbage}
    doubt = header_doubt(altered)
    if doubt is None:
        assert all(digits(altered.get(name)) == digits(fields.get(name)) for name in garbage)
    else:
        assert altered != fields
        assert "\n" not in doubt.reason
        assert len(doubt.reason) < 200
    linked([fields, altered])


def test_unknown_fields_beside_a_right_hash() -> None:
    """Fields that are not known do no harm while the hash comes out right."""
    fields = {**REAL["OP stack, Isthmus"], "l1BlockNumber": "0x1", "sendRoot": "0x" + "00" * 32}
    assert header_doubt(fields) is None
    assert header_hash(fields) is not None


def test_headers_of_other_chains_are_unproven() -> None:
    """A header that may hash fields that are not known is unproven; null is no such field."""
    fields = {**REAL["mainnet 18,000,000, Shanghai"], "extDataHash": "0x" + "00" * 32}
    fields["hash"] = "0x" + "12" * 32
    assert header_hash(fields) is None
    doubt = header_doubt(fields)
    assert doubt is not None
    assert doubt.verdict is Verdict.UNPROVEN
    assert "extDataHash" in doubt.reason
    fields["extDataHash"] = None
    doubt = header_doubt(fields)
    assert doubt is not None
    assert doubt.verdict is Verdict.MISMATCH


def test_an_extract_without_mix_hash_is_unproven() -> None:
    """Blocks 17,173,049-50 as ethereum-etl keeps them lack a field, and so cannot be proven."""
    file = DATA / "mainnet-blocks" / "ethereum-etl-17173049-50" / "expected_blocks.jsonl.xz"
    row = json.loads(lzma.decompress(file.read_bytes()).splitlines()[0])
    names = {
        name: name.split("_")[0] + "".join(map(str.title, name.split("_")[1:])) for name in row
    }
    fields = {
        names[name]: hex(value) if isinstance(value, int) else value for name, value in row.items()
    }
    doubt = header_doubt(fields)
    assert doubt is not None
    assert doubt.verdict is Verdict.UNPROVEN
    assert "mixHash is missing" in doubt.reason


def chain(length: int, branch: int = 0, parent: bytes = bytes(32), first: int = 0) -> list[Fields]:
    """Headers of a simulated chain."""
    made = []
    for number in range(first, first + length):
        header = simulated.Header(
            number=number, parent_hash=parent, timestamp=1_700_000_000 + 2 * number, bloom=0,
            state_root=bytes(32), content=EMPTY_TRIE, receipts_root=EMPTY_TRIE, gas_used=0,
            branch=branch,
        )  # fmt: skip
        parent = simulated.header_hash(header)
        made.append(simulated.header_fields(header, parent))
    return made


def test_a_chain_is_linked() -> None:
    """Two neighbours of mainnet, chains of any length and no headers at all hold together."""
    assert linked(of_mainnet(18_000_000)) is None
    assert linked(chain(50)) is None
    assert linked(chain(1)) is None
    assert linked([]) is None


@given(st.integers(2, 12), st.data())
def test_the_first_break_is_found(length: int, draw: st.DataObject) -> None:
    """A header left out, of another branch or altered is found at its place."""
    headers = chain(length)
    at = draw.draw(st.integers(1, length - 1))
    grandparent = bytes.fromhex(headers[at - 1]["parentHash"][2:])
    other = chain(1, branch=7, parent=grandparent, first=at)
    assert _broken([*headers[:at], *other, *headers[at + 1 :]]) == (at, Verdict.SUSPECT)
    altered = {**headers[at], "timestamp": "0x1"}
    assert _broken([*headers[:at], altered, *headers[at + 1 :]]) == (at, Verdict.MISMATCH)
    unknown = {**headers[at], "mixHash": None}
    assert _broken([*headers[:at], unknown, *headers[at + 1 :]]) == (at, Verdict.UNPROVEN)
    if at + 1 < length:
        assert _broken(headers[:at] + headers[at + 1 :]) == (at, Verdict.SUSPECT)


def _broken(headers: list[Fields]) -> tuple[int, Verdict]:
    found = linked(headers)
    assert found is not None
    return found.at, found.verdict


def test_a_consistent_lie_about_the_parent_is_found() -> None:
    """A header that hashes to its own hash but has another parent breaks the chain."""
    headers = chain(3) + chain(1, parent=b"\5" * 32, first=3)
    assert header_doubt(headers[3]) is None
    found = linked(headers)
    assert found is not None
    assert (found.at, found.verdict) == (3, Verdict.SUSPECT)
    assert found.reason.startswith("block 3: its parent is 0x050505050505…, the block before is 0x")


def test_breaks_name_the_block() -> None:
    """A break is told with the number of its block, or says that there is none."""
    headers = chain(2)
    headers[1]["number"] = "seven"
    reason = "block without a number: the hash cannot be recomputed: number is not a hex number"
    assert linked(headers) == Break(1, Verdict.UNPROVEN, f"{reason}: 'seven'")


BLOCK = REAL["mainnet 18,000,000, Shanghai"]
AZUKI = bytes.fromhex("ed5af388653567af2f388e6224dc7c4b3241c544")
ORACLE = bytes.fromhex("fd14567eaf9ba941cb8c8a94eec14831ca7fd1b4")  # logged in block 18,000,000
RELAYED = bytes.fromhex("b8b9c39aeba1cfd98c38dfeebe11c2f7e02b334cbe9f05f22b442a5d9c1ea0c5")


@pytest.mark.parametrize(
    ("held", "address", "verdict"),
    [
        (0, AZUKI, Verdict.PROVEN_EMPTY),
        (2, AZUKI, Verdict.SUSPECT),
        (3, ORACLE, Verdict.CONSISTENT),
        (0, ORACLE, Verdict.SUSPECT),
    ],
)
def test_verdicts_on_a_mainnet_block(held: int, address: bytes, verdict: Verdict) -> None:
    """A contract that did not log, and one that did, with and without logs in our hands."""
    judgement = judge(BLOCK, held, [address], [RELAYED], 1)
    assert judgement.verdict is verdict
    assert "\n" not in judgement.reason


def test_one_of_several_contracts_is_enough() -> None:
    """A block is proven empty only if the bloom excludes every one of our contracts."""
    assert judge(BLOCK, 0, [AZUKI, ORACLE], [], 1).verdict is Verdict.SUSPECT
    assert judge(BLOCK, 0, [AZUKI], [], 1).verdict is Verdict.PROVEN_EMPTY


def test_a_suspicion_tells_its_weight() -> None:
    """Where a log is possible and none is held, the reason says how full the bloom is."""
    reason = judge(BLOCK, 0, [ORACLE], [], 1).reason
    assert "39% full" in reason
    assert "6.1%" in reason


def test_a_blanked_bloom_proves_nothing() -> None:
    """A node that blanks the bloom to hide our logs is found out by the hash."""
    lying = {**BLOCK, "logsBloom": "0x" + "00" * 256}
    assert judge(lying, 0, [ORACLE], [RELAYED], 1).verdict is Verdict.MISMATCH


def test_chains_that_log_outside_their_headers() -> None:
    """On Polygon no header proves that nothing was logged, and the reason says why."""
    judgement = judge(BLOCK, 0, [AZUKI], [], 137)
    assert judgement == Judgement(Verdict.UNPROVEN, logs_outside_header(137) or "")
    assert "Polygon" in judgement.reason
    assert logs_outside_header(1) is None
    assert logs_outside_header(8453) is None
