"""The settings that the recipes of every workflow share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from nhin.training.lr_schedule import LRSchedule
from nhin.training.precision import Precision


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """The settings of ``Trainer``.

    ``grad_clip`` is the largest gradient norm, ``ema_decay`` the decay of the EMA of the weights (0: none);
    ``validate_steps`` 0 validates at the end only.
    """

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "clip": "grad_clip",
        "average": "ema_decay",
    }

    threads: int = 2
    precision: Precision = "auto"
    grad_clip: float = 1.0
    weight_decay: float = 0.05
    ema_decay: float = 0.0
    save_seconds: float = 180.0
    log_seconds: float = 10.0
    validate_steps: int = 1000


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of one run; a workflow adds those of its model and its data."""

    seed: int = 0
    schedule: LRSchedule = LRSchedule()
    training: TrainerConfig = TrainerConfig()
