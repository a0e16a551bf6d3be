"""The deployed tables as they are now, for commands that ask about now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ngu_points.aws import past, state
from ngu_points.aws.state import Everything
from ngu_points.embedded.retractions import Retraction
from ngu_points.engine import invariants
from ngu_points.engine.events import ids_column
from ngu_points.engine.fingerprint import fingerprint
from ngu_points.engine.rules import DAY, Rules
from ngu_points.engine.state import State
from ngu_points.mirror import ledger
from ngu_points.mirror.copy import contradiction
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.status import final
from ngu_points.pipeline.query import View


@dataclass(frozen=True)
class Present:
    """The tables of a stage at one position: what is read is read once."""

    deployment: Deployment

    @property
    def rules(self) -> Rules:
        return self.deployment.store.rules

    @cached_property
    def _all(self) -> tuple[Mapping[str, Any], Everything]:
        return self.deployment.store.settled()

    def view(self) -> View:
        """All of the state at the last processed block; StoreError if it contradicts itself."""
        try:
            whole = state.whole(self.rules, *self._all)
            invariants.check(whole, self.rules)
        except (AssertionError, KeyError) as error:
            raise contradiction(self.deployment, error) from error
        return View.of(whole, self.rules)

    def around(self, token: int) -> View:
        """At least what concerns one token, by reading no more than its rows."""
        store, none = self.deployment.store, np.zeros((0, 20), np.uint8)
        span = ids_column([token], ends=[token + 1]), ids_column([token + 1], ends=[token + 1])

        def read(at: Mapping[str, Any]) -> State:
            return state.load(store.dynamo, self.rules, at, span, none, at.get("timestamp", 0))

        return View.of(store.steady(read)[1], self.rules)

    def midnight(self, view: View) -> View | None:
        """The state at 00:00 UTC of the view's day; None where the tables do not tell any more."""
        dynamo, timestamp = self.deployment.store.dynamo, view.timestamp // DAY * DAY
        return past.view_at(dynamo, self.rules, self._all, timestamp)

    def fingerprint(self) -> str:
        """Of what the tables hold."""
        days, chain_id = self._all[1].days, self.deployment.store.chain_id
        return fingerprint(self.view().state, days, self.rules, chain_id)

    def validity(self, view: View) -> dict[str, Any]:
        """The block an answer is valid to, and whether that is final."""
        block = view.state.block
        told = {"block": block, "timestamp": view.timestamp}
        return told | {"final": final(self.deployment.store, block)}

    def is_uncertain(self, wallet: bytes) -> bool:
        """Whether an event that contradicts our record concerns the wallet."""
        return wallet in self.deployment.store.uncertain()

    def retractions(self, wallet: bytes) -> list[Retraction]:
        """What repairs have taken back of a wallet's points."""
        return ledger.retractions(self.deployment, wallet)
