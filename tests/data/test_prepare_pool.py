"""Workers with real clips, some of which end the process that decodes them."""

import os

import pytest

from helpers.deadly import Crashing, CrashingOnce, Greedy, Hanging, Killed, KilledAlways, Odd
from helpers.raw_media import write_cremad
from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.prepare.pool import Job, Pool, WorkerError
from inforeg_lightning.data.store import Store

RECIPE = CREMADRecipe()
SETTINGS = {"data": "made here"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    write_cremad(root, actors=(1001,), sentences=("DFA",))
    return RECIPE.find(root)


def run(folder, sources, workers=2, timeout=60.0):
    """Write parts of three clips; returns the stores."""
    folder.mkdir()
    jobs = [Job(folder / f"{i:05d}", sources[i : i + 3]) for i in range(0, len(sources), 3)]
    counts = list(Pool(RECIPE, SETTINGS, workers, timeout).run(jobs))
    assert sum(counts) == len(sources)
    return [Store(job.folder) for job in jobs]


def contents(stores):
    return [path.read_bytes() for store in stores for path in sorted(store.path.iterdir())]


def test_the_number_of_workers_does_not_matter(sources, tmp_path):
    one = run(tmp_path / "1", sources, workers=1)
    many = run(tmp_path / "3", sources, workers=3)
    assert contents(one) == contents(many)
    assert [len(store) for store in one] == [3, 3]


def test_a_clip_that_crashes_its_process_is_rejected_and_the_others_are_not(sources, tmp_path):
    deadly = list(sources)
    deadly[1] = deadly[1]._replace(video=Crashing(deadly[1].video))
    stores = run(tmp_path / "parts", deadly)
    assert [len(store) for store in stores] == [2, 3]
    assert stores[0].rejected == [(sources[1].name, "decoding ended its process (SIGSEGV)")]


def test_a_clip_that_crashed_once_is_kept(sources, tmp_path):
    deadly = list(sources)
    deadly[4] = deadly[4]._replace(video=CrashingOnce(deadly[4].video))
    stores = run(tmp_path / "parts", deadly)
    assert contents(stores) == contents(run(tmp_path / "calm", sources))


def test_a_clip_that_never_ends_is_rejected(sources, tmp_path):
    deadly = list(sources)
    deadly[0] = deadly[0]._replace(video=Hanging(deadly[0].video))
    stores = run(tmp_path / "parts", deadly, timeout=1.5)
    assert stores[0].rejected == [(sources[0].name, "decoding took longer than 1.5 s")]
    assert [len(store) for store in stores] == [2, 3]


def test_an_unexpected_fault_of_a_clip_is_its_reason(sources, tmp_path):
    odd = [sources[0]._replace(video=Odd(sources[0].video)), *sources[1:]]
    stores = run(tmp_path / "parts", odd)
    assert stores[0].rejected == [(sources[0].name, "video: LookupError: something odd")]


def test_a_fault_of_the_disk_is_an_error(sources, tmp_path):
    (tmp_path / "parts").write_text("a file where the folder should be")
    job = Job(tmp_path / "parts" / "00000", sources)
    with pytest.raises(WorkerError, match=r"wrote 00000: NotADirectoryError: "):
        list(Pool(RECIPE, SETTINGS, 1, 60.0).run([job]))


def test_a_worker_that_is_killed_from_outside_does_not_reject_its_clip(sources, tmp_path):
    killed = list(sources)
    killed[1] = killed[1]._replace(video=Killed(killed[1].video))
    stores = run(tmp_path / "parts", killed)
    assert [store.rejected for store in stores] == [[], []]
    assert contents(stores) == contents(run(tmp_path / "calm", sources))


def test_a_clip_that_takes_too_much_memory_is_rejected(sources, tmp_path):
    greedy = list(sources)
    greedy[0] = greedy[0]._replace(video=Greedy(greedy[0].video))
    stores = run(tmp_path / "parts", greedy)
    (name, reason), *others = stores[0].rejected
    assert (name, others) == (sources[0].name, [])
    assert reason.startswith("video: MemoryError")


def test_a_finished_part_is_on_the_disk_before_it_counts(sources, tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def record(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    run(tmp_path / "parts", sources[:3], workers=1)
    # After the rename, in this process; what the part holds is synced by the worker.
    assert synced == [str(tmp_path / "parts")]


def test_a_worker_that_is_killed_again_and_again_stops_the_run_and_rejects_nothing(
    sources, tmp_path
):
    killed = list(sources)
    killed[1] = killed[1]._replace(video=KilledAlways(killed[1].video))
    with pytest.raises(WorkerError, match=r"killed from outside \(SIGKILL\) at .* 5th time"):
        run(tmp_path / "parts", killed)
    done = [Store(path) for path in (tmp_path / "parts").iterdir() if not path.suffix]
    assert [store.rejected for store in done] == [[]]
