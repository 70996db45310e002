"""The recipe of a language model."""

from dataclasses import dataclass
from typing import Literal

from nhin.models.config import ModelConfig
from nhin.training.config import Recipe, TrainerConfig


@dataclass(frozen=True, slots=True)
class LMDataConfig:
    """The training data.

    ``path`` is a folder made by ``nhin prepare``, or a text to prepare with ``tokenizer``; None takes the
    sources of Python's standard library. A step takes ``batch`` sequences, in ``accumulate`` parts.
    """

    path: str | None = None
    tokenizer: str = "bpe:4096"
    batch: int = 16
    accumulate: int = 1


@dataclass(frozen=True, slots=True)
class LMTrainConfig(TrainerConfig):
    """The settings of the trainer.

    ``optimizer`` muon trains the matrices inside blocks with Muon, all other parameters with AdamW;
    ``muon_rate`` is Muon's rate as a multiple of the schedule's. Training ends after ``patience`` validations
    without improvement (0: never). Under ``torchrun`` every process has all weights (``parallel`` ddp) or a
    share of them (fsdp). A validation takes ``validate_tokens``, the last one all tokens.
    """

    weight_decay: float = 0.1
    save_seconds: float = 120.0
    log_seconds: float = 5.0
    validate_steps: int = 250
    device: Literal["auto", "cpu", "cuda"] = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    optimizer: Literal["adamw", "muon"] = "adamw"
    muon_rate: float = 1.0
    betas: tuple[float, ...] = (0.9, 0.95)
    patience: int = 0
    validate_tokens: int = 65536


@dataclass(frozen=True, slots=True)
class LMRecipe(Recipe):
    """The settings of one run.

    ``ngram`` above 0 counts n-grams of this order instead of training a network. ``fitted`` is True where a
    budget has set the steps.
    """

    workflow: Literal["lm"] = "lm"
    ngram: int = 0
    fitted: bool = False
    model: ModelConfig = ModelConfig()  # noqa: RUF009 - frozen
    data: LMDataConfig = LMDataConfig()
    training: LMTrainConfig = LMTrainConfig()
