"""What the maps of the line detector mean: shared by the pages it learns from, the network and the reader."""

STRIDE = 32
"""Height and width of a picture are multiples of this."""
CORE_STRIDE, FIELD_STRIDE = 2, 4
"""Pixels of the picture for each pixel of the core map, and of the other maps."""
UNIT_HEIGHT = 16.0
"""Heights are told as the logarithm (base 2) of their ratio to this many pixels."""
CORE_SHARE, END_SHARE = 0.6, 0.2
"""Height of a core, and what it lacks at either end, in heights of capitals."""
