"""The module that is compiled into `model.ts` and `model.pt2`: everything between decoded pixels and probabilities."""

# No `from __future__ import annotations`: TorchScript reads the types of the attributes below, not their names.
import copy
import logging

import torch
from torch import Tensor, nn

from evensight.models.network import Network
from evensight.runtime import script
from evensight.runtime.preprocess import Preprocess, PreprocessSpec

log = logging.getLogger(__name__)

# Part of every artifact's identity: raise it when what the graph computes changes.
GRAPH_VERSION = 1
# Of a probability, between the trained module and any compiled form of it on the same images.
TOLERANCE = 1e-4


class ServedModel(nn.Module):
    """Preprocessing, network and temperature in one scriptable module. uint8 RGB in, a dict of float32 tensors out.

    `probs` [N, C] (after the temperature), `logits` [N, C] (before it), `embedding` [N, D].

    Args:
        pixels: Crops and resizes.
        network: In evaluation mode.
        temperature: Divides the logits before the softmax.
        golden_images: uint8 [3, H, W], of any sizes, for `self_test`.
        golden_probs: [C] each: what the trained module said of them.
    """

    golden_images: list[Tensor]
    golden_probs: list[Tensor]
    temperature: Tensor

    def __init__(
        self,
        pixels: Preprocess,
        network: Network,
        temperature: float,
        golden_images: list[Tensor] | None = None,
        golden_probs: list[Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.pixels = pixels
        self.network = network
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))
        self.golden_images = golden_images or []
        self.golden_probs = golden_probs or []
        self.tolerance = TOLERANCE

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Judges decoded images of one size: uint8 [N, 3, H, W]."""
        return self.infer(self.pixels.batch(images))

    @torch.jit.export
    def preprocess(self, image: Tensor) -> Tensor:
        """Takes one decoded image, uint8 [3, H, W], to the network's input, uint8 [3, S, S]."""
        small: Tensor = self.pixels(image)
        return small

    @torch.jit.export
    def infer(self, images: Tensor) -> dict[str, Tensor]:
        """Judges preprocessed images: uint8 [N, 3, S, S]."""
        logits, embedding = self.network.forward_features(images)
        probs = torch.softmax(logits / self.temperature, dim=1)
        return {"probs": probs, "logits": logits, "embedding": embedding}

    @torch.jit.export
    def self_test(self) -> float:
        """Returns the largest difference of a probability from what the trained module said of the stored images.

        Raises:
            ValueError: If it is beyond `tolerance`: this machine computes something else (`torch.jit.Error`).
        """
        worst = 0.0
        for i in range(len(self.golden_images)):
            image, expected = self.golden_images[i], self.golden_probs[i]
            probs = self.forward(image.to(self.temperature.device).unsqueeze(0))["probs"][0]
            worst = max(worst, float((probs - expected.to(probs.device)).abs().max().item()))
        if not worst <= self.tolerance:
            raise ValueError("self_test: a probability is further from the stored one than the tolerance allows")
        return worst


def build(
    network: Network, spec: PreprocessSpec, temperature: float, golden: list[Tensor] | None = None
) -> tuple[ServedModel, list[Tensor]]:
    """Puts a trained network behind its preprocessing, with golden images and what it says of them.

    Args:
        network: The trained network; not changed.
        spec: What it wants of an image.
        temperature: From `fit_temperature`.
        golden: uint8 [3, H, W] of any sizes.

    Returns:
        The module in evaluation mode, and the probabilities [C] of the golden images.
    """
    own = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    # torch.export's archive warns of weights that are not contiguous.
    own = own.to(memory_format=torch.contiguous_format)
    pixels = Preprocess(spec.size, spec.crop_ratio)
    served = ServedModel(pixels, own, temperature).eval()
    images = list(golden or [])
    with torch.inference_mode():
        probs = [served(image.unsqueeze(0))["probs"][0].clone() for image in images]
    # Tensors made in inference mode cannot be saved inside a script.
    outputs = [torch.from_numpy(value.numpy().copy()) for value in probs]
    return ServedModel(pixels, own, temperature, images, outputs).eval(), outputs


def compile_script(served: ServedModel, size: int) -> torch.jit.ScriptModule:
    """Compiles the module to TorchScript; a backbone that will not script is traced.

    Args:
        served: From `build`.
        size: Side of the network's input, for the trace.
    """
    try:
        return script.script(served)
    except Exception as error:  # the compiler raises a dozen kinds; the parity gate judges what comes out
        log.info("the backbone does not script (%s); it is traced", str(error).strip().splitlines()[0])
    traced = copy.deepcopy(served)
    example = torch.zeros(2, 3, size, size, dtype=torch.float32)
    traced.network.backbone = script.trace(traced.network.backbone, example)
    return script.script(traced)


def compile_program(served: ServedModel, size: int) -> torch.export.ExportedProgram:
    """Exports `forward` with batch, height and width left open.

    Args:
        served: From `build`.
        size: Side of the network's input; the example image is a little larger and not square.
    """
    example = torch.zeros(3, 3, size + 6, size + 13, dtype=torch.uint8)
    batch, height, width = (torch.export.Dim(name, min=low) for name, low in (("N", 0), ("H", 2), ("W", 2)))
    plain = ServedModel(served.pixels, served.network, float(served.temperature)).eval()
    return torch.export.export(plain, (example,), dynamic_shapes={"images": {0: batch, 2: height, 3: width}})
