"""`ngu monitor` with settings that cannot do: one line, exit 2; and no key of a node anywhere."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from aws.monitored import SETTINGS, Deployment, running, wait_for
from cli.faulty import Reply, always, beyond
from cli.faulty import serving as faulty
from cli.program import address, busy_chain, ngu
from cli.test_secrets import echo, found_in, with_keys
from ngu_points.aws import outbox
from ngu_points.demo.node import SimNode

Make = Callable[..., AbstractContextManager[Deployment]]


@pytest.fixture
def chain() -> SimNode:
    """A short chain."""
    return busy_chain(20, per_block=2, max_span=5)


def refused(deployment: Deployment, *words: object) -> str:
    """The one line with which the monitor ends at its start."""
    not_refused = threading.Timer(30, os.kill, (os.getpid(), signal.SIGTERM))
    not_refused.start()
    try:
        ended = ngu("monitor", "--state", deployment.folder, "--port", 0, *words,
                    env=deployment.variables)  # fmt: skip
    finally:
        not_refused.cancel()
    assert ended.code == 2, ended.err
    assert ended.out == ""
    return ended.complaint


WRONG = {
    "no TOML": ("= 1", "staging/settings is not valid TOML"),
    "an unknown key": ("[chain]\nfinalty = 1", "unknown key chain.finalty"),
    "no contract": ("[chain]\nfinality = 1", "no contract"),
    "another contract": ('[contract]\naddress = "0x' + "00" * 19 + '01"', "has no code on chain"),
}


@pytest.mark.parametrize(("text", "why"), WRONG.values(), ids=WRONG)
def test_wrong_settings_end_it(make: Make, chain: SimNode, text: str, why: str) -> None:
    """What the parameter holds wrong is said with its name or its key."""
    with make(chain) as deployment:
        deployment.put("settings", text)
        assert why in refused(deployment)


@pytest.mark.parametrize("name", ["settings", "rpc"])
def test_a_missing_parameter_is_named(make: Make, chain: SimNode, name: str) -> None:
    """With its whole path, and what it should hold."""
    with make(chain) as deployment:
        full = f"{deployment.env.parameters}/{name}"
        deployment.parameters.client.delete_parameter(Name=full)
        assert full in refused(deployment)


def test_unconfirmed_blocks_are_refused(make: Make, chain: SimNode) -> None:
    """No confirmation at all is no setting for what cannot be taken back."""
    with make(chain, finality=0) as deployment:
        assert "at least 1 confirmation" in refused(deployment)


def test_another_chain_is_refused(make: Make, chain: SimNode) -> None:
    """The line names the parameter with the addresses, and no option that there is not."""
    with make(chain) as deployment:
        text = SETTINGS.format(finality=1, address=address(chain), more="")
        deployment.put("settings", text.replace("timeout", "chain_id = 1\ntimeout"))
        line = refused(deployment)
        assert "serves chain 31337, but chain.chain_id says 1" in line
        assert line.endswith(f"check {deployment.env.parameters}/rpc")


def test_an_address_that_is_none_is_not_shown(make: Make, chain: SimNode) -> None:
    """Which of them is wrong is said, not what it is."""
    with make(chain) as deployment:
        deployment.put("rpc", "htps://user:secretsecret@host", "SecureString")
        line = refused(deployment)
        assert "URL number 1" in line
        assert "secretsecret" not in line


def test_a_variable_that_is_missing_is_named(make: Make, chain: SimNode) -> None:
    """The environment is the deployment's; what it lacks is said."""
    with make(chain) as deployment:
        del deployment.variables["SERVICE"]
        assert "SERVICE is not set" in refused(deployment)


def test_a_port_in_use_is_named(make: Make, chain: SimNode) -> None:
    """Another program's port ends it, with the option that helps."""
    with make(chain) as deployment, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 cannot be used" in refused(deployment, "--port", port)


def test_one_outbox_has_one_monitor(make: Make, chain: SimNode) -> None:
    """A second process on the same folder ends, with what to do."""
    with make(chain) as deployment, outbox.opened(deployment.folder, "other"):
        assert "in use by another event monitor" in refused(deployment)


def test_no_key_is_ever_shown_or_kept(make: Make, chain: SimNode) -> None:
    """Not in logs at any level, not by the server, not in the outbox: whatever the node says."""
    shown: list[str] = []
    with make(chain) as deployment, faulty(chain) as node:
        deployment.put("rpc", with_keys(node.url), "SecureString")
        faults = [
            always(lambda _: echo(node)),
            beyond(5, lambda _: echo(node)),
            always(lambda right: Reply(right[:20])),
        ]
        for fault in faults:
            node.fault = fault
            with running(deployment) as monitor:
                wait_for(lambda: "127.0.0.1" in monitor.get("/ready")[1], "the node's name")
                shown += [monitor.get(path)[1] for path in ("/ready", "/health", "/metrics")]
                monitor.process.send_signal(signal.SIGTERM)
                assert monitor.process.wait(60) == 0
            shown += monitor.lines
        deployment.put("rpc", with_keys("http://127.0.0.1:1"), "SecureString")
        with running(deployment) as monitor:
            wait_for(lambda: "127.0.0.1:1" in monitor.get("/ready")[1], "the node's name")
            shown.append(monitor.get("/ready")[1])
        shown += monitor.lines
        files = [path for path in deployment.folder.rglob("*") if path.is_file()]
        assert files
        assert [name.name for name in files if found_in(name.read_bytes())] == []
    assert any("127.0.0.1" in text for text in shown)
    assert found_in("".join(shown).encode()) == []
    assert all(isinstance(json.loads(line), dict) for line in monitor.lines)
