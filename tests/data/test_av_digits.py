import hashlib
import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("sklearn")
pytest.importorskip("espeakng_loader")

from helpers.trainers import quiet_trainer
from inforeg_lightning.data import AVDigitsDataModule, av_digits
from inforeg_lightning.data.av_digits import AVDigitsRecipe, generate, half_of, plan
from inforeg_lightning.data.loading.in_memory import SPLITS
from inforeg_lightning.models import ConvEncoder, LateFusionClassifier

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

FULL = AVDigitsRecipe()
# Some hundred samples instead of thousands; everything else as in AV-Digits.
SMALL = replace(
    FULL,
    train=replace(FULL.train, share=0.06, renderings=1),
    val=replace(FULL.val, share=0.02, renderings=1),
    test=replace(FULL.test, share=0.02, renderings=2),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("av-digits")
    AVDigitsDataModule(root, recipe=SMALL).prepare_data()
    return root


@pytest.fixture(scope="module")
def data(cache):
    module = AVDigitsDataModule(cache, recipe=SMALL, batch_size=16)
    module.setup()
    return module


@pytest.fixture(scope="module")
def sources():
    return plan(FULL, data_seed=0)


def test_the_halves_are_of_different_handwriting(cache, data, sources):
    halves = {}
    for part in ("first", "second"):
        module = AVDigitsDataModule(cache, recipe=SMALL, part=part)
        module.setup()
        halves[part] = dict(all_of(module.train_dataloader()))
        for split in ("val", "test"):
            assert torch.equal(
                all_of(module._loader(split))["image"], all_of(data._loader(split))["image"]
            )
    whole = all_of(data.train_dataloader())["image"].flatten(1)
    parts = [halves[part]["image"].flatten(1) for part in halves]
    assert sorted(torch.cat(parts).tolist()) == sorted(whole.tolist())
    first = half_of(sources["train"])
    halved = [*zip(sources["train"], first, strict=True)]
    digits = [{s.digit for s, f in halved if f == x} for x in (True, False)]
    assert not digits[0] & digits[1]
    assert abs(len(digits[0]) - len(digits[1])) <= 10
    for label in range(10):
        counts = [sum(s.label == label and f == x for s, f in halved) for x in (True, False)]
        assert abs(counts[0] - counts[1]) <= FULL.train.renderings


def test_a_part_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="`part` must be one of all, first, second"):
        AVDigitsDataModule("x", part="third")


def all_of(loader):
    batches = list(loader)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


class TestPlan:
    """On the full recipe: the claims are about AV-Digits itself."""

    @pytest.mark.parametrize(
        ("one", "other"), [("train", "val"), ("train", "test"), ("val", "test")]
    )
    def test_no_voice_and_no_digit_is_in_two_splits(self, sources, one, other):
        for of in (lambda s: s.digit, lambda s: s.utterance.voice):
            assert not {of(s) for s in sources[one]} & {of(s) for s in sources[other]}

    @pytest.mark.parametrize(
        ("one", "other"), [("train", "val"), ("train", "test"), ("val", "test")]
    )
    def test_not_even_a_variant_is_in_two_splits(self, one, other):
        def variants(split):
            # A voice without a variant is its accent's own.
            return {v.partition("+")[2] or v for v in getattr(FULL, split).voices}

        assert not variants(one) & variants(other)

    def test_training_accents_are_not_tested(self, sources):
        def accents(split):
            return {s.utterance.voice.partition("+")[0] for s in sources[split]}

        assert not accents("train") & accents("test")

    def test_the_word_is_the_class_of_the_image(self, sources):
        from sklearn.datasets import load_digits

        labels = load_digits().target
        for split in SPLITS:
            for source in sources[split]:
                assert source.label == labels[source.digit]
                assert source.utterance.text == AVDigitsDataModule.class_names[source.label]

    def test_every_digit_is_rendered_as_often_as_the_recipe_says(self, sources):
        used = 0
        for split in SPLITS:
            counts = torch.tensor([s.digit for s in sources[split]]).unique(return_counts=True)[1]
            assert counts.unique().tolist() == [getattr(FULL, split).renderings]
            used += len(counts)
        assert used == 1797

    def test_classes_are_balanced(self, sources):
        for split in SPLITS:
            counts = torch.bincount(torch.tensor([s.label for s in sources[split]]))
            assert len(counts) == 10
            assert counts.max() < 1.15 * counts.min()

    def test_another_seed_deals_other_digits(self, sources):
        other = plan(FULL, data_seed=1)
        assert {s.digit for s in other["test"]} != {s.digit for s in sources["test"]}


def test_the_recipe_is_frozen():
    # Its difficulty was fixed on the baseline alone. A change makes another data set, on which
    # no number published for AV-Digits holds.
    assert FULL.fingerprint(data_seed=0) == "a38ef7f037cd"


def test_the_same_seed_gives_the_same_bytes_in_two_processes(cache, tmp_path):
    code = """
import sys
from dataclasses import replace
from inforeg_lightning.data import AVDigitsDataModule, av_digits
from inforeg_lightning.data.av_digits import AVDigitsRecipe
full = AVDigitsRecipe()
small = replace(
    full,
    train=replace(full.train, share=0.06, renderings=1),
    val=replace(full.val, share=0.02, renderings=1),
    test=replace(full.test, share=0.02, renderings=2),
)
AVDigitsDataModule(sys.argv[1], recipe=small).prepare_data()
"""
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    here = AVDigitsDataModule(cache, recipe=SMALL).path
    there = AVDigitsDataModule(tmp_path, recipe=SMALL).path
    assert here.name == there.name
    assert hashlib.sha256(here.read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()


def test_batches_are_as_documented(data):
    assert (data.num_classes, data.modalities) == (10, ("audio", "image"))
    batch = next(iter(data.train_dataloader()))
    assert {name: tuple(batch[name].shape) for name in data.modalities} == {
        name: (16, *shape) for name, shape in data.shapes.items()
    }
    assert all(batch[name].dtype == torch.float32 for name in data.modalities)
    assert batch["label"].dtype == torch.int64


def test_training_inputs_are_standardised_and_no_sample_is_broken(data):
    for split in SPLITS:
        values = all_of(getattr(data, f"{split}_dataloader")())
        for name in data.modalities:
            assert values[name].isfinite().all()
            assert (values[name].flatten(1).std(dim=1) > 0.1).all()
            if split == "train":
                assert values[name].mean().abs() < 1e-2
                assert values[name].std() == pytest.approx(1, abs=1e-2)


def test_renderings_of_one_digit_differ(data):
    images = all_of(data.test_dataloader())["image"].flatten(1)
    assert len(images.unique(dim=0)) == len(images)


def test_seed_changes_the_order_and_nothing_else(cache, data):
    other = AVDigitsDataModule(cache, recipe=SMALL, batch_size=16, seed=1)
    other.setup()
    here, there = all_of(data.train_dataloader()), all_of(other.train_dataloader())
    assert not torch.equal(here["label"], there["label"])
    assert torch.equal(here["label"].sort()[0], there["label"].sort()[0])
    for key in here:
        assert torch.equal(
            all_of(data.test_dataloader())[key], all_of(other.test_dataloader())[key]
        )


def test_recipe_and_data_seed_name_the_file(cache):
    paths = {
        AVDigitsDataModule(cache, recipe=recipe, data_seed=seed).path
        for recipe in (FULL, SMALL, replace(FULL, image_noise=0.7))
        for seed in (0, 1)
    }
    assert len(paths) == 6
    assert AVDigitsDataModule(cache, seed=3, batch_size=7).path == AVDigitsDataModule(cache).path


def test_a_readable_cache_is_not_generated_again(cache, monkeypatch):
    monkeypatch.setattr(av_digits, "generate", lambda *_: pytest.fail("generated again"))
    AVDigitsDataModule(cache, recipe=SMALL).prepare_data()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other"])
def test_a_corrupt_cache_is_generated_anew(cache, tmp_path, caplog, damage):
    good = AVDigitsDataModule(cache, recipe=SMALL).path.read_bytes()
    broken = bytearray(good)
    broken[len(good) // 2] ^= 0xFF
    module = AVDigitsDataModule(tmp_path, recipe=SMALL)
    module.path.write_bytes(
        {"truncated": good[:-500], "flipped": bytes(broken), "empty": b"", "other": b"PK no"}[
            damage
        ]
    )
    with caplog.at_level(logging.WARNING):
        module.prepare_data()
    assert f"{module.path} is corrupt" in caplog.text
    assert module.path.read_bytes() == good
    assert list(tmp_path.iterdir()) == [module.path]


def test_a_failed_generation_leaves_nothing_behind(tmp_path, monkeypatch):
    def half_done(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("numpy.savez", half_done)
    monkeypatch.setattr(av_digits, "generate", lambda recipe, data_seed: {"train/label": None})
    with pytest.raises(KeyboardInterrupt):
        AVDigitsDataModule(tmp_path, recipe=SMALL).prepare_data()
    assert list(tmp_path.iterdir()) == []


def test_setup_without_data_says_what_to_call(tmp_path):
    module = AVDigitsDataModule(tmp_path, recipe=SMALL)
    with pytest.raises(RuntimeError, match=r"no readable cache at .* call prepare_data\(\) first"):
        module.setup()
    with pytest.raises(RuntimeError, match=r"call prepare_data\(\) and setup\(\) first"):
        module.train_dataloader()


def test_the_cache_folder_follows_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert AVDigitsDataModule().root == tmp_path / "inforeg-lightning"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert AVDigitsDataModule().root == tmp_path / ".cache" / "inforeg-lightning"


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setattr(av_digits, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-learn.*inforeg-lightning\[data\]"):
        generate(SMALL, 0)


def test_importing_needs_none_of_the_extra():
    code = """
import sys
for name in ("sklearn", "espeakng_loader"):
    sys.modules[name] = None
from inforeg_lightning.data import AVDigitsDataModule, SyntheticDataModule
assert AVDigitsDataModule("nowhere").num_classes == 10
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_trainer_runs_on_it_without_a_warning(cache):
    data = AVDigitsDataModule(cache, recipe=SMALL)
    encoders = {name: ConvEncoder(widths=(4, 8)) for name in data.modalities}
    model = LateFusionClassifier(encoders, data.num_classes, lr=0.02)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    assert {"test/accuracy", "test/accuracy_audio", "test/accuracy_image"} <= set(
        trainer.callback_metrics
    )
