"""The compiled contracts: what the sources give, and what our hand-written calls assume."""

import json
from importlib import resources

import pytest
from contracts.compile import NoCompiler, artifacts

from ngu_points.chain.contract import ngu
from ngu_points.demo import contract
from ngu_points.demo.contract import TOPICS

CALLS = {
    "batchMint(address,uint256)": contract.batch_mint(bytes(20), 1),
    "batchBurn(uint256,uint256)": contract.batch_burn(1, 1),
    "batchTransfer(address,uint256,uint256)": contract.batch_transfer(bytes(20), 1, 1),
    "stake(uint256)": contract.stake([1]),
    "stake(uint256[])": contract.stake([1, 2]),
    "unstake(uint256)": contract.unstake([1]),
    "unstake(uint256[])": contract.unstake([1, 2]),
    "ownerOf(uint256)": contract.owner_of(1),
    "stakerOf(uint256)": contract.staker_of(1),
    "totalSupply()": contract.total_supply(),
    "nextTokenId()": contract.next_token_id(),
    "holdings(uint256,uint256)": contract.holdings(1, 1),
}


def signatures(name: str, kind: str) -> set[str]:
    text = resources.files("ngu_points.demo").joinpath(f"{name}.json").read_text("utf-8")
    return {
        f"{item['name']}({','.join(part['type'] for part in item['inputs'])})"
        for item in json.loads(text)["abi"]
        if item["type"] == kind
    }


def test_compiling_gives_the_artifacts() -> None:
    """The artifact files are, byte for byte, what the pinned compiler makes of the sources."""
    try:
        compiled = artifacts()
    except NoCompiler as reason:
        pytest.skip(str(reason))
    assert {path.name for path in compiled} == {"ngu.json", "emitter.json", "multicall.json"}
    for path, text in compiled.items():
        assert path.read_text("utf-8") == text, f"{path.name}: run python contracts/compile.py"


def test_calls_are_the_contracts_functions() -> None:
    """Every call that we encode is a function of the contract, called by its selector."""
    functions = signatures("ngu", "function")
    assert set(CALLS) == functions - {"MAX_QUANTITY()"}
    for signature, data in CALLS.items():
        assert data[:10] == contract.call(signature)[:10]


@pytest.mark.parametrize("name", ["ngu", "emitter"])
def test_events_are_those_that_the_pipeline_reads(name: str) -> None:
    """The contracts emit exactly the five events that the kind `ngu` looks for."""
    topics = {contract.keccak256(event.encode()) for event in signatures(name, "event")}
    assert topics == set(TOPICS.values()) == set(ngu(bytes(20)).topics)
