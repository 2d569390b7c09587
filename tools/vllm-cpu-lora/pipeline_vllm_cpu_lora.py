"""Keep adapters away from requests for the base model, on vLLM's CPU backend.

In a batch with adapters, rows of the base model carry the adapter index -1. The Triton kernels skip
such rows. The PyTorch kernels of the CPU backend (vLLM 0.32; upstream pull requests 48421 and 49656
are open) use it as an index, so it means the last adapter slot: as soon as that is filled, some
domain's adapter answers for the base model. Here the rows' part in the first of the two products is
set to zero, so that the second adds nothing.
"""

import functools
from typing import Any


def register() -> None:
    """Replace the kernel; called by vLLM in each process, and harmless when called again."""
    # vLLM loads its plugins before anything else of it should be imported.
    from vllm.platforms import current_platform  # noqa: PLC0415

    if not current_platform.is_cpu():
        return
    from vllm.lora.ops.torch_ops import lora_ops  # noqa: PLC0415
    from vllm.lora.punica_wrapper import punica_cpu  # noqa: PLC0415

    shrink = lora_ops.bgmv_shrink
    if getattr(shrink, "skips_base_rows", False):
        return

    @functools.wraps(shrink)
    def bgmv_shrink(
        inputs: Any, lora_a: Any, output: Any, indices: Any, scaling: float = 1.0
    ) -> None:
        shrink(inputs, lora_a, output, indices, scaling)
        output[indices < 0] = 0

    bgmv_shrink.skips_base_rows = True  # type: ignore[attr-defined]
    # The prefill kernel finds it in its own module, the wrapper under its own name.
    lora_ops.bgmv_shrink = bgmv_shrink
    punica_cpu.bgmv_shrink = bgmv_shrink
