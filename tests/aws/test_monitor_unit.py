"""The systemd unit and the script that installs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.program import ngu
from ngu_points.aws.monitor import STOPS_WITHIN

FOLDER = Path(__file__).parents[2] / "infra" / "monitor"
UNIT = (FOLDER / "ngu-monitor.service").read_text(encoding="utf-8")
SCRIPT = FOLDER / "install.sh"


def setting(name: str) -> str:
    """The value of a setting of the unit that is there once."""
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT, re.M)
    return str(found)


def tool(name: str) -> str:
    """The path of a program; skips where this machine does not have it."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on this machine")
    return path


def test_the_unit_is_right(tmp_path: Path) -> None:
    """systemd finds nothing to complain of but that the program is not installed here."""
    command = setting("ExecStart")
    program = command.split()[0]
    unit = tmp_path / "ngu-monitor.service"
    unit.write_text(UNIT.replace(program, sys.executable))
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "ngu-monitor" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_unit_gives_away_little(tmp_path: Path) -> None:
    """systemd's own judgement of the hardening stays below 2 of 10."""
    unit = tmp_path / "ngu-monitor.service"
    unit.write_text(UNIT)
    words = ["security", "--offline=yes", "--threshold=20", unit]
    done = subprocess.run(
        [tool("systemd-analyze"), *words], capture_output=True, text=True, check=False
    )
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze judges no unit that is not loaded")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_the_unit_runs_the_command_that_there_is() -> None:
    """`ngu monitor` with the environment and the folder that the command reads."""
    command = setting("ExecStart").split()
    assert command[1:] == ["-m", "ngu_points", "monitor"]
    assert ngu(*command[3:], "--help").code == 0
    assert setting("StateDirectory") == "ngu-monitor"
    assert setting("EnvironmentFile") == "/etc/ngu/monitor.env"


def test_the_unit_gives_a_stop_its_time_and_no_restart_to_what_is_for_good() -> None:
    """A stop may take as long as the monitor allows itself; exit codes 2 and 3 are final."""
    assert int(setting("TimeoutStopSec")) >= STOPS_WITHIN + 30
    assert setting("RestartPreventExitStatus") == "2 3"
    assert setting("Restart") == "on-failure"
    assert int(setting("RestartSec")) >= 5


def test_the_script_is_a_shell_script() -> None:
    """A shell can read it, and it ends at the first failure."""
    done = subprocess.run([tool("sh"), "-n", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\nset -eu\n" in SCRIPT.read_text(encoding="utf-8")
    assert setting("ExecStart").split()[0].startswith("/opt/ngu/venv/")
