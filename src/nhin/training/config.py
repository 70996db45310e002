"""The settings that the recipes of every workflow share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from nhin.ranges import SEED, THREADS, Range
from nhin.training.lr_schedule import LRSchedule
from nhin.training.precision import Device, Precision


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

    threads: Annotated[int, THREADS] = 2
    device: Device = "auto"
    precision: Precision = "auto"
    grad_clip: Annotated[float, Range(above=0, maximum=1e9)] = 1.0
    weight_decay: Annotated[float, Range(0, 1e3)] = 0.05
    ema_decay: Annotated[float, Range(0, below=1)] = 0.0
    save_seconds: Annotated[float, Range(0, 1e9)] = 180.0
    log_seconds: Annotated[float, Range(0, 1e9)] = 10.0
    validate_steps: Annotated[int, Range(0, 10**12)] = 1000


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of one run; a workflow adds those of its model and its data."""

    seed: Annotated[int, SEED] = 0
    schedule: LRSchedule = LRSchedule()
    training: TrainerConfig = TrainerConfig()
