"""Which model is served, from where, how, and on what."""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

__all__ = ["CloudMirrorConfig", "LLMConfig", "LLMServingArgs", "LoraConfig", "ModelLoadingConfig"]

_CLOUDS = ("s3://", "gs://", "abfss://", "azure://", "pyarrow-")


class _FromFile(BaseModel):
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
        log_engine_metrics, accelerator_config, experimental_configs, callback_config: kept for configs that have them;
            only vLLM has a use for them.
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
    callback_config: dict[str, Any] = Field(default_factory=dict)

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


def _config_of(value: Any) -> LLMConfig:
    if isinstance(value, LLMConfig):
        return value
    if isinstance(value, str):
        return LLMConfig.from_file(value)  # type: ignore[no-any-return]
    return LLMConfig.model_validate(value)
