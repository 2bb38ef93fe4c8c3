"""Projection and its quality the slow, obvious way: whole distance matrices, loops, float64."""

import numpy as np


def distances(a, b):
    """[m, n] Euclidean, by differences."""
    return np.array([[np.sqrt(((x - y) ** 2).sum()) for y in np.asarray(b, np.float64)] for x in np.asarray(a, np.float64)])


def principal_components(x, k):
    """Points, axes and variances by the eigenvectors of numpy's own covariance."""
    x = np.asarray(x, np.float64)
    values, axes = np.linalg.eigh(np.cov(x, rowvar=False))
    order = np.argsort(values)[::-1]
    return (x - x.mean(axis=0)) @ axes[:, order[:k]], axes[:, order[:k]].T, values[order]


def trustworthiness(original, shown, k):
    """Venna and Kaski's formula, rank by rank."""
    far, near = distances(original, original), distances(shown, shown)
    m, lost = len(original), 0
    for i in range(m):
        others = [j for j in range(m) if j != i]
        by_original = sorted(others, key=lambda j: far[i, j])
        by_shown = sorted(others, key=lambda j: near[i, j])
        lost += sum(max(0, by_original.index(j) + 1 - k) for j in by_shown[:k])
    return 1 - 2 / (m * k * (2 * m - 3 * k - 1)) * lost


def agreement(x, labels, k):
    """Mean share of the k nearest that have the same label."""
    found = distances(x, x)
    shares = []
    for i in range(len(x)):
        nearest = sorted((j for j in range(len(x)) if j != i), key=lambda j: found[i, j])[:k]
        shares.append(np.mean([labels[j] == labels[i] for j in nearest]))
    return float(np.mean(shares))


def knn_label(reference, labels, query, k):
    """The label most of the k nearest have; the nearest of equals decides."""
    order = np.argsort(distances([query], reference)[0])[:k]
    near = [labels[j] for j in order]
    return max(near, key=lambda label: (near.count(label), -near.index(label)))


def blobs(m, d, classes, seed=0, spread=3.0):
    """Clustered vectors float32 [m, d] and their class [m]."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, classes, m)
    centres = rng.standard_normal((classes, d)) * spread
    return (centres[own] + rng.standard_normal((m, d)) * np.linspace(1.5, 0.3, d)).astype(np.float32), own
