"""What can be said before anything is deployed: whether files are right, and controller and hosts ready."""

from gitops.checkup.bootstrap import bootstrap_hosts, inventories_of
from gitops.checkup.doctor import examine
from gitops.checkup.files import problems_of

__all__ = ["bootstrap_hosts", "examine", "inventories_of", "problems_of"]
