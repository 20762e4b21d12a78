"""What a diagnosis says where its input does not allow one: always one sentence."""


class DiagnosisError(ValueError):
    """The model, the loaders or an argument do not allow a diagnosis."""
