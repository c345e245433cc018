"""What one task of a rendered playbook does on its host, through the channel.

Standard library, and jinja2 for the edge: a deployment's folder carries this
package, so that it runs without the controller.
"""

STOP = "stop"
"""A file of this name in the run folder ends the rollout before its next batch."""

CANCEL = "cancel"
"""A file of this name ends it as soon as what is under way has ended."""

PROMOTE = "promote"
"""A file of this name passes the pause that waits for it, which takes it away."""
