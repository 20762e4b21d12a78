import pytest
import torch

from inforeg_lightning.core.mmpareto import pareto_gradients, pareto_weight


def tensors(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def random_gradients(seed, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3), (4,), ()]
    return [scale * torch.randn(s, generator=generator, dtype=dtype) for s in shapes]


def flat(gradients):
    return torch.cat([g.flatten() for g in gradients])


def test_hand_computed():
    # <j, u> = -2, ||j||² = 4, ||u||² = 5: a = (5 + 2) / (4 + 5 + 4).
    cosine, weight = pareto_weight(tensors([2.0], [0.0]), tensors([-1.0], [2.0]))
    assert cosine.item() == pytest.approx(-2 / 20**0.5)
    assert weight.item() == pytest.approx(7 / 13)


@pytest.mark.parametrize("u", [[0.0, 3.0], [1e-9, 3.0], [5.0, 0.0]])
def test_without_conflict_both_count_alike(u):
    cosine, weight = pareto_weight(tensors([2.0, 0.0]), tensors(u))
    assert cosine >= 0
    assert weight == 0.5


@pytest.mark.parametrize("seed", range(20))
def test_in_conflict_the_step_descends_both_losses_and_none_is_shorter(seed):
    joint, unimodal = random_gradients(seed), random_gradients(seed + 100, scale=3.0)
    if torch.dot(flat(joint), flat(unimodal)) > 0:
        unimodal = [-u for u in unimodal]
    cosine, weight = pareto_weight(joint, unimodal)
    g, u, a = flat(joint), flat(unimodal), float(weight)
    assert cosine == pytest.approx(float(torch.nn.functional.cosine_similarity(g, u, dim=0)))
    assert 0 < a < 1
    shortest = a * g + (1 - a) * u
    assert torch.dot(shortest, g) > 0
    assert torch.dot(shortest, u) > 0
    for other in torch.linspace(0, 1, 101):
        assert (other * g + (1 - other) * u).norm() >= shortest.norm() * (1 - 1e-12)


@pytest.mark.parametrize("zero", ["joint", "unimodal", "both"])
def test_a_zero_gradient_is_no_conflict(zero):
    given = {"joint": random_gradients(0), "unimodal": random_gradients(1)}
    for name in given if zero == "both" else [zero]:
        given[name] = [torch.zeros_like(g) for g in given[name]]
    cosine, weight = pareto_weight(**given)
    assert cosine == 0
    assert weight == 0.5
    for edited in pareto_gradients(**given, weight=weight, gamma=1.5):
        assert torch.isfinite(edited).all()


def test_opposite_gradients_leave_nothing():
    joint = random_gradients(0)
    unimodal = [-g for g in joint]
    cosine, weight = pareto_weight(joint, unimodal)
    assert cosine == pytest.approx(-1)
    assert weight == 0.5
    assert not flat(pareto_gradients(joint, unimodal, weight, 1.5)).any()


def test_without_conflict_the_gradient_is_the_sum_times_gamma():
    joint, unimodal = random_gradients(0), random_gradients(1)
    edited = pareto_gradients(joint, unimodal, torch.tensor(0.5, dtype=torch.float64), 1.5)
    torch.testing.assert_close(
        edited, [1.5 * (g + u) for g, u in zip(joint, unimodal, strict=True)]
    )


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_no_parameter_has_a_gradient_shorter_than_the_sum_of_both_times_gamma(weight):
    joint, unimodal = random_gradients(2), random_gradients(3)
    edited = pareto_gradients(joint, unimodal, torch.tensor(weight, dtype=torch.float64), 1.5)
    for h, g, u in zip(edited, joint, unimodal, strict=True):
        mixed = 2 * weight * g + 2 * (1 - weight) * u
        assert h.norm() == pytest.approx(1.5 * float(torch.maximum(mixed.norm(), (g + u).norm())))
        cosine = torch.dot(h.flatten(), mixed.flatten()) / (h.norm() * mixed.norm())
        assert cosine == pytest.approx(1)


def test_half_precision_squares_do_not_overflow():
    joint = [torch.full((80_000,), 600.0, dtype=torch.float16)]
    unimodal = [torch.full((80_000,), -300.0, dtype=torch.float16)]
    cosine, weight = pareto_weight(joint, unimodal)
    assert cosine == pytest.approx(-1, rel=1e-3)
    assert weight == pytest.approx(1 / 3, rel=1e-3)
    (edited,) = pareto_gradients(joint, joint, weight, 1.5)
    torch.testing.assert_close(edited, torch.full((80_000,), 1800.0, dtype=torch.float16))
