"""t-SNE and UMAP: the same each time, clusters kept, new points placed among their own, saved as plain arrays."""

import json

import numpy as np
import pytest

from support import slow_projection as slow
from vitscope.errors import ArgumentError
from vitscope.projection.maps import fit_map, read_map, save_map
from vitscope.projection.quality import label_structure, neighbourhoods
from vitscope.projection.tsne import fit_tsne


@pytest.fixture(scope="module")
def some():
    x, own = slow.blobs(150, 12, 3)
    return x[:120], own[:120], x[120:], own[120:]


@pytest.fixture(scope="module")
def fitted(some):
    return {method: fit_map(method, some[0], 2, seed=1) for method in ("pca", "tsne", "umap")}


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_clusters_stay_and_new_points_fall_among_their_own(some, fitted, method):
    x, own, new, new_own = some
    one = fitted[method]
    assert one.points.shape == (120, 2)
    assert neighbourhoods(x, one.points, 10)[0] > 0.8
    assert label_structure(one.points, own, 5)[0] > 0.95
    placed = one.model.place(new)
    both = label_structure(np.concatenate([one.points, placed]), np.concatenate([own, new_own]), 5)
    assert both[0] > 0.95
    assert np.ptp(placed, axis=0) == pytest.approx(np.ptp(one.points, axis=0), rel=0.5)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_the_same_seed_gives_the_same_map(some, fitted, method):
    again = fit_map(method, some[0], 2, seed=1, threads=2)
    np.testing.assert_array_equal(again.points, fitted[method].points)
    np.testing.assert_array_equal(again.model.place(some[2]), fitted[method].model.place(some[2]))


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_three_dimensions(some, method):
    points = fit_map(method, some[0][:60], 3).points
    assert points.shape == (60, 3)
    assert (points.std(axis=0) > 0).all()


@pytest.mark.parametrize("method", ["pca", "tsne", "umap"])
def test_a_saved_map_places_as_the_first_did_and_holds_no_pickle(some, fitted, method, tmp_path):
    path = save_map(fitted[method], tmp_path / "map.npz", {"dim": 2})
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(str(archive["meta"])) == {"dim": 2, "method": method}
        assert all(archive[name].dtype.kind in "fiuU" for name in archive.files)
    read = read_map(path, {"dim": 2})
    np.testing.assert_array_equal(read.points, fitted[method].points)
    np.testing.assert_array_equal(read.model.place(some[2]), fitted[method].model.place(some[2]))
    assert read.parameters == fitted[method].parameters
    with pytest.raises(ArgumentError, match="a map of something else"):
        read_map(path, {"dim": 3})


def test_a_file_that_is_no_map_is_refused(tmp_path):
    path = tmp_path / "map.npz"
    np.savez(path, meta=np.array(["x"], dtype=object))
    with pytest.raises(ArgumentError, match="no map"):
        read_map(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ArgumentError, match="no map"):
        read_map(path)


def test_few_points_lower_the_perplexity_and_fewer_still_are_refused():
    x, _ = slow.blobs(10, 4, 2)
    assert fit_tsne(x, iterations=20).perplexity == 3.0
    for method, least in (("tsne", 4), ("umap", 5)):
        with pytest.raises(ArgumentError, match=f"at least {least}"):
            fit_map(method, x[: least - 1], 2)


def test_unknown_methods_and_dimensions_are_refused():
    with pytest.raises(ArgumentError, match="'lda'; expected pca, tsne, umap"):
        fit_map("lda", np.zeros((9, 3)), 2)
    with pytest.raises(ArgumentError, match="4 dimensions; expected 2 or 3"):
        fit_map("pca", np.zeros((9, 3)), 4)
