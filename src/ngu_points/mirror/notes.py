"""What commands that only look have found out: from the copy to the deployment.

Written while others may be processing: nothing here is state.
"""

from __future__ import annotations

import time
from pathlib import Path

from ngu_points.aws import gaps, strays
from ngu_points.aws.changes import UNCERTAIN, rows_of
from ngu_points.aws.dynamo import Where
from ngu_points.aws.events import ASIDE
from ngu_points.aws.gaps import Gap
from ngu_points.aws.items import unhexed
from ngu_points.aws.tables import CHANGES, DEAD_LETTERS, STREAM_BLOCK
from ngu_points.embedded.store import Store
from ngu_points.mirror import ledger
from ngu_points.mirror.deployment import Deployment
from ngu_points.mirror.difference import filled, noticed


def publish(on: Deployment, path: Path) -> None:
    """Certificates, blocks that differ, wallets that are certain again, what was verified."""
    now = int(time.time())
    local = Store.open(path, on.store.rules)
    try:
        ledger.publish(on, local, now)
        for gap in filled(local):
            gaps.drop(on.store.dynamo, gap)
            _settle(on, gap)
        for gap in noticed(local, now):
            gaps.note(on.store.dynamo, gap)
        _clear(on, local.meta("cleared", {}))
    finally:
        local.close()


def _settle(on: Deployment, gap: Gap) -> None:
    """Drop what nothing had announced, of blocks that are proven."""
    if gap.why == strays.UNANNOUNCED:
        values = {"stream": ASIDE, "first": gap.from_block, "last": gap.to_block}
        where = Where("#stream = :stream AND #blockNumber BETWEEN :first AND :last", values)
        for row in list(on.store.dynamo.query(DEAD_LETTERS, where, index=STREAM_BLOCK)):
            on.store.dynamo.delete(DEAD_LETTERS, {"id": row["id"]})


def _clear(on: Deployment, cleared: dict[str, int]) -> None:
    for row in rows_of(on.store.dynamo, UNCERTAIN):
        wallet = unhexed(row["at"].partition("#")[0]).hex()
        if row["block"] <= cleared.get(wallet, -1):
            on.store.dynamo.delete(CHANGES, {"kind": UNCERTAIN, "at": row["at"]})
