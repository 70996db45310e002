"""The spelling rules of Vietnamese syllables."""

import pytest

from nhin.text.letters import factor
from nhin.text.syllables import ONSETS, RHYMES, all_syllables, allowed_tones, is_syllable, spell

COMMON = (
    "không người nguyễn quốc gì giếng quý nghiêng khuya thuở hòa hoà thúy thuý yêu uống oanh được đường "
    "ghế kẻ cá quán quyển"
)
WRONG = "ka ci ngi ghà nghà bắp̀ tàch hocj đuờngx zua fo quu"


@pytest.mark.parametrize("word", COMMON.split())
def test_common_words_are_syllables(word):
    assert is_syllable(word)
    assert is_syllable(word.upper())


@pytest.mark.parametrize("word", WRONG.split())
def test_misspellings_are_not(word):
    assert not is_syllable(word)


def test_a_syllable_carries_at_most_one_tone():
    tones = [sum(factor(char).tone != "level" for char in word) for word in all_syllables()]
    assert max(tones) == 1


@pytest.mark.parametrize("rhyme", [rhyme for rhyme in RHYMES if rhyme.endswith(("c", "p", "t", "ch"))])
def test_a_rhyme_that_ends_in_a_stop_has_two_tones(rhyme):
    assert allowed_tones(rhyme) == ("acute", "dot")


def test_old_and_new_positions_of_the_tone_differ_only_in_open_glides():
    assert spell("h", "oa", "grave") == "hòa"
    assert spell("h", "oa", "grave", modern=True) == "hoà"
    assert spell("t", "oan", "grave") == spell("t", "oan", "grave", modern=True) == "toàn"
    assert "" in ONSETS
