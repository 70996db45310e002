"""Mode beam: what is sure stays as it is; what is not is chosen among candidates with probabilities."""

import numpy as np
import pytest
from bars import LETTERS, Bars, bars

from nhin.decoding.text_prior import TextPrior
from nhin.reading.candidate_ranker import CandidateRanker
from nhin.reading.recognizer import DOUBT, Recognizer


class Unsure(Bars):
    """Reads bars; its decoder holds the last letter for the next one of the alphabet almost as likely."""

    def decode(self, memory, tokens):
        out = super().decode(memory, tokens)
        return 0.5 * out + 0.45 * np.roll(out, 1, axis=-1)


def read(network, texts, mode="beam"):
    return Recognizer(network, LETTERS, mode=mode).read([bars(text) for text in texts])


def test_a_sure_reading_is_the_same_in_both_modes_and_asks_for_nothing_more():
    texts = ["a", "bad", "feed"]
    beam, both = Bars(), Bars()
    assert min(reading.confidence for reading in read(both, texts, "both")) > DOUBT
    assert read(beam, texts) == read(both, texts, "both")
    assert beam.batches == both.batches[: len(beam.batches)]


def test_a_doubtful_reading_has_alternatives_best_first_which_sum_to_at_most_1():
    reading = read(Unsure(), ["bad"])[0]
    probabilities = [probability for _, probability in reading.alternatives]
    assert reading.alternatives[0] == (reading.text, reading.confidence)
    assert len(reading.alternatives) > 1
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) <= 1 + 1e-9
    assert [char.text for char in reading.chars] == list(reading.text)


def test_the_best_candidate_is_at_least_as_probable_as_that_of_mode_both():
    crops = [bars(text) for text in ("bad", "cafe", "g")]
    ranker = CandidateRanker(Unsure(), LETTERS, 40)
    for ranking, both in zip(ranker.rank(crops), read(Unsure(), ["bad", "cafe", "g"], "both"), strict=True):
        table = dict(zip(ranking.texts, ranking.probabilities, strict=True))
        assert table[tuple(LETTERS.encode(both.text))] <= ranking.probabilities[0]
        assert sum(table.values()) == pytest.approx(1)


def test_a_prior_decides_between_candidates_that_are_almost_alike():
    plain = read(Unsure(), ["bad"])[0]
    other = plain.alternatives[1][0]
    prior = TextPrior.count([(other, 10**5)])
    ranker = CandidateRanker(Unsure(), LETTERS, 40, prior)
    before = CandidateRanker(Unsure(), LETTERS, 40).rank([bars("bad")])[0]
    after = ranker.rank([bars("bad")])[0]
    ids = tuple(LETTERS.encode(other))
    assert after.probabilities[after.texts.index(ids)] > before.probabilities[before.texts.index(ids)]


def test_a_crop_is_ranked_the_same_alone_and_in_a_batch():
    texts = ["bad", "a", "cafe", "gag"]
    together, alone = read(Unsure(), texts), [read(Unsure(), [text])[0] for text in texts]
    for one, other in zip(together, alone, strict=True):
        assert (one.text, one.rotation) == (other.text, other.rotation)
        assert dict(one.alternatives) == pytest.approx(dict(other.alternatives))


def test_a_second_network_is_asked_once_there_is_a_doubt_and_changes_what_is_ranked_first():
    asked = []

    def load():
        asked.append(1)
        return Bars()

    ranker = CandidateRanker(Unsure(), LETTERS, 40, load_second=load)
    recognizer = Recognizer(Unsure(), LETTERS, mode="beam", ranker=ranker)
    assert Recognizer(Bars(), LETTERS, mode="beam", ranker=ranker).read([bars("bad")])[0].text == "bad"
    assert not asked
    alone = read(Unsure(), ["bad"])[0]
    together = recognizer.read([bars("bad")])[0]
    assert asked
    assert together.text == "bad"
    assert together.confidence > alone.confidence
    found = ranker.score([bars("bad")])[0]
    assert found.scores.shape == (len(found.texts), 4)
