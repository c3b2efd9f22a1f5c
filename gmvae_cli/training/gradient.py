"""Gradient training: Adam on the ELBO over minibatches of chunks while the temperature falls; and the encoder alone."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gmvae_cli.config import TrainConfig
from gmvae_cli.core import GMVAE, SMALLEST_PROB, temperature_at
from gmvae_cli.data.lagged_rows import Rows
from gmvae_cli.errors import GmvaeError
from gmvae_cli.model.ar_density import lag_inflation, log_likelihoods
from gmvae_cli.model.known_regimes import clamped
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.resume import NOTHING, ResumeLog, State

_CHUNK = 64  # rows in a training chunk: 32 chunks take 4 ms a step and 128 take 5 ms, so many short ones are best
_CLIP = 10.0  # norm of the gradient of the loss, nats a row; it keeps one odd minibatch from ending in NaN
_ENCODER_LR = 0.03  # ten times that of annealing, because the decoder is fixed meanwhile
_ENCODER_ROWS = 2048  # rows of a step of the encoder alone; chosen, not measured


class Adam:
    """Adam [Kingma, Ba, 2015, Algorithm 1] after clipping the norm of the whole gradient.

    torch.optim would do the same, but its first use imports torch's compiler, two seconds of every run.
    """

    def __init__(self, parameters: Sequence[Tensor], betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.parameters, self.betas, self.steps = list(parameters), betas, 0
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor, ...], lr: float) -> None:
        """Move the parameters in place, by gradients of their shapes."""
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        gradients = torch._foreach_mul(gradients, (_CLIP / norm.clamp_min(_CLIP)))
        first, second = self.betas
        self.steps += 1
        torch._foreach_lerp_(self.means, gradients, 1 - first)
        torch._foreach_mul_(self.squares, second)
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - second)
        scale = (1 - second**self.steps) ** 0.5
        denominators = torch._foreach_add(torch._foreach_div(torch._foreach_sqrt(self.squares), scale), 1e-8)
        torch._foreach_addcdiv_(self.parameters, self.means, denominators, -lr / (1 - first**self.steps))

    def state(self) -> State:
        """Collect all that the next step depends on, the parameters too."""
        kinds = {"parameter": self.parameters, "mean": self.means, "square": self.squares}
        state = {f"{kind}.{i}": tensor for kind, tensors in kinds.items() for i, tensor in enumerate(tensors)}
        return state | {"steps": torch.tensor(self.steps)}

    @torch.no_grad()
    def resume(self, resume_log: ResumeLog, phase: str, generator: torch.Generator) -> int:
        """Restore the state that the resume log has of this phase; return the number of steps that are done."""
        current = self.state()
        recalled = resume_log.recall(phase, current, generator)
        if recalled is not None:
            self.steps = int(recalled.pop("steps"))
            for name, tensor in recalled.items():
                current[name].copy_(tensor)
        return self.steps


def anneal(
    model: GMVAE,
    rows: Rows,
    config: TrainConfig,
    steps: int,
    generator: torch.Generator,
    progress: Progress,
    resume_log: ResumeLog = NOTHING,
) -> None:
    """Train encoder, decoder and prior together: Adam on -ELBO / rows, the learning rate falling to zero.

    Args:
        rows: held in memory; chunks are drawn from them at random and start from the stationary law. Partly observed
            rows are left to EM: here they count as unusable. The lag inflation stays as it is at first.
        config: its estimator says whether regimes are relaxed samples at the annealed temperature, or summed exactly.
        steps: of the optimizer.
    """
    length = min(_CHUNK, len(rows))
    count = max(1, min(config.batch_rows, len(rows)) // length)
    parameters: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = Adam(parameters)
    offsets = torch.arange(length)
    inflation = lag_inflation(rows.y, model.emission().to(rows.y), rows.lag_index)
    for step in range(optimizer.resume(resume_log, "anneal", generator), steps):
        first = torch.randint(len(rows) - length + 1, (count, 1), generator=generator)
        index = first + offsets
        usable, flat = rows.fully_observed[index], index.view(-1)
        temperature = temperature_at(step, steps, config) if config.estimator == "gumbel" else None
        elbo = model.elbo(
            rows.y[:, flat],
            usable,
            rows.observed[:, flat],
            rows.steps[index.numpy()],
            temperature,
            generator,
            None if inflation is None else inflation[flat],
            None if rows.known is None else rows.known[index],
        )
        loss = -elbo.sum() / usable.sum().clamp_min(1)
        optimizer.step(torch.autograd.grad(loss, parameters), _falling(config.lr, step, steps))
        if not torch.stack(torch._foreach_norm(parameters)).sum().isfinite():
            raise GmvaeError(f"training diverged at step {step + 1} of {steps}; try a smaller --lr than {config.lr:g}")
        resume_log.record("anneal", optimizer.state(), generator, finished=step + 1 == steps)
        progress("anneal", step + 1, steps)


def fit_encoder(
    model: GMVAE,
    rows: Rows,
    steps: int,
    generator: torch.Generator,
    progress: Progress,
    lr: float = _ENCODER_LR,
    resume_log: ResumeLog = NOTHING,
    phase: str = "encoder",
) -> None:
    """Train the encoder alone, towards the exact posterior under a fixed decoder and a fixed prior.

    The encoder's optimum is the decoder's log-likelihood, up to a constant a row, whatever the prior. So each row is
    matched by itself: minimise the cross-entropy of softmax(log pi + l / c) relative to
    softmax(log pi + log p(x | h, z) / c), with c the evidence scale. Through the chain, the ELBO has bad optima in
    which a persistent prior overrules an encoder that has not learned yet. Known regimes are learned as they are.

    Args:
        rows: held in memory; every step draws usable ones at random. lr: the first learning rate; it falls to zero.
        phase: name of this phase in the resume log.
    """
    emission, chain = model.emission(), model.chain()
    emission, log_law = emission.to(rows.y), chain.initial_probs.clamp_min(SMALLEST_PROB).log().to(rows.y)
    parameters = list(model.encoder.parameters())
    optimizer = Adam(parameters)
    scores = log_likelihoods(rows.y, emission, rows.partial, rows.lag_index) / model.evidence_scale  # (K, n)
    scores = clamped(scores.mT, rows.known).mT
    usable = rows.usable.nonzero()[:, 0]
    for step in range(optimizer.resume(resume_log, phase, generator), steps):
        index = usable[torch.randint(len(usable), (_ENCODER_ROWS,), generator=generator)]
        target = (log_law[:, None] + scores[:, index]).softmax(0).mT
        potentials = model.encoder(rows.y[:, index], rows.observed[:, index]) / model.evidence_scale
        guess = (log_law + potentials).log_softmax(-1)
        loss = -(target * guess).sum(-1).mean()
        optimizer.step(torch.autograd.grad(loss, parameters), _falling(lr, step, steps))
        resume_log.record(phase, optimizer.state(), generator, finished=step + 1 == steps)
        progress("encoder", step + 1, steps)


def _falling(lr: float, step: int, steps: int) -> float:
    """Compute the learning rate of a step: it falls from lr to zero along a cosine."""
    return lr * 0.5 * (1 + math.cos(math.pi * step / steps))
