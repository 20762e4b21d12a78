"""All but the callbacks works where neither Lightning is installed."""

import subprocess
import sys

HIDDEN = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"lightning", "pytorch_lightning", "lightning_fabric",
                                  "torchmetrics", "transformers", "accelerate"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hide())
"""

TRAINS = """
import inforeg_lightning
assert inforeg_lightning.__version__
assert {"InfoRegCallback", "Regulator", "report_unimodal"} <= set(dir(inforeg_lightning))

import torch
import torch.nn.functional as F
from torch import nn
from inforeg_lightning import Regulator, report_unimodal
import inforeg_lightning.core, inforeg_lightning.engine, inforeg_lightning.integrations
from inforeg_lightning import methods
from inforeg_lightning.core import strength

for name in methods.__all__:
    getattr(methods, name)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.v, self.head = nn.Linear(3, 4), nn.Linear(5, 6), nn.Linear(10, 2)
    def forward(self, a, v):
        return self.head(torch.cat([self.a(a), self.v(v)], 1))

torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), 0.1)
regulator = Regulator(
    net, optimizer, {"audio": "a", "video": "v"}, methods.InfoReg(window="always"), "head"
)
for epoch in range(2):
    regulator.begin_epoch(epoch)
    target = torch.randint(2, (8,))
    with regulator.batch(target):
        loss = F.cross_entropy(net(torch.randn(8, 3), torch.randn(8, 5)), target)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    regulator.end_epoch()
assert regulator.history[1]["alpha"]["audio"] + regulator.history[1]["alpha"]["video"] > 0
"""

BLOCKED = """
try:
    import lightning.pytorch
except ModuleNotFoundError as error:
    assert "No module named 'lightning" in str(error), error
else:
    raise SystemExit("what hides Lightning does not hide it")
"""

SAYS = """
for ask in (lambda: __import__("inforeg_lightning").InfoRegCallback,
            lambda: __import__("inforeg_lightning.callbacks")):
    try:
        ask()
    except ImportError as error:
        assert "pip install 'lightning" in str(error), error
        assert "inforeg_lightning.Regulator" in str(error), error
    else:
        raise SystemExit("imported")
"""

IMPORTS_NONE = """
import sys
import inforeg_lightning.engine.regulator, inforeg_lightning.methods
from inforeg_lightning import Regulator
loaded = {name.split(".")[0] for name in sys.modules}
assert not loaded & {"lightning", "pytorch_lightning", "lightning_fabric", "transformers"}, loaded
"""


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_a_regulator_trains():
    run(HIDDEN + TRAINS)


def test_a_callback_says_what_to_install():
    run(HIDDEN + BLOCKED + SAYS)


def test_where_lightning_is_installed_it_is_not_imported_without_a_callback():
    run(IMPORTS_NONE)
