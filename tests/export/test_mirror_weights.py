from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ofa_det.arch.plan import LayerPlan, PlanBuilder
from ofa_det.export.mirror_weights import (
    ConvolutionWeights,
    fold_batch_norm,
    with_score_columns,
    with_tf_box_order,
)


def head(anchors: int, classes: int) -> LayerPlan:
    """Two predictors on the image itself."""
    builder = PlanBuilder(resolution=4)
    box = builder.append("box", "conv", anchors * 4, inputs=("images",))
    score = builder.append("score", "conv", anchors * classes, inputs=("images",))
    return LayerPlan(resolution=4, layers=builder.layers, box_outputs=(box,), score_outputs=(score,))


@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_folded_convolution_equals_convolution_and_batch_norm(kind):
    torch.manual_seed(0)
    builder = PlanBuilder(resolution=5)
    builder.append("layer", kind, 3 if kind == "depthwise" else 7, kernel_size=3, batch_norm=True)
    groups = 3 if kind == "depthwise" else 1
    conv = nn.Conv2d(3, builder.channels("layer"), 3, groups=groups, bias=False)
    norm = nn.BatchNorm2d(conv.out_channels).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(tensor, 0.5, 1.5)
    state = {"layer.weight": conv.weight} | {f"layer.norm.{key}": value for key, value in norm.state_dict().items()}
    plan = LayerPlan(resolution=5, layers=builder.layers)

    folded = fold_batch_norm(plan, {key: value.detach().numpy() for key, value in state.items()})["layer"]

    # Back from (k, k, in, out), or (k, k, channels, 1), to torch's layout.
    kernel = folded.kernel.transpose((2, 3, 0, 1) if kind == "depthwise" else (3, 2, 0, 1))
    images = torch.rand(2, 3, 5, 5)
    found = F.conv2d(images, torch.from_numpy(kernel.copy()), torch.from_numpy(folded.bias), groups=groups)
    torch.testing.assert_close(found, norm(conv(images)), atol=1e-5, rtol=0)


def test_the_epsilon_is_the_layers():
    builder = PlanBuilder(resolution=4, in_channels=1)
    builder.batch_norm_epsilon = 0.5
    builder.append("layer", "conv", 1, batch_norm=True)
    values = {"weight": 3.0, "bias": 1.0, "running_mean": 0.5, "running_var": 3.5}
    weights = {f"layer.norm.{key}": np.full(1, value, np.float32) for key, value in values.items()}
    weights["layer.weight"] = np.full((1, 1, 1, 1), 4.0, np.float32)
    folded = fold_batch_norm(LayerPlan(resolution=4, layers=builder.layers), weights)["layer"]
    assert folded.kernel.item() == 4 * 3 / 2
    assert folded.bias.item() == 1 - 0.5 * 3 / 2


def test_missing_weights_and_other_shapes_are_named():
    plan = head(anchors=1, classes=1)
    weights = {"box.weight": np.zeros((4, 3, 1, 1), np.float32), "box.bias": np.zeros(4, np.float32)}
    with pytest.raises(ValueError, match=r"expected a weight 'score.weight' of shape \(1, 3, 1, 1\), found none"):
        fold_batch_norm(plan, weights)
    weights["box.bias"] = np.zeros(8, np.float32)
    with pytest.raises(ValueError, match=r"expected 'box.bias' of shape \(4,\), found \(8,\)"):
        fold_batch_norm(plan, weights)


def test_box_predictors_give_ty_tx_th_tw():
    plan = head(anchors=2, classes=1)
    values = np.array([10, 11, 12, 13, 20, 21, 22, 23], np.float32)  # dx, dy, dw, dh of two anchors
    weights = ConvolutionWeights(kernel=np.broadcast_to(values, (1, 1, 3, 8)), bias=values)

    permuted = with_tf_box_order(plan, {"box": weights})["box"]

    assert permuted.bias.tolist() == [11, 10, 13, 12, 21, 20, 23, 22]
    np.testing.assert_array_equal(permuted.kernel[0, 0, 1], permuted.bias)


def test_score_columns_are_placed_anchor_by_anchor():
    plan = head(anchors=2, classes=2)
    values = np.array([1, 2, 3, 4], np.float32)  # classes 0 and 1 of two anchors
    weights = ConvolutionWeights(kernel=np.broadcast_to(values, (1, 1, 3, 4)), bias=values)

    arranged = with_score_columns(plan, {"score": weights}, [None, 1, None, 0], [-9.0])["score"]

    assert arranged.bias.tolist() == [-9, 2, -9, 1, -9, 4, -9, 3]
    assert arranged.kernel[0, 0, 0].tolist() == [0, 2, 0, 1, 0, 4, 0, 3]
