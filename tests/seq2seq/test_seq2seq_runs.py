"""Laws of the runs of encoder-decoder models: resuming, loading, decoding, evaluating, drawing."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from resumes import DONE, LONGER, is_same, list_settings, read_weights, train_task

from nhin.cli.app import main
from nhin.config import from_dict, load_recipe, override
from nhin.data.pairs.marks import split_text
from nhin.data.pairs.rules import RULES
from nhin.decoding.beam_search import BeamSearchConfig
from nhin.errors import CheckpointError, DataError, UsageError
from nhin.models.seq2seq.network import decode_greedily
from nhin.seq2seq.evaluate import evaluate
from nhin.seq2seq.evaluate_marks import evaluate_marks
from nhin.seq2seq.loading import open_seq2seq_run
from nhin.seq2seq.recipe import SEQ2SEQ_RULES, Seq2SeqRecipe, open_pairs
from nhin.seq2seq.restore import MarkModel
from nhin.seq2seq.task import Seq2SeqTask, draw_held_out
from nhin.seq2seq.translate import Seq2SeqBeams, align, encode_source, translate
from nhin.text.letters import strip_marks
from nhin.text.numbers import number_words
from nhin.text.unmarked import Slot
from nhin.training.distributed import ProcessGroup

BASE = {
    "workflow": "seq2seq",
    "model": {"dim": 8, "decoder": "luong", "dropout": 0.1},
    "data": {"task": "numbers", "batch": 4, "max_length": 3},
    "schedule": {"steps": 4, "warmup": 2, "rate": 1e-2},
    "training": {"log_seconds": 0.0, "validate_steps": 0, "validate_pairs": 8},
}
TEXT = "".join(f"tôi đọc số {number_words(i)}, còn bạn thì không.\n" for i in range(600))


def make_recipe(*changes):
    return from_dict(Seq2SeqRecipe, override(BASE, changes), "test")


def train(recipe, out, resume=False, **options):
    return train_task(Seq2SeqTask(recipe), out, resume, **options)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    run = tmp_path_factory.mktemp("begun") / "run"
    train(make_recipe(f"schedule.steps={DONE}"), run)
    return run


@pytest.fixture(scope="module")
def marks(text, tmp_path_factory):
    run = tmp_path_factory.mktemp("marks") / "run"
    train(make_recipe("data.task=marks", f"data.path={text}", "data.max_length=8"), run)
    return run


@pytest.mark.parametrize("decoder", ["luong", "bahdanau", "transformer"])
def test_a_run_in_two_parts_ends_bit_for_bit_as_one_that_was_never_stopped(decoder, tmp_path):
    recipe, shape = f"model.decoder={decoder}", ("schedule.shape=constant", "training.ema_decay=0.9")
    train(make_recipe(recipe, LONGER, *shape), tmp_path / "whole")
    train(make_recipe(recipe, f"schedule.steps={DONE}", *shape), tmp_path / "parts")
    train(make_recipe(recipe, LONGER, *shape), tmp_path / "parts", resume=True)
    for file in ("model", "ema", "optimizer"):
        assert is_same(*(read_weights(tmp_path / run, file) for run in ("whole", "parts")))


def test_every_setting_is_listed_as_changeable_or_fixed():
    listed = SEQ2SEQ_RULES.changeable | SEQ2SEQ_RULES.fixed
    assert set(list_settings(Seq2SeqRecipe)) == listed
    assert not SEQ2SEQ_RULES.changeable & SEQ2SEQ_RULES.fixed


@pytest.mark.parametrize("change", ["model.dim=16", "data.batch=8", "data.task=copy", "model.decoder=fixed"])
def test_a_resume_with_another_model_or_other_pairs_is_refused(change, begun):
    with pytest.raises(CheckpointError, match=change.partition("=")[0]):
        train(make_recipe(LONGER, change), begun, resume=True)


def test_a_resume_on_another_text_is_refused_unless_asked_for(marks, tmp_path):
    run, other = shutil.copytree(marks, tmp_path / "run"), tmp_path / "other.txt"
    other.write_text(TEXT.replace("còn bạn", "còn ai"), encoding="utf-8")
    recipe = make_recipe("data.task=marks", f"data.path={other}", "data.max_length=8", "schedule.steps=5")
    with pytest.raises(CheckpointError):
        train(recipe, run, resume=True)


def test_the_processes_share_a_batch_and_its_mean():
    task = Seq2SeqTask(make_recipe("data.batch=6", "model.dropout=0"))
    state = task.init_state(ProcessGroup())
    batches = []
    for rank, world in ((0, 1), (0, 2), (1, 2)):
        with task.open_batches(state, ProcessGroup(rank, world)) as stream:
            batches.append(next(stream))
    whole, *parts = (task.loss(state.model, batch)["loss"] for batch in batches)
    assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), abs=1e-5)


def test_a_run_that_is_opened_holds_the_trained_network(begun):
    run = open_seq2seq_run(begun)
    assert is_same(run.model.state_dict(), read_weights(begun))
    assert (run.step, run.separator, run.split("1 205")) == (DONE, " ", ("1", "2", "0", "5"))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("vocab", {"source": ["a"], "target": ["b"], "separator": ""}),
        ("vocab", {"source": ["a", "a"], "target": [], "separator": ""}),
        ("vocab", [1]),
        ("recipe", {"workflow": "lm"}),
        ("trainer", {"step": -1}),
    ],
)
def test_a_damaged_run_is_refused(file, change, begun, tmp_path):
    run = shutil.copytree(begun, tmp_path / "run")
    (run / "checkpoint" / f"{file}.json").write_text(json.dumps(change))
    with pytest.raises(Exception) as why:
        open_seq2seq_run(run)
    assert getattr(why.value, "exit_code", 0) in (2, 4)


def test_one_beam_writes_what_greedy_decoding_writes(begun):
    run = open_seq2seq_run(begun)
    _, ids = encode_source(run, "1.205")
    (greedy,) = decode_greedily(run.model, ids, 6)
    ((tokens, _),) = translate(run, "1.205", BeamSearchConfig(1, 6))
    assert tokens == run.tables[1].decode(greedy)
    weights = align(run, "1.205", tokens)
    assert weights.shape == (len(tokens) + 1, 5)


def test_the_coverage_of_a_beam_is_the_sum_of_its_weights(begun):
    run = open_seq2seq_run(begun)
    _, ids = encode_source(run, "123")
    beams = Seq2SeqBeams(run.model, ids, 2)
    beams.start()
    assert beams.coverage().sum(1) == pytest.approx([1, 1], abs=1e-5)
    translate(run, "123", BeamSearchConfig(2, 4, beta=0.2))


@pytest.mark.parametrize("text", ["", "12x", "1" * 600])
def test_a_source_that_the_model_cannot_take_is_refused_in_one_line(text, begun):
    with pytest.raises(UsageError):
        translate(open_seq2seq_run(begun), text, BeamSearchConfig(1, 4))


def test_a_run_is_measured_by_length_on_pairs_that_it_was_not_trained_on(begun, tmp_path):
    run = open_seq2seq_run(begun)
    result = evaluate(run, "numbers", 4)
    assert list(result.by_length) == [1, 2, 3, 4, 5, 6]
    assert result.total.pairs == 24
    assert draw_held_out(RULES["numbers"](), run.recipe, 4, 6) == draw_held_out(
        RULES["numbers"](), run.recipe, 4, 6
    )
    (tmp_path / "pairs.tsv").write_text("12\tmười hai\n5\tnăm\n", encoding="utf-8")
    assert list(evaluate(run, str(tmp_path / "pairs.tsv")).by_length) == [1, 2]
    with pytest.raises(UsageError, match="trained on numbers"):
        evaluate(run, "copy")
    (tmp_path / "pairs.tsv").write_text("12\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        evaluate(run, str(tmp_path / "pairs.tsv"))


def test_marks_are_measured_on_the_held_out_part_of_the_text_that_was_learned(marks, text, tmp_path):
    run = open_seq2seq_run(marks)
    result = evaluate_marks(run, text)
    assert result == evaluate_marks(run, shutil.copy(text, tmp_path / "copy.txt"))
    assert result.words == sum(map(len, split_text(TEXT)[1])) > 0
    assert 0 < result.most_frequent <= result.bigram <= 1
    (tmp_path / "other.txt").write_text("tôi đọc", encoding="utf-8")
    assert evaluate_marks(run, tmp_path / "other.txt").words == 2
    (tmp_path / "other.txt").write_text(TEXT.splitlines()[0], encoding="utf-8")
    with pytest.raises(DataError, match="did not learn"):
        evaluate_marks(run, tmp_path / "other.txt")
    assert main(["evaluate", str(marks), str(text), "--limit", "3"]) == 0


@pytest.mark.parametrize(
    "changes",
    [
        ("data.task=marks",),
        ("data.path=text.txt",),
        ("data.min_length=4",),
        ("data.max_length=99",),
    ],
)
def test_pairs_that_cannot_be_made_are_refused(changes):
    with pytest.raises(UsageError):
        open_pairs(make_recipe(*changes).data)


@pytest.mark.parametrize("name", ["seq2seq-numbers", "seq2seq-marks"])
def test_the_shipped_recipes_load(name):
    recipe = load_recipe(Seq2SeqRecipe, name)
    recipe.model.check()
    assert recipe.workflow == "seq2seq"
    if name == "seq2seq-numbers":
        Seq2SeqTask(replace(recipe, seed=1))


def test_the_commands_train_sample_measure_and_draw(tmp_path, capsys):
    run, small = str(tmp_path / "run"), ["--set", "model.dim=8", "--set", "schedule.steps=1"]
    small += ["--set", "data.max_length=2"]
    assert main(["train", "seq2seq-numbers", "--out", run, *small, "--set", "training.validate_pairs=2"]) == 0
    assert main(["sample", run, "--prompt", "15", "--beams", "2", "--count", "2", "--json"]) == 0
    assert capsys.readouterr().out.count('"text"') == 2
    assert main(["evaluate", run, "numbers", "--limit", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trained_lengths"] == [1, 2]
    assert main(["evaluate", run, "numbers", "--limit", "1"]) == 0
    assert main(["show", "alignment", run, "15", "--out", str(tmp_path / "figures")]) == 0
    assert (tmp_path / "figures" / "run-alignment.png").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "RUN", "--prompt", "12", "--temperature", "1"],
        ["sample", "RUN", "--prompt", "12", "--count", "2"],
        ["evaluate", "RUN", "numbers", "--split", "test"],
        ["show", "alignment", "RUN"],
        ["train", "seq2seq-numbers", "--out", "OUT", "--data", "RUN"],
        ["train", "seq2seq-marks", "--out", "OUT"],
        ["train", "seq2seq-numbers", "--out", "OUT", "--budget-steps", "3"],
        ["train", "seq2seq-numbers", "--out", "OUT", "--validate", "RUN"],
    ],
)
def test_options_of_other_models_are_refused_in_one_line(words, begun, tmp_path, capsys):
    words = [{"RUN": str(begun), "OUT": str(tmp_path / "out")}.get(word, word) for word in words]
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_model_of_marks_writes_only_the_words_with_marks_and_keeps_what_is_closed(marks):
    run = open_seq2seq_run(marks)
    model = MarkModel(run)
    rows = [[Slot(w, True) for w in "toi doc so khong biet zzz".split()], [], [Slot("tôi", False)] * 70]
    words = model.choose(rows)
    assert [len(row) for row in words] == [6, 0, 70]
    assert [strip_marks(word) for word in words[0]] == [slot.word for slot in rows[0]]
    assert set(words[2]) == {"tôi"}
    assert words[0] == model.choose(rows[:1])[0]


def test_a_word_with_marks_is_what_a_model_reads_as_written_before_the_next(marks, monkeypatch):
    run = open_seq2seq_run(marks)
    decode, fed = run.model.decode, []
    monkeypatch.setattr(
        run.model, "decode", lambda tokens, *rest: fed.append(tokens) or decode(tokens, *rest)
    )
    words = ["mười", "mươi"]  # the same without marks, so the model would choose one of them for both
    MarkModel(run).choose([[Slot(word, False), Slot("doc", True)] for word in words])
    assert run.tables[1].decode(fed[1][:, 0].tolist()) == words


def test_restoring_with_a_run_of_another_task_is_refused(begun):
    with pytest.raises(UsageError, match="numbers"):
        MarkModel(open_seq2seq_run(begun))
