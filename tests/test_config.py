"""Settings mean what they say, wherever they come from, or are refused in one clear line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from ngu_points.chain.address import address_of, checksummed
from ngu_points.config import exact, load, rules_of, settings, variable
from ngu_points.errors import UsageError

ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def test_the_written_template_is_a_valid_configuration() -> None:
    """What `ngu init` writes loads as it is."""
    template = Path(__file__).parent.parent / "src/ngu_points/cli/ngu.toml"
    config = load(template, {}, {})
    assert config.chain.rpc == ["http://127.0.0.1:8545"]
    assert config.season[0].staked == 2


def test_options_win_over_the_environment_over_the_file(tmp_path: Path) -> None:
    """The nearer a setting stands to the command, the more it counts."""
    file = tmp_path / "ngu.toml"
    file.write_text('[chain]\nrpc = ["http://a"]\ntimeout = 5\n[store]\ndb = "a.db"\n')
    env = {"NGU_CHAIN_RPC": "http://b,ws://b", "NGU_STORE_DB": "b.db", "PATH": "/bin"}
    config = load(file, env, {"store.db": "c.db", "chain.finality": None})
    assert config.chain.rpc == ["http://b", "ws://b"]
    assert (config.chain.timeout, config.store.db) == (5.0, "c.db")


def test_every_setting_has_a_variable() -> None:
    """Each single setting can come from the environment."""
    assert variable("chain.requests_per_second") == "NGU_CHAIN_REQUESTS_PER_SECOND"
    assert {"chain.rpc", "contract.address", "store.db", "feast.emission"} <= set(settings())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[chian]\n", "unknown key chian (did you mean chain?)"),
        ("[chain]\nrcp = []\n", "line 2: unknown key chain.rcp (did you mean rpc?)"),
        ("[chain]\nrpc = 5\n", "chain.rpc"),
        ("[chain\n", "not valid TOML"),
        ('[chain]\nfinality = "soon"\n', 'must be "finalized", "safe" or a number'),
        ('[chain]\nrpc = ["ftp://x"]\n', "http(s):// or ws(s)://"),
        ('[[season]]\nname = "1"\nheld = -1\n', "season '1' held: -1 must be 0 or more"),
        ('[[season]]\nname = "1"\nheld = "much"\n', "is not a number"),
        ('[[season]]\nname = "1"\nawards = { eaten = 1 }\n', "no award for 'eaten'"),
        ('[[season]]\nname = "1"\nstart = "noon"\n', "is not a time"),
        ('[[season]]\nname = "1"\nstart = 5\nend = 5\n', "ends before it starts"),
        ('[[season]]\nname = "a"\n[[season]]\nname = "b"\nstart = 5\n', "overlap"),
        ('[points]\nexcluded = ["0x12"]\n', "is not an address"),
        ("[points]\nweights = [{ first = 5, last = 4, weight = 1 }]\n", "range 5-4"),
        (
            "[points]\nweights = [{first=1,last=9,weight=1},{first=5,last=6,weight=2}]\n",
            "overlap at token 5",
        ),
        ('[points]\nweights_csv = "none.csv"\n', "none.csv: No such file"),
        ("[feast]\nemission = 0.1234567\n", "more than 6 decimals"),
        ('[contract]\naddress = "0x12"\n', "contract.address: '0x12' is not an address"),
        ('[contract]\nkind = "erc20"\n', "contract.kind"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    """File, key and what is allowed, in a single line."""
    file = tmp_path / "ngu.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(file, {}, {})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_variable_is_refused() -> None:
    """A mistyped NGU_ variable does not pass silently."""
    with pytest.raises(UsageError, match=r"NGU_CHAIN_RCP in .*mean NGU_CHAIN_RPC"):
        load(None, {"NGU_CHAIN_RCP": "http://a"}, {})


def test_rates_are_exact() -> None:
    """A decimal means its digits, a fraction itself."""
    assert exact(0.1, "x") == Fraction(1, 10)
    assert exact("1/3", "x") == Fraction(1, 3)


def test_checksums_are_those_of_eip_55() -> None:
    """Right case passes, wrong case is refused, one case is taken as it is."""
    assert checksummed(bytes.fromhex(ADDRESS[2:])) == ADDRESS
    assert address_of(ADDRESS, "x") == address_of(ADDRESS.lower(), "x")
    with pytest.raises(UsageError, match="checksum"):
        address_of(ADDRESS.replace("aA", "Aa"), "x")


def test_weights_come_from_a_csv_file(tmp_path: Path) -> None:
    """first,last,weight with an open last; a bad line is named."""
    file = tmp_path / "w.csv"
    file.write_text("first,last,weight\n1,10,5\n20,,7\n")
    rules = rules_of(load(None, {}, {"points.weights_csv": str(file)}))
    assert rules.weights.ranges == ((1, 10, 5), (20, 20, 7))
    file.write_text("first,last,weight\n1,10,x\n")
    with pytest.raises(UsageError, match=r"w.csv, line 2"):
        load(None, {}, {"points.weights_csv": str(file)})


def test_an_error_is_one_line_of_bounded_length() -> None:
    """Whatever goes into it: no line break, no terminal command, at most 2,000 characters."""
    text = str(UsageError("a\nb\x1b[2J " + "x" * 9_000))
    assert (len(text), text[:12], text[-1]) == (2_000, "a b\\x1b[2J x", "…")
