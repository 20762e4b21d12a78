"""The tables of studies with 20 epochs in ``docs/evidence.md``, from the reports that were kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from inforeg_lightning.report import Interval
from running.markdown import plus_minus, table

_TITLES = {
    "none": "joint training",
    "inforeg": "InfoReg, the paper's window",
    "inforeg_adaptive": 'InfoReg, `window="adaptive"`',
    "inforeg_official": "`InfoRegCallback.official` (joint loss only)",
}
_REGULATION = {
    "none": "none (joint training)",
    "inforeg": "inside the window (InfoReg)",
    "inforeg_outside": "outside it",
    "inforeg_always": "throughout",
}


def heads_table(kept: Mapping[str, Any]) -> str:
    """Fused accuracy and that of each modality's unimodal logits, of the study of ten seeds."""
    columns = {"fused": "accuracy"} | {f"{m}, head": f"accuracy_{m}" for m in ("audio", "image")}
    return _table("method", _methods(kept, "av_digits"), _TITLES, columns)


def readme_table(kept: Mapping[str, Any]) -> str:
    """What README shows of the same study: fused accuracy and the image's probe, by difference."""
    rows = []
    for name, method in _methods(kept, "av_digits").items():
        cells = (method["last"][quantity] for quantity in ("accuracy", "probe_image"))
        rows.append([_TITLES[name], *(text for cell in cells for text in _apart(cell))])
    seeds = len(_methods(kept, "av_digits")["none"]["seeds"])
    head = [f"test accuracy in %, last epoch, {seeds} seeds", "fused", "difference to joint"]
    return "\n".join(table([*head, "image probe", "difference to joint"], rows))


def probes_table(kept: Mapping[str, Any]) -> str:
    """Linear probes of both encoders, of the same study."""
    columns = {"audio, probe": "probe_audio", "image, probe": "probe_image"}
    return _table("method", _methods(kept, "av_digits"), _TITLES, columns)


def regulation_table(kept: Mapping[str, Any]) -> str:
    """The paper's Table 4 on AV-Digits."""
    methods = _methods(kept, "av_digits, table4")
    seeds = len(methods["none"]["seeds"])
    columns = {"fused": "accuracy", "image, probe": "probe_image"}
    return _table(f"regulation, {seeds} seeds", methods, _REGULATION, columns)


def _methods(kept: Mapping[str, Any], experiment: str) -> dict[str, Mapping[str, Any]]:
    """Method without its parameters -> what the report has of it."""
    methods = kept["experiments"][experiment]["methods"]
    return {str(method["method"]).split(",")[0]: method for method in methods}


def _table(
    head: str,
    methods: Mapping[str, Mapping[str, Any]],
    titles: Mapping[str, str],
    columns: Mapping[str, str],
) -> str:
    rows: list[Sequence[str]] = [
        [title, *(_cell(methods[name]["last"][quantity]) for quantity in columns.values())]
        for name, title in titles.items()
    ]
    return "\n".join(table([head, *columns], rows))


def _cell(content: Mapping[str, Any]) -> str:
    value, difference = _apart(content)
    return f"{value} ({difference})" if difference else value


def _apart(content: Mapping[str, Any]) -> tuple[str, str]:
    """A value, and its difference to joint training (empty for joint training itself)."""
    difference = content["difference"]
    return plus_minus(Interval.from_dict(content), signed=False), (
        plus_minus(Interval.from_dict(difference)) if difference else ""
    )
