"""Where searches start: subnets spread over the resolutions and close below the latency cap."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig

Latency = Callable[[SubnetConfig], float]
"""Predicted time of one image, in ms."""

_TRIES = 10


def feasible_resolutions(space: SearchSpace, latency: Latency, latency_cap_ms: float) -> tuple[int, ...]:
    """The resolutions at which the smallest subnet keeps the cap.

    Raises:
        ValueError: there is none; the message names the smallest latency of the space.
    """
    if latency_cap_ms <= 0:
        raise ValueError(f"expected a latency cap above 0 ms, found {latency_cap_ms}")
    smallest_ms = {resolution: latency(space.smallest(resolution)) for resolution in space.resolutions}
    feasible = tuple(resolution for resolution, ms in smallest_ms.items() if ms <= latency_cap_ms)
    if not feasible:
        resolution = min(smallest_ms, key=smallest_ms.__getitem__)
        raise ValueError(
            f"expected a latency cap of at least {smallest_ms[resolution]:.2f} ms, the smallest subnet's "
            f"({resolution} px), found {latency_cap_ms:g} ms; raise the cap or search a space with smaller subnets"
        )
    return feasible


def initial_candidates(
    space: SearchSpace, latency: Latency, latency_cap_ms: float, min_fill: float, rng: random.Random
) -> Iterator[SubnetConfig]:
    """Endless candidates that keep the cap, not all distinct: good subnets lie near it, random ones seldom do.

    First, per resolution from the highest, a subnet that no single step can enlarge without breaking the cap. Then
    those of `near_cap`.

    Args:
        space: where to look.
        latency: predicted time of a subnet, in ms.
        latency_cap_ms: the cap, in ms.
        min_fill: fraction of the latency within reach, which is the cap or the largest subnet's if that is lower.
        rng: the random state.

    Raises:
        ValueError: no subnet keeps the cap.
    """
    resolutions = feasible_resolutions(space, latency, latency_cap_ms)[::-1]
    for resolution in resolutions:
        yield _enlarge(space, _on_path(space, resolution, latency, latency_cap_ms, rng), latency, latency_cap_ms, rng)
    yield from near_cap(space, latency, latency_cap_ms, min_fill, rng)


def near_cap(
    space: SearchSpace, latency: Latency, latency_cap_ms: float, min_fill: float, rng: random.Random
) -> Iterator[SubnetConfig]:
    """Endless random candidates that keep the cap and are not far below it, not all distinct.

    The resolutions in turn, from the highest: a uniform sample that takes at least `min_fill` of the latency within
    reach, drawn by rejection (as EEEA-Net does); where a few draws do not hit, a subnet on a random path from the
    smallest to the largest. The arguments are those of `initial_candidates`.

    Raises:
        ValueError: no subnet keeps the cap.
    """
    resolutions = feasible_resolutions(space, latency, latency_cap_ms)[::-1]
    reach_ms = {r: min(latency_cap_ms, latency(space.largest(r))) for r in resolutions}
    while True:
        for resolution in resolutions:
            least_ms = min_fill * reach_ms[resolution]
            samples = (space.sample(rng, resolution) for _ in range(_TRIES))
            hit = next((s for s in samples if least_ms <= latency(s) <= latency_cap_ms), None)
            target_ms = rng.uniform(least_ms, reach_ms[resolution])
            yield hit or _on_path(space, resolution, latency, target_ms, rng)


def _on_path(
    space: SearchSpace, resolution: int, latency: Latency, target_ms: float, rng: random.Random
) -> SubnetConfig:
    """The last subnet within the target on a random path of single steps from the smallest to the largest."""
    path = [space.smallest(resolution)]
    while neighbours := space.larger_neighbours(path[-1]):
        path.append(rng.choice(neighbours))
    # The smallest keeps the cap; a path's latencies ascend, so bisection needs about six predictions for sixty steps.
    low, high = 0, len(path)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if latency(path[middle]) <= target_ms else (low, middle)
    return path[low]


def _enlarge(
    space: SearchSpace, subnet: SubnetConfig, latency: Latency, latency_cap_ms: float, rng: random.Random
) -> SubnetConfig:
    """Takes random single steps up until none keeps the cap."""
    while True:
        neighbours = space.larger_neighbours(subnet)
        rng.shuffle(neighbours)
        fitting = next((n for n in neighbours if latency(n) <= latency_cap_ms), None)
        if fitting is None:
            return subnet
        subnet = fitting
