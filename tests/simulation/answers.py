"""What a node answers to one call, and how it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from simulation.blocks import Block, Version, page
from simulation.nodes import CHAIN_ID, CREATED, Network, Node
from simulation.sealing import EMPTY_BLOOM

TAGS = ("latest", "safe", "finalized")
BATCH = "eth_getBlockByNumber batch"


class Refused(Exception):  # noqa: N818 -- a JSON-RPC error answer
    """A node answers with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Answers:
    """The answers of the nodes of a network, as the JSON text of results."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.rng = network.rng
        self._methods: dict[str, Callable[[Node, Version, list[Any]], bytes]] = {
            "eth_chainId": lambda *_: _json(hex(CHAIN_ID)),
            "eth_blockNumber": lambda node, view, params: _json(hex(view.head)),
            "eth_getBlockByNumber": self._header,
            "eth_getLogs": self._logs,
            "eth_getCode": self._code,
            "eth_getBlockReceipts": self._receipts,
        }

    def one(self, node: Node, method: str, params: list[Any]) -> bytes:
        """The result of one call; raises Refused."""
        if method == "eth_call":
            raise Refused(3, "execution reverted")
        if method not in self._methods or self._unknown(method):
            raise Refused(-32601, f"the method {method} does not exist")
        return self._methods[method](node, self.network.view(node, method), params)

    def headers(self, node: Node, numbers: Sequence[int]) -> list[bytes]:
        """The results of a batch of eth_getBlockByNumber."""
        view = self.network.view(node, BATCH)
        found = [self._at(view, number) for number in numbers]
        texts = [b"null" if block is None else self._told(node, block) for block in found]
        if found and self.network.lies(node):
            self._tear(found, texts)
        return texts

    def _unknown(self, method: str) -> bool:
        return method == "eth_getBlockReceipts" and not self.network.receipts

    def _at(self, view: Version, number: int) -> Block | None:
        return view.blocks[number] if 0 <= number <= view.head else None

    # Headers, code, receipts ---------------------------------------------------------------

    def _header(self, node: Node, view: Version, params: list[Any]) -> bytes:
        if params[0] in ("safe", "finalized") and not self.network.tagged:
            raise Refused(-32602, f"invalid argument 0: the tag {params[0]} is not known")
        block = self._at(view, self._number(view, params[0]))
        return b"null" if block is None else self._told(node, block)

    def _number(self, view: Version, block: str) -> int:
        if block in TAGS:
            return dict(zip(TAGS, (view.head, view.safe, view.final), strict=True))[block]
        return int(block, 16)

    def _told(self, node: Node, block: Block) -> bytes:
        """A header, whose bloom may be missing what the node left out."""
        wanted = self.network.omissions and block.raw
        if not wanted or not self.network.lies(node) or self.rng.random() < 0.8:
            return block.header
        self.network.tally["a header with an empty bloom (omission)"] += 1
        return _json(block.sealed.header | {"logsBloom": EMPTY_BLOOM})

    def _tear(self, found: Sequence[Block | None], texts: list[bytes]) -> None:
        """One header of a batch comes from another fork."""
        other = self.rng.choice(self.network.chain.versions[-8:])
        at = self.rng.randrange(len(found))
        block = found[at]
        if block is None or not self.network.believable(other):
            return
        twin = self._at(other, block.number)
        if twin is not None and twin is not block:
            self.network.tally["one header of a batch from another fork"] += 1
            texts[at] = twin.header

    def _code(self, node: Node, view: Version, params: list[Any]) -> bytes:
        number = self._number(view, params[1])
        if number > view.head:
            raise Refused(-32000, "header not found")
        return b'"0x60"' if number >= CREATED else b'"0x"'

    def _receipts(self, node: Node, view: Version, params: list[Any]) -> bytes:
        block = self._named(view, params[0])
        if block is None:
            return b"null"
        receipts = block.sealed.receipts
        if receipts and self.network.omissions and self.network.lies(node):
            self.network.tally["receipts left out (omission)"] += 1
            receipts = receipts[:-1]
        return _json(receipts)

    def _named(self, view: Version, block: Any) -> Block | None:
        """A block by number, tag or hash."""
        if isinstance(block, dict):
            block = block["blockHash"]
        if len(block) != 66:
            return self._at(view, self._number(view, block))
        found = self.network.chain.by_hash.get(bytes.fromhex(block[2:]))
        known = found is not None and self._at(view, found.number) is found
        return found if known else None

    # Logs ----------------------------------------------------------------------------------

    def _logs(self, node: Node, view: Version, params: list[Any]) -> bytes:
        where = params[0]
        if "blockHash" in where:
            return self._logs_of(node, view, where["blockHash"])
        first, last = int(where["fromBlock"], 16), int(where["toBlock"], 16)
        if view.head < last:
            if not self.network.omissions or self.network.calm:
                raise Refused(-32000, "block range extends beyond current head block")
            self.network.tally["logs of a part of the range (omission)"] += 1
        asked = view.blocks[first : last + 1]
        raw = page(asked)
        if not self.network.calm:
            self._limited(node, asked, raw)
        if asked and self.network.lies(node):
            raw = self._lie(asked, raw)
        return b"[" + b",".join(raw) + b"]"

    def _logs_of(self, node: Node, view: Version, block_hash: str) -> bytes:
        block = self._named(view, block_hash)
        if block is None:
            raise Refused(-32000, "unknown block")
        if block.raw and self.network.omissions and self.network.lies(node):
            self.network.tally["no logs for a block hash (omission)"] += 1
            return b"[]"
        return b"[" + b",".join(block.raw) + b"]"

    def _limited(self, node: Node, asked: Sequence[Block], raw: Sequence[bytes]) -> None:
        """Refuse what is more than this node gives at once."""
        if node.widest is not None and len(asked) > node.widest:
            self.network.tally["range limits: too many blocks"] += 1
            limit = f": at most {node.widest} blocks" if node.outspoken else ""
            raise Refused(-32005, f"the block range is too large{limit}")
        if node.most is not None and len(raw) > node.most and len(asked) > 1:
            self.network.tally["range limits: too many logs"] += 1
            first = asked[0].number
            hint = f", try [{hex(first)}, {hex(first + len(asked) // 2 - 1)}]"
            raise Refused(
                -32005, f"query returned too many results{hint if node.outspoken else ''}"
            )

    def _lie(self, asked: list[Block], raw: list[bytes]) -> list[bytes]:
        kinds = ["swapped logs", "a log repeated", "a log from beyond the range"]
        kinds += ["logs of another fork"] * 2
        if self.network.omissions:
            kinds += ["logs left out (omission)", "no logs of the newest block (omission)"]
        kind = self.rng.choice(kinds)
        told = self._changed(kind, asked, raw)
        self.network.tally[kind] += told != raw
        return told

    def _changed(self, kind: str, asked: list[Block], raw: list[bytes]) -> list[bytes]:
        if kind == "swapped logs":
            return self.rng.sample(raw, len(raw))
        if kind == "a log repeated":
            return raw + raw[-1:]
        if kind == "a log from beyond the range":
            before = [b.parent for b in asked[:1] if b.parent]
            return page(before)[-1:] + raw
        if kind == "logs of another fork":
            versions = self.network.chain.versions
            other = versions[self.network.another_fork()]
            if other.head >= asked[-1].number and self.network.believable(other):
                return page(other.blocks[asked[0].number : asked[-1].number + 1])
            return raw
        if kind == "logs left out (omission)":
            return [log for log in raw if self.rng.random() < 0.8]
        return page(asked[:-1])


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)
