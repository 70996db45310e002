"""Which settings of a language model's run may change when it is resumed."""

from nhin.training.resume import TRAINER_RULES, ResumeRules

# What a model computes in training only, or how, may change; its sizes and its function may not.
_MODEL_CHANGEABLE = "dropout balance_loss checkpointing".split()
_MODEL_FIXED = (
    "depth dim heads kv_heads head_dim context mechanism settings positions position preset norm eps "
    "norm_order final_norm qk_norm qk_gain mlp mlp_ratio hidden_dim experts top_k bias bias_parts "
    "tie_embeddings init memory segments exits"
).split()
_TRAINING_CHANGEABLE = "device parallel compile muon_rate betas patience validate_tokens".split()

LM_RULES = ResumeRules(
    changeable=TRAINER_RULES.changeable
    | {
        "fitted",
        "data.path",  # its contents are compared by their hashes
        "data.batch",  # the position in the data counts windows, not batches
        "data.accumulate",
        *(f"model.{name}" for name in _MODEL_CHANGEABLE),
        *(f"training.{name}" for name in _TRAINING_CHANGEABLE),
    },
    fixed=TRAINER_RULES.fixed
    | {"workflow", "ngram", "init_from", "data.tokenizer", "training.optimizer"}
    | {f"model.{name}" for name in _MODEL_FIXED},
)

# Counting has no part that is left to do, so no setting of a counted run can have an effect any more.
NGRAM_RULES = ResumeRules(
    changeable=frozenset({"data.path", "fitted"}),
    fixed=(LM_RULES.fixed | LM_RULES.changeable) - {"data.path", "fitted"},
)
