"""Laws of the study of encoder-decoder models: what it trains, writes and refuses."""

import csv
import json

import pytest

from nhin.cli.app import main
from nhin.errors import NhinError, UnknownName, UsageError
from nhin.studies.seq2seq.report import format_report, save_report
from nhin.studies.seq2seq.run import Seq2SeqStudyRun, run_study
from nhin.studies.seq2seq.settings import MODELS, Seq2SeqStudy

TINY = Seq2SeqStudy(models=("fixed", "general"), seeds=2, steps=2, batch=2, dim=8, length=2, pairs=2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "study"
    return out, run_study(TINY, out)


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_model_of_the_study_has_settings_that_go_together(model):
    recipe = Seq2SeqStudy(dim=8).recipe(model, 1)
    recipe.model.check()
    assert (recipe.seed, recipe.data.task) == (1, "reverse")


def test_a_study_scores_every_model_and_seed_on_every_length(finished):
    _, runs = finished
    assert [(run.model, run.seed) for run in runs] == [(m, s) for s in (0, 1) for m in TINY.models]
    assert {len(run.exact) for run in runs} == {4}
    assert {(run.model, bool(run.aligned)) for run in runs} == {("fixed", False), ("general", True)}


def test_a_study_goes_on_without_repeating_what_is_done(finished):
    out, runs = finished
    assert run_study(TINY, out, resume=True) == runs
    (out / "general-1.json").unlink()
    again = run_study(TINY, out, resume=True)
    assert [run.exact for run in again] == [run.exact for run in runs]


def test_the_report_has_a_row_for_each_model_and_the_csv_one_for_each_length(finished, tmp_path):
    _, runs = finished
    text = save_report(TINY, runs, tmp_path)
    assert all(f"| {model} |" in text for model in TINY.models)
    rows = list(csv.DictReader((tmp_path / "seq2seq.csv").read_text().splitlines()))
    assert len(rows) == 4 * len(runs)
    assert (tmp_path / "seq2seq.png").stat().st_size > 0


def test_a_run_that_diverged_is_said_to_have_and_is_not_averaged():
    runs = [
        Seq2SeqStudyRun("fixed", 0, 0, 0.0, diverged=True),
        Seq2SeqStudyRun("general", 0, 9, 1.0, (1.0,) * 4),
    ]
    text = format_report(TINY, runs)
    assert "| fixed |  |  |  |  |  | diverged |" in text
    assert "100.0%" in text


def test_another_study_in_the_folder_is_refused(finished):
    out, _ = finished
    with pytest.raises(UsageError, match="--resume"):
        run_study(TINY, out)
    with pytest.raises(UsageError, match="other settings"):
        run_study(Seq2SeqStudy(models=("fixed",)), out, resume=True)


@pytest.mark.parametrize(("models", "error"), [(("fixt",), UnknownName), (("dot", "dot"), UsageError)])
def test_unknown_models_are_refused(models, error, tmp_path):
    with pytest.raises(error):
        run_study(Seq2SeqStudy(models=models), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_a_torn_result_is_named(finished):
    out, _ = finished
    whole = (out / "fixed-0.json").read_text()
    (out / "fixed-0.json").write_text("{")
    with pytest.raises(NhinError, match="fixed-0"):
        run_study(TINY, out, resume=True)
    (out / "fixed-0.json").write_text(whole)


def test_the_command_resumes_with_the_settings_of_the_study(finished, capsys):
    out, _ = finished
    assert main(["study", "seq2seq", "--out", str(out), "--resume"]) == 0
    assert "width 8, 2 seeds" in capsys.readouterr().out
    assert json.loads((out / "study.json").read_text())["steps"] == 2
