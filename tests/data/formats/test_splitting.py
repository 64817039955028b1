from collections import Counter

import numpy as np
import pytest

from ofa_det.data.formats.splitting import stratified


def images_of(count, seed=0):
    """Images with classes of very different frequency, and some with none."""
    rng = np.random.default_rng(seed)
    return [{label for label, share in enumerate((0.7, 0.3, 0.05, 0.02)) if rng.random() < share} for _ in range(count)]


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_every_class_is_divided_in_the_proportion(fraction):
    images = images_of(400)
    chosen = stratified(images, fraction, seed=3)
    total, taken = Counter(), Counter()
    for found, is_val in zip(images, chosen, strict=True):
        total.update(found)
        taken.update(found if is_val else ())
    assert abs(sum(chosen) - 400 * fraction) <= 0.03 * 400
    for label, count in total.items():
        assert 1 <= taken[label] < count
        assert abs(taken[label] - count * fraction) <= max(1.5, 0.05 * count)


def test_one_class_is_divided_exactly_and_the_seed_decides_which():
    images = [{7}] * 160
    first, again, other = (stratified(images, 0.2, seed=seed) for seed in (0, 0, 1))
    assert sum(first) == sum(other) == 32
    assert first == again != other


def test_no_part_is_ever_empty():
    assert sorted(stratified([{1}, set()], 0.01, seed=0)) == [False, True]
    assert sorted(stratified([set(), set()], 0.99, seed=0)) == [False, True]
    for seed in range(20):
        chosen = stratified([{1}, {1, 2}, {2}], 0.01, seed=seed)
        assert 0 < sum(chosen) < 3


def test_a_rare_class_is_in_both_parts():
    images = [{0}] * 50 + [{0, 1}] * 2
    for seed in range(20):
        assert sum(stratified(images, 0.1, seed=seed)[50:]) == 1
