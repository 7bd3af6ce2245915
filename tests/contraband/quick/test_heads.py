"""Quick heads: what they learn, that they say it of each voxel by itself, and their files."""

from __future__ import annotations

import time

import numpy as np
import pytest

from blockwise.errors import BadInput
from contraband.quick.file import Recipe, fingerprint, load_head, save_head
from contraband.quick.fitting import fit
from contraband.quick.logistic import Scaling

KINDS = ("forest", "logistic")
RECIPE = Recipe(dims=2, gaussian={"scales": (1.0, 2.0)})
COUNT = RECIPE.gaussian.count(2)


def blobs(count, classes=(0, 1, 2), features=COUNT, seed=0):
    """Points of Gaussian blobs, one for each class; the last classes have fewer points."""
    random = np.random.default_rng(seed)
    named = np.array([classes[min(place % 5, len(classes) - 1)] for place in range(count)])
    centres = np.random.default_rng(9).standard_normal((3, features)) * 2
    return (random.standard_normal((count, features)) + centres[named]).astype(np.float32), named


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [(0, 1, 2), (1, 2), (0, 2)])
def test_heads_learn_classes_that_can_be_told_apart(kind, classes):
    """From forty points the classes of new ones are found; classes never seen have no probability."""
    head = fit(kind, *blobs(40, classes))
    found = head.probabilities(blobs(500, classes, seed=1)[0])
    assert found.shape == (500, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (found.argmax(axis=1) == blobs(500, classes, seed=1)[1]).mean() > 0.9
    assert not found[:, sorted({0, 1, 2} - set(classes))].any()


def test_a_forest_walks_as_scikit_learn_does():
    """Our walk through the trees gives the probabilities of the library that grew them."""
    from sklearn.ensemble import RandomForestClassifier

    features, classes = blobs(200)
    features += np.random.default_rng(3).standard_normal(features.shape).astype(np.float32) * 2
    other = RandomForestClassifier(100, class_weight="balanced", random_state=5).fit(features, classes)
    new = blobs(3000, seed=2)[0]
    np.testing.assert_allclose(
        fit("forest", features, classes, 5).probabilities(new), other.predict_proba(new), atol=1e-5
    )


def test_a_logistic_head_predicts_as_scikit_learn_does():
    """Scaling folded into the weights gives the probabilities of the library on scaled features."""
    from sklearn.linear_model import LogisticRegression

    features, classes = blobs(60)
    scale = Scaling.of(features)
    model = LogisticRegression(class_weight="balanced", tol=1e-6, max_iter=1000)
    model.fit((features - scale.mean) / scale.sd, classes)
    new = blobs(500, seed=2)[0]
    expected = model.predict_proba((new - scale.mean) / scale.sd)
    np.testing.assert_allclose(fit("logistic", features, classes).probabilities(new), expected, atol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_voxel_is_judged_by_itself(kind):
    """Whatever voxels lie beside it, its probabilities are the same to the bit."""
    head = fit(kind, *blobs(60))
    new = blobs(3001, seed=4)[0]
    whole = head.probabilities(new)
    for low, high in ((0, 1), (5, 1500), (2999, 3001), (17, 2064)):
        np.testing.assert_array_equal(head.probabilities(new[low:high]), whole[low:high])


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_back_the_head(kind, tmp_path):
    """A head read from its file says the same to the bit, and has the same fingerprint."""
    head = fit(kind, *blobs(50, (1, 2)))
    save_head(tmp_path / "deep" / "head.npz", head, RECIPE)
    again, recipe = load_head(tmp_path / "deep" / "head.npz")
    new = blobs(100, seed=3)[0]
    np.testing.assert_array_equal(again.probabilities(new), head.probabilities(new))
    assert recipe == RECIPE
    assert fingerprint(again, recipe) == fingerprint(head, RECIPE)
    assert fingerprint(fit(kind, *blobs(51, (1, 2))), RECIPE) != fingerprint(head, RECIPE)


def test_other_files_are_no_heads(tmp_path):
    """Text, other arrays, a broken forest, a head of other features and a missing file are refused in one line."""
    forest = fit("forest", *blobs(50))
    broken = forest.arrays()
    broken["children"] = np.zeros_like(broken["children"])  # a walk would never end
    save_head(tmp_path / "good.npz", forest, RECIPE)
    about = np.load(tmp_path / "good.npz")["about"]
    np.savez(tmp_path / "broken.npz", about=about, **broken)
    np.savez(tmp_path / "other.npz", values=np.arange(3))
    (tmp_path / "text.npz").write_text("no head")
    save_head(tmp_path / "unfit.npz", forest, Recipe(dims=3))
    for name in ("broken", "other", "text", "unfit", "missing"):
        with pytest.raises(BadInput, match=name):
            load_head(tmp_path / f"{name}.npz")


@pytest.mark.parametrize(
    ("features", "classes", "word"),
    [
        (np.zeros((3, 2)), [1, 1, 1], "one class; got inside"),
        (np.zeros((0, 2)), [], "one class; got none"),
        (np.zeros((3, 2)), [1, 2, 3], "unknown classes"),
        (np.zeros((3, 2)), [1, 2, -1], "unknown classes"),
        (np.zeros((2, 2)), [1, 2, 1], "no features"),
        (np.full((2, 2), np.nan), [1, 2], "not finite"),
    ],
)
def test_points_that_teach_nothing_are_refused(features, classes, word):
    """One class only, unknown classes, and points without finite features are refused in one line."""
    for kind in KINDS:
        with pytest.raises(BadInput, match=word):
            fit(kind, features, np.array(classes, np.int64))


def test_a_whitened_head_leaves_alone_what_light_changes():
    """Of two features that tell the classes alike, the one that changes with the light gets far less weight."""
    random = np.random.default_rng(0)
    classes = np.arange(40) % 2 + 1
    features = (classes[:, None] * 2.0 + random.standard_normal((40, 2)) * 0.3).astype(np.float32)
    plain = Scaling.of(features)
    white = Scaling(plain.mean, plain.sd, np.diag([1.0, 0.0]))
    change = np.array([[0.0, 0.0], [1.0, 0.0]], np.float32) + features.mean(axis=0)
    moved = [
        np.ptp(fit("logistic", features, classes, scaling=one).probabilities(change)[:, 1]) for one in (plain, white)
    ]
    assert moved[1] < moved[0] / 2


@pytest.mark.slow
def test_a_logistic_head_is_fitted_in_a_tenth_of_a_second():
    """A thousand points of a hundred features take less than 100 ms of processor time, the best of five."""
    features, classes = blobs(1000, features=100)
    features += np.random.default_rng(1).standard_normal(features.shape).astype(np.float32) * 3
    seconds = []
    for _ in range(5):
        begin = time.process_time()
        fit("logistic", features, classes)
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 0.1
