"""Rank many candidate texts of a crop under several views of it, with a soft prior over texts.

The score of a text is the mean over the views of both heads' log-probabilities of it, weighted; those of a
second network for the crop as it is; and its score under the prior. The candidates are each view's greedy
answers, and beam searches with both networks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.decoding.candidates import find_candidates
from nhin.decoding.draft_verify import score_texts, verify_drafts
from nhin.decoding.protocol import EncoderDecoder, mask_specials
from nhin.decoding.text_prior import TextPrior
from nhin.image.preprocess import Pixels, preprocess_crop, to_batch
from nhin.reading.batching import group_by_width
from nhin.reading.views import make_views
from nhin.text.charset import Charset

BEAM = 8
WEIGHTS = (0.44, 0.28)
"""Of the two heads' log-probabilities, decoder and CTC; learned by ``scripts/fit_ranking.py``."""
SECOND_WEIGHTS = (0.11, 0.08)
"""Of the second network's."""
KEPT = 6
"""Candidates that are left once they are scored by the crop as it is."""
_FLOOR = -60.0  # of a head's log-probability: one view alone does not forbid a text
_MAX_ROWS = 256

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates of a crop, best first, with their probabilities; memory and CTC frames of the crop."""

    texts: list[Ids]
    probabilities: list[float]
    memory: NDArray[np.float32]
    frames: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """The candidates of a crop and what the networks say of each.

    Args:
        texts: Ids, sorted.
        scores: candidates x 4: mean log-probabilities of the decoder and the CTC head over the views, and
            those of the second network, which are zeros if there is none.
        memory: Of the crop as it is.
        frames: Of the crop as it is.
    """

    texts: list[Ids]
    scores: NDArray[np.float64]
    memory: NDArray[np.float32]
    frames: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _EncodedViews:
    """Views of one width: each one's crop, the rows of crops as they are, memory and CTC frames."""

    crops: list[int]
    firsts: list[int]
    memory: NDArray[np.float32]
    frames: NDArray[np.float64]

    def take_firsts(self) -> "_EncodedViews":
        """Return the crops as they are, without other views."""
        crops = [self.crops[row] for row in self.firsts]
        return _EncodedViews(
            crops, list(range(len(crops))), self.memory[self.firsts], self.frames[self.firsts]
        )


class CandidateRanker:
    """Ranks candidates with one network or two and, if there is one, a prior.

    Args:
        model: The network.
        charset: The characters of its ids.
        height: Its input height in pixels.
        prior: How likely texts are.
        load_second: Returns another network of the same charset and height; called when there is a doubt.
    """

    def __init__(
        self,
        model: EncoderDecoder,
        charset: Charset,
        height: int,
        prior: TextPrior | None = None,
        load_second: Callable[[], EncoderDecoder] | None = None,
    ) -> None:
        self.model, self.charset, self.height, self.prior = model, charset, height, prior
        self.load_second = load_second

    def rank(self, crops: Sequence[Pixels], temperature: float = 1.0) -> list[Ranking]:
        """Rank the candidates of each crop.

        Args:
            crops: height x width x 3, RGB, or height x width; with pixels.
            temperature: Divides the scores before they become probabilities.
        """
        return [self._normalize(found, temperature) for found in self.score(crops)]

    def score(self, crops: Sequence[Pixels]) -> list[ScoredCandidates]:
        """Find candidates of each crop, and score them with the networks; see ``rank``."""
        found: list[set[Ids]] = [set() for _ in crops]
        views = [(i, number, x) for i, crop in enumerate(crops) for number, x in enumerate(make_views(crop))]
        first = self._encode(self.model, views, found)
        second_model = self.load_second() if self.load_second else None
        originals = [view for view in views if view[1] == 0]
        second = self._encode(second_model, originals, found) if second_model else []
        for texts in found:
            if len(texts) > 1:  # something is there: in question is what it says
                texts.discard(())
        tables, firsts = [sorted(texts) for texts in found], [batch.take_firsts() for batch in first]
        own = self._score_views(self.model, firsts, tables)
        other = [np.zeros_like(scores) for scores in own]
        if second_model:
            other = self._score_views(second_model, second, tables)
        best = [self._choose_best(*each) for each in zip(tables, own, other, strict=True)]
        kept = [[texts[k] for k in ids] for texts, ids in zip(tables, best, strict=True)]
        means = self._score_views(self.model, first, kept)
        seen = {crop: (b.memory[row], b.frames[row]) for b in firsts for row, crop in enumerate(b.crops)}
        return [
            ScoredCandidates(kept[i], np.concatenate([means[i], other[i][best[i]]], axis=1), *seen[i])
            for i in range(len(crops))
        ]

    def _choose_best(
        self, texts: Sequence[Ids], own: NDArray[np.float64], other: NDArray[np.float64]
    ) -> list[int]:
        """Return the numbers of the best candidates by the crop as it is, rising."""
        scores = self._weigh(texts, np.concatenate([own, other], axis=1))
        return sorted(np.argsort(-scores, kind="stable")[:KEPT].tolist())

    def _encode(
        self, model: EncoderDecoder, views: Sequence[tuple[int, int, Pixels]], found: list[set[Ids]]
    ) -> list[_EncodedViews]:
        """Encode views (crop, number of the view, pixels) batch by batch; add candidates to ``found``."""
        inputs = [preprocess_crop(picture, self.height) for _, _, picture in views]
        encoded = []
        for batch in group_by_width([image.shape[1] for image in inputs]):
            memory, log_probs = model.encode(to_batch([inputs[k] for k in batch]))
            frames = mask_specials(log_probs, ctc.BLANK)
            firsts = [row for row, k in enumerate(batch) if views[k][1] == 0]
            proposed = _propose(model, memory, frames, firsts)
            for k, texts in zip(batch, proposed, strict=True):
                found[views[k][0]] |= texts
            encoded.append(_EncodedViews([views[k][0] for k in batch], firsts, memory, frames))
        return encoded

    def _score_views(
        self, model: EncoderDecoder, batches: Sequence[_EncodedViews], tables: Sequence[Sequence[Ids]]
    ) -> list[NDArray[np.float64]]:
        """Return the mean log-probabilities of each crop's candidates over its views: candidates x 2."""
        sums: list[list[tuple[list[float], list[float]]]] = [[([], []) for _ in texts] for texts in tables]
        for batch in batches:
            pairs = [
                (row, crop, at) for row, crop in enumerate(batch.crops) for at in range(len(tables[crop]))
            ]
            for begin in range(0, len(pairs), _MAX_ROWS):
                part = pairs[begin : begin + _MAX_ROWS]
                rows, texts = [row for row, _, _ in part], [tables[crop][at] for _, crop, at in part]
                decoder = [fsum(ids) for ids in score_texts(model.decode, batch.memory[rows], texts)]
                likelihoods = ctc.log_likelihoods(batch.frames, rows, texts)
                for (_, crop, at), *heads in zip(part, decoder, likelihoods, strict=True):
                    for values, value in zip(sums[crop][at], heads, strict=True):
                        values.append(max(float(value), _FLOOR))
        # Sums that do not depend on the order of the views, which depends on the batch.
        means = [[[fsum(x) / len(x) for x in heads] for heads in table] for table in sums]
        return [np.array(table, np.float64).reshape(-1, 2) for table in means]

    def _weigh(self, texts: Sequence[Ids], scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score of each text from those of the networks (texts x 4), with the prior."""
        weights = np.array([*WEIGHTS, *SECOND_WEIGHTS])
        if self.load_second is None:
            weights *= weights.sum() / weights[:2].sum()
        total = scores @ weights
        if self.prior is not None:
            total += [self.prior.score(self.charset.decode(ids)) for ids in texts]
        return total

    def _normalize(self, found: ScoredCandidates, temperature: float) -> Ranking:
        """Make probabilities of the scores."""
        scores = self._weigh(found.texts, found.scores)
        scores = np.exp((scores - scores.max()) / temperature)
        order = np.argsort(-scores, kind="stable")
        probabilities = scores[order] / scores.sum()
        return Ranking([found.texts[i] for i in order], probabilities.tolist(), found.memory, found.frames)


def _propose(
    model: EncoderDecoder, memory: NDArray[np.float32], frames: NDArray[np.float64], beams: list[int]
) -> list[set[Ids]]:
    """Return candidates for each view: the greedy answers of both heads, and for some rows a beam."""
    texts: list[set[Ids]] = [{tuple(ctc.greedy_decode(row))} for row in frames]
    drafts = [(row, draft) for row, found in enumerate(texts) for draft in found if draft]
    limit = frames.shape[1]
    if drafts:
        rows = [row for row, _ in drafts]
        answers = verify_drafts(model.decode, memory[rows], [draft for _, draft in drafts], limit)
        for row, answer in zip(rows, answers, strict=True):
            texts[row].add(answer.ids)
    if beams:
        for row, found in zip(beams, find_candidates(model.decode, memory[beams], BEAM, limit), strict=True):
            texts[row].update(found)
    return texts
