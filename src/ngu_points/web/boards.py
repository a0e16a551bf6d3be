"""Answers about the leaderboard."""

from __future__ import annotations

from typing import Any

from ngu_points.pipeline.board import Board, rank_of, ranked, reaching
from ngu_points.web import answers, questions
from ngu_points.web.interfaces import Seen, Source
from ngu_points.web.problems import wrong
from ngu_points.web.questions import (
    cursor_of,
    moment_asked,
    no_cursor,
    parts_of,
    season_of,
    wallet_of,
)
from ngu_points.web.shaping import season_name, valid_of


def leaderboard(source: Source, asked: questions.LeaderboardQuestion) -> answers.Leaderboard:
    """Wallets with points, the most first. All pages of a cursor are of the first one's block."""
    if asked.around is not None and asked.cursor is not None:
        raise wrong("around", "does not go with cursor", "leave one of them out")
    if asked.cursor is not None:
        return _further(source, asked, asked.cursor)
    around = None if asked.around is None else wallet_of(asked.around, "around")
    seen = source.seen(moment_asked(asked.at), wallet=around, token=None)
    season = season_of(asked.season, source.rules, seen.view.season)
    board = source.board(seen, season)
    start = 0
    if around is not None:
        row = seen.view.row(around)
        rank = None if row is None else rank_of(board, row)
        if rank is None:
            return _answer(seen, board, [], None)
        start = max(rank - 1 - asked.limit // 2, 0)
    return _page(seen, board, start, asked.limit)


def _further(
    source: Source, asked: questions.LeaderboardQuestion, cursor: str
) -> answers.Leaderboard:
    """A later page, of the block that the first page was of."""
    block, timestamp, branch, season, start = parts_of(cursor, int, int, str, int, int)
    if not 0 <= season < max(len(source.rules.seasons), 1):
        raise no_cursor()
    seen, board = source.pinned(block, timestamp, branch, season)
    return _page(seen, board, start, asked.limit)


def _page(seen: Seen, board: Board, start: int, limit: int) -> answers.Leaderboard:
    board = reaching(board, start + limit)
    rows = ranked(board, start, limit)
    end, view = start + len(rows), seen.view
    cursor = None
    if rows and end < board.ranked:
        cursor = cursor_of(view.state.block, view.timestamp, seen.branch, board.season, end)
    return _answer(seen, board, rows, cursor)


def _answer(
    seen: Seen, board: Board, rows: list[dict[str, Any]], cursor: str | None
) -> answers.Leaderboard:
    return answers.Leaderboard(
        valid=valid_of(seen),
        season=season_name(seen, board.season),
        total=board.ranked,
        next=cursor,
        wallets=board_rows(rows),
    )


def board_rows(rows: list[dict[str, Any]]) -> list[answers.Row]:
    """Rows of `ranked` as they are answered."""
    return [
        answers.Row(
            rank=row["rank"],
            wallet=row["wallet"],
            points=row["points"],
            total_points=row["totalPoints"],
            held=row["held"],
            staked=row["staked"],
        )
        for row in rows
    ]
