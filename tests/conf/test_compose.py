import inspect
import json
import pkgutil
from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from helpers.own_data import write_own_data
from inforeg_lightning.callbacks import MethodCallback

CONF = Path(__file__).resolve().parents[2] / "conf"
METHODS = sorted(path.stem for path in (CONF / "callbacks").glob("*.yaml"))
FUSIONS = sorted(path.stem for path in (CONF / "fusion").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
FROM_STORE = {"cremad", "kinetics_sounds", "violent_flows"}
FROM_FILES = {
    "av_mnist": r"data/av_mnist:\n  mnist/",
    "av_mnist_speakers": r"data/av_mnist:\n  mnist/",
    "cmu_mosi": r"data/cmu_mosi:\n",
    "cmu_mosi_joint": r"data/cmu_mosi:\n",
    "cmu_mosi_regression": r"data/cmu_mosi:\n",
    "hateful_memes": r"data/hateful_memes:\n",
    "table": r"data/table:\n",
    "views": r"data/multiple_features:\n",
}


def _callback(cfg):
    (node,) = (
        node for node in cfg.callbacks.values() if OmegaConf.is_config(node) and "_target_" in node
    )
    return instantiate(node, _convert_="all")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_whole(composed, experiment):
    cfg = composed(f"experiment={experiment}")
    assert not OmegaConf.missing_keys(cfg)
    OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize("experiment", sorted(set(EXPERIMENTS) - FROM_STORE - set(FROM_FILES)))
def test_every_experiment_passes_the_checks(composed, experiment):
    from running.checks import check

    check(composed(f"experiment={experiment}"))


@pytest.mark.parametrize("experiment", sorted(FROM_STORE))
def test_a_missing_store_is_one_clear_error_that_says_how_to_make_it(composed, experiment):
    from running.checks import check
    from running.errors import RecipeError

    how = r"make it, once, from the raw clips: prepare\(\w+Recipe\(\), root, store\)"
    with pytest.raises(RecipeError, match=f"no prepared store at data/{experiment} .* {how}"):
        check(composed(f"experiment={experiment}"))


@pytest.mark.parametrize("experiment", sorted(FROM_FILES))
def test_missing_files_are_one_clear_error_that_shows_the_layout(composed, experiment):
    from running.checks import check
    from running.errors import RecipeError

    with pytest.raises(RecipeError, match=rf"Expected below root={FROM_FILES[experiment]}"):
        check(composed(f"experiment={experiment}"))
    if experiment == "av_mnist":
        check(composed(f"experiment={experiment}", "+data.download=true"))


def test_data_of_ones_own_pass_the_checks_and_must_fit_the_head(composed, tmp_path):
    from running.checks import check
    from running.errors import RecipeError

    write_own_data(tmp_path)
    check(composed("experiment=table", f"data.root={tmp_path}"))
    message = "model.num_classes is 4, but the data have 3 classes: cat, dog, owl"
    with pytest.raises(RecipeError, match=message):
        check(composed("experiment=table", f"data.root={tmp_path}", "model.num_classes=4"))


@pytest.mark.parametrize("experiment", sorted(FROM_STORE))
def test_published_hyperparameters(composed, experiment):
    cfg = composed(f"experiment={experiment}")
    model = instantiate(cfg.model, _convert_="all")
    published = {"lr": 0.002, "momentum": 0.9, "weight_decay": 1e-4, "step_size": 30, "gamma": 0.1}
    assert {name: model.hparams[name] for name in published} == published
    assert (model.hparams["warmup_epochs"], model.hparams["unimodal_losses"]) == (0, False)
    module = pkgutil.resolve_name(cfg.data["_target_"])
    batch_size = inspect.signature(module).parameters["batch_size"].default
    assert (cfg.trainer.max_epochs, cfg.data.get("batch_size", batch_size)) == (50, 64)
    assert model.head.in_features == 1024
    classes = {"cremad": 6, "kinetics_sounds": 31, "violent_flows": 2}
    assert model.head.out_features == classes[experiment]


# Read by other files, overridden so often that a "+" would be in the way, or taken back by a recipe
# that builds on another.
SWITCHES = {"unimodal_losses", "accelerator", "strategy", "macro_f1"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_files_state_only_what_differs_from_the_signature(composed, experiment):
    from running.checks import targets

    cfg = composed(f"experiment={experiment}")
    groups = ("model", "trainer", "logger")
    nodes = [node for group in groups for node in targets(cfg[group], group)]
    repeated = [
        f"{path}.{name}"
        for path, node in nodes
        for name, p in inspect.signature(pkgutil.resolve_name(node["_target_"])).parameters.items()
        if name in node and node[name] == p.default and name not in SWITCHES
    ]
    assert repeated == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_method_has_a_callback_for_every_model(composed, experiment, method):
    cfg = composed(f"experiment={experiment}", f"callbacks={method}")
    if cfg.head is None:
        usual = _callback(composed("experiment=synthetic", f"callbacks={method}"))
        if usual.method.edits_head:  # there is no head to edit
            with pytest.raises(InstantiationException, match="needs `head`"):
                _callback(cfg)
            return
    assert isinstance(_callback(cfg), MethodCallback)
    assert cfg.callbacks.name.split(",")[0] == method
    assert cfg.callbacks.title


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_is_a_head_of_the_model_and_passes_the_checks(composed, fusion):
    from running.checks import check

    cfg = composed("experiment=synthetic", f"fusion={fusion}")
    check(cfg)
    head = instantiate(cfg.model, _convert_="all").head
    expected = "Linear" if fusion == "concat" else f"{fusion.replace('_', '')}fusion"
    assert type(head).__name__.lower() == expected.lower()


def test_searched_parameters_are_the_defaults_of_the_signature(composed):
    written = OmegaConf.to_container(OmegaConf.load(CONF / "train.yaml"))["callbacks"]
    searched = composed().callbacks
    for method, parameters in written.items():
        callback = _callback(composed(f"callbacks={method}"))
        signature = inspect.signature(type(callback)).parameters
        for name, value in parameters.items():
            if (method, name) == ("mslr", "rates"):  # has no default
                assert signature[name].default is None
                continue
            assert str(value).startswith("${default:"), (method, name)
            assert searched[method][name] == signature[name].default, (method, name)
            assert callback.method.settings[name] == signature[name].default, (method, name)


def test_a_default_that_no_signature_has_is_one_clear_error(composed):
    from running.checks import check
    from running.errors import RecipeError

    of = "${default:inforeg_lightning.callbacks.OGMCallback,%s}"
    for argument in ("nowhere", "encoders"):
        override = f"callbacks.ogm.alpha='{of % argument}'"
        with pytest.raises(RecipeError, match="no argument with a default"):
            check(composed("experiment=synthetic", "callbacks=ogm", override))


def test_a_searched_parameter_reaches_its_method_and_no_other(composed):
    for method, override, value in (
        ("ogm", "callbacks.ogm.alpha=0.7", 0.7),
        ("ogm_ge", "callbacks.ogm_ge.alpha=0.7", 0.7),
        ("ogm_ge", "callbacks.ogm.alpha=0.7", 0.1),
    ):
        assert _callback(composed(f"callbacks={method}", override)).method.alpha == value
    rates = _callback(composed("callbacks=mslr", "callbacks.mslr.rates=[0.5,2.0]")).method.rates
    assert [*rates] == [0.5, 2.0]


def test_cremad_has_what_the_authors_recommend_for_it(composed):
    recommended = {"ogm": 0.8, "ogm_ge": 0.8, "agm": 1.5}
    for method, alpha in recommended.items():
        cfg = composed("experiment=cremad", f"callbacks={method}")
        assert _callback(cfg).method.alpha == alpha
        assert cfg.callbacks.name == f"{method},alpha={alpha}"


def test_av_digits_is_trained_as_it_was_calibrated(composed):
    from inforeg_lightning.data import AVDigitsDataModule
    from inforeg_lightning.models import ConvEncoder, LateFusionClassifier

    file = CONF.parent / "experiments" / "results" / "av_digits_calibration.json"
    recipe = json.loads(file.read_text())["recipe"]
    cfg = composed("experiment=av_digits")

    def with_defaults(target, node):
        defaults = {name: p.default for name, p in inspect.signature(target).parameters.items()}
        return defaults | OmegaConf.to_container(node, resolve=True)

    model = with_defaults(LateFusionClassifier, cfg.model)
    assert {key: model[key] for key in recipe["optimizer"]} == recipe["optimizer"]
    for modality, settings in recipe["encoders"].items():
        encoder = with_defaults(ConvEncoder, cfg.model.encoders[modality])
        assert {key: encoder[key] for key in settings if key != "widths"} == {
            key: value for key, value in settings.items() if key != "widths"
        }
        assert list(encoder["widths"]) == settings["widths"]
    assert with_defaults(AVDigitsDataModule, cfg.data)["batch_size"] == recipe["batch_size"]
    assert cfg.trainer.max_epochs == recipe["max_epochs"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=-1"], "seed must be an integer of at least 0, got -1"),
        (["seed=0.5"], "seed must be an integer of at least 0, got 0.5"),
        (["trainer.max_epochs=0"], "trainer.max_epochs must be an integer of at least 1"),
        (["threads=0"], "threads must be an integer of at least 1"),
        (["+model.step=3"], r"model.step is not an argument of .*did you mean step_size\?"),
        (["+trainer.zzz=3"], "trainer.zzz is not an argument of lightning.pytorch.Trainer"),
        (["~data.shapes"], "data lacks shapes, which .* needs"),
        (["name=???"], "name must be given, as name=VALUE"),
        (["+modalities.smell=encoders.smell"], "modalities names .*smell"),
        (["data._target_=nowhere.Data"], "data is nowhere.Data, which cannot be imported"),
        (["data._target_=torch.Data"], "data is torch.Data, but it is not in this release"),
    ],
)
def test_a_wrong_configuration_is_one_clear_error(composed, overrides, message):
    from running.checks import check
    from running.errors import RecipeError

    with pytest.raises(RecipeError, match=message):
        check(composed("experiment=synthetic", *overrides))
