"""Cuts a subnet out of the supernet's weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ofa_det.arch.layer_plan import detector_plan
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.elastic.convolution import ElasticConv2d, ElasticDepthwiseConv2d
from ofa_det.models.detector import Detector
from ofa_det.models.supernet import Supernet


@torch.no_grad()
def extract(supernet: Supernet, subnet: SubnetConfig) -> Detector:
    """The subnet as a static detector with its own copy of the weights.

    Its outputs equal the supernet's for that subnet bit for bit. The batch-norm statistics are the supernet's; they
    fit a trained supernet's subnet only after `calibrate_batch_norm`.

    Raises:
        ValueError: a subnet that the space does not hold.
    """
    if subnet not in supernet.space:
        raise ValueError(f"expected a subnet of {supernet.space}, found {subnet}")
    state: dict[str, Tensor] = {}
    for layer in detector_plan(supernet.config, subnet).layers:
        if not layer.has_weights:
            continue
        module = supernet.get_submodule(layer.name)
        if isinstance(module, ElasticDepthwiseConv2d):
            state[f"{layer.name}.weight"] = module.cut(layer.out_channels, layer.kernel_size)
        else:
            assert isinstance(module, ElasticConv2d)
            weight, bias = module.cut(layer.in_channels, layer.out_channels)
            state[f"{layer.name}.weight"] = weight
            if bias is not None:
                state[f"{layer.name}.bias"] = bias
        if module.norm is not None:
            for key, value in module.norm.state_dict().items():
                state[f"{layer.name}.norm.{key}"] = value[: layer.out_channels] if value.ndim else value
    device = next(supernet.parameters()).device
    detector = Detector(supernet.config, subnet).to(device)
    detector.load_state_dict(state)
    return detector.train(supernet.training)
