"""Laws of a run's folder and its log."""

import io
import json
import os
import signal

import pytest

from nhin.errors import CheckpointError, UsageError
from nhin.training.logger import Log
from nhin.training.run_dir import lock_run_dir
from nhin.training.signals import catch_stop_signals


def test_a_folder_is_held_by_one_and_free_again_afterwards(tmp_path):
    run = tmp_path / "run"
    with lock_run_dir(run), pytest.raises(UsageError, match="another training"), lock_run_dir(run):
        pass
    with lock_run_dir(tmp_path / "run"):
        pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write in"), lock_run_dir(tmp_path / "file" / "run"):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_waits_once_and_insists_twice(number):
    before = signal.getsignal(number)
    with catch_stop_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def metrics(loss=1.0):
    return {"loss": loss, "ctc": 2 * loss, "grad_norm": 0.5, "rate": 1e-3}


def test_the_log_holds_means_for_programs_and_a_line_for_people(tmp_path):
    screen = io.StringIO()
    log = Log(tmp_path / "log.jsonl", total=2, every=1000, screen=screen)
    log.step(1, metrics(1.0), 10)
    log.step(2, metrics(3.0), 10)
    (line,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (line["event"], line["step"], line["loss"], line["ctc"]) == ("step", 2, 2.0, 4.0)
    assert "step 2/2" in screen.getvalue()
    assert "crops/s" in screen.getvalue()


def test_a_resumed_log_forgets_what_will_be_done_again_and_torn_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    log = Log(path, total=10, every=0, screen=io.StringIO())
    for number in range(1, 6):
        log.step(number, metrics(), 1)
    with path.open("a") as file:
        file.write('{"step": 1, "ev')
    Log(path, total=10, done=3, screen=io.StringIO())
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
