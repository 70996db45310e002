"""Rank many candidate texts of a crop under several views of it, with a soft prior over letters.

The score of a text is the mean over the views of both heads' log-probabilities of it, and a part of its
log-probability under the prior. The candidates are each view's greedy answers and a beam search's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from nhin.decoding import ctc
from nhin.decoding.candidates import find_candidates
from nhin.decoding.draft_verify import score_texts, verify_drafts
from nhin.decoding.letter_prior import LetterPrior
from nhin.decoding.protocol import EncoderDecoder, mask_specials
from nhin.image.preprocess import Pixels, preprocess_crop, to_batch
from nhin.reading.batching import group_by_width
from nhin.reading.views import make_views
from nhin.text.charset import Charset

BEAM = 5
CTC_SHARE = 0.3
PRIOR_WEIGHT = 0.15
_FLOOR = -200.0  # of a head's log-probability: one view alone does not forbid a text
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
class _EncodedViews:
    """Views of one width: the number of each one's crop, their memory and their CTC frames."""

    crops: list[int]
    memory: NDArray[np.float32]
    frames: NDArray[np.float64]


class CandidateRanker:
    """Ranks candidates with one network and, if there is one, a prior."""

    def __init__(
        self, model: EncoderDecoder, charset: Charset, height: int, prior: LetterPrior | None = None
    ) -> None:
        self.model, self.charset, self.height, self.prior = model, charset, height, prior

    def rank(self, crops: Sequence[Pixels], temperature: float = 1.0) -> list[Ranking]:
        """Rank the candidates of each crop.

        Args:
            crops: height x width x 3, RGB, or height x width; with pixels.
            temperature: Divides the scores before they become probabilities.
        """
        views = [(i, number, x) for i, crop in enumerate(crops) for number, x in enumerate(make_views(crop))]
        inputs = [preprocess_crop(picture, self.height) for _, _, picture in views]
        scores: list[dict[Ids, list[float]]] = [{} for _ in crops]
        own: dict[int, tuple[NDArray[np.float32], NDArray[np.float64]]] = {}
        encoded: list[_EncodedViews] = []
        for batch in group_by_width([image.shape[1] for image in inputs]):
            memory, log_probs = self.model.encode(to_batch([inputs[k] for k in batch]))
            frames = mask_specials(log_probs, ctc.BLANK)
            firsts = [row for row, k in enumerate(batch) if views[k][1] == 0]
            for row, (k, texts) in enumerate(zip(batch, self._propose(memory, frames, firsts), strict=True)):
                scores[views[k][0]].update((ids, []) for ids in texts)
                if views[k][1] == 0:
                    own[views[k][0]] = memory[row], frames[row]
            encoded.append(_EncodedViews([views[k][0] for k in batch], memory, frames))
        for table in scores:
            if len(table) > 1:  # something is there: in question is what it says
                table.pop((), None)
        for batch in encoded:
            self._add_scores(batch, scores)
        return [self._normalize(table, temperature, *own[i]) for i, table in enumerate(scores)]

    def _propose(
        self, memory: NDArray[np.float32], frames: NDArray[np.float64], beams: list[int]
    ) -> list[set[Ids]]:
        """Return candidates for each view: the greedy answers of both heads, and for some rows a beam."""
        texts: list[set[Ids]] = [{tuple(ctc.greedy_decode(row))} for row in frames]
        drafts = [(row, draft) for row, found in enumerate(texts) for draft in found if draft]
        limit = frames.shape[1]
        if drafts:
            rows = [row for row, _ in drafts]
            answers = verify_drafts(self.model.decode, memory[rows], [draft for _, draft in drafts], limit)
            for row, answer in zip(rows, answers, strict=True):
                texts[row].add(answer.ids)
        if beams:
            for row, found in zip(
                beams, find_candidates(self.model.decode, memory[beams], BEAM, limit), strict=True
            ):
                texts[row].update(found)
        return texts

    def _add_scores(self, batch: _EncodedViews, scores: list[dict[Ids, list[float]]]) -> None:
        """Add the log-probability of every candidate under each view, over both heads."""
        pairs = [(row, crop, ids) for row, crop in enumerate(batch.crops) for ids in scores[crop]]
        for begin in range(0, len(pairs), _MAX_ROWS):
            part = pairs[begin : begin + _MAX_ROWS]
            texts = [ids for _, _, ids in part]
            decoder = score_texts(self.model.decode, batch.memory[[row for row, _, _ in part]], texts)
            likelihoods = ctc.log_likelihoods(batch.frames, [row for row, _, _ in part], texts)
            heads = np.maximum(np.array([[sum(x) for x in decoder], likelihoods]), _FLOOR)
            for (_, crop, ids), score in zip(part, (1 - CTC_SHARE, CTC_SHARE) @ heads, strict=True):
                scores[crop][ids].append(float(score))

    def _normalize(
        self,
        table: dict[Ids, list[float]],
        temperature: float,
        memory: NDArray[np.float32],
        frames: NDArray[np.float64],
    ) -> Ranking:
        """Average the scores over the views, add the prior, and make probabilities of them."""
        texts = sorted(table)
        # Sums that do not depend on the order of the views, which depends on the batch.
        scores = np.array([fsum(table[ids]) / len(table[ids]) for ids in texts])
        if self.prior is not None:
            scores += PRIOR_WEIGHT * np.array([self.prior.score(self.charset.decode(ids)) for ids in texts])
        scores = np.exp((scores - scores.max()) / temperature)
        order = np.argsort(-scores, kind="stable")
        probabilities = scores[order] / scores.sum()
        return Ranking([texts[i] for i in order], probabilities.tolist(), memory, frames)
