"""What operators a file has."""

from __future__ import annotations

from collections import Counter

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ofa_det.arch.plan import LayerPlan

ENDING = {"CONCATENATION": 2, "LOGISTIC": 1, "TFLite_Detection_PostProcess": 1}


def expected_operators(plan: LayerPlan, *, input_type: str) -> Counter[str]:
    """One for each layer of a plan, one for each activation that cannot be fused, and those of the ends."""
    kinds = {
        "conv": "CONV_2D",
        "depthwise": "DEPTHWISE_CONV_2D",
        "pool": "MEAN",
        "multiply": "MUL",
        "resize": "RESIZE_NEAREST_NEIGHBOR",
        "concat": "CONCATENATION",
    }
    found: Counter[str] = Counter(ENDING)
    for layer in plan.layers:
        found["ADD" if layer.kind == "add" else kinds[layer.kind]] += (
            len(layer.inputs) - 1 if layer.kind == "add" else 1
        )
        found["HARD_SWISH"] += layer.activation == "hswish"
        found["MUL"] += layer.activation == "hsigmoid"
        found["PAD"] += layer.pads_unlike_same
    outputs = 2 * len(plan.box_outputs)
    found["RESHAPE"] += outputs
    found["QUANTIZE"] += input_type == "uint8"
    found["DEQUANTIZE"] += outputs * (input_type != "float32")
    return +found


def operators(content: bytes) -> Counter[str]:
    """Of a file, without a delegate."""
    return Counter(op["op_name"] for op in _interpreter(content)._get_ops_details())


def float_operators(content: bytes) -> set[str]:
    """Operators with a float input."""
    interpreter = _interpreter(content)
    return {
        op["op_name"]
        for op in interpreter._get_ops_details()
        for index in op["inputs"]
        if index >= 0 and interpreter._get_tensor_details(int(index), 0)["dtype"] is np.float32
    }


def _interpreter(content: bytes) -> Interpreter:
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    return interpreter
