import pytest
import torch
import torch.nn.functional as F

from ofa_det.elastic.convolution import ElasticConv2d, ElasticDepthwiseConv2d
from ofa_det.elastic.normalisation import ElasticBatchNorm2d
from ofa_det.elastic.padding import conv2d_same, same_padding


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding"),
    [(8, 3, 1, (1, 1)), (8, 3, 2, (0, 1)), (5, 3, 2, (1, 1)), (8, 5, 2, (1, 2)), (8, 7, 1, (3, 3)), (2, 3, 2, (0, 1))],
)
def test_same_padding_is_tensorflows(size, kernel_size, stride, padding):
    assert same_padding(size, kernel_size, stride) == padding


def test_uneven_padding_goes_after():
    image = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 1, 4, 4)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 2] = 1  # reads the right neighbour of the window's centre column
    # Windows start at columns 0 and 2: their third columns are 2 and the padding.
    assert conv2d_same(image, weight, None, 2)[0, 0, 0].tolist() == [2.0, 0.0]


def test_a_narrow_convolution_uses_the_first_channels():
    conv = ElasticConv2d(6, 8, 1, batch_norm=False)
    features = torch.randn(2, 4, 5, 5)
    expected = F.conv2d(features, conv.weight[:3, :4], conv.bias[:3])
    torch.testing.assert_close(conv(features, 3), expected)


def test_a_smaller_kernel_starts_as_the_centre_of_the_larger():
    conv = ElasticDepthwiseConv2d(4, (3, 5, 7))
    torch.testing.assert_close(conv.cut(4, 5), conv.weight[..., 1:6, 1:6])
    torch.testing.assert_close(conv.cut(2, 3), conv.weight[:2, :, 2:5, 2:5])
    with pytest.raises(ValueError, match="kernel size"):
        conv.cut(4, 9)


def test_kernels_chain_their_transforms_and_train_them():
    conv = ElasticDepthwiseConv2d(2, (3, 5, 7))
    with torch.no_grad():
        conv.transforms["5"].mul_(2)
        conv.transforms["3"].mul_(3)
    torch.testing.assert_close(conv.cut(2, 3), 6 * conv.weight[..., 2:5, 2:5])
    conv(torch.randn(1, 2, 8, 8), 3).square().sum().backward()
    assert conv.transforms["5"].grad is not None
    assert conv.transforms["3"].grad.abs().sum() > 0


def test_batch_norm_follows_the_width_and_keeps_no_statistics():
    norm = ElasticBatchNorm2d(6)
    before = norm.running_mean.clone()
    out = norm.train()(torch.randn(8, 3, 4, 4) * 5 + 2)
    assert out.mean().abs() < 1e-5
    torch.testing.assert_close(norm.running_mean, before)
    features = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(norm.eval()(features), features / (1 + 1e-5) ** 0.5)
