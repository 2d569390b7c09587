"""What publish accepts and what it refuses, with adapters in PEFT's own file format."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from registry.errors import NotFoundError, RegistryError
from registry.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from registry.manifest import PoolAdapter, read_manifest
from registry.names import Version
from registry.publish import PoolSource, PublishConfig, publish
from registry.runs import RunReporter, upload_adapter
from registry.store import ObjectStore, open_store
from tests.training_jobs.train_env.tiny import write_base

DOMAIN, RUN, V10 = "words", "train-slm-0123456789ab", Version(1, 0)
RANK, HIDDEN = 4, 32


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    directory = tmp_path / "adapter"
    directory.mkdir()
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    weights = {
        f"{prefix}.lora_A.weight": torch.ones(RANK, HIDDEN),
        f"{prefix}.lora_B.weight": torch.ones(HIDDEN, RANK),
    }
    save_file(weights, directory / ADAPTER_WEIGHTS)
    config = {
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": str(base),
    }
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config))
    return directory


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path / 'registry'}")


def _publish(store: ObjectStore, base: Path, version: Version = V10) -> None:
    source = PoolSource(run_id=RUN, rank=RANK, base_model="llama-8b", base_directory=base)
    config = PublishConfig(
        registry_uri="unused",
        domain=DOMAIN,
        version=version,
        run_id="publish-1",
        inputs_digest="sha256:i",
        dataset_digest="sha256:d",
        pools={"slm": source, "llm": None},
    )
    publish(store, config)


def _trained(store: ObjectStore, adapter: Path) -> None:
    files = upload_adapter(store, DOMAIN, RUN, adapter)
    RunReporter(store, DOMAIN, RUN).succeeded({"files": files})


def test_a_published_adapter_names_the_served_base_and_is_published_once(
    store: ObjectStore, adapter: Path, base: Path
) -> None:
    _trained(store, adapter)
    _publish(store, base)
    manifest = read_manifest(store, DOMAIN, V10)
    entry = manifest.pools["slm"]
    assert isinstance(entry, PoolAdapter)
    assert (entry.rank, entry.target_modules, entry.base_model) == (RANK, ("q_proj",), "llama-8b")
    assert manifest.pools["llm"] == "base"
    _publish(store, base)
    assert read_manifest(store, DOMAIN, V10) == manifest
    # The same weights under another version are another bundle: its name is part of it.
    _publish(store, base, Version(1, 1))
    again = read_manifest(store, DOMAIN, Version(1, 1))
    assert again.bundle_digest != manifest.bundle_digest
    assert again.pools == manifest.pools


def _tensors(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        tensors = load_file(directory / ADAPTER_WEIGHTS)
        change(tensors)
        save_file(tensors, directory / ADAPTER_WEIGHTS)

    return spoil


def _config(**changes: object) -> Callable[[Path], None]:
    def spoil(directory: Path) -> None:
        path = directory / ADAPTER_CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def _truncate(directory: Path) -> None:
    path = directory / ADAPTER_WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def _nan(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def _of_another_base(tensors: dict[str, torch.Tensor]) -> None:
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = torch.ones(RANK, 2 * HIDDEN)


def _of_another_rank(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        doubled = torch.cat([tensor, tensor], dim=0 if "lora_A" in name else 1)
        tensors[name] = doubled.contiguous()


def _without_effect(tensors: dict[str, torch.Tensor]) -> None:
    for name in [name for name in tensors if "lora_B" in name]:
        tensors[name] = torch.zeros_like(tensors[name])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncate, r"adapter_model\.safetensors: truncated or damaged"),
        (_tensors(_nan), "has NaN or infinite values"),
        (_tensors(_of_another_base), r"needs \(4, 32\): trained on another base"),
        (_tensors(_of_another_rank), "its rank is not the declared 4"),
        (_tensors(_without_effect), "every lora_B is zero"),
        (_config(r=8), "rank r is 8, declared is 4"),
        (_config(peft_type="IA3"), "peft_type is 'IA3'"),
        (_config(target_modules=["w_proj"]), r"\['w_proj'\] are not all modules of the base"),
        (_config(target_modules=["q_proj", "v_proj"]), "no weights for target modules v_proj"),
        (lambda d: (d / ADAPTER_CONFIG).write_text("{"), r"adapter_config\.json: not JSON"),
    ],
)
def test_a_bad_adapter_is_refused_and_leaves_no_version(
    store: ObjectStore, adapter: Path, base: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(adapter)
    _trained(store, adapter)
    with pytest.raises(RegistryError, match=message):
        _publish(store, base)
    with pytest.raises(NotFoundError):
        read_manifest(store, DOMAIN, V10)


def test_other_bytes_than_training_made_are_refused(
    store: ObjectStore, adapter: Path, base: Path
) -> None:
    _trained(store, adapter)
    _config(r=RANK, note="altered")(adapter)
    upload_adapter(store, DOMAIN, RUN, adapter)
    with pytest.raises(RegistryError, match=r"adapter_config\.json is not the file that training"):
        _publish(store, base)
