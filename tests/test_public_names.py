"""The public names of nhin: adding one is a decision, removing one breaks users."""

import pytest

import nhin

PUBLIC = (
    "Char Document Line NhinError Reader Reading __version__ number_words parse_number_words read".split()
)


def test_the_public_names_are_these():
    assert nhin.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(nhin))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name):
    value = getattr(nhin, name)
    assert isinstance(value, str) or value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'raed'"):
        _ = nhin.raed  # pyright: ignore
