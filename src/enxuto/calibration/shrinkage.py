"""Second moments that hold on images not seen: cross-validated spectra, and powers raised to a floor.

A second moment from few images is wrong in two ways that rounding with feedback pays dearly for. First, its small
eigenvalues are too small: errors that feedback moves into those directions cost nothing on the calibration images, and
much on others. Second, inputs or outputs that were silent on a few hundred images seem to cost nothing, until another
image activates them. Both are corrected by cross-validation over parts of the images ("folds"):

- Eigenvalues, of the matrix in units of its diagonal. The eigenvectors come from all folds but one, and the power
  along them from the fold left out. The mean over folds, fitted to be monotonic, replaces the eigenvalues.
- The floor under the powers d (the diagonal): d' = (1 − f)·d + f·mean(d). The share f is the one that makes the powers
  of the fold left out likeliest, as variances of Gaussians. Powers below d' are raised to it.

Spectra are replaced for inputs only. The strongest gradients come from the few images that a model is not sure of.
Directions without gradients on those images are not free, even where folds agree, because errors there move the
answers of other images once they pass a margin. So correlations between gradients are shrunk (`shrink_correlations`).

Sources: Bartz 2016, "Cross-validation based nonlinear shrinkage" (arXiv:1611.00798), after Ledoit & Péché 2011;
diagonal: Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", with the
likelihood in place of squared errors, which a few loud channels decide.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import compiled

__all__ = [
    "fit_floor",
    "fit_isotonic",
    "keep_diagonal",
    "noise_share",
    "raise_floor",
    "shrink",
    "shrink_correlations",
]

_FLOORS = (0.0, 0.001, 0.003, 0.01, 0.02, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_FLOOR_OF_ONE = 0.1  # where there is no other fold to validate with
_LEAST = 1e-4  # of the mean power: what an input or an eigenvector has at least

Float64 = npt.NDArray[np.float64]
Sums = npt.NDArray[np.float32]


def shrink(sums: Sums, counts: Float64, least: float = 0.0) -> Float64:
    """Return positive definite second moments with cross-validated spectra.

    Args:
        sums: (F, g, c, c), sums of outer products, by fold and group.
        counts: (F,), the number of summands in each fold. With fewer than two filled folds the result is diagonal.
        least: the least share f of the floor (`fit_floor`).

    Returns:
        (g, c, c). Cost: F + 1 eigendecompositions of each matrix, some 10·c³ operations each.
    """

    def replace_spectra(mean: Float64, sums: Sums, counts: Float64) -> Float64:
        return np.stack([_replace_spectrum(mean[g], sums[:, g], counts) for g in range(len(mean))])

    return _regularize(sums, counts, least, replace_spectra)


def shrink_correlations(sums: Sums, counts: Float64, most: float, least: float = 0.0) -> Float64:
    """Return second moments (g, c, c) with correlations shrunk as far as folds disagree.

    Elements off the diagonal are multiplied by `most` · (1 − `noise_share`). Eigenvalues then lie above 1 − `most` of
    the powers, so that no direction is free.

    Args:
        sums: (F, g, c, c), sums of outer products, by fold and group.
        counts: (F,), the number of summands in each fold.
        most: the factor, at most 1, for correlations that all folds agree on.
        least: the least share f of the floor (`fit_floor`).
    """

    def in_part(mean: Float64, sums: Sums, counts: Float64) -> Float64:
        kept = most * (1 - noise_share(sums / counts[:, None, None, None], mean))
        found = kept * mean
        np.einsum("gcc->gc", found)[:] = np.einsum("gcc->gc", mean)
        return found

    return _regularize(sums, counts, least, in_part)


def _regularize(
    sums: Sums, counts: Float64, least: float, estimate: Callable[[Float64, Sums, Float64], Float64]
) -> Float64:
    """Return moments above their floor; `estimate` makes them of the mean, and of the sums and counts of folds."""
    filled = np.flatnonzero(counts > 0)
    sums, counts = sums[filled], counts[filled]
    if not len(filled):
        return np.stack([np.eye(sums.shape[-1])] * sums.shape[1])
    mean = sums.sum(0, dtype=np.float64) / counts.sum()
    if len(filled) == 1:
        return raise_floor(keep_diagonal(mean), max(least, _FLOOR_OF_ONE))
    powers = np.diagonal(sums, axis1=2, axis2=3).astype(np.float64) / counts[:, None, None]
    share = max(least, fit_floor(powers.reshape(len(powers), -1), counts))
    return raise_floor(estimate(mean, sums, counts), share)


def keep_diagonal(second: Float64) -> Float64:
    """Return `second` (g, c, c) with zeros off the diagonals."""
    return np.stack([np.diag(np.diag(one)) for one in second])


def noise_share(folds: npt.NDArray[np.floating], mean: Float64) -> float:
    """Return the share 0…1 of noise in the elements off the diagonal of the mean (g, c, c) of folds (F, g, c, c).

    This is Ledoit & Wolf's intensity for shrinking towards the diagonal, with the noise estimated from the folds.
    """
    count = len(folds)
    noise = 0.0
    for own in folds:
        noise += _off_diagonal(own - mean) / (count * (count - 1))
    power = _off_diagonal(mean)
    return min(1.0, noise / power) if power > 0 else 0.0


def _off_diagonal(matrices: Float64) -> float:
    """Return the sum of squares off the diagonals of (g, c, c)."""
    return float(np.sum(np.square(matrices)) - np.sum(np.square(np.diagonal(matrices, axis1=1, axis2=2))))


def raise_floor(second: Float64, share: float) -> Float64:
    """Return `second` (g, c, c) with no power below (1 − share)·its own + share·the mean; the identity for zeros.

    Only the diagonal changes.
    """
    powers = np.einsum("gcc->gc", second)
    mean = float(np.mean(powers))
    if not np.isfinite(mean) or mean <= 0:
        return np.stack([np.eye(second.shape[1])] * len(second))
    found = second.copy()
    np.einsum("gcc->gc", found)[:] = np.maximum(
        powers, np.maximum((1 - share) * powers + share * mean, _LEAST * mean)
    )
    return found


def fit_floor(powers: Float64, counts: Float64) -> float:
    """Return the share f of the floor under which powers (F, n) of the folds left out are likeliest; counts (F,)."""
    totals, count = (powers * counts[:, None]).sum(0), counts.sum()
    least, best = np.inf, 1.0
    for share in _FLOORS:
        surprise = 0.0
        for own, weight in zip(powers, counts, strict=True):
            others = np.maximum(totals - own * weight, 0.0) / (count - weight)
            mean = float(others.mean())
            if not mean > 0:
                return 1.0
            expected = np.maximum((1 - share) * others / mean + share, _LEAST)
            surprise += float(np.mean(np.log(expected) + own / mean / expected))
        if surprise < least:
            least, best = surprise, share
    return best


def _replace_spectrum(mean: Float64, sums: Sums, counts: Float64) -> Float64:
    """Return the mean (c, c) of the folds' moments with cross-validated eigenvalues; sums (F, c, c), counts (F,)."""
    diagonal = np.diag(mean)
    largest = float(diagonal.max(initial=0.0))
    if not np.isfinite(largest) or largest <= 0:
        return mean
    scale = 1 / np.sqrt(np.maximum(diagonal, _LEAST * float(diagonal.mean())))
    units = scale[:, None] * scale
    total, count = mean * counts.sum(), counts.sum()
    spectra = []
    for own, weight in zip(sums, counts, strict=True):
        vectors = np.linalg.eigh((total - own) / (count - weight) * units)[1]
        spectra.append(np.einsum("ij,ij->j", vectors, (own / weight * units) @ vectors))
    vectors = np.linalg.eigh(mean * units)[1]
    values = np.maximum(fit_isotonic(np.mean(spectra, axis=0)), _LEAST)
    return np.asarray((vectors * values) @ vectors.T / units, np.float64)


@compiled
def fit_isotonic(values: Float64) -> Float64:
    """Return the least-squares fit (n,) that never falls: isotonic regression by pooling adjacent violators.

    Source: Ayer et al. 1955, "An empirical distribution function for sampling with incomplete information".
    """
    means, sizes = np.empty(len(values)), np.empty(len(values), np.int64)
    pools = 0
    for value in values:
        means[pools], sizes[pools] = value, 1
        pools += 1
        while pools > 1 and means[pools - 2] > means[pools - 1]:
            both = sizes[pools - 2] + sizes[pools - 1]
            means[pools - 2] = (
                means[pools - 2] * sizes[pools - 2] + means[pools - 1] * sizes[pools - 1]
            ) / both
            sizes[pools - 2] = both
            pools -= 1
    out = np.empty(len(values))
    at = 0
    for pool in range(pools):
        out[at : at + sizes[pool]] = means[pool]
        at += sizes[pool]
    return out
