"""Scores of rows by a model, block by block: the decoder's log-likelihoods and the encoder's potentials.

Only potentials are kept: scoring a block again costs less than storing its log-likelihoods on disk.
Shapes: n rows of a block, D channels, K regimes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.core import Encoder
from gmvae_cli.data.lagged_rows import LaggedRows, Rows
from gmvae_cli.inference.block_messages import CarriedLaws
from gmvae_cli.model.ar_density import (
    lag_inflation,
    log_likelihoods,
    marginal,
    observed_part,
    whitened_residuals,
)
from gmvae_cli.model.known_regimes import clamped
from gmvae_cli.system.device import trim_malloc
from gmvae_cli.system.scratch import Closing, Scratch

BLOCK_ROWS = 3 << 15  # 3 MiB for 4 regimes, below the size from which `system.device` maps arrays apart
_BLOCKS_PER_TRIM = 8  # about a second of work


class ScoredRows(NamedTuple):
    """A block of rows with its scores.

    Args:
        rows: n rows.
        log_likelihoods: (n, K) log p(x_t | h_t, z_t = k), nats, standardised units; 0 where a row is not usable.
        potentials: (n, K) what the posterior is made of: the log-likelihoods or the encoder's potentials, divided by
            the evidence scale; clamped where the regime is known.
    """

    rows: Rows
    log_likelihoods: Tensor
    potentials: Tensor


def scaled(scores: Tensor, evidence_scale: float) -> Tensor:
    """Divide scores, of any shape, by the evidence scale."""
    return scores if evidence_scale == 1 else scores / evidence_scale


class RowScorer(Closing):
    """Decoder and, for the amortised posterior, encoder of a model, applied to any block of rows.

    Args:
        lagged_rows: T rows of the model's channels, float64.
        encoder: None: the posterior is made of the decoder's log-likelihoods.
        evidence_scale: at least 1, divides the potentials. directory: of the scratch file; None takes TMPDIR.
        block_rows: rows in a block, the last one shorter; it does not change the scores.
        carried: laws that some rows have, whatever they hold; None: no row.
    Attributes:
        ranges: [start, stop) of each block.
    """

    def __init__(
        self,
        lagged_rows: LaggedRows,
        checkpoint: Checkpoint,
        encoder: Encoder | None = None,
        evidence_scale: float = 1.0,
        directory: str | None = None,
        block_rows: int = BLOCK_ROWS,
        carried: CarriedLaws | None = None,
    ) -> None:
        device, total = lagged_rows.device, len(lagged_rows)
        self.lagged_rows, self.evidence_scale = lagged_rows, evidence_scale
        self.encoder = encoder.to(device).double() if encoder is not None else None
        self.block_rows = block_rows
        self.ranges = [(start, min(start + block_rows, total)) for start in range(0, total, block_rows)]
        self._emission = checkpoint.parameters.emission.to(torch.zeros((), dtype=torch.float64, device=device))
        self._carried, self._initial = carried, checkpoint.parameters.chain.initial_probs.to(device)
        self._log_std = checkpoint.scale.log().to(device)  # (D,)
        self._stored = Scratch(checkpoint.model.regimes, np.float64, directory)

    def close(self) -> None:
        """Free the scratch space."""
        self._stored.close()

    @torch.no_grad()
    def score(self, index: int) -> ScoredRows:
        """Score the block `index`; the encoder's potentials are stored the first time, which must be in order."""
        if index % _BLOCKS_PER_TRIM == _BLOCKS_PER_TRIM - 1:
            trim_malloc()
        start, stop = self.ranges[index]
        rows = self.lagged_rows.rows(start, stop)
        scores = potentials = self._log_likelihoods(rows)
        if self.encoder is not None:
            if self._stored.rows == start:
                potentials = self._potentials(rows)
                self._stored.append(potentials.cpu().numpy())
            else:
                potentials = torch.as_tensor(self._stored.read(start, stop), device=scores.device)
        potentials = clamped(scaled(potentials, self.evidence_scale), rows.known)
        if self._carried is not None:
            potentials = self._carried.put(potentials, start, self._initial)
        return ScoredRows(rows, scores, potentials)

    def log_volume(self, rows: Rows) -> Tensor:
        """Return (n,) the sum of log scale over the observed channels: standardised minus data log-likelihood, nats."""
        return self._log_std @ rows.observed.to(self._log_std)

    def residuals(self, rows: Rows) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield usable rows in groups with the same o channels observed.

        Each group is its r rows (r,) int64, their whitened residuals (o, K, r) L_k^-1 (x_t - Pi_k h_t) of these
        channels, and the diagonals (o, K) of their L_k.
        """
        D = len(self._log_std)
        whole = rows.fully_observed.nonzero()[:, 0]
        if len(whole):
            y = rows.y if len(whole) == len(rows) else rows.y[:, whole]
            yield whole, *whitened_residuals(y, self._emission)
        for pattern in rows.partial:
            part = marginal(self._emission, pattern.channels)
            yield pattern.rows, *whitened_residuals(observed_part(rows.y, pattern, D), part)

    def lag_inflation(self, rows: Rows) -> Tensor | None:
        """Return (n,) 1 / v_t of Student t noise, as in `student_t`; None for Normal noise."""
        return lag_inflation(rows.y, self._emission, rows.lag_index)

    def _log_likelihoods(self, rows: Rows) -> Tensor:
        """Return (n, K) log-likelihoods of the decoder, 0 where a row is not usable."""
        scores = log_likelihoods(rows.y, self._emission, rows.partial, rows.lag_index)
        return (scores if bool(rows.usable.all()) else torch.where(rows.usable, scores, 0)).mT

    def _potentials(self, rows: Rows) -> Tensor:
        """Return (n, K) potentials of the encoder, 0 where a row is not usable."""
        assert self.encoder is not None
        potentials: Tensor = self.encoder(rows.y, rows.observed)
        return torch.where(rows.usable[:, None], potentials, 0)
