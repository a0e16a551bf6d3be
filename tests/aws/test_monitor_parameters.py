"""What lies in Parameter Store, on the emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aws.dynamo import ministack
from ngu_points.aws.parameters import Parameters, Sent
from ngu_points.errors import BadInput, UsageError

ONE, TWO = Sent(5, bytes(range(32)), 1_700_000_000, 7), Sent(-1, bytes(32), 0, 0)


@pytest.fixture
def parameters(emulator_url: str, tmp_path: object) -> Iterator[Parameters]:
    """A stage of its own."""
    client = ministack.client_at(emulator_url, "ssm")
    yield Parameters(client, f"/ngu/{abs(hash(str(tmp_path)))}")
    client.close()


def put(parameters: Parameters, name: str, value: str) -> None:
    parameters.client.put_parameter(
        Name=f"{parameters.path}/{name}", Value=value, Type="String", Overwrite=True
    )


def test_a_position_comes_back_as_it_was(parameters: Parameters) -> None:
    """None before any; then what was put last."""
    assert parameters.position() is None
    assert parameters.put_position(ONE) is None
    assert parameters.position() == ONE
    parameters.put_position(TWO)
    assert parameters.position() == TWO


def test_what_was_overwritten_is_given(parameters: Parameters) -> None:
    """Also if somebody else has written it since it was last read."""
    parameters.put_position(ONE)
    put(parameters, "position", TWO.text())
    assert parameters.put_position(ONE) == TWO
    assert parameters.put_position(ONE) == ONE


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "{}",
        '{"block":1,"hash":"0x00","timestamp":0,"sequence":1}',
        ONE.text().replace('"block":5', '"block":-2'),
        ONE.text().replace("0x", "0y"),
        ONE.text().replace('"sequence":7', '"sequence":7,"more":1'),
    ],
)
def test_a_garbled_position_is_said(parameters: Parameters, text: str) -> None:
    """With the parameter's name and an example of what it takes."""
    put(parameters, "position", text)
    with pytest.raises(BadInput, match=f"{parameters.path}/position holds no position"):
        parameters.position()


def test_addresses_are_separated_by_commas(parameters: Parameters) -> None:
    """Spaces and empty ones do not count; none at all is refused."""
    put(parameters, "rpc", "https://a.example/key, https://b.example ,")
    assert parameters.rpc() == ["https://a.example/key", "https://b.example"]
    put(parameters, "rpc", " ,")
    with pytest.raises(UsageError, match="names no node"):
        parameters.rpc()
