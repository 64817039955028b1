import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema


class GraphWriter:
    """Writes graphs by hand: the structure matters here, not the weights."""

    def __init__(self, dtype=schema.TensorType.INT8):
        self.model, self.graph, self.dtype = schema.ModelT(), schema.SubGraphT(), dtype
        self.model.version, self.model.subgraphs, self.model.operatorCodes = 3, [self.graph], []
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []

    def tensor(self, shape, name="constant"):
        tensor = schema.TensorT()
        tensor.shape, tensor.name, tensor.type = list(shape), name, self.dtype
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def image(self, *shape):
        self.graph.inputs.append(self.tensor(shape, "images"))
        return self.graph.inputs[-1]

    def op(self, code, inputs, shape, name, options=None, options_type=0, custom=None):
        entry = schema.OperatorCodeT()
        entry.builtinCode, entry.customCode = getattr(schema.BuiltinOperator, code), custom
        entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
        self.model.operatorCodes.append(entry)
        op = schema.OperatorT()
        op.opcodeIndex, op.inputs = len(self.model.operatorCodes) - 1, inputs
        op.outputs = [self.tensor(shape, name)]
        op.builtinOptions, op.builtinOptionsType = options, options_type
        self.graph.operators.append(op)
        return op.outputs[0]

    def concat(self, sources, shape, name, axis):
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        return self.op("CONCATENATION", sources, shape, name, options, schema.BuiltinOptions.ConcatenationOptions)

    def conv(
        self, source, kernel, shape, name, *, stride=1, padding=schema.Padding.SAME, activation=0, depthwise=False
    ):
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.padding, options.fusedActivationFunction = padding, activation
        kinds = schema.BuiltinOptions
        return self.op(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [source, self.tensor(kernel), self.tensor((shape[-1],))],
            shape,
            name,
            options,
            kinds.DepthwiseConv2DOptions if depthwise else kinds.Conv2DOptions,
        )

    def save(self, path):
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


@pytest.fixture
def new_graph():
    """Starts a `.tflite` graph: int8, or of another type."""
    return GraphWriter
