"""A password in the URL of a store is in nothing that a run writes down."""

import json

import pytest
from omegaconf import OmegaConf

from running.claim import identity
from running.compose import composed, place_of
from running.secrets import public

URL = "https://me:s3cret@host.example/shards?token=s3cret"


@pytest.fixture
def composition(tmp_path):
    overrides = ["experiment=cremad", f"data.store='{URL}'", f"runs={tmp_path}"]
    ((cfg, hydra),) = composed([overrides])
    return cfg, hydra


def test_the_place_of_a_run_holds_no_password(composition):
    place = place_of(*composition)
    for text in (str(place.folder), *place.overrides, place.variant):
        assert "s3cret" not in text, text
    assert any("host.example" in override for override in place.overrides)


def test_its_configuration_holds_none_and_is_otherwise_whole(composition):
    cfg, _ = composition
    kept = public(OmegaConf.to_container(cfg, resolve=True))
    for written in (OmegaConf.to_yaml(kept), json.dumps(identity(cfg))):
        assert "s3cret" not in written
    assert kept["data"]["store"] == "https://***@host.example/shards?***"
    assert cfg.data.store == URL, "the run itself needs it"


def test_paths_and_other_values_stay_as_they_are():
    plain = {"data": {"store": "runs/a@b?c"}, "seeds": [1, 2.5, None], "pair": ("x", True)}
    assert public(plain) == plain
