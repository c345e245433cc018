"""ansible-gitops: a git push deploys containers to plain Linux hosts behind HAProxy."""

__version__ = "0.1.0"
