"""Second moments that hold on images not seen: spectra by cross-validation, and powers drawn to their mean.

A second moment from few images is wrong in two ways that rounding with feedback pays dearly for. Its small
eigenvalues are too small: errors steered into those directions cost nothing on the images they were steered by, and
much on others. And inputs or outputs that were silent on a few hundred images seem to cost nothing at all, until an
image comes that wakes them. Both are measured here by parts of the images ("folds") held out in turn:

- the eigenvalues, of the matrix in units of its diagonal: eigenvectors of all folds but one, and along them the power
  of the one left out; the mean over folds, made to rise, takes the place of the eigenvalues of all;
- the share f of the diagonal that is its mean, d' = (1 − f)·d + f·mean(d): the one under which the powers of folds
  left out are likeliest, as variances of Gaussians.

Sources: Bartz 2016, "Cross-validation based nonlinear shrinkage" (arXiv:1611.00798), after Ledoit & Péché 2011;
diagonal: Ledoit & Wolf 2004, with the likelihood in place of squared errors, which a few loud channels decide.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["lift_of", "lifted", "rising", "shrunk"]

_LIFTS = (0.0, 0.001, 0.003, 0.01, 0.02, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_LEAST = 1e-4  # of the mean power: what an input or an eigenvector has at least

Float64 = npt.NDArray[np.float64]
Sums = npt.NDArray[np.float32]


def shrunk(sums: Sums, counts: Float64) -> Float64:
    """Return second moments (g, c, c), positive definite, from sums of outer products over folds (F, g, c, c).

    counts (F,): summands in each fold. With fewer than two folds that have any, or where only some groups have
    power, what is not known is diagonal. Cost: F + 1 eigendecompositions of each matrix, some 10·c³ operations each.
    """
    filled = np.flatnonzero(counts > 0)
    sums, counts = sums[filled], counts[filled]
    size = sums.shape[-1]
    if not len(filled):
        return np.stack([np.eye(size)] * sums.shape[1])
    mean = sums.sum(0, dtype=np.float64) / counts.sum()
    powers = np.diagonal(sums, axis1=2, axis2=3).astype(np.float64) / counts[:, None, None]
    if len(filled) > 1:
        mean = np.stack([_respectrum(mean[g], sums[:, g], counts) for g in range(len(mean))])
        return lifted(mean, lift_of(powers.reshape(len(powers), -1), counts))
    return lifted(np.stack([np.diag(np.diag(one)) for one in mean]), 0.1)


def lifted(second: Float64, lift: float) -> Float64:
    """Return (1 − lift)·second (g, c, c) with lift·the mean power added to the diagonal; ones where all is zero."""
    mean = float(np.mean(np.diagonal(second, axis1=1, axis2=2)))
    if not np.isfinite(mean) or mean <= 0:
        return np.stack([np.eye(second.shape[1])] * len(second))
    found = (1 - lift) * second
    diagonal = np.einsum("gcc->gc", found)
    diagonal[:] = np.maximum(diagonal + lift * mean, _LEAST * mean)
    return np.asarray(found, np.float64)


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


@numba.njit(cache=True, nogil=True)
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
