"""What the same service is in a Compose file, for this project and for Docker Swarm (pure)."""

from __future__ import annotations

from typing import Any

from bench.contender import Release

CHECK = "/bin/check"  # in the image
INTERVAL_S, TIMEOUT_S, RETRIES = 1, 5, 3
MONITOR_S = 1
GRACE_S = 5


def service(image: str, release: Release) -> dict[str, Any]:
    """The keys that both read alike."""
    return {
        "image": image,
        "init": True,
        "stop_grace_period": f"{GRACE_S}s",
        "healthcheck": {
            "test": ["CMD", CHECK],
            "interval": f"{INTERVAL_S}s",
            "timeout": f"{TIMEOUT_S}s",
            "retries": RETRIES,
        },
        "deploy": {
            "replicas": release.replicas,
            "update_config": {
                "parallelism": release.parallelism,
                "order": "start-first",
                "monitor": f"{MONITOR_S}s",
                "failure_action": "rollback",
            },
        },
    }
