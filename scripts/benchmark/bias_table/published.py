"""Published figures, in percent, each with what its method was told; where they stand is in the comments below."""

from __future__ import annotations

from bias_table.row import BIAS_TYPE, GROUPS, NOTHING, Published

# Coloured MNIST by "Learning from Failure", severity 4, unbiased test accuracy: the MLP of 100-100-100, 100 epochs.
# Rows were taken from the comparisons of DisEnt (NeurIPS 2021), DeNetDM (NeurIPS 2024), uLA, GERNE (ICCV 2025) and
# FG-CCDB (ICLR 2026); ReBias as LfF's successors quote it.
_DIGITS: dict[str, tuple[str, dict[float, float], dict[float, float]]] = {
    "ERM": (NOTHING, {0.005: 35.2, 0.01: 50.3, 0.02: 62.3, 0.05: 82.2}, {}),
    "JTT": (NOTHING, {0.005: 53.0, 0.01: 61.7, 0.02: 74.2, 0.05: 85.0}, {}),
    "DisEnt": (NOTHING, {0.005: 59.1, 0.01: 71.0, 0.02: 82.9, 0.05: 88.3}, {}),
    "GroupDRO": (GROUPS, {0.005: 59.7, 0.01: 71.3, 0.02: 76.3, 0.05: 84.4}, {}),
    "LfF": (NOTHING, {0.005: 63.4, 0.01: 74.0, 0.02: 80.5, 0.05: 85.4}, {}),
    "LC": (NOTHING, {0.005: 63.5, 0.01: 78.4, 0.02: 83.6, 0.05: 88.2}, {}),
    "ReBias": (BIAS_TYPE, {0.005: 70.5, 0.01: 87.4, 0.02: 92.9, 0.05: 97.0}, {}),
    "DeNetDM": (NOTHING, {0.005: 74.7, 0.01: 85.2, 0.02: 89.3, 0.05: 93.5}, {}),
    "uLA": (NOTHING, {0.005: 75.1, 0.05: 92.8}, {}),
    "GERNE": (NOTHING, {0.005: 77.3, 0.05: 91.0}, {}),
    "CCDB": (NOTHING, {0.005: 83.2, 0.05: 96.4}, {}),
    "FG-CCDB": (NOTHING, {0.005: 89.0, 0.05: 98.2}, {0.005: 0.5}),
}

IRM = (
    Published("14 algorithms of DomainBed (best)", 10.5, NOTHING),
    Published("ERM (IRM paper)", 17.1, NOTHING),
    Published("IRM, chosen on the test environment", 66.9, GROUPS),
)

BAR = (Published("ERM, ImageNet-pretrained ResNet-18", 51.85, NOTHING), Published("LfF, the same", 62.98, NOTHING))


def digits(ratio: float) -> tuple[Published, ...]:
    """Returns what is published for one share of conflicting images; nothing but ERM's 13.5 at none."""
    if ratio == 0.0:
        return (Published("ERM", 13.5, NOTHING),)
    return tuple(
        Published(method, values[ratio], told, spreads.get(ratio))
        for method, (told, values, spreads) in _DIGITS.items()
        if ratio in values
    )
