"""Build the language model that a config describes."""

from nhin.models.config import ModelConfig
from nhin.models.early_exit import EarlyExitGPT
from nhin.models.gpt import GPT
from nhin.models.recurrent_memory import RecurrentMemoryGPT


def build_lm(vocab: int, config: ModelConfig) -> GPT:
    """Build a language model of ``vocab`` tokens: a plain GPT, or with recurrent memory or early exits."""
    if config.memory:
        return RecurrentMemoryGPT(vocab, config)
    return EarlyExitGPT(vocab, config) if config.exits else GPT(vocab, config)
