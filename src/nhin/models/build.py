"""From a design to the language model it describes."""

from nhin.models.config import ModelConfig
from nhin.models.early_exit import EarlyExitGPT
from nhin.models.gpt import GPT
from nhin.models.recurrent_memory import RecurrentMemoryGPT


def build_lm(vocab: int, config: ModelConfig) -> GPT:
    """Build a language model: recurrent with a memory, leaving early with exits, else a plain GPT.

    Args:
        vocab: Tokens there are.
        config: What it is made of.
    """
    if config.memory:
        return RecurrentMemoryGPT(vocab, config)
    return EarlyExitGPT(vocab, config) if config.exits else GPT(vocab, config)
