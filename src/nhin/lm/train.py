"""Train a language model: recipe -> tokens -> network -> course, until the budget is spent."""

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
from nhin.lm.recipe import LMRecipe
from nhin.models.build import build_lm
from nhin.models.gpt import GPT
from nhin.training.course import Pacing, Progress, follow
from nhin.training.ema import Average
from nhin.training.log import Log
from nhin.training.optimizers import adamw, muon
from nhin.training.precision import chosen
from nhin.training.sharding import shard
from nhin.training.together import Together

Ids = Int[Tensor, "B T"]


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch as the network takes it; ``samples`` counts the tokens of all processes."""

    tokens: Ids
    targets: Ids
    after: WindowPosition
    samples: int


def matrices(model: nn.Module) -> dict[Tensor, int]:
    """Return the parameters that are matrices inside blocks, with how many lie in each."""
    found: dict[Tensor, int] = {}
    for part in model.modules():
        if isinstance(part, MultiHead):
            found |= {part.query.weight: 1, part.key_value.weight: 2, part.out.weight: 1}
        elif isinstance(part, MLP):
            found |= {part.widen.weight: 2 if part.activation == "swiglu" else 1, part.narrow.weight: 1}
        elif isinstance(part, MixtureOfExperts):
            found |= {part.widen: 2 if part.activation == "swiglu" else 1, part.narrow: 1}
    return found


def optimizer_of(model: nn.Module, recipe: LMRecipe) -> Optimizer:
    """Build the optimiser of a recipe."""
    training, rate = recipe.training, recipe.schedule.rate
    betas = (training.betas[0], training.betas[1])
    if training.optimizer == "adamw":
        return adamw(model, rate, training.weight_decay, betas)
    return muon(
        model,
        matrices(model),
        rate,
        training.muon_rate,
        betas=betas,
        weight_decay=training.weight_decay,
        dtype=chosen(training.precision),
    )


class Writing:
    """The task of a course: a language model on the tokens of a corpus.

    Args:
        recipe: What to do; see ``budgets.fitted`` for its steps.
        corpus: Tokens, with their tokenizer.
        out: The run's folder, for curves and samples; None leaves none.

    Raises:
        DataError: The text is shorter than a window.
        UsageError: Parts of the recipe do not go together.
    """

    def __init__(self, recipe: LMRecipe, corpus: Corpus, out: Path | None = None) -> None:
        training, design = recipe.training, recipe.model
        if training.parallel == "fsdp" and (design.memory or design.exits or training.average):
            raise UsageError("fsdp takes no memory, no exits and no average; use parallel='ddp' for those")
        if recipe.data.accumulate < 1 or recipe.data.batch % recipe.data.accumulate:
            raise UsageError(
                f"accumulate is {recipe.data.accumulate}, which does not divide the batch of "
                f"{recipe.data.batch}; choose a divisor"
            )
        if len(training.betas) != 2 or not all(0 <= beta < 1 for beta in training.betas):
            raise UsageError(f"betas are {list(training.betas)}; give two numbers from 0 to less than 1")
        self.recipe, self.corpus, self.out = recipe, corpus, out
        self.files: Mapping[str, Any] = {"tokenizer": corpus.tokenizer.to_dict()}
        self.pacing = Pacing(
            recipe.schedule,
            recipe.seed,
            training.clip,
            training.precision,
            training.threads,
            training.save_seconds,
            training.log_seconds,
            training.validate_steps,
            unit="tokens",
        )
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(wanted if training.device == "auto" else training.device)
        length = design.context * (design.segments if design.memory else 1)
        self.train = corpus.split("train")
        self.windows = WindowSampler(len(self.train), length, recipe.data.batch, recipe.seed)
        self.held = corpus.splits.get("validation")

    def begin(self, team: Together) -> Progress:
        """Build a fresh network, its mean if there is one, and its optimiser."""
        recipe = self.recipe
        model = build_lm(self.corpus.tokenizer.vocab, recipe.model).to(self.device)
        if recipe.training.compile:
            model.compile()
        if recipe.training.parallel == "fsdp" and team.world > 1:
            shard(model, model.blocks, team.world)
        average = Average(model, recipe.training.average) if recipe.training.average else None
        return Progress(model, average, optimizer_of(model, recipe), WindowPosition())

    @contextmanager
    def batches(self, progress: Progress, team: Together) -> Iterator[Iterator[Ready]]:
        """Yield this process's rows of every batch from the position on."""
        rows = self.windows.rank_slice(team.rank, team.world)
        samples = self.windows.batch * self.windows.length

        def ready() -> Iterator[Ready]:
            for batch in self.windows.iter_batches(progress.position):
                ids = torch.from_numpy(read_windows(self.train, batch.starts[rows], self.windows.length))
                ids = ids.to(self.device)
                yield Ready(ids[:, :-1], ids[:, 1:], batch.after, samples)

        yield ready()

    def loss(self, model: nn.Module, batch: Ready) -> Mapping[str, Tensor]:
        """Return the mean nats of a batch, and what is added to them."""
        assert isinstance(model, GPT)
        return model.loss(batch.tokens, batch.targets)

    def pieces(self, batch: Ready) -> list[Ready]:
        """Cut a batch into as many pieces as the recipe accumulates."""
        count = min(self.recipe.data.accumulate, len(batch.tokens))
        cut = zip(batch.tokens.chunk(count), batch.targets.chunk(count), strict=True)
        return [Ready(tokens, targets, batch.after, batch.samples) for tokens, targets in cut]

    def validate(self, progress: Progress, log: Log | None, last: bool) -> bool:
        """Measure the held-out text, leave curves and samples, and stop when it gets no better."""
        notes = progress.notes
        model = progress.model if progress.average is None else progress.average.model
        go_on = True
        if self.held is not None:
            most = None if last else self.recipe.training.validate_tokens
            nats = mean_nats(model, self.held, most, chosen(self.recipe.training.precision))
            better = nats < notes.get("best", float("inf"))
            notes["best"] = nats if better else notes["best"]
            notes["worse"] = 0 if better else notes.get("worse", 0) + 1
            patience = self.recipe.training.patience
            go_on = not patience or notes["worse"] < patience
            if log is not None:
                log.event("validation", progress.step, nats=round(nats, 5), whole=last)
                log.say(f"validation  {nats:.4f} nats per token{'' if go_on else ': no better, so it ends'}")
        if log is not None and self.out is not None and self.recipe.training.parallel == "ddp":
            save_artifacts(self.out, model, self.corpus.tokenizer, progress.step, last)
        return go_on


def train(recipe: LMRecipe, corpus: Corpus, out: Path | str, resume: bool = False) -> Path:
    """Train a language model into a run folder; see ``training.course.follow``.

    Args:
        recipe: What to do.
        corpus: Tokens, with their tokenizer.
        out: The run's folder; made when missing.
        resume: Continue the run in it; it begins anew where none was saved yet.

    Returns:
        The folder of the last checkpoint.
    """
    return follow(Writing(recipe, corpus, Path(out)), out, resume)
