import pytest
import torch

from inforeg_lightning.core.torchjd import aggregated

ACTS = torch.tensor(True)


def gradients(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3), (4,), ()]
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


def test_each_loss_is_a_row_and_what_comes_back_has_the_shapes_of_the_parameters():
    first, second = gradients(0), gradients(1)
    seen = []

    def weighted(jacobian):
        seen.append(jacobian)
        return 0.7 * jacobian[0] + 0.2 * jacobian[1]

    found = aggregated(weighted, [first, second], ACTS)
    assert seen[0].shape == (2, 17)
    for mine, a, b in zip(found, first, second, strict=True):
        torch.testing.assert_close(mine, 0.7 * a + 0.2 * b)


def test_an_aggregator_never_sees_what_is_not_finite():
    seen = []

    def picky(jacobian):
        seen.append(jacobian)
        return jacobian.sum(0)

    broken = [torch.full_like(g, torch.nan) for g in gradients(0)]
    found = aggregated(picky, [broken, gradients(1)], torch.tensor(False))
    assert not seen[0].any()
    assert not any(g.any() for g in found)


@pytest.mark.parametrize("wrong", [lambda j: j, lambda j: j.sum(), lambda j: j.sum(0).tolist()])
def test_a_result_of_another_shape_is_refused(wrong):
    with pytest.raises(ValueError, match=r"`aggregator` must return a vector of 17 for a Jacob"):
        aggregated(wrong, [gradients(0), gradients(1)], ACTS)


def test_torchjds_upgrad_is_one():
    """Of two gradients: the mean of both, each without what of it is against the other."""
    from torchjd.aggregation import UPGrad

    first = gradients(0)
    second = [r - 0.5 * g for r, g in zip(gradients(1), first, strict=True)]
    g, u = (torch.cat([part.flatten() for part in of]) for of in (first, second))
    inner = torch.dot(g, u)
    assert inner < 0
    expected = (g - inner / torch.dot(u, u) * u + u - inner / torch.dot(g, g) * g) / 2
    found = aggregated(UPGrad(), [first, second], ACTS)
    flat = torch.cat([part.flatten() for part in found])
    # TorchJD adds 1e-4 to the diagonal of what it solves.
    torch.testing.assert_close(flat, expected, rtol=0, atol=1e-3)
    assert (expected - (g + u) / 2).abs().max() > 0.1
