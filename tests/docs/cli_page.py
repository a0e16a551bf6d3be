"""docs/cli.md, made from the commands themselves.

`.venv/bin/python tests/docs/cli_page.py` writes it.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from ngu_points.cli import cli

PAGE = Path(__file__).resolve().parents[2] / "docs/cli.md"
HEAD = """\
# The commands

This page is made from the commands: after a change there, run
`.venv/bin/python tests/docs/cli_page.py`. In a terminal, `ngu COMMAND --help` says the same.

Settings come from, the later the stronger: defaults, the settings file, environment variables
(`chain.rpc` is `NGU_CHAIN_RPC`), options. `T` is a block (`12345`), a unix time (`@1700000000`)
or a time (`2026-01-31T12:00:00Z`). With `--json` a command prints one JSON object as its last
line on standard output; logs and progress go to standard error (`LOG_LEVEL=debug` for more of
them).

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | failed; the last line says what is wrong, where, and what to do |
| 2 | wrong usage or configuration |
| 3 | done, but something is in doubt |

## Completion

`ngu` completes commands, options and choices in bash (4.4 or newer), zsh and fish:

```sh
echo 'eval "$(_NGU_COMPLETE=bash_source ngu)"' >> ~/.bashrc
echo 'autoload -Uz compinit && compinit; eval "$(_NGU_COMPLETE=zsh_source ngu)"' >> ~/.zshrc
mkdir -p ~/.config/fish/completions
_NGU_COMPLETE=fish_source ngu > ~/.config/fish/completions/ngu.fish
```
"""


def render() -> str:
    """The page."""
    shared = {option.name for option in _options(cli.commands["status"])}
    parts = [HEAD, "## Options that most commands take\n", _table(_options(cli.commands["status"]))]
    for name, command in cli.commands.items():
        parts += [_described(name, command, shared)]
    return "\n".join(parts)


def _described(name: str, command: click.Command, shared: set[str | None]) -> str:
    with click.Context(command, info_name=f"ngu {name}") as context:
        usage = " ".join(command.collect_usage_pieces(context))
    own = [option for option in _options(command) if option.name not in shared]
    takes_all = shared <= {option.name for option in _options(command)}
    json_only = "`--json`" if any(o.name == "as_json" for o in _options(command)) else ""
    also = "the options above" if takes_all else json_only
    parts = [f"\n## `ngu {name}`\n", f"```sh\nngu {name} {usage}\n```\n", _prose(command)]
    parts += [_table(own)] if own else []
    parts += [f"Also takes {also}.\n"] if also else []
    return "\n".join(parts)


def _prose(command: click.Command) -> str:
    """The help text; what click must not wrap becomes a code block."""
    parts = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            parts.append("```sh\n" + inspect.cleandoc(paragraph.removeprefix("\b\n")) + "\n```\n")
        else:
            parts.append(paragraph + "\n")
    return "\n".join(parts)


def _options(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option) and not p.hidden]


def _table(options: list[click.Option]) -> str:
    rows = []
    for option in options:
        context = click.Context(click.Command("ngu"))
        spelled, text = option.get_help_record(context) or ("", "")
        rows.append("| " + f"`{spelled}` \0 {text}".replace("|", r"\|").replace("\0", "|") + " |")
    return "\n".join(["| option | |", "| --- | --- |", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
