"""A published once-for-all classifier, run from its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ofa_det.arch.plan import IMAGES, LayerPlan
from ofa_det.elastic.layers import convolve
from ofa_det.models.fake_quantization import BEFORE_ACTIVATION
from ofa_det.models.network import StaticConvolution, activate, combine

See = Callable[[str, Tensor], None]


class Classifier(nn.Module):
    """A classifier of one architecture, in eval mode.

    Args:
        plan: its layers, of which the last gives the logits.
        weights: by layer and key: `{layer}.weight`, `.bias`, `.norm.*`.

    Raises:
        RuntimeError: weights of another architecture.
    """

    def __init__(self, plan: LayerPlan, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.plan = plan
        # Names of modules must not have dots.
        layers = {layer.name: StaticConvolution(layer) for layer in plan.layers if layer.has_weights}
        self._modules_by_key = nn.ModuleDict({_key(name): module for name, module in layers.items()})
        for name, module in layers.items():
            prefix = f"{name}."
            module.load_state_dict(
                {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
                | ({} if module.norm is None else {"norm.num_batches_tracked": torch.tensor(0)})
            )
        self.eval()

    def forward(self, images: Tensor, see: See | None = None) -> Tensor:
        """Runs the network.

        Args:
            images: (B, 3, R, R), normalised.
            see: called with name and values of every tensor that a quantized file keeps.

        Returns:
            Logits (B, C).
        """
        values = {IMAGES: images}
        for layer in self.plan.layers:
            inputs = [values[name] for name in layer.inputs]
            if layer.has_weights:
                module = cast(StaticConvolution, self._modules_by_key[_key(layer.name)])
                weight, bias = module.weights(layer)
                features = convolve(inputs[0], weight, bias, layer)
                features = features if module.norm is None else module.norm(features)
            else:
                features = combine(layer, inputs)
            if see is not None and layer.activation == "hswish":
                see(layer.name + BEFORE_ACTIVATION, features)
            values[layer.name] = activate(layer, features)
            if see is not None and layer.activation != "hsigmoid":
                see(layer.name, values[layer.name])
        return values[self.plan.layers[-1].name].flatten(1)

    def arrays(self) -> dict[str, Tensor]:
        """Weights by layer and key."""
        return {
            f"{layer.name}.{key}": value
            for layer in self.plan.layers
            if layer.has_weights
            for key, value in self._modules_by_key[_key(layer.name)].state_dict().items()
        }


def _key(layer_name: str) -> str:
    return layer_name.replace(".", "-")
