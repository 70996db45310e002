"""The names nhin promises; adding one is a decision, losing one breaks somebody."""

import pytest

import nhin

PROMISED = ["Char", "Line", "NhinError", "Reader", "Reading", "__version__", "read"]


def test_the_public_names_are_these():
    assert nhin.__all__ == PROMISED
    assert set(PROMISED) <= set(dir(nhin))


@pytest.mark.parametrize("name", PROMISED)
def test_every_public_name_is_there_and_explained(name):
    value = getattr(nhin, name)
    assert isinstance(value, str) or value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'raed'"):
        _ = nhin.raed  # pyright: ignore
