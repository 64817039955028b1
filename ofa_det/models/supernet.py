"""The supernet: every subnet of a search space in one set of weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig, elastic_layers
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.elastic.layers import ElasticConvolution
from ofa_det.models.network import DetectionNetwork, Detector


class Supernet(DetectionNetwork):
    """An elastic detector.

    Args:
        config: with the space of its subnets.
    """

    def __init__(self, config: DetectorConfig) -> None:
        layers = elastic_layers(config)
        super().__init__(config, config.space, ((layer.name, ElasticConvolution(layer)) for layer in layers))

    @torch.no_grad()
    def extract(self, subnet: SubnetConfig) -> Detector:
        """Cuts a subnet out of the weights.

        Its batch-norm statistics are the supernet's; they fit a trained supernet's subnet only after
        `calibrate_batch_norm`.
        """
        self._check(subnet)
        state: dict[str, Tensor] = {}
        plan = self.plan(subnet)
        for layer in plan.layers:
            if not layer.has_weights:
                continue
            module = self._by_layer[layer.name]
            if layer.weights_of is None:
                weight, bias = self.weights(plan, layer)
                state[f"{layer.name}.weight"] = weight
                if bias is not None:
                    state[f"{layer.name}.bias"] = bias
            if module.norm is not None:
                for key, value in module.norm.state_dict().items():
                    state[f"{layer.name}.norm.{key}"] = value[: layer.out_channels] if value.ndim else value
        detector = Detector(self.config, subnet).to(next(self.parameters()).device)
        detector.load_state_dict(state)
        return detector.train(self.training)
