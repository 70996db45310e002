"""``nhin list``: everything there is, in tables, one by one, and for programs."""

import json

import pytest

from nhin.attention.base import ABILITIES
from nhin.attention.position_registry import POSITIONS
from nhin.attention.registry import CACHES, MECHANISMS
from nhin.cli.app import main
from nhin.layers.head_sharing import SHARING
from nhin.layers.presets import PRESETS
from nhin.viz.catalogue import FAMILIES

EVERYTHING = {*MECHANISMS, *POSITIONS, *CACHES, *SHARING, *PRESETS}
# The rows of the table that the library promises.
PROMISED = set(
    """
    additive dot general concat location softmax global local-m local-p naive flash linear
    linear-relu linear-exp performer linformer nystromformer window dilated strided fixed
    interleaved block-local block-sparse longformer bigbird lsh sinks alibi t5
    """.split()
)


def listed(capsys, *words: str) -> str:
    assert main(["list", *words]) == 0
    return capsys.readouterr().out


def names(capsys, *words: str) -> set[str]:
    return {one["name"] for one in json.loads(listed(capsys, "--json", *words))}


def test_every_name_of_every_table_is_listed_with_cost_and_source(capsys):
    shown = listed(capsys).splitlines()
    rows = {line.split()[0]: line for line in shown if line.startswith("  ")}
    assert rows.keys() >= EVERYTHING
    for name, made in MECHANISMS.items():
        facts = made.facts
        assert all(part in rows[name] for part in (facts.time, facts.memory, facts.source)), name


def test_every_promised_mechanism_is_there():
    assert MECHANISMS.keys() >= PROMISED


def test_every_mechanism_is_of_a_known_family():
    assert {made.facts.family for made in MECHANISMS.values()} == FAMILIES.keys()


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_one_is_told_with_all_there_is_to_say(name, capsys):
    shown = " ".join(listed(capsys, name).split())
    assert shown.startswith(f"{name}: ")
    assert "Source" in shown
    if name in MECHANISMS:
        facts = MECHANISMS[name].facts
        assert all(f"{a}: {ABILITIES[a]}" in shown for a in facts.abilities)
        assert all(label in shown for label in ("When", "Cost", "Differs", "Decoding"))
        assert facts.use in shown


def test_programs_get_the_same_as_data(capsys):
    data = {one["name"]: one for one in json.loads(listed(capsys, "--json"))}
    assert data.keys() == EVERYTHING
    window = data["window"]
    assert (window["kind"], window["family"], window["settings"]) == (
        "mechanism",
        "sparse",
        {"window": "256"},
    )
    assert set(window["abilities"]) == MECHANISMS["window"].facts.abilities
    assert window["formula"]


def test_mechanisms_are_chosen_by_family_and_ability(capsys):
    assert names(capsys, "--family", "linear") == {"linear", "linear-relu", "linear-exp", "performer"}
    able = names(capsys, "--able", "causal, truncate")
    assert able == {n for n, m in MECHANISMS.items() if m.facts.abilities >= {"causal", "truncate"}}
    assert names(capsys, "--family", "exact", "--able", "decode") == {"naive", "softmax", "flash"}
    assert names(capsys, "--family", "low-rank", "--able", "causal") == set()


def test_nothing_chosen_is_said(capsys):
    assert main(["list", "--family", "low-rank", "--able", "causal"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "nhin: no mechanism has all of that\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["windw"], "did you mean window"),
        (["--family", "spares"], "did you mean sparse"),
        (["--able", "causl"], "did you mean causal"),
        (["softmax", "--family", "exact"], "not both"),
    ],
)
def test_wrong_words_are_one_line_and_code_2(words, message, capsys):
    assert main(["list", *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
