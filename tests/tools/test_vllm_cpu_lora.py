"""The plugin in vLLM's own environment, on vLLM's own kernels."""

import json
import subprocess

from stacks.paths import ROOT

# Two adapter slots, the last one filled; two rows of the base model around one of an adapter.
SCRIPT = """
import json
import torch
from vllm.plugins import load_general_plugins
from vllm.lora.ops.torch_ops import lora_ops
before = lora_ops.bgmv_shrink
load_general_plugins()
from vllm.lora.punica_wrapper import punica_cpu

slots = torch.zeros(2, 1, 4, 8)
slots[0], slots[1] = 1.0, 5.0
def shrunk(kernel):
    output = torch.full((3, 4), 7.0)
    kernel(torch.ones(3, 8), slots, output, torch.tensor([-1, 0, -1]), 2.0)
    return output[:, 0].tolist()
def prefill():
    output = torch.zeros(3, 4)
    lora_ops.sgmv_shrink(torch.ones(3, 8), slots, output, None, torch.tensor([1, 2]),
                         torch.tensor([-1, 0]), 2, 2, 3, 2.0)
    return output[:, 0].tolist()
print("RESULT", json.dumps({"theirs": shrunk(before), "ours": shrunk(punica_cpu.bgmv_shrink),
                            "prefill": prefill()}))
"""


def test_rows_of_the_base_model_get_no_adapter() -> None:
    python = ROOT / ".venv-vllm" / "bin" / "python"
    done = subprocess.run([python, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    result = json.loads(line.removeprefix("RESULT "))
    # If vLLM's own kernel skips these rows one day, the plugin can go.
    assert result["theirs"] == [80.0, 16.0, 80.0]
    assert result["ours"] == [0.0, 16.0, 0.0]
    assert result["prefill"] == [0.0, 16.0, 16.0]
