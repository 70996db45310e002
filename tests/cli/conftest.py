"""Fixtures that several tests of commands use."""

import io

import pytest
from PIL import Image


@pytest.fixture
def fast_figures(monkeypatch):
    """Draw figures as SVG alone and lay nothing out, which are three quarters of the time.

    Other tests draw them whole: what is in a figure does not depend on it.
    """
    from matplotlib.figure import Figure

    from nhin.viz import plots

    dot = io.BytesIO()
    Image.new("L", (1, 1)).save(dot, "PNG")
    encode = plots.encode_figure
    monkeypatch.setattr(plots, "Figure", lambda size, layout: Figure(size))
    monkeypatch.setattr(
        plots, "encode_figure", lambda f, form: encode(f, form) if form == "svg" else dot.getvalue()
    )
