"""What is passed back through a tensor is edited; the tensor is not."""

import torch

from inforeg_lightning.core._autograd import attach_loss, redirect, touch


def test_an_attached_loss_is_minimised_with_the_training_loss():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    output = x.sin()
    attached = attach_loss(output, (x**2).sum(), scale=0.5)
    assert torch.equal(attached, output)
    (found,) = torch.autograd.grad(attached.exp().sum(), x, retain_graph=True)
    (expected,) = torch.autograd.grad(output.exp().sum() + 0.5 * (x**2).sum(), x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


def test_the_scale_may_be_a_tensor_of_another_dtype():
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    attached = attach_loss(x.sum(), (3 * x).sum(), torch.tensor(2.0, dtype=torch.float32))
    (found,) = torch.autograd.grad(attached, x)
    assert found.tolist() == [7.0, 7.0]


def test_an_attached_loss_has_no_sound_gradient_where_the_training_loss_has_none():
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    attached = attach_loss(x.detach().sum(), (3 * x).sum(), 1.0)
    (found,) = torch.autograd.grad(attached * torch.inf, x)
    assert found.isnan().all()


def test_a_redirected_gradient_goes_to_the_terms_times_their_factors():
    a, b = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    factors = torch.ones(2, dtype=torch.float64)
    output = redirect(a.exp() + b.exp(), [a.exp(), b.exp()], factors.unbind())
    assert torch.equal(output, a.exp() + b.exp())
    factors.copy_(torch.tensor([2.0, 0.0]))  # known only after the forward pass
    (output**2).sum().backward()
    gradient = 2 * (a.exp() + b.exp()).detach()
    torch.testing.assert_close(a.grad, 2 * gradient * a.exp().detach(), rtol=0, atol=1e-14)
    assert not b.grad.any()


def test_terms_of_another_precision_get_gradients_of_their_own():
    x = torch.randn(3, requires_grad=True)
    output = redirect(x.to(torch.bfloat16), [x], [torch.tensor(0.5)])
    assert output.dtype == torch.bfloat16
    output.sum().backward()
    assert x.grad.tolist() == [0.5] * 3


def test_touched_parameters_get_a_gradient_of_zero_and_nothing_else_changes():
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    idle, frozen = (torch.nn.Parameter(torch.ones(2), requires_grad=r) for r in (True, False))
    output = x.sin()
    touched = touch(output, [idle, frozen])
    assert torch.equal(touched, output)
    touched.sum().backward()
    assert torch.equal(x.grad, x.detach().cos())
    assert torch.equal(idle.grad, torch.zeros(2))
    assert frozen.grad is None
    assert touch(output, [frozen]) is output
