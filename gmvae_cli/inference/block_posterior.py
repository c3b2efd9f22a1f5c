"""The posterior of one block of rows given all rows, from messages at the edges of blocks.

Shapes: n rows of a block, K regimes.
"""

import torch
from torch import Tensor

from gmvae_cli.config import Posterior
from gmvae_cli.inference.block_messages import BlockMessages, Ends
from gmvae_cli.inference.scored_rows import ScoredRows, scaled
from gmvae_cli.model.chain import Chain
from gmvae_cli.model.evidence_scale import unscaled_marginal
from gmvae_cli.model.forward_backward import Forward
from gmvae_cli.model.lattice import Lattice
from gmvae_cli.system.scratch import Closing


class BlockPosterior(Closing):
    """Regime probabilities and log-likelihoods of the rows of any block, once all blocks have been added in order.

    Args:
        chain: of the model. iid_prior: whether rows are independent, so that no messages are needed.
        posterior: smooth, viterbi (its probabilities are smoothed), filter or encoder.
        stands_for_rows: whether a row is itself a block of the file's rows.
        evidence_scale: what the potentials were divided by. directory: of scratch files; None takes TMPDIR.
        ends: of the rows, where they are a stretch of a longer series.
    """

    def __init__(
        self,
        chain: Chain,
        iid_prior: bool,
        posterior: Posterior,
        stands_for_rows: bool,
        evidence_scale: float,
        directory: str | None,
        ends: Ends = Ends(),
    ) -> None:
        self._ends = ends
        self._chain, self._iid_prior, self._posterior = chain, iid_prior, posterior
        self._evidence_scale = evidence_scale
        self._log_initial = chain.initial_probs.clamp_min(1e-300).log()  # finite for a probability of 0
        # a filter labels a row without later rows, so the label of a block must not depend on the block itself
        self._predicts = posterior == "filter" and stands_for_rows
        self._messages = BlockMessages(chain, directory, ends.message)
        self._exact_messages = BlockMessages(
            chain, directory, ends.exact_message
        )  # of the decoder, where the encoder has its own

    def close(self) -> None:
        """Free the scratch space."""
        self._messages.close()
        self._exact_messages.close()

    def lattice(self, index: int, block: ScoredRows) -> Lattice | None:
        """Return the lattice of the potentials of a block; None for independent rows."""
        return None if self._iid_prior else self._lattice(index, block, block.potentials)

    def add(self, index: int, block: ScoredRows, lattice: Lattice | None) -> tuple[float, float]:
        """Add the next block and its lattice, which is exponentiated.

        Returns:
            log-likelihood of the block given all rows before, and its part of log Z of the potentials; nats.
        """
        if lattice is None:
            marginal = self._row_marginals(block.log_likelihoods).sum()
            normaliser = self._row_marginals(block.potentials).sum() if self._posterior == "encoder" else marginal
            return float(marginal), float(normaliser)
        lattice.exponentiate()
        marginal = normaliser = self._messages.add(lattice)
        if self._posterior == "encoder":
            exact = self._lattice(index, block, scaled(block.log_likelihoods, self._evidence_scale))
            exact.exponentiate()
            marginal = self._exact_messages.add(exact)
        return float(marginal), float(normaliser)

    def run_backward(self) -> None:
        """Carry messages back from the last block, when all have been added."""
        self._messages.run_backward(self._ends.beta)

    def of(self, index: int, block: ScoredRows) -> tuple[Tensor, Tensor]:
        """Return regime probabilities (n, K), and log p(x_t | past) of each row (n,) nats, standardised units."""
        rows, scores, potentials = block
        if self._iid_prior:
            known = torch.zeros_like(potentials) if self._predicts else potentials
            return (self._log_initial + known).log_softmax(-1).exp(), self._row_marginals(scores)
        sweep = self._messages.filter(index, potentials, rows.steps)
        exact = sweep
        if self._posterior == "encoder":
            exact = self._exact_messages.filter(index, scaled(scores, self._evidence_scale), rows.steps)
        if rows.known is not None and exact is sweep:  # of the rows alone: the sweep has that of known regimes too
            predicted = self._messages.predict(index, sweep.filtered_probs[0], rows.steps)
            marginals = (predicted.clamp_min(1e-300).log() + scores).logsumexp(-1)
        else:
            marginals = self._chain_marginals(exact, scores)
        if self._predicts:
            return self._messages.predict(index, sweep.filtered_probs[0], rows.steps), marginals
        probs = sweep.filtered_probs[0] if self._posterior == "filter" else self._messages.smooth(index, sweep)
        return probs, marginals

    def predicted(self, index: int, block: ScoredRows) -> Tensor:
        """Return (n, K) p(z_t | rows before t) of the decoder's chain, for a block."""
        rows, scores, potentials = block
        if self._iid_prior:
            return self._log_initial.exp().expand(len(rows), -1)
        messages = self._messages
        if self._posterior == "encoder":
            messages, potentials = self._exact_messages, scaled(scores, self._evidence_scale)
        sweep = messages.filter(index, potentials, rows.steps)
        return messages.predict(index, sweep.filtered_probs[0], rows.steps)

    def _lattice(self, index: int, block: ScoredRows, scores: Tensor) -> Lattice:
        """Return the lattice of scores (n, K) of a block."""
        start = not index and self._ends.message is None
        return Lattice(scores[None], block.rows.steps, self._chain, None, start=start)

    def _row_marginals(self, scores: Tensor) -> Tensor:
        """Return (n,) log sum_k p(z_t = k) exp(score_tk) of independent rows, nats."""
        return (self._log_initial + scores).logsumexp(-1)

    def _chain_marginals(self, sweep: Forward, log_likelihoods: Tensor) -> Tensor:
        """Return (n,) log sum_k p(z_t = k | past) p(x_t | h_t, k), nats, from a filter of scaled log-likelihoods."""
        marginals = sweep.row_log_likelihoods[0]
        if self._evidence_scale == 1:
            return marginals
        remainder = (log_likelihoods - scaled(log_likelihoods, self._evidence_scale)).mT
        return unscaled_marginal(marginals, sweep.filtered_probs[0].mT, remainder)
