"""The rules that worlds are played by: as a configuration, and in the oracle's terms."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import oracle
from histories import RangeWeights
from ngu_points.config import (
    ChainSettings,
    Config,
    ContractSettings,
    PointsSettings,
    SeasonSettings,
    StoreSettings,
    TierSettings,
    WeightSettings,
)
from simulation.blocks import FIRST_TIME, WALLETS
from simulation.sealing import TOKEN

DAY = 86_400
MICRO = 10**6
BORDER = FIRST_TIME + 4 * DAY + 1
TIERS = [(1, "1.5"), (3, "2")]


@dataclass(frozen=True)
class Programme:
    """Two ways to say the same rules."""

    points: PointsSettings
    seasons: list[SeasonSettings]
    oracle: oracle.Rules

    def config(self, db: Path, chain: ChainSettings, from_block: int | None) -> Config:
        return Config(
            chain=chain,
            contract=ContractSettings(address="0x" + TOKEN.hex(), from_block=from_block),
            store=StoreSettings(db=str(db)),
            points=self.points,
            season=self.seasons,
        )


PLAIN = Programme(
    PointsSettings(),
    [SeasonSettings("1")],
    oracle.Rules(
        [oracle.Season("1", None, None, Fraction(1), Fraction(2))],
        feast_emission=1000 * MICRO,
        feast_burn=MICRO,
    ),
)
RICH = Programme(
    PointsSettings(
        tiers=[TierSettings(days, multiplier) for days, multiplier in TIERS],
        excluded=[WALLETS[-1]],
        weights=[WeightSettings(first=3, last=9, weight=5)],
    ),
    [
        SeasonSettings("one", end=BORDER, held="1/3", awards={"minted": 2}),
        SeasonSettings("two", start=BORDER, staked=7, awards={"burned": "0.5"}),
    ],
    oracle.Rules(
        [
            oracle.Season(
                "one", None, BORDER, Fraction(1, 3), Fraction(2), {"minted": Fraction(2)}
            ),
            oracle.Season(
                "two", BORDER, None, Fraction(1), Fraction(7), {"burned": Fraction(1, 2)}
            ),
        ],
        weights=RangeWeights(((3, 7, 5),)),
        tiers=[(days, Fraction(multiplier)) for days, multiplier in TIERS],
        excluded={WALLETS[-1]},
        feast_emission=1000 * MICRO,
        feast_burn=MICRO,
    ),
)
