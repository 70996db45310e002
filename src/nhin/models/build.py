"""From a design to the language model it describes."""

from nhin.models.design import Design
from nhin.models.exits import EarlyExits
from nhin.models.gpt import GPT
from nhin.models.recurrent import Recurrent


def build_lm(vocab: int, design: Design) -> GPT:
    """Build a language model: recurrent with a memory, leaving early with exits, else a plain GPT.

    Args:
        vocab: Tokens there are.
        design: What it is made of.
    """
    if design.memory:
        return Recurrent(vocab, design)
    return EarlyExits(vocab, design) if design.exits else GPT(vocab, design)
