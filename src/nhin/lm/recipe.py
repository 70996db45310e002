"""The recipe of a language model."""

from dataclasses import dataclass
from typing import Annotated, Literal

from nhin.lm.ngram import MAX_ORDER
from nhin.models.config import ModelConfig
from nhin.ranges import Length, Range
from nhin.training.config import Recipe, TrainerConfig


@dataclass(frozen=True, slots=True)
class LMDataConfig:
    """The training data.

    ``path`` is a folder made by ``nhin prepare``, or a text to prepare with ``tokenizer``, a kind or
    ``run:FOLDER`` for that of a run; None takes the sources of Python's standard library. A step takes
    ``batch`` sequences, in ``accumulate`` parts.
    """

    path: Annotated[str | None, Length(1)] = None
    tokenizer: Annotated[str, Length(1)] = "bpe:4096"
    batch: Annotated[int, Range(1, 2**20)] = 16
    accumulate: Annotated[int, Range(1, 2**20)] = 1


@dataclass(frozen=True, slots=True)
class LMTrainConfig(TrainerConfig):
    """The settings of the trainer.

    ``optimizer`` muon trains the matrices inside blocks with Muon, all other parameters with AdamW;
    ``muon_rate`` is Muon's rate as a multiple of the schedule's. Training ends after ``patience`` validations
    without improvement (0: never). Under ``torchrun`` every process has all weights (``parallel`` ddp) or a
    share of them (fsdp). A validation takes ``validate_tokens``, the last one all tokens.
    """

    weight_decay: Annotated[float, Range(0, 1e3)] = 0.1
    save_seconds: Annotated[float, Range(0, 1e9)] = 120.0
    log_seconds: Annotated[float, Range(0, 1e9)] = 5.0
    validate_steps: Annotated[int, Range(0, 10**12)] = 250
    parallel: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    muon_rate: Annotated[float, Range(0, 1e6)] = 1.0
    betas: Annotated[tuple[Annotated[float, Range(0, below=1)], ...], Length(2, 2)] = (0.9, 0.95)
    patience: Annotated[int, Range(0, 10**9)] = 0
    validate_tokens: Annotated[int, Range(2, 10**12)] = 65536


@dataclass(frozen=True, slots=True)
class LMRecipe(Recipe):
    """The settings of one run.

    ``ngram`` above 0 counts n-grams of this order instead of training a network. ``fitted`` is True where a
    budget has set the steps. ``init_from`` is the folder of a run whose weights the network starts from.
    """

    workflow: Literal["lm"] = "lm"
    ngram: Annotated[int, Range(0, MAX_ORDER)] = 0
    fitted: bool = False
    init_from: Annotated[str | None, Length(1)] = None
    model: ModelConfig = ModelConfig()  # noqa: RUF009 - frozen
    data: LMDataConfig = LMDataConfig()
    training: LMTrainConfig = LMTrainConfig()
