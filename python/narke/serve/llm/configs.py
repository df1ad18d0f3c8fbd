"""Which model is served, from where, how, and on what."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    field_validator,
    model_validator,
)

from narke.serve._private.models import Model
from narke.serve.config import import_attr
from narke.serve.llm._private.callbacks import CallbackConfig

__all__ = ["CloudMirrorConfig", "LLMConfig", "LLMServingArgs", "LoraConfig", "ModelLoadingConfig"]

_KV_ROLES = ("kv_both", "kv_producer", "kv_consumer")
_CLOUDS = ("s3://", "gs://", "abfss://", "azure://", "pyarrow-")


class _FromFile(Model):
    """A model that YAML files may hold."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    @classmethod
    def parse_yaml(cls, file: Any, **kwargs: Any) -> Any:
        """From an open YAML file; `kwargs` replace its fields."""
        import yaml

        return cls.model_validate({**(yaml.safe_load(file) or {}), **kwargs})

    @classmethod
    def from_file(cls, path: str, **kwargs: Any) -> Any:
        """From the YAML file at a path."""
        with open(path, encoding="utf-8") as file:
            return cls.parse_yaml(file, **kwargs)


class CloudMirrorConfig(_FromFile):
    """A model's files in cloud storage."""

    bucket_uri: str | None = None
    extra_files: list[dict[str, Any]] = Field(default_factory=list)

    @field_validator("bucket_uri")
    @classmethod
    def check_uri_format(cls, value: str | None) -> str | None:
        """A URI of a storage that is known."""
        if value is not None and not value.startswith((*_CLOUDS, "file://", "memory://")):
            raise ValueError(
                f"Got an invalid value for bucket_uri: {value!r}; it must begin with one of {_CLOUDS}"
            )
        return value

    @property
    def storage_type(self) -> str:
        """The URI's scheme; "" without a URI."""
        return (self.bucket_uri or "").partition("://")[0] if self.bucket_uri else ""


class ModelLoadingConfig(_FromFile):
    """What a model is called, and where its files are.

    Attributes:
        model_id: what requests call it; without a colon.
        model_source: a folder, a URI, a name on Hugging Face's hub, or a CloudMirrorConfig; `model_id` by default.
        tokenizer_source: likewise, of the tokenizer; the model's by default.
    """

    model_id: str = Field(min_length=1)
    model_source: str | CloudMirrorConfig | None = None
    tokenizer_source: str | None = None

    def source(self) -> str:
        """Where the model's files are."""
        if isinstance(self.model_source, CloudMirrorConfig):
            return self.model_source.bucket_uri or self.model_id
        return self.model_source or self.model_id


class LoraConfig(_FromFile):
    """Adapters that requests may ask for, as ``model_id:adapter``.

    Attributes:
        dynamic_lora_loading_path: folder or URI that has a folder for each adapter.
        max_num_adapters_per_replica: the last used ones that a replica keeps.
        download_timeout_s: how long fetching one may take; None: without limit.
        max_download_tries: attempts to fetch one.
    """

    dynamic_lora_loading_path: str | None = None
    max_num_adapters_per_replica: PositiveInt = 16
    download_timeout_s: PositiveFloat | None = 30.0
    max_download_tries: NonNegativeInt = 3

    @field_validator("dynamic_lora_loading_path")
    @classmethod
    def validate_dynamic_lora_loading_path(cls, value: str | None) -> str | None:
        """Without a slash at the end."""
        return value.rstrip("/") if value else value


@dataclasses.dataclass(frozen=True)
class MultiplexConfig:
    """How many adapters a replica keeps, and how it fetches them; see `LoraConfig`."""

    max_num_models_per_replica: int
    download_timeout_s: float | None
    max_download_tries: int


@dataclasses.dataclass(frozen=True)
class KvConnector:
    """What hands keys and values of prompts on, from replicas that read them to those that go on.

    Attributes:
        name: vLLM's connector; with transformers, always the object store.
        role: kv_both, kv_producer or kv_consumer.
        options: all of ``kv_transfer_config``.
    """

    name: str
    role: str
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """What an engine is told.

    Attributes:
        model_id: what requests call the model.
        source, tokenizer_source: where the files are.
        options: ``engine_kwargs``.
        gpus: how many a replica has.
    """

    model_id: str
    source: str
    tokenizer_source: str | None
    options: dict[str, Any]
    gpus: int


class LLMConfig(_FromFile):
    """One model and its deployment.

    Attributes:
        model_loading_config: which model.
        llm_engine: "vLLM": vLLM where it is installed and a GPU is there, transformers elsewhere; "transformers".
        engine_kwargs: of the engine, in vLLM's names.
        accelerator_type: kind of GPU that each replica needs; None: none.
        placement_group_config: {"bundles", "strategy"} of each replica.
        lora_config: adapters, or None.
        deployment_config: options of the deployment, as `narke.serve.deployment` has them.
        runtime_env: of the replicas.
        server_cls: class (or its import path) in place of `LLMServer`.
        callback_config: {"callback_class", "callback_kwargs", "raise_error_on_callback"}: code that runs when a replica
            loads the model.
        log_engine_metrics, accelerator_config, experimental_configs: kept for configs that have them; only vLLM has a
            use for them.
    """

    runtime_env: dict[str, Any] | None = None
    model_loading_config: ModelLoadingConfig
    llm_engine: str = "vLLM"
    engine_kwargs: dict[str, Any] = Field(default_factory=dict)
    accelerator_type: str | None = None
    accelerator_config: dict[str, Any] | None = None
    placement_group_config: dict[str, Any] | None = None
    lora_config: LoraConfig | None = None
    deployment_config: dict[str, Any] = Field(default_factory=dict)
    server_cls: Any = None
    experimental_configs: dict[str, Any] = Field(default_factory=dict)
    log_engine_metrics: bool | None = True
    callback_config: CallbackConfig = Field(default_factory=CallbackConfig)
    _hf_config: Any = PrivateAttr(default=None)
    _callback: Any = PrivateAttr(default=None)
    _kv_connector: KvConnector | None = PrivateAttr(default=None)

    @field_validator("model_loading_config", mode="before")
    @classmethod
    def validate_model_loading_config(cls, value: Any) -> ModelLoadingConfig:
        """A ModelLoadingConfig, or its fields."""
        return value if isinstance(value, ModelLoadingConfig) else ModelLoadingConfig.model_validate(value)

    @field_validator("lora_config", mode="before")
    @classmethod
    def validate_lora_config(cls, value: Any) -> LoraConfig | None:
        """A LoraConfig, its fields, or None."""
        return value if value is None or isinstance(value, LoraConfig) else LoraConfig.model_validate(value)

    @field_validator("server_cls")
    @classmethod
    def validate_server_cls(cls, value: Any) -> Any:
        """A class, imported if it is named."""
        return import_attr(value) if isinstance(value, str) else value

    @field_validator("accelerator_type")
    @classmethod
    def validate_accelerator_type(cls, value: str | None) -> str | None:
        """A kind of accelerator that is known."""
        from narke.util.accelerators import accelerators

        if value is None:
            return None
        known = {v for name, v in vars(accelerators).items() if name.isupper() and isinstance(v, str)}
        found = "A10G" if value == "A10" else value
        if found not in known:
            raise ValueError(f"Unsupported accelerator type: {value}; known are {sorted(known)}")
        return found

    @field_validator("experimental_configs")
    @classmethod
    def validate_experimental_configs(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Without names that are not heeded any more."""
        if "num_router_replicas" in value:
            raise ValueError(
                "num_router_replicas of experimental_configs is called num_ingress_replicas now: rename it"
            )
        return value

    @field_validator("llm_engine")
    @classmethod
    def validate_llm_engine(cls, value: str) -> str:
        """vLLM or transformers."""
        if value not in ("vLLM", "transformers"):
            raise ValueError(f'llm_engine must be "vLLM" or "transformers", got {value!r}')
        return value

    @field_validator("deployment_config")
    @classmethod
    def validate_deployment_config(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Options that a deployment has."""
        from narke.serve.deployment import DEFAULTS

        unknown = set(value) - set(DEFAULTS) - {"name"}
        if unknown:
            raise ValueError(f"deployment_config has unknown options {sorted(unknown)}")
        return value

    @property
    def model_id(self) -> str:
        """What requests call the model."""
        return self.model_loading_config.model_id

    def update_engine_kwargs(self, **kwargs: Any) -> None:
        """Add to `engine_kwargs`."""
        self.engine_kwargs.update(kwargs)

    @property
    def max_request_context_length(self) -> int | None:
        """Tokens that a prompt and its text may have together, if the config bounds them."""
        return self.engine_kwargs.get("max_model_len")

    def apply_checkpoint_info(
        self, model_id_or_path: str, trust_remote_code: bool = False, hf_config: Any = None
    ) -> None:
        """Have the facts of the model's own config; the replica does it once the model is loaded.

        Args:
            model_id_or_path: the model's folder or name.
            trust_remote_code: whether it may bring code.
            hf_config: the config, if it is read already.

        Raises:
            ValueError: there is no config.
        """
        if hf_config is None:
            import transformers

            try:
                hf_config = transformers.AutoConfig.from_pretrained(
                    model_id_or_path, trust_remote_code=trust_remote_code
                )
            except Exception as error:
                raise ValueError(f"{model_id_or_path!r} has no config of a model: {error}") from error
        self._hf_config = hf_config

    @property
    def model_architecture(self) -> str:
        """The class of the model, known after `apply_checkpoint_info`; "UNSPECIFIED" before."""
        return str(next(iter(getattr(self._hf_config, "architectures", None) or ()), "UNSPECIFIED"))

    @property
    def supports_vision(self) -> bool:
        """Whether the model takes images, known after `apply_checkpoint_info`."""
        return hasattr(self._hf_config, "vision_config")

    @property
    def input_modality(self) -> str:
        """ "image" for models that take images, else "text"."""
        return "image" if self.supports_vision else "text"

    def multiplex_config(self) -> MultiplexConfig | None:
        """How adapters are kept; None without a lora_config."""
        lora = self.lora_config
        if lora is None:
            return None
        return MultiplexConfig(
            lora.max_num_adapters_per_replica, lora.download_timeout_s, lora.max_download_tries
        )

    def get_engine_config(self) -> EngineConfig:
        """What the engine is told."""
        loading = self.model_loading_config
        return EngineConfig(
            self.model_id, loading.source(), loading.tokenizer_source, dict(self.engine_kwargs), self.gpus()
        )

    def get_or_create_callback(self) -> Any:
        """The callback of this process, made once; None without one."""
        if self._callback is None:
            self._callback = self.callback_config.make(self)
        return self._callback

    @property
    def kv_connector_backend(self) -> KvConnector | None:
        """What hands keys and values on, known after `setup_engine_backend`; None: nothing does."""
        return self._kv_connector

    def setup_engine_backend(self) -> None:
        """Read ``kv_transfer_config`` of `engine_kwargs`; the replica does it before it loads the model.

        Raises:
            ValueError: it names no connector, or a role that is not known.
        """
        given = self.engine_kwargs.get("kv_transfer_config")
        if given is None:
            return
        name, role = dict(given).get("kv_connector"), dict(given).get("kv_role", "kv_both")
        if not name:
            raise ValueError("Connector type is not specified: give kv_transfer_config a kv_connector.")
        if role not in _KV_ROLES:
            raise ValueError(f"kv_role must be one of {_KV_ROLES}, got {role!r}")
        self._kv_connector = KvConnector(name, role, dict(given))

    def gpus(self) -> int:
        """GPUs that a replica needs."""
        if self.accelerator_type is None:
            return 0
        parallel = ("tensor_parallel_size", "pipeline_parallel_size")
        return int(self.engine_kwargs.get(parallel[0], 1)) * int(self.engine_kwargs.get(parallel[1], 1))

    def adapter_place(self, name: str) -> str:
        """Where an adapter's files are.

        Raises:
            ValueError: the config has no place for adapters, or the name would lead out of it.
        """
        base = self.lora_config.dynamic_lora_loading_path if self.lora_config is not None else None
        if not base:
            raise ValueError(f"the model {self.model_id!r} has no adapters")
        if not name or name.startswith(".") or os.sep in name or "\\" in name:
            raise ValueError(f"{name!r} is not an adapter's name")
        return f"{base}/{name}"


class LLMServingArgs(_FromFile):
    """What `build_openai_app` builds.

    Attributes:
        llm_configs: the models: LLMConfig objects, their fields, or paths of YAML files.
        ingress_cls_config: {"ingress_cls", "ingress_extra_kwargs"} of another ingress than `OpenAiIngress`.
        ingress_deployment_config: options of the ingress's deployment.
    """

    llm_configs: list[Any] = Field(min_length=1)
    ingress_cls_config: dict[str, Any] = Field(default_factory=dict)
    ingress_deployment_config: dict[str, Any] = Field(default_factory=dict)

    @field_validator("llm_configs")
    @classmethod
    def _read_configs(cls, value: list[Any]) -> list[LLMConfig]:
        found = [_config_of(each) for each in value]
        ids = [config.model_id for config in found]
        if len(set(ids)) != len(ids):
            raise ValueError(f"Duplicate models found: {ids}. Make sure each model_id is unique.")
        return found


class DPServingArgs(_FromFile):
    """What `build_dp_openai_app` builds.

    Attributes:
        llm_config: the model; ``data_parallel_size`` of its engine_kwargs is the size of a gang.
        ingress_cls_config, ingress_deployment_config: as `LLMServingArgs` has them.
    """

    llm_config: Any
    ingress_cls_config: dict[str, Any] = Field(default_factory=dict)
    ingress_deployment_config: dict[str, Any] = Field(default_factory=dict)

    @field_validator("llm_config")
    @classmethod
    def _read_config(cls, value: Any) -> LLMConfig:
        return _config_of(value)


class PDServingArgs(_FromFile):
    """What `build_pd_openai_app` builds.

    Attributes:
        prefill_config, decode_config: of the replicas that read prompts, and of those that make texts: one model.
        ingress_cls_config, ingress_deployment_config: as `LLMServingArgs` has them.
    """

    prefill_config: Any
    decode_config: Any
    ingress_cls_config: dict[str, Any] = Field(default_factory=dict)
    ingress_deployment_config: dict[str, Any] = Field(default_factory=dict)

    @field_validator("prefill_config", "decode_config")
    @classmethod
    def _read_config(cls, value: Any) -> LLMConfig:
        return _config_of(value)

    @model_validator(mode="after")
    def _check_pair(self) -> PDServingArgs:
        both = self.prefill_config, self.decode_config
        if both[0].model_id != both[1].model_id:
            raise ValueError(
                f"P/D model id mismatch: prefill_config has {both[0].model_id!r}, decode_config {both[1].model_id!r}"
            )
        places = {
            c.lora_config.dynamic_lora_loading_path if c.lora_config is not None else None for c in both
        }
        if len(places) > 1:
            raise ValueError(f"prefill_config and decode_config must have the same adapters, got {places}")
        if any(config.engine_kwargs.get("data_parallel_size", 1) != 1 for config in both):
            raise ValueError(
                "data_parallel_size cannot be more than 1 here: give num_replicas in deployment_config"
            )
        return self


def _config_of(value: Any) -> LLMConfig:
    if isinstance(value, LLMConfig):
        return value
    if isinstance(value, str):
        return LLMConfig.from_file(value)  # type: ignore[no-any-return]
    return LLMConfig.model_validate(value)
