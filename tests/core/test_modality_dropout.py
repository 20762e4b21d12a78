import torch

from inforeg_lightning.core.modality_dropout import dropped_modality, keep_one


def test_one_modality_is_lost_in_its_part_of_the_unit_interval():
    uniform = torch.tensor([0.0, 0.19, 0.2, 0.49, 0.5, 0.99])
    found = dropped_modality(uniform, [0.2, 0.3])
    assert found[:, 0].tolist() == [True, True, False, False, False, False]
    assert found[:, 1].tolist() == [False, False, True, True, False, False]


def test_as_often_as_said_and_never_two():
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    found = dropped_modality(uniform, [0.1, 0.0, 0.6])
    assert found.sum(1).max() == 1
    shares = torch.tensor([0.1, 0.0, 0.6])
    torch.testing.assert_close(found.float().mean(0), shares, rtol=0, atol=0.02)


def test_with_probability_one_every_sample_loses_one():
    uniform = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert dropped_modality(uniform, [0.5, 0.5]).any(1).all()


def test_what_is_left_of_a_sample_stays():
    dropped = torch.tensor([[True, False], [True, False], [True, True], [False, False]])
    has = torch.tensor([[True, True], [True, False], [True, True], [False, False]])
    kept = [[True, False], [False, False], [False, False], [False, False]]
    assert keep_one(dropped, has).tolist() == kept
