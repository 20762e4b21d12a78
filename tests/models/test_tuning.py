"""What of a pretrained network is trained, and in which mode the rest is."""

import sys

import pytest
import timm
import torchvision
from torch import nn

from inforeg_lightning.models import (
    ConvEncoder,
    HuggingFaceEncoder,
    TimmEncoder,
    TorchvisionEncoder,
)
from inforeg_lightning.models.pretrained import blocks_of, keep_still, tune


@pytest.mark.parametrize(
    ("network", "blocks"),
    [
        (lambda: torchvision.models.resnet18(), ["conv1", "bn1", "layer1", "layer4"]),
        (lambda: torchvision.models.vit_b_16(), ["encoder.layers.encoder_layer_11"]),
        (lambda: timm.create_model("vit_tiny_patch16_224"), ["blocks.0", "blocks.11"]),
        (lambda: timm.create_model("convnext_atto"), ["stages.0", "stages.3"]),
        (lambda: ConvEncoder(widths=(8, 16)), ["stages.0", "stages.3"]),
    ],
)
def test_blocks_are_those_of_the_library(network, blocks):
    model = network()
    found = {id(block) for block in blocks_of(model)}
    assert all(id(model.get_submodule(name)) in found for name in blocks)


def test_what_stands_after_the_last_blocks_learns_too():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    tune(model, 2)
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"blocks", "norm"}
    assert [any(p.requires_grad for p in block.parameters()) for block in model.blocks] == (
        [False] * 10 + [True] * 2
    )


def test_in_a_part_that_is_frozen_in_part_nothing_is_random():
    block = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2))
    network = nn.Sequential(block, nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    block[0].requires_grad_(False)
    network.train()
    keep_still(network)
    assert [part.training for part in (*block, *network[1])] == [False, False, True, True, True]
    network.requires_grad_(True).train()
    keep_still(network)
    assert all(part.training for part in network.modules())


def test_lora_leaves_the_inside_of_torchs_attention_alone_and_asks_for_layers():
    network = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    tune(network, "lora", {"r": 2})
    trained = {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad}
    assert trained == {"linear1", "linear2"}
    with pytest.raises(ValueError, match="finds no linear layer in Conv2d: name layers"):
        tune(nn.Conv2d(1, 1, 1), "lora")


@pytest.mark.parametrize(
    ("package", "load"),
    [
        ("transformers", lambda: HuggingFaceEncoder("x")),
        ("timm", lambda: TimmEncoder("x")),
        ("torchvision.models", lambda: TorchvisionEncoder("x")),
        ("peft", lambda: tune(nn.Linear(2, 2), "lora")),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch, package, load):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'inforeg-lightning\[pretrained\]'"):
        load()
