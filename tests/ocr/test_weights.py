"""Weights on disk are complete, ours and of this version, or refused in one sentence."""

import json
import shutil

import pytest

from nhin.errors import CheckpointError, UnknownName
from nhin.files import hash_file
from nhin.reading.onnx_model import DEFAULT_MODEL, MANIFEST, load_recognizer

pytestmark = pytest.mark.compiled


@pytest.fixture
def folder(pair, tmp_path):
    return shutil.copytree(pair[0], tmp_path / "copy")


def edit(folder, **changes):
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_a_folder_is_loaded_with_the_settings_of_its_manifest(folder):
    edit(folder, temperatures={"both": 2.0})
    assert load_recognizer(folder).temperature == 2.0
    assert load_recognizer(str(folder), mode="fast", threads=1).temperature == 1.0


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", MANIFEST])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_recognizer(folder)


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx", MANIFEST])
def test_a_torn_file_is_refused(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="torn"):
        load_recognizer(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "another"}, "not a manifest"),
        ({"version": 99}, "version 99"),
        ({"charset": "aa"}, "once"),
        ({"charset": 7}, "damaged"),
        ({"hieght": 40}, "damaged"),
        ({"files": {}}, "SHA-256"),
    ],
)
def test_a_foreign_or_damaged_manifest_is_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_recognizer(folder)


def test_a_file_that_is_no_network_is_refused_even_if_its_hash_agrees(folder):
    (folder / "decoder.onnx").write_bytes(b"not a network")
    files = {name: hash_file(folder / name) for name in ("encoder.onnx", "decoder.onnx")}
    edit(folder, files=files)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_recognizer(folder)


def test_an_unknown_name_is_an_unknown_name():
    with pytest.raises(UnknownName, match="no weights named 'vi-smal'"):
        load_recognizer("vi-smal")


def test_the_bundled_weights_load():
    load_recognizer(DEFAULT_MODEL)
