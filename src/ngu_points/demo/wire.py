"""A bare JSON-RPC client for a node we started ourselves: no retries, no limits."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import aiohttp
import msgspec

from ngu_points.errors import NguError


class Call(NamedTuple):
    """A method and its parameters."""

    method: str
    params: Sequence[Any] = ()


class Wire:
    """Calls to one node over one connection pool; an async context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the pool."""
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, *params: Any) -> Any:
        """The result of one call. Raises NguError with the node's message."""
        answer = await self._post(_request(0, Call(method, params)))
        return _result(method, answer)

    async def batch(self, calls: Sequence[Call]) -> list[Any]:
        """The results of all calls, sent as one JSON-RPC batch, in the order of the calls."""
        answers = await self._post([_request(at, call) for at, call in enumerate(calls)])
        if not isinstance(answers, list) or len(answers) != len(calls):
            raise NguError("the local node did not answer every call of a batch: start it again")
        answers.sort(key=lambda answer: answer["id"])
        return [_result(call.method, answer) for call, answer in zip(calls, answers, strict=True)]

    async def _post(self, body: Any) -> Any:
        assert self._session is not None
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self._url, data=msgspec.json.encode(body), headers=headers
            ) as response:
                return msgspec.json.decode(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            raise NguError(f"the local node stopped answering ({type(error).__name__})") from error


def _request(number: int, call: Call) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": call.method, "params": list(call.params)}


def _result(method: str, answer: Any) -> Any:
    if "error" in answer:
        raise NguError(f"the local node refused {method}: {answer['error'].get('message')}")
    return answer["result"]
