"""Trainings in processes of their own, forked from one that has imported all they need: a fresh one takes
longer to import torch than a small model takes to train."""

import os
import socket
import sys
import time
from multiprocessing import get_context
from pathlib import Path

from runs import small_artifacts

from nhin.cli.app import main

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["forks", "nhin.lm.task", "nhin.ocr.task", "pytest", "torch._dynamo"])


def start_training(recipe, run, *words, **environment):
    """Start ``nhin train``; what it says goes to a file beside the run's folder."""
    process = FORKS.Process(target=_train, args=(recipe, run, words, environment))
    process.start()
    return process


def _train(recipe, run, words, environment):
    os.environ |= environment
    with _find_messages(run, environment.get("RANK", "")).open("w", encoding="utf-8") as messages:
        sys.stderr = messages
        with small_artifacts():
            sys.exit(main(["train", str(recipe), "--out", str(run), *words]))


def _find_messages(run, rank):
    return Path(f"{run}{rank}.messages")


def read_messages(run, rank=""):
    """Return what a training wrote to standard error."""
    return _find_messages(run, rank).read_text(encoding="utf-8")


def wait_for_lines(process, run, count):
    """Wait until the log of a training has so many lines, or the process has ended."""
    log = run / "log.jsonl"
    while process.is_alive() and (not log.exists() or log.read_text().count("\n") < count):
        time.sleep(0.01)


def find_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def train_in_two(recipe, run, *words):
    """Train in two processes, as torchrun starts them, which must end well."""
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": find_port(),
    }
    pair = [start_training(recipe, run, *words, RANK=rank, LOCAL_RANK=rank, **shared) for rank in "01"]
    for rank, process in enumerate(pair):
        process.join(180)
        assert process.exitcode == 0, read_messages(run, rank)
