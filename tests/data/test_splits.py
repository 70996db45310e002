"""Blocks hold the whole text in order, end where people would end them, and go where they shall."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nhin.data.text.sources import CorpusSource
from nhin.data.text.splits import CorpusStats, SplitConfig, iter_blocks, plan_splits
from nhin.errors import DataError, UnknownName, UsageError


def source(*documents: str, piece: int = 7, single: bool = False) -> CorpusSource:
    """Documents that come in pieces of one length."""
    pieces = [[text[i : i + piece] for i in range(0, len(text), piece)] for text in documents]
    return CorpusSource("texts", lambda: map(iter, pieces), single=single)


texts = st.lists(st.text("aệ\n ", max_size=60), max_size=6)


@given(
    documents=texts, piece=st.integers(1, 30), size=st.integers(1, 40), borders=st.sets(st.integers(1, 200))
)
def test_blocks_together_are_the_text_whatever_the_pieces(documents, piece, size, borders):
    total = sum(map(len, documents))
    walls = sorted(wall for wall in borders if wall < total)
    blocks = list(iter_blocks(source(*documents, piece=piece), size, walls))
    parts = [number for block in blocks for number in block]
    assert all(text for text, _ in parts)
    assert "".join(text for text, _ in parts) == "".join(documents)
    ends = np.cumsum([len(text) for text, _ in parts])[[ended for _, ended in parts]] if parts else []
    assert list(ends) == list(np.cumsum([len(text) for text in documents if text]))
    assert all(0 < sum(len(text) for text, _ in block) <= size for block in blocks)
    assert set(walls) <= set(np.cumsum([sum(len(text) for text, _ in block) for block in blocks]).tolist())
    assert blocks == list(iter_blocks(source(*documents, piece=99), size, walls))


@given(documents=texts, size=st.integers(2, 60))
def test_a_document_shorter_than_half_a_block_is_never_divided(documents, size):
    for block in iter_blocks(source(*documents), size):
        for text, ended in block[:-1]:
            assert ended, text
    whole = [text for block in iter_blocks(source(*documents), size) for text, ended in block if ended]
    assert all(text in whole for text in documents if 0 < len(text) <= size // 2)


def test_a_document_of_half_a_block_ends_it():
    blocks = list(iter_blocks(source("aaaa", "bb", "cc", "ddddd", "e"), 10))
    assert [[text for text, _ in block] for block in blocks] == [["aaaa", "bb"], ["cc", "ddddd"], ["e"]]


def test_blocks_end_at_the_end_of_a_line_when_one_is_past_the_middle():
    line = "mười hai ký.\n"
    blocks = list(iter_blocks(source(line * 10), 30))
    assert [block[0][0] for block in blocks] == [line * 2] * 5
    assert [block[0][0] for block in iter_blocks(source("ab\n" + "c" * 17), 10)] == [
        "ab\n" + "c" * 7,
        "c" * 10,
    ]


def test_statistics_count_and_hash_the_documents():
    stats = CorpusStats(iter_blocks(source("ab\n", "", "ệ"), 2))
    assert (sum(stats.sizes), stats.documents) == (4, 2)
    assert stats.sha256 == CorpusStats(iter_blocks(source("ab\n", "ệ", piece=1), 100)).sha256
    assert stats.sha256 != CorpusStats(iter_blocks(source("ab\nệ"), 2)).sha256


def split_texts(text: str, config: SplitConfig) -> list[str]:
    """Return the text of each split."""
    here = source(text, piece=1000, single=True)
    plan = plan_splits(here, CorpusStats(iter_blocks(here, config.block)), config)
    out = ["", "", ""]
    for block, number in zip(iter_blocks(here, plan.block_size, plan.borders), plan.split_ids, strict=True):
        out[number] += "".join(piece for piece, _ in block)
    return out


@given(
    length=st.integers(300, 5000),
    validation=st.floats(0.02, 0.4),
    test=st.just(0.0) | st.floats(0.02, 0.4),
    seed=st.integers(0, 99),
)
@example(length=300, validation=0.02, test=0.02, seed=0)
def test_every_split_gets_text_and_its_share_to_half_a_block(length, validation, test, seed):
    """A block is a quarter of the smallest share, or 16 characters."""
    parts = split_texts(
        "a few words on a line\n" * (length // 22 + 1), SplitConfig("blocks", validation, test, seed=seed)
    )
    total, shares = sum(map(len, parts)), (1 - validation - test, validation, test)
    block = max(16, total * min(share for share in shares if share) / 4)
    for text, share, blocks in zip(parts, shares, (2, 1, 1), strict=True):
        assert bool(text) == bool(share)
        small = share * total < block  # has one block all the same
        assert abs(len(text) - share * total) <= blocks * block / (1 if small else 2)


def test_the_seed_decides_which_blocks_are_held_out():
    text = "".join(f"line {i}\n" for i in range(500))
    drawn = [tuple(split_texts(text, SplitConfig(seed=seed))) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_blocks_are_held_out_everywhere_and_the_tail_at_the_end():
    text = "".join(f"{i:04d}\n" for i in range(4000))
    spread = split_texts(text, SplitConfig(validation=0.2, test=0.0))[1].split()
    assert int(spread[0]) < 1500 < 2500 < int(spread[-1])
    assert split_texts(text, SplitConfig("tail", 0.25, 0.5)) == [text[:5000], text[5000:10000], text[10000:]]


@given(
    length=st.integers(20, 3000),
    validation=st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    test=st.sampled_from([0.0, 0.05, 0.1]),
)
def test_a_tail_is_cut_at_the_character(length, validation, test):
    text = ("xin chào\n" * 400)[:length]
    train, held_out, tested = split_texts(text, SplitConfig("tail", validation, test, block=50))
    assert train + held_out + tested == text
    assert len(train) == int(round(1 - validation - test, 12) * length)
    assert len(train) + len(held_out) == int(round(1 - test, 12) * length)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("ệ", "has only 1 character:"),
        ("ab", "has only 2 characters"),
        ("abcd", "leave nothing for"),
    ],
)
@pytest.mark.parametrize("split", ["blocks", "tail"])
def test_a_text_too_short_to_split_is_refused(text, words, split):
    with pytest.raises(DataError, match=words):
        split_texts(text, SplitConfig(split))


@pytest.mark.parametrize(
    "wrong",
    [
        {"validation": float("nan")},
        {"validation": -0.1},
        {"test": 1.0},
        {"validation": 0.5, "test": 0.5},
        {"block": 0},
        {"shard_tokens": 0},
        {"seed": -1},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UsageError):
        SplitConfig(**wrong).check()


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(UnknownName, match="did you mean tail"):
        SplitConfig("tails").check()
