"""Published once-for-all networks: their net.config, random weights in their words, and what they compute."""

import json

import torch
import torch.nn.functional as F
from published_layers import convolution, norm, normed

from ofa_det.arch.plan import make_divisible
from ofa_det.arch.subnet import SubnetConfig

_MEAN = torch.tensor([123.675, 116.28, 103.53]).reshape(1, 3, 1, 1)
_SCALE = torch.tensor([58.395, 57.12, 57.375]).reshape(1, 3, 1, 1)


def _block(in_width, width, block, stride, act_func, use_se):
    convolution = {
        "in_channels": in_width,
        "out_channels": width,
        "kernel_size": block.kernel_size,
        "stride": stride,
        "expand_ratio": block.expand_ratio,
        "mid_channels": None,
        "act_func": act_func,
        "use_se": use_se,
    }
    shortcut = {"name": "IdentityLayer"} if stride == 1 and in_width == width else None
    return {"mobile_inverted_conv": convolution, "shortcut": shortcut}


def net_config(text, width_mult=1.0, num_classes=1000):
    """The net.config that describes a subnet, in the once-for-all project's words."""

    def convolution(width, kernel_size=1, stride=1):
        out_channels = make_divisible(width * width_mult)
        return {"out_channels": out_channels, "kernel_size": kernel_size, "stride": stride, "act_func": "h_swish"}

    blocks, in_width = [], make_divisible(16 * width_mult)
    fixed = zip((16, 24, 40, 80, 112, 160), (1, 2, 2, 2, 1, 2), "rrrhhh", "nnynyy", strict=True)
    for stage, (width, stride, act, se) in zip(SubnetConfig.parse(text).stages, fixed, strict=True):
        for i, block in enumerate(stage):
            out_width = make_divisible(width * width_mult)
            act_func = "relu" if act == "r" else "h_swish"
            blocks.append(_block(in_width, out_width, block, stride if i == 0 else 1, act_func, se == "y"))
            in_width = out_width
    return {
        "first_conv": convolution(16, kernel_size=3, stride=2),
        "blocks": blocks,
        "final_expand_layer": convolution(960),
        "feature_mix_layer": convolution(1280),
        "classifier": {"out_features": num_classes},
    }


def static_state(net, images, seed=0):
    """Random weights as they are published beside a net.config, with the batch-norm statistics of images.

    Args:
        net: the net.config.
        images: (B, H, W, 3) uint8.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    first, mix = net["first_conv"]["out_channels"], net["feature_mix_layer"]["out_channels"]
    state = convolution("first_conv.conv.weight", first, 3, 3) | norm("first_conv.bn", first)
    for number, entry in enumerate(net["blocks"]):
        block, prefix = entry["mobile_inverted_conv"], f"blocks.{number}.mobile_inverted_conv"
        into, width = block["in_channels"], block["out_channels"]
        inner = make_divisible(into * block["expand_ratio"])
        if block["expand_ratio"] > 1:
            state |= convolution(f"{prefix}.inverted_bottleneck.conv.weight", inner, into)
            state |= norm(f"{prefix}.inverted_bottleneck.bn", inner)
        state |= convolution(f"{prefix}.depth_conv.conv.weight", inner, 1, block["kernel_size"])
        state |= norm(f"{prefix}.depth_conv.bn", inner)
        if block["use_se"]:
            gate, squeezed = f"{prefix}.depth_conv.se.fc", make_divisible(inner // 4)
            state |= convolution(f"{gate}.reduce.weight", squeezed, inner)
            state |= convolution(f"{gate}.expand.weight", inner, squeezed)
            state |= {f"{gate}.reduce.bias": torch.randn(squeezed), f"{gate}.expand.bias": torch.randn(inner)}
        state |= convolution(f"{prefix}.point_linear.conv.weight", width, inner)
        state |= norm(f"{prefix}.point_linear.bn", width)
    final = net["final_expand_layer"]["out_channels"]
    state |= convolution(
        "final_expand_layer.conv.weight", final, net["blocks"][-1]["mobile_inverted_conv"]["out_channels"]
    )
    state |= norm("final_expand_layer.bn", final) | convolution("feature_mix_layer.conv.weight", mix, final)
    classes = net["classifier"]["out_features"]
    state["classifier.linear.weight"] = torch.randn(classes, mix) * 0.05
    state["classifier.linear.bias"] = torch.randn(classes)
    static_logits(net, state, images, calibrate=True)
    return state


def static_logits(net, state, images, *, calibrate=False):
    """Logits (B, C) of images (B, H, W, 3) uint8, by the definition of the network.

    The border is padded with what our networks pad it with, a grey of 128, where once-for-all pads with its mean.
    """
    grey = F.pad(torch.from_numpy(images).permute(0, 3, 1, 2).float(), (1, 1, 1, 1), value=128)

    def bn(x, name):
        if calibrate:
            state[f"{name}.running_mean"], state[f"{name}.running_var"] = x.mean((0, 2, 3)), x.var((0, 2, 3)) + 0.01
        return normed(x, state, name, 1e-5)

    x = F.hardswish(bn(F.conv2d((grey - _MEAN) / _SCALE, state["first_conv.conv.weight"], stride=2), "first_conv.bn"))
    for number, entry in enumerate(net["blocks"]):
        block, prefix, before = entry["mobile_inverted_conv"], f"blocks.{number}.mobile_inverted_conv", x
        activate = F.relu if block["act_func"] == "relu" else F.hardswish
        if block["expand_ratio"] > 1:
            expand = f"{prefix}.inverted_bottleneck"
            x = activate(bn(F.conv2d(x, state[f"{expand}.conv.weight"]), f"{expand}.bn"))
        depth, side = f"{prefix}.depth_conv", block["kernel_size"] // 2
        x = F.conv2d(x, state[f"{depth}.conv.weight"], stride=block["stride"], padding=side, groups=x.shape[1])
        x = activate(bn(x, f"{depth}.bn"))
        if block["use_se"]:
            gate = f"{depth}.se.fc"
            pooled = x.mean(dim=(2, 3), keepdim=True)
            squeezed = F.relu(F.conv2d(pooled, state[f"{gate}.reduce.weight"], state[f"{gate}.reduce.bias"]))
            x = x * F.hardsigmoid(F.conv2d(squeezed, state[f"{gate}.expand.weight"], state[f"{gate}.expand.bias"]))
        x = bn(F.conv2d(x, state[f"{prefix}.point_linear.conv.weight"]), f"{prefix}.point_linear.bn")
        x = x + before if entry["shortcut"] else x
    x = F.hardswish(bn(F.conv2d(x, state["final_expand_layer.conv.weight"]), "final_expand_layer.bn"))
    x = F.hardswish(F.conv2d(x.mean(dim=(2, 3), keepdim=True), state["feature_mix_layer.conv.weight"]))
    return F.linear(x.flatten(1), state["classifier.linear.weight"], state["classifier.linear.bias"])


def write_network(folder, net, state, resolution):
    """Writes net.config, run.config and weights.pth; gives the paths of the first and the last."""
    (folder / "net.config").write_text(json.dumps(net))
    (folder / "run.config").write_text(json.dumps({"image_size": resolution}))
    torch.save({"state_dict": state, "epoch": 1}, folder / "weights.pth")
    return folder / "net.config", folder / "weights.pth"
