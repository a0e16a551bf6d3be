"""The measurement of an idle stage counts what its functions do."""

from __future__ import annotations

from bench import idle


def test_an_idle_hour_is_all_processed_and_counted() -> None:
    """Every empty range is announced on both streams, stored and processed, in few units."""
    found = idle.hour()
    assert found["records"] == 2 * 360
    assert found["deliveries"] == 2 * 60
    assert found["coverage write"] == 2 * 360
    assert 0 < found["write"] < 5_000
    assert 0 < found["read"] < 20_000
