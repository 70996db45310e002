"""Train a language model from a recipe and a corpus."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.optim import Optimizer

from nhin.data.text.sampler import WindowPosition, WindowSampler, read_windows
from nhin.data.text.token_dataset import Corpus
from nhin.errors import UsageError
from nhin.layers.mlp import MLP
from nhin.layers.moe import MixtureOfExperts
from nhin.layers.multihead import MultiHead
from nhin.lm.artifacts import save_artifacts
from nhin.lm.evaluate import mean_nats
from nhin.lm.loading import load_init_weights
from nhin.lm.recipe import LMRecipe
from nhin.lm.resume import LM_RULES
from nhin.lm.train_data import hash_corpus, hash_split
from nhin.models.build import build_lm
from nhin.models.gpt import GPT
from nhin.models.memory import check_training_memory, measure_lm
from nhin.training import checkpoint as checkpoints
from nhin.training.distributed import ProcessGroup, average_tensor
from nhin.training.ema import init_ema
from nhin.training.fsdp import shard_model
from nhin.training.logger import Log
from nhin.training.optimizers import build_adamw, build_muon
from nhin.training.precision import resolve_device, resolve_dtype
from nhin.training.train_state import TrainState
from nhin.training.trainer import Task, Trainer

Ids = Int[Tensor, "B T"]


@dataclass(frozen=True, slots=True)
class LMBatch:
    """A training batch; ``samples`` counts the tokens of all processes."""

    tokens: Ids
    targets: Ids
    after: WindowPosition
    samples: int


def find_matrices(model: nn.Module) -> dict[Tensor, int]:
    """Return the weight matrices inside blocks, with the number of matrices stacked in each."""
    counts: dict[Tensor, int] = {}
    for module in model.modules():
        if isinstance(module, MultiHead):
            counts |= {module.query.weight: 1, module.key_value.weight: 2, module.out.weight: 1}
        elif isinstance(module, MLP):
            counts |= {
                module.up_proj.weight: 2 if module.activation == "swiglu" else 1,
                module.down_proj.weight: 1,
            }
        elif isinstance(module, MixtureOfExperts):
            counts |= {module.up_proj: 2 if module.activation == "swiglu" else 1, module.down_proj: 1}
    return counts


def build_optimizer(model: nn.Module, recipe: LMRecipe) -> Optimizer:
    """Build the optimizer of a recipe."""
    training, rate = recipe.training, recipe.schedule.rate
    betas = (training.betas[0], training.betas[1])
    if training.optimizer == "adamw":
        return build_adamw(model, rate, training.weight_decay, betas)
    return build_muon(
        model,
        find_matrices(model),
        rate,
        training.muon_rate,
        betas=betas,
        weight_decay=training.weight_decay,
        dtype=resolve_dtype(training.precision, resolve_device(training.device).type),
    )


class LanguageModelTask(Task):
    """Trains a language model on the tokens of a corpus.

    Args:
        recipe: The settings; ``lm.budget`` sets its steps.
        corpus: Tokens and their tokenizer.
        out: The run's folder, for curves and samples; None writes none.

    Raises:
        DataError: The text is shorter than a window.
        UsageError: Settings of the recipe contradict each other.
    """

    recipe: LMRecipe
    unit = "tokens"
    rules = LM_RULES

    def __init__(self, recipe: LMRecipe, corpus: Corpus, out: Path | None = None) -> None:
        config, model = recipe.training, recipe.model
        if config.parallel == "fsdp" and (model.memory or model.exits or config.ema_decay):
            raise UsageError("fsdp takes no memory, no exits and no average; use parallel='ddp' for those")
        if config.parallel == "fsdp" and model.norm == "scale":
            raise UsageError("fsdp takes no norm='scale', whose one number has no rows; use parallel='ddp'")
        if recipe.data.batch % recipe.data.accumulate:
            raise UsageError(
                f"accumulate is {recipe.data.accumulate}, which does not divide the batch of "
                f"{recipe.data.batch}; choose a divisor"
            )
        self.recipe, self.corpus, self.out = recipe, corpus, out
        self.files: Mapping[str, Any] = {"tokenizer": corpus.tokenizer.to_dict()}
        self.device = resolve_device(config.device)
        length = model.context * (model.segments if model.memory else 1)
        self._train = corpus.split("train")
        self._validation = corpus.splits.get("validation")
        self.windows = WindowSampler(len(self._train), length, recipe.data.batch, recipe.seed)

    def hash_data(self) -> Mapping[str, str]:
        """Return a hash of the tokens of each split."""
        return hash_corpus(self.corpus)

    def init_state(self, group: ProcessGroup) -> TrainState:
        """Build a network, its EMA if there is one, and its optimizer."""
        config = self.recipe.training
        size = measure_lm(self.corpus.tokenizer.vocab, self.recipe.model)
        tokens = self.windows.length * max(1, self.recipe.data.batch // self.recipe.data.accumulate)
        check_training_memory(size, tokens // group.world * self.corpus.tokenizer.vocab)
        model = build_lm(self.corpus.tokenizer.vocab, self.recipe.model).to(self.device)
        for module in model.modules() if group.world > 1 else ():
            if isinstance(module, MixtureOfExperts):
                module.average = average_tensor
        # A run that is resumed has its own weights, and needs no longer what it started from.
        if self.recipe.init_from and not (self.out and checkpoints.exists(self.out / "checkpoint")):
            load_init_weights(model, self.corpus.tokenizer, Path(self.recipe.init_from))
        if config.compile:
            model.compile()
        if config.parallel == "fsdp" and group.world > 1:
            shard_model(model, model.blocks, group.world)
        ema = init_ema(model) if config.ema_decay else None
        return TrainState(model, ema, build_optimizer(model, self.recipe), WindowPosition())

    @contextmanager
    def open_batches(self, state: TrainState, group: ProcessGroup) -> Iterator[Iterator[LMBatch]]:
        """Yield an iterator over this process's rows of every batch, from the state's position on."""
        rows = self.windows.rank_slice(group.rank, group.world)
        samples = self.windows.batch * self.windows.length

        def read() -> Iterator[LMBatch]:
            for batch in self.windows.iter_batches(state.position):
                ids = torch.from_numpy(read_windows(self._train, batch.starts[rows], self.windows.length))
                ids = ids.to(self.device)
                yield LMBatch(ids[:, :-1], ids[:, 1:], batch.after, samples)

        yield read()

    def loss(self, model: nn.Module, batch: LMBatch) -> Mapping[str, Tensor]:
        """Return the mean nats of a batch and the auxiliary losses."""
        assert isinstance(model, GPT)
        return model.loss(batch.tokens, batch.targets)

    def split_batch(self, batch: LMBatch) -> list[LMBatch]:
        """Split a batch into parts of equal size, whose gradients are accumulated.

        Where ``accumulate`` does not divide the rows of this process there are more parts, and smaller ones.
        """
        rows = len(batch.tokens)
        wanted = min(self.recipe.data.accumulate, rows)
        count = next(count for count in range(wanted, rows + 1) if rows % count == 0)
        parts = zip(batch.tokens.chunk(count), batch.targets.chunk(count), strict=True)
        return [LMBatch(tokens, targets, batch.after, batch.samples) for tokens, targets in parts]

    def validate(self, state: TrainState, log: Log | None, last: bool) -> bool:
        """Evaluate on the validation text, write curves and samples, and stop when patience ends."""
        notes, config = state.notes, self.recipe.training
        model = state.model if state.ema is None else state.ema
        go_on = True
        if self._validation is not None:
            limit = None if last else config.validate_tokens
            nats = mean_nats(
                model, self._validation, limit, resolve_dtype(config.precision, self.device.type)
            )
            # Nats of other tokens, or of another number of them, say nothing about being better.
            sample = f"{limit or 'all'} of {hash_split(self._validation)}"
            if notes.setdefault("sample", sample) != sample:
                notes |= {"sample": sample, "best": float("inf"), "worse": 0}
            better = nats < notes.get("best", float("inf"))
            notes["best"] = nats if better else notes["best"]
            notes["worse"] = 0 if better else notes.get("worse", 0) + 1
            go_on = not config.patience or notes["worse"] < config.patience
            if log is not None:
                log.event("validation", state.step, nats=round(nats, 5), whole=last)
                log.say(f"validation  {nats:.4f} nats per token{'' if go_on else ': no better, so it ends'}")
        if log is not None and self.out is not None and config.parallel == "ddp":
            save_artifacts(self.out, model, self.corpus.tokenizer, state.step, last)
        return go_on


def train_language_model(
    recipe: LMRecipe, corpus: Corpus, out: Path | str, resume: bool = False, other_data: bool = False
) -> Path:
    """Train a language model into a run folder; see ``Trainer.fit``."""
    return Trainer(LanguageModelTask(recipe, corpus, Path(out)), out).fit(resume, other_data)
