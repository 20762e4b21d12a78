import pytest
import torch

from inforeg_lightning.data import SyntheticDataModule

SHAPES = {"text": (7,), "audio": (1, 4, 5), "video": (3, 2, 4, 4)}


def tensors(data, split):
    data.setup()
    batches = list(getattr(data, f"{split}_dataloader")())
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def make(**arguments):
    return SyntheticDataModule(SHAPES, num_classes=3, sizes=(20, 9, 6), batch_size=8, **arguments)


def test_gives_the_shapes_and_sizes_asked_for():
    data = make()
    assert data.modalities == ("text", "audio", "video")
    for split, size in (("train", 20), ("val", 9), ("test", 6)):
        batch = tensors(data, split)
        assert {name: batch[name].shape for name in SHAPES} == {
            name: (size, *shape) for name, shape in SHAPES.items()
        }
        assert all(batch[name].dtype == torch.float32 for name in SHAPES)
        assert batch["label"].dtype == torch.int64
        assert set(batch["label"].tolist()) == {0, 1, 2}


def test_depends_on_its_seed_and_nothing_else():
    torch.manual_seed(1)
    first = tensors(make(seed=5), "train")
    torch.manual_seed(2)
    again, other = tensors(make(seed=5), "train"), tensors(make(seed=6), "train")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["audio"], other["audio"])


def test_a_quieter_modality_is_easier():
    data = make(noise={"text": 0.1, "audio": 10.0, "video": 1.0})
    data.setup()
    train, test = data._splits["train"], data._splits["test"]

    def error(name):
        prototypes = torch.stack([train[name][train["label"] == c].mean(0) for c in range(3)])
        distance = (test[name][:, None] - prototypes).flatten(2).norm(dim=2)
        return (distance.argmin(1) != test["label"]).float().mean()

    assert error("text") == 0
    assert error("audio") > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shapes": {}}, "shapes must name one or more modalities"),
        ({"shapes": {"label": (1,)}}, "none called 'label'"),
        ({"sizes": (4, 4)}, "sizes must be three positive numbers"),
        ({"sizes": (4, 0, 4)}, "sizes must be three positive numbers"),
        ({"noise": {"text": 1.0}}, r"noise lacks the modalities \['audio', 'video'\]"),
    ],
)
def test_refuses_what_it_cannot_make(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyntheticDataModule(**{"shapes": SHAPES} | arguments)


def test_which_modality_a_sample_lacks_does_not_tell_its_label():
    data = SyntheticDataModule(SHAPES, num_classes=3, sizes=(3000, 9, 6), gaps=0.5)
    data.setup()
    split = data._splits["train"]
    for modality, has in split["present"].items():
        assert not split[modality][~has].any()
        lacking = torch.bincount(split["label"][~has], minlength=3) / (~has).sum()
        assert (lacking - 1 / 3).abs().max() < 0.1, modality
    assert torch.stack([*split["present"].values()]).sum(dim=0).min() == 2
