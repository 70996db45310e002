"""Print the files and the training types that one step of a trainer passes through.

    python scripts/trace_step.py [recipe]     reader-small when left out

Two steps are taken on a small random batch; the second one is traced.
"""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import nhin
from nhin.config import load_recipe
from nhin.data.images.bucket_sampler import StreamPosition
from nhin.ocr.recipe import OCRRecipe
from nhin.ocr.task import OCRBatch, RecognizerTask
from nhin.training.trainer import Trainer

SOURCE = Path(nhin.__file__).parent


def trace_step(trainer: Trainer, batch: Any) -> tuple[list[str], list[str]]:
    """Take a step; return the files of nhin it runs, and the classes of nhin.training among its variables."""
    files, types = set(), set()

    def record(frame: FrameType, event: str, value: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event != "return" or not path.is_relative_to(SOURCE):
            return
        files.add(str(path.relative_to(SOURCE)))
        for x in list(frame.f_locals.values()):
            if type(x).__module__.startswith("nhin.training"):
                types.add(f"{type(x).__module__}.{type(x).__name__}")

    sys.setprofile(record)
    try:
        trainer.step(batch)
    finally:
        sys.setprofile(None)
    return sorted(files), sorted(types)


def main() -> None:
    """Trace a recipe's second step."""
    torch.manual_seed(0)
    trainer = Trainer(RecognizerTask(load_recipe(OCRRecipe, *sys.argv[1:2] or ["reader-small"])))
    height = trainer.start().model.height
    batch = OCRBatch(torch.randn(2, 1, height, 96), [[5, 6, 7], [8, 9]], StreamPosition(), 2)
    trainer.step(batch)
    for name, found in zip(("files", "types"), trace_step(trainer, batch), strict=True):
        print(f"{len(found)} {name}:", *found, sep="\n  ")


if __name__ == "__main__":
    main()
