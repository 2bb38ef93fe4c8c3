"""PCA equals scikit-learn's and the slow one, in memory and in batches, and its memory does not grow with the number of vectors."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA

from support import slow_projection as slow
from vitscope.errors import ArgumentError
from vitscope.projection.pca import fit_pca


def same_up_to_sign(a, b, tolerance):
    signs = np.sign((a * b).sum(axis=0))
    np.testing.assert_allclose(a * signs, b, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize(("m", "d"), [(500, 24), (20, 64)])
def test_equals_scikit_learn_and_the_slow_one(m, d):
    x, _ = slow.blobs(m, d, 5)
    ours, theirs = fit_pca(x, 3), PCA(3, svd_solver="full").fit(x.astype(np.float64))
    same_up_to_sign(ours.place(x), theirs.transform(x.astype(np.float64)), 1e-4)
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-6)
    points, _, variance = slow.principal_components(x, 3)
    same_up_to_sign(ours.place(x), points, 1e-5)
    assert ours.total == pytest.approx(variance.sum(), rel=1e-9)


def test_batches_give_the_same_as_all_at_once():
    x, _ = slow.blobs(700, 16, 4)
    x += 1000.0  # far from the origin: merging must not lose digits
    whole, parts = fit_pca(x, 3), fit_pca(iter(np.array_split(x, [1, 7, 7, 400])), 3)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.variance, whole.variance, rtol=1e-9)
    np.testing.assert_allclose(parts.axes, whole.axes, atol=1e-8)
    assert parts.count == 700


def test_the_sign_does_not_depend_on_the_machine():
    x, _ = slow.blobs(100, 8, 3)
    for axes in (fit_pca(x, 3).axes, fit_pca(-x, 3).axes):
        assert (axes[np.arange(3), np.abs(axes).argmax(axis=1)] > 0).all()


def test_new_vectors_are_placed_as_the_old_ones_were():
    x, _ = slow.blobs(300, 12, 3)
    model = fit_pca(x[:200], 2)
    np.testing.assert_array_equal(model.place(x)[:200], model.place(x[:200]))


def test_vectors_that_are_all_one_have_no_variance_to_explain():
    model = fit_pca(np.ones((10, 4), dtype=np.float32), 2)
    assert model.explained.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("shape", "k"), [((1, 4), 1), ((5, 3), 4), ((5, 3), 0)])
def test_what_cannot_be_is_refused(shape, k):
    with pytest.raises(ArgumentError, match="axes"):
        fit_pca(np.zeros(shape), k)
    with pytest.raises(ArgumentError, match="axes"):
        fit_pca(iter([np.zeros(shape)]), k)


MANY = """
import re, numpy as np
from vitscope.projection.pca import fit_pca
rng = np.random.default_rng(0)
mix = rng.standard_normal((768, 768)).astype(np.float32)
def batches():
    draw = np.random.default_rng(1)
    for _ in range(400):
        yield draw.standard_normal((500, 768), dtype=np.float32) @ mix
model = fit_pca(batches(), 3)
print(model.count, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1e6)
"""
"""Not by getrusage: its peak also holds that of the process that started this one."""


@pytest.mark.long
def test_200_000_vectors_of_768_values_stay_below_2_gb():
    done = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True)
    count, gigabytes = done.stdout.split()
    assert int(count) == 200_000
    assert float(gigabytes) < 2.0
