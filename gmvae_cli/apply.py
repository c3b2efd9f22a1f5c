"""Exact inference over a recording with a trained model: a sweep forward, one backward, then block by block.

Memory stays flat in the number of rows: what a sweep leaves for the next lies in a scratch file, one row for each row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmvae_cli.ahead import ahead
from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.config import Posterior, SeriesConfig
from gmvae_cli.core import Encoder
from gmvae_cli.density import log_likelihoods
from gmvae_cli.errors import CheckpointError
from gmvae_cli.markov import Chain, Forward, backward, forward
from gmvae_cli.moments import unscaled_marginal
from gmvae_cli.progress import Progress, silent
from gmvae_cli.recording import Recording
from gmvae_cli.runtime import resolve
from gmvae_cli.scratch import MEMORY_BYTES, Scratch, require_free
from gmvae_cli.series import SeriesReader, open_series
from gmvae_cli.tables import InputFile
from gmvae_cli.viterbi import backtrack, best_predecessors, index_type
from gmvae_cli.windows import Rows, Windows

BLOCK_ROWS = 3 << 16


@dataclass(frozen=True)
class Labelled:
    """Some consecutive rows with what inference says of them.

    Args:
        regimes: (n,) int64. probs: (n, K), rows sum to one.
        log_likelihood: (n,) nats of the row given its past, data units; NaN where a row has no evidence.
    """

    regimes: NDArray[np.int64]
    probs: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]


def scratch_bytes(rows: int, num_regimes: int, posterior: Posterior) -> int:
    """Scratch space that `Inference` needs: probabilities, a log-likelihood, and for a path what leads to it."""
    return rows * (8 * (num_regimes + 1) + (num_regimes if posterior == "viterbi" else 0))


class Source(Protocol):
    """Where rows come from: a recording seen through `Windows`, or `Rows` in memory."""

    @property
    def device(self) -> torch.device:
        """Of the tensors."""

    def __len__(self) -> int:
        """T."""

    def rows(self, start: int, stop: int) -> Rows:
        """Rows [start, stop), float64."""

    def steps_of(self, start: int, stop: int) -> NDArray[np.int64]:
        """How these rows follow one another, as in `markov`."""


class Inference:
    """The posterior of some rows, ready to be read block by block; a context manager that owns scratch files.

    Args:
        source: float64 rows of the model's channels.
        posterior: smooth, viterbi, filter, or encoder (then `encoder` is needed).
        directory: where scratch files lie. block_rows never changes the answer.
        evidence_scale: what evidence is divided by, None is the model's own; at 1 the likelihoods are exact.
    Attributes:
        log_likelihood: log p(x), nats, standardised units. evidence_rows: rows it sums over.
        elbo: with posterior "encoder", the same units; else None. A bound on log p(x) only at evidence scale 1.
        log_volume: what to subtract from either for data units, sum of log scale over observed channels of those rows.
    """

    def __init__(
        self,
        source: Source,
        checkpoint: Checkpoint,
        posterior: Posterior,
        encoder: Encoder | None = None,
        directory: str | None = None,
        progress: Progress = silent,
        block_rows: int = BLOCK_ROWS,
        evidence_scale: float | None = None,
    ) -> None:
        model, parameters, device = checkpoint.model, checkpoint.parameters, source.device
        self.source, self.posterior, self.progress, self.block_rows = source, posterior, progress, block_rows
        self.emission = parameters.emission(model.intercept).to(torch.zeros((), dtype=torch.float64, device=device))
        self.chain = Chain(*(part.to(device) for part in parameters.chain))
        self.evidence_scale = float(parameters.evidence_scale) if evidence_scale is None else evidence_scale
        self.independent = model.prior == "iid"
        self.log_scale = checkpoint.scale.log().to(device)
        self.encoder = encoder.to(device).double() if encoder is not None else None
        self.num_regimes = model.regimes
        self.log_likelihood, self.log_volume, self.evidence_rows = 0.0, 0.0, 0
        self.elbo: float | None = 0.0 if posterior == "encoder" else None
        self._final: int | None = None
        self._edges: list[tuple[Tensor | None, tuple[object, ...]]] = []
        kind = torch.zeros(0, dtype=index_type(model.regimes)).numpy().dtype
        needed = scratch_bytes(len(source), model.regimes, posterior)
        if needed > MEMORY_BYTES:
            require_free(directory, needed)
        self._rows = Scratch(model.regimes + 1, np.float64, directory)
        self._path = Scratch(model.regimes, kind, directory) if posterior == "viterbi" else None
        try:
            self._sweep()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the scratch files back."""
        self._rows.close()
        if self._path is not None:
            self._path.close()

    def blocks(self, block_rows: int | None = None) -> Iterator[Labelled]:
        """All rows in order, in blocks of `block_rows`, the last one shorter."""
        for start, stop in self._ranges(block_rows):
            yield self.read(start, stop)

    def read(self, start: int, stop: int) -> Labelled:
        """Rows [start, stop)."""
        rows = self._rows.read(start, stop)
        probs = rows[:, :-1]
        regimes = probs.argmax(1) if self._path is None else self._path.read(start, stop)[:, 0].astype(np.int64)
        return Labelled(regimes, probs, rows[:, -1])

    def _ranges(self, block_rows: int | None = None) -> list[tuple[int, int]]:
        size, total = block_rows or self.block_rows, len(self.source)
        return [(start, min(start + size, total)) for start in range(0, total, size)]

    # --- sweeps --------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        last = self._forward()
        if last is not None:
            self._backward(last)
        self._edges.clear()

    @torch.no_grad()
    def _scored(self) -> Iterator[tuple[Rows, Tensor]]:
        """Every block of rows with its scores; on the way the best predecessors, which need nothing else."""
        score: Tensor | None = None
        for start, stop in self._ranges():
            rows = self.source.rows(start, stop)
            scores = self._scores(rows)
            if self._path is not None and not self.independent:
                psi, score = best_predecessors(scores / self.evidence_scale, self.chain, rows.steps, score)
                self._path.append(psi.cpu().numpy())
                self._final = int(score.argmax())
            yield rows, scores

    def _scores(self, rows: Rows) -> Tensor:
        """(n, K) decoder log-likelihoods, 0 where a row has no evidence."""
        return torch.where(rows.mask, log_likelihoods(rows.y, self.emission, rows.partial), 0).mT

    def _evidence(self, rows: Rows) -> Tensor:
        """(n, K) what the encoder says, 0 where a row has no evidence."""
        assert self.encoder is not None
        with torch.no_grad():
            evidence: Tensor = self.encoder(rows.y, rows.observed)
        return torch.where(rows.mask[:, None], evidence, 0)

    @torch.no_grad()
    def _forward(self) -> Forward | None:
        """First sweep: the rows' log-likelihoods, and per row what the backward sweep starts from."""
        message: Tensor | None = None
        likelihood_message: Tensor | None = None
        sweep = None
        stop = 0
        for rows, scores in ahead(self._scored()):
            stop += len(rows)
            source = (self._evidence(rows) if self.posterior == "encoder" else scores) / self.evidence_scale
            if self.independent:
                probs, marginal = self._mix(scores, source, rows)
                self._keep(probs, marginal, rows)
            else:
                sweep = forward(source[None], self.chain, rows.steps, message)
                marginal = self._marginal(sweep, scores)
                self._edges.append((message, (sweep.edges, sweep.transfers)))
                message = sweep.message
                if self.posterior == "encoder":
                    assert self.elbo is not None
                    self.elbo += float(sweep.row_log_likelihoods.sum())
                    scaled = scores[None] / self.evidence_scale
                    exact = forward(scaled, self.chain, rows.steps, likelihood_message)
                    marginal, likelihood_message = self._marginal(exact, scores), exact.message
                self._keep(sweep.filtered_probs[0] if self.posterior == "filter" else source, marginal, rows)
            self.progress("forward", stop, len(self.source))
        return None if self.independent or self.posterior == "filter" else sweep

    def _marginal(self, sweep: Forward, scores: Tensor) -> Tensor:
        """(n,) log sum_k p(z_t = k | past) p(x_t | h_t, k), from a filter of scaled evidence."""
        marginal = sweep.row_log_likelihoods[0]
        if self.evidence_scale == 1:
            return marginal
        return unscaled_marginal(marginal, sweep.filtered_probs[0].mT, (scores * (1 - 1 / self.evidence_scale)).mT)

    def _mix(self, scores: Tensor, source: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """Prior "iid": posterior and log p(x_t | h_t) of each row by itself."""
        log_law = self.chain.initial_probs.clamp_min(1e-300).log()
        marginal = (log_law + scores).logsumexp(-1)
        joint = log_law + source
        normaliser = joint.logsumexp(-1, keepdim=True)
        probs = (joint - normaliser).exp()
        if self.elbo is not None:
            gain = (probs * (scores - source)).sum(-1) + normaliser[:, 0]
            self.elbo += float(gain[rows.mask].sum())
        return probs, marginal

    def _keep(self, columns: Tensor, marginal: Tensor, rows: Rows) -> None:
        """One scratch row a row: K columns and its log-likelihood."""
        self.log_likelihood += float(marginal[rows.mask].sum())
        self.evidence_rows += int(rows.mask.sum())
        volume = self.log_scale @ rows.observed.to(self.log_scale)
        self.log_volume += float(volume[rows.mask].sum())
        likelihood = torch.where(rows.mask, marginal - volume, torch.nan)[:, None]
        self._rows.append(torch.cat([columns, likelihood], 1).cpu().numpy())
        if self._path is not None and self.independent:
            self._path.append(columns.argmax(1, keepdim=True).expand(-1, self.num_regimes).cpu().numpy())

    @torch.no_grad()
    def _backward(self, last: Forward) -> None:
        """Second sweep, last block first: smoothed probabilities in place, and the best path."""
        beta, final = None, self._final
        ranges = self._ranges()
        backwards = range(len(ranges) - 1, -1, -1)
        for index, stored in zip(backwards, ahead(self._rows.read(*ranges[i]) for i in backwards), strict=True):
            start, stop = ranges[index]
            source = torch.as_tensor(stored[:, :-1], device=self.source.device)
            sweep = last
            if index < len(ranges) - 1:
                message, known = self._edges[index]
                steps = self.source.steps_of(start, stop)
                sweep = forward(source[None], self.chain, steps, message, known=known)  # type: ignore[arg-type]
            smoothed, beta = backward(sweep, beta)
            probs = smoothed.smoothed_probs[0]
            if self.elbo is not None:
                scores = self._scores(self.source.rows(start, stop))
                self.elbo += float((probs * (scores - source)).sum())
            stored[:, :-1] = probs.cpu().numpy()
            self._rows.write(start, stored)
            if self._path is not None and final is not None:
                psi = torch.as_tensor(self._path.read(start, stop))
                path, final = backtrack(psi, final)
                psi[:, 0] = path  # from here on the first column is the path
                self._path.write(start, psi.numpy())
            self.progress("backward", len(self.source) - start, len(self.source))


# --- files and models that belong together ---------------------------------------------------------------------------


def open_for(
    inputs: Sequence[str] | Sequence[InputFile], config: SeriesConfig, checkpoint: Checkpoint, model_path: str
) -> SeriesReader:
    """The table of a model's channels; the time and series columns that training used, unless others are named.

    Raises:
        CheckpointError: the file lacks a channel that the model was trained on.
    """
    trained, training = checkpoint.channels, checkpoint.training
    if config.channels is not None and set(config.channels) != set(trained):
        raise CheckpointError(
            f"{model_path}: trained on {len(trained)} channels ({', '.join(trained)}), but --channels names "
            f"{', '.join(config.channels)}; leave the option out"
        )
    time, series = config.time or training.get("time"), config.series or training.get("series")
    plain = open_series(inputs, replace(config, channels=None, time=None, no_time=True, series=None))
    columns = plain.layout.columns
    if not set(trained) <= set(columns):
        present = plain.layout.channels
        raise CheckpointError(
            f"{model_path}: trained on {len(trained)} channels ({', '.join(trained)}), but {plain.name} has "
            f"{len(present)} ({', '.join(present)})"
        )
    if config.time is None and time not in columns:
        time = None
    if config.series is None and series not in columns:
        series = None
    return plain.using(replace(config, channels=trained, time=None if config.no_time else time, series=series))


def infer(
    recording: Recording,
    checkpoint: Checkpoint,
    posterior: Posterior,
    device: str = "cpu",
    *,
    model_path: str = "model",
    directory: str | None = None,
    progress: Progress = silent,
    block_rows: int = BLOCK_ROWS,
    evidence_scale: float | None = None,
) -> Inference:
    """The posterior of a recording whose channels are the model's, in float64."""
    windows = Windows(
        recording,
        checkpoint.model,
        checkpoint.mean.numpy(),
        checkpoint.scale.numpy(),
        torch.float64,
        resolve(device),
    )
    encoder = checkpoint.build_encoder(model_path) if posterior == "encoder" else None
    return Inference(windows, checkpoint, posterior, encoder, directory, progress, block_rows, evidence_scale)


def judge(
    reader_inputs: Sequence[str], config: SeriesConfig, model_path: str, device: str, progress: Progress
) -> tuple[SeriesReader, NDArray[np.int64], int, float | None, float | None]:
    """A model's labels of a file, and how well it explains the file.

    Returns:
        the reader, smoothed regimes (T,), K, log-likelihood and ELBO in nats a row with evidence, data units; None for
        the ELBO of a model without an encoder, and for both where no row has evidence.
    """
    checkpoint = load(model_path)
    reader = open_for(reader_inputs, config, checkpoint, model_path)
    with reader.recording(None, progress, keep_constant=True) as recording:
        with infer(recording, checkpoint, "smooth", device, progress=progress) as smoothed:
            regimes = np.concatenate([block.regimes for block in smoothed.blocks()])
        exact: Posterior = "smooth" if checkpoint.encoder is None else "encoder"
        with infer(recording, checkpoint, exact, device, progress=progress, evidence_scale=1.0) as judged:
            rows = judged.evidence_rows
            log_likelihood = (judged.log_likelihood - judged.log_volume) / rows if rows else None
            elbo = (judged.elbo - judged.log_volume) / rows if rows and judged.elbo is not None else None
    return reader, regimes, checkpoint.model.regimes, log_likelihood, elbo
