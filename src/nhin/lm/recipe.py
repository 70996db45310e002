"""The recipe of a language model."""

from dataclasses import dataclass
from typing import Literal

from nhin.models.config import ModelConfig
from nhin.training.config import Recipe, TrainerConfig


@dataclass(frozen=True, slots=True)
class LMDataConfig:
    """What is trained on.

    ``path`` is a folder made by ``nhin prepare``, or a text to prepare with ``tokenizer``; None for the
    sources of Python's own library. ``batch`` texts of the model's context are read per step, in
    ``accumulate`` parts.
    """

    path: str | None = None
    tokenizer: str = "bpe:4096"
    batch: int = 16
    accumulate: int = 1


@dataclass(frozen=True, slots=True)
class LMTrainConfig(TrainerConfig):
    """How a run goes.

    ``optimizer`` muon takes the matrices inside blocks with Muon, everything else with AdamW; ``muon_rate``
    is its rate as a multiple of the schedule's. After ``patience`` validations without a better one training
    ends; 0 never ends it. ``parallel`` says what the processes of ``torchrun`` share: gradients, each having
    the whole model (ddp), or the weights (fsdp). Validations read ``validate_tokens``, the last one all.
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

    ``ngram`` above 0 counts n-grams instead of training a network. ``fitted`` says that a budget, not the
    recipe's author, has set the steps.
    """

    workflow: Literal["lm"] = "lm"
    ngram: int = 0
    fitted: bool = False
    model: ModelConfig = ModelConfig()  # noqa: RUF009 - frozen
    data: LMDataConfig = LMDataConfig()
    training: LMTrainConfig = LMTrainConfig()
