"""Ask Ethereum nodes over JSON-RPC: several endpoints, bounded retries, ranges that adapt.

The array of logs is passed on as the bytes that came, unparsed; everything else is checked here.
An endpoint that fails is left alone for a while; the request goes on at the next one.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar, copy_context
from copy import copy
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec

from ngu_points.chain.answers import (
    Asked,
    Header,
    Refusal,
    block_fields,
    block_header,
    broken,
    decoded,
    hex_data,
    log_array,
    quantity,
    receipt_list,
    results,
    retry_after,
)
from ngu_points.chain.ask import (
    Filter,
    LogPage,
    block_param,
    call_object,
    connection_trouble,
)
from ngu_points.chain.endpoint import BATCH, MAX_SPAN, Endpoint, Span, host_of, scheme
from ngu_points.chain.heads import Listener
from ngu_points.chain.limits import Action, Verdict
from ngu_points.errors import BadInput, TransientError, UsageError

__all__ = ["Endpoint", "Filter", "Header", "LogPage", "Rpc"]

MAX_BODY = 64 << 20
"""Bytes of one answer, unpacked; a larger one counts as too many logs."""

HASTY = 3
"""Retries of the first question: a wrong address should not take minutes to show."""

log = logging.getLogger("ngu")
_MAX_WAIT = 600.0
_SUGGESTIONS = 8
_SINGLES = 16

_T = TypeVar("_T")
_ReadBlock = Callable[[bytes, int | None], _T | None]
_answered: ContextVar[Endpoint | None] = ContextVar("answered", default=None)
Sleep = Callable[[float], Awaitable[object]]


@dataclass(slots=True)
class _Task:
    """One question on its way through endpoints and retries."""

    what: str
    retries: int
    attempts: int = 0
    shrinks: int = 0
    guessed: bool = False
    refused: list[Endpoint] = field(default_factory=list)


class Rpc:
    """A client of one chain. Use it as an async context manager.

    `requests_per_second` holds for each endpoint by itself. `span` is where the number of blocks
    of one eth_getLogs starts; it adapts from there. Raises UsageError where the URLs cannot do.
    Every method raises TransientError when the last retry has failed, and BadInput when what the
    nodes say cannot be cured by asking again. Messages name hosts, never whole URLs.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout: float = 30.0,
        requests_per_second: float | None = None,
        max_retries: int = 8,
        span: int = 2000,
        rng: random.Random | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        hosts = [host_of(url, place) for place, url in enumerate(urls, 1)]
        self.endpoints = [
            Endpoint(url, host, Span(span, max(span, MAX_SPAN)))
            for url, host in zip(urls, hosts, strict=True)
            if scheme(url) in ("http", "https")
        ]
        self._sockets = [url for url in urls if scheme(url) in ("ws", "wss")]
        if not self.endpoints:
            beside = f" beside {hosts[0]}" if hosts else ""
            raise UsageError(f"--rpc: an http:// or https:// URL is needed{beside}; add one")
        self._timeout = timeout
        self._rate = requests_per_second
        self._max_retries = max_retries
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._ids = itertools.count(1)
        self._last = self.endpoints[0]
        self._listeners: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=32, limit_per_host=16, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={"Content-Type": "application/json", "User-Agent": "ngu-points"},
            read_bufsize=1 << 20,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for listener in self._listeners:
            listener.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    @property
    def span(self) -> int:
        """How many blocks to ask for in one eth_getLogs now."""
        return self._choose([]).span.blocks

    async def chain_id(self) -> int:
        """The chain's id (EIP-695). The first question to a node, so it gives up early."""
        return await self._ask("eth_chainId", "", [], quantity, min(self._max_retries, HASTY))

    async def block_number(self) -> int:
        """The number of the newest block that the node knows."""
        return await self._ask("eth_blockNumber", "", [], quantity)

    async def header(self, block: int | str) -> Header | None:
        """The header of a block: a number, "latest", "safe" or "finalized".

        None when the node has no such block.
        """
        return await self._one_header(block, block_header)

    async def headers(self, numbers: Sequence[int]) -> list[Header]:
        """The headers of these blocks, in their order, asked for in batches.

        Raises TransientError naming the first block that the node does not have.
        """
        return await self._all_headers(numbers, block_header)

    async def header_fields(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The same with every field that the node gives, as JSON has it: for `chain.proof`."""
        return await self._all_headers(numbers, block_fields)

    async def receipts(self, block_hash: bytes) -> list[dict[str, Any]]:
        """The receipts of one block by its hash (eth_getBlockReceipts), as JSON has them.

        BadInput where no endpoint has them or knows the method.
        """
        asked = "0x" + block_hash.hex()
        return await self._ask("eth_getBlockReceipts", asked, [asked], receipt_list, HASTY)

    async def logs(self, filter: Filter, from_block: int, to_block: int) -> LogPage:
        """The logs that pass the filter, from `from_block` on.

        The page may end before `to_block` (both are inclusive), never start later: go on from
        `page.to_block + 1`. Raises ValueError when the range is reversed.
        """
        if not 0 <= from_block <= to_block:
            raise ValueError(f"no block range: {from_block}..{to_block}")
        where = filter.params()
        task = _Task(f"eth_getLogs {from_block}..{to_block}", self._max_retries)
        end = to_block
        while True:
            endpoint = await self._ready(task)
            end = min(end, from_block + endpoint.span.blocks - 1)
            asked = Asked(endpoint, "eth_getLogs", from_block, end)
            params = [{**where, "fromBlock": hex(from_block), "toBlock": hex(end)}]
            try:
                raw = log_array(await self._result(asked, params))
            except Refusal as refusal:
                self._failed(endpoint, refusal.verdict, task)
                end = _narrowed(endpoint, refusal.verdict, task, from_block, end)
                continue
            self._succeeded(endpoint)
            blocks = end - from_block + 1
            if task.guessed:
                endpoint.span.refused(blocks + 1, blocks)
            endpoint.span.worked(blocks, len(raw))
            return LogPage(from_block, end, raw)

    async def logs_in(self, filter: Filter, block_hash: bytes) -> bytes:
        """The logs of one block by its hash, as the JSON array the node wrote (EIP-234).

        A node that does not have the block must say so; BadInput then, or TransientError.
        """
        where = filter.params() | {"blockHash": "0x" + block_hash.hex()}
        return await self._ask("eth_getLogs", f"of 0x{block_hash.hex()}", [where], log_array, HASTY)

    async def code(self, address: bytes, block: int | str = "latest") -> bytes:
        """The byte code at an address, empty where there is none."""
        params = ["0x" + address.hex(), block_param(block)]
        return await self._ask("eth_getCode", f"{params[0]} at {block}", params, hex_data)

    async def call(self, to: bytes | None, data: bytes, block: int | str | bytes) -> bytes:
        """What a contract returns to a read-only call at a block; BadInput when it reverts.

        Without a contract, `data` is creation code, and what it returns is what counts. A block's
        hash goes out as EIP-1898 has it, for canonical blocks only; not every node knows that.
        """
        call = {"data": "0x" + data.hex()} | ({} if to is None else {"to": "0x" + to.hex()})
        where = block_param(block)
        shown = f"0x{block.hex()}" if isinstance(block, bytes) else block
        subject = f"{call.get('to', 'creation code')} at {shown}"
        return await self._ask("eth_call", subject, [call, where], hex_data)

    async def request(self, method: str, params: list[Any]) -> Any:
        """Any other method: its result, decoded."""
        return await self._ask(method, "", params, decoded)

    def only(self, endpoint: Endpoint) -> Self:
        """This client with one endpoint, to hear what that one says; it gives up early.

        The same client where there is no other endpoint. Open as long as this one is.
        """
        if len(self.endpoints) == 1:
            return self
        one = copy(self)
        one.endpoints, one._last = [endpoint], endpoint
        one._max_retries = min(self._max_retries, HASTY)
        return one

    @property
    def answered(self) -> Endpoint:
        """The endpoint that answered last in this asyncio task, or else in any."""
        mine = _answered.get()
        return self._last if mine is None or mine not in self.endpoints else mine

    @property
    def host(self) -> str:
        """The host that answered last in this asyncio task."""
        return self.answered.host

    def distrust(self, reason: str, endpoint: Endpoint | None = None) -> None:
        """An answer is shown to be wrong: count it, prefer other endpoints for the next minute.

        It was the last answer in this asyncio task, unless an endpoint is named.
        """
        (endpoint or self.answered).distrusted(monotonic(), reason)

    async def heads(self, poll_interval: float = 1.0) -> AsyncIterator[None]:
        """Wake at once, then whenever there may be a new head; a hint, never a source of truth.

        With a WebSocket URL it wakes at each new head, and polls (every `poll_interval` seconds)
        while the socket is away or silent; without one it polls.
        """
        listener = Listener(self._open(), self._sockets)
        task = asyncio.create_task(listener.listen(self._pause))
        self._listeners.add(task)
        try:
            while True:
                yield
                await listener.wait(poll_interval)
        finally:
            task.cancel()

    # One question: choose an endpoint, ask, judge the answer, ask again.

    async def _ask(
        self,
        method: str,
        subject: str,
        params: list[Any],
        read: Callable[[bytes], _T],
        retries: int | None = None,
    ) -> _T:
        limit = self._max_retries if retries is None else retries
        task = _Task(f"{method} {subject}".rstrip(), limit)
        while True:
            endpoint = await self._ready(task)
            try:
                answer = read(await self._result(Asked(endpoint, method), params))
            except Refusal as refusal:
                self._failed(endpoint, refusal.verdict, task)
                continue
            self._succeeded(endpoint)
            return answer

    async def _all_headers(self, numbers: Sequence[int], read: _ReadBlock[_T]) -> list[_T]:
        found: list[_T] = []
        while len(found) < len(numbers):
            for header in await self._some_headers(numbers[len(found) : len(found) + BATCH], read):
                if header is None:
                    missing = numbers[len(found)]
                    raise TransientError(
                        f"{self.host}: the node has no block {missing} (yet); try again later"
                    )
                found.append(header)
        return found

    async def _some_headers(self, numbers: Sequence[int], read: _ReadBlock[_T]) -> list[_T | None]:
        """The headers of at least one and at most all of these blocks."""
        asked = f"eth_getBlockByNumber {numbers[0]}..{numbers[-1]}"
        task = _Task(asked, self._max_retries)
        while True:
            endpoint = await self._ready(task)
            if endpoint.batch == 1:
                return await self._single_headers(numbers[:_SINGLES], read)
            try:
                headers = await self._batch(endpoint, numbers[: endpoint.batch], read)
            except Refusal as refusal:
                if refusal.verdict.action is Action.FAIL:
                    # A limit on batches, or one odd block: smaller batches end in single
                    # requests, which tell the two apart.
                    endpoint.batch = max(1, endpoint.batch // 10)
                else:
                    self._failed(endpoint, refusal.verdict, task)
                continue
            self._succeeded(endpoint)
            return headers

    async def _single_headers(
        self, numbers: Sequence[int], read: _ReadBlock[_T]
    ) -> list[_T | None]:
        contexts = [copy_context() for _ in numbers]
        asked = [
            asyncio.create_task(self._one_header(number, read), context=context)
            for number, context in zip(numbers, contexts, strict=True)
        ]
        try:
            found = await asyncio.gather(*asked)
        finally:
            for question in asked:
                question.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        self._answered_by(contexts[-1][_answered] or self._last)
        return found

    async def _one_header(self, number: int | str, read: _ReadBlock[_T]) -> _T | None:
        wanted = number if isinstance(number, int) else None
        params = [block_param(number), False]
        method = "eth_getBlockByNumber"
        return await self._ask(method, str(number), params, lambda raw: read(raw, wanted))

    async def _batch(
        self, endpoint: Endpoint, numbers: Sequence[int], read: _ReadBlock[_T]
    ) -> list[_T | None]:
        asked = Asked(endpoint, "eth_getBlockByNumber", calls=len(numbers))
        ids = [next(self._ids) for _ in numbers]
        pairs = list(zip(ids, numbers, strict=True))
        calls = [call_object(id_, asked.method, [hex(number), False]) for id_, number in pairs]
        status, wait, body = await self._post(asked, msgspec.json.encode(calls))
        texts = results(asked, status, wait, body, ids)
        return [read(text, number) for text, number in zip(texts, numbers, strict=True)]

    async def _result(self, asked: Asked, params: list[Any]) -> bytes:
        """The JSON text of the result of one call."""
        id_ = next(self._ids)
        payload = msgspec.json.encode(call_object(id_, asked.method, params))
        status, wait, body = await self._post(asked, payload)
        return results(asked, status, wait, body, [id_])[0]

    async def _post(self, asked: Asked, payload: bytes) -> tuple[int, float | None, bytes]:
        """The HTTP status, the seconds told to wait, and the body."""
        endpoint = asked.endpoint
        if self._rate is not None:
            wait = endpoint.reserve(monotonic(), self._rate, asked.calls)
            if wait > 0:
                await self._sleep(wait)
        endpoint.requests += 1
        try:
            async with self._open().post(
                endpoint.url, data=payload, allow_redirects=False
            ) as response:
                body = await _body(response)
                if body is None:
                    raise asked.refused(413, f"the answer is larger than {MAX_BODY >> 20} MiB")
                return response.status, retry_after(response.headers), body
        except TimeoutError:
            raise asked.refused(0, f"no answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise broken(connection_trouble(error)) from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("Rpc is used outside of its `async with`")
        return self._session

    def _choose(self, refused: list[Endpoint]) -> Endpoint:
        now = monotonic()
        candidates = [endpoint for endpoint in self.endpoints if endpoint not in refused]
        return min(candidates, key=lambda endpoint: endpoint.heat(now))

    async def _ready(self, task: _Task) -> Endpoint:
        """The best endpoint for this question, once it may be asked."""
        endpoint = self._choose(task.refused)
        now = monotonic()
        wait = endpoint.banned(now)
        if wait > _MAX_WAIT:
            raise TransientError(
                f"{endpoint.host}: {task.what}: told to wait {wait:.0f} s "
                f"({endpoint.last_error}); add another --rpc"
            )
        if task.attempts and endpoint.heat(now):
            wait = max(wait, self._jitter(task.attempts))
        if wait > 0:
            await self._sleep(wait)
        return endpoint

    async def _pause(self, attempts: int) -> None:
        await self._sleep(self._jitter(attempts))

    def _jitter(self, attempts: int) -> float:
        return self._rng.uniform(0.0, min(60.0, 0.5 * 2.0 ** min(attempts, 10)))

    def _succeeded(self, endpoint: Endpoint) -> None:
        endpoint.succeeded()
        self._answered_by(endpoint)

    def _answered_by(self, endpoint: Endpoint) -> None:
        self._last = endpoint
        _answered.set(endpoint)

    def _failed(self, endpoint: Endpoint, verdict: Verdict, task: _Task) -> None:
        """Take note of a refusal; raises when nothing is left to try."""
        if verdict.to_block is not None and not verdict.vague:
            return
        reason = endpoint.redacted(verdict.reason)
        line = f"{endpoint.host}: {task.what}: {reason}; {verdict.advice}"
        if verdict.action is Action.REVERTED:
            raise BadInput(line)
        endpoint.failed(monotonic(), reason, verdict.seconds)
        if verdict.action is Action.FAIL:
            task.refused.append(endpoint)
            if len(task.refused) == len(self.endpoints):
                raise BadInput(line)
            return
        task.attempts += 1
        if task.attempts > task.retries:
            raise TransientError(line)
        fields = {"host": endpoint.host, "asked": task.what, "why": reason}
        log.log(
            logging.WARNING if task.attempts > 2 else logging.DEBUG,
            "asking again",
            extra={"fields": fields},
        )


def _narrowed(endpoint: Endpoint, verdict: Verdict, task: _Task, first: int, last: int) -> int:
    """Where the next eth_getLogs must end; also teaches the endpoint's span."""
    if verdict.to_block is None:
        return last
    tried = last - first + 1
    task.shrinks += 1
    end = verdict.to_block
    if task.shrinks > _SUGGESTIONS:
        # A node that suggests one block less each time would keep us for ever.
        end = min(end, first + tried // 2 - 1)
    if verdict.cap is not None:
        endpoint.span.cap(verdict.cap)
    elif not verdict.vague:
        endpoint.span.refused(tried, end - first + 1)
    elif tried >= endpoint.span.blocks:
        task.guessed = True
    return end


async def _body(response: aiohttp.ClientResponse) -> bytes | None:
    """The unpacked body, None when it is larger than MAX_BODY."""
    if (response.content_length or 0) > MAX_BODY:
        return None
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)
