"""Fixtures that several tests of language models use."""

import pytest
from exports import DESIGNS, made

from nhin.lm.huggingface.export import export_folder


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def exported(request, tmp_path_factory):
    """Return a run and the folder it was exported to; not to be changed."""
    folder = tmp_path_factory.mktemp(request.param)
    run = made(folder / "run", DESIGNS[request.param])
    export_folder(run, folder / "out")
    return run, folder / "out"
