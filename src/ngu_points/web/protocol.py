"""HTTP/1.1 with patience that ends: a request that does not come in time is not waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ngu_points.web.problems import Problem, busy

CONNECTIONS = 1_000
HEADERS = 16_384  # bytes of a request line with headers
WAIT = 10.0
"""Seconds in which a request must have come, from the first moment of waiting for it."""


class Patient(H11Protocol):
    """uvicorn's protocol; it closes connections whose next request is not whole in time.

    uvicorn itself waits without end for a first request, and for the rest of one that has begun.
    Where there are `CONNECTIONS`, who has kept us waiting longest makes room for who comes: a
    crowd of the silent or the slow keeps nobody out who asks at once.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self._make_room()
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 -- ours says what to do
        refused = Problem(400, "bad-request", "this is no request of HTTP/1.1", close=True)
        answer = refused.response()
        told = h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request")
        for event in (told, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        late = [(c._late.when(), c) for c in self.connections if isinstance(c, Patient) and c._late]
        if late:
            min(late, key=lambda one: one[0])[1]._give_up()
        else:
            self.app = busy("as many questions are being answered as can be").response()

    def _wait(self) -> None:
        """Begin to wait, go on, or have done with it."""
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            if self._late is None:
                self._late = self.loop.call_later(WAIT, self._give_up)
        else:
            self._done()

    def _done(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self, *_: Any) -> None:
        self._done()
        if not self.transport.is_closing():
            self.transport.close()
