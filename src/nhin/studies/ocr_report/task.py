"""Train on a copy of VinText, with the loss and the character accuracy after each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from nhin.data.images.chunk_cache import SampleSource
from nhin.data.images.datasets import MixedSource, ShuffledSource
from nhin.data.images.synthetic import SyntheticSource
from nhin.decoding.draft_verify import verify_drafts
from nhin.metrics.error_rates import ErrorRates
from nhin.models.recognizer import RecognizerNet
from nhin.ocr.recipe import OCRRecipe
from nhin.ocr.task import RecognizerTask
from nhin.ocr.torch_backend import TorchModel
from nhin.ocr.validation import ValidationSet, make_validation_set, spread_evenly
from nhin.reading.decoder_recognizer import MAX_LENGTH
from nhin.studies.ocr_report.word_sets import WordSets
from nhin.text.charset import EOS, PAD, SOS, Charset
from nhin.training.logger import Log
from nhin.training.precision import autocast, resolve_dtype
from nhin.training.train_state import TrainState

TRAINING_SAMPLE = 500
"""Training words on which the same is measured, taken evenly."""


@dataclass(frozen=True, slots=True)
class EpochScores:
    """What is measured after an epoch: the decoder's loss in nats a character, and its character accuracy."""

    epoch: float
    training_loss: float
    training_accuracy: float
    validation_loss: float
    validation_accuracy: float


class ReportTask(RecognizerTask):
    """Trains the recognizer on words, with their own vocabulary."""

    def __init__(self, recipe: OCRRecipe, sets: WordSets) -> None:
        super().__init__(recipe)
        self.sets, self.charset = sets, sets.charset
        split = {"train": len(sets.train), "validation": len(sets.validation)}
        self.files = {"charset": {"chars": self.charset.chars}, "split": split}
        self._measured: tuple[ValidationSet, ValidationSet] | None = None

    def build_source(self) -> SampleSource:
        """Build the source of the words to train on, perhaps mixed with synthetic ones."""
        data = self.recipe.data
        words = ShuffledSource(self.sets.train, data.seed, data.vary)
        if data.real_share >= 1.0:
            return words
        synth = SyntheticSource(fonts=data.fonts, words=data.words, seed=data.seed)
        return MixedSource(synth, words, data.real_share, data.seed)

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Log the scores after an epoch."""
        model = state.ema if state.ema is not None else state.model
        assert isinstance(model, RecognizerNet)
        if log is None:
            return True
        if self._measured is None:
            sample = spread_evenly(self.sets.train, TRAINING_SAMPLE)
            first, second = (make_validation_set(c, model.height) for c in (sample, self.sets.validation))
            self._measured = first, second
        dtype = resolve_dtype(self.recipe.training.precision, self.device.type)
        training, validation = (measure_words(model, self.charset, words, dtype) for words in self._measured)
        epoch = state.step / self.recipe.training.validate_steps
        scores = EpochScores(epoch, *training, *validation)
        log.event("epoch", state.step, **{name: getattr(scores, name) for name in EpochScores.__slots__})
        log.say(
            f"epoch {epoch:g}  loss {scores.training_loss:.4f} (validation {scores.validation_loss:.4f})  "
            f"characters right {scores.training_accuracy:.1%} ({scores.validation_accuracy:.1%})"
        )
        return True


@torch.no_grad()
def measure_words(
    model: RecognizerNet, charset: Charset, words: ValidationSet, dtype: torch.dtype = torch.float32
) -> tuple[float, float]:
    """Return the decoder's loss in nats a character, and the character accuracy of its greedy answers."""
    decode, rates = TorchModel(model).decode, ErrorRates()
    device = next(model.parameters()).device
    nats = count = 0.0
    for pictures, texts in words.batches:
        with autocast(dtype, device.type):
            memory, _ = model.encode(torch.from_numpy(pictures).to(device))
        memory = memory.float()
        tokens = _pad_texts(texts, charset).to(device)
        logits = model.decode(memory, tokens[:, :-1])
        loss = F.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD, reduction="sum"
        )
        nats, count = nats + float(loss), count + float((tokens[:, 1:] != PAD).sum())
        answers = verify_drafts(decode, np.asarray(memory.cpu()), [()] * len(texts), MAX_LENGTH)
        for answer, text in zip(answers, texts, strict=True):
            rates.add(charset.decode(answer.ids), text)
    return nats / max(1.0, count), rates.figures()["char_accuracy"]


def _pad_texts(texts: Sequence[str], charset: Charset) -> torch.Tensor:
    rows = [[SOS, *charset.encode(text), EOS] for text in texts]
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
