"""What cannot fit into memory is refused before it is allocated."""

import resource

import pytest
import torch

from nhin.errors import UsageError
from nhin.models import memory
from nhin.models.build import build_lm
from nhin.models.config import ModelConfig
from nhin.models.memory import ModelSize, check_tables, check_training_memory, measure_lm, measure_model


def test_a_model_is_measured_without_memory_and_counts_its_weights_and_tables():
    config = ModelConfig(depth=1, dim=8, heads=2, context=16)
    model = build_lm(5, config)
    size = measure_model(lambda: build_lm(5, config))
    assert size.weights == sum(weight.numel() for weight in model.parameters())
    saved = model.state_dict().keys()
    tables = sum(x.numel() * x.element_size() for name, x in model.named_buffers() if name not in saved)
    assert size.tables == tables > 0
    assert measure_lm(2**20, ModelConfig(depth=64, dim=2**16, heads=256)).weights > 10**12


@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize(
    "changes", [{}, {"positions": "sinusoidal"}, {"experts": 2}, {"memory": 2}, {"exits": True}]
)
def test_two_blocks_tell_the_size_of_all(depth, changes):
    if not depth and changes:
        return
    config = ModelConfig(depth=depth, context=16, **changes)
    assert measure_lm(5, config) == measure_model(lambda: build_lm(5, config))


def test_a_training_that_cannot_fit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10**9)
    check_training_memory(ModelSize(10**7, 0), 10**7)
    with pytest.raises(UsageError, match=r"a model of 1,000,000,000,000 weights .* take 14,901\.2 GiB"):
        check_training_memory(ModelSize(10**12, 0))
    with pytest.raises(UsageError, match="choose a smaller model, context or batch"):
        check_training_memory(ModelSize(10, 0), 10**9)


def test_tables_may_not_dwarf_the_weights_they_come_with():
    check_tables(ModelSize(10, 2**29), "x")
    check_tables(ModelSize(10**9, 2**33), "x")
    with pytest.raises(UsageError, match=r"the settings in x need tables of 1\.0 GiB for 10 weights"):
        check_tables(ModelSize(10, 2**30), "x")


def test_a_limit_of_this_process_counts(monkeypatch):
    before = memory.available_memory()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**62, 2**62))
    assert memory.available_memory() == before
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1, 1))
    assert memory.available_memory() == 0
    assert torch.zeros(1).numel() == 1
