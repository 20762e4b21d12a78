import gzip
import zipfile
from dataclasses import replace
from hashlib import md5

import numpy as np
import pytest
import torch

from helpers.digit_files import SPEAKERS, write_idx, write_sources, write_wav
from helpers.trainers import quiet_trainer
from inforeg_lightning.data import AVMNISTDataModule, av_mnist
from inforeg_lightning.data.av_mnist import AVMNISTRecipe, generate, plan, read_mnist
from inforeg_lightning.data.digits.files import Download, download, read_recording
from inforeg_lightning.data.digits.recorded import LAYOUT
from inforeg_lightning.data.loading.in_memory import SPLITS
from inforeg_lightning.models import ConvEncoder, LateFusionClassifier

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

FULL = AVMNISTRecipe()
SMALL = replace(FULL, recordings=2)
PER_CLASS = {"train": 15, "test": 6}  # images; SMALL needs 3 · 2 · 2 + 2 and 2 · 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("av-mnist")
    write_sources(root, PER_CLASS, SMALL.recordings)
    AVMNISTDataModule(root, recipe=SMALL).prepare_data()
    return root


def labels_of(root):
    return {half: read_mnist(root, half)[1] for half in ("train", "test")}


def all_of(loader):
    batches = list(loader)
    return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


def test_no_speaker_and_no_image_is_in_two_splits(root):
    sources = plan(SMALL, 0, labels_of(root))
    speakers = [{s.speaker for s in sources[split]} for split in SPLITS]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == len(SPEAKERS)
    images = [
        (getattr(SMALL, split).half, source.image) for split in SPLITS for source in sources[split]
    ]
    assert len(set(images)) == len(images)
    assert {getattr(SMALL, split).half for split in ("train", "val")} == {"train"}
    assert SMALL.test.half == "test"


def test_the_word_is_the_class_of_the_image_and_classes_are_balanced(root):
    labels = labels_of(root)
    for split, sources in plan(SMALL, 0, labels).items():
        half = labels[getattr(SMALL, split).half]
        assert all(half[source.image] == source.label for source in sources)
        assert len(set(np.bincount([source.label for source in sources]))) == 1


def test_the_whole_of_it_has_the_size_of_av_digits():
    for split, size in (("train", 3000), ("val", 500), ("test", 1000)):
        part = getattr(FULL, split)
        assert 10 * len(part.speakers) * FULL.recordings * part.renderings == size


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(root):
    one, same, other = (generate(SMALL, seed, root) for seed in (0, 0, 1))
    assert all(one[key].tobytes() == same[key].tobytes() for key in one)
    assert one["test/image"].tobytes() != other["test/image"].tobytes()
    assert len({FULL.fingerprint(0), FULL.fingerprint(1), SMALL.fingerprint(0)}) == 3


def test_batches_are_those_of_av_digits(root):
    data = AVMNISTDataModule(root, recipe=SMALL, batch_size=16)
    data.setup()
    assert (data.num_classes, data.modalities) == (10, ("audio", "image"))
    batch = next(iter(data.train_dataloader()))
    for name in data.modalities:
        assert tuple(batch[name].shape) == (16, *data.shapes[name])
        assert batch[name].dtype == torch.float32
    assert batch["label"].dtype == torch.int64
    train = all_of(data.train_dataloader())
    for name in data.modalities:
        assert train[name].mean().abs() < 1e-2
        assert train[name].std() == pytest.approx(1, abs=1e-2)


def test_the_seed_changes_the_order_alone(root):
    loaded = []
    for seed in (0, 1):
        data = AVMNISTDataModule(root, recipe=SMALL, seed=seed)
        data.setup()
        loaded.append((all_of(data.train_dataloader()), all_of(data.test_dataloader())))
    assert not torch.equal(loaded[0][0]["label"], loaded[1][0]["label"])
    assert torch.equal(loaded[0][1]["audio"], loaded[1][1]["audio"])


def test_a_readable_cache_needs_no_sources(root, tmp_path):
    module = AVMNISTDataModule(tmp_path, recipe=SMALL)
    module.path.write_bytes(AVMNISTDataModule(root, recipe=SMALL).path.read_bytes())
    module.check()
    module.prepare_data()
    module.setup()
    assert len(module.test_dataloader().dataset) == 40


def test_it_is_learnt_through_a_trainer_without_a_warning(root):
    data = AVMNISTDataModule(root, recipe=replace(SMALL, fragments=0), batch_size=16)
    encoders = {name: ConvEncoder(widths=(4, 8)) for name in data.modalities}
    model = LateFusionClassifier(encoders, data.num_classes, lr=0.05)
    trainer = quiet_trainer(max_epochs=6)
    trainer.fit(model, datamodule=data)
    assert trainer.test(model, datamodule=data, verbose=False)[0]["test/accuracy"] > 0.2


class TestSourcesThatCannotBeUsed:
    @pytest.mark.parametrize("what", ["mnist", "fsdd"])
    def test_missing_ones_show_the_layout(self, tmp_path, what):
        write_sources(tmp_path, PER_CLASS, SMALL.recordings)
        (tmp_path / what).rename(tmp_path / "elsewhere")
        module = AVMNISTDataModule(tmp_path, recipe=SMALL)
        for ask in (module.check, module.prepare_data):
            with pytest.raises(FileNotFoundError) as caught:
                ask()
            for part in (str(tmp_path), LAYOUT, "download=True"):
                assert part in str(caught.value)
        assert not list(tmp_path.glob("*.npz"))

    def test_missing_recordings_are_counted_and_named(self, root):
        recipe = replace(SMALL, recordings=3, train=replace(FULL.train, renderings=1))
        with pytest.raises(FileNotFoundError, match=r"60 of 180 .*0_george_2\.wav among them"):
            generate(recipe, 0, root)
        # Before training, too.
        with pytest.raises(FileNotFoundError, match=r"60 of 180 .*0_george_2\.wav among them"):
            AVMNISTDataModule(root, recipe=recipe).check()

    def test_too_few_images_are_counted(self, root):
        with pytest.raises(ValueError, match=r"needs 18 more images of the digit 0 .* has 13 left"):
            generate(replace(SMALL, train=replace(FULL.train, renderings=3)), 0, root)

    def test_a_speaker_in_two_splits_is_refused(self, root):
        with pytest.raises(ValueError, match="in one split only"):
            plan(replace(SMALL, val=SMALL.train), 0, labels_of(root))

    @pytest.mark.parametrize("damage", ["truncated", "no gzip", "empty", "labels"])
    def test_damaged_images_are_named(self, root, tmp_path, damage):
        name = "mnist/train-images-idx3-ubyte.gz"
        content = gzip.decompress((root / name).read_bytes())
        (tmp_path / "mnist").mkdir()
        (tmp_path / name).write_bytes(
            {
                "truncated": gzip.compress(content[:-1]),
                "no gzip": content,
                "empty": b"",
                "labels": (root / name.replace("images-idx3", "labels-idx1")).read_bytes(),
            }[damage]
        )
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz .*IDX file"):
            read_mnist(tmp_path, "train")

    def test_images_and_labels_that_do_not_fit(self, tmp_path):
        write_idx(tmp_path / "mnist/t10k-images-idx3-ubyte", np.zeros((3, 28, 28)))
        write_idx(tmp_path / "mnist/t10k-labels-idx1-ubyte", np.zeros(2))
        with pytest.raises(ValueError, match="3 images, but 2 labels"):
            read_mnist(tmp_path, "test")

    @pytest.mark.parametrize(
        ("rate", "channels", "count"), [(16000, 1, 9), (8000, 2, 8), (8000, 1, 0)]
    )
    def test_other_recordings_are_refused(self, tmp_path, rate, channels, count):
        write_wav(tmp_path / "a.wav", np.zeros(count), rate, channels)
        with pytest.raises(ValueError, match="must be one channel of 2 bytes at 8000 Hz"):
            read_recording(tmp_path / "a.wav", 8000)

    def test_a_damaged_recording_is_named(self, tmp_path):
        (tmp_path / "a.wav").write_bytes(b"RIFF")
        with pytest.raises(ValueError, match=r"a.wav cannot be read"):
            read_recording(tmp_path / "a.wav", 8000)


class TestDownload:
    """From a folder served as file://; the real addresses need internet."""

    @pytest.fixture
    def downloads(self, root, tmp_path):
        names = [path.relative_to(root).as_posix() for path in sorted(root.glob("mnist/*"))]
        archive = tmp_path / "v1.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("fsdd-1.0/README.md", "no recording")
            for path in sorted(root.glob("fsdd/*.wav")):
                file.write(path, f"fsdd-1.0/recordings/{path.name}")
        return (
            *(
                Download(
                    (root / name).as_uri(),
                    name,
                    md5((root / name).read_bytes(), usedforsecurity=False).hexdigest(),
                )
                for name in names
            ),
            Download(archive.as_uri(), "fsdd/recordings"),
        )

    def test_what_is_fetched_is_the_same_data_set(self, root, tmp_path, monkeypatch, downloads):
        monkeypatch.setattr(av_mnist, "DOWNLOADS", downloads)
        module = AVMNISTDataModule(tmp_path / "new", recipe=SMALL, download=True)
        module.prepare_data()
        original = AVMNISTDataModule(root, recipe=SMALL).path
        assert module.path.read_bytes() == original.read_bytes()
        assert not list((tmp_path / "new").rglob("*.partial"))

    def test_what_is_there_is_not_fetched_again(self, root, tmp_path, downloads):
        download(tmp_path, downloads)
        download(tmp_path, tuple(item._replace(url="file:///nowhere") for item in downloads))

    def test_another_file_than_expected_is_not_kept(self, tmp_path, downloads):
        wrong = downloads[0]._replace(md5="0" * 32)
        with pytest.raises(ValueError, match="is not the file that is expected"):
            download(tmp_path / "new", (wrong,))
        assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]

    def test_nothing_is_fetched_unasked(self, tmp_path, monkeypatch):
        monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("fetched"))
        with pytest.raises(FileNotFoundError):
            AVMNISTDataModule(tmp_path, recipe=SMALL).prepare_data()

    def test_no_archive_leaves_nothing(self, tmp_path):
        (tmp_path / "page.zip").write_text("<html>")
        item = Download((tmp_path / "page.zip").as_uri(), "fsdd/recordings")
        with pytest.raises(ValueError, match=r"no readable \.zip archive"):
            download(tmp_path, (item,))
        assert list((tmp_path / "fsdd").iterdir()) == []
