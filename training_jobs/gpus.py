"""Which GPUs a job holds, as its result states it and billing reads it."""

import os
from typing import Any, Final

PRICE_CLASS_VARIABLE: Final = "PIPELINE_PRICE_CLASS"
"""How the job's node was bought, `spot` or `on-demand` (which unset means too): its manifest says
so, because a pod cannot see its node."""
_PRICE_CLASSES: Final = ("spot", "on-demand")


def held_gpus() -> dict[str, Any]:
    """The keys `gpus`, `gpu_type` and `price_class` of a result's metrics; 0 GPUs have no type.

    Every GPU that the process sees counts, used or not. The type is named as on the node label
    `nvidia.com/gpu.product`, so that one price table serves pools and jobs.

    Raises:
        ValueError: The variable has another value.
    """
    import torch  # noqa: PLC0415  seconds to import

    price_class = os.environ.get(PRICE_CLASS_VARIABLE, "on-demand")
    if price_class not in _PRICE_CLASSES:
        raise ValueError(
            f"{PRICE_CLASS_VARIABLE}={price_class!r}: use {' or '.join(_PRICE_CLASSES)}"
        )
    count = torch.cuda.device_count()
    if count == 0:
        return {"gpus": 0}
    gpu_type = torch.cuda.get_device_name(0).replace(" ", "-")
    return {"gpus": count, "gpu_type": gpu_type, "price_class": price_class}
