"""The numbers of regimes: by decreasing share of the rows, or as in an older model."""

from dataclasses import replace
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.inference import apply
from gmvae_cli.metrics import partition
from gmvae_cli.model import ar_dynamics
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.expectation import RegimeCounts

_SAME_SHARE = 0.01  # shares that differ by less, as those of two seeds do, order nothing: the regime seen first leads
_TIE_BREAKER = 0.01  # weight of similar predictions, which decide only where regimes share no rows


def number_regimes(
    trained: Checkpoint,
    labels: RegimeCounts,
    reference: Checkpoint | None,
    data: SeriesData,
    device: str,
    progress: Progress,
) -> tuple[Checkpoint, RegimeCounts]:
    """Number the regimes of a model by share, or like those of a reference model of the same channels.

    Args:
        labels: of all rows, as the last E-step of training gives them: the file is not labelled once more for it.
        data: labelled by both models where there is a reference.
    Returns:
        the model, and the counts of its labels in that order.
    """
    counts = labels.rows.numpy()
    if reference is None:
        order = order_by_share(counts, labels.first.numpy())
        return permuted(trained, torch.as_tensor(order)), labels.reordered(order)
    order = order_as_in(reference, trained, _overlap(trained, reference, data, device, progress))
    numbered, names = permuted(trained, torch.as_tensor(order)), _names_as_in(reference, len(order))
    if data.known is not None:
        names = tuple(own or other for own, other in zip_longest(numbered.names, names, fillvalue=""))
    return replace(numbered, names=names), labels.reordered(order)


def _names_as_in(reference: Checkpoint, num_regimes: int) -> tuple[str, ...]:
    """Return the names that K regimes numbered as in a reference take from it; those that it lacks have none."""
    if not reference.names:
        return ()
    return (*reference.names, *[""] * num_regimes)[:num_regimes]


def _overlap(
    trained: Checkpoint, reference: Checkpoint, data: SeriesData, device: str, progress: Progress
) -> NDArray[np.int64]:
    """Count the rows (K, K of the reference) by the regimes that both models give them."""
    overlap = np.zeros((trained.model.regimes, reference.model.regimes), np.int64)
    with (
        apply.infer(data, trained, "smooth", device, progress=progress) as inferred,
        apply.infer(data, reference, "smooth", device, progress=progress) as older,
    ):
        for ours, theirs in zip(inferred.blocks(), older.blocks(), strict=True):
            np.add.at(overlap, (ours.regimes, theirs.regimes), 1)
    return overlap


def permuted(trained: Checkpoint, order: torch.Tensor) -> Checkpoint:
    """Number regime order[k] k: the same model otherwise; order (K,)."""
    encoder = dict(trained.encoder or {})
    last = [name for name in encoder if name.endswith("weight")][-1].removesuffix("weight")  # in order of the layers
    for name in (f"{last}weight", f"{last}bias"):
        encoder[name] = encoder[name][order]
    assert trained.standard_errors is not None
    parameters, errors = trained.parameters.permuted(order), trained.standard_errors[order]
    names = tuple(trained.names[regime] for regime in order.tolist()) if trained.names else ()
    return replace(trained, parameters=parameters, encoder=encoder, standard_errors=errors, names=names)


def order_by_share(counts: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order regimes by decreasing share; those of nearly equal share by their first appearance.

    Args:
        counts: (K,) rows of each regime. first: (K,) first row of each regime.
    Returns:
        (K,) old numbers in their new order.
    """
    order = np.argsort(-counts, kind="stable")
    leaders = -counts[order] / max(counts.sum(), 1)
    groups, leader = np.zeros(len(order), np.int64), leaders[0]
    for rank in range(1, len(order)):
        near = leaders[rank] - leader < _SAME_SHARE
        groups[rank] = groups[rank - 1] + (0 if near else 1)
        leader = leader if near else leaders[rank]
    return order[np.lexsort((first[order], groups))]


def order_as_in(reference: Checkpoint, trained: Checkpoint, overlap: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order regimes like those of a reference model that they correspond to.

    The rows that two regimes share decide, and between regimes that share none the similarity of their predictions.

    Args:
        overlap: (K, K of the reference) rows that both models label so.
    Returns:
        (K,) old numbers in their new order.
    """
    K = len(overlap)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    likeness = overlap / np.maximum(union, 1)
    if all(getattr(reference.model, name) == getattr(trained.model, name) for name in ("lags", "stride", "summarize")):
        lags = trained.model.lags
        ours, theirs = (model.parameters.with_intercept(lags) for model in (trained, reference))
        theirs = theirs.rescaled(lags, reference.mean, reference.scale, trained.mean, trained.scale)
        emissions = ours.emission, theirs.emission
        weights = torch.cat([emission.weights for emission in emissions])
        tril = torch.cat([emission.scale_tril.expand(len(emission.weights), -1, -1) for emission in emissions])
        distance = ar_dynamics.divergence(weights, tril)[:K, K:].numpy()
        likeness = likeness + _TIE_BREAKER / (1 + distance)
    numbers = partition.match(likeness[:, :K])
    free = iter(sorted(set(range(K)) - {number for number in numbers if number >= 0}))
    named = np.array([number if number >= 0 else next(free) for number in numbers])
    return np.argsort(named)
