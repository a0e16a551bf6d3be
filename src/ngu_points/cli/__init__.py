"""The command line: parse, call, print. `main` is what `ngu` runs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from ngu_points import __version__
from ngu_points.cli.memory import one_heap
from ngu_points.errors import NguError, UsageError, one_line
from ngu_points.logs import configure_logging

MODULES = {
    "demo": ("demo",),
    "work": ("init", "sync", "run", "recalc"),
    "look": ("status", "points", "token", "leaderboard", "export", "fingerprint"),
    "snapshot": ("snapshot",),
    "analysis": ("analysis",),
    "top": ("top",),
    "verify": ("verify",),
    "recover": (
        "gaps",
        "replay",
        "certify",
        "drain",
        "rewind",
        "rebuild",
        "dead-letters",
        "retractions",
    ),
    "monitor": ("monitor",),
}
"""In which module each command is, in the order of use."""


class _InOrder(click.Group):
    """Commands in the order of use, not of the alphabet; each is imported when it is asked for."""

    @property
    def commands(self) -> dict[str, click.Command]:
        return {str(c.name): c for module in MODULES for c in _imported(module)}

    @commands.setter
    def commands(self, _: object) -> None:
        """Click sets none; ours are fixed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return [name for names in MODULES.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        found = [c for m, names in MODULES.items() if cmd_name in names for c in _imported(m)]
        return next((command for command in found if command.name == cmd_name), None)


def _imported(module: str) -> tuple[click.Command, ...]:
    commands: tuple[click.Command, ...] = import_module(f"ngu_points.cli.{module}").COMMANDS
    return commands


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="ngu")
def cli() -> None:
    """Exact, explainable points for holders and stakers of an on-chain collection.

    Watch it work on a chain of its own:        ngu demo --for 20s

    \b
    Points of an existing collection:
      ngu sync --rpc https://… --contract 0x… --kind erc721
      ngu leaderboard
      ngu points 0x…

    Keep it running, from a file of settings:   ngu init, then ngu run
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit 0 done, 1 failed, 2 wrong usage, 3 done but something is in doubt."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    one_heap()
    # NumPy's library for matrices starts threads that we have no use for: 0.1 s on two cores
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        configure_logging(os.environ.get("LOG_LEVEL", "info"))
        code = cli.main(words, prog_name="ngu", standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "ngu"
        text = error.format_message().rstrip(".")
        code = _failed(f"{text}; see `{command} --help`", words, 2)
    except click.ClickException as error:
        code = _failed(error.format_message(), words, 2)
    except UsageError as error:
        code = _failed(str(error), words, 2)
    except NguError as error:
        code = _failed(str(error), words, 1)
    except (KeyboardInterrupt, click.Abort):
        code = _failed("stopped; start again to go on from here", words, 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        code = _failed(f"{error.filename or 'I/O'}: {error.strerror or error}", words, 1)
    except Exception as error:
        logging.getLogger("ngu").debug("internal error", exc_info=error)
        text = f"internal error, please report it: {type(error).__name__}: {error}"
        code = _failed(f"{text} (LOG_LEVEL=debug shows where)", words, 1)
    sys.exit(code if isinstance(code, int) else 0)


def _failed(text: str, words: Sequence[str], code: int) -> int:
    line = one_line(text)
    click.echo(f"ngu: {line}", err=True)
    if "--json" in words:
        click.echo(json.dumps({"error": line, "exit": code}))
    return code
