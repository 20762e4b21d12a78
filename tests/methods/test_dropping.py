"""Random numbers per sample: by step and seed, whatever the processes and micro-batches."""

import pickle

import pytest
import torch

from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.methods._dropping import Draws, without_dropped

CPU = torch.device("cpu")


class OneOfTwo(Processes):
    size = 2

    def __init__(self, rank):
        self.rank = rank


def draws(processes=None, seed=0):
    torch.manual_seed(seed)
    made = Draws()
    made.attach(Processes() if processes is None else processes)
    made.next_step()
    return made


def test_two_processes_draw_what_one_draws_for_the_global_batch():
    whole = draws().by_sample(8, 3, CPU)
    parts = [draws(OneOfTwo(rank)).by_sample(4, 3, CPU) for rank in (0, 1)]
    assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)


@pytest.mark.parametrize("columns", [1, 3])
def test_micro_batches_draw_what_the_large_batch_draws(columns):
    small = draws()
    parts = [small.by_sample(n, columns, CPU) for n in (3, 8, 21)]
    assert torch.equal(torch.cat(parts), draws().by_sample(32, columns, CPU))


def test_other_steps_and_other_seeds_draw_others():
    first = draws()
    found = [first.by_sample(4, 2, CPU)]
    first.next_step()
    found += [first.by_sample(4, 2, CPU), draws(seed=1).by_sample(4, 2, CPU)]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_it_goes_on_from_a_saved_state_whatever_the_seed_is_then():
    whole = draws()
    whole.next_step()
    resumed = Draws()
    resumed.load_state_dict(whole.state_dict())
    torch.manual_seed(5)
    resumed.attach(Processes())
    for one in (whole, resumed):
        one.next_step()
    assert torch.equal(resumed.by_sample(4, 2, CPU), whole.by_sample(4, 2, CPU))


def test_torchs_own_generator_is_left_alone_and_it_can_be_pickled():
    made = draws()
    before = torch.get_rng_state()
    made.by_sample(4, 2, CPU)
    made.of_step(CPU)
    assert torch.equal(torch.get_rng_state(), before)
    made.detach()
    assert pickle.loads(pickle.dumps(made)).state_dict() == made.state_dict()


def test_features_are_dropped_row_by_row_also_where_several_rows_are_one_sample():
    dropped = torch.tensor([[True, False], [False, True]])
    parts = {"a": [torch.ones(2, 3)], "v": [torch.ones(4, 2, 2), torch.full((2, 1), torch.inf)]}
    found = without_dropped(parts, dropped, ["a", "v"])
    assert found["a"][0].tolist() == [[0.0] * 3, [1.0] * 3]
    assert found["v"][0].sum((1, 2)).tolist() == [4.0, 4.0, 0.0, 0.0]
    assert found["v"][1].tolist() == [[torch.inf], [0.0]]
