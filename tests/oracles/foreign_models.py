"""Small random models and tokenizers made and saved by ``transformers`` and ``tokenizers``."""

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from nhin.text.tokenizers.foreign import PATTERNS

TEXT = "the cat sat on the mat. a bird sang to the cat, and the cat sat still. Ảnh chữ tiếng Việt 12345\n" * 5
LLAMA = ("<|begin_of_text|>", "<|endoftext|>", "<|eot_id|>")
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SIZES = {"hidden_size": 24, "intermediate_size": 56, "num_hidden_layers": 2, "num_key_value_heads": 2}


def gpt2(transformers, size):
    config = transformers.GPT2Config(
        vocab_size=size,
        n_embd=24,
        n_layer=2,
        n_head=3,
        n_positions=128,
        bos_token_id=size - 1,
        eos_token_id=size - 1,
    )
    return transformers.GPT2LMHeadModel(config)


def llama(transformers, size, context=128, **settings):
    rope = settings.pop("rope", {"rope_type": "default"})
    config = transformers.LlamaConfig(
        vocab_size=size,
        num_attention_heads=6,
        max_position_embeddings=context,
        rope_parameters={"rope_theta": 10000.0, **rope},
        bos_token_id=size - 3,
        eos_token_id=[size - 2, size - 1],
        **SIZES | settings,
    )
    return transformers.LlamaForCausalLM(config)


def qwen(number, padding=0, **settings):
    def make(transformers, size):
        make_config = getattr(transformers, f"Qwen{number}Config")
        config = make_config(
            vocab_size=size + padding,
            num_attention_heads=4,
            max_position_embeddings=128,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            eos_token_id=size - 1,
            **SIZES | settings,
        )
        return getattr(transformers, f"Qwen{number}ForCausalLM")(config)

    return make


LONG = {"factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **LONG}
# The family of the tokenizer, and what makes the model.
MODELS = {
    "gpt2": ("GPT-2", gpt2),
    "llama with llama3 scaling": ("Llama 3", lambda t, n: llama(t, n, head_dim=8, rope=LLAMA3)),
    "llama, linear": ("Llama 3", lambda t, n: llama(t, n, rope={"rope_type": "linear", "factor": 4.0})),
    "llama, dynamic": ("Llama 3", lambda t, n: llama(t, n, 32, rope={"rope_type": "dynamic", "factor": 4.0})),
    "llama, yarn": (
        "Llama 3",
        lambda t, n: llama(t, n, rope={"rope_type": "yarn", **LONG}, attention_bias=True),
    ),
    "llama, biased": ("Llama 3", lambda t, n: llama(t, n, attention_bias=True, mlp_bias=True)),
    "qwen2": ("Qwen 2", qwen(2)),
    "qwen3, tied": ("Qwen 2", qwen(3, head_dim=16, tie_word_embeddings=True, rms_norm_eps=1e-3)),
    "qwen3, padded": ("Qwen 2", qwen(3, 45, head_dim=6, attention_bias=True)),
}


def make_folder(name, folder):
    """Save a model and its tokenizer; return both, as ``transformers`` reads them."""
    import transformers

    family, make_model = MODELS[name]
    library, roles = make_tokenizer(family)
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=library, **roles)
    words.save_pretrained(folder)
    model = sharpen(make_model(transformers, library.get_vocab_size()))
    model.save_pretrained(folder)
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def make_tokenizer(family):
    """Return byte pairs as GPT-2, Llama 3 or Qwen 2 split texts, and the tokens with a role."""
    pattern = next(pattern for pattern, name in PATTERNS.items() if name == family)
    tokens = {"GPT-2": QWEN[:1], "Llama 3": LLAMA, "Qwen 2": QWEN}[family]
    library = Tokenizer(models.BPE(ignore_merges=family == "Llama 3"))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family == "GPT-2")
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    library.pre_tokenizer = level if family == "GPT-2" else pre_tokenizers.Sequence([split, level])
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator([TEXT], trainer)
    library.add_special_tokens([AddedToken(token, special=True) for token in tokens])
    library.post_processor = processors.ByteLevel(trim_offsets=False)
    if family == "Llama 3":
        begin = tokens[0]
        template = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, library.token_to_id(begin))]
        )
        library.post_processor = processors.Sequence([library.post_processor, template])
        return library, {"bos_token": begin, "eos_token": tokens[-1]}
    library.normalizer = normalizers.NFC() if family == "Qwen 2" else None
    return library, {"eos_token": tokens[-1], "pad_token": tokens[0]}


def sharpen(model):
    """Make weights large enough that a wrong place, activation or eps shows in every digit."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            scale = 0.15 if weight.ndim > 1 else 0.3
            weight.copy_(torch.randn_like(weight) * scale + (weight.ndim == 1 and weight.mean() > 0.5))
    model.tie_weights()
    return model.eval()
