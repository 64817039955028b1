"""Torchvision's SSDLite, the peer of benchmarks: built for a data set, run, and seen as the latency model reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.ops.misc import SqueezeExcitation

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.layers import Layer, Shape
from ofa_det.arch.levels import AnchorSizes
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.detection.detections import Detections
from ofa_det.latency.postprocessing import DetectionTail, TailOp, new_suppression

SIZE_PX = 320
PEER_CELLS = (20, 10, 5, 3, 2, 1)  # On each side of its six levels.


def build_peer(num_classes: int, dataset: CocoDataset) -> nn.Module:
    """Torchvision's SSDLite from random weights, with default boxes down to the small objects of the data set."""
    peer = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes + 1)
    peer.anchor_generator = _default_boxes(dataset)
    return peer.to(memory_format=torch.channels_last)


def _default_boxes(dataset: CocoDataset) -> DefaultBoxGenerator:
    """torchvision's, the least scale being that of the smallest twentieth of the training boxes."""
    least = float(np.quantile(np.sqrt(dataset.box_sizes().prod(axis=1)), 0.05))
    return DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=round(least, 2), max_ratio=0.95)


def peer_anchors(dataset: CocoDataset) -> AnchorSizes:
    """The peer's default boxes for each level."""
    return tuple(tuple((w, h) for w, h in pairs.tolist()) for pairs in _default_boxes(dataset)._wh_pairs)


class PeerPredictor:
    """The peer as the evaluator wants it.

    Args:
        peer: in eval mode.
        ids: (C,) category id of each label.
    """

    input_size = (SIZE_PX, SIZE_PX)

    def __init__(self, peer: nn.Module, ids: NDArray[np.int64]) -> None:
        self._peer = peer
        self._ids = ids

    @torch.no_grad()
    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        """Detections of (B, H, W, 3) images, up to 100 of each."""
        found = self._peer(list(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255))
        return [
            Detections(
                boxes=one["boxes"][:100].numpy() / SIZE_PX,
                scores=one["scores"][:100].numpy(),
                category_ids=self._ids[one["labels"][:100].numpy() - 1],
            )
            for one in found
        ]


@torch.no_grad()
def peer_layers(peer: nn.Module) -> list[Layer]:
    """The peer's layers as the latency model reads them, batch norms folded, seen in one pass."""
    activations = {nn.Hardswish: "hswish", nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Hardsigmoid: "hsigmoid"}
    found: list[dict[str, Any]] = []

    def shape(features: Tensor) -> Shape:
        return Shape(*features.shape[1:])

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            kind = "depthwise" if module.groups > 1 else "conv"
            sizes = {"kernel_size": module.kernel_size[0], "stride": module.stride[0]}
            found.append(
                {"kind": kind, "input_shapes": (shape(inputs[0]),), "out_channels": module.out_channels, **sizes}
            )
        elif type(module) in activations:
            found[-1]["activation"] = activations[type(module)]
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            found.append({"kind": "pool", "input_shapes": (shape(inputs[0]),), "out_channels": output.shape[1]})
        elif isinstance(module, SqueezeExcitation):
            shapes = (shape(output), Shape(output.shape[1], 1, 1))
            found.append({"kind": "multiply", "input_shapes": shapes, "out_channels": output.shape[1]})
        elif isinstance(module, InvertedResidual) and module.use_res_connect:
            found.append({"kind": "add", "input_shapes": (shape(output),) * 2, "out_channels": output.shape[1]})

    hooks = [module.register_forward_hook(note) for module in peer.modules()]
    peer.eval()([torch.zeros(3, SIZE_PX, SIZE_PX)])
    for hook in hooks:
        hook.remove()
    return [
        Layer(name=str(number), inputs=("",) * len(layer["input_shapes"]), **layer)
        for number, layer in enumerate(found)
    ]


def peer_tail(peer: nn.Module, num_classes: int) -> DetectionTail:
    """What would stand behind its layers in a uint8 file: the same ops as in ours, on its own anchors."""
    generator = peer.anchor_generator
    assert isinstance(generator, DefaultBoxGenerator)
    per_cell = generator.num_anchors_per_location()
    anchors = [count * cells**2 for count, cells in zip(per_cell, PEER_CELLS, strict=True)]
    ops = [TailOp(name="images", kind="quantize", elements=3 * SIZE_PX**2)]
    for width in (4, num_classes):
        for count in anchors:
            ops += [TailOp(name="level", kind=kind, elements=width * count) for kind in ("reshape", "dequantize")]
        ops.append(TailOp(name="levels", kind="concat", elements=width * sum(anchors)))
    ops.append(TailOp(name="scores", kind="sigmoid", elements=num_classes * sum(anchors)))
    return DetectionTail(ops=tuple(ops), suppression=new_suppression(sum(anchors), num_classes, PostProcessConfig()))
