"""A stage's settings out of Parameter Store, and what else is read once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aws.deployed import SETTINGS, Deployed, deployed
from ngu_points.aws import wiring
from ngu_points.config import rules_of
from ngu_points.errors import TransientError, UsageError

NOW = 1_800_000_000


@pytest.fixture
def stage(emulator_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """A deployed stage."""
    with deployed(emulator_url, monkeypatch) as made:
        yield made


def test_settings_are_read_again_after_some_minutes_and_no_sooner(stage) -> None:
    """A change is seen within five minutes; until then nothing is asked."""
    first = wiring.settings(stage.env, NOW)
    assert first.season[0].held == 1
    stage.clients["ssm"].put_parameter(
        Name=f"/{stage.env.service}/staging/settings",
        Value=SETTINGS.replace("held = 1", "held = 3"),
        Type="String",
        Overwrite=True,
    )
    stage.asked.clear()
    assert wiring.settings(stage.env, NOW + 1) == first
    assert stage.asked == []
    assert wiring.settings(stage.env, NOW + wiring.SETTINGS_KEPT) != first
    assert stage.asked == ["ssm"]


def test_settings_that_are_not_there_are_named(stage) -> None:
    """With the parameter's full name."""
    name = f"/{stage.env.service}/staging/settings"
    stage.clients["ssm"].delete_parameter(Name=name)
    wiring._settings.cache_clear()
    with pytest.raises(UsageError, match=f"parameter {name}: it does not exist"):
        wiring.settings(stage.env, NOW)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[chain", "/here is not valid TOML"),
        ("[chain]\nrpc = 3\n", "/here"),
        ('[contract]\naddress = "0x12"\n', "/here"),
        (SETTINGS + '[[season]]\nname = "2"\nheld = 1\n', "/here: .*overlap"),
    ],
)
def test_settings_that_are_wrong_are_named_with_their_place(text: str, why: str) -> None:
    """One line that says where they are, not where they were copied to."""
    with pytest.raises(UsageError, match=why) as told:
        wiring.parsed(text, "/here")
    assert "/tmp" not in str(told.value)
    assert "\n" not in str(told.value)


def test_weights_lie_in_a_folder_beside_the_code(tmp_path: Path, monkeypatch) -> None:
    """A CSV that the settings name is looked for where the deployment put it."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "rare.csv").write_text("first,last,weight\n1,3,5\n")
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    text = SETTINGS + '[points]\nweights_csv = "rare.csv"\n'
    weights = rules_of(wiring.parsed(text, "/here")).weights
    assert weights != rules_of(wiring.parsed(SETTINGS, "/here")).weights


def test_a_chain_that_nobody_named_is_waited_for(stage) -> None:
    """Without chain_id in the settings the event monitor says which it is."""
    config = wiring.parsed(SETTINGS.replace("chain_id = 8453\n", ""), "/here")
    with pytest.raises(TransientError, match="the event monitor says so when it starts"):
        wiring.origin(stage.env, config, 0)
    assert wiring.origin(stage.env, config, 7).chain_id == 7
    assert wiring.origin(stage.env, config, 7).stage == "staging"


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "²", "many"])
def test_a_variable_that_is_no_number_is_named(text: str, monkeypatch) -> None:
    """With what it takes."""
    monkeypatch.setenv("BUFFER_BYTES", text)
    if not text:
        assert wiring.whole("BUFFER_BYTES", 5) == 5
        return
    with pytest.raises(UsageError, match=r"BUFFER_BYTES in the environment is .* above 0"):
        wiring.whole("BUFFER_BYTES", 5)
    monkeypatch.delenv("BUFFER_BYTES")
    with pytest.raises(UsageError, match="BUFFER_BYTES is not set"):
        wiring.whole("BUFFER_BYTES")
