"""Second moments that hold on images not seen: spectra by cross-validation, and powers drawn to their mean.

A second moment from few images is wrong in two ways that rounding with feedback pays dearly for. Its small
eigenvalues are too small: errors steered into those directions cost nothing on the images they were steered by, and
much on others. And inputs or outputs that were silent on a few hundred images seem to cost nothing at all, until an
image comes that wakes them. Both are measured here by parts of the images ("folds") held out in turn:

- the eigenvalues, of the matrix in units of its diagonal: eigenvectors of all folds but one, and along them the power
  of the one left out; the mean over folds, made to rise, takes the place of the eigenvalues of all;
- the share f up to which powers are drawn to their mean, d' = (1 − f)·d + f·mean(d): the one under which those of
  folds left out are likeliest, as variances of Gaussians. What is then below d' is raised to it.

Spectra are for inputs. Gradients come in strength from the few images that a model is not sure of: directions that
those do not ask about are not free, though folds may agree that they are, as errors there move the answers of other
images once they pass a margin. What gradients share is believed in part (`shared`).

Sources: Bartz 2016, "Cross-validation based nonlinear shrinkage" (arXiv:1611.00798), after Ledoit & Péché 2011;
diagonal: Ledoit & Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", with the
likelihood in place of squared errors, which a few loud channels decide.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from enxuto.machine.kernels import compiled

__all__ = ["diagonal_of", "lift_of", "lifted", "noise_of", "rising", "shared", "shrunk"]

_LIFTS = (0.0, 0.001, 0.003, 0.01, 0.02, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_LIFT_OF_ONE = 0.1  # where there is no other fold to tell
_LEAST = 1e-4  # of the mean power: what an input or an eigenvector has at least

Float64 = npt.NDArray[np.float64]
Sums = npt.NDArray[np.float32]


def shrunk(sums: Sums, counts: Float64, least: float = 0.0) -> Float64:
    """Return second moments (g, c, c), positive definite, from sums of outer products over folds (F, g, c, c).

    counts (F,): summands in each fold; least: how far powers are drawn to their mean at least. With fewer than two
    folds that have any, moments are diagonal. Cost: F + 1 eigendecompositions of each matrix, some 10·c³ operations
    each.
    """

    def respectra(mean: Float64, sums: Sums, counts: Float64) -> Float64:
        return np.stack([_respectrum(mean[g], sums[:, g], counts) for g in range(len(mean))])

    return _raised(sums, counts, least, respectra)


def shared(sums: Sums, counts: Float64, most: float, least: float = 0.0) -> Float64:
    """Return second moments as `shrunk`, but what channels share is only believed as far as folds agree, and `most`.

    Off the diagonal the mean (g, c, c) over folds is shrunk by `noise_of` and by `most`; eigenvalues then lie above
    1 − `most` of the powers, so that no direction is free.
    """

    def in_part(mean: Float64, sums: Sums, counts: Float64) -> Float64:
        kept = most * (1 - noise_of(sums / counts[:, None, None, None], mean))
        found = kept * mean
        np.einsum("gcc->gc", found)[:] = np.einsum("gcc->gc", mean)
        return found

    return _raised(sums, counts, least, in_part)


def _raised(
    sums: Sums, counts: Float64, least: float, correlated: Callable[[Float64, Sums, Float64], Float64]
) -> Float64:
    """Return moments with silent channels raised; `correlated` makes them from the mean, sums and counts of folds."""
    filled = np.flatnonzero(counts > 0)
    sums, counts = sums[filled], counts[filled]
    if not len(filled):
        return np.stack([np.eye(sums.shape[-1])] * sums.shape[1])
    mean = sums.sum(0, dtype=np.float64) / counts.sum()
    if len(filled) == 1:
        return lifted(diagonal_of(mean), max(least, _LIFT_OF_ONE))
    powers = np.diagonal(sums, axis1=2, axis2=3).astype(np.float64) / counts[:, None, None]
    lift = max(least, lift_of(powers.reshape(len(powers), -1), counts))
    return lifted(correlated(mean, sums, counts), lift)


def diagonal_of(second: Float64) -> Float64:
    """Return `second` (g, c, c) with zeros off the diagonals."""
    return np.stack([np.diag(np.diag(one)) for one in second])


def noise_of(folds: npt.NDArray[np.floating], mean: Float64) -> float:
    """Return the share 0…1 of noise in the elements off the diagonal of the mean (g, c, c) of folds (F, g, c, c).

    Ledoit & Wolf's intensity for shrinking towards the diagonal, the noise taken from how folds differ.
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


def lifted(second: Float64, lift: float) -> Float64:
    """Return `second` (g, c, c) with no power below (1 − lift)·its own + lift·the mean power; ones where all is zero.

    Only the diagonal is raised: what channels share stays as it is.
    """
    powers = np.einsum("gcc->gc", second)
    mean = float(np.mean(powers))
    if not np.isfinite(mean) or mean <= 0:
        return np.stack([np.eye(second.shape[1])] * len(second))
    found = second.copy()
    np.einsum("gcc->gc", found)[:] = np.maximum(
        powers, np.maximum((1 - lift) * powers + lift * mean, _LEAST * mean)
    )
    return found


def lift_of(powers: Float64, counts: Float64) -> float:
    """Return the share f of the mean under which powers (F, n) of folds left out are likeliest; counts (F,)."""
    totals, count = (powers * counts[:, None]).sum(0), counts.sum()
    least, best = np.inf, 1.0
    for lift in _LIFTS:
        surprise = 0.0
        for own, weight in zip(powers, counts, strict=True):
            others = np.maximum(totals - own * weight, 0.0) / (count - weight)
            mean = float(others.mean())
            if not mean > 0:
                return 1.0
            expected = np.maximum((1 - lift) * others / mean + lift, _LEAST)
            surprise += float(np.mean(np.log(expected) + own / mean / expected))
        if surprise < least:
            least, best = surprise, lift
    return best


def _respectrum(mean: Float64, sums: Sums, counts: Float64) -> Float64:
    """Return a mean of second moments (c, c) with the eigenvalues that folds left out call for; sums (F, c, c)."""
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
    values = np.maximum(rising(np.mean(spectra, axis=0)), _LEAST)
    return np.asarray((vectors * values) @ vectors.T / units, np.float64)


@compiled
def rising(values: Float64) -> Float64:
    """Return the nearest values (n,), by squares, that never fall: pools of adjacent violators (Ayer et al. 1955)."""
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
