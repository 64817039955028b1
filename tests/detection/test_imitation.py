"""Feature imitation."""

import numpy as np
import pytest
import torch

from ofa_det.detection.imitation import imitation_loss


def test_it_is_one_less_the_mean_correlation():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5, generator=generator), torch.randn(2, 2, 4, 5, generator=generator)
    pairs = zip(student.transpose(0, 1).reshape(3, -1), teacher.transpose(0, 1).reshape(2, -1), strict=False)
    correlations = [np.corrcoef(a.numpy(), b.numpy())[0, 1] for a, b in pairs]
    assert float(imitation_loss(student, teacher)) == pytest.approx(1 - np.mean(correlations), abs=1e-5)


@pytest.mark.parametrize(("scale", "expected"), [(3.0, 0.0), (-0.5, 2.0)])
def test_offset_and_scale_do_not_matter_but_the_sign_does(scale, expected):
    student = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    assert float(imitation_loss(student, scale * student[:, :2] + 7)) == pytest.approx(expected, abs=1e-4)


def test_a_channel_that_is_constant_gives_a_finite_gradient():
    student = torch.zeros(1, 1, 2, 2, requires_grad=True)
    imitation_loss(student, torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(2))).backward()
    assert torch.isfinite(student.grad).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at most 2 channels, found \\(3, 4, 4\\)"):
        imitation_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="4, 4"):
        imitation_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2))
