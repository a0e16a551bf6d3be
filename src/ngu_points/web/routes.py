"""The table of what can be asked: path, question, answer, and the function between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ngu_points.web import answers, boards, feasts, questions, reports, standing, tokens, wallets


@dataclass(frozen=True, slots=True)
class Route:
    """`handle(source, question)` gives the answer. An `instant` one is in memory if it is of now;
    all others run on a thread, `slow` ones, which read the whole archive, one at a time."""

    path: str
    question: type[questions.Question]
    answer: type[answers.Answer]
    handle: Callable[[Any, Any], answers.Answer]
    tag: str
    instant: bool = False
    slow: bool = False

    @property
    def summary(self) -> str:
        """The first line of what the function says of itself."""
        return (self.handle.__doc__ or "").splitlines()[0].rstrip(".")


ROUTES = (
    Route("/api/status", questions.Nothing, reports.Status, standing.status, "pipeline", True),
    Route("/api/series", questions.SeriesQuestion, reports.Series, standing.series, "pipeline"),
    Route("/api/leaderboard", questions.LeaderboardQuestion, answers.Leaderboard,
          boards.leaderboard, "points", True),
    Route("/api/wallets/{wallet}", questions.WalletQuestion, answers.Wallet, wallets.wallet,
          "points", True),
    Route("/api/wallets/{wallet}/holdings", questions.HoldingsQuestion, answers.Holdings,
          wallets.holdings, "points", True),
    Route("/api/wallets/{wallet}/feasts", questions.WalletFeastsQuestion, answers.WalletFeasts,
          wallets.wallet_feasts, "feasts"),
    Route("/api/wallets/{wallet}/explanation", questions.ExplanationQuestion,
          answers.Explanation, wallets.explanation, "points", slow=True),
    Route("/api/wallets/{wallet}/history", questions.PointsHistoryQuestion,
          answers.PointsHistory, wallets.points_history, "points", slow=True),
    Route("/api/tokens/{token}", questions.TokenQuestion, answers.Token, tokens.token,
          "tokens", True),
    Route("/api/tokens/{token}/history", questions.TokenHistoryQuestion, answers.Events,
          tokens.token_history, "tokens"),
    Route("/api/events", questions.EventsQuestion, answers.Events, tokens.events, "events"),
    Route("/api/feasts", questions.FeastsQuestion, answers.Feasts, feasts.feasts, "feasts"),
    Route("/api/feasts/{day}", questions.FeastQuestion, answers.Feast, feasts.feast, "feasts"),
    Route("/health", questions.Nothing, reports.Health, standing.health, "operation", True),
    Route("/ready", questions.Nothing, reports.Ready, standing.ready, "operation", True),
)  # fmt: skip
