"""What a trained model should be doubted for, and what its user could do about it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.model import ar_dynamics
from gmvae_cli.training.fit import Fit

Note = tuple[str, str]  # code, sentence

_RARE_SHARE = 0.01
_SAME_REGIMES = 0.01  # nats a row between the predictions of two regimes
_SHORT_VISIT = 3.0  # rows
_WIDE_GAP = 0.1  # nats a row
_SAME_CHANNELS = 1 - 1e-4  # correlation of what two channels do beyond the prediction, in every regime
_FAR_FROM_ZERO = 100.0  # standard deviations
_LITTLE_AGREEMENT = 0.4  # root mean square ARI


def on_model(trained: Checkpoint, figures: dict[str, Any], mean: NDArray[np.float64]) -> list[Note]:
    """What its regimes and channels look like.

    Args:
        figures: shares and expected_dwell of its regimes. mean: (D,) of the channels as they were.
    """
    parameters, found = trained.parameters, []
    for regime, share in enumerate(figures["shares"]):
        if share < _RARE_SHARE:
            found.append(
                ("rare_regime", f"regime {regime} has {100 * share:.2g} % of the rows; fewer --regimes may do")
            )
    emission = parameters.emission
    distances = ar_dynamics.divergence(emission.weights, emission.scale_tril)
    for i, j in (distances < _SAME_REGIMES).triu(1).nonzero().tolist():
        found.append(("same_regimes", f"regimes {i} and {j} predict the same; fewer --regimes may do"))
    for regime, radius in enumerate(ar_dynamics.spectral_radius(emission.ar_weights(trained.model.lags)).tolist()):
        if radius >= 1:
            found.append(
                (
                    "unstable_regime",
                    f"regime {regime} has spectral radius {radius:.3f}; left alone it would grow for ever",
                )
            )
    if trained.model.prior == "markov":
        for regime, dwell in enumerate(figures["expected_dwell"]):
            if dwell < _SHORT_VISIT:
                found.append(
                    (
                        "short_visits",
                        f"visits to regime {regime} last {dwell:.1f} rows; try --expect-dwell or fewer --regimes",
                    )
                )
    return found + _on_channels(trained, mean)


def on_training(figures: dict[str, Any], result: Fit) -> list[Note]:
    """What more effort may mend."""
    found, gap = [], figures["amortisation_gap"]
    if gap is not None and gap > _WIDE_GAP:
        found.append(
            ("amortisation_gap", f"the encoder loses {gap:.3f} nats a row to the exact posterior; try more --steps")
        )
    if not result.converged:
        gained = f"the last polish pass still changed {result.gain:.2g} nats a row"
        found.append(
            ("not_converged", f"{gained if np.isfinite(result.gain) else 'too few passes to tell'}; try more --polish")
        )
    return found


def on_agreement(agreement: float) -> list[Note]:
    """What to think of a consensus, which more effort does not mend."""
    if agreement >= _LITTLE_AGREEMENT:
        return []
    sentence = (
        f"regimes at different time scales have little in common (agreement {agreement:.2f}); look at a --plot before "
        "you trust them, or say --regimes or --expect-dwell"
    )
    return [("little_agreement", sentence)]


def _on_channels(trained: Checkpoint, mean: NDArray[np.float64]) -> list[Note]:
    found, names = [], trained.modelled
    tril = trained.parameters.emission.scale_tril
    covariance = tril @ tril.mT
    spread = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    likeness = (covariance / (spread[..., :, None] * spread[..., None, :])).abs().amin(0)
    for i, j in (likeness > _SAME_CHANNELS).triu(1).nonzero().tolist():
        found.append(("same_channels", f"channels '{names[i]}' and '{names[j]}' vary as one; leave one of them out"))
    if not trained.model.intercept:
        for name, distance in zip(names, (torch.as_tensor(mean) / trained.scale).abs().tolist(), strict=True):
            if distance > _FAR_FROM_ZERO:
                sentence = f"channel '{name}' lies {distance:.2g} standard deviations from 0, beyond --no-intercept"
                found.append(("far_from_zero", sentence))
    return found
