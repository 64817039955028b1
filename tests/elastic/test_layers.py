from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ofa_det.arch.layers import ElasticLayer, Layer, LayerKind, Shape
from ofa_det.elastic.layers import ElasticBatchNorm2d, ElasticConvolution, convolve


def layer(kind: LayerKind = "conv", size: int = 8, channels: tuple[int, int] = (1, 1), **fields: object) -> Layer:
    shape = Shape(channels[0], size, size)
    return Layer(name="x", kind=kind, inputs=("i",), input_shapes=(shape,), out_channels=channels[1], **fields)


def elastic(
    kind: LayerKind = "conv", channels: tuple[int, int] = (6, 8), kernel_sizes: tuple[int, ...] = (1,), **fields: object
) -> ElasticConvolution:
    values = {"batch_norm": False, "weights_of": None} | fields
    return ElasticConvolution(
        ElasticLayer(
            name="x",
            kind=kind,
            in_channels=channels[0],
            out_channels=channels[1],
            kernel_sizes=kernel_sizes,
            **values,
        )
    )


def test_uneven_padding_goes_behind() -> None:
    image = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 1, 4, 4)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 2] = 1  # reads the right neighbour of the window's centre column
    # Windows start at columns 0 and 2: their third columns are 2 and the padding.
    out = convolve(image, weight, None, layer(size=4, kernel_size=3, stride=2))
    assert out[0, 0, 0].tolist() == [2.0, 0.0]


def test_symmetric_padding_is_pytorchs() -> None:
    image = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 1, 4, 4)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 2] = 1
    # Windows start at columns -1 and 1.
    out = convolve(image, weight, None, layer(size=4, kernel_size=3, stride=2, padding="symmetric"))
    assert out[0, 0, 0].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 6, 7])
@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_symmetric_padding_is_half_the_kernel_on_every_side(
    kind: LayerKind, size: int, stride: int, kernel_size: int
) -> None:
    features = torch.randn(2, 4, size, size)
    spec = layer(kind, size, (4, 4), kernel_size=kernel_size, stride=stride, padding="symmetric")
    weight = torch.randn(4, 4 // spec.groups, kernel_size, kernel_size)
    expected = F.conv2d(features, weight, None, stride, kernel_size // 2, groups=spec.groups)
    found = convolve(features, weight, None, spec)
    assert torch.equal(found, expected)
    assert found.shape[1:] == spec.output_shape


@pytest.mark.parametrize(("size", "stride"), [(5, 2), (8, 1)])
def test_both_paddings_put_the_same_zeros_where_they_are_even(size: int, stride: int) -> None:
    features, weight, bias = torch.randn(1, 1, size, size), torch.randn(1, 1, 3, 3), torch.randn(1)
    same = layer(size=size, kernel_size=3, stride=stride)
    symmetric = replace(same, padding="symmetric")
    assert torch.equal(convolve(features, weight, bias, same), convolve(features, weight, bias, symmetric))


def test_a_narrow_convolution_uses_the_first_channels() -> None:
    convolution = elastic(channels=(6, 8))
    weight, bias = convolution.weights(layer(channels=(4, 3)))
    assert convolution.weight.shape == (8, 6, 1, 1)
    assert torch.equal(weight, convolution.weight[:3, :4])
    assert torch.equal(bias, convolution.bias[:3])


def test_a_smaller_kernel_starts_as_the_centre_of_the_larger() -> None:
    convolution = elastic("depthwise", (4, 4), (3, 5, 7), batch_norm=True)
    full = convolution.weight
    for size, channels in ((7, 4), (5, 4), (3, 2)):
        weight, bias = convolution.weights(layer("depthwise", channels=(channels, channels), kernel_size=size))
        border = (7 - size) // 2
        torch.testing.assert_close(weight, full[:channels, :, border : border + size, border : border + size])
        assert bias is None
    with pytest.raises(ValueError, match=r"kernel size of \(3, 5, 7\), found 9"):
        convolution.weights(layer("depthwise", channels=(4, 4), kernel_size=9))


def test_kernels_chain_their_transforms_and_train_them() -> None:
    convolution = elastic("depthwise", (2, 2), (3, 5, 7))
    with torch.no_grad():
        convolution.transforms["5"].mul_(2)
        convolution.transforms["3"].mul_(3)
    weight, _ = convolution.weights(layer("depthwise", channels=(2, 2), kernel_size=3))
    torch.testing.assert_close(weight, 6 * convolution.weight[..., 2:5, 2:5])
    weight.square().sum().backward()
    assert all(matrix.grad.abs().sum() > 0 for matrix in convolution.transforms.values())


def test_a_dense_kernel_is_cut_in_width_and_size() -> None:
    convolution = elastic("conv", (6, 8), (3, 5), batch_norm=True)
    with torch.no_grad():
        convolution.transforms["3"].copy_(torch.eye(9).roll(1, dims=1))  # each weight is the next one's
    weight, _ = convolution.weights(layer(channels=(4, 8), kernel_size=3))
    centre = convolution.weight[:, :4, 1:4, 1:4].flatten(2)
    torch.testing.assert_close(weight.flatten(2), centre.roll(-1, dims=2))


def test_one_that_uses_the_weights_of_another_has_a_batch_norm_alone() -> None:
    convolution = elastic(batch_norm=True, weights_of="y")
    assert {name for name, _ in convolution.named_parameters()} == {"norm.weight", "norm.bias"}


def test_batch_norm_follows_the_width_and_keeps_no_statistics() -> None:
    norm = ElasticBatchNorm2d(6)
    before = norm.running_mean.clone()
    out = norm.train()(torch.randn(8, 3, 4, 4) * 5 + 2)
    assert out.mean().abs() < 1e-5
    assert torch.equal(norm.running_mean, before)
    features = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(norm.eval()(features), features / (1 + 1e-5) ** 0.5)


def test_the_epsilon_of_a_batch_norm_is_the_layers() -> None:
    convolution = elastic(batch_norm=True, batch_norm_epsilon=0.5)
    features = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(convolution.norm.eval()(features), features / 1.5**0.5)
