"""What can be said before anything is deployed: whether files are right, and controller and hosts ready.

Its parts are imported one by one, so that `gitops validate` does not wait for what only `doctor` needs.
"""
