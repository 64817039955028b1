"""A plan that several tests of latency read."""

from ofa_det.arch.plan import LayerPlan, PlanBuilder


def small_detector(resolution: int = 32) -> LayerPlan:
    """Two levels, three anchors a cell, five classes; with a layer of every kind and activation."""
    builder = PlanBuilder(resolution, padding="symmetric")
    builder.append("stem", "conv", 8, kernel_size=3, stride=2, activation="hswish")
    builder.residual_block("block", 8, kernel_size=5, stride=1, expanded=16, activation="relu6", squeezed=8)
    fine = builder.append("fine", "depthwise", kernel_size=3, stride=2, activation="relu")
    builder.append("down", "depthwise", kernel_size=7, stride=2, activation="hswish")
    coarse = builder.append("coarse", "conv", 8)
    up = builder.append("up", "resize")
    joined = builder.append("joined", "concat", inputs=(up, fine))
    levels = (joined, coarse)
    boxes = [builder.append(f"boxes_{name}", "conv", 3 * 4, inputs=(name,)) for name in levels]
    scores = [builder.append(f"scores_{name}", "conv", 3 * 5, inputs=(name,)) for name in levels]
    return LayerPlan(
        resolution=resolution, layers=builder.layers, box_outputs=tuple(boxes), score_outputs=tuple(scores)
    )
