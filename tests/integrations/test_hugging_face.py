"""The callback for the Hugging Face Trainer, where it is more than the loop it runs in."""

import subprocess
import sys

import pytest
import torch
from transformers import Trainer, TrainingArguments

from helpers.loops import SetUp, hugging_face, make_method, without_displacement
from helpers.modules import assert_same_weights
from inforeg_lightning.integrations.hugging_face import RegulatorCallback


def trainer(callback: RegulatorCallback, set_up: SetUp, folder, **settings) -> Trainer:
    defaults = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "max_steps": 1}
    net = set_up.net()
    return Trainer(
        net,
        TrainingArguments(str(folder), save_strategy="no", **defaults | settings),
        train_dataset=[{key: x[0] for key, x in batch.items()} for batch in set_up.batches()],
        optimizers=(set_up.sgd(net), None),
        callbacks=[callback],
    )


@pytest.mark.parametrize(("period", "save_steps"), [("epoch", 8), ("epoch", 6), (4, 7)])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, period, save_steps):
    set_up = SetUp("always", period=period, epochs=3)
    saving = {"save_strategy": "steps", "save_steps": save_steps}
    whole = hugging_face(set_up, str(tmp_path), **saving)
    checkpoint = tmp_path / f"checkpoint-{save_steps}"
    assert (checkpoint / "regulator.pt").exists()
    resumed = hugging_face(set_up, str(tmp_path), resume=str(checkpoint), **saving)
    assert_same_weights(resumed.weights[-1], whole.weights[-1])
    assert without_displacement(resumed.history) == without_displacement(whole.history)


def test_a_checkpoint_made_without_it_is_said(tmp_path):
    set_up = SetUp("always", epochs=2)
    hugging_face(set_up, str(tmp_path), save_strategy="steps", save_steps=6)
    (tmp_path / "checkpoint-6" / "regulator.pt").unlink()
    with pytest.warns(UserWarning, match=r"there is no .*regulator\.pt: the history begins here"):
        resumed = hugging_face(set_up, str(tmp_path), resume=str(tmp_path / "checkpoint-6"))
    assert [entry["epoch"] for entry in resumed.history] == [1]


def test_training_again_begins_afresh_and_leaves_no_hook(tmp_path):
    set_up = SetUp("always")
    callback = RegulatorCallback(set_up.paths(), make_method("always"), "head")
    again = trainer(callback, set_up, tmp_path, max_steps=-1, num_train_epochs=2)
    again.train()
    again.train()
    assert len(callback.regulator.history) == 2
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in again.model.modules())


def test_evaluation_during_training_changes_nothing(tmp_path):
    set_up = SetUp("always", epochs=2)
    plain = hugging_face(set_up)
    evaluated = hugging_face(set_up, eval_strategy="epoch", eval_on_start=True)
    assert_same_weights(evaluated.weights[-1], plain.weights[-1])
    assert evaluated.history == plain.history


def test_a_model_that_is_called_without_target_is_told_so(tmp_path):
    set_up = SetUp("always")
    callback = RegulatorCallback(set_up.paths(), make_method("always"), "head", target="label")
    with pytest.raises(ValueError, match=r"`target='label'` is not found: .* keys .*'labels'"):
        trainer(callback, set_up, tmp_path).train()


def test_data_parallel_is_refused(tmp_path):
    set_up = SetUp("always")
    callback = RegulatorCallback(set_up.paths(), make_method("always"), "head")
    ours = trainer(callback, set_up, tmp_path)
    ours.args._n_gpu = 2
    with pytest.raises(ValueError, match=r"DataParallel .* start it by torchrun"):
        callback.on_train_begin(
            ours.args, ours.state, ours.control, model=ours.model, optimizer=ours.optimizer
        )


def test_without_transformers_the_error_says_what_to_install():
    program = """
import sys
sys.modules["transformers"] = None
import inforeg_lightning.integrations
try:
    import inforeg_lightning.integrations.hugging_face
except ImportError as error:
    assert "pip install transformers" in str(error), error
else:
    raise SystemExit("imported")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_gradients_may_be_checkpointed(tmp_path):
    """The encoders then run again in the backward pass, with no batch open."""
    set_up = SetUp("always", epochs=2)

    class Checkpointed(SetUp):
        def net(self):
            net = super().net()
            for name in net.names:
                encoder = getattr(net, f"{name}_encoder")
                run = encoder.forward
                encoder.forward = lambda x, run=run: torch.utils.checkpoint.checkpoint(
                    run, x, use_reentrant=False
                )
            return net

    plain, checkpointed = hugging_face(set_up), hugging_face(Checkpointed("always", epochs=2))
    assert_same_weights(checkpointed.weights[-1], plain.weights[-1])
