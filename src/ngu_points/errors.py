"""The errors, by what the caller does next.

NguError              one line for a person: what is wrong, where, what to do
├── UsageError        the command or the configuration is wrong: exit 2
├── TransientError    trying again later may help: bounded retries, then exit 1
├── BadInput          an answer or a file is wrong: another source, or stop and say so
└── StoreError        the database or the archive cannot be used: stop, exit 1
"""

LONGEST = 2_000  # characters of an error's text


def one_line(text: str) -> str:
    """The text without line breaks or a terminal's commands, and of bounded length."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


class NguError(Exception):
    """A failure a person can act on; its text is one line and holds no secret."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class UsageError(NguError):
    """The command line, the configuration or the environment asks for what cannot be."""


class TransientError(NguError):
    """A failure that may pass: a time-out, a rate limit, a server error."""


class BadInput(NguError):  # noqa: N818 -- it names the input, not the raising
    """What came from outside contradicts its format or itself; nothing of it was used."""


class StoreError(NguError):
    """The database or the archive is damaged, foreign, newer, locked or full."""
