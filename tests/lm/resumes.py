"""What the tests of resuming share: a trainer and tasks that note what they do, and ways to compare runs."""

import dataclasses
import json
from io import StringIO

import torch
from safetensors.torch import load_file

from nhin.training.trainer import Trainer

DONE, LONGER = 2, "schedule.steps=4"  # a run of two steps is continued for two more


class ThreadWatcher:
    """For a task: notes how many threads the last loss was computed with."""

    threads = 0

    def loss(self, model, batch):
        self.threads = torch.get_num_threads()
        return super().loss(model, batch)


class CountingTrainer(Trainer):
    """Counts its checkpoints."""

    saves = 0

    def save(self):
        self.saves += 1
        super().save()


def train_task(task, out, resume=False, **options):
    """Train; return the trainer, the lines on the screen, and the lines of the log."""
    screen = StringIO()
    trainer = CountingTrainer(task, out, screen)
    trainer.fit(resume, **options)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return trainer, screen.getvalue(), log


def read_weights(run, name="model"):
    return load_file(run / "checkpoint" / f"{name}.safetensors")


def is_same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def steps_of(log, event):
    return [row["step"] for row in log if row["event"] == event]


def list_settings(cls, prefix=""):
    """List the settings of a recipe by dotted name; a table with free keys is one."""
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.default):
            yield from list_settings(type(field.default), f"{prefix}{field.name}.")
        else:
            yield prefix + field.name
