import torch
import torch.nn.functional as F

from inforeg_lightning.core.dgl import disentangled_logits


def made(bias=True):
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    return random(3, 5), random(3) if bias else None, {"a": random(4, 2), "v": random(4, 3)}


def test_they_are_the_heads_output_for_all_features_and_for_one_beside_zeros():
    weight, bias, features = made()
    fused, unimodal = disentangled_logits(weight, bias, features)
    a, v = features.values()
    torch.testing.assert_close(fused, torch.cat([a, v], 1) @ weight.T + bias)
    torch.testing.assert_close(unimodal["a"], torch.cat([a, 0 * v], 1) @ weight.T + bias)
    torch.testing.assert_close(unimodal["v"], torch.cat([0 * a, v], 1) @ weight.T + bias)


def test_the_fused_train_the_head_alone_and_the_unimodal_their_own_features_alone():
    weight, bias, features = made()
    fused, unimodal = disentangled_logits(weight, bias, features)
    everything = [weight, bias, *features.values()]

    def reached(loss):
        gradients = torch.autograd.grad(loss, everything, retain_graph=True, allow_unused=True)
        return [gradient is not None for gradient in gradients]

    label = torch.tensor([0, 1, 2, 0])
    assert reached(F.cross_entropy(fused, label)) == [True, True, False, False]
    assert reached(F.cross_entropy(unimodal["a"], label)) == [False, False, True, False]
    assert reached(F.cross_entropy(unimodal["v"], label)) == [False, False, False, True]


def test_a_head_without_bias():
    weight, bias, features = made(bias=False)
    fused, unimodal = disentangled_logits(weight, bias, features)
    torch.testing.assert_close(fused, sum(unimodal.values()))
