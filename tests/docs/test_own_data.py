"""The example of data of one's own in ``docs/data.md`` is as good as it says."""

import re
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import OmegaConf

from inforeg_lightning.data import TableDataModule

ROOT = Path(__file__).parents[2]


def test_the_tree_that_the_document_writes_is_what_the_recipe_reads(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"## Your own data\n.*?```python\n(.*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "data.md", "exec"), {})
    data = OmegaConf.load(ROOT / "conf" / "data" / "table.yaml")
    recipe = OmegaConf.load(ROOT / "conf" / "experiment" / "table.yaml")
    module = instantiate(OmegaConf.merge(data, recipe.data, {"seed": 0}), _convert_="all")
    assert isinstance(module, TableDataModule)
    module.setup()
    assert module.num_classes == recipe.model.num_classes
    encoders = recipe.model.encoders
    assert module.shapes == {
        "picture": (encoders.picture.in_channels, 32, 32),
        "record": (encoders.record.in_features,),
    }
