"""``nhin show attention``: pictures of what looks at what, whole or not at all."""

import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image

from nhin.attention.masks import dense_mask
from nhin.attention.registry import MECHANISMS, build
from nhin.cli.app import main
from nhin.viz import plots
from nhin.viz.inputs import build_mechanism, embed_words, list_example_words, settings_for
from nhin.viz.matrices import MAX_PIXELS, compute_weights, read_matrix

SVG = "{http://www.w3.org/2000/svg}"


def show(out, *given: str) -> int:
    return main(["show", "attention", *given, "--out", str(out)])


def opened(folder):
    """Open every picture of a folder; a file that is no picture fails here."""
    found = {}
    for path in folder.iterdir():
        if path.suffix == ".svg":
            assert ET.fromstring(path.read_bytes()).tag == f"{SVG}svg"
        else:
            with Image.open(path) as picture:
                picture.load()
        found[path.name] = path
    return found


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.usefixtures("fast_figures")
def test_every_mechanism_has_a_card(name, tmp_path, capsys):
    assert show(tmp_path, name, "--length", "12") == 0
    assert set(opened(tmp_path)) == {f"{name}-card.png", f"{name}-card.svg"}
    assert [line.rpartition(".")[2] for line in capsys.readouterr().out.split()] == ["png", "svg"]


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_mechanism_shows_its_steps(name, tmp_path, monkeypatch):
    # The titles in place of the picture: cards and documents show that every mechanism can be drawn.
    monkeypatch.setattr(
        plots, "encode_figure", lambda figure, form: str([axis.get_title() for axis in figure.axes]).encode()
    )
    assert show(tmp_path, name, "--length", "7", "--kind", "steps") == 0
    assert "'output  1 × 7 × " in (tmp_path / f"{name}-steps.svg").read_text("utf-8")


@pytest.mark.parametrize("kind", ["pattern", "weights", "alignment"])
def test_kinds_are_drawn_from_the_same_matrix(kind, tmp_path):
    assert show(tmp_path, "bigbird", "--kind", kind, "--causal", "--keys", "20", "--length", "12") == 0
    assert len(opened(tmp_path)) == 2


def test_words_are_written_along_the_sides(tmp_path):
    assert show(tmp_path, "additive", "--target", "tôi nhìn ảnh", "--source", "ảnh $x$ đã") == 0
    svg = (tmp_path / "additive-alignment.svg").read_text("utf-8")
    for word in ("tôi", "nhìn", "ảnh", "đã"):
        assert f"<!-- {word} -->" in svg


def test_the_same_twice_is_the_same_bytes(tmp_path):
    for folder in ("one", "two"):
        assert show(tmp_path / folder, "performer", "--length", "9") == 0
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / f).iterdir()} for f in ("one", "two"))
    assert one == two


def test_all_draws_every_mechanism(tmp_path, monkeypatch):
    import nhin.attention.registry as registry

    few = {name: MECHANISMS[name] for name in ("softmax", "linear")}
    monkeypatch.setattr(registry, "MECHANISMS", few)
    assert show(tmp_path, "--all", "--length", "6") == 0
    assert len(opened(tmp_path)) == 4


def test_one_that_cannot_be_drawn_does_not_stop_the_others(tmp_path, capsys):
    assert show(tmp_path, "nystromformer", "softmax", "--causal", "--kind", "weights", "--length", "6") == 2
    assert set(opened(tmp_path)) == {"softmax-weights.png", "softmax-weights.svg"}
    assert "nystromformer lacks 'causal'" in capsys.readouterr().err


def test_weights_of_many_places_are_those_of_few_pooled_by_the_largest():
    torch.manual_seed(0)
    mechanism, q, k = build("window", window=40), torch.randn(1, 1100, 2, 4), torch.randn(1, 700, 2, 4)
    matrix = compute_weights(mechanism, q, k, causal=True)
    assert matrix.is_pooled
    assert matrix.shape == (1100, 700)
    assert matrix.values.shape == (2, 367, 350)  # three rows to a point, and two columns
    whole = mechanism.weights(q, k, causal=True)[0]
    assert max(matrix.values.shape[1:]) <= MAX_PIXELS
    for row, column in ((0, 0), (200, 10), (366, 349), (250, 180)):
        part = whole[:, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(matrix.values[:, row, column], part.amax((1, 2)))


def test_blocks_of_rows_are_the_whole(monkeypatch):
    from nhin.viz import matrices

    mechanism, q = build("softmax"), embed_words(list_example_words(30), 2, 4)
    whole = compute_weights(mechanism, q, q, causal=True).values
    monkeypatch.setattr(matrices, "MAX_CHUNK_WEIGHTS", 100)
    assert not compute_weights(mechanism, q, q, causal=True).is_pooled
    np.testing.assert_array_equal(compute_weights(mechanism, q, q, causal=True).values, whole)


@pytest.mark.parametrize("name", ["window", "dilated", "sinks", "strided", "fixed", "bigbird", "longformer"])
def test_what_is_drawn_as_seen_is_the_pattern_itself(name):
    mechanism, q = (
        build_mechanism(name, 2, 8, settings_for(name, 24)),
        embed_words(list_example_words(24), 2, 8),
    )
    for causal in (False, True):
        seen = compute_weights(mechanism, q, q, causal=causal).values[0] != 0
        np.testing.assert_array_equal(seen, dense_mask(mechanism.pattern, 24, 24, causal=causal).numpy())


def test_like_words_look_at_each_other():
    q = embed_words(["ảnh", "chữ", "tôi"], 1, 16)
    k = embed_words(["tôi", "chữ", "ảnh"], 1, 16)
    assert compute_weights(build("softmax"), q, k, causal=False).values[0].argmax(-1).tolist() == [2, 1, 0]


def matrix_file(path, kind):
    weights = [[0.1, 0.9, 0.0], [0.5, 0.25, 0.25]]
    if kind == "npy":
        np.save(path, np.array(weights))
    elif kind == "json":
        path.write_text(json.dumps({"weights": weights, "queries": ["a", "b"], "keys": list("xyz")}))
    else:
        path.write_text("\tx\ty\tz\na\t0.1\t0.9\t0\nb\t0.5\t0.25\t0.25\n")
    return weights


@pytest.mark.parametrize("kind", ["npy", "json", "tsv"])
def test_weights_of_your_own_are_drawn(kind, tmp_path):
    path = tmp_path / f"mine.{kind}"
    weights = matrix_file(path, kind)
    matrix = read_matrix(path)
    np.testing.assert_allclose(matrix.values, [weights])
    assert (matrix.queries, matrix.keys) == (((), ()) if kind == "npy" else (("a", "b"), ("x", "y", "z")))
    assert show(tmp_path / "out", "--weights", str(path)) == 0
    assert set(opened(tmp_path / "out")) == {"mine.png", "mine.svg"}


def pickled():
    data = io.BytesIO()
    np.save(data, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return data.getvalue()


def array(values):
    data = io.BytesIO()
    np.save(data, values)
    return data.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"1 2", "weights come as .npy, .tsv, .json"),
        ("a.npy", b"not an array", "holds no matrix"),
        ("a.npy", pickled(), "holds no matrix"),
        ("a.npy", array(np.zeros(3)), "shape"),
        ("a.npy", array(np.zeros((0, 3))), "shape"),
        ("a.npy", array(np.array([["a", "b"]])), "weights are numbers"),
        ("a.npy", array(np.zeros((65, 2, 2))), "64 at most"),
        ("a.npy", array(np.zeros((20, 20)))[:-80], "holds no matrix"),
        ("a.tsv", b"\tx\na\t1\t2\n", "names 1 keys and has weights for 2"),
        ("a.tsv", b"\tx\ty\na\t1\nb\t1\t2\n", "holds no matrix"),
        ("a.tsv", b"", "holds no matrix"),
        ("a.tsv", b"\tx\na\tmany\n", "holds no matrix"),
        ("a.tsv", b"\xff\xfe", "holds no matrix"),
        ("a.json", b"{", "holds no matrix"),
        ("a.json", b"[1, 2]", "holds no matrix"),
        ("a.json", b'{"weights": [[1, 2], [3]]}', "holds no matrix"),
        ("a.json", b'{"weights": [[1, 2]], "queries": ["a", "b"]}', "names 2 queries and has weights for 1"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(name, data, message, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(data)
    assert show(tmp_path / "out", "--weights", str(path)) == 3
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ([], 2, "nothing to draw"),
        (["sofmax"], 2, "did you mean softmax"),
        (["softmax", "--all"], 2, "not both"),
        (["softmax", "--weights", "x.npy"], 2, "not both"),
        (["--weights", "nowhere.npy"], 3, "cannot be read"),
        (["softmax", "--length", "0"], 2, "--length is 0; give 1 to"),
        (["softmax", "--length", "1000000"], 2, "give 1 to"),
        (["softmax", "--heads", "0"], 2, "--heads is 0"),
        (["softmax", "--head-dim", "100000"], 2, "--head-dim is 100000"),
        (["softmax", "--keys", "-3"], 2, "--keys is -3"),
        (["softmax", "--target", " "], 2, "--target holds no word"),
        (["window", "--set", "window"], 2, "no name=value"),
        (["window", "--set", "window=0"], 3, "window is 0; give at least 1"),
        (["window", "--set", "widow=3"], 2, "did you mean window"),
        (["window", "--set", "window=wide"], 2, "window cannot be built with window='wide'"),
        (["softmax", "--kind", "steps", "--length", "600"], 2, "at most 512"),
        (["linformer", "--causal", "--kind", "weights"], 2, "lacks 'causal'"),
        (["location", "--length", "600"], 3, "context=600"),
    ],
)
def test_wrong_words_are_one_line_and_write_nothing(given, code, message, tmp_path, capsys):
    assert show(tmp_path / "out", *given) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert show(tmp_path / "file", "softmax", "--length", "5") == 2
    assert "cannot write" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"


def test_what_is_no_number_is_left_grey_and_hurts_nothing():
    scores = np.array([[0.0, -np.inf], [np.nan, 1.0]])
    steps = {"scores": scores, "none": np.full((2, 2), np.nan)}
    figure = plots.plot_steps("scores", steps, dict.fromkeys(steps, (2, 2)))
    assert plots.encode_figure(figure, "png").startswith(b"\x89PNG")
