"""Trials made of an experiment's specification."""

from __future__ import annotations

import copy
from typing import Any

from narke.tune.experiment.trial import Trial

__all__ = ["create_trial_from_spec"]


def create_trial_from_spec(spec: dict[str, Any], output_path: str, **trial_kwargs: Any) -> Trial:
    """Make a trial.

    Args:
        spec: an experiment's specification with a concrete configuration.
        output_path: the experiment's folder, when the specification has no storage.
        trial_kwargs: trial_id, evaluated_params, experiment_tag.
    """
    from narke.tune.execution.placement_groups import resource_dict_to_pg_factory

    resources = spec.get("resources_per_trial")
    if resources is not None and not hasattr(resources, "bundles"):
        resources = resource_dict_to_pg_factory(resources)
    return Trial(
        spec["run"],
        config=spec.get("config") or {},
        storage=copy.copy(spec.get("storage")),
        placement_group_factory=resources,
        stopping_criterion=spec.get("stop"),
        checkpoint_config=spec.get("checkpoint_config"),
        export_formats=spec.get("export_formats"),
        restore_path=spec.get("restore"),
        trial_name_creator=spec.get("trial_name_creator"),
        trial_dirname_creator=spec.get("trial_dirname_creator"),
        log_to_file=spec.get("log_to_file"),
        max_failures=spec.get("max_failures", 0),
        **trial_kwargs,
    )
