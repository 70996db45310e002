"""nhin train: what fails before a step leaves nothing behind, and takes nothing away."""

from nhin.cli.app import main


def test_a_training_that_cannot_begin_leaves_no_folder(tmp_path, capsys):
    empty, out = tmp_path / "empty.txt", tmp_path / "run"
    empty.write_text("")
    assert main(["train", "lm-bigram", "--data", str(empty), "--out", str(out)]) == 3
    assert "too short" in capsys.readouterr().err
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("mine")
    assert main(["train", "lm-bigram", "--data", str(empty), "--out", str(out)]) == 3
    assert (out / "mine").read_text() == "mine"
