"""What the controller must not forget, in the cluster's key-value table."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from typing import Any

from narke._private import kv
from narke._private.serialization import cloud_pickle
from narke.serve._private.targets import DeploymentTarget

__all__ = ["Storage"]

_NAMESPACE = "serve"


class Storage:
    """Applications, options and replicas; users' code lies apart, written once for each version."""

    def load(self) -> dict[str, Any]:
        """What was saved: "apps", "options", "replicas"; a part that never was is absent."""
        parts = {
            name: kv.get(f"state:{name}", namespace=_NAMESPACE) for name in ("apps", "options", "replicas")
        }
        return {name: pickle.loads(saved) for name, saved in parts.items() if saved}

    def _save(self, name: str, value: Any) -> None:
        kv.put(f"state:{name}", cloud_pickle(value), namespace=_NAMESPACE)

    def save_options(self, options: dict[str, Any]) -> None:
        """HTTP options and the like."""
        self._save("options", options)

    def save_replicas(self, replicas: dict[str, dict[str, Any]]) -> None:
        """Which replicas there are."""
        self._save("replicas", replicas)

    def save_apps(self, apps: dict[str, Any]) -> None:
        """The applications, without users' code."""
        for app in apps.values():
            app.targets = {
                key: dataclasses.replace(target, payload=b"") for key, target in app.targets.items()
            }
        self._save("apps", apps)
        kept = {self._payload_key(t) for app in apps.values() for t in app.targets.values()}
        for key in kv.keys("payload:", namespace=_NAMESPACE):
            if key.decode() not in kept:
                kv.delete(key, namespace=_NAMESPACE)

    def _payload_key(self, target: DeploymentTarget) -> str:
        digest = hashlib.sha1(f"{target.key} {target.version}".encode(), usedforsecurity=False).hexdigest()
        return f"payload:{digest}"

    def save_payload(self, target: DeploymentTarget) -> None:
        """A deployment's code."""
        kv.put(self._payload_key(target), target.payload, namespace=_NAMESPACE)

    def load_payload(self, target: DeploymentTarget) -> DeploymentTarget:
        """The target with its code."""
        payload = kv.get(self._payload_key(target), namespace=_NAMESPACE)
        return dataclasses.replace(target, payload=payload or b"")

    def save_details(self, text: str) -> None:
        """What ``GET /api/serve/applications/`` shows, as JSON; src/gateway/serve_routes.cc reads it."""
        kv.put("status", text.encode(), namespace=_NAMESPACE)

    def save_figures(self, figures: str, metrics: str) -> None:
        """What the dashboard's page shows of traffic, as JSON, and all metrics in Prometheus' text format, which the
        gateway serves with the cluster's (src/gateway/metric_routes.cc)."""
        kv.put("figures", figures.encode(), namespace=_NAMESPACE)
        kv.put("metrics", metrics.encode(), namespace=_NAMESPACE)

    def clear(self) -> None:
        """Forget everything."""
        for prefix in ("state:", "payload:", "status", "figures", "metrics"):
            kv.delete(prefix, by_prefix=True, namespace=_NAMESPACE)
