"""``nhin doctor`` tells what is installed, and names what is wrong."""

import json

from nhin.cli import doctor as module
from nhin.cli.app import main
from nhin.errors import CheckpointError
from nhin.reading import onnx_model


def test_a_whole_installation_is_well(capsys):
    assert main(["doctor"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "all is well"
    assert captured.err == ""


def test_json_has_the_digests_that_inspect_prints(capsys):
    assert main(["doctor", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    for name, digest in tree["weights"].items():
        with onnx_model.locate_model(name) as folder:
            assert digest == onnx_model.hash_model(folder)
    assert "default" in tree["weights"]
    assert "CPUExecutionProvider" in tree["providers"]
    assert {"pdf", "heic", "serve", "ocrmypdf", "ray", "torch"} <= tree["extras"].keys()


def test_damaged_weights_and_missing_packages_are_named(monkeypatch, capsys):
    def fail(folder):
        raise CheckpointError(f"{folder.name} is damaged")

    monkeypatch.setattr(onnx_model, "read_model", fail)
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "gói-không-có"))
    assert main(["doctor"]) == 4
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    assert "problem: default is damaged" in problems
    assert problems[-1] == "problem: gói-không-có is not installed"


def test_an_extra_that_is_not_installed_is_no_problem_and_its_installation_is_told(monkeypatch, capsys):
    monkeypatch.setattr(module, "EXTRAS", {"pdf": ("gói-không-có",)})
    assert main(["doctor"]) == 0
    assert "extra pdf: not installed; pip install" in capsys.readouterr().out
