"""Settings, arguments and variables that cannot be: exit 2, and what is allowed instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.faulty import serving
from cli.program import busy_chain, ngu, place

WALLET = "0x" + "11" * 20
MISTYPED = "0xABCDef" + "11" * 17

FILES = {
    "an unknown key": (
        '[chain]\nrcp = ["http://x"]\n',
        "line 2: unknown key chain.rcp (did you mean rpc?); allowed here: chain_id,",
    ),
    "an unknown table": ("[chian]\n", "line 1: unknown key chian (did you mean chain?)"),
    "an unknown key of a season": (
        '[[season]]\nname = "1"\nhold = 1\n',
        "line 3: unknown key season.hold (did you mean held?); allowed here: awards,",
    ),
    "an unknown key of a tier": (
        "[points]\ntiers = [\n  { days = 1, multiplier = 2, step = 3 }]\n",
        "unknown key points.tiers.step; allowed here: days, multiplier",
    ),
    "no TOML": ("[chain\n", "is not valid TOML: Expected ']'"),
    "a text for a list": ('[chain]\nrpc = "http://x"\n', "chain.rpc: Expected `array`, got `str`"),
    "no URL": ('[chain]\nrpc = ["x"]\n', "chain.rpc must be http(s):// or ws(s)://"),
    "an unknown kind": (
        '[contract]\nkind = "erc20"\n',
        "contract.kind: Invalid enum value 'erc20'; allowed: ngu, erc721, custom",
    ),
    "a short address": ('[contract]\naddress = "0x12"\n', "'0x12' is not an address: it takes 0x"),
    "a mistyped address": (f'[contract]\naddress = "{MISTYPED}"\n', "checksum"),
    "a wrong excluded address": ('[points]\nexcluded = ["0x1"]\n', "points.excluded: '0x1'"),
    "a rate with a comma": (
        '[[season]]\nname = "1"\nheld = "1,5"\n',
        "season '1' held: '1,5' is not a number: it takes one like 1, \"0.25\" or \"1/3\"",
    ),
    "a negative rate": ('[[season]]\nname = "1"\nheld = -1\n', "held: -1 must be 0 or more"),
    "no number": ('[[season]]\nname = "1"\nstaked = nan\n', "staked: nan is not a number"),
    "division by zero": ('[[season]]\nname = "1"\nheld = "1/0"\n', "'1/0' is not a number"),
    "a rate past all bounds": ('[[season]]\nname = "1"\nheld = "1e400"\n', "must be below 10^12"),
    "a time that is none": (
        '[[season]]\nname = "1"\nstart = "soon"\n',
        "season '1' start: 'soon' is not a time: it takes 2026-01-01T00:00:00Z or unix seconds",
    ),
    "digits that are none": ('[[season]]\nname = "1"\nend = "²"\n', "'²' is not a time"),
    "seasons that overlap": (
        '[[season]]\nname = "1"\nend = "2026-02-01"\n[[season]]\nname = "2"\nstart = 2026-01-01\n',
        "season '1' and season '2' overlap",
    ),
    "two open seasons": ('[[season]]\nname = "1"\n[[season]]\nname = "2"\n', "overlap"),
    "a season without a name": ("[[season]]\nheld = 1\n", "season[0]: Object missing required"),
    "a season that ends first": (
        '[[season]]\nname = "1"\nstart = "2026-02-01"\nend = "2026-01-01"\n',
        "season '1' ends before it starts",
    ),
    "an unknown award": (
        '[[season]]\nname = "1"\nawards = { eaten = 1 }\n',
        "no award for 'eaten': allowed are minted, burned,",
    ),
    "tiers on one day": (
        "[points]\ntiers = [{ days = 1, multiplier = 2 }, { days = 1, multiplier = 3 }]\n",
        "two tiers begin on the same day",
    ),
    "weights backwards": (
        "[points]\nweights = [{ first = 5, last = 3, weight = 2 }]\n",
        "range 5-3 with weight 2 is not possible",
    ),
    "weights that overlap": (
        "[points]\nweights = [{ first = 1, last = 3, weight = 2 }, { first = 3, weight = 2 }]\n",
        "weight ranges overlap at token 3",
    ),
    "a missing table of weights": ('[points]\nweights_csv = "w.csv"\n', "w.csv: No such file"),
    "finality that is none": ('[chain]\nfinality = "late"\n', '"finalized", "safe" or a number'),
    "a feast too finely cut": ('[feast]\nemission = "0.0000001"\n', "more than 6 decimals"),
    "no seconds to wait": ("[chain]\ntimeout = 0\n", "chain.timeout: Expected `float` > 0.0"),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands look for ngu.toml in the present folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_setting_is_named_with_what_is_allowed(name: str) -> None:
    """Before anything else happens, one line names the key and what it takes; exit code 2."""
    text, words = FILES[name]
    Path("ngu.toml").write_text(text)
    ended = ngu("status", "--json")
    assert ended.code == 2
    assert words in ended.complaint
    assert ended.json == {"error": ended.complaint.removeprefix("ngu: "), "exit": 2}
    assert [path.name for path in Path().iterdir()] == ["ngu.toml"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a,b\n1,2\n", "the first line must name first,last,weight"),
     (b"first,last,weight\n1,2\n", "line 2: '1', '2', None are not all integers"),
     (b"first,last,weight\n1,x,2\n", "line 2: '1', 'x', '2' are not all integers"),
     (b"first,last,weight\n\xff\xfe\n", "is not a CSV file in UTF-8")],
)  # fmt: skip
def test_a_wrong_table_of_weights_is_named_with_its_line(content: bytes, words: str) -> None:
    """The CSV of weights is checked as strictly as the file that names it."""
    Path("w.csv").write_bytes(content)
    Path("ngu.toml").write_text('[points]\nweights_csv = "w.csv"\n')
    ended = ngu("status", "--json")
    assert (ended.code, words in ended.complaint, "w.csv" in ended.complaint) == (2, True, True)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("LOG_LEVEL", "loud", "LOG_LEVEL is 'loud': it takes debug, info, warn, error"),
     ("NGU_CHAIN_RCP", "http://x", "NGU_CHAIN_RCP in the environment is no setting (did you mean"),
     ("NGU_CHAIN_TIMEOUT", "soon", "NGU_CHAIN_TIMEOUT: chain.timeout: Expected `float`"),
     ("NGU_CONTRACT_KIND", "erc20", "NGU_CONTRACT_KIND: contract.kind: Invalid enum value"),
     ("NGU_CONTRACT_ADDRESS", "me", "contract.address: 'me' is not an address"),
     ("NGU_FEAST_BURN", "lots", "feast.burn: 'lots' is not a number")],
)  # fmt: skip
def test_a_wrong_variable_is_named(name: str, value: str, words: str) -> None:
    """What comes from the environment is blamed on the environment, even beside a good file."""
    Path("ngu.toml").write_text("[chain]\ntimeout = 5\n")
    ended = ngu("status", "--json", env={name: value})
    assert (ended.code, ended.json["exit"]) == (2, 2)
    assert words in ended.complaint


@pytest.mark.parametrize(
    ("words", "said"),
    [(("snyc",), "No such command 'snyc'. Did you mean 'sync'?; see `ngu --help`"),
     (("sync", "--blocks", "3"), "No such option '--blocks'"),
     (("sync", "--to-block", "-3"), "-3 is not in the range"),
     (("sync", "--kind", "erc20"), "'erc20' is not one of 'ngu', 'erc721', 'custom'"),
     (("sync",), "no chain to read: give --rpc URL, or chain.rpc in ngu.toml"),
     (("sync", "--rpc", "http://127.0.0.1:1"), "no contract: give --contract 0x"),
     (("sync", "--rpc", "http://127.0.0.1:1", "--contract", "0x12"), "'0x12' is not an address"),
     (("points",), "Missing argument 'WALLET'; see `ngu points --help`"),
     (("points", "0x12"), "WALLET: '0x12' is not an address: it takes 0x and 40 hex digits"),
     (("points", "vitalik.eth"), "WALLET: 'vitalik.eth' is not an address"),
     (("points", MISTYPED), "WALLET: the checksum of"),
     (("token", "--", "-1"), "ID: '-1' is not a token id: it takes a number from 0 to 2^256-1"),
     (("token", str(2**256)), "is not a token id"),
     (("token", "one"), "ID: 'one' is not a token id"),
     (("leaderboard", "--limit", "0"), "0 is not in the range"),
     (("export", "wallets"), "'wallets' is not one of 'tokens', 'points', 'events', 'feast'"),
     (("export", "tokens", "--format", "xml"), "'xml' is not one of 'csv', 'json', 'parquet'"),
     (("fingerprint", "--at", "now"), "--at"),
     (("status", "--config", "none.toml"), "none.toml does not exist: `ngu init` writes one"),
     (("status", "--config", "."), ". cannot be read"),
     (("demo", "--for", "soon"), "'soon' is no duration: it takes 20s, 2m or 1h")],
)  # fmt: skip
def test_wrong_words_on_the_command_line_are_named(words: tuple[str, ...], said: str) -> None:
    """A command, an option or an argument that cannot be: which, and what it takes; exit 2."""
    ended = ngu(words[0], "--json", *words[1:])
    assert ended.code == 2
    assert said in ended.complaint
    assert ended.json["exit"] == 2


@pytest.mark.parametrize(
    "moment",
    ["x", "", "-5", "@", "@x", "@-1", "²", "@²", "2026-13-01", "12.5", f"@{10**23}", "tomorrow"],
)
@pytest.mark.parametrize("command", [("leaderboard",), ("points", WALLET), ("token", "7")])
def test_what_is_no_moment_is_refused(moment: str, command: tuple[str, ...]) -> None:
    """--at takes a block, a unix time or an ISO time, and says so."""
    ended = ngu(*command, "--json", "--at", moment)
    assert ended.code == 2
    assert f"--at: {moment!r} is no moment: it takes a block (12345)" in ended.complaint


def test_what_only_the_chain_can_refuse(tmp_path: Path) -> None:
    """Blocks that are not covered, borders that do not fit the database, seasons there are not."""
    with serving(busy_chain(12, max_span=5)) as served:
        words = place(served.node, served.url, tmp_path / "ngu.db")
        refused = ngu("sync", *words, "--from-block", 5, "--to-block", 3, "--json")
        assert refused.code == 2
        assert "--to-block 3 lies before the first block, 5" in refused.complaint
        assert ngu("sync", *words, "--from-block", 5, "--finality", 0).code == 3
        other = ngu("sync", *words, "--from-block", 7, "--json")
    assert (other.code, "begins at block 5, not at 7" in other.complaint) == (2, True)
    db = ("--db", tmp_path / "ngu.db", "--json")
    for command in (("leaderboard",), ("points", WALLET), ("token", 7), ("fingerprint",)):
        late = ngu(*command, "--at", 99, *db)
        assert late.code == 2
        assert "--at 99: the last covered block is 13" in late.complaint
    season = ngu("leaderboard", "--season", "winter", *db)
    assert (season.code, "--season 'winter': there is 1" in season.complaint) == (2, True)
    both = ngu("export", "tokens", *db)
    assert (both.code, "--json goes with -o FILE" in both.complaint) == (2, True)
    parquet = ngu("export", "tokens", "--format", "parquet", *db[:2])
    assert (parquet.code, "parquet needs -o FILE" in parquet.complaint) == (2, True)


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    """A file that is there is kept, unless told otherwise; what init writes can be used."""
    assert ngu("init", "--json").json == {"file": "ngu.toml"}
    Path("ngu.toml").write_text("# mine\n")
    again = ngu("init", "--json")
    assert (again.code, "--force overwrites it" in again.complaint) == (2, True)
    assert Path("ngu.toml").read_text() == "# mine\n"
    assert ngu("init", "--force").code == 0
    missing = ngu("status", "--json")
    assert (missing.code, "ngu-data/ngu.db does not exist" in missing.complaint) == (1, True)
    assert ngu("init", tmp_path / "none" / "ngu.toml").code == 1


def test_no_command_at_all_shows_the_help() -> None:
    """`ngu` alone prints the help, with its lines, and exit code 2."""
    ended = ngu()
    assert ended.code == 2
    assert "Commands:\n" in ended.err
    assert "ngu: " not in ended.err
