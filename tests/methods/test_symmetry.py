"""Neither the names of modalities matter nor their order."""

import pytest

from helpers.comparison import assert_close_weights
from helpers.methods import every_method, those
from helpers.modules import Late, encoder_paths, make_batches, names
from helpers.regulated import fit

EPOCHS = 2
ORDERS = {2: ["video", "audio"], 3: ["video", "text", "audio"]}


def trained(callback, modalities):
    module = Late(modalities, make_batches(modalities))
    return fit(module, callback, max_epochs=EPOCHS)


@pytest.mark.parametrize("modalities", [2, 3])
@those(lambda method: not method.draws)
def test_the_order_of_encoders_does_not_matter(method, modalities):
    paths = encoder_paths(modalities)
    ours = trained(method(modalities), modalities)
    other = {name: paths[name] for name in ORDERS[modalities]}
    theirs = trained(method(encoders=other), modalities)
    assert_close_weights(ours["weights"], theirs["weights"], atol=1e-12)
    for mine, reference in zip(ours["history"], theirs["history"], strict=True):
        assert mine["in_window"] == reference["in_window"]
        for quantity in method.quantities:
            for modality, value in reference[quantity].items():
                expected = None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)
                assert mine[quantity][modality] == expected, quantity


class Renamed(Late):
    """Its encoders are called otherwise, in another alphabetical order."""

    def __init__(self, modalities):
        super().__init__(modalities, make_batches(modalities))
        for name in self.names:
            setattr(self, f"{renamed(name)}_tower", getattr(self, f"{name}_encoder"))
            delattr(self, f"{name}_encoder")

    def features(self, batch):
        return {name: getattr(self, f"{renamed(name)}_tower")(batch[name]) for name in self.names}


def renamed(name):
    return {"audio": "z", "video": "y", "text": "x"}[name]


@pytest.mark.parametrize("modalities", [2, 3])
@every_method
def test_their_names_do_not_matter(method, modalities):
    ours = trained(method(modalities), modalities)
    paths = {renamed(name): f"{renamed(name)}_tower" for name in names(modalities)}
    theirs = fit(Renamed(modalities), method(encoders=paths), max_epochs=EPOCHS)
    known = {f"{renamed(name)}_tower": f"{name}_encoder" for name in names(modalities)}
    back = [
        {".".join([known.get(n.split(".")[0], n.split(".")[0]), *n.split(".")[1:]]): p
         for n, p in epoch.items()}
        for epoch in theirs["weights"]
    ]  # fmt: skip
    assert_close_weights(ours["weights"], back, atol=1e-12)
