"""Which logs are events of ours, and where in a log each field of the event sits (pure).

The words of a log are its topics followed by the 32-byte words of its data, counted from 0; so
word 0 is the topic that names the event. A layout is read from the event's Solidity signature:
indexed parameters are topics, the others are data, each in the order of declaration.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from Crypto.Hash import keccak

from ngu_points.engine.coverage import BATCH, STAKING
from ngu_points.engine.events import Kind
from ngu_points.errors import UsageError

MAX_TOPICS = 4
_VIEW = re.compile(r"\s*([A-Za-z_$][\w$]*)\s*\(\s*(uint\d{0,3})(?:\s+\w+)?\s*\)\s*", re.ASCII)

_EFFECTS: Final = {kind.name.lower(): kind for kind in Kind}
_WALLETS: Final = {
    Kind.MINT: ("to",),
    Kind.BURN: ("from",),
    Kind.TRANSFER: ("from", "to"),
    Kind.STAKE: ("account",),
    Kind.UNSTAKE: ("account",),
}
_RANGES: Final = (
    {"tokenId"},
    {"startTokenId", "quantity"},
    {"startTokenId", "endTokenId"},
)
_SIGNATURE = re.compile(r"\s*(?:event\s+)?([A-Za-z_$][\w$]*)\s*\((.*)\)\s*;?\s*", re.ASCII | re.S)
_PARAMETER = re.compile(
    r"([a-z]+\d*)((?:\[\d*\])*)(\s+indexed)?(?:\s+([A-Za-z_$][\w$]*))?", re.ASCII
)
_SIZED = re.compile(r"(uint|int|bytes)(\d{1,3})")
_ALLOWED = "address, bool, uint8 to uint256, int8 to int256, bytes1 to bytes32"
_EXAMPLE = "Staked(address indexed user, uint256 tokenId)"


@dataclass(frozen=True, slots=True)
class EventText:
    """An event as a person writes it down.

    `effect` is mint, burn, transfer, stake or unstake; a transfer from the zero address is a
    mint, one to it a burn. `signature` is Solidity's. `fields` maps our field names (from, to,
    account; tokenId, or startTokenId with quantity or with endTokenId, which is the last token
    of the range) to the signature's parameter names.
    """

    effect: str
    signature: str
    fields: Mapping[str, str]


class Field(NamedTuple):
    """Where a field sits in a log, and how many bits of its word it may use."""

    word: int
    bits: int  # 160 for an address


@dataclass(frozen=True, slots=True)
class EventShape:
    """The layout of one event's logs; None where the event has no such field."""

    name: str
    kind: Kind  # TRANSFER: the zero address on one side makes it a mint or a burn
    topic0: bytes
    topics: int  # with topic0
    data_words: int
    exact: bool  # False: data may be longer than data_words
    sender: Field | None
    recipient: Field | None
    first: Field
    quantity: Field | None
    last: Field | None  # neither quantity nor last: the event is about one token
    foreign_topics: int | None  # logs with so many topics are another standard's event
    sources: tuple[bytes, ...]  # contracts of which the event is believed

    @property
    def stream(self) -> str:
        """The stream that its events travel on."""
        return STAKING if self.kind >= Kind.STAKE else BATCH


@dataclass(frozen=True, slots=True)
class Contract:
    """What is read from the chain: one collection's token contract and its staking contracts.

    With `custody`, owning is staking: the staking contracts' own logs are not read.
    """

    kind: str
    token: bytes
    staking: tuple[bytes, ...]
    custody: bool
    shapes: tuple[EventShape, ...]

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """The contracts whose logs to ask the node for; the token contract first."""
        sources = (source for shape in self.shapes for source in shape.sources)
        return tuple(dict.fromkeys((self.token, *sources)))

    @property
    def topics(self) -> tuple[bytes, ...]:
        """The first topics of the logs to ask the node for."""
        return tuple(dict.fromkeys(shape.topic0 for shape in self.shapes))

    def digest(self) -> str:
        """A digest of all that decides which logs are read, and how."""
        parts = (self.kind, self.token.hex(), self.custody, [repr(shape) for shape in self.shapes])
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def layouts(self) -> dict[tuple[bytes, bytes], EventShape]:
        """The layout of each event by the log's address and first topic."""
        return {(source, shape.topic0): shape for shape in self.shapes for source in shape.sources}


_RANGE = {"startTokenId": "startTokenId", "quantity": "quantity"}
_ONE = {"account": "account", "tokenId": "tokenId"}
STAKE = EventText("stake", "Stake(address indexed account, uint256 tokenId)", _ONE)
UNSTAKE = EventText("unstake", "Unstake(address indexed account, uint256 tokenId)", _ONE)
_NGU = {
    "BatchMint": EventText(
        "mint",
        "BatchMint(address indexed to, uint256 startTokenId, uint256 quantity)",
        {"to": "to", **_RANGE},
    ),
    "BatchBurn": EventText(
        "burn",
        "BatchBurn(address indexed from, uint256 startTokenId, uint256 quantity)",
        {"from": "from", **_RANGE},
    ),
    "BatchTransfer": EventText(
        "transfer",
        "BatchTransfer(address indexed from, address indexed to,"
        " uint256 startTokenId, uint256 quantity)",
        {"from": "from", "to": "to", **_RANGE},
    ),
    "Stake": STAKE,
    "Unstake": UNSTAKE,
}
_ERC721 = {
    "Transfer": EventText(
        "transfer",
        "Transfer(address indexed from, address indexed to, uint256 indexed tokenId)",
        {"from": "from", "to": "to", "tokenId": "tokenId"},
    ),
    "ConsecutiveTransfer": EventText(
        "transfer",
        "ConsecutiveTransfer(uint256 indexed fromTokenId, uint256 toTokenId,"
        " address indexed fromAddress, address indexed toAddress)",
        {
            "from": "fromAddress",
            "to": "toAddress",
            "startTokenId": "fromTokenId",
            "endTokenId": "toTokenId",
        },
    ),
}


def keccak256(data: bytes) -> bytes:
    """The 32-byte Keccak-256 digest that Ethereum names events by."""
    return keccak.new(digest_bits=256, data=data).digest()


def selector(signature: str) -> bytes:
    """The 4 bytes that call a view of one token, written like stakerOf(uint256). UsageError."""
    match = _VIEW.fullmatch(signature)
    kind = "uint256" if match is not None and match[2] == "uint" else match[2] if match else ""
    if match is None or int(kind[4:]) not in range(8, 257, 8):
        raise UsageError(
            f"staking.view: {signature!r} is not a view of one token: write it like "
            "stakerOf(uint256)"
        )
    return keccak256(f"{match[1]}({kind})".encode())[:4]


_ERC20_TRANSFER = keccak256(b"Transfer(address,address,uint256)")
_ERC20_TOPICS = 3


def ngu(token: bytes, staking: Sequence[bytes] = ()) -> Contract:
    """The five events of an NGU contract.

    Stake and Unstake are the token contract's, or only the staking contracts' if there are any.
    Addresses are 20 bytes; one of another length raises UsageError.
    """
    return _contract("ngu", token, _NGU, staking)


def erc721(
    token: bytes,
    *,
    staking: Sequence[bytes] = (),
    stake: EventText | None = None,
    unstake: EventText | None = None,
    custody: bool = False,
) -> Contract:
    """An ERC-721 collection: Transfer, and ERC-2309's ConsecutiveTransfer as one range.

    `stake` and `unstake` (both or neither) are emitted by the token contract, or only by the
    staking contracts if there are any; with `custody` the transfers to those tell it all.
    Settings that contradict each other raise UsageError.
    """
    if (stake is None) != (unstake is None):
        raise UsageError("staking needs both a stake and an unstake event: give the missing one")
    events = dict(_ERC721)
    if stake is not None and unstake is not None:
        events |= {"stake": stake, "unstake": unstake}
    return _contract("erc721", token, events, staking, custody)


def custom(
    token: bytes,
    events: Mapping[str, EventText],
    *,
    staking: Sequence[bytes] = (),
    custody: bool = False,
) -> Contract:
    """Any other collection: its events as written in the configuration, by a name for messages.

    Raises UsageError saying which event is wrong, in what, and what is allowed.
    """
    return _contract("custom", token, events, staking, custody)


def _contract(
    kind: str,
    token: bytes,
    events: Mapping[str, EventText],
    staking: Sequence[bytes],
    custody: bool = False,
) -> Contract:
    if any(len(address) != 20 for address in (token, *staking)):
        raise UsageError("an address of the contract settings is not 20 bytes long")
    stakers = tuple(dict.fromkeys(staking))
    shapes = tuple(
        _shape(name, text, token=token, staking=stakers) for name, text in events.items()
    )
    _check_sources(shapes)
    if all(shape.stream == STAKING for shape in shapes):
        raise UsageError("no event says who owns a token: add a transfer, or a mint and a burn")
    _check_staking(shapes, stakers, custody)
    return Contract(kind, token, stakers, custody, shapes)


def _check_staking(
    shapes: tuple[EventShape, ...], staking: tuple[bytes, ...], custody: bool
) -> None:
    told = any(shape.stream == STAKING for shape in shapes)
    if custody and not staking:
        raise UsageError("custody staking needs the address of a staking contract")
    if custody and told:
        raise UsageError("staking is either custody or stake and unstake events: drop one of them")
    if staking and not custody and not told:
        raise UsageError("staking contracts need custody, or a stake and an unstake event")


def _check_sources(shapes: Iterable[EventShape]) -> None:
    taken: dict[tuple[bytes, bytes], str] = {}
    for shape in shapes:
        for source in shape.sources:
            other = taken.setdefault((source, shape.topic0), shape.name)
            if other != shape.name:
                raise UsageError(
                    f"events {other} and {shape.name} have the same signature: drop one of them"
                )


@dataclass(frozen=True, slots=True)
class _Parameter:
    type: str  # canonical
    indexed: bool
    name: str
    bits: int  # of an address or an unsigned integer, else 0

    @property
    def opaque(self) -> bool:
        """Not one word, so that what follows it in the data is not looked for."""
        return self.type in ("string", "bytes") or self.type.endswith("]")


def _shape(name: str, text: EventText, *, token: bytes, staking: tuple[bytes, ...]) -> EventShape:
    kind = _EFFECTS.get(text.effect)
    if kind is None:
        raise UsageError(
            f"event {name}: unknown effect {text.effect!r}: allowed are {', '.join(_EFFECTS)}"
        )
    _check_roles(name, kind, text.fields)
    event, parameters = _parse(name, text.signature)
    topics = 1 + sum(parameter.indexed for parameter in parameters)
    if topics > MAX_TOPICS:
        raise UsageError(f"event {name}: {topics - 1} indexed parameters; an event has at most 3")
    topic0 = keccak256(f"{event}({','.join(p.type for p in parameters)})".encode())
    words = _words(parameters, topics)
    roles = {role: _field(name, role, text, parameters, words) for role in text.fields}
    first = roles.get("tokenId", roles.get("startTokenId"))
    assert first is not None  # one of the two is in every allowed set of roles
    data_words = sum(1 for word in words if word is not None and word >= topics)
    return EventShape(
        name=name,
        kind=kind,
        topic0=topic0,
        topics=topics,
        data_words=data_words,
        exact=not any(p.opaque and not p.indexed for p in parameters),
        sender=roles.get("from", roles.get("account")),
        recipient=roles.get("to"),
        first=first,
        quantity=roles.get("quantity"),
        last=roles.get("endTokenId"),
        foreign_topics=_foreign(topic0, topics),
        sources=staking if kind >= Kind.STAKE and staking else (token,),
    )


def _foreign(topic0: bytes, topics: int) -> int | None:
    """ERC-20 and ERC-721 share the name of Transfer; only the number of topics differs."""
    shared = topic0 == _ERC20_TRANSFER and topics != _ERC20_TOPICS
    return _ERC20_TOPICS if shared else None


def _check_roles(name: str, kind: Kind, fields: Mapping[str, str]) -> None:
    wallets = set(_WALLETS[kind])
    if any(set(fields) == wallets | tokens for tokens in _RANGES):
        if len(set(fields.values())) < len(fields):
            raise UsageError(f"event {name}: one parameter cannot be two of our fields")
        return
    wanted = " and ".join(_WALLETS[kind])
    raise UsageError(
        f"event {name}: a {kind.name.lower()} needs the fields {wanted} and tokenId (or"
        f" startTokenId with quantity or endTokenId); it has {', '.join(fields) or 'none'}"
    )


def _parse(name: str, signature: str) -> tuple[str, list[_Parameter]]:
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        raise UsageError(
            f"event {name}: {signature!r} is not an event signature: write it like {_EXAMPLE}"
        )
    inside = match[2].strip()
    parts = inside.split(",") if inside else []
    return match[1], [_parameter(name, part.strip()) for part in parts]


def _parameter(name: str, text: str) -> _Parameter:
    match = _PARAMETER.fullmatch(text)
    if match is None:
        raise UsageError(
            f"event {name}: cannot read the parameter {text!r}: write it like"
            f" 'address indexed user'; tuples are not supported"
        )
    base = {"uint": "uint256", "int": "int256"}.get(match[1], match[1])
    if not _known(base):
        raise UsageError(f"event {name}: unknown type {match[1]!r}: allowed are {_ALLOWED}")
    bits = 160 if base == "address" else int(base[4:]) if base.startswith("uint") else 0
    return _Parameter(base + match[2], bool(match[3]), match[4] or "", 0 if match[2] else bits)


def _known(base: str) -> bool:
    sized = _SIZED.fullmatch(base)
    if sized is None or sized[2].startswith("0"):
        return base in ("address", "bool", "string", "bytes")
    size = int(sized[2])
    return 1 <= size <= 32 if sized[1] == "bytes" else 8 <= size <= 256 and size % 8 == 0


def _words(parameters: Sequence[_Parameter], topics: int) -> list[int | None]:
    """The word number of each parameter; None for data from the first opaque parameter on."""
    words: list[int | None] = []
    topic, data, readable = 1, topics, True
    for parameter in parameters:
        if parameter.indexed:
            words.append(topic)
            topic += 1
            continue
        readable = readable and not parameter.opaque
        words.append(data if readable else None)
        data += 1
    return words


def _field(
    name: str,
    role: str,
    text: EventText,
    parameters: Sequence[_Parameter],
    words: Sequence[int | None],
) -> Field:
    """Where a field sits, if its parameter exists once, has a fitting type and can be reached."""
    wanted = text.fields[role]
    found = [at for at, parameter in enumerate(parameters) if parameter.name == wanted != ""]
    if len(found) != 1:
        names = ", ".join(parameter.name for parameter in parameters if parameter.name) or "none"
        count = "more than one" if found else "no"
        raise UsageError(
            f"event {name}: {count} parameter {wanted!r} for the field {role}: there are {names}"
        )
    parameter, word = parameters[found[0]], words[found[0]]
    wallet = role in ("from", "to", "account")
    if parameter.bits == 0 or wallet != (parameter.type == "address"):
        fitting = "an address" if wallet else "an unsigned integer (uint8 to uint256)"
        raise UsageError(
            f"event {name}: the field {role} is {wanted!r} of type {parameter.type}:"
            f" it must be {fitting}"
        )
    if word is None:
        raise UsageError(
            f"event {name}: {wanted!r} for the field {role} lies behind a string, bytes or array;"
            " only fields before it can be read"
        )
    return Field(word, parameter.bits)
