"""What one task of a rendered playbook does on its host, through the channel.

Standard library, and jinja2 for the edge: a deployment's folder carries this
package, so that it runs without the controller.
"""

STOP = "stop"
"""A file of this name in the run folder ends the rollout before its next batch."""
